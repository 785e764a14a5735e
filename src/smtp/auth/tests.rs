//! Which mechanism comes when, and what is shown of it.

use super::*;

fn login() -> Login {
    Login::with_password("ops", Secret::new("hunter2"))
}

fn over_tls(login: Login, offered: &[&str]) -> AuthExchange {
    AuthExchange::new(login, &names(offered), true, None)
}

fn names(offered: &[&str]) -> Vec<String> {
    offered.iter().map(|&m| m.to_owned()).collect()
}

fn reply(line: &str) -> Reply {
    let mut words = line.split(' ');
    let code = words.next().unwrap().parse().unwrap();
    Reply { code, enhanced: words.next().map(|e| e.to_owned().try_into().unwrap()), text: Vec::new() }
}

fn command(auth: &mut AuthExchange) -> String {
    auth.next_command().unwrap().unwrap().trim_end().to_owned()
}

/// The names of the mechanisms in the order in which they are tried, each refused so at its AUTH command.
fn tried(mut auth: AuthExchange) -> Vec<String> {
    let mut tried = Vec::new();
    while let Some(command) = auth.next_command() {
        tried.push(command.unwrap().split(' ').nth(1).unwrap().trim_end().to_owned());
    }
    tried
}

#[test]
fn the_strongest_that_both_know_is_tried_first() {
    let offered =
        ["LOGIN", "GSSAPI", "PLAIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "XOAUTH2", "EXTERNAL"];
    let strongest = ["SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN"];
    assert_eq!(tried(over_tls(login(), &offered)), strongest);
    let fixed = Login { mechanisms: vec![Mechanism::Login, Mechanism::CramMd5], ..login() };
    assert_eq!(tried(over_tls(fixed, &offered)), ["LOGIN", "CRAM-MD5"]);
    let again = Login { begin_with: Some(Mechanism::Plain), ..login() };
    assert_eq!(tried(over_tls(again, &offered)), ["PLAIN", "LOGIN"]);
    let gone = Login { begin_with: Some(Mechanism::Plain), ..login() };
    assert_eq!(tried(over_tls(gone, &["SCRAM-SHA-1", "LOGIN"])), ["SCRAM-SHA-1", "LOGIN"]);
    let token = Login { credential: Credential::Token(Secret::new("t")), ..login() };
    assert_eq!(tried(over_tls(token, &["PLAIN", "XOAUTH2", "OAUTHBEARER"])), ["OAUTHBEARER", "XOAUTH2"]);
    let certificate = Login { credential: Credential::Certificate, ..login() };
    assert_eq!(tried(over_tls(certificate, &offered)), ["EXTERNAL"]);
}

#[test]
fn what_shows_the_password_is_tried_only_where_nobody_listens() {
    let offered = names(&["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"]);
    let plain = AuthExchange::new(login(), &offered, false, None);
    assert!(plain.wanted().ends_with("CRAM-MD5 without TLS"), "{}", plain.wanted());
    assert_eq!(tried(plain), ["SCRAM-SHA-256", "CRAM-MD5"]);
    let here = Login { stays_on_host: true, ..login() };
    assert_eq!(tried(AuthExchange::new(here, &offered, false, None)).len(), 4);
    assert_eq!(tried(AuthExchange::new(login(), &offered, true, Some(b"x")))[0], "SCRAM-SHA-256-PLUS");
}

#[test]
fn a_refusal_before_the_password_was_used_is_followed_by_the_next() {
    for refusal in ["535 5.7.8", "504 5.5.4", "500 5.5.1", "534 5.7.9", "550"] {
        let mut auth = over_tls(login(), &["SCRAM-SHA-256", "CRAM-MD5", "LOGIN"]);
        assert!(command(&mut auth).starts_with("AUTH SCRAM-SHA-256 "));
        assert_eq!(
            auth.after_refusal(&reply(refusal)),
            Some(Ok("AUTH CRAM-MD5\r\n".to_owned())),
            "{refusal}"
        );
        assert_eq!(auth.after_refusal(&reply(refusal)), Some(Ok("AUTH LOGIN\r\n".to_owned())), "{refusal}");
        auth.answer("VXNlcm5hbWU6").unwrap();
        assert_eq!(auth.after_refusal(&reply(refusal)), None, "{refusal}: there is none left");
    }
}

#[test]
fn a_refused_proof_is_followed_by_one_that_shows_the_password_and_by_no_third() {
    for (refusal, goes_on) in [
        ("535 5.7.8", true),
        ("535", true),
        ("535 5.7.0", true),
        ("501 5.5.2", true),
        ("432 4.7.12", true),
        ("535 5.7.139", false),
        ("535 5.7.13", false),
        ("454 4.7.0", false),
        ("421 4.7.0", false),
        ("530 5.7.0", false),
    ] {
        let mut auth = over_tls(login(), &["CRAM-MD5", "SCRAM-SHA-1", "PLAIN", "LOGIN"]);
        auth.mechanisms.pop_front();
        assert_eq!(command(&mut auth), "AUTH CRAM-MD5");
        auth.answer("PDE+").unwrap();
        let next = auth
            .after_refusal(&reply(refusal))
            .map(|command| command.unwrap().split(' ').nth(1) == Some("PLAIN"));
        assert_eq!(next, goes_on.then_some(true), "{refusal}");
        assert_eq!(
            next.and_then(|_| auth.after_refusal(&reply("535 5.7.8"))),
            None,
            "{refusal}: a third try"
        );
    }
}

#[test]
fn a_refused_password_is_not_tried_again() {
    for refusal in ["535 5.7.8", "534 5.7.9", "550", "454 4.7.0", "432 4.7.12"] {
        let mut auth = over_tls(login(), &["PLAIN", "LOGIN"]);
        command(&mut auth);
        assert_eq!(auth.after_refusal(&reply(refusal)), None, "{refusal}");
    }
    for refusal in ["504 5.5.4", "502", "538 5.7.11"] {
        let mut auth = over_tls(login(), &["PLAIN", "LOGIN"]);
        command(&mut auth);
        assert!(auth.after_refusal(&reply(refusal)).is_some(), "{refusal} is about the mechanism");
    }
}

#[test]
fn a_long_token_waits_for_the_server() {
    let token = "t".repeat(2_000);
    let login = Login { credential: Credential::Token(Secret::new(&*token)), ..login() };
    let mut auth = over_tls(login, &["XOAUTH2", "OAUTHBEARER"]);
    assert_eq!(command(&mut auth), "AUTH OAUTHBEARER");
    assert_eq!(
        auth.after_refusal(&reply("535")),
        Some(Ok("AUTH XOAUTH2\r\n".to_owned())),
        "nothing was tried"
    );
    let line = auth.answer("").unwrap();
    let said = BASE64_STANDARD.decode(line.trim_end()).unwrap();
    assert!(String::from_utf8(said).unwrap().contains(&token));
    assert_eq!(auth.answer("eyJzdGF0dXMiOiI0MDEifQ=="), Ok("\r\n".to_owned()), "the reasons are heard");
    assert_eq!(auth.after_refusal(&reply("535")), None);
}

#[test]
fn external_without_a_name_says_that_it_says_nothing() {
    let certificate = Login { user: String::new(), credential: Credential::Certificate, ..login() };
    assert_eq!(command(&mut over_tls(certificate, &["EXTERNAL"])), "AUTH EXTERNAL =");
}

#[test]
fn a_challenge_that_cannot_be_read_ends_the_login() {
    let mut auth = over_tls(login(), &["CRAM-MD5"]);
    command(&mut auth);
    assert!(auth.answer("not base64!").unwrap_err().starts_with("expected a challenge in base64"));
    let mut auth = over_tls(login(), &["SCRAM-SHA-256"]);
    command(&mut auth);
    assert!(auth.answer("cj1mb3JlaWdu").unwrap_err().starts_with("SCRAM-SHA-256 cannot go on"));
}

#[test]
fn a_secret_is_shown_nowhere() {
    let shown = format!("{:?} {}", login(), Secret::new("hunter2"));
    assert!(shown.contains("Password(****)") && shown.ends_with(" ****"), "{shown}");
    let auth = over_tls(login(), &["PLAIN"]);
    assert_eq!(auth.without_secrets("what is AG9wcwBodW50ZXIy or hunter2?"), "what is **** or ****?");
    assert_eq!(auth.without_secrets("aHVudGVyMg== refused"), "**** refused");
    // A proof can be tried against words of a dictionary.
    let mut auth = over_tls(login(), &["CRAM-MD5"]);
    command(&mut auth);
    let line = auth.answer("PDE+").unwrap();
    let said = String::from_utf8(BASE64_STANDARD.decode(line.trim_end()).unwrap()).unwrap();
    assert_eq!(auth.without_secrets(&format!("{line} {said}")), "****\r\n ****");
}
