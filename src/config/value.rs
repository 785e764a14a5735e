//! Values with a form of their own: spans of time, sizes, the smarthost's url.

use std::time::Duration;

use crate::policy::Rate;
use crate::smtp::Protocol;

/// A span of time: a whole number with a unit, `500ms`, `30s`, `5m`, `2h`, `14d`.
///
/// # Errors
///
/// What would be one.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let error = || {
        format!("expected a span of time like \"500ms\", \"30s\", \"5m\", \"2h\" or \"14d\", found {text:?}")
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| error())?;
    let millis_per_unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(error()),
    };
    number.checked_mul(millis_per_unit).map(Duration::from_millis).ok_or_else(error)
}

/// So many in a span of time: `30/min`, `1000/h`, `5/10s`. `off` is no limit.
pub(super) fn parse_rate(text: &str) -> Result<Option<Rate>, String> {
    let error =
        || format!("expected a rate like \"30/min\", \"1000/h\" or \"5/10s\", or \"off\", found {text:?}");
    if text == "off" {
        return Ok(None);
    }
    let (count, per) = text.split_once('/').ok_or_else(error)?;
    let per = match per {
        "s" | "m" | "h" | "d" => format!("1{per}"),
        "min" => "1m".to_owned(),
        span => span.to_owned(),
    };
    let rate =
        Rate { count: count.parse().map_err(|_| error())?, per: parse_duration(&per).map_err(|_| error())? };
    if rate.count == 0 || rate.per.is_zero() {
        return Err(error());
    }
    Ok(Some(rate))
}

/// A size: a whole number of octets with a unit, `512KiB`, `50MB`, `2GB`; of a plain `0` nobody asks which.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let error = || format!("expected a size like \"512KiB\", \"50MB\" or \"2GB\", found {text:?}");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| error())?;
    let octets_per_unit = match unit {
        "" if number == 0 => 1,
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(error()),
    };
    number.checked_mul(octets_per_unit).ok_or_else(error)
}

/// A smarthost's url.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    /// Only a name: the ports are found out.
    pub(super) is_bare: bool,
    pub(super) protocol: Protocol,
    pub(super) implicit_tls: bool,
    /// A name, an address, or the path of a unix socket.
    pub(super) host: String,
    pub(super) port: Option<u16>,
}

/// The port of SMTP, on which LMTP must not be spoken (RFC 2033 section 1).
const SMTP_PORT: u16 = 25;

/// `host`, `smtp://host[:port]`, `smtps://host[:port]`, `lmtp://host:port`, an IPv6 address in brackets; or `unix:/path`,
/// `lmtp+unix:/path`.
pub(super) fn parse_url(text: &str) -> Result<Url, String> {
    let error = |why: &str| {
        format!(
            "{why}: expected a host, smtps://host, smtp://host, one of the two with :port behind it, lmtp://host:port, \
             unix:/path or lmtp+unix:/path, found {text:?}"
        )
    };
    if text.contains('@') {
        // Before all else, because not shown: what stands in front of the @ may be a password.
        return Err("a login does not belong into the url: use the keys user and password".into());
    }
    let socket = text.strip_prefix("lmtp+unix:").map(|path| (Protocol::Lmtp, path));
    if let Some((protocol, path)) = socket.or_else(|| Some((Protocol::Smtp, text.strip_prefix("unix:")?))) {
        let path = path.strip_prefix("//").unwrap_or(path);
        if !path.starts_with('/') || path.ends_with('/') || path.chars().any(char::is_control) {
            return Err(error("no whole path of a socket"));
        }
        return Ok(Url { is_bare: false, protocol, implicit_tls: false, host: path.to_owned(), port: None });
    }
    let (protocol, implicit_tls, rest) = match text.split_once("://") {
        Some(("smtp", rest)) => (Protocol::Smtp, false, rest),
        Some(("smtps", rest)) => (Protocol::Smtp, true, rest),
        Some(("lmtp", rest)) => (Protocol::Lmtp, false, rest),
        Some(_) => return Err(error("not a scheme that is known here")),
        None if text.contains(':') && !text.starts_with('[') => return Err(error("a port without a scheme")),
        None => (Protocol::Smtp, false, text),
    };
    let is_bare = !text.contains("://");
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
        Some((address, port)) => {
            address.parse::<std::net::Ipv6Addr>().map_err(|_| error("not an IPv6 address"))?;
            (address, port.strip_prefix(':').or(if port.is_empty() { None } else { Some("") }))
        }
        None => match rest.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    let is_host_char = |c: char| c.is_alphanumeric() || ".-_:".contains(c);
    if host.is_empty() || !host.chars().all(is_host_char) {
        return Err(error("no host name"));
    }
    let port = port.map(|p| p.parse::<u16>().ok().filter(|p| *p > 0).ok_or_else(|| error("not a port")));
    if is_bare && port.is_some() {
        return Err(error("a port without a scheme"));
    }
    let port = port.transpose()?;
    match (protocol, port) {
        (Protocol::Lmtp, None) => Err(error("LMTP has no port of its own")),
        (Protocol::Lmtp, Some(SMTP_PORT)) => Err(error("port 25 is SMTP's, and LMTP is not spoken there")),
        _ => Ok(Url { is_bare, protocol, implicit_tls, host: host.to_owned(), port }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_have_a_unit() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("14d"), Ok(Duration::from_secs(14 * 86_400)));
        for text in
            ["", "5", "s", "-5s", "1.5h", "5 s", "5S", "99999999999999999999d", "18446744073709551615d"]
        {
            assert!(parse_duration(text).is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn sizes_have_a_unit() {
        let rows = [("0", 0), ("7B", 7), ("3kB", 3_000), ("50MB", 50_000_000), ("1GiB", 1 << 30)];
        for (text, octets) in rows {
            assert_eq!(parse_size(text), Ok(octets), "{text:?}");
        }
        for text in ["", "5", "MB", "-5MB", "1.5MB", "5 MB", "5M", "5mb", "18446744073709551615GB"] {
            assert!(parse_size(text).is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn a_url_is_a_scheme_a_host_and_perhaps_a_port() {
        let url = |implicit_tls, host: &str, port| {
            Ok(Url { is_bare: false, protocol: Protocol::Smtp, implicit_tls, host: host.into(), port })
        };
        let bare = |host: &str| url(false, host, None).map(|url| Url { is_bare: true, ..url });
        let lmtp =
            |host: &str, port| url(false, host, port).map(|url| Url { protocol: Protocol::Lmtp, ..url });
        assert_eq!(parse_url("smtp.example.com"), bare("smtp.example.com"));
        assert_eq!(parse_url("[::1]"), bare("::1"));
        assert_eq!(parse_url("smtps://smtp.example.com"), url(true, "smtp.example.com", None));
        assert_eq!(parse_url("smtp://127.0.0.1:2525/"), url(false, "127.0.0.1", Some(2525)));
        assert_eq!(parse_url("smtp://[::1]:25"), url(false, "::1", Some(25)));
        assert_eq!(parse_url("smtp://[::1]"), url(false, "::1", None));
        assert_eq!(parse_url("unix:/run/x/smtp.sock"), url(false, "/run/x/smtp.sock", None));
        assert_eq!(parse_url("unix:///run/x"), url(false, "/run/x", None));
        assert_eq!(parse_url("lmtp://[::1]:24"), lmtp("::1", Some(24)));
        assert_eq!(parse_url("lmtp+unix:/run/dovecot/lmtp"), lmtp("/run/dovecot/lmtp", None));
        assert_eq!(parse_url("lmtp+unix:///run/x"), lmtp("/run/x", None));
        for text in [
            "unix:",
            "unix:x.sock",
            "unix:/run/",
            "unix://host/x",
            "lmtp://mail.example.com",
            "lmtp://mail.example.com:25",
            "lmtps://mail.example.com:24",
            "lmtp:/run/x",
            "lmtp+unix:x.sock",
            "lmtp+unix://host/x",
            "smtp.example.com:25",
            "[::1]:25",
            "",
            "http://a",
            "smtp://",
            "smtp://a:0",
            "smtp://a:x",
            "smtp://a b",
            "smtp://[x]",
        ] {
            assert!(parse_url(text).is_err(), "{text:?} was taken");
        }
        for text in [
            "smtp://me:geheim@host",
            "lmtp://me:geheim@host:24",
            "smtps://me:geheim@",
            "http://me:geheim@host",
            "me:geheim@host",
        ] {
            assert!(!parse_url(text).unwrap_err().contains("geheim"), "{text:?} was shown");
        }
    }
}
