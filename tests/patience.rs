//! A thousand messages wait in order for what an operator has to mend, through a hundred tries, and leave once, in order.
//!
//! The wrong password and an unknown authority, by `flush`, are in `promises/login.rs` and `promises/tls.rs`.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "these tests are an operator with an editor")]

#[expect(dead_code, reason = "promises.rs uses the rest")]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

use support::certificate::{Authority, Identity, certificate};
use support::server::{Answer, Options, Server};
use support::stage::{Stage, alarms, letter};

const MANY: usize = 1_000;
const TRIES: usize = 100;

/// Shows one certificate until it is renewed, then the other.
#[derive(Debug)]
struct Renewable {
    old: Arc<dyn ResolvesServerCert>,
    new: Arc<dyn ResolvesServerCert>,
    is_renewed: Arc<AtomicBool>,
}

impl ResolvesServerCert for Renewable {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match self.is_renewed.load(Ordering::SeqCst) {
            true => self.new.resolve(hello),
            false => self.old.resolve(hello),
        }
    }
}

fn drop_many(stage: &Stage) {
    for number in 1..=MANY {
        stage.drop_in(format!("{number:04}.eml"), letter(number, &["ops@example.com"]));
    }
}

/// All are there, in order, and nothing is held against any.
fn assert_all_wait(stage: &Stage, server: &Server) {
    let subject = |name: &String| {
        let text = stage.read("pending", name);
        text.lines().find_map(|line| line.strip_prefix("Subject: ")).map(str::to_owned).unwrap()
    };
    let waiting: Vec<String> = stage.names("pending").iter().map(subject).collect();
    assert_eq!(waiting, alarms(1..=MANY));
    assert_eq!((stage.names("failed"), stage.records()), (vec![], vec![]));
    assert_eq!((server.count("MAIL"), server.arrivals().len()), (0, 0));
}

/// All leave, in order, each once.
fn assert_all_leave(stage: &Stage, server: &Server) {
    // In parts: each is waited for on its own.
    for part in 1..=10 {
        server.wait_taken(part * MANY / 10);
    }
    stage.wait_empty();
    assert_eq!(server.subjects(), alarms(1..=MANY));
    assert_eq!(server.arrivals().len(), MANY);
    assert_eq!(stage.names("failed"), [""; 0]);
}

/// The service runs while the certificate is `wrong`, and goes on when the server has got a good one.
fn waits_for_a_certificate(wrong: &Identity, authority: &Authority, words: &str) {
    let is_renewed = Arc::new(AtomicBool::new(false));
    let new = Arc::clone(&authority.server("localhost", None, |_| {}).config.cert_resolver);
    let old = Arc::clone(&wrong.config.cert_resolver);
    let mut config = (*wrong.config).clone();
    config.cert_resolver = Arc::new(Renewable { old, new, is_renewed: Arc::clone(&is_renewed) });
    let options = Options { tls: Some(Arc::new(config)), implicit_tls: true, ..Options::default() };
    let server = Server::with(options, |_| Answer::Usual);
    let ca_file = &authority.ca_file;
    let smarthost =
        format!("[[smarthost]]\nurl = \"smtps://localhost:{}\"\nca_file = {ca_file:?}\n", server.port());
    let stage = Stage::new(&smarthost, "");
    stage.set("retry_interval", "\"10ms\"");
    drop_many(&stage);
    let service = stage.run();
    service.wait_log(&format!("WARN smarthost-unusable {words}"));
    service.wait_log_times("INFO accepted", MANY);
    server.wait_sessions(server.sessions() + TRIES);
    assert_eq!(service.log().matches("smarthost-unusable").count(), 1, "it is told once");
    assert_all_wait(&stage, &server);
    is_renewed.store(true, Ordering::SeqCst);
    assert_all_leave(&stage, &server);
    assert_eq!(service.stop(), 0);
}

fn authority() -> (tempfile::TempDir, Authority) {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path().join("ca.pem"));
    (dir, authority)
}

#[test]
fn a_thousand_wait_for_a_certificate_that_has_expired() {
    let (_dir, authority) = authority();
    let expired = authority.server("localhost", None, |p| p.not_after = rcgen::date_time_ymd(2001, 1, 1));
    waits_for_a_certificate(&expired, &authority, "it has expired hint= renewed");
}

/// As a box sees every certificate whose clock stands in 1970.
#[test]
fn a_thousand_wait_for_a_certificate_that_is_not_valid_yet() {
    let (_dir, authority) = authority();
    let future = authority.server("localhost", None, |p| p.not_before = rcgen::date_time_ymd(3000, 1, 1));
    waits_for_a_certificate(&future, &authority, "it is not valid yet hint= check this box's clock");
}

#[test]
fn a_thousand_wait_for_a_certificate_of_the_right_name() {
    let (_dir, authority) = authority();
    let other = authority.server("mail.example.com", None, |_| {});
    waits_for_a_certificate(
        &other,
        &authority,
        "it is for mail.example.com, expected localhost hint= the name",
    );
}

#[test]
fn a_thousand_wait_for_a_certificate_that_somebody_known_has_signed() {
    let (_dir, authority) = authority();
    let stranger = Authority::new(authority.ca_file.with_file_name("stranger.pem"));
    let unknown = stranger.server("localhost", None, |_| {});
    waits_for_a_certificate(&unknown, &authority, "nobody that this box trusts has signed it hint= ca_file");
}

/// By `flush`, which tries at once: the service knocks less and less often after refused logins.
#[test]
fn a_thousand_wait_for_a_token_that_has_not_expired() {
    let dir = tempfile::tempdir().unwrap();
    let (ca_file, config) = certificate(dir.path(), "localhost");
    let options = Options {
        tls: Some(config),
        implicit_tls: true,
        offers: vec!["AUTH XOAUTH2"],
        login: Some(("box@example.com", "fresh")),
    };
    let server = Server::with(options, |_| Answer::Usual);
    let stage = Stage::new(
        &format!(
            "[[smarthost]]\nurl = \"smtps://localhost:{}\"\nca_file = {ca_file:?}\nuser = \"box@example.com\"\n\
             token = {{ file = \"token\" }}\n",
            server.port()
        ),
        "",
    );
    std::fs::write(stage.dir().join("token"), "expired\n").unwrap();
    drop_many(&stage);
    for _ in 0..TRIES {
        let ran = stage.pillarbox(&["flush", "--strict"]);
        assert_eq!(ran.code, 75, "{ran:?}");
    }
    assert!(server.count("AUTH XOAUTH2") >= TRIES);
    assert_all_wait(&stage, &server);
    assert!(stage.pillarbox(&["status"]).stdout.contains("535 5.7.8"));
    std::fs::write(stage.dir().join("token"), "fresh\n").unwrap();
    let service = stage.run();
    assert_all_leave(&stage, &server);
    assert_eq!(service.stop(), 0);
}
