//! The ports of a bare host, in turn. They are the test's own.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Mutex;

use super::*;
use crate::fs::SystemClock;
use crate::fs::faulty::Faulty;
use crate::outgoing;

/// Serves every connection with this reply to EHLO; gives its port and what it heard.
fn server(ehlo: &'static str) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let record = heard.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            record.lock().unwrap().push("(connected)".to_owned());
            stream.write_all(b"220 mx\r\n").unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            for line in lines.map_while(Result::ok) {
                let reply = if line.starts_with("EHLO") { ehlo } else { "250 ok\r\n" };
                record.lock().unwrap().push(line);
                // Who left needs no reply.
                stream.write_all(reply.as_bytes()).ok();
            }
        }
    });
    (port, heard)
}

/// A port on which nothing listens.
fn closed() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn bare(implicit: u16, submission: u16, relay: u16) -> Smarthost {
    let endpoint = |port, implicit| Endpoint { host: "127.0.0.1".into(), port, implicit };
    Smarthost {
        protocol: Protocol::Smtp,
        name: "test".into(),
        endpoints: vec![endpoint(implicit, true), endpoint(submission, false), endpoint(relay, false)],
        tls_mode: TlsMode::StartTlsIfOffered,
        tls: TlsOptions { verify: Verify::Opportunistic, ..TlsOptions::default() },
        tls_warn: Duration::ZERO,
        login: None,
        timeouts: Timeouts::default(),
        from: None,
        rate: None,
        daily: None,
        messages_per_session: None,
        known: Known::default(),
    }
}

async fn open_it(smarthost: &Smarthost) -> Result<u16, Trouble> {
    let options = Options {
        smarthosts: Vec::new(),
        outgoing: outgoing::Options {
            hostname: "box.example.com".into(),
            received: true,
            ..outgoing::Options::default()
        },
        retry_interval: Duration::from_secs(30),
        hold_line: None,
        max_age: None,
        max_attempts: None,
        fail_back: Duration::ZERO,
        keep_open: Duration::ZERO,
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Fs> = Faulty::new(dir.path());
    let opened = open(smarthost, &options, Pipelining::Off, &clock, &disk).await;
    opened.map(|connection| connection.endpoint().port)
}

#[tokio::test]
async fn a_bare_host_is_found_on_the_port_that_answers_and_that_is_remembered() {
    // Speaks plainly where TLS is expected; nobody; a relay.
    let ((not_tls, asked_first), (relay, _)) = (server("250 mx\r\n"), server("250 mx\r\n"));
    let smarthost = bare(not_tls, closed(), relay);
    assert_eq!(open_it(&smarthost).await, Ok(relay));
    let asked = asked_first.lock().unwrap().len();
    assert_eq!(open_it(&smarthost).await, Ok(relay));
    assert_eq!(asked, 1);
    assert_eq!(asked_first.lock().unwrap().len(), asked, "the one that worked is tried first");
}

#[tokio::test]
async fn without_a_login_a_port_that_wants_one_is_passed_over() {
    let ((submission, heard), (relay, _)) = (server("250-mx\r\n250 AUTH PLAIN\r\n"), server("250 mx\r\n"));
    assert_eq!(open_it(&bare(closed(), submission, relay)).await, Ok(relay));
    assert_eq!(heard.lock().unwrap()[1..], ["EHLO box.example.com", "QUIT"]);
    let trouble = open_it(&bare(closed(), submission, closed())).await.unwrap_err();
    assert!(
        trouble.cause.contains("connection refused; ") && trouble.cause.contains("offers a login"),
        "{trouble}"
    );
}

#[tokio::test]
async fn with_a_login_no_port_is_spoken_to_without_tls() {
    let ((submission, heard), (relay, heard_too)) =
        (server("250-mx\r\n250 AUTH PLAIN\r\n"), server("250-mx\r\n250 AUTH PLAIN\r\n"));
    let read: SecretReader = Arc::new(|| Box::pin(async { Ok(Secret::new("geheim")) }));
    let login = LoginOptions {
        user: "box".into(),
        proof: Proof::Password(read),
        mechanisms: Vec::new(),
        stays_on_host: false,
    };
    let mut smarthost = bare(closed(), submission, relay);
    smarthost.tls_mode = TlsMode::StartTlsRequired;
    smarthost.login = Some(login);
    let trouble = open_it(&smarthost).await.unwrap_err();
    assert!(trouble.cause.contains("does not offer STARTTLS"), "{trouble}");
    for heard in [heard, heard_too] {
        assert!(heard.lock().unwrap().iter().all(|line| !line.starts_with("AUTH")));
    }
}
