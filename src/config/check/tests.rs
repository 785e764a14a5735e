//! What a configuration means, and what is refused.

use super::super::load::parse_text;
use super::super::{DEFAULT_FILE, Smarthost, Tls};
use super::smarthost::DEFAULT_TIMEOUT;
use super::*;
use crate::smtp::Protocol;

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
                l.starts_with("[[") || (key != *l && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
            };
            line.strip_prefix("# ").filter(is_setting).unwrap_or(line)
        })
        .collect::<Vec<_>>()
        .join("\n");
    let full = parse_text(&keys).unwrap();
    assert_eq!(full.spool_dir, empty.spool_dir);
    // Three have no limit of their own; what stands there is an example.
    let Limits { max_messages, max_message_size, keep_failed, .. } = full.limits;
    assert_eq!((max_messages, max_message_size, keep_failed), (Some(10_000), Some(50_000_000), Some(1000)));
    let rest = Limits { max_messages: None, max_message_size: None, keep_failed: None, ..full.limits };
    assert_eq!(rest, empty.limits);
    assert_eq!(format!("{:?}", full.pickup), format!("{:?}", empty.pickup));
    assert_eq!(format!("{:?}", full.delivery), format!("{:?}", empty.delivery));
    assert_eq!(full.level, empty.level);
    let host = &full.smarthosts[0];
    assert_eq!((host.tls, host.port, host.timeout), (Tls::Required, 465, DEFAULT_TIMEOUT));
}

#[test]
fn an_error_names_file_line_text_and_what_would_be_valid() {
    let unknown = error("[delivery]\nretry = \"30s\"\n");
    assert!(
        unknown.starts_with("pillarbox.toml line 2: unknown field `retry`, expected one of `retry_interval`")
    );
    assert!(unknown.ends_with("    2 | retry = \"30s\""), "{unknown}");
    let unit = error("[delivery]\nretry_interval = \"30\"");
    assert!(unit.contains("line 2: expected a span of time like"), "{unit}");
    assert!(
        error("[[smarthost]]\nurl = \"mail.example.com:25\"")
            .contains("line 2: a port without a scheme: expected a host, smtps://host")
    );
    let twice = error("[[smarthost]]\nurl=\"smtp://a\"\n[[smarthost]]\nurl=\"smtps://a\"");
    assert!(
        twice.contains("line 4: two smarthosts are called \"a\": give each a name of its own"),
        "{twice}"
    );
    assert!(error("[[smarthost]]\nname=\"x\"").contains("has no url"));
    let rate = error("[delivery]\nrate = \"0/min\"");
    assert!(rate.contains("line 2: expected a rate like \"30/min\""), "{rate}");
    assert!(error("[delivery]\nmax_age = \"0s\"").contains("above zero, found \"0s\"; or \"forever\""));
    let bare = error("[log]\nlevel = info # loud");
    assert!(bare.contains("line 2: expected a value in quotes, \"info\", found info\n"), "{bare}");
    assert!(error("[delivery]\nreceived = \"true\"").contains("expected a boolean"));
    assert!(error("[pickup]\nsettle = 5").contains("line 2: invalid type: integer `5`, expected a string"));
}

#[test]
fn a_rate_is_a_number_and_a_span() {
    let rate = |text: &str| smarthost(&format!("url = \"smtp://a\"\nrate = \"{text}\"")).unwrap().rate;
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
    Ok(config.smarthosts.into_iter().next().unwrap())
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
    let token = "user = \"u\"\ntoken = { env = \"X\" }\nurl = \"smtp://mail.example.com\"\ntls = \"none\"";
    assert!(smarthost(token).is_err());
    let host = smarthost("url = \"smtp://relay\"").unwrap();
    assert_eq!((host.tls, host.port), (Tls::Auto, 25));
}

#[test]
fn lmtp_has_the_tls_of_smtp_and_no_port_of_its_own() {
    let login = "user = \"u\"\npassword = { env = \"X\" }";
    let host = smarthost("url = \"lmtp://mail.example.com:24\"").unwrap();
    assert_eq!((host.protocol, host.tls, host.port), (Protocol::Lmtp, Tls::Auto, 24));
    let host = smarthost(&format!("url = \"lmtp://mail.example.com:24\"\n{login}")).unwrap();
    assert_eq!((host.protocol, host.tls, host.port), (Protocol::Lmtp, Tls::Required, 24));
    let host = smarthost(&format!("url = \"lmtp+unix:/run/lmtp\"\n{login}")).unwrap();
    assert_eq!((host.protocol, host.tls, host.host.as_str()), (Protocol::Lmtp, Tls::None, "/run/lmtp"));
    assert!(smarthost("url = \"lmtp+unix:/run/lmtp\"\ntls = \"required\"").is_err());
    let error = smarthost("url = \"lmtp://mail.example.com\"").unwrap_err();
    assert!(error.contains("line 2: LMTP has no port of its own: expected"), "{error}");
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

#[test]
fn several_smarthosts_are_taken_in_their_order_each_with_its_own() {
    let text = "[delivery]\nrate = \"5/s\"\n[[smarthost]]\nurl = \"smtps://a\"\nfrom = \"box@a.example\"\n\
        profile = \"microsoft365\"\n[[smarthost]]\nurl = \"smtp://b\"\nmessages_per_session = 50\n\
        [[smarthost]]\nname = \"c\"\nurl = \"smtp://b\"\nprofile = \"microsoft365\"\nrate = \"off\"\ndaily = 7";
    let hosts = parse_text(text).unwrap().smarthosts;
    let limits = |host: &Smarthost| {
        let rate = host.rate.map(|rate| (rate.count, rate.per.as_secs()));
        (host.name.clone(), rate, host.daily, host.messages_per_session)
    };
    let found: Vec<_> = hosts.iter().map(limits).collect();
    assert_eq!(found[0], ("a".into(), Some((30, 60)), Some(10_000), None));
    assert_eq!(found[1], ("b".into(), Some((5, 1)), None, Some(50)));
    assert_eq!(found[2], ("c".into(), None, Some(7), None));
    assert_eq!(hosts[0].from.as_ref().unwrap().as_str(), "box@a.example");
    assert!(hosts[1].from.is_none());
    let error = smarthost("url = \"smtp://a\"\nprofile = \"hotmail\"").unwrap_err();
    assert!(error.contains("line 3: expected \"microsoft365\" or \"gmail\""), "{error}");
}
