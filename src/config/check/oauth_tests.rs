//! `[smarthost.oauth]`: what a profile fills in, and what is refused.

use crate::config::load::parse_text;
use crate::config::{DEFAULT_FILE, OAuth, OAuthClient, OAuthGrant, Proof, Smarthost};

const SMARTHOST: &str = "[[smarthost]]\nurl = \"smtp://smtp.office365.com\"\nuser = \"alarm@example.com\"\n";
const SECRET: &str = "client_secret = { file = \"/s\" }\n";
const REFRESH: &str = "refresh_token = { file = \"/r\" }\n";

/// `rest` stands from line 5 on.
fn with(rest: &str) -> Result<OAuth, String> {
    let config = parse_text(&format!("{SMARTHOST}[smarthost.oauth]\n{rest}")).map_err(|e| e.to_string())?;
    Ok(of(config.smarthosts))
}

fn of(mut hosts: Vec<Smarthost>) -> OAuth {
    match hosts.remove(0).login.unwrap().proof {
        Proof::OAuth(oauth) => *oauth,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_profile_fills_in_endpoint_and_scope() {
    let app =
        ["profile = \"microsoft365\"\ntenant = \"contoso.example\"\nclient_id = \"id\"\n", SECRET].concat();
    let oauth = with(&app).unwrap();
    assert_eq!(
        oauth.token_url.to_string(),
        "https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token"
    );
    assert_eq!(oauth.scope.as_deref(), Some("https://outlook.office365.com/.default"));
    assert!(matches!(oauth.grant, OAuthGrant::ClientCredentials), "{oauth:?}");
    let person = with(&[&app, REFRESH].concat()).unwrap();
    assert_eq!(person.scope.as_deref(), Some("https://outlook.office.com/SMTP.Send offline_access"));
    assert!(matches!(person.grant, OAuthGrant::RefreshToken(_)), "{person:?}");
    let gmail = with(&["profile = \"gmail\"\nclient_id = \"id\"\n", SECRET, REFRESH].concat()).unwrap();
    assert_eq!(gmail.token_url.to_string(), "https://oauth2.googleapis.com/token");
    assert_eq!(gmail.scope.as_deref(), Some("https://mail.google.com/"));
}

#[test]
fn the_profile_of_the_smarthost_is_enough() {
    let text = format!("{SMARTHOST}profile = \"gmail\"\n[smarthost.oauth]\nclient_id = \"id\"\n{REFRESH}");
    let oauth = of(parse_text(&text).unwrap().smarthosts);
    assert_eq!(oauth.token_url.to_string(), "https://oauth2.googleapis.com/token");
    // Another server than its own has no scope of its own.
    let text = format!("{text}token_url = \"https://id/token\"\n");
    assert_eq!(of(parse_text(&text).unwrap().smarthosts).scope, None);
}

#[test]
fn what_is_said_stands_above_the_profile() {
    let oauth = with(&[
        "profile = \"microsoft365\"\ntoken_url = \"https://login.microsoftonline.us/t/oauth2/v2.0/token\"\n",
        "scope = \"https://outlook.office365.us/.default\"\nclient_id = \"id\"\n",
        SECRET,
    ]
    .concat())
    .unwrap();
    assert_eq!(oauth.token_url.endpoint.host, "login.microsoftonline.us");
    assert_eq!(oauth.scope.as_deref(), Some("https://outlook.office365.us/.default"));
    let own = with(&["token_url = \"http://127.0.0.1:8080/token\"\nclient_id = \"id\"\n", REFRESH].concat());
    let own = own.unwrap();
    assert!(own.scope.is_none() && matches!(own.client, OAuthClient::Public), "{own:?}");
    let signed = "token_url = \"https://id/token\"\nclient_id = \"id\"\nclient_cert = \"/c.pem\"\n";
    assert!(matches!(with(signed).unwrap().client, OAuthClient::Certificate(_)));
}

#[test]
fn what_does_not_fit_together_is_refused_with_its_line() {
    let id = "client_id = \"id\"\n";
    let microsoft = "profile = \"microsoft365\"\n";
    let tenant = "tenant = \"t\"\n";
    let gmail = "profile = \"gmail\"\n";
    for (rest, line, why) in [
        (vec![id, SECRET], 4, "has neither profile nor token_url"),
        (vec![microsoft, id, SECRET], 4, "has no tenant"),
        (vec![microsoft, tenant, SECRET], 4, "has no client_id"),
        (vec![microsoft, tenant, id], 4, "has no client_secret or client_cert"),
        (vec![microsoft, tenant, id, "grant = \"refresh_token\"\n"], 4, "has no refresh_token"),
        (vec![gmail, id, SECRET], 4, "has no refresh_token"),
        (vec!["profile = \"outlook\"\n", id], 5, "expected \"microsoft365\" or \"gmail\", or token_url"),
        (
            vec!["grant = \"password\"\n", microsoft],
            5,
            "expected \"client_credentials\" or \"refresh_token\"",
        ),
        (vec!["grant = \"client_credentials\"\n", gmail, id], 5, "expected \"refresh_token\""),
        (
            vec![REFRESH, "grant = \"client_credentials\"\n", microsoft, tenant, id, SECRET],
            5,
            "expected one of the two",
        ),
        (vec![tenant, gmail, id, REFRESH], 5, "has no tenants"),
        (vec!["tenant = \"a/b\"\n", microsoft, id, SECRET], 5, "the directory's ID"),
        (vec!["tenant = \"common\"\n", microsoft, id, SECRET], 5, "an application asks one tenant"),
        (vec![tenant, "token_url = \"https://id/\"\n", id, SECRET], 5, "expected tenant or token_url"),
        (vec!["token_url = \"http://id.example.com/\"\n", id, SECRET], 5, "expected https://"),
        (vec!["token_url = \"id.example.com\"\n", id, SECRET], 5, "expected \"https://host/path\""),
        (vec!["client_key = \"/k\"\n", microsoft, tenant, id], 5, "client_cert is not"),
        (vec!["client_cert = \"/c\"\n", SECRET, microsoft, tenant, id], 5, "found both"),
        (
            vec!["client_secret = { file = \"a\", env = \"b\" }\n", microsoft, tenant, id],
            5,
            "expected one of",
        ),
        (vec!["secret = \"geheim\"\n", microsoft], 5, "expected a string, { file"),
        (vec!["client_secret = geheim\n"], 5, "expected a string, { file"),
        (vec!["refresh_token = 5\n"], 5, "expected a string, { file"),
        (vec!["schluessel = \"geheim\"\n"], 5, "unknown field"),
        (vec!["token_url = \"https://u:geheim@id/\"\n", id], 5, "a login does not belong into the url"),
    ] {
        let error = with(&rest.concat()).unwrap_err();
        assert!(error.contains(&format!("line {line}: ")), "{rest:?}: {error}");
        assert!(error.contains(why) && !error.contains("geheim"), "{rest:?}: {error}");
    }
    // What is no secret is shown.
    assert!(with("token_url = \"ftp://id/\"").unwrap_err().contains("| token_url = \"ftp://id/\""));
    assert!(with(SECRET).unwrap_err().contains("| [smarthost.oauth]"));
}

#[test]
fn it_stands_in_place_of_a_password_and_a_token_and_needs_a_user() {
    let oauth = ["[smarthost.oauth]\nprofile = \"gmail\"\nclient_id = \"id\"\n", SECRET, REFRESH].concat();
    let error = |text: &str| parse_text(&format!("{text}{oauth}")).unwrap_err().to_string();
    for key in ["password", "token"] {
        let both = error(&format!("{SMARTHOST}{key} = {{ env = \"X\" }}\n"));
        assert!(both.contains(&format!("expected {key} or [smarthost.oauth], found both")), "{both}");
        assert!(both.contains("line 4"), "{both}");
    }
    let nobody = error("[[smarthost]]\nurl = \"smtp://a\"\n");
    assert!(nobody.contains("[smarthost.oauth] is set but user is not"), "{nobody}");
    let plain = error(&format!("{SMARTHOST}auth = \"PLAIN\"\n"));
    assert!(plain.contains("PLAIN is no login with a token"), "{plain}");
    let no_tls = error(&format!("{SMARTHOST}tls = \"none\"\n"));
    assert!(no_tls.contains("this login without TLS"), "{no_tls}");
    assert!(parse_text(&format!("{SMARTHOST}auth = \"XOAUTH2\"\n{oauth}")).is_ok());
}

#[test]
fn the_example_of_the_default_file_is_understood() {
    // It stands apart, because a password stands beside it.
    let lines = DEFAULT_FILE.lines().skip_while(|line| !line.contains("[smarthost.oauth]"));
    let example: Vec<&str> = lines.filter_map(|line| line.strip_prefix("#   ")).collect();
    let values: String = example.iter().filter(|l| l.contains(" = ")).map(|l| format!("{l}\n")).collect();
    assert!(example.contains(&"[smarthost.oauth]"), "{example:?}");
    let oauth = with(&values).unwrap();
    assert_eq!(oauth.scope.as_deref(), Some("https://outlook.office365.com/.default"));
    for key in ["profile", "grant", "tenant", "client_id", "client_secret", "refresh_token", "client_cert"] {
        assert!(DEFAULT_FILE.lines().any(|l| l.starts_with('#') && l.contains(key)), "{key}");
    }
}
