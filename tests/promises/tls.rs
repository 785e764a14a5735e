//! TLS and logins end to end: what is promised of a login holds only inside.

use std::path::Path;

use crate::support::certificate::certificate;
use crate::support::server::{Answer, Options, Server, base64, say};
use crate::support::stage::{Stage, alarms, plain};

const LOGIN: &str = "user = \"box\"\npassword = \"open sesame\"\n";

fn smarthost(scheme: &str, port: u16, ca_file: &Path, rest: &str) -> String {
    format!("[[smarthost]]\nurl = \"{scheme}://localhost:{port}\"\nca_file = {ca_file:?}\n{rest}")
}

#[test]
fn messages_leave_by_starttls_and_by_implicit_tls_with_a_login_inside() {
    let dir = tempfile::tempdir().unwrap();
    let (ca_file, config) = certificate(dir.path(), "localhost");
    for (scheme, implicit_tls) in [("smtp", false), ("smtps", true)] {
        let options = Options {
            tls: Some(config.clone()),
            implicit_tls,
            offers: vec!["AUTH PLAIN LOGIN"],
            login: Some(("box", "open sesame")),
        };
        let server = Server::with(options, |_| Answer::Usual);
        let stage = Stage::new(&smarthost(scheme, server.port(), &ca_file, LOGIN), "");
        let service = stage.run();
        stage.drop_letters([1, 2]);
        server.wait_taken(2);
        assert_eq!(server.subjects(), alarms([1, 2]));
        let heard = server.heard();
        let login = format!("AUTH PLAIN {}", base64("\0box\0open sesame"));
        let begins: &[&str] = if implicit_tls { &[] } else { &["EHLO box.example.com", "STARTTLS"] };
        assert!(
            heard.join("\n").starts_with(&[begins, &["EHLO box.example.com", &login]].concat().join("\n"))
        );
        stage.wait_empty();
        assert_eq!(service.stop(), 0);
    }
}

#[test]
fn a_server_that_knows_only_login_is_logged_in_to_by_login() {
    let options = Options {
        offers: vec!["AUTH CRAM-MD5 LOGIN"],
        login: Some(("box", "open sesame")),
        ..Options::default()
    };
    let server = Server::with(options, |_| Answer::Usual);
    let stage = Stage::new(&(plain(server.port()) + LOGIN), "");
    let service = stage.run();
    stage.drop_letters([1]);
    server.wait_taken(1);
    assert_eq!(server.heard()[1..4], ["AUTH LOGIN".to_owned(), base64("box"), base64("open sesame")]);
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_mechanism_that_is_refused_as_such_is_followed_by_the_next() {
    let options = Options {
        offers: vec!["AUTH PLAIN LOGIN"],
        login: Some(("box", "open sesame")),
        ..Options::default()
    };
    let refuses_plain = |asked: &crate::support::server::Asked<'_>| {
        if asked.line.starts_with("AUTH PLAIN") { say("504 5.5.4 not that one") } else { Answer::Usual }
    };
    let server = Server::with(options, refuses_plain);
    let stage = Stage::new(&(plain(server.port()) + LOGIN), "");
    let service = stage.run();
    stage.drop_letters([1]);
    server.wait_taken(1);
    assert_eq!(server.count("AUTH LOGIN"), 1);
    assert_eq!(service.stop(), 0);
}

/// Runs against `server` until it is unusable, and gives the text of status; nothing may have been said in the clear.
fn unusable(server: &Server, smarthost: &str, words: &str) -> String {
    let stage = Stage::new(smarthost, "");
    let service = stage.run();
    stage.drop_letters([1, 2]);
    service.wait_log_times("INFO accepted", 2);
    service.wait_log(&format!("WARN smarthost-unusable {words} hint="));
    server.wait_sessions(3);
    let status = stage.pillarbox(&["status"]).stdout;
    assert!(status.contains("NOT USABLE since"), "{status}");
    assert_eq!((stage.names("pending").len(), stage.records().len()), (2, 0));
    let heard = server.heard();
    assert!(!heard.iter().any(|line| line.starts_with("AUTH") || line.starts_with("MAIL")), "{heard:#?}");
    assert_eq!(service.stop(), 0);
    status
}

#[test]
fn a_certificate_for_another_name_is_not_trusted_and_status_tells_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    let (ca_file, config) = certificate(dir.path(), "mail.example.com");
    for (scheme, implicit_tls) in [("smtp", false), ("smtps", true)] {
        let options = Options { tls: Some(config.clone()), implicit_tls, ..Options::default() };
        let server = Server::with(options, |_| Answer::Usual);
        let smarthost = smarthost(scheme, server.port(), &ca_file, LOGIN);
        let status = unusable(&server, &smarthost, "it is for mail.example.com, expected localhost");
        assert!(status.contains("it is for mail.example.com, expected localhost"), "{status}");
        assert!(status.contains("hint: use in url the name that stands in the certificate"), "{status}");
    }
}

#[test]
fn a_certificate_of_an_unknown_authority_is_not_trusted_and_status_tells_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    let (_, config) = certificate(dir.path(), "localhost");
    let (another, _) = certificate(dir.path(), "another.example.com");
    let options = Options { tls: Some(config), ..Options::default() };
    let server = Server::with(options, |_| Answer::Usual);
    let status = unusable(&server, &smarthost("smtp", server.port(), &another, LOGIN), "certificate");
    assert!(status.contains("hint: if this is your own server"), "{status}");
    assert!(status.contains("ca_file"), "{status}");
}

#[test]
fn with_a_login_nothing_is_said_to_a_server_that_does_not_offer_tls() {
    let dir = tempfile::tempdir().unwrap();
    let (ca_file, _) = certificate(dir.path(), "localhost");
    let options = Options { offers: vec!["AUTH PLAIN LOGIN"], ..Options::default() };
    let server = Server::with(options, |_| Answer::Usual);
    let status = unusable(&server, &smarthost("smtp", server.port(), &ca_file, LOGIN), "STARTTLS");
    assert!(status.contains("hint: check url, tls and user"), "{status}");
}

#[test]
fn smtps_to_a_port_without_tls_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let (ca_file, _) = certificate(dir.path(), "localhost");
    let server = Server::start();
    let status = unusable(&server, &smarthost("smtps", server.port(), &ca_file, LOGIN), "TLS");
    assert!(status.contains("use smtp:// instead of smtps://"), "{status}");
}

#[test]
fn without_a_login_tls_is_used_where_it_is_offered_and_a_bad_certificate_is_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let (_, config) = certificate(dir.path(), "mail.example.com");
    let server = Server::with(Options { tls: Some(config), ..Options::default() }, |_| Answer::Usual);
    let stage = Stage::new(&format!("[[smarthost]]\nurl = \"smtp://localhost:{}\"\n", server.port()), "");
    let service = stage.run();
    stage.drop_letters([1]);
    server.wait_taken(1);
    assert_eq!(server.count("STARTTLS"), 1);
    service.wait_log("WARN certificate-not-verified");
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_password_that_is_changed_is_used_for_the_next_session() {
    let options = Options { offers: vec!["AUTH PLAIN"], login: Some(("box", "new")), ..Options::default() };
    let server = Server::with(options, |_| Answer::Usual);
    let login = "user = \"box\"\npassword = { file = \"password\" }\n";
    let stage = Stage::new(&(plain(server.port()) + login), "");
    std::fs::write(stage.dir().join("password"), "old\n").unwrap();
    let service = stage.run();
    stage.drop_letters([1]);
    service.wait_log("WARN smarthost-unusable 535 5.7.8 no");
    std::fs::write(stage.dir().join("password"), "new\n").unwrap();
    server.wait_taken(1);
    stage.wait_empty();
    assert_eq!(service.stop(), 0);
}
