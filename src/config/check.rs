//! What the files mean: defaults filled in, values parsed, contradictions refused.

use std::fmt::Display;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;

use super::error::{ConfigError, Source};
use super::load::DEFAULT_SPOOL;
use super::raw::{At, OneOrMore, Raw, RawPassword, RawPasswordTable, RawSmarthost};
use super::value::{Url, parse_duration, parse_rate, parse_size, parse_url};
use super::{Config, Delivery, Identity, Limits, Login, Password, Pickup, Proof, Smarthost, Tls};
use crate::net::ClientCertificate;
use crate::pickup::Pattern;
use crate::smtp::{Credential, Mechanism, Secret};

/// All that was read; a later layer stands above an earlier one.
pub(super) struct Layers {
    pub(super) layers: Vec<(Source, Raw)>,
    pub(super) spool: Option<PathBuf>,
    /// Where it was said, and the url.
    pub(super) smarthost: Option<(&'static str, String)>,
}

impl Layers {
    /// The value of the highest layer that has one, parsed.
    fn value<T, V>(
        &self,
        key: impl Fn(&Raw) -> &At<T>,
        parse: impl Fn(&T) -> Result<V, String>,
    ) -> Result<Option<V>, ConfigError> {
        let found = self.layers.iter().rev().find_map(|(source, raw)| Some((source, key(raw).as_ref()?)));
        found.map(|(source, value)| at(source, value, &parse)).transpose()
    }

    /// The same for a value that is a string.
    fn text<V>(
        &self,
        key: impl Fn(&Raw) -> &At<String>,
        parse: impl Fn(&str) -> Result<V, String>,
    ) -> Result<Option<V>, ConfigError> {
        self.value(key, |text| parse(text))
    }
}

/// Parses a value; an error points at it.
fn at<T, V>(
    source: &Source,
    value: &Spanned<T>,
    parse: impl Fn(&T) -> Result<V, String>,
) -> Result<V, ConfigError> {
    parse(value.get_ref()).map_err(|message| source.error(value.span(), message))
}

fn text(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("expected a value, found an empty string".into()),
        _ => Ok(text.to_owned()),
    }
}

fn parsed<V: FromStr<Err: Display>>(text: &str) -> Result<V, String> {
    text.parse().map_err(|e: V::Err| e.to_string())
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text)
}

fn positive(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err(format!("expected a span of time above zero, found {text:?}")),
        span => Ok(span),
    }
}

pub(super) fn check(layers: Layers) -> Result<Config, ConfigError> {
    let default_dir = || PathBuf::from(DEFAULT_SPOOL);
    let spool_dir = match &layers.spool {
        Some(dir) => dir.clone(),
        None => layers.text(|r| &r.spool.dir, |t| text(t).map(PathBuf::from))?.unwrap_or_else(default_dir),
    };
    Ok(Config {
        spool_dir,
        limits: check_limits(&layers)?,
        pickup: check_pickup(&layers)?,
        identity: check_identity(&layers)?,
        smarthost: check_smarthosts(&layers)?,
        delivery: check_delivery(&layers)?,
        level: layers.text(|r| &r.log.level, level)?.unwrap_or(tracing::Level::INFO),
    })
}

/// A disk with less than this free is as good as full: octets.
const MIN_FREE: u64 = 16_000_000;

fn check_limits(layers: &Layers) -> Result<Limits, ConfigError> {
    let above_zero = |number: &u64| match number {
        0 => Err("expected a number above zero, found 0".to_owned()),
        number => Ok(*number),
    };
    let size_above_zero = |text: &str| match parse_size(text)? {
        0 => Err(format!("expected a size above zero, found {text:?}")),
        size => Ok(size),
    };
    Ok(Limits {
        max_messages: layers.value(|r| &r.spool.max_messages, above_zero)?,
        max_message_size: layers.text(|r| &r.spool.max_message_size, size_above_zero)?,
        min_free: layers.text(|r| &r.spool.min_free, parse_size)?.unwrap_or(MIN_FREE),
        keep_sent: layers.value(|r| &r.spool.keep_sent, |n| Ok(*n))?.unwrap_or(0),
        keep_failed: layers.value(|r| &r.spool.keep_failed, |n| Ok(*n))?,
    })
}

fn level(text: &str) -> Result<tracing::Level, String> {
    text.parse().map_err(|_| format!("expected error, warn, info, debug or trace, found {text:?}"))
}

fn check_pickup(layers: &Layers) -> Result<Pickup, ConfigError> {
    let patterns = |texts: &Vec<String>| match texts.is_empty() {
        true => Err("expected at least one pattern, found none".to_owned()),
        false => Ok(texts.iter().map(|t| Pattern::new(t)).collect()),
    };
    Ok(Pickup {
        patterns: layers.value(|r| &r.pickup.patterns, patterns)?.unwrap_or_else(Pattern::defaults),
        settle: layers.text(|r| &r.pickup.settle, positive)?.unwrap_or(Duration::from_millis(500)),
        rescan: layers.text(|r| &r.pickup.rescan, positive)?.unwrap_or(Duration::from_secs(60)),
    })
}

fn check_identity(layers: &Layers) -> Result<Identity, ConfigError> {
    let node = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    let hostname = layers.text(|r| &r.identity.hostname, domain_name)?.unwrap_or_else(node);
    let mailname = || std::fs::read_to_string("/etc/mailname").ok().and_then(|t| domain_name(t.trim()).ok());
    let from_host = || Some(node()).filter(|name| name.contains('.'));
    Ok(Identity {
        hostname,
        from: layers.text(|r| &r.identity.from, parsed)?,
        domain: layers.text(|r| &r.identity.domain, domain_name)?.or_else(mailname).or_else(from_host),
    })
}

fn domain_name(text: &str) -> Result<String, String> {
    match format!("a@{text}").parse::<crate::mail::Mailbox>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!("expected a host or domain name, found {text:?}")),
    }
}

fn check_delivery(layers: &Layers) -> Result<Delivery, ConfigError> {
    let hold_line = |text: &str| match text {
        "forever" => Ok(None),
        _ => parse_duration(text).map(Some).map_err(|e| format!("{e}; or \"forever\"")),
    };
    let max_age = |text: &str| match text {
        "forever" => Ok(None),
        _ => positive(text).map(Some).map_err(|e| format!("{e}; or \"forever\"")),
    };
    let max_attempts = layers.value(|r| &r.delivery.max_attempts, |most| Ok(*most))?;
    Ok(Delivery {
        max_age: layers.text(|r| &r.delivery.max_age, max_age)?.unwrap_or(Some(DEFAULT_MAX_AGE)),
        max_attempts: max_attempts.filter(|most| *most > 0),
        rate: layers.text(|r| &r.delivery.rate, parse_rate)?.flatten(),
        retry_interval: layers
            .text(|r| &r.delivery.retry_interval, positive)?
            .unwrap_or(Duration::from_secs(30)),
        hold_line: layers
            .text(|r| &r.delivery.hold_line, hold_line)?
            .unwrap_or(Some(Duration::from_secs(300))),
        keep_open: layers.text(|r| &r.delivery.keep_open, duration)?.unwrap_or(Duration::from_secs(5)),
        received: layers.value(|r| &r.delivery.received, |v| Ok(*v))?.unwrap_or(true),
    })
}

/// The highest layer that has any smarthost has them all. `--smarthost` stands for all of it: login,
/// `ca_file` and `tls` of the files are for another server.
fn check_smarthosts(layers: &Layers) -> Result<Option<Smarthost>, ConfigError> {
    if let Some((place, url)) = &layers.smarthost {
        let url = parse_url(url).map_err(|message| ConfigError::new(*place, message))?;
        return Ok(Some(plain_smarthost(url)));
    }
    let Some((source, hosts)) = layers
        .layers
        .iter()
        .rev()
        .find(|(_, raw)| !raw.smarthost.is_empty())
        .map(|(s, raw)| (s, &raw.smarthost))
    else {
        return Ok(None);
    };
    if let [_, second, ..] = &hosts[..] {
        let span = second.url.as_ref().map_or(0..0, Spanned::span);
        return Err(source.error(span, "expected one [[smarthost]], found a second"));
    }
    check_smarthost(source, &hosts[0]).map(Some)
}

fn plain_smarthost(url: Url) -> Smarthost {
    let implicit_tls = url.implicit_tls || url.is_bare;
    let tls = if url.implicit_tls { Tls::Required } else { Tls::Auto };
    Smarthost {
        name: url.host.clone(),
        port: url.port.unwrap_or(if implicit_tls { 465 } else { 25 }),
        host: url.host,
        implicit_tls,
        further_ports: if url.is_bare { vec![(587, false), (25, false)] } else { Vec::new() },
        tls,
        login: None,
        ca_file: None,
        pins: Vec::new(),
        client: None,
        tls_warn: DEFAULT_TLS_WARN,
        timeout: DEFAULT_TIMEOUT,
    }
}

const DEFAULT_MAX_AGE: Duration = Duration::from_secs(14 * 86_400);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);
const DEFAULT_TLS_WARN: Duration = Duration::from_secs(21 * 86_400);

fn check_smarthost(source: &Source, raw: &RawSmarthost) -> Result<Smarthost, ConfigError> {
    let optional = |value: &At<String>| value.as_ref().map(|v| at(source, v, |t| text(t))).transpose();
    let Some(url_at) = &raw.url else {
        return Err(ConfigError::new(
            source.path.display().to_string(),
            "[[smarthost]] has no url: expected url = \"smtps://host\", \"smtp://host\" or \"host\"",
        ));
    };
    let url = at(source, url_at, |t| parse_url(t))?;
    let mut host = plain_smarthost(url.clone());
    host.client = check_client(source, raw)?;
    host.login = check_login(source, raw, host.client.is_some())?;
    let pins = |one_or_more: &OneOrMore| one_or_more.texts.iter().map(|t| t.parse()).collect();
    host.pins = raw.pin.as_ref().map(|pin| at(source, pin, pins)).transpose()?.unwrap_or_default();
    if host.login.is_some() && !url.is_bare {
        host.port = url.port.unwrap_or(if url.implicit_tls { 465 } else { 587 });
    }
    let needs_tls = host.login.is_some() || !host.pins.is_empty() || host.client.is_some();
    if needs_tls {
        host.tls = Tls::Required;
    }
    if let Some(tls) = &raw.tls {
        host.tls = at(source, tls, |t| check_tls(t, &host, url.is_bare))?;
    }
    if host.tls == Tls::None && url.is_bare {
        (host.port, host.implicit_tls) = (if host.login.is_some() { 587 } else { 25 }, false);
        host.further_ports.retain(|&(port, _)| port == 25 && host.login.is_some());
    }
    host.name = optional(&raw.name)?.unwrap_or_else(|| host.host.clone());
    host.ca_file = optional(&raw.ca_file)?.map(PathBuf::from);
    if let Some(timeout) = &raw.timeout {
        host.timeout = at(source, timeout, |t| positive(t))?;
    }
    if let Some(warn) = &raw.tls_warn {
        host.tls_warn = at(source, warn, |t| duration(t))?;
    }
    Ok(host)
}

fn check_client(source: &Source, raw: &RawSmarthost) -> Result<Option<ClientCertificate>, ConfigError> {
    let path = |value: &Spanned<String>| at(source, value, |t| text(t).map(PathBuf::from));
    match (&raw.client_cert, &raw.client_key) {
        (None, None) => Ok(None),
        (None, Some(key)) => Err(source.error(key.span(), "client_key is set but client_cert is not")),
        // One file may hold both.
        (Some(certificate), key) => Ok(Some(ClientCertificate {
            certificate: path(certificate)?,
            key: path(key.as_ref().unwrap_or(certificate))?,
        })),
    }
}

fn check_tls(text: &str, host: &Smarthost, is_bare: bool) -> Result<Tls, String> {
    let needs = [
        (host.login.is_some(), "a login"),
        (!host.pins.is_empty(), "pin"),
        (host.client.is_some(), "client_cert"),
    ];
    let needs = needs.into_iter().find_map(|(is_set, what)| is_set.then_some(what));
    match text {
        "required" => Ok(Tls::Required),
        "auto" | "none" if host.implicit_tls && !is_bare => {
            Err(format!("smtps:// is TLS from the first byte: not with {text:?}"))
        }
        "auto" => match needs {
            Some(what) => Err(format!("{what} needs tls = \"required\", found \"auto\"")),
            None => Ok(Tls::Auto),
        },
        "none" => match &host.login {
            _ if !host.pins.is_empty() || host.client.is_some() => {
                Err("pin and client_cert need tls = \"required\", found \"none\"".into())
            }
            Some(login) if !login.has_proof() && !is_here(&host.host) => Err(
                "this login without TLS would show the password to everybody on the way: expected \"required\""
                    .into(),
            ),
            _ => Ok(Tls::None),
        },
        _ => Err(format!("expected \"required\", \"auto\" or \"none\", found {text:?}")),
    }
}

/// Whether a connection to it never leaves this host.
pub fn is_here(host: &str) -> bool {
    match host.parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host == "localhost",
    }
}

impl Login {
    /// Whether it may be proved without showing the password.
    fn has_proof(&self) -> bool {
        let may_be = |m: &Mechanism| !m.shows_secret() && !m.is_bound() && *m != Mechanism::External;
        match self.proof {
            Proof::Password(_) => self.mechanisms.is_empty() || self.mechanisms.iter().any(may_be),
            Proof::Token(_) | Proof::Certificate => false,
        }
    }
}

fn check_login(
    source: &Source,
    raw: &RawSmarthost,
    has_certificate: bool,
) -> Result<Option<Login>, ConfigError> {
    let mechanisms = match &raw.auth {
        Some(auth) => at(source, auth, check_auth)?,
        None => Vec::new(),
    };
    let user = raw.user.as_ref().map(|user| at(source, user, |t| text(t))).transpose()?;
    let proof = match (&raw.password, &raw.token) {
        (Some(_), Some(token)) => {
            return Err(source.error(token.span(), "expected password or token, found both"));
        }
        (Some(password), None) => Some(Proof::Password(check_password(source, password)?)),
        (None, Some(token)) => Some(Proof::Token(check_password(source, token)?)),
        (None, None) => None,
    };
    let Some(proof) = proof else {
        return match (&raw.auth, &raw.user) {
            (Some(auth), _) if mechanisms != [Mechanism::External] => {
                Err(source.error(auth.span(), "auth is set but user and password are not"))
            }
            (Some(auth), _) if !has_certificate => {
                Err(source.error(auth.span(), "EXTERNAL is a login by certificate: expected client_cert"))
            }
            (Some(_), _) => {
                let user = user.unwrap_or_default();
                Ok(Some(Login { user, proof: Proof::Certificate, mechanisms }))
            }
            (None, Some(user)) => Err(source.error(user.span(), "user is set but password is not")),
            (None, None) => Ok(None),
        };
    };
    let Some(user) = user else {
        let (key, set) = match (&raw.password, &raw.token) {
            (Some(password), _) => ("password", password.span()),
            (None, token) => ("token", token.as_ref().map_or(0..0, Spanned::span)),
        };
        return Err(source.error(set, format!("{key} is set but user is not")));
    };
    let example = match &proof {
        Proof::Token(_) => Credential::Token(Secret::new("")),
        _ => Credential::Password(Secret::new("")),
    };
    if let (Some(auth), Some(wrong)) = (&raw.auth, mechanisms.iter().find(|m| !m.takes(&example))) {
        let what = if matches!(proof, Proof::Token(_)) { "a token" } else { "a password" };
        return Err(source.error(auth.span(), format!("{wrong} is no login with {what}")));
    }
    Ok(Some(Login { user, proof, mechanisms }))
}

/// What was found is not shown: somebody may have written user and password there.
fn check_auth(auth: &OneOrMore) -> Result<Vec<Mechanism>, String> {
    let known = Mechanism::ALL.map(Mechanism::name).join(", ");
    let error = || format!("expected one of {known}, or a list of them");
    let mechanisms = auth.texts.iter().map(|t| t.parse().map_err(|_| error()));
    let mechanisms: Vec<Mechanism> = mechanisms.collect::<Result<_, _>>()?;
    if mechanisms.is_empty() { Err(error()) } else { Ok(mechanisms) }
}

fn check_password(source: &Source, raw: &Spanned<RawPassword>) -> Result<Password, ConfigError> {
    let table = match raw.get_ref() {
        RawPassword::Table(table) => table,
        RawPassword::Inline(secret) => {
            let mode = std::fs::metadata(&source.path).map_or(0, |m| m.mode() & 0o7777);
            if mode & 0o004 == 0 {
                return Ok(Password::Inline(secret.clone()));
            }
            let message = format!("a password stands in a file that everybody can read (mode {mode:04o})");
            return Err(source
                .error(raw.span(), message)
                .hint(format!("chmod o-r {}", source.path.display())));
        }
    };
    match table.clone() {
        RawPasswordTable { file: Some(path), env: None, credential: None, command: None } => {
            Ok(Password::File(path.into()))
        }
        RawPasswordTable { file: None, env: Some(name), credential: None, command: None } => {
            Ok(Password::Env(name))
        }
        RawPasswordTable { file: None, env: None, credential: Some(name), command: None } => {
            Ok(Password::Credential(name))
        }
        RawPasswordTable { file: None, env: None, credential: None, command: Some(command) } => {
            match command.texts.first() {
                Some(program) if !program.is_empty() => Ok(Password::Command(match command.is_list {
                    true => command.texts,
                    false => vec!["/bin/sh".into(), "-c".into(), command.texts.concat()],
                })),
                _ => Err(source.error(raw.span(), "expected a command, found nothing")),
            }
        }
        _ => Err(source.error(raw.span(), "expected one of file, env, credential and command")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::parse_text;
    use super::super::{DEFAULT_FILE, Tls};
    use super::*;

    fn error(text: &str) -> String {
        parse_text(text).unwrap_err().to_string()
    }

    #[test]
    fn the_commented_default_file_says_what_the_code_does() {
        let empty = parse_text("").unwrap();
        assert_eq!(format!("{:?}", parse_text(DEFAULT_FILE).unwrap()), format!("{empty:?}"));
        // With the comments taken off, every key is one that the code knows, and those without a value of
        // their own have the default.
        let keys: String = DEFAULT_FILE
            .lines()
            .map(|line| {
                let is_setting = |l: &&str| {
                    let key = l.split(" = ").next().unwrap_or_default();
                    l.starts_with("[[")
                        || (key != *l && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
                };
                line.strip_prefix("# ").filter(is_setting).unwrap_or(line)
            })
            .collect::<Vec<_>>()
            .join("\n");
        let full = parse_text(&keys).unwrap();
        assert_eq!(full.spool_dir, empty.spool_dir);
        // Three have no limit of their own; what stands there is an example.
        let Limits { max_messages, max_message_size, keep_failed, .. } = full.limits;
        assert_eq!(
            (max_messages, max_message_size, keep_failed),
            (Some(10_000), Some(50_000_000), Some(1000))
        );
        let rest = Limits { max_messages: None, max_message_size: None, keep_failed: None, ..full.limits };
        assert_eq!(rest, empty.limits);
        assert_eq!(format!("{:?}", full.pickup), format!("{:?}", empty.pickup));
        assert_eq!(format!("{:?}", full.delivery), format!("{:?}", empty.delivery));
        assert_eq!(full.level, empty.level);
        let host = full.smarthost.unwrap();
        assert_eq!((host.tls, host.port, host.timeout), (Tls::Required, 465, DEFAULT_TIMEOUT));
    }

    #[test]
    fn an_error_names_file_line_text_and_what_would_be_valid() {
        let unknown = error("[delivery]\nretry = \"30s\"\n");
        assert!(
            unknown.starts_with(
                "pillarbox.toml line 2: unknown field `retry`, expected one of `retry_interval`"
            )
        );
        assert!(unknown.ends_with("    2 | retry = \"30s\""), "{unknown}");
        let unit = error("[delivery]\nretry_interval = \"30\"");
        assert!(unit.contains("line 2: expected a span of time like"), "{unit}");
        assert!(
            error("[[smarthost]]\nurl = \"mail.example.com:25\"")
                .contains("line 2: a port without a scheme: expected a host, smtps://host")
        );
        assert!(error("[[smarthost]]\nurl=\"smtp://a\"\n[[smarthost]]\nurl=\"smtp://b\"").contains("line 4"));
        assert!(error("[[smarthost]]\nname=\"x\"").contains("has no url"));
        let rate = error("[delivery]\nrate = \"0/min\"");
        assert!(rate.contains("line 2: expected a rate like \"30/min\""), "{rate}");
        assert!(error("[delivery]\nmax_age = \"0s\"").contains("above zero, found \"0s\"; or \"forever\""));
        let bare = error("[log]\nlevel = info # loud");
        assert!(bare.contains("line 2: expected a value in quotes, \"info\", found info\n"), "{bare}");
        assert!(error("[delivery]\nreceived = \"true\"").contains("expected a boolean"));
        assert!(
            error("[pickup]\nsettle = 5").contains("line 2: invalid type: integer `5`, expected a string")
        );
    }

    #[test]
    fn a_rate_is_a_number_and_a_span() {
        let rate = |text: &str| parse_text(&format!("[delivery]\nrate = \"{text}\"")).unwrap().delivery.rate;
        let shown = |text: &str| rate(text).map(|rate| (rate.count, rate.per.as_secs()));
        assert_eq!(shown("30/min"), Some((30, 60)));
        assert_eq!(shown("1000/h"), Some((1000, 3600)));
        assert_eq!(shown("5/10s"), Some((5, 10)));
        assert_eq!(shown("off"), None);
    }

    #[test]
    fn no_error_shows_a_secret() {
        let texts = [
            "[[smarthost]]\nurl = \"smtp://a\"\nuser = \"u\"\npassword = 1234567",
            "[[smarthost]]\nurl = \"smtp://a\"\npassword = \"1234567\"",
            "[[smarthost]]\nurl = \"smtp://a\"\nuser = \"u\"\npassword = \"1234567",
            "[[smarthost]]\nurl = \"smtp://a\"\nuser = \"u\"\npassword = [\n  \"1234567\"\n]",
            "[[smarthost]]\nurl = \"smtp://a\"\nuser = \"u\"\npasword = \"1234567\"",
            "[[smarthost]]\nurl = \"smtp://u:1234567@a\"",
            "smarthost = [{ url = \"smtp://a\", user = 5, password = \"1234567\" }]",
            "[[smarthost]]\nurl = \"smtp://a\"\nuser = \"u\"\npassword = \"\"\"\n1234567\\q==\"\"\"",
            "[[smarthost]]\nurl = \"smtp://a\"\nuser = \"u\"\npassword = '''\n1234567=='''x",
            "[[smarthost]]\nurl = \"smtp://a\"\nuser = \"u\"\npassword = [\n  \"1234567=\" x\n]",
            "[[smarthost]]\nurl = \"smtp://a\"\nkennwort = \"1234567\"",
            "[[smarthost]]\nurl = \"smtp://a\"\nkennwort = x1234567",
            "[[smarthost]]\nurl = \"smtp://a\"\nauth = [\"u\", \"1234567\"]",
            "[[smarthost]]\nurl = \"smtp://a\"\nuser = \"u\"\npassword : \"1234567\"",
            "[[smarthost]]\nurl = \"smtp://a\"\nuser = \"u\"\npassword \"1234567=\"",
            "[[smarthost]]\nurl = \"smtp://a\"\nuser = \"u\"\npassword = \"\"\"\n1234567\\q\"\"\"",
            "[[smarthost]]\nurl = \"smtp://a\"\nlogin = \"u:1234567\"",
        ];
        for text in texts {
            let shown = error(text);
            assert!(!shown.contains("1234567"), "{shown}");
        }
    }

    fn smarthost(rest: &str) -> Result<Smarthost, String> {
        let config = parse_text(&format!("[[smarthost]]\n{rest}")).map_err(|e| e.to_string())?;
        Ok(config.smarthost.unwrap())
    }

    #[test]
    fn a_password_is_never_shown_on_a_plain_link() {
        let login = "user = \"u\"\npassword = { env = \"X\" }\n";
        let with = |rest: &str| smarthost(&format!("{login}{rest}"));
        let host = with("url = \"smtp://mail.example.com\"").unwrap();
        assert_eq!((host.tls, host.port), (Tls::Required, 587));
        assert!(with("url = \"smtp://mail.example.com\"\ntls = \"auto\"").is_err());
        // Proved without being shown.
        assert!(with("url = \"smtp://mail.example.com\"\ntls = \"none\"").is_ok());
        for auth in ["\"plain\"", "[\"LOGIN\", \"PLAIN\", \"scram-sha-256-plus\"]"] {
            let rest = format!("auth = {auth}\ntls = \"none\"\nurl = \"smtp://");
            let error = with(&format!("{rest}mail.example.com\"")).unwrap_err();
            assert!(error.contains("line 5: this login without TLS would show the password"), "{error}");
            assert!(with(&format!("{rest}127.0.0.1\"")).is_ok());
        }
        assert!(with("url = \"smtp://127.attacker.example\"\nauth = \"PLAIN\"\ntls = \"none\"").is_err());
        let token =
            "user = \"u\"\ntoken = { env = \"X\" }\nurl = \"smtp://mail.example.com\"\ntls = \"none\"";
        assert!(smarthost(token).is_err());
        let host = smarthost("url = \"smtp://relay\"").unwrap();
        assert_eq!((host.tls, host.port), (Tls::Auto, 25));
    }

    #[test]
    fn a_bare_host_is_three_ports_the_safest_first() {
        let ports = |rest: &str| {
            let host = smarthost(&format!("url = \"mail.example.com\"\n{rest}")).unwrap();
            let first = [(host.port, host.implicit_tls)];
            (host.tls, first.into_iter().chain(host.further_ports).collect::<Vec<_>>())
        };
        let login = "user = \"u\"\npassword = { env = \"X\" }\n";
        let all = vec![(465, true), (587, false), (25, false)];
        assert_eq!(ports(""), (Tls::Auto, all.clone()));
        assert_eq!(ports(login), (Tls::Required, all));
        assert_eq!(ports("tls = \"none\""), (Tls::None, vec![(25, false)]));
        assert_eq!(ports(&format!("{login}tls = \"none\"")), (Tls::None, vec![(587, false), (25, false)]));
    }

    #[test]
    fn who_logs_in_and_how_must_fit_together() {
        let url = "url = \"smtps://mail.example.com\"\n";
        let with = |rest: &str| smarthost(&format!("{url}{rest}"));
        let (user, password) = ("user = \"u\"\n", "password = { env = \"X\" }\n");
        let (token, certificate) = ("token = { command = \"t\" }\n", "client_cert = \"c.pem\"\n");
        let fine = [
            [user, password, "auth = \"scram-sha-256\""].concat(),
            [user, password, "auth = [\"SCRAM-SHA-256\", \"PLAIN\"]"].concat(),
            [user, token].concat(),
            [user, token, "auth = \"XOAUTH2\""].concat(),
            [certificate, "auth = \"external\""].concat(),
            [user, certificate, "auth = \"external\""].concat(),
            certificate.to_owned(),
        ];
        for text in fine {
            assert!(with(&text).is_ok(), "{text}: {:?}", with(&text));
        }
        for (text, why) in [
            ([user, password, "auth = \"XOAUTH2\""].concat(), "XOAUTH2 is no login with a password"),
            ([user, token, "auth = [\"XOAUTH2\", \"PLAIN\"]"].concat(), "PLAIN is no login with a token"),
            ([user, password, token].concat(), "expected password or token, found both"),
            ([user, password, "auth = \"geheim\""].concat(), "expected one of SCRAM-SHA-256-PLUS, "),
            ([user, password, "auth = []"].concat(), "expected one of SCRAM-SHA-256-PLUS, "),
            ("auth = \"external\"".to_owned(), "expected client_cert"),
            ("auth = \"PLAIN\"".to_owned(), "auth is set but user and password are not"),
            ("client_key = \"k.pem\"".to_owned(), "client_key is set but client_cert is not"),
            (user.to_owned(), "user is set but password is not"),
            (password.to_owned(), "password is set but user is not"),
            ([user, "password = { command = [] }"].concat(), "expected a command"),
            ("pin = \"sha256:AAAA\"".to_owned(), "expected \"sha256:\" and 32 octets"),
        ] {
            let error = with(&text).unwrap_err();
            assert!(error.contains(why) && !error.contains("geheim"), "{text}: {error}");
        }
        let pin = format!("pin = \"sha256:{}=\"\n", "A".repeat(43));
        assert_eq!(with(&pin).unwrap().pins.len(), 1);
        let plain = |rest: &str| smarthost(&format!("url = \"smtp://mail.example.com\"\n{rest}"));
        assert_eq!(plain(&pin).unwrap().tls, Tls::Required);
        for tls in ["auto", "none"] {
            let error = plain(&format!("{pin}tls = \"{tls}\"")).unwrap_err();
            assert!(error.contains("line 4: pin"), "{error}");
        }
    }
}
