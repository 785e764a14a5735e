//! A plan as our configuration, each setting with the place that it comes from.

use std::fmt::Write as _;

use super::{Host, Plan, Proof, Section, Security, Setting, System};
use crate::smtp::{Mechanism, Secret};

/// What is to be written.
#[derive(Debug)]
pub struct Rendered {
    /// The configuration.
    pub config: String,
    /// A file for each password, beside it: its name, and the password; `None` where the operator has to write it.
    pub secrets: Vec<(String, Option<Secret>)>,
}

/// Writes a plan down. `spool` is where the spool is, `secrets` the folder for the passwords.
pub fn render(plan: &Plan, system: System, spool: &str, secrets: &str) -> Rendered {
    let mut config = format!(
        "# Made by `pillarbox init --from {}`. A comment names the line that a setting comes from.\n\
         # `pillarbox init --config FILE` writes every other setting, with its default, into a new file.\n",
        system.name()
    );
    let mut written = Vec::new();
    config.push_str(&format!("\n[spool]\ndir = {}\n", quoted(spool)));
    section(&mut config, plan, Section::Spool);
    for (header, which) in [("[identity]", Section::Identity), ("[delivery]", Section::Delivery)] {
        if plan.settings.iter().any(|(section, _)| *section == which) {
            config.push_str(&format!("\n{header}\n"));
            section(&mut config, plan, which);
        }
    }
    let mut names: Vec<String> = Vec::new();
    for host in &plan.hosts {
        // Two of one name would not be told apart; the second is another port, or the same once more.
        let twice = names.iter().filter(|name| **name == host.name).count();
        names.push(host.name.clone());
        smarthost(&mut config, host, twice, secrets, &mut written);
    }
    if plan.hosts.is_empty() {
        config.push_str("\n# Without a mail server messages are accepted and kept.\n# [[smarthost]]\n# url = \"smtps://smtp.example.com\"\n");
    }
    aliases(&mut config, plan);
    Rendered { config, secrets: written }
}

fn section(config: &mut String, plan: &Plan, which: Section) {
    for (_, setting) in plan.settings.iter().filter(|(section, _)| *section == which) {
        line(config, setting);
    }
}

fn line(config: &mut String, Setting { key, value, from }: &Setting) {
    // Writing to a String cannot fail.
    let _ = writeln!(
        config,
        "# {}\n{key} = {}",
        comment(&format!("{}: {}", from.place, from.name)),
        quoted(value)
    );
}

fn smarthost(
    config: &mut String,
    host: &Host,
    twice: usize,
    folder: &str,
    secrets: &mut Vec<(String, Option<Secret>)>,
) {
    config.push_str("\n[[smarthost]]\n");
    let mut put = |key: &str, value: &str, from: &super::Line| {
        let place = comment(&format!("{}: {}", from.place, from.name));
        let _ = writeln!(config, "# {place}\n{key} = {value}");
    };
    put("url", &quoted(&url(host)), &host.from);
    if twice > 0 {
        put("name", &quoted(&format!("{} ({})", host.name, twice + 1)), &host.from);
    }
    let tls = match host.security.0 {
        Security::None if host.is_socket() => None,
        Security::None => Some("none"),
        Security::Offered => Some("auto"),
        Security::StartTls => Some("required"),
        Security::Implicit => None,
    };
    if let Some(tls) = tls {
        put("tls", &quoted(tls), &host.security.1);
    }
    if let Some((user, from)) = &host.user {
        put("user", &quoted(user), from);
    }
    if let Some((proof, from)) = &host.proof {
        let key = if host.is_token { "token" } else { "password" };
        let mut file = |secret: Option<Secret>| {
            let name = file_name(key, &host.name, secrets);
            secrets.push((name.clone(), secret));
            format!("{{ file = {} }}", quoted(&format!("{folder}/{name}")))
        };
        let value = match proof {
            Proof::Secret(secret) => file(Some(secret.clone())),
            Proof::Elsewhere => file(None),
            Proof::Command(command) => format!("{{ command = {} }}", quoted(command)),
        };
        put(key, &value, from);
    }
    let (mechanisms, from) = &host.mechanisms;
    if !mechanisms.is_empty() {
        let names: Vec<String> = mechanisms.iter().map(|m: &Mechanism| quoted(m.name())).collect();
        put("auth", &format!("[{}]", names.join(", ")), from);
    }
    for setting in &host.settings {
        put(setting.key, &quoted(&setting.value), &setting.from);
    }
}

/// With its port: that of a mail server with a login differs from one program to the next.
fn url(host: &Host) -> String {
    let name = if host.name.contains(':') { format!("[{}]", host.name) } else { host.name.clone() };
    let scheme = match (host.lmtp, host.is_socket(), host.security.0) {
        (true, true, _) => return format!("lmtp+unix:{name}"),
        (false, true, _) => return format!("unix:{name}"),
        (true, false, _) => "lmtp",
        (false, false, Security::Implicit) => "smtps",
        (false, false, _) => "smtp",
    };
    let port = host.port.unwrap_or(if scheme == "smtps" { 465 } else { 25 });
    format!("{scheme}://{name}:{port}")
}

fn file_name(key: &str, host: &str, known: &[(String, Option<Secret>)]) -> String {
    let safe: String =
        host.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let name = format!("{key}-{}", safe.trim_matches('-'));
    match known.iter().filter(|(other, _)| other.starts_with(&name)).count() {
        0 => name,
        more => format!("{name}-{}", more + 1),
    }
}

fn aliases(config: &mut String, plan: &Plan) {
    if plan.aliases.is_empty() {
        return;
    }
    let mut text = "\n[aliases]\n".to_owned();
    for alias in &plan.aliases {
        let to: Vec<String> = alias.to.iter().map(|to| quoted(to)).collect();
        let to = if let [one] = &to[..] { one.clone() } else { format!("[{}]", to.join(", ")) };
        let place = comment(&alias.from.place.to_string());
        let _ = writeln!(text, "# {place}\n{} = {to}", quoted(&alias.name));
    }
    config.push_str(&text);
}

/// A name may come from a file that anybody wrote; it must not end the comment.
fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted + "\""
}
