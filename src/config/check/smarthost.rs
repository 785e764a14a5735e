//! `[[smarthost]]`: where messages go, and over what TLS.

use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;

use super::login::check_login;
use super::{Layers, at, duration, positive, text};
use crate::config::error::{ConfigError, Source};
use crate::config::raw::{At, OneOrMore, RawSmarthost};
use crate::config::value::{Url, parse_url};
use crate::config::{Smarthost, Tls};
use crate::net::ClientCertificate;

/// The highest layer that has any smarthost has them all. `--smarthost` stands for all of it: login,
/// `ca_file` and `tls` of the files are for another server.
pub(super) fn check_all(layers: &Layers) -> Result<Option<Smarthost>, ConfigError> {
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

pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);
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
