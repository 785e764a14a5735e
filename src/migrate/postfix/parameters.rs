//! The parameters of main.cf, with what `$name` in them stands for, and what is said of those that have no counterpart.

use std::collections::BTreeMap;

use crate::migrate::lines::folded;
use crate::migrate::{Fate, Line, Plan};

/// Those that are read.
const READ: &[&str] = &[
    "relayhost",
    "smtp_fallback_relay",
    "fallback_relay",
    "smtp_helo_name",
    "myhostname",
    "myorigin",
    "mydomain",
    "smtp_tls_security_level",
    "smtp_use_tls",
    "smtp_enforce_tls",
    "smtp_tls_wrappermode",
    "smtp_tls_CAfile",
    "smtp_tls_CApath",
    "smtp_tls_cert_file",
    "smtp_tls_key_file",
    "smtp_tls_chain_files",
    "smtp_sasl_auth_enable",
    "smtp_sasl_password_maps",
    "smtp_sasl_security_options",
    "smtp_sasl_mechanism_filter",
    "message_size_limit",
    "maximal_queue_lifetime",
    "smtp_destination_rate_delay",
    "default_destination_rate_delay",
    "alias_maps",
    "mydestination",
];

/// Rewriting and routing, and what else changes where mail goes or what it looks like.
const LOST: &[(&str, &str)] = &[
    ("sender_canonical_maps", "senders are not rewritten one by one: from of [[smarthost]] is for all mail"),
    (
        "smtp_generic_maps",
        "addresses are not rewritten one by one: from of [[smarthost]] is for all mail, [aliases] for recipients",
    ),
    (
        "canonical_maps",
        "addresses are not rewritten one by one: from of [[smarthost]] is for all mail, [aliases] for recipients",
    ),
    ("recipient_canonical_maps", "recipients are written into [aliases]"),
    ("virtual_alias_maps", "recipients are written into [aliases]"),
    ("virtual_alias_domains", "recipients are written into [aliases]"),
    ("luser_relay", "\"*\" in [aliases] is for every local name without an alias"),
    ("always_bcc", "no copies are sent"),
    ("sender_bcc_maps", "no copies are sent"),
    ("recipient_bcc_maps", "no copies are sent"),
    ("masquerade_domains", "addresses keep their domain; domain completes those without one"),
    ("transport_maps", "all mail goes to the smarthost that is usable"),
    ("sender_dependent_relayhost_maps", "all mail goes to the smarthost that is usable, whoever it is from"),
    (
        "sender_dependent_default_transport_maps",
        "all mail goes to the smarthost that is usable, whoever it is from",
    ),
    ("default_transport", "all mail goes to the smarthost that is usable"),
    ("relay_transport", "all mail goes to the smarthost that is usable"),
    ("smtp_sender_dependent_authentication", "one login for each smarthost"),
    ("smtp_tls_policy_maps", "tls of each [[smarthost]] says what TLS it must have"),
    ("smtp_tls_per_site", "tls of each [[smarthost]] says what TLS it must have"),
    (
        "smtp_tls_fingerprint_cert_match",
        "it may be of the certificate, and pin is of its key: the log has the line for pin",
    ),
    ("smtp_tls_verify_cert_match", "the certificate has to be for the host in url"),
    ("smtp_tls_secure_cert_match", "the certificate has to be for the host in url"),
    ("header_checks", "messages are not changed by patterns"),
    ("smtp_header_checks", "messages are not changed by patterns"),
    ("body_checks", "messages are not changed by patterns"),
    ("mime_header_checks", "messages are not changed by patterns"),
    ("content_filter", "messages are passed through no filter"),
    ("smtp_bind_address", "the address to connect from is the system's choice"),
    ("smtp_bind_address6", "the address to connect from is the system's choice"),
    ("inet_protocols", "both are tried, the first that answers is used (RFC 8305)"),
    ("home_mailbox", "pillarbox has no mailboxes"),
    ("mail_spool_directory", "pillarbox has no mailboxes"),
    ("mailbox_command", "pillarbox has no mailboxes"),
    ("mailbox_transport", "pillarbox has no mailboxes"),
    ("notify_classes", "pillarbox sends no mail about failures: they lie in failed/ with their reason"),
    (
        "bounce_notice_recipient",
        "pillarbox sends no mail about failures: they lie in failed/ with their reason",
    ),
    ("minimal_backoff_time", "retry_interval says how often is tried"),
    ("maximal_backoff_time", "retry_interval says how often is tried"),
    ("queue_run_delay", "retry_interval says how often is tried"),
    ("defer_transports", "`pillarbox pause` holds all mail"),
];

/// By name.
pub(super) struct Parameters(BTreeMap<String, Line>);

impl Parameters {
    /// The last of each name counts; `$name`, `${name}` and `$(name)` are replaced.
    pub(super) fn parse(text: &str, file: &str, plan: &mut Plan) -> Parameters {
        let mut set = Parameters(BTreeMap::new());
        for (number, text) in folded(text) {
            match text.split_once('=') {
                Some((name, value)) => {
                    let line = Line::new(name.trim(), value.trim(), file, number);
                    set.0.insert(line.name.clone(), line);
                }
                None => plan.lost(&Line::new("line", "", file, number), "expected name = value"),
            }
        }
        let as_written = set.0.clone();
        for line in set.0.values_mut() {
            match expand(&line.value, &as_written, 0) {
                Ok(value) => line.value = value,
                // Only what is read has to be understood.
                Err(why) if READ.contains(&line.name.as_str()) => {
                    plan.lost(line, why);
                    line.value.clear();
                }
                Err(_) => {}
            }
        }
        set
    }

    /// One that says something.
    pub(super) fn get(&self, name: &str) -> Option<&Line> {
        self.0.get(name).filter(|line| !line.value.is_empty())
    }

    /// One that may say that there is nothing.
    pub(super) fn written(&self, name: &str) -> Option<&Line> {
        self.0.get(name)
    }

    pub(super) fn is_on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|line| line.value.eq_ignore_ascii_case("yes"))
    }

    /// A note for each that was not read.
    pub(super) fn say_the_rest(&self, plan: &mut Plan) {
        let mut rest: Vec<&Line> =
            self.0.values().filter(|line| !READ.contains(&line.name.as_str())).collect();
        rest.sort_by_key(|line| line.place.line);
        for line in rest {
            let lost = LOST.iter().find(|(name, _)| *name == line.name);
            match lost {
                Some((_, why)) if !line.value.is_empty() => plan.lost(line, *why),
                Some(_) => plan.note(Fate::NotNeeded, line, "it is empty"),
                None => plan.note(Fate::NotNeeded, line, not_needed(&line.name)),
            }
        }
    }
}

fn not_needed(name: &str) -> &'static str {
    let of_the_server = [
        "smtpd_",
        "mynetworks",
        "inet_interfaces",
        "relay_domains",
        "postscreen_",
        "proxy_interfaces",
        "lmtp_",
        "virtual_",
        "milter_",
    ];
    let of_the_client = ["smtp_", "tls_", "relay_", "default_", "qmgr_"];
    match name {
        _ if of_the_server.iter().any(|prefix| name.starts_with(prefix)) => {
            "it is about mail from the network, or to mailboxes; pillarbox takes none"
        }
        _ if of_the_client.iter().any(|prefix| name.starts_with(prefix)) => {
            "it has no counterpart: sending has few settings here, and postfix's defaults are not needed"
        }
        _ => "it has no counterpart, and is about postfix itself",
    }
}

/// Nested as deep as this is a circle.
const DEPTH_MAX: usize = 10;

fn expand(text: &str, set: &BTreeMap<String, Line>, depth: usize) -> Result<String, String> {
    if depth > DEPTH_MAX {
        return Err("it names itself".to_owned());
    }
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('$') {
        expanded.push_str(before);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let close = match behind.chars().next() {
            Some('$') => {
                expanded.push('$');
                rest = &behind[1..];
                continue;
            }
            Some('{') => '}',
            Some('(') => ')',
            _ => ' ',
        };
        let (name, after) = match close {
            ' ' => behind.split_at(behind.find(|c| !is_name(c)).unwrap_or(behind.len())),
            close => behind[1..].split_once(close).ok_or_else(|| "a bracket is open".to_owned())?,
        };
        if name.is_empty() || !name.chars().all(is_name) {
            return Err("conditions behind $ are not understood here".to_owned());
        }
        match set.get(name) {
            Some(line) => expanded.push_str(&expand(&line.value, set, depth + 1)?),
            None => expanded.push_str(&by_default(name, set, depth)?),
        }
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// What stands for a name that is not in the file.
fn by_default(name: &str, set: &BTreeMap<String, Line>, depth: usize) -> Result<String, String> {
    let host = set.get("myhostname");
    match (name, host) {
        ("mydomain", Some(host)) => {
            let host = expand(&host.value, set, depth + 1)?;
            Ok(host.split_once('.').map_or("localdomain".to_owned(), |(_, domain)| domain.to_owned()))
        }
        ("config_directory", _) => Ok("/etc/postfix".to_owned()),
        ("default_database_type", _) => Ok("hash".to_owned()),
        _ => Err(format!("${name} is not in the file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Parameters, Plan) {
        let mut plan = Plan::default();
        (Parameters::parse(text, "main.cf", &mut plan), plan)
    }

    #[test]
    fn names_stand_for_what_they_say_in_each_form_and_the_last_counts() {
        let text = "relayhost = x\nmyhostname = box.example.com\n# a comment\nmyorigin = $mydomain\n\
            smtp_helo_name = ${myhostname}\nrelayhost = [smtp.$(mydomain)]\n   :587\n";
        let (set, plan) = parsed(text);
        assert_eq!(set.get("myorigin").unwrap().value, "example.com");
        assert_eq!(set.get("smtp_helo_name").unwrap().value, "box.example.com");
        let relay = set.get("relayhost").unwrap();
        assert_eq!((relay.value.as_str(), relay.place.line), ("[smtp.example.com] :587", 6));
        assert!(plan.notes.is_empty(), "{plan:?}");
    }

    #[test]
    fn what_cannot_be_expanded_is_said_with_its_line() {
        let rows = [
            ("myorigin = $mydomain", "$mydomain is not in the file"),
            ("myorigin = $myorigin", "it names itself"),
            ("myorigin = ${x?y}", "conditions behind $ are not understood here"),
            ("myorigin = ${x", "a bracket is open"),
            ("what", "expected name = value"),
        ];
        for (text, why) in rows {
            let (set, plan) = parsed(text);
            assert!(set.get("myorigin").is_none());
            assert_eq!(plan.notes.len(), 1, "{text}");
            assert_eq!(plan.notes[0].why, why);
        }
    }
}
