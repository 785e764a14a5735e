//! /etc/msmtprc and ~/.msmtprc (msmtp(1), "CONFIGURATION FILES").

use super::lines::written;
use super::{Fate, Files, Host, Line, Plan, Proof, Section, Security};
use crate::smtp::{Mechanism, Secret};

/// Settings without a counterpart, and why; a value in the third place needs none.
const NO_COUNTERPART: &[(&str, &str, &[&str])] = &[
    ("proxy_host", "pillarbox connects itself, through no proxy", &[""]),
    ("proxy_port", "pillarbox connects itself, through no proxy", &[""]),
    ("source_ip", "the address to connect from is the system's choice", &[""]),
    ("tls_crl_file", "lists of revoked certificates are not read", &[""]),
    ("tls_priorities", "TLS 1.2 and 1.3 with rustls's ciphers are spoken", &[""]),
    ("tls_min_dh_prime_bits", "TLS 1.2 and 1.3 with rustls's ciphers are spoken", &[""]),
    (
        "tls_host_override",
        "the certificate has to be for the host in url: write that name there, or use pin",
        &[""],
    ),
    ("ntlmdomain", "NTLM is not spoken", &[""]),
    ("dsn_notify", "a drop asks for it itself, by NOTIFY= in X-Receiver", &["off", ""]),
    ("dsn_return", "a drop asks for it itself, by RET= in X-Sender", &["off", ""]),
    ("keepbcc", "Bcc is always taken out", &["off"]),
    ("remove_bcc_headers", "Bcc is always taken out", &["on", ""]),
    ("undisclosed_recipients", "To and Cc are sent as they are", &["off"]),
    ("set_date_header", "Date is added where it is missing", &["auto"]),
    ("set_msgid_header", "Message-ID is added where it is missing", &["auto", "on", ""]),
    ("add_missing_from_header", "From is added where it is missing", &["on", ""]),
    ("add_missing_date_header", "Date is added where it is missing", &["on", ""]),
    ("logfile", "the log goes to stderr, and to the journal under systemd", &["", "-"]),
    ("logfile_time_format", "the log has times as RFC 3339 does", &[]),
    ("syslog", "the log goes to stderr, and to the journal under systemd", &["off"]),
    ("eval", "write into pillarbox.toml what the command prints", &[]),
];

/// What is often taken for LMTP (RFC 1700 left it to private mail systems).
const LMTP_PORT: u16 = 24;

/// An account under construction: later lines stand above earlier ones.
#[derive(Debug, Clone, Default)]
struct Account {
    name: String,
    lines: Vec<Line>,
}

pub(super) fn read(home: Option<&str>, files: Files<'_>, plan: &mut Plan) -> Result<(), String> {
    let mut paths = vec!["/etc/msmtprc".to_owned()];
    if let Some(home) = home {
        // The second is only read where the first is not there.
        let users = [format!("{home}/.msmtprc"), format!("{home}/.config/msmtp/config")];
        paths.extend(users.into_iter().find(|path| !matches!(files(path), Ok(None))));
    }
    let mut accounts: Vec<(Account, Line)> = Vec::new();
    let mut found = false;
    for path in &paths {
        if let Some(text) = files(path)? {
            found = true;
            parse(path, &text, &mut accounts, plan);
        }
    }
    if !found {
        return Err(format!("there is no {}: no configuration of msmtp", paths.join(" and no ")));
    }
    let last = accounts.iter().rposition(|(account, _)| account.name == "default");
    // Without one called so msmtp asks for -a.
    let Some(chosen) = last.or_else(|| (accounts.len() == 1).then_some(0)) else {
        let names: Vec<&str> = accounts.iter().map(|(account, _)| account.name.as_str()).collect();
        return Err(format!(
            "there is no account default among {}: make one of them the default",
            names.join(", ")
        ));
    };
    let (account, line) = accounts.swap_remove(chosen);
    for (other, line) in &accounts {
        // `account default : work` is that account under another name.
        let is_the_same = other.lines.iter().all(|line| account.lines.contains(line));
        if !is_the_same {
            plan.lost(line, "one account is carried over, default; several [[smarthost]] take each other's place, and are not chosen by sender");
        }
    }
    smarthost(&account, &line, home, files, plan);
    Ok(())
}

fn parse(path: &str, text: &str, accounts: &mut Vec<(Account, Line)>, plan: &mut Plan) {
    let mut defaults: Vec<Line> = Vec::new();
    let mut is_defaults = false;
    let mut begun = false;
    for (number, text) in written(text) {
        let (name, value) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let value = value.trim();
        let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
        let line = Line::new(name, value, path, number);
        match name {
            "defaults" => {
                is_defaults = true;
                // A second one starts anew.
                defaults.clear();
            }
            "account" => {
                (is_defaults, begun) = (false, true);
                let (name, bases) = value.split_once(':').unwrap_or((value, ""));
                let mut lines = defaults.clone();
                for base in bases.split(',').map(str::trim).filter(|base| !base.is_empty()) {
                    match accounts.iter().rfind(|(account, _)| account.name == base) {
                        Some((account, _)) => lines.extend(account.lines.clone()),
                        None => plan.lost(&line, format!("there is no account {base} above it")),
                    }
                }
                let name = name.trim().to_owned();
                let line = Line { name: format!("account {name}"), ..line };
                accounts.retain(|(account, _)| account.name != name);
                accounts.push((Account { name, lines }, line));
            }
            _ if is_defaults => defaults.push(line),
            _ => {
                if !begun {
                    // Settings in front of any account are those of "default".
                    begun = true;
                    let line = Line { name: "account default".into(), ..line.clone() };
                    accounts.push((Account { name: "default".into(), lines: Vec::new() }, line));
                }
                if let Some((account, _)) = accounts.last_mut() {
                    account.lines.push(line);
                }
            }
        }
    }
}

impl Account {
    fn last(&self, name: &str) -> Option<&Line> {
        self.lines.iter().rev().find(|line| line.name == name)
    }

    /// A switch; nothing behind its name is `on`.
    fn is_on(&self, name: &str) -> Option<(bool, &Line)> {
        self.last(name).map(|line| (line.value != "off", line))
    }
}

fn smarthost(account: &Account, line: &Line, home: Option<&str>, files: Files<'_>, plan: &mut Plan) {
    let socket = account.last("socket").filter(|line| !line.value.is_empty());
    let place = socket.or(account.last("host"));
    if let Some(mut host) = place.and_then(|line| Host::new(&tilde(&line.value, home), line)) {
        connection(account, &mut host, plan);
        security(account, &mut host, home, plan);
        login(account, &mut host, plan);
        sender(account, plan);
        plan.hosts.push(host);
    } else {
        plan.lost(place.unwrap_or(line), "no mail server is named: add a [[smarthost]]");
    }
    if let Some(line) = account.last("domain") {
        plan.set_domain("hostname", &line.value, line);
    }
    if let Some(line) = account.last("aliases").filter(|line| !line.value.is_empty()) {
        plan.read_aliases(&tilde(&line.value, home), files, Some(line));
    }
    rest(account, plan);
}

fn connection(account: &Account, host: &mut Host, plan: &mut Plan) {
    if let Some(line) = account.last("port").filter(|_| !host.is_socket()) {
        host.set_port(&line.value, line, &mut plan.notes);
    }
    if let Some(line) = account.last("protocol").filter(|line| line.value == "lmtp") {
        host.lmtp = true;
        if host.port.is_none() && !host.is_socket() {
            host.port = Some(LMTP_PORT);
            plan.note(Fate::Changed, line, "LMTP has no port of its own, and none is named: 24 is written");
        }
    }
    if let Some(line) = account.last("timeout").filter(|line| line.value != "off") {
        match line.value.parse::<u64>() {
            Ok(seconds) if seconds > 0 => host.set("timeout", format!("{seconds}s"), line),
            _ => plan.lost(line, "expected a number of seconds, or off"),
        }
    }
}

fn security(account: &Account, host: &mut Host, home: Option<&str>, plan: &mut Plan) {
    let (tls, line) = match account.is_on("tls") {
        Some((tls, line)) => (tls, line.clone()),
        None => (false, Line { name: "no tls".into(), ..host.from.clone() }),
    };
    let starttls = account.is_on("tls_starttls").is_none_or(|(on, _)| on);
    host.security = match (tls, starttls) {
        (false, _) => (Security::None, line),
        (true, true) => (Security::StartTls, line),
        (true, false) => (Security::Implicit, line),
    };
    let file = |name: &str| account.last(name).filter(|line| tls && !line.value.is_empty());
    if let Some(line) = file("tls_trust_file") {
        host.set_ca_file(&tilde(&line.value, home), line, &mut plan.notes);
    }
    let (certificate, key) = (file("tls_cert_file"), file("tls_key_file"));
    match (certificate, key) {
        (Some(certificate), Some(key)) if !key.value.starts_with("pkcs11:") => {
            host.set("client_cert", tilde(&certificate.value, home), certificate);
            host.set("client_key", tilde(&key.value, home), key);
        }
        (Some(line), _) | (_, Some(line)) => {
            plan.lost(line, "a certificate needs its key in a file beside it")
        }
        (None, None) => {}
    }
    if let Some((false, line)) = account.is_on("tls_certcheck").filter(|_| tls) {
        plan.lost(line, "a certificate that does not verify is refused here: name its key in pin, the log has the line for it");
    }
    if let Some(line) = file("tls_fingerprint") {
        plan.lost(line, "it is of the certificate, and pin is of its key: the log has the line for pin when the certificate is refused");
    }
}

fn login(account: &Account, host: &mut Host, plan: &mut Plan) {
    let Some(auth) = account.last("auth").filter(|line| line.value != "off") else {
        for line in ["user", "password", "passwordeval"].iter().filter_map(|name| account.last(name)) {
            plan.note(Fate::NotNeeded, line, "auth is off");
        }
        return;
    };
    match auth.value.as_str() {
        "" | "on" => {}
        "oauthbearer" | "xoauth2" => {
            host.is_token = true;
            host.mechanisms = (auth.value.parse().into_iter().collect(), auth.clone());
        }
        name => match name.parse::<Mechanism>() {
            Ok(mechanism) => host.mechanisms = (vec![mechanism], auth.clone()),
            Err(_) => plan.lost(auth, format!("{name} is not spoken: the strongest that both know is taken")),
        },
    }
    if let Some(line) = account.last("user") {
        host.user = Some((line.value.clone(), line.clone()));
    } else if host.mechanisms.0 != [Mechanism::External] {
        plan.lost(auth, "no user stands beside it: nobody logs in");
    }
    // Of the two msmtp takes password.
    if let Some(line) = account.last("password") {
        host.proof = Some((Proof::Secret(Secret::new(&line.value)), line.clone()));
    } else if let Some(line) = account.last("passwordeval") {
        host.proof = Some((Proof::Command(line.value.clone()), line.clone()));
        let why = "the command is run by the service's user, within 10 seconds: it has no keyring and no gpg agent of yours";
        plan.note(Fate::Changed, line, why);
    }
}

fn sender(account: &Account, plan: &mut Plan) {
    let is_forced = account.is_on("allow_from_override").filter(|(on, _)| !on).map(|(_, line)| line);
    let is_in_header =
        account.last("set_from_header").filter(|line| line.value == "on" || line.value.is_empty());
    if let Some(line) = account.last("from").filter(|line| !line.value.is_empty()) {
        // %U is who calls msmtp, and %H and %C this host.
        let named = ["%H", "%C"]
            .into_iter()
            .fold(line.value.replace("%U", "{user}"), |t, c| t.replace(c, "{hostname}"));
        let example = named.replace(['{', '}'], "");
        match example.parse::<crate::mail::Mailbox>() {
            Ok(_) if !named.contains('%') => plan.set(Section::Identity, "from", named, line),
            Ok(_) => plan.lost(line, "expected an address with %U, %H and %C in it"),
            Err(error) => plan.lost(line, error.to_string()),
        }
        let force = match (is_forced, is_in_header) {
            (Some(line), Some(_)) => Some(("both", line)),
            (Some(line), None) => Some(("envelope", line)),
            (None, Some(line)) => Some(("header", line)),
            (None, None) => None,
        };
        match force.filter(|_| plan.settings.iter().any(|(_, setting)| setting.key == "from")) {
            Some((what, line)) => plan.set(Section::Identity, "force_from", what, line),
            None => {
                let why = "it stands in where a message names no usable sender; force_from makes it that of all mail";
                plan.note(Fate::Changed, line, why);
            }
        }
    }
    if let (Some((true, _)), Some(domain)) = (account.is_on("auto_from"), account.last("maildomain")) {
        plan.set_domain("domain", &domain.value, domain);
    }
}

fn rest(account: &Account, plan: &mut Plan) {
    const READ: [&str; 23] = [
        "host",
        "socket",
        "port",
        "protocol",
        "timeout",
        "tls",
        "tls_starttls",
        "tls_trust_file",
        "tls_cert_file",
        "tls_key_file",
        "tls_certcheck",
        "tls_fingerprint",
        "auth",
        "user",
        "password",
        "passwordeval",
        "from",
        "allow_from_override",
        "set_from_header",
        "auto_from",
        "maildomain",
        "domain",
        "aliases",
    ];
    let mut seen: Vec<&str> = Vec::new();
    for line in account.lines.iter().rev() {
        if READ.contains(&line.name.as_str()) || seen.contains(&line.name.as_str()) {
            continue;
        }
        seen.push(&line.name);
        match NO_COUNTERPART.iter().find(|(name, ..)| *name == line.name) {
            Some((_, why, same)) if same.contains(&line.value.as_str()) => {
                plan.note(Fate::NotNeeded, line, *why)
            }
            Some((_, why, _)) => plan.lost(line, *why),
            None => plan.unknown(line),
        }
    }
}

fn tilde(path: &str, home: Option<&str>) -> String {
    match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => format!("{home}/{rest}"),
        _ => path.to_owned(),
    }
}
