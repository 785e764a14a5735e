//! /etc/ssmtp/ssmtp.conf and revaliases (ssmtp.conf(5)).

use super::lines::written;
use super::{Alias, Fate, Files, Host, Line, Plan, Proof, Security};
use crate::smtp::{Mechanism, Secret};

const CONF: &str = "/etc/ssmtp/ssmtp.conf";

pub(super) fn read(files: Files<'_>, plan: &mut Plan) -> Result<(), String> {
    let text = files(CONF)?.ok_or_else(|| format!("there is no {CONF}: no configuration of ssmtp"))?;
    let lines: Vec<Line> = written(&text)
        .map(|(number, text)| {
            let (name, value) = text.split_once(['=', ' ', '\t', ':']).unwrap_or((text, ""));
            Line::new(name, value.trim_matches(['=', ' ', '\t']), CONF, number)
        })
        .collect();
    let last = |name: &str| {
        lines.iter().rev().find(|line| line.name.eq_ignore_ascii_case(name) && !line.value.is_empty())
    };
    let on = |name: &str| {
        last(name).filter(|line| ["yes", "true", "on"].contains(&line.value.to_ascii_lowercase().as_str()))
    };
    match last("mailhub").map(|line| (line, line.value.rsplit_once(':').unwrap_or((&line.value, "25")))) {
        Some((line, (name, port))) => match Host::new(name, line) {
            Some(mut host) => {
                host.set_port(port, line, &mut plan.notes);
                smarthost(&last, &on, &mut host, plan);
                plan.hosts.push(host);
            }
            None => plan.lost(line, "expected the name of a mail server"),
        },
        None => plan.lost(&Line::new("mailhub", "", CONF, 0), "none is named: add a [[smarthost]]"),
    }
    if let Some(line) = last("hostname") {
        plan.set_domain("hostname", &line.value, line);
    }
    if let Some(line) = last("rewriteDomain") {
        plan.set_domain("domain", &line.value, line);
        plan.note(
            Fate::Changed,
            line,
            "it completes a sender without a domain; one that has another domain keeps it",
        );
    }
    if let Some(line) = last("root") {
        plan.aliases.push(Alias { name: "root".into(), to: vec![line.value.clone()], from: line.clone() });
        plan.note(
            Fate::Changed,
            line,
            "it is for root; for the other users of the system add them, or \"*\"",
        );
    }
    let read = [
        "mailhub",
        "hostname",
        "rewriteDomain",
        "root",
        "UseTLS",
        "UseSTARTTLS",
        "AuthUser",
        "AuthPass",
        "AuthMethod",
        "TLS_CA_File",
        "UseTLSCert",
        "TLSCert",
        "TLSKey",
    ];
    let is_read = |line: &&Line| read.iter().any(|name| line.name.eq_ignore_ascii_case(name));
    for line in lines.iter().filter(|line| !is_read(line)) {
        match line.name.to_ascii_lowercase().as_str() {
            "fromlineoverride" => plan.note(Fate::NotNeeded, line, "the sender is that of the message here"),
            "debug" => plan.lost(line, "level in [log] says how much is logged"),
            "tls_ca_dir" => plan.lost(line, "the system's certificates are trusted, and those in ca_file"),
            _ => plan.unknown(line),
        }
    }
    let path = "/etc/ssmtp/revaliases";
    for (number, _) in written(&files(path).unwrap_or_default().unwrap_or_default()) {
        plan.lost(
            &Line::new("reverse alias", "", path, number),
            "a sender for each user, by another server: from of [[smarthost]] is for all mail",
        );
    }
    Ok(())
}

fn smarthost<'a>(
    last: &dyn Fn(&str) -> Option<&'a Line>,
    on: &dyn Fn(&str) -> Option<&'a Line>,
    host: &mut Host,
    plan: &mut Plan,
) {
    let plain = Line { name: "no UseTLS".into(), ..host.from.clone() };
    host.security = match (on("UseSTARTTLS"), on("UseTLS")) {
        (Some(line), _) => (Security::StartTls, line.clone()),
        (None, Some(line)) => (Security::Implicit, line.clone()),
        (None, None) => (Security::None, plain),
    };
    if !matches!(host.security.0, Security::None) && last("TLS_CA_File").is_none() {
        let why = "the certificate is verified here, which ssmtp did not: if it is refused, the log has the line for pin";
        plan.note(Fate::Changed, &host.security.1, why);
    }
    if let Some(line) = last("TLS_CA_File") {
        host.set_ca_file(&line.value, line, &mut plan.notes);
    }
    if let (Some(_), Some(certificate), Some(key)) = (on("UseTLSCert"), last("TLSCert"), last("TLSKey")) {
        host.set("client_cert", certificate.value.as_str(), certificate);
        host.set("client_key", key.value.as_str(), key);
    }
    host.user = last("AuthUser").map(|line| (line.value.clone(), line.clone()));
    host.proof = last("AuthPass").map(|line| (Proof::Secret(Secret::new(&line.value)), line.clone()));
    // LOGIN, unless it is told otherwise.
    match last("AuthMethod") {
        Some(line) if line.value.eq_ignore_ascii_case("cram-md5") => {
            host.mechanisms = (vec![Mechanism::CramMd5], line.clone());
        }
        _ => host.shows_password = true,
    }
}
