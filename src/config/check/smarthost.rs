//! `[[smarthost]]`: where messages go, and over what TLS.

use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;

use super::login::check_login;
use super::{Layers, at, duration, parsed, positive, text};
use crate::config::error::{ConfigError, Source};
use crate::config::raw::{At, OneOrMore, RawSmarthost};
use crate::config::value::{Url, parse_rate, parse_url};
use crate::config::{Smarthost, Tls};
use crate::net::ClientCertificate;
use crate::policy::Rate;

/// The highest layer that has any smarthost has them all. `--smarthost` stands for all of it: login,
/// `ca_file` and `tls` of the files are for another server.
pub(super) fn check_all(layers: &Layers) -> Result<Vec<Smarthost>, ConfigError> {
    let general = layers.text(|r| &r.delivery.rate, parse_rate)?;
    if let Some((place, url)) = &layers.smarthost {
        let url = parse_url(url).map_err(|message| ConfigError::new(*place, message))?;
        return Ok(vec![Smarthost { rate: general.flatten(), ..plain_smarthost(url) }]);
    }
    let with_some = layers.layers.iter().rev().find(|(_, raw)| !raw.smarthost.is_empty());
    let Some((source, raw)) = with_some else { return Ok(Vec::new()) };
    let mut hosts: Vec<Smarthost> = Vec::new();
    for raw in &raw.smarthost {
        let host = check_smarthost(source, raw, general)?;
        if let Some(same) = hosts.iter().find(|before| before.name == host.name) {
            let said = raw.name.as_ref().or(raw.url.as_ref()).map_or(0..0, Spanned::span);
            let message = format!("two smarthosts are called {:?}: give each a name of its own", same.name);
            return Err(source.error(said, message));
        }
        hosts.push(host);
    }
    Ok(hosts)
}

fn plain_smarthost(url: Url) -> Smarthost {
    let implicit_tls = url.implicit_tls || url.is_bare;
    let tls = match url.implicit_tls {
        true => Tls::Required,
        false if url.host.starts_with('/') => Tls::None,
        false => Tls::Auto,
    };
    Smarthost {
        name: url.host.clone(),
        protocol: url.protocol,
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
        from: None,
        rate: None,
        daily: None,
        messages_per_session: None,
    }
}

pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);
const DEFAULT_TLS_WARN: Duration = Duration::from_secs(21 * 86_400);

/// `general` is the rate of those that have none of their own.
fn check_smarthost(
    source: &Source,
    raw: &RawSmarthost,
    general: Option<Option<Rate>>,
) -> Result<Smarthost, ConfigError> {
    let optional = |value: &At<String>| value.as_ref().map(|v| at(source, v, |t| text(t))).transpose();
    let Some(url_at) = &raw.url else {
        return Err(ConfigError::new(
            source.path.display().to_string(),
            "[[smarthost]] has no url: expected url = \"smtps://host\", \"smtp://host\", \"host\" or \"lmtp://host:port\"",
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
    let is_socket = host.host.starts_with('/');
    let needs_tls = host.login.is_some() || !host.pins.is_empty() || host.client.is_some();
    if is_socket {
        host.tls = Tls::None;
    } else if needs_tls {
        host.tls = Tls::Required;
    }
    if is_socket && (host.client.is_some() || !host.pins.is_empty()) {
        return Err(source.error(url_at.span(), "a unix socket has no TLS: not with pin or client_cert"));
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
    host.from = raw.from.as_ref().map(|from| at(source, from, |t| parsed(t))).transpose()?;
    check_quota(source, raw, general, &mut host)?;
    Ok(host)
}

/// What a provider is known to take. `None` of a profile is no limit.
#[derive(Debug, Clone, Copy, Default)]
struct Profile {
    rate: Option<Rate>,
    daily: Option<u32>,
}

fn profile(name: &str) -> Result<Profile, String> {
    match name {
        // Exchange Online: 30 messages a minute, 10,000 recipients a day ("Exchange Online limits", sending limits).
        "microsoft365" => {
            Ok(Profile { rate: Some(Rate { count: 30, per: Duration::from_secs(60) }), daily: Some(10_000) })
        }
        // 500 recipients a day for a personal account; Google Workspace allows more ("Gmail sending limits").
        "gmail" => Ok(Profile { rate: None, daily: Some(500) }),
        _ => Err(format!("expected \"microsoft365\" or \"gmail\", found {name:?}")),
    }
}

/// Its own limits stand above those of its profile, and these above `rate` in `[delivery]`.
fn check_quota(
    source: &Source,
    raw: &RawSmarthost,
    general: Option<Option<Rate>>,
    host: &mut Smarthost,
) -> Result<(), ConfigError> {
    let number = |most: &u32| Ok((*most > 0).then_some(*most));
    let profile = raw.profile.as_ref().map(|name| at(source, name, |t| profile(t))).transpose()?;
    let profile = profile.unwrap_or_default();
    let rate = raw.rate.as_ref().map(|rate| at(source, rate, |t| parse_rate(t))).transpose()?;
    host.rate = rate.unwrap_or_else(|| profile.rate.or(general.flatten()));
    let daily = raw.daily.as_ref().map(|daily| at(source, daily, number)).transpose()?;
    host.daily = daily.unwrap_or(profile.daily);
    let session = raw.messages_per_session.as_ref().map(Spanned::get_ref).copied();
    host.messages_per_session = session.filter(|most| *most > 0);
    Ok(())
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
        "required" | "auto" if host.host.starts_with('/') => {
            Err(format!("a unix socket has no TLS: expected \"none\", found {text:?}"))
        }
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
        Err(_) => host == "localhost" || host.starts_with('/'),
    }
}
