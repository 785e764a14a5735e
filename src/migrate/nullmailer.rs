//! /etc/nullmailer: a file for each setting (nullmailer-send(8), nullmailer-queue(8), nullmailer-inject(1)).

use super::lines::{words, written};
use super::{Alias, Fate, Files, Host, Line, Plan, Proof, Section, Security};
use crate::smtp::{Mechanism, Secret};

const DIR: &str = "/etc/nullmailer";

/// Settings without a counterpart, and why.
const NO_COUNTERPART: [(&str, &str); 7] = [
    ("maxpause", "the pause between two tries does not grow here"),
    ("sendtimeout", "it bounds a whole message there; timeout of [[smarthost]] bounds each reply"),
    ("idhost", "a Message-ID that is missing is made of the queue id and hostname"),
    ("doublebounceto", "pillarbox sends no mail about failures: they lie in failed/ with their reason"),
    ("bounce-message", "pillarbox sends no mail about failures: they lie in failed/ with their reason"),
    ("bouncemaxbytes", "pillarbox sends no mail about failures: they lie in failed/ with their reason"),
    ("queue-lifetime", "expected queuelifetime"),
];

pub(super) fn read(files: Files<'_>, plan: &mut Plan) -> Result<(), String> {
    let path = format!("{DIR}/remotes");
    let remotes =
        files(&path)?.ok_or_else(|| format!("there is no {path}: no configuration of nullmailer"))?;
    let mut one = |name: &str| -> Option<Line> {
        let path = format!("{DIR}/{name}");
        match files(&path) {
            Ok(text) => first(text?, name, &path),
            Err(why) => {
                plan.lost(&Line::new(name, "", &path, 0), why);
                None
            }
        }
    };
    let names = ["helohost", "me", "defaulthost", "defaultdomain", "allmailfrom", "adminaddr"];
    let [helohost, me, defaulthost, defaultdomain, allmailfrom, adminaddr] = names.map(&mut one);
    let times = ["pausetime", "queuelifetime"].map(&mut one);
    let others = NO_COUNTERPART.map(|(name, why)| (one(name), why));
    for (line, why) in others {
        if let Some(line) = line {
            plan.lost(&line, why);
        }
    }
    identity(plan, files, helohost, me, defaulthost, defaultdomain);
    if let Some(line) = adminaddr {
        let to = line.value.split(',').map(|to| to.trim().to_owned()).filter(|to| !to.is_empty()).collect();
        plan.aliases.push(Alias { name: "*".into(), to, from: line });
    }
    let [pausetime, queuelifetime] = times;
    times_of(plan, pausetime, queuelifetime);
    for (number, text) in written(&remotes) {
        remote(plan, &Line::new("remote", text, &path, number), allmailfrom.as_ref());
    }
    if plan.hosts.is_empty() {
        plan.lost(&Line::new("remotes", "", &path, 0), "no mail server stands in it: add a [[smarthost]]");
    }
    Ok(())
}

/// The first line that says something.
fn first(text: String, name: &str, path: &str) -> Option<Line> {
    let (number, value) = text.lines().enumerate().find(|(_, line)| !line.trim().is_empty())?;
    Some(Line::new(name, value.trim(), path, number + 1))
}

fn identity(
    plan: &mut Plan,
    files: Files<'_>,
    helohost: Option<Line>,
    me: Option<Line>,
    defaulthost: Option<Line>,
    defaultdomain: Option<Line>,
) {
    // Debian's reads this in place of `me`.
    let path = "/etc/mailname";
    let mailname = files(path).ok().flatten().and_then(|text| first(text, "mailname", path));
    if let (Some(me), Some(_)) = (&me, &mailname) {
        plan.note(
            Fate::Changed,
            me,
            "it is hostname now; Debian's nullmailer reads /etc/mailname in its place",
        );
    }
    let named = helohost.or_else(|| me.clone()).or_else(|| mailname.clone());
    if let Some(line) = named {
        plan.set_domain("hostname", &line.value, &line);
    }
    let host = defaulthost.or(me).or(mailname);
    match (host, defaultdomain) {
        (Some(host), Some(domain)) if !host.value.contains('.') => {
            plan.set_domain("domain", &format!("{}.{}", host.value, domain.value), &host);
        }
        (Some(host), domain) => {
            plan.set_domain("domain", &host.value, &host);
            if let Some(domain) = domain {
                plan.lost(
                    &domain,
                    "a domain without a dot is not completed here; a missing one is, by domain",
                );
            }
        }
        (None, Some(domain)) => plan.set_domain("domain", &domain.value, &domain),
        (None, None) => {}
    }
}

fn times_of(plan: &mut Plan, pausetime: Option<Line>, queuelifetime: Option<Line>) {
    for (line, key) in [(pausetime, "retry_interval"), (queuelifetime, "max_age")] {
        let Some(line) = line else { continue };
        match line.value.parse::<u64>() {
            Ok(0) => plan.lost(&line, "for one pass over the queue there is `pillarbox flush`"),
            Ok(seconds) => {
                plan.set(Section::Delivery, key, format!("{seconds}s"), &line);
                if key == "max_age" {
                    plan.note(
                        Fate::Changed,
                        &line,
                        "max_age counts only time in which the server could be reached, from the first deferral",
                    );
                }
            }
            Err(_) => plan.lost(&line, "expected a number of seconds"),
        }
    }
}

fn remote(plan: &mut Plan, line: &Line, allmailfrom: Option<&Line>) {
    let mut words = words(&line.value).into_iter();
    let name = words.next().unwrap_or_default();
    let line = &Line { name: format!("remote {name}"), ..line.clone() };
    let Some(mut host) = Host::new(&name, line) else {
        plan.lost(line, "expected the name of a mail server");
        return;
    };
    match words.next().as_deref() {
        None | Some("smtp") => {}
        Some(_) => {
            plan.lost(line, "pillarbox speaks SMTP and LMTP, no other protocol");
            return;
        }
    }
    // Its two mechanisms are PLAIN and LOGIN.
    host.shows_password = true;
    let mut is_insecure = false;
    for word in words {
        let word = word.trim_start_matches("--");
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let from = &Line { name: format!("remote {name}, {}", known(key)), ..line.clone() };
        match key {
            "port" => host.set_port(value, from, &mut plan.notes),
            "user" => host.user = Some((value.to_owned(), from.clone())),
            "pass" => host.proof = Some((Proof::Secret(Secret::new(value)), from.clone())),
            "auth-login" => host.mechanisms = (vec![Mechanism::Login], from.clone()),
            "tls" | "ssl" => host.security = (Security::Implicit, from.clone()),
            "starttls" => host.security = (Security::StartTls, from.clone()),
            "x509certfile" => host.set("client_cert", value, from),
            "x509keyfile" => host.set("client_key", value, from),
            "x509cafile" => host.set_ca_file(value, from, &mut plan.notes),
            "insecure" | "tls-anon-auth" => is_insecure = true,
            "source" => plan.lost(from, "the address to connect from is the system's choice"),
            "x509crlfile" => plan.lost(from, "lists of revoked certificates are not read"),
            "x509fmtder" => plan.lost(from, "certificates have to be PEM: openssl x509 -inform der"),
            _ => plan.lost(from, "it is not known here"),
        }
    }
    let has = |host: &Host, key| host.settings.iter().any(|setting| setting.key == key);
    if has(&host, "client_key") && !has(&host, "client_cert") {
        host.settings.retain(|setting| setting.key != "client_key");
    }
    if is_insecure {
        plan.lost(line, "a certificate that does not verify is refused here: name its key in pin, the log has the line for it");
    }
    if let Some(from) = allmailfrom {
        host.set_from(&from.value, from, &mut plan.notes);
    }
    plan.hosts.push(host);
}

/// A word that is no option may be half of a password.
fn known(key: &str) -> &str {
    let options = [
        "port",
        "user",
        "pass",
        "auth-login",
        "tls",
        "ssl",
        "starttls",
        "x509certfile",
        "x509keyfile",
        "x509cafile",
        "insecure",
        "tls-anon-auth",
        "source",
        "x509crlfile",
        "x509fmtder",
    ];
    if options.contains(&key) { key } else { "an option" }
}
