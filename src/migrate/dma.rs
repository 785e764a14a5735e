//! /etc/dma/dma.conf and auth.conf (dma(8)).

use super::{Fate, Files, Host, Line, Plan, Proof, Section, Security};
use crate::mail::Mailbox;
use crate::smtp::{Mechanism, Secret};

const CONF: &str = "/etc/dma/dma.conf";

pub(super) fn read(files: Files<'_>, plan: &mut Plan) -> Result<(), String> {
    let text = files(CONF)?.ok_or_else(|| format!("there is no {CONF}: no configuration of dma"))?;
    let lines = parse(&text);
    let last = |name: &str| lines.iter().rev().find(|line| line.name == name);
    let on = |name: &str| last(name).is_some();
    identity(last("MAILNAME"), files, plan);
    match last("SMARTHOST").map(|line| (line, Host::new(&line.value, line))) {
        Some((line, Some(mut host))) => {
            host.port = Some(25);
            if let Some(port) = last("PORT") {
                host.set_port(&port.value, port, &mut plan.notes);
            }
            security(&last, &mut host, plan);
            if let Some(path) = last("AUTHPATH") {
                login(path, &line.value, files, &mut host, plan);
            }
            host.mechanisms = (Vec::new(), line.clone());
            match last("INSECURE") {
                Some(_) => host.shows_password = true,
                None if matches!(host.security.0, Security::None) => {
                    // Without TLS it knows CRAM-MD5 alone.
                    host.mechanisms.0 = vec![Mechanism::CramMd5];
                }
                None => {}
            }
            if let Some(line) = last("MASQUERADE") {
                masquerade(line, &mut host, plan);
            }
            plan.hosts.push(host);
        }
        Some((line, None)) => plan.lost(line, "expected the name of a mail server"),
        None => plan.lost(
            &Line::new("SMARTHOST", "", CONF, 0),
            "none is named, so that dma sent to each recipient's own server: name yours in [[smarthost]]",
        ),
    }
    let aliases = last("ALIASES").map_or("/etc/aliases", |line| &line.value);
    if on("NULLCLIENT") {
        plan.note(
            Fate::NotNeeded,
            &Line::new("aliases", "", aliases, 0),
            "with NULLCLIENT they are not read",
        );
    } else {
        plan.read_aliases(aliases, files, last("ALIASES"));
        plan.note(
            Fate::Changed,
            &Line::new("local delivery", "", CONF, 0),
            "pillarbox has no mailboxes: a name without an alias goes to the mail server, completed by domain",
        );
    }
    for line in &lines {
        match line.name.as_str() {
            "DEFER" => plan.lost(line, "without the service, `pillarbox flush` sends what waits"),
            "FULLBOUNCE" => plan
                .lost(line, "pillarbox sends no mail about failures: they lie in failed/ with their reason"),
            "SPOOLDIR" => plan.note(Fate::NotNeeded, line, "what waits there has to be sent by dma: dma -q"),
            "DEBUGLOG" => plan.lost(line, "the log goes to stderr, and to the journal under systemd"),
            "SMARTHOST" | "PORT" | "ALIASES" | "AUTHPATH" | "SECURETRANSFER" | "STARTTLS"
            | "OPPORTUNISTIC_TLS" | "CERTFILE" | "FINGERPRINT" | "VERIFYCERT" | "MAILNAME" | "MASQUERADE"
            | "NULLCLIENT" | "INSECURE" | "SECURE" => {}
            _ => plan.unknown(line),
        }
    }
    Ok(())
}

/// A name, and a value behind white space; `#` begins a comment anywhere.
fn parse(text: &str) -> Vec<Line> {
    let line = |(n, text): (usize, &str)| {
        let text = text.split('#').next().unwrap_or_default().trim();
        let (name, value) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        (!name.is_empty()).then(|| Line::new(name, value.trim(), CONF, n + 1))
    };
    text.lines().enumerate().filter_map(line).collect()
}

fn identity(mailname: Option<&Line>, files: Files<'_>, plan: &mut Plan) {
    let Some(line) = mailname.filter(|line| !line.value.is_empty()) else { return };
    let name = match line.value.starts_with('/') {
        false => Some(line.value.clone()),
        true => match files(&line.value) {
            Ok(text) => text.and_then(|text| text.lines().next().map(|line| line.trim().to_owned())),
            Err(why) => {
                plan.lost(line, why);
                return;
            }
        },
    };
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        plan.lost(line, format!("there is no name in {}", line.value));
        return;
    };
    plan.set_domain("hostname", &name, line);
    // Without a dot it completes nothing that anybody could answer to.
    if name.contains('.') {
        plan.set_domain("domain", &name, line);
    }
}

fn security<'a>(last: &dyn Fn(&str) -> Option<&'a Line>, host: &mut Host, plan: &mut Plan) {
    let plain = Line { name: "no SECURETRANSFER".into(), ..host.from.clone() };
    let (security, line) = match (last("SECURETRANSFER"), last("STARTTLS"), last("OPPORTUNISTIC_TLS")) {
        (None, ..) => (Security::None, plain),
        (Some(line), None, _) => (Security::Implicit, line.clone()),
        (_, Some(_), Some(line)) => (Security::Offered, line.clone()),
        (_, Some(line), None) => (Security::StartTls, line.clone()),
    };
    let is_on = !matches!(security, Security::None);
    if matches!(security, Security::StartTls | Security::Implicit) && last("VERIFYCERT").is_none() {
        plan.note(Fate::Changed, &line, "the certificate is verified here, which dma did not: if it is refused, the log has the line for pin");
    }
    host.security = (security, line);
    if let Some(line) = last("CERTFILE").filter(|line| is_on && !line.value.is_empty()) {
        host.set("client_cert", line.value.as_str(), line);
    }
    if let Some(line) = last("FINGERPRINT") {
        plan.lost(line, "it is of the certificate, and pin is of its key: the log has the line for pin when the certificate is refused");
    }
}

/// `user|host:password` a line.
fn login(path: &Line, smarthost: &str, files: Files<'_>, host: &mut Host, plan: &mut Plan) {
    let text = match files(&path.value) {
        Ok(Some(text)) => text,
        Ok(None) => return plan.lost(path, format!("there is no {}", path.value)),
        Err(why) => return plan.lost(path, why),
    };
    for (n, text) in text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let line = Line::new("login", "", &path.value, n + 1);
        let parts =
            text.split_once('|').and_then(|(user, rest)| Some((user, rest.split_once([':', ' ', '\t'])?)));
        match parts {
            Some((user, (name, password))) if name == smarthost => {
                host.user = Some((user.to_owned(), line.clone()));
                host.proof = Some((Proof::Secret(Secret::new(password)), line));
            }
            Some((_, (name, _))) => plan.lost(&line, format!("it is for {name}, which is not the SMARTHOST")),
            None => plan.lost(&line, "expected user|host:password"),
        }
    }
}

fn masquerade(line: &Line, host: &mut Host, plan: &mut Plan) {
    if line.value.parse::<Mailbox>().is_ok() {
        host.set_from(&line.value, line, &mut plan.notes);
        return;
    }
    // A host alone: who sends, at that host. A user alone: he, at this one.
    let template = match line.value.strip_suffix('@') {
        Some(user) => format!("{user}@{{hostname}}"),
        None => format!("{{user}}@{}", line.value),
    };
    match template.replace(['{', '}'], "").parse::<Mailbox>() {
        Ok(_) => {
            plan.set(Section::Identity, "from", template, line);
            plan.set(Section::Identity, "force_from", "envelope", line);
        }
        Err(error) => plan.lost(line, error.to_string()),
    }
}
