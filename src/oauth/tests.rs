//! Tokens over time: a token endpoint in the process, a disk that can fail, a clock that the test turns.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{ClientProof, Fault, Grant, Options, SecretReader, Token, Tokens};
use crate::fs::faulty::Faulty;
use crate::fs::{Clock, Dir, Fs};
use crate::mail::{Monotonic, UnixTime};
use crate::net::TlsOptions;
use crate::smtp::Secret;

const FILE: &str = "oauth-provider.json";

/// Boot, seconds since it, time of day.
struct Hand(Mutex<(String, u64, u64)>);

impl Clock for Hand {
    fn monotonic(&self) -> Monotonic {
        Monotonic(Duration::from_secs(self.0.lock().unwrap().1))
    }

    fn wall(&self) -> UnixTime {
        UnixTime::from_secs(self.0.lock().unwrap().2)
    }

    fn boot(&self) -> String {
        self.0.lock().unwrap().0.clone()
    }
}

#[derive(Default)]
struct Heard {
    forms: Vec<String>,
    answers: VecDeque<(u16, String)>,
}

/// The endpoint, the disk, the clock, and the first refresh token of the configuration.
struct Bench {
    _dir: tempfile::TempDir,
    disk: Arc<Faulty>,
    hand: Arc<Hand>,
    heard: Arc<Mutex<Heard>>,
    options: Options,
    tokens: Arc<Tokens>,
}

fn fixed(text: &str) -> SecretReader {
    let secret = Secret::new(text);
    Arc::new(move || {
        let secret = secret.clone();
        Box::pin(async move { Ok(secret) })
    })
}

async fn answer_one(mut stream: TcpStream, heard: &Mutex<Heard>) {
    let mut text = String::new();
    loop {
        let mut block = [0; 4096];
        let read = stream.read(&mut block).await.unwrap();
        text.push_str(&String::from_utf8_lossy(&block[..read]));
        let Some((head, form)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if read == 0 || length.is_some_and(|length| length == form.len().to_string()) {
            break;
        }
    }
    let form = text.split_once("\r\n\r\n").unwrap().1.to_owned();
    let (status, body) = {
        let mut heard = heard.lock().unwrap();
        heard.forms.push(form);
        heard.answers.pop_front().expect("an answer for each request")
    };
    let retry = if status == 429 { "Retry-After: 60\r\n" } else { "" };
    let text = format!("HTTP/1.1 {status} X\r\n{retry}Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).await.unwrap();
}

impl Bench {
    async fn new(grant: Grant) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let disk = Faulty::new(&dir.path().join("spool"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let options = Options {
            name: "provider".into(),
            token_url: format!("http://{}/token", listener.local_addr().unwrap()).parse().unwrap(),
            tls: TlsOptions::default(),
            client_id: "app".into(),
            client: ClientProof::Secret(fixed("geheim")),
            grant,
            scope: None,
        };
        let for_task = heard.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                answer_one(stream, &for_task).await;
            }
        });
        let hand = Arc::new(Hand(Mutex::new(("boot".into(), 1000, 1_800_000_000))));
        Bench { _dir: dir, disk, hand, heard, tokens: Arc::new(Tokens::new(options.clone())), options }
    }

    async fn person() -> Bench {
        Bench::new(Grant::RefreshToken(fixed("r0"))).await
    }

    async fn read(&self) -> Result<Token, Fault> {
        let clock: Arc<dyn Clock> = self.hand.clone();
        let disk: Arc<dyn Fs> = self.disk.clone();
        self.tokens.read(&disk, &clock).await
    }

    /// The token that is read, and whether it is new.
    async fn token(&self) -> (String, bool) {
        let token = self.read().await.unwrap_or_else(|fault| panic!("{fault:?}"));
        (token.secret.expose().to_owned(), token.is_new)
    }

    async fn fault(&self) -> Fault {
        self.read().await.err().expect("no token")
    }

    fn will_say(&self, status: u16, body: &str) {
        self.heard.lock().unwrap().answers.push_back((status, body.to_owned()));
    }

    fn will_grant(&self, access: &str, seconds: u64, refresh: Option<&str>) {
        let refresh = refresh.map_or_else(String::new, |token| format!(",\"refresh_token\":\"{token}\""));
        self.will_say(200, &format!("{{\"access_token\":\"{access}\",\"expires_in\":{seconds}{refresh}}}"));
    }

    /// The refresh tokens that were shown so far.
    fn shown(&self) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        let refresh = |form: &String| {
            form.split('&').find_map(|field| field.strip_prefix("refresh_token=")).unwrap_or("-").to_owned()
        };
        heard.forms.iter().map(refresh).collect()
    }

    fn pass(&self, seconds: u64) {
        let mut hand = self.hand.0.lock().unwrap();
        hand.1 += seconds;
        hand.2 += seconds;
    }

    fn restart(&mut self) {
        self.tokens = Arc::new(Tokens::new(self.options.clone()));
    }

    fn boot(&mut self, wall: u64) {
        *self.hand.0.lock().unwrap() = ("another".into(), 30, wall);
        self.restart();
    }

    fn on_disk(&self) -> Option<String> {
        let file = self.disk.open(Dir::Meta, OsStr::new(FILE)).ok()?;
        let mut block = vec![0; 16 * 1024];
        let read = file.read_at(&mut block, 0).unwrap();
        Some(String::from_utf8(block[..read].to_vec()).unwrap())
    }
}

#[tokio::test]
async fn a_token_is_used_until_a_fifth_of_its_time_is_left_and_survives_a_restart() {
    let mut bench = Bench::new(Grant::ClientCredentials).await;
    bench.will_grant("a1", 1000, None);
    assert_eq!(bench.token().await, ("a1".into(), true));
    bench.pass(799);
    assert_eq!(bench.token().await, ("a1".into(), false));
    bench.restart();
    assert_eq!(bench.token().await, ("a1".into(), false));
    bench.will_grant("a2", 1000, None);
    bench.pass(1);
    assert_eq!(bench.token().await, ("a2".into(), true));
    let form = bench.heard.lock().unwrap().forms[0].clone();
    assert_eq!(form, "grant_type=client_credentials&client_id=app&client_secret=geheim");
}

#[tokio::test]
async fn after_a_reboot_a_clock_that_cannot_be_right_has_the_token_renewed() {
    let mut bench = Bench::new(Grant::ClientCredentials).await;
    bench.will_grant("a1", 3600, None);
    bench.token().await;
    bench.boot(1_800_000_600);
    assert_eq!(bench.token().await, ("a1".into(), false));
    for (number, wall) in [(2, 60), (3, 1_799_999_000)] {
        let access = format!("a{number}");
        bench.will_grant(&access, 3600, None);
        bench.boot(wall);
        *bench.hand.0.lock().unwrap() = (access.clone(), 30, wall);
        assert_eq!(bench.token().await, (access, true), "at {wall}");
    }
}

#[tokio::test]
async fn a_renewal_that_fails_while_the_token_is_good_costs_nothing() {
    let bench = Bench::new(Grant::ClientCredentials).await;
    bench.will_grant("a1", 1000, None);
    bench.token().await;
    bench.pass(900);
    bench.will_say(503, "");
    assert_eq!(bench.token().await, ("a1".into(), false));
    // Not at each session.
    bench.pass(29);
    assert_eq!(bench.token().await, ("a1".into(), false));
    assert_eq!(bench.shown().len(), 2);
    bench.will_say(503, "");
    bench.pass(71);
    assert!(bench.fault().await.cause.contains("HTTP 503"));
}

#[tokio::test]
async fn a_refused_token_is_renewed_whatever_its_time() {
    let bench = Bench::new(Grant::ClientCredentials).await;
    bench.will_grant("a1", 3600, None);
    bench.token().await;
    bench.tokens.refused().await;
    bench.will_say(500, "");
    bench.fault().await;
    // It stays refused until there is another one.
    bench.will_grant("a2", 3600, None);
    assert_eq!(bench.token().await, ("a2".into(), true));
    assert_eq!(bench.token().await, ("a2".into(), false));
}

#[tokio::test]
async fn the_refresh_token_that_came_last_is_shown_next_also_after_a_restart() {
    let mut bench = Bench::person().await;
    for (access, next) in [("a1", Some("r1")), ("a2", None), ("a3", Some("r3")), ("a4", None)] {
        bench.will_grant(access, 100, next);
        bench.pass(100);
        assert_eq!(bench.token().await, (access.into(), true));
        bench.restart();
    }
    assert_eq!(bench.shown(), ["r0", "r1", "r1", "r3"]);
}

#[tokio::test]
async fn another_refresh_token_in_the_configuration_wins() {
    let mut bench = Bench::person().await;
    bench.will_grant("a1", 3600, Some("r1"));
    bench.token().await;
    bench.options.grant = Grant::RefreshToken(fixed("n0"));
    bench.restart();
    bench.will_grant("b1", 3600, Some("n1"));
    // Not even the access token is used: it is another person's, perhaps.
    assert_eq!(bench.token().await, ("b1".into(), true));
    bench.pass(3600);
    bench.restart();
    bench.will_grant("b2", 3600, None);
    bench.token().await;
    assert_eq!(bench.shown(), ["r0", "n0", "n1"]);
    // Neither the one nor the other stands in the file in clear.
    assert!(!bench.on_disk().unwrap().contains("n0"));
}

#[tokio::test]
async fn a_rotated_refresh_token_is_on_disk_before_the_access_token_is_given_out() {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let bench = Bench::person().await;
    bench.will_grant("a1", 3600, Some("r1"));
    let for_hook = calls.clone();
    bench.disk.ask_first(move |what, dir| {
        for_hook.lock().unwrap().push((what.to_owned(), dir));
        None
    });
    bench.token().await;
    let calls: Vec<String> = calls.lock().unwrap().iter().map(|(what, _)| what.clone()).collect();
    let last = &calls[calls.len() - 4..];
    assert_eq!(last, ["append", "sync", "replace", "sync_dir"], "{calls:?}");
    assert!(bench.on_disk().unwrap().contains("\"refresh_token\":\"r1\""));
}

#[tokio::test]
async fn whatever_call_fails_the_token_is_used_and_the_write_tried_again() {
    for failing in ["unlink", "create", "append", "sync", "replace", "sync_dir"] {
        let mut bench = Bench::person().await;
        bench.will_grant("a1", 100, Some("r1"));
        bench.token().await;
        bench.pass(100);
        bench.will_grant("a2", 100, Some("r2"));
        bench.disk.ask_first(move |what, dir| {
            ((what, dir) == (failing, Dir::Meta)).then(|| io::ErrorKind::StorageFull.into())
        });
        assert_eq!(bench.token().await, ("a2".into(), true), "{failing}");
        let before = bench.on_disk().unwrap();
        let is_whole = |text: &str| serde_json::from_str::<serde_json::Value>(text).is_ok();
        assert!(is_whole(&before), "{failing}: {before}");
        assert_eq!(before.contains("\"r2\""), failing == "sync_dir", "{failing}");
        // It is still full: what is in memory counts.
        bench.pass(100);
        bench.will_grant("a3", 100, Some("r3"));
        assert_eq!(bench.token().await, ("a3".into(), true), "{failing}");
        bench.disk.mend();
        assert_eq!(bench.token().await, ("a3".into(), false), "{failing}");
        assert!(bench.on_disk().unwrap().contains("\"r3\""), "{failing}");
        bench.restart();
        assert_eq!(bench.token().await, ("a3".into(), false), "{failing}");
        assert_eq!(bench.shown(), ["r0", "r1", "r2"], "{failing}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_no_reason_to_show_an_old_refresh_token() {
    let write = |bench: &Bench| {
        let mut file = bench.disk.create(Dir::Meta, OsStr::new(FILE)).unwrap();
        file.append(b"{\"version\":1,\"refresh_tok").unwrap();
    };
    let bench = Bench::person().await;
    write(&bench);
    let fault = bench.fault().await;
    assert!(
        fault.cause.contains("meta/oauth-provider.json") && fault.hint.contains("remove it"),
        "{fault:?}"
    );
    assert_eq!(bench.shown(), Vec::<String>::new());
    bench.disk.unlink(Dir::Meta, OsStr::new(FILE)).unwrap();
    bench.will_grant("a1", 3600, None);
    bench.token().await;
    // What an application has can be had again.
    let bench = Bench::new(Grant::ClientCredentials).await;
    write(&bench);
    bench.will_grant("a1", 3600, None);
    assert_eq!(bench.token().await, ("a1".into(), true));
    assert!(bench.on_disk().unwrap().contains("\"a1\""));
}

#[tokio::test]
async fn who_wants_to_be_left_alone_is_left_alone() {
    let bench = Bench::new(Grant::ClientCredentials).await;
    bench.will_say(429, "");
    let fault = bench.fault().await;
    assert_eq!((fault.is_refusal, fault.again_after), (false, Some(Duration::from_secs(60))));
    bench.pass(59);
    assert_eq!(bench.fault().await, fault);
    assert_eq!(bench.shown().len(), 1);
    bench.pass(1);
    bench.will_grant("a1", 3600, None);
    bench.token().await;
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_is_named() {
    let mut bench = Bench::new(Grant::ClientCredentials).await;
    bench.options.client =
        ClientProof::Secret(Arc::new(|| Box::pin(async { Err("cannot read the password from /s".into()) })));
    bench.restart();
    let fault = bench.fault().await;
    assert_eq!(fault.hint, "see client_secret in [smarthost.oauth]");
    assert!(!fault.is_refusal);
    assert_eq!(bench.shown(), Vec::<String>::new());
}

#[tokio::test]
async fn who_is_stopped_in_the_middle_loses_no_refresh_token() {
    let bench = Bench::person().await;
    bench.will_grant("a1", 3600, Some("r1"));
    let asked = {
        let clock: Arc<dyn Clock> = bench.hand.clone();
        let disk: Arc<dyn Fs> = bench.disk.clone();
        let tokens = bench.tokens.clone();
        let reading = tokio::spawn(async move { tokens.read(&disk, &clock).await.is_ok() });
        while !bench.tokens.is_rotating() {
            tokio::task::yield_now().await;
        }
        reading.abort();
        reading.await
    };
    assert!(asked.is_err_and(|error| error.is_cancelled()));
    assert_eq!(bench.on_disk(), None);
    bench.tokens.close();
    bench.tokens.rotation_ended().await;
    assert!(bench.on_disk().unwrap().contains("\"refresh_token\":\"r1\""));
    bench.tokens.refused().await;
    assert_eq!(bench.fault().await.cause, "the service ends");
    assert_eq!(bench.shown(), ["r0"]);
}
