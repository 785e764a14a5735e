//! /etc/postfix/main.cf of a null client (postconf(5)); master.cf is not read.

mod parameters;

use super::lines::{folded, written};
use super::{Fate, Files, Host, Line, Plan, Proof, Section, Security};
use crate::smtp::{Mechanism, Secret};
use parameters::Parameters;

const CONF: &str = "/etc/postfix/main.cf";

pub(super) fn read(files: Files<'_>, plan: &mut Plan) -> Result<(), String> {
    let text = files(CONF)?.ok_or_else(|| format!("there is no {CONF}: no configuration of postfix"))?;
    let set = Parameters::parse(&text, CONF, plan);
    identity(&set, files, plan);
    let mut relays = Vec::new();
    for name in ["relayhost", "smtp_fallback_relay", "fallback_relay"] {
        if let Some(line) = set.get(name) {
            relays.extend(list(&line.value).map(|relay| (relay, line.clone())));
        }
    }
    for (relay, line) in &relays {
        smarthost(&set, relay, line, files, plan);
    }
    if set.is_on("smtp_sasl_auth_enable") {
        logins_of_others(&set, &relays, files, plan);
    }
    if set.get("relayhost").is_none() {
        let line = Line::new("relayhost", "", CONF, 0);
        plan.lost(
            &line,
            "none is named, so that postfix sent to each recipient's own server: name yours in [[smarthost]]",
        );
    }
    limits(&set, plan);
    aliases(&set, files, plan);
    set.say_the_rest(plan);
    Ok(())
}

fn list(text: &str) -> impl Iterator<Item = String> {
    text.split([',', ' ', '\t']).filter(|word| !word.is_empty()).map(str::to_owned)
}

fn identity(set: &Parameters, files: Files<'_>, plan: &mut Plan) {
    let helo = set.get("smtp_helo_name").or_else(|| set.get("myhostname"));
    if let Some(line) = helo {
        plan.set_domain("hostname", &line.value, line);
    }
    // The default of myorigin is $myhostname.
    let Some(line) = set.get("myorigin").or_else(|| set.get("myhostname")) else { return };
    if !line.value.starts_with('/') {
        return plan.set_domain("domain", &line.value, line);
    }
    match files(&line.value) {
        Ok(Some(text)) => match written(&text).next() {
            Some((_, name)) => plan.set_domain("domain", name, line),
            None => plan.lost(line, format!("there is no name in {}", line.value)),
        },
        Ok(None) => plan.lost(line, format!("there is no {}", line.value)),
        Err(why) => plan.lost(line, why),
    }
}

/// `[host]:port`; without brackets postfix asks the DNS for the mail exchangers of `host`.
fn smarthost(set: &Parameters, relay: &str, line: &Line, files: Files<'_>, plan: &mut Plan) {
    let (name, port, is_exact) = split_relay(relay);
    let Some(mut host) = Host::new(name, line) else {
        return plan.lost(line, format!("expected [host]:port, found {relay:?}"));
    };
    host.port = Some(25);
    if let Some(port) = port {
        host.set_port(port, line, &mut plan.notes);
    }
    if !is_exact && name.parse::<std::net::IpAddr>().is_err() {
        plan.note(
            Fate::Changed,
            line,
            format!("{name} is connected to itself; the DNS is not asked for its mail exchangers (MX)"),
        );
    }
    security(set, &mut host, plan);
    if set.is_on("smtp_sasl_auth_enable") {
        login(set, relay, &mut host, files, plan);
    }
    plan.hosts.push(host);
}

fn security(set: &Parameters, host: &mut Host, plan: &mut Plan) {
    let plain = Line { name: "no smtp_tls_security_level".into(), ..host.from.clone() };
    let level = set.get("smtp_tls_security_level");
    let of_old = [("smtp_enforce_tls", Security::StartTls), ("smtp_use_tls", Security::Offered)];
    let (security, line) = match level {
        Some(line) => match line.value.as_str() {
            "none" => (Security::None, line.clone()),
            "may" => (Security::Offered, line.clone()),
            "verify" | "secure" => (Security::StartTls, line.clone()),
            other => {
                let why = match other {
                    "encrypt" => {
                        "the certificate is verified here, which postfix did not: if it is refused, the log has the line for pin"
                    }
                    "fingerprint" => {
                        "the certificate is verified here, or its key is that of pin: the log has the line for it"
                    }
                    _ => "the certificate is verified by who issued it; the DNS is not asked (DANE)",
                };
                plan.note(Fate::Changed, line, why);
                (Security::StartTls, line.clone())
            }
        },
        None => of_old
            .into_iter()
            .find_map(|(name, security)| Some((security, set.get(name).filter(|_| set.is_on(name))?.clone())))
            .unwrap_or((Security::None, plain)),
    };
    host.security = match set.get("smtp_tls_wrappermode").filter(|_| set.is_on("smtp_tls_wrappermode")) {
        Some(line) => (Security::Implicit, line.clone()),
        None => (security, line),
    };
    if matches!(host.security.0, Security::None) {
        return;
    }
    if let Some(line) = set.get("smtp_tls_CAfile") {
        host.set_ca_file(&line.value, line, &mut plan.notes);
    }
    if let Some(line) = set.get("smtp_tls_CApath").filter(|line| !super::lines::is_systems_trust(&line.value))
    {
        plan.lost(line, "a folder of certificates: write them into one file, and that into ca_file");
    }
    let chain = set.get("smtp_tls_chain_files").filter(|line| list(&line.value).count() == 1);
    if let Some(line) = chain.or_else(|| set.get("smtp_tls_cert_file")) {
        host.set("client_cert", line.value.as_str(), line);
        // Without one the key is beside the certificate, here as there.
        if let Some(key) = set.get("smtp_tls_key_file").filter(|_| chain.is_none()) {
            host.set("client_key", key.value.as_str(), key);
        }
    }
}

fn login(set: &Parameters, relay: &str, host: &mut Host, files: Files<'_>, plan: &mut Plan) {
    let options =
        set.get("smtp_sasl_security_options").map_or("noplaintext, noanonymous", |line| &line.value);
    host.shows_password = !list(options).any(|option| option == "noplaintext");
    if let Some(line) = set.get("smtp_sasl_mechanism_filter") {
        let names: Vec<String> = list(&line.value).collect();
        let known: Vec<Mechanism> = names.iter().filter_map(|name| name.parse().ok()).collect();
        if known.len() < names.len() {
            plan.lost(line, "some of it is not known here: auth has the others, or is left out for the strongest that both know");
        }
        host.mechanisms = (known, line.clone());
    }
    let Some(line) = set.get("smtp_sasl_password_maps") else {
        let line = Line::new("smtp_sasl_password_maps", "", CONF, 0);
        return plan.lost(&line, "a login is wanted, and no user and password are named: nobody logs in");
    };
    let mut user = None;
    for map in list(&line.value) {
        match map.split_once(':') {
            Some(("static", login)) => user = user.or_else(|| split_login(login, line)),
            Some(("hash" | "texthash" | "btree" | "lmdb" | "cdb" | "dbm" | "sdbm", path)) => {
                let found = in_table(path, relay, &host.name, line, files, plan);
                user = user.or(found);
            }
            _ => {
                plan.lost(line, "expected a table of the type hash, texthash, btree, lmdb or cdb, or static")
            }
        }
    }
    match user {
        Some((user, password, line)) => {
            host.user = Some((user, line.clone()));
            host.proof = Some((Proof::Secret(password), line));
        }
        None => plan.lost(line, format!("there is no login for {relay} in it: nobody logs in")),
    }
}

fn split_login(login: &str, line: &Line) -> Option<(String, Secret, Line)> {
    let (user, password) = login.split_once(':')?;
    Some((user.to_owned(), Secret::new(password), line.clone()))
}

/// The file that the table was made of.
fn in_table(
    path: &str,
    relay: &str,
    host: &str,
    line: &Line,
    files: Files<'_>,
    plan: &mut Plan,
) -> Option<(String, Secret, Line)> {
    let text = match files(path) {
        Ok(Some(text)) => text,
        Ok(None) => {
            plan.lost(line, format!("there is no {path}: only the table that was made of it"));
            return None;
        }
        Err(why) => {
            plan.lost(line, why);
            return None;
        }
    };
    let mut found = None;
    for (number, text) in folded(&text) {
        let line = Line::new("login", "", path, number);
        let Some((key, login)) = text.split_once(char::is_whitespace) else {
            plan.lost(&line, "expected a host, white space and user:password");
            continue;
        };
        match split_login(login.trim(), &line) {
            Some(login) if key == relay || key == host => found = found.or(Some(login)),
            Some(_) => {}
            None => plan.lost(&line, "expected user:password behind the host"),
        }
    }
    found
}

fn logins_of_others(set: &Parameters, relays: &[(String, Line)], files: Files<'_>, plan: &mut Plan) {
    let maps = set.get("smtp_sasl_password_maps").map_or("", |line| &line.value);
    for path in list(maps).filter_map(|map| map.split_once(':').map(|(_, path)| path.to_owned())) {
        // Why it cannot be read was said where it was needed.
        let text = files(&path).ok().flatten().unwrap_or_default();
        for (number, text) in folded(&text) {
            let key = text.split_whitespace().next().unwrap_or_default();
            let is_wanted = |(relay, _): &(String, Line)| {
                relay == key
                    || Host::new(split_relay(relay).0, &Line::new("", "", "", 0))
                        .is_some_and(|host| host.name == key)
            };
            if !relays.iter().any(is_wanted) {
                plan.lost(
                    &Line::new("login", "", &path, number),
                    "it is for another server, or for one sender",
                );
            }
        }
    }
}

/// Host, port, and whether it is the host itself.
fn split_relay(relay: &str) -> (&str, Option<&str>, bool) {
    match relay.strip_prefix('[').and_then(|r| r.split_once(']')) {
        Some((name, port)) => (name.trim_start_matches("ipv6:"), port.strip_prefix(':'), true),
        None => match relay.split_once(':') {
            Some((name, port)) => (name, Some(port), false),
            None => (relay, None, false),
        },
    }
}

fn limits(set: &Parameters, plan: &mut Plan) {
    if let Some(line) = set.get("message_size_limit").filter(|line| line.value != "0") {
        match line.value.parse::<u64>() {
            Ok(octets) => plan.set(Section::Spool, "max_message_size", format!("{octets}B"), line),
            Err(_) => plan.lost(line, "expected a number of octets"),
        }
    }
    if let Some(line) = set.get("maximal_queue_lifetime") {
        match seconds(&line.value, 'd') {
            Some(0) | None => plan.lost(line, "max_age says how long a deferred message is tried"),
            Some(seconds) => {
                plan.set(Section::Delivery, "max_age", format!("{seconds}s"), line);
                let why =
                    "max_age counts only time in which the server could be reached, from the first deferral";
                plan.note(Fate::Changed, line, why);
            }
        }
    }
    let delay = set.get("smtp_destination_rate_delay").or_else(|| set.get("default_destination_rate_delay"));
    if let Some(line) = delay {
        match seconds(&line.value, 's') {
            Some(0) => {}
            Some(seconds) => {
                plan.set(Section::Delivery, "rate", format!("1/{seconds}s"), line);
                let why =
                    "rate counts messages for each smarthost; there it was for each domain of recipients";
                plan.note(Fate::Changed, line, why);
            }
            None => plan.lost(line, "expected a span of time"),
        }
    }
}

/// A span of time of postconf(5); `unit` where it names none.
fn seconds(text: &str, unit: char) -> Option<u64> {
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, last)) if last.is_ascii_alphabetic() => (&text[..at], last),
        _ => (text, unit),
    };
    let per = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(per)
}

fn aliases(set: &Parameters, files: Files<'_>, plan: &mut Plan) {
    let by_default = Line::new("alias_maps", "hash:/etc/aliases", CONF, 0);
    let line = set.written("alias_maps").unwrap_or(&by_default);
    for map in list(&line.value) {
        match map.split_once(':') {
            Some(("hash" | "texthash" | "btree" | "lmdb" | "cdb" | "dbm" | "sdbm", path)) => {
                let named_in = (line.place.line > 0).then_some(line);
                plan.read_aliases(path, files, named_in);
            }
            _ => plan.lost(line, format!("{map} is no file of aliases")),
        }
    }
    let why =
        "pillarbox has no mailboxes: a name without an alias goes to the mail server, completed by domain";
    let local = set.written("mydestination").cloned();
    if local.as_ref().is_none_or(|line| !line.value.is_empty()) {
        let line = local.unwrap_or_else(|| Line::new("mydestination", "", CONF, 0));
        plan.note(Fate::Changed, &line, why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_have_the_unit_of_their_parameter() {
        let rows = [("5d", 432_000), ("5", 432_000), ("2h", 7_200), ("10m", 600), ("1w", 604_800)];
        for (text, expected) in rows {
            assert_eq!(seconds(text, 'd'), Some(expected), "{text}");
        }
        assert_eq!(seconds("2", 's'), Some(2));
        assert_eq!(seconds("2y", 's'), None);
        assert_eq!(seconds("ü", 's'), None);
    }
}
