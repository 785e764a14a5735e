//! TLS and logins end to end: what is promised of a login holds only inside.

use std::path::Path;

use crate::support::certificate::{Authority, certificate};
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
        offers: vec!["AUTH GSSAPI LOGIN"],
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

/// Two messages wait while the certificate is not borne, and leave once the configuration is.
fn waits_and_is_mended(server: &Server, wrong: &str, words: &str, hint: &str, right: &str) {
    let stage = Stage::new(wrong, "");
    let service = stage.run();
    stage.drop_letters([1, 2]);
    service.wait_log_times("INFO accepted", 2);
    service.wait_log(&format!("WARN smarthost-unusable {words} hint= {hint}"));
    server.wait_sessions(3);
    assert_eq!((stage.names("pending").len(), stage.records().len()), (2, 0));
    assert_eq!(service.stop(), 0);
    stage.configure(right, "");
    let service = stage.run();
    server.wait_taken(2);
    assert_eq!(server.subjects(), alarms([1, 2]));
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_certificate_out_of_its_time_is_not_trusted_and_a_pin_is_the_way_around() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path().join("ca.pem"));
    let past = authority.server("localhost", None, |p| p.not_after = rcgen::date_time_ymd(2001, 1, 1));
    let future = authority.server("localhost", None, |p| p.not_before = rcgen::date_time_ymd(3000, 1, 1));
    for (identity, words, hint) in
        [(past, "it has expired", "renewed"), (future, "it is not valid yet", "check this box's clock")]
    {
        let options = Options { tls: Some(identity.config), implicit_tls: true, ..Options::default() };
        let server = Server::with(options, |_| Answer::Usual);
        let with = |rest: &str| smarthost("smtps", server.port(), &authority.ca_file, rest);
        let pin = format!("pin = {:?}\n", identity.pin);
        waits_and_is_mended(&server, &with(""), words, hint, &with(&pin));
    }
}

#[test]
fn a_key_that_is_not_pinned_is_not_trusted_whoever_signed_it() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path().join("ca.pem"));
    let identity = authority.server("localhost", None, |_| {});
    let another = authority.server("localhost", None, |_| {}).pin;
    let options = Options { tls: Some(identity.config), ..Options::default() };
    let server = Server::with(options, |_| Answer::Usual);
    let with = |pin: &str| smarthost("smtp", server.port(), &authority.ca_file, &format!("pin = {pin}\n"));
    let words = format!("its key is {}, expected the one in pin", identity.pin);
    let both = format!("[{another:?}, {:?}]", identity.pin);
    waits_and_is_mended(
        &server,
        &with(&format!("{another:?}")),
        &words,
        "put the new one into pin",
        &with(&both),
    );
}

#[test]
fn a_server_knows_this_box_by_its_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path().join("ca.pem"));
    let stranger = Authority::new(dir.path().join("another ca.pem"));
    let (right, wrong) = (dir.path().join("right.pem"), dir.path().join("wrong.pem"));
    authority.client(&right, |_| {});
    stranger.client(&wrong, |_| {});
    for implicit_tls in [true, false] {
        let identity = authority.server("localhost", Some(&authority), |_| {});
        let options = Options { tls: Some(identity.config), implicit_tls, ..Options::default() };
        let server = Server::with(options, |_| Answer::Usual);
        let scheme = if implicit_tls { "smtps" } else { "smtp" };
        let with = |rest: &str| smarthost(scheme, server.port(), &authority.ca_file, rest);
        let by = |file: &Path| with(&format!("client_cert = {file:?}\n"));
        waits_and_is_mended(
            &server,
            &by(&wrong),
            "refused the client certificate",
            "client_cert",
            &by(&right),
        );
    }
}

#[test]
fn a_server_that_wants_a_certificate_is_told_from_one_that_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path().join("ca.pem"));
    let right = dir.path().join("right.pem");
    authority.client(&right, |_| {});
    let identity = authority.server("localhost", Some(&authority), |_| {});
    let options = Options {
        tls: Some(identity.config),
        implicit_tls: true,
        offers: vec!["AUTH EXTERNAL"],
        login: Some(("box", "")),
    };
    let server = Server::with(options, |_| Answer::Usual);
    let with = |rest: &str| smarthost("smtps", server.port(), &authority.ca_file, rest);
    let mended = with(&format!("user = \"box\"\nauth = \"external\"\nclient_cert = {right:?}\n"));
    waits_and_is_mended(&server, &with(""), "wants a client certificate", "client_cert", &mended);
    assert_eq!(server.count("AUTH EXTERNAL Ym94"), 1);
}

#[test]
fn a_ca_file_that_is_replaced_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let (ca_file, config) = certificate(dir.path(), "localhost");
    let (another, _) = certificate(dir.path(), "another.example.com");
    let right = std::fs::read(&ca_file).unwrap();
    std::fs::copy(&another, &ca_file).unwrap();
    let server = Server::with(Options { tls: Some(config), ..Options::default() }, |_| Answer::Usual);
    let stage = Stage::new(&smarthost("smtp", server.port(), &ca_file, "tls = \"required\"\n"), "");
    let service = stage.run();
    stage.drop_letters([1]);
    service.wait_log("WARN smarthost-unusable certificate");
    std::fs::write(&ca_file, right).unwrap();
    server.wait_taken(1);
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_host_that_had_tls_is_not_spoken_to_without_until_an_operator_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (_, config) = certificate(dir.path(), "localhost");
    let server = Server::with(Options { tls: Some(config), ..Options::default() }, |_| Answer::Usual);
    let stage = Stage::new(&format!("[[smarthost]]\nurl = \"smtp://localhost:{}\"\n", server.port()), "");
    let service = stage.run();
    stage.drop_letters([1]);
    server.wait_taken(1);
    service.wait_log("WARN certificate-not-verified hint= pin = \\\"sha256:");
    assert_eq!(service.stop(), 0);
    assert!(stage.read("meta", "hosts.json").contains("\"localhost\""));
    // Somebody in the middle takes the offer away; a new process knows it as well.
    server.follow(
        |asked| if asked.line.starts_with("EHLO") { say("250 mx.example.com") } else { Answer::Usual },
    );
    let service = stage.run();
    stage.drop_letters([2]);
    service.wait_log("WARN smarthost-unusable STARTTLS hint= this host had TLS before meta/hosts.json");
    assert_eq!(server.count("MAIL"), 1);
    assert_eq!(stage.names("pending").len(), 1);
    std::fs::remove_file(stage.spool().join("meta/hosts.json")).unwrap();
    server.wait_taken(2);
    assert_eq!(service.stop(), 0);
}

#[test]
fn certificates_that_end_soon_are_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path().join("ca.pem"));
    let soon = |params: &mut rcgen::CertificateParams| {
        // The tests know no calendar; rcgen's dates are those of the crate time.
        let now = std::time::SystemTime::now() + std::time::Duration::from_secs(5 * 86_400);
        params.not_after = now.into();
    };
    let client = dir.path().join("client.pem");
    authority.client(&client, soon);
    let identity = authority.server("localhost", Some(&authority), soon);
    let options = Options { tls: Some(identity.config), implicit_tls: true, ..Options::default() };
    let server = Server::with(options, |_| Answer::Usual);
    let with = |rest: &str| {
        let rest = format!("client_cert = {client:?}\n{rest}");
        Stage::new(&smarthost("smtps", server.port(), &authority.ca_file, &rest), "")
    };
    let stage = with("");
    let service = stage.run();
    stage.drop_letters([1]);
    service.wait_log("WARN certificate-ends whose=\"server\" ends= hint=");
    service.wait_log("WARN certificate-ends whose=\"client\" ends= hint= client_cert");
    stage.wait_empty();
    assert_eq!(service.stop(), 0);
    let stage = with("tls_warn = \"4d\"\n");
    let service = stage.run();
    stage.drop_letters([2]);
    server.wait_taken(2);
    stage.wait_empty();
    assert!(!service.log().contains("certificate-ends"), "{}", service.log());
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_thousand_messages_wait_in_order_for_a_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let (ca_file, config) = certificate(dir.path(), "localhost");
    let (another, _) = certificate(dir.path(), "another.example.com");
    let server = Server::with(Options { tls: Some(config), ..Options::default() }, |_| Answer::Usual);
    let with = |ca_file: &Path| smarthost("smtp", server.port(), ca_file, "tls = \"required\"\n");
    crate::login::a_thousand_wait_and_leave(|| server.sessions(), &server, &with(&another), &with(&ca_file));
}
