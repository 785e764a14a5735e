//! The sender against a server in this process that says what a test wants it to say.

mod failover;
mod policy;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::fs::Dir;
use crate::fs::faulty::Faulty;
use crate::mail::{Monotonic, UnixTime};
use crate::net::{Endpoint, TlsOptions};
use crate::smtp::{Protocol, Timeouts, TlsMode};
use crate::spool::{Candidate, Lease};

#[derive(Debug)]
struct Alone;

impl Lease for Alone {}

/// A clock that stands until it is moved.
#[derive(Default)]
struct Hand(AtomicU64);

impl Hand {
    fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for Hand {
    fn boot(&self) -> String {
        "one".into()
    }
    fn monotonic(&self) -> Monotonic {
        Monotonic(Duration::from_secs(self.0.load(Ordering::SeqCst)))
    }
    fn wall(&self) -> UnixTime {
        UnixTime::from_secs(self.0.load(Ordering::SeqCst))
    }
}

struct Bench {
    _root: tempfile::TempDir,
    disk: Arc<Faulty>,
    spool: Arc<Spool>,
    clock: Arc<Hand>,
}

impl Bench {
    fn new() -> Bench {
        let root = tempfile::tempdir().unwrap();
        let disk = Faulty::new(root.path());
        let spool = Arc::new(Spool::new(disk.clone(), Box::new(Alone)));
        spool.recover().unwrap();
        Bench { _root: root, disk, spool, clock: Arc::default() }
    }

    /// Drops a message and has it accepted.
    fn accept(&self, name: &str, to: &str) {
        accept(&self.disk, &self.spool, name, to);
    }

    fn sender(&self, port: u16) -> Sender {
        Sender::new(self.spool.clone(), self.clock.clone(), Self::options(port))
    }

    fn options(port: u16) -> Options {
        Self::options_for([("test", port)])
    }

    fn options_for<const N: usize>(hosts: [(&str, u16); N]) -> Options {
        let smarthost = |(name, port): (&str, u16)| Smarthost {
            protocol: Protocol::Smtp,
            name: name.into(),
            endpoints: vec![Endpoint { host: "127.0.0.1".into(), port, implicit: false }],
            tls_mode: TlsMode::None,
            tls: TlsOptions::default(),
            tls_warn: Duration::ZERO,
            login: None,
            timeouts: Timeouts::default(),
            from: None,
            rate: None,
            daily: None,
            messages_per_session: None,
            known: Known::default(),
        };
        let outgoing = outgoing::Options {
            hostname: "box.example.com".into(),
            received: true,
            ..outgoing::Options::default()
        };
        Options {
            smarthosts: hosts.map(smarthost).into(),
            outgoing,
            retry_interval: Duration::from_secs(30),
            hold_line: Some(Duration::from_secs(60)),
            keep_open: Duration::ZERO,
            max_age: None,
            max_attempts: None,
            fail_back: Duration::from_secs(300),
        }
    }

    /// One pass, one retry interval later than the one before.
    async fn pass(&self, sender: &mut Sender) -> PassEnd {
        self.clock.advance(31);
        sender.pass(None, &mut Stop::pair().1).await.unwrap()
    }
}

fn said(sender: &Sender) -> Option<SenderState> {
    sender.said.as_ref().map(|said| said.smarthost.clone())
}

fn accept(disk: &Faulty, spool: &Spool, name: &str, to: &str) {
    disk.drop_file(name, &format!("From: a@example.com\nTo: {to}\nSubject: {name}\n\ntext\n"));
    let candidate = Candidate { name: name.into(), settled: true, rested: true, holds: false };
    let accepted = spool.accept(&[candidate], UnixTime::from_secs(1), &|_, _| None).unwrap();
    accepted[0].as_ref().unwrap();
}

/// What the server is asked: a command, or the subject of the message whose final dot came. An empty answer closes the
/// connection.
type Answer = Box<dyn FnMut(&str) -> &'static str + Send>;

/// Greets, says yes to MAIL and DATA, and lets `answer` say the rest: EHLO, RCPT, the final dot and QUIT. Returns
/// the port, and the subjects of the messages that were taken as they come.
async fn server(
    answer: impl FnMut(&str) -> &'static str + Send + 'static,
) -> (u16, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (taken, told) = mpsc::unbounded_channel();
    let answer: Arc<Mutex<Answer>> = Arc::new(Mutex::new(Box::new(answer)));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _end = converse(stream, &answer, &taken).await;
        }
    });
    (port, told)
}

async fn converse(
    stream: tokio::net::TcpStream,
    answer: &Mutex<Answer>,
    taken: &mpsc::UnboundedSender<String>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 test\r\n").await?;
    let (mut line, mut subject, mut in_data) = (String::new(), String::new(), false);
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let text = line.trim_end();
        if in_data && text != "." {
            if let Some(found) = text.strip_prefix("Subject: ") {
                subject = found.to_owned();
            }
            continue;
        }
        let reply = match text.get(..4) {
            _ if in_data => (answer.lock().unwrap())(&subject),
            Some("EHLO" | "RCPT" | "QUIT") => (answer.lock().unwrap())(text),
            Some("DATA") => "354 go on",
            _ => "250 ok",
        };
        if in_data && reply.starts_with('2') {
            drop(taken.send(subject.clone()));
        }
        in_data = reply.starts_with("354");
        if reply.is_empty() {
            return Ok(());
        }
        stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
    }
}

fn all(told: &mut mpsc::UnboundedReceiver<String>) -> Vec<String> {
    std::iter::from_fn(|| told.try_recv().ok()).collect()
}

#[tokio::test]
async fn what_is_accepted_while_a_session_ends_is_sent_and_not_forgotten() {
    let bench = Bench::new();
    bench.accept("first", "b@example.com");
    let wake = Arc::new(Wake::default());
    let (disk, spool, waker) = (bench.disk.clone(), bench.spool.clone(), wake.clone());
    let mut quits = 0;
    let (port, mut told) = server(move |asked| {
        if asked == "QUIT" {
            quits += 1;
            if quits == 1 {
                accept(&disk, &spool, "second", "b@example.com");
                waker.accepted.notify_one();
            }
        }
        "250 ok"
    })
    .await;
    let mut sender = bench.sender(port);
    let (_stop, mut stopped) = Stop::pair();
    let two = async { [told.recv().await, told.recv().await] };
    let told = tokio::select! {
        two = timeout(Duration::from_secs(10), two) => two.expect("the second is never sent"),
        end = sender.run(&wake, &mut stopped) => panic!("{end:?}"),
    };
    assert_eq!(told, [Some("first".to_owned()), Some("second".to_owned())]);
}

#[tokio::test]
async fn a_message_aside_that_breaks_every_session_does_not_starve_the_line() {
    let bench = Bench::new();
    bench.accept("bad", "bad@example.com");
    let mut tries = 0;
    let (port, mut told) = server(move |asked| match asked {
        _ if asked.contains("<bad@") => {
            tries += 1;
            // Deferred until it has stepped aside; then the server hangs up on it.
            if tries <= 3 { "450 4.2.0 later" } else { "" }
        }
        _ => "250 ok",
    })
    .await;
    let mut sender = bench.sender(port);
    while bench.spool.counts().aside == 0 {
        bench.pass(&mut sender).await;
    }
    bench.accept("good", "good@example.com");
    for _ in 0..3 {
        bench.pass(&mut sender).await;
    }
    assert_eq!(all(&mut told), ["good"]);
}

#[tokio::test]
async fn a_recipient_that_was_taken_before_does_not_fill_the_budget_of_the_line() {
    let bench = Bench::new();
    bench.accept("both", "taken@example.com, later@example.com");
    bench.accept("behind", "b@example.com");
    let (port, mut told) =
        server(|asked| if asked.contains("<later@") { "450 4.2.0 later" } else { "250 ok" }).await;
    let mut sender = bench.sender(port);
    for _ in 0..6 {
        bench.pass(&mut sender).await;
    }
    assert_eq!(all(&mut told), ["both", "behind"]);
}

#[tokio::test]
async fn a_recipient_that_was_taken_is_not_sent_to_again_because_another_wants_a_login() {
    let bench = Bench::new();
    bench.accept("both", "local@example.com, far@example.org");
    let (port, mut told) =
        server(|asked| if asked.contains("<far@") { "530 5.7.0 log in first" } else { "250 ok" }).await;
    let mut sender = bench.sender(port);
    for _ in 0..3 {
        bench.pass(&mut sender).await;
    }
    assert_eq!(all(&mut told), ["both"]);
}

#[tokio::test]
async fn a_message_aside_that_cannot_be_read_is_not_tried_again_and_again() {
    let bench = Bench::new();
    bench.accept("bad", "bad@example.com");
    let (port, _told) =
        server(|asked| if asked.starts_with("RCPT") { "450 4.2.0 later" } else { "250 ok" }).await;
    let mut sender = bench.sender(port);
    while bench.spool.counts().aside == 0 {
        bench.pass(&mut sender).await;
    }
    let begun = Arc::new(AtomicU64::new(0));
    let count = begun.clone();
    bench.disk.ask_first(move |what, dir| match (what, dir) {
        ("rename", Dir::Pending) if count.fetch_add(1, Ordering::SeqCst) > 10 => {
            panic!("it is begun again and again")
        }
        ("read", Dir::Pending) => Some(std::io::Error::from_raw_os_error(libc::EIO)),
        _ => None,
    });
    bench.clock.advance(10_000);
    bench.pass(&mut sender).await;
    assert_eq!(begun.load(Ordering::SeqCst), 1);
    assert_eq!(bench.spool.counts().held, 1);
}

#[tokio::test]
async fn a_message_that_cannot_be_opened_holds_nobody() {
    let bench = Bench::new();
    bench.accept("bad", "b@example.com");
    bench.accept("good", "b@example.com");
    let (port, mut told) = server(|_| "250 ok").await;
    let mut sender = bench.sender(port);
    let opened = AtomicU64::new(0);
    bench.disk.ask_first(move |what, dir| match (what, dir) {
        ("open", Dir::Pending) if opened.fetch_add(1, Ordering::SeqCst) == 0 => {
            Some(std::io::Error::from_raw_os_error(libc::EACCES))
        }
        _ => None,
    });
    bench.pass(&mut sender).await;
    assert_eq!(all(&mut told), ["good"]);
    assert_eq!(bench.spool.counts().held, 1);
}

#[tokio::test]
async fn an_idle_session_that_is_kept_long_does_not_put_off_a_retry() {
    let bench = Bench::new();
    bench.accept("late", "b@example.com");
    let mut tries = 0;
    let (port, mut told) = server(move |asked| {
        tries += u32::from(asked.starts_with("RCPT"));
        if tries == 1 && asked.starts_with("RCPT") { "450 4.2.0 later" } else { "250 ok" }
    })
    .await;
    let (retry_interval, keep_open) = (Duration::from_millis(50), Duration::from_secs(3600));
    let options = Options { retry_interval, keep_open, ..Bench::options(port) };
    let mut sender = Sender::new(bench.spool.clone(), Arc::new(crate::fs::SystemClock), options);
    let (_stop, mut stopped) = Stop::pair();
    let wake = Wake::default();
    let told = tokio::select! {
        told = timeout(Duration::from_secs(10), told.recv()) => told.expect("it is not tried again"),
        end = sender.run(&wake, &mut stopped) => panic!("{end:?}"),
    };
    assert_eq!(told.as_deref(), Some("late"));
}

#[tokio::test]
async fn a_deferred_recipient_leaves_room_for_those_whose_turn_has_not_come() {
    let bench = Bench::new();
    bench.accept("three", "later@example.com, b@example.com, c@example.com");
    let (port, mut told) = server(|asked| match asked {
        _ if asked.starts_with("EHLO") => "250-test\r\n250 LIMITS RCPTMAX=1",
        _ if asked.contains("<later@") => "450 4.2.0 later",
        _ => "250 ok",
    })
    .await;
    let mut sender = bench.sender(port);
    for _ in 0..4 {
        bench.pass(&mut sender).await;
    }
    assert_eq!(all(&mut told), ["three", "three"], "once for b, once for c");
}

/// The line is cut at every RCPT to one of `victims`.
async fn cutting_server(victims: &'static [&'static str]) -> (u16, mpsc::UnboundedReceiver<String>) {
    server(move |asked| match victims.iter().any(|victim| asked.contains(victim)) {
        true => "",
        false => "250 ok",
    })
    .await
}

#[tokio::test]
async fn a_message_with_which_the_line_is_lost_lets_the_next_pass_after_three_times() {
    let bench = Bench::new();
    bench.accept("poison", "poison@example.com");
    bench.accept("good", "good@example.com");
    bench.accept("better", "better@example.com");
    let (port, mut told) = cutting_server(&["poison@"]).await;
    let mut sender = bench.sender(port);
    for _ in 0..3 {
        assert!(matches!(bench.pass(&mut sender).await, PassEnd::Unusable(_)));
        assert!(all(&mut told).is_empty(), "nobody passes before it was tried three times");
    }
    bench.pass(&mut sender).await;
    assert_eq!(all(&mut told), ["good", "better"]);
    assert_eq!(bench.spool.counts().aside, 1, "and it is out of line, and not given up");
}

#[tokio::test]
async fn if_the_line_is_lost_with_the_next_message_too_both_wait_in_order() {
    let bench = Bench::new();
    bench.accept("first", "first@example.com");
    bench.accept("second", "second@example.com");
    let (port, _told) = cutting_server(&["first@", "second@"]).await;
    let mut sender = bench.sender(port);
    for _ in 0..20 {
        assert!(matches!(bench.pass(&mut sender).await, PassEnd::Unusable(_)));
    }
    let (port, mut told) = server(|_| "250 ok").await;
    let mut sender = bench.sender(port);
    for _ in 0..3 {
        bench.pass(&mut sender).await;
    }
    let order = all(&mut told);
    // At the moment in which the server came back the first may have been on trial; twenty passes end between two trials.
    assert_eq!(order, ["first", "second"]);
    assert_eq!(bench.spool.counts().failed, 0);
}

#[tokio::test]
async fn two_messages_deferred_alike_for_different_people_are_a_matter_of_the_server() {
    let bench = Bench::new();
    bench.accept("one", "one@example.com");
    bench.accept("two", "two@example.com");
    bench.accept("three", "three@example.com");
    let (port, mut told) =
        server(|asked| if asked.starts_with("RCPT") { "451 4.3.0 not now" } else { "250 ok" }).await;
    let mut sender = bench.sender(port);
    for _ in 0..10 {
        bench.pass(&mut sender).await;
    }
    // The first used up the line's budget; after it nobody steps aside.
    let counts = bench.spool.counts();
    assert_eq!((counts.aside, counts.in_line, counts.failed), (1, 2, 0));
    assert!(all(&mut told).is_empty());
}

#[tokio::test]
async fn one_deferred_like_one_aside_for_the_same_recipient_steps_aside_at_once() {
    let bench = Bench::new();
    for name in ["one", "two", "three"] {
        bench.accept(name, "full@example.com");
    }
    bench.accept("good", "good@example.com");
    let (port, mut told) =
        server(|asked| if asked.contains("full@") { "452 4.2.2 mailbox full" } else { "250 ok" }).await;
    let mut sender = bench.sender(port);
    let mut passes = 0;
    while all(&mut told).is_empty() {
        bench.pass(&mut sender).await;
        passes += 1;
        assert!(passes < 10, "each of them held the line for its whole budget");
    }
    // hold_line is 60 s and the interval 30 s: two tries hold the line, the third steps aside and the others follow.
    assert_eq!(passes, 3);
    assert_eq!(bench.spool.counts().aside, 3);
}

/// Offers PIPELINING, says yes to everything, and answers only when there is nothing more to read: each time it does is
/// one round trip. Returns the port, the round trips so far, and the subjects in order.
async fn turn_counter() -> (u16, Arc<Mutex<usize>>, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (taken, told) = mpsc::unbounded_channel();
    let turns = Arc::new(Mutex::new(0));
    let count = turns.clone();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let (mut replies, mut line, mut in_data) = (String::from("220 test\r\n"), String::new(), false);
        loop {
            if stream.buffer().is_empty() {
                *count.lock().unwrap() += 1;
                stream.write_all(std::mem::take(&mut replies).as_bytes()).await.unwrap();
            }
            line.clear();
            if stream.read_line(&mut line).await.unwrap() == 0 {
                return;
            }
            let text = line.trim_end();
            if in_data && text != "." {
                drop(text.strip_prefix("Subject: ").map(|subject| taken.send(subject.to_owned())));
                continue;
            }
            replies.push_str(match text.get(..4) {
                Some("EHLO") => "250-test\r\n250 PIPELINING\r\n",
                Some("DATA") => "354 go on\r\n",
                _ => "250 ok\r\n",
            });
            in_data = text == "DATA";
        }
    });
    (port, turns, told)
}

#[tokio::test]
async fn a_message_takes_one_round_trip() {
    let bench = Bench::new();
    let names: Vec<String> = (0..20).map(|n| format!("n{n}")).collect();
    names.iter().for_each(|name| bench.accept(name, "b@example.com"));
    let (port, turns, mut told) = turn_counter().await;
    let mut sender = bench.sender(port);
    bench.pass(&mut sender).await;
    assert_eq!(all(&mut told), names);
    // One for the greeting, one for EHLO, one for the first envelope, one a message; QUIT rides with nothing.
    let turns = *turns.lock().unwrap();
    assert!(turns <= 20 + 4, "{turns} round trips for 20 messages");
}

#[tokio::test]
async fn what_rode_behind_a_message_that_holds_the_line_is_not_sent() {
    let bench = Bench::new();
    bench.accept("held", "b@example.com");
    bench.accept("next", "c@example.com");
    let (port, mut told) = server(|asked| match asked {
        "held" => "451 4.3.0 not now",
        _ if asked.starts_with("EHLO") => "250-test\r\n250 PIPELINING",
        _ => "250 ok",
    })
    .await;
    let mut sender = bench.sender(port);
    assert_eq!(bench.pass(&mut sender).await, PassEnd::Held);
    assert!(all(&mut told).is_empty());
    assert_eq!(bench.spool.counts().in_line, 2);
    // hold_line is used up at the third try: then the next one goes, and the first is aside.
    bench.pass(&mut sender).await;
    bench.pass(&mut sender).await;
    assert_eq!(all(&mut told), ["next"]);
    assert_eq!(bench.spool.counts().aside, 1);
}

#[tokio::test]
async fn a_line_that_is_held_is_spoken_of_once_and_not_at_every_try() {
    let bench = Bench::new();
    bench.accept("held", "b@example.com");
    let (port, _told) =
        server(|asked| if asked.starts_with("RCPT") { "451 4.3.0 not now" } else { "250 ok" }).await;
    let mut sender = bench.sender(port);
    bench.pass(&mut sender).await;
    let first = said(&sender);
    assert!(matches!(first, Some(SenderState::Held { .. })), "{first:?}");
    bench.pass(&mut sender).await;
    assert_eq!(said(&sender), first);
}

#[tokio::test]
async fn a_second_message_with_which_the_line_is_lost_does_not_stop_the_line_either() {
    let bench = Bench::new();
    bench.accept("poison", "poison@example.com");
    bench.accept("good", "good@example.com");
    let (port, mut told) = cutting_server(&["poison@", "venom@"]).await;
    let mut sender = bench.sender(port);
    for _ in 0..4 {
        bench.pass(&mut sender).await;
    }
    assert_eq!(all(&mut told), ["good"]);
    bench.accept("venom", "venom@example.com");
    bench.accept("better", "better@example.com");
    for _ in 0..20 {
        bench.pass(&mut sender).await;
    }
    assert_eq!(all(&mut told), ["better"], "the one aside is not the next one");
    assert_eq!(bench.spool.counts().aside, 2);
}

#[tokio::test]
async fn the_answers_to_those_aside_do_not_hide_that_the_line_is_lost_with_the_head() {
    let bench = Bench::new();
    (0..20).for_each(|n| bench.accept(&format!("n{n}"), "full@example.com"));
    let (port, mut told) = server(|asked| match asked {
        _ if asked.contains("full@") => "452 4.2.2 mailbox full",
        _ if asked.contains("poison@") => "",
        _ => "250 ok",
    })
    .await;
    let mut sender = bench.sender(port);
    while bench.spool.counts().aside < 20 {
        bench.pass(&mut sender).await;
    }
    bench.accept("poison", "poison@example.com");
    bench.accept("good", "good@example.com");
    for _ in 0..10 {
        bench.pass(&mut sender).await;
    }
    assert_eq!(all(&mut told), ["good"]);
}

/// Says that these are full, whoever else it is given.
async fn full_server(full: &'static [&'static str]) -> (u16, mpsc::UnboundedReceiver<String>) {
    server(move |asked| match full.iter().any(|full| asked.contains(full)) {
        true => "452 4.2.2 mailbox full",
        false => "250 ok",
    })
    .await
}

#[tokio::test]
async fn a_recipient_who_is_known_to_be_deferred_is_no_matter_of_the_server() {
    let bench = Bench::new();
    bench.accept("full 1", "full@example.com");
    bench.accept("good 1", "good@example.com");
    bench.accept("stuffed", "stuffed@example.com");
    bench.accept("full 2", "full@example.com");
    bench.accept("good 2", "good@example.com");
    let (port, mut told) = full_server(&["<full@", "<stuffed@"]).await;
    let mut sender = bench.sender(port);
    for _ in 0..20 {
        bench.pass(&mut sender).await;
    }
    assert_eq!(all(&mut told), ["good 1", "good 2"]);
}

#[tokio::test]
async fn a_lost_line_does_not_make_forget_what_deferred_a_message_aside() {
    let bench = Bench::new();
    bench.accept("one", "full@example.com");
    bench.accept("good 1", "good@example.com");
    let mut tries = 0;
    let (port, mut told) = server(move |asked| {
        tries += u32::from(asked.contains("<full@"));
        match asked.contains("<full@") {
            true if tries == 4 => "",
            true => "452 4.2.2 mailbox full",
            false => "250 ok",
        }
    })
    .await;
    let mut sender = bench.sender(port);
    for _ in 0..3 {
        bench.pass(&mut sender).await;
    }
    assert_eq!(all(&mut told), ["good 1"]);
    assert!(matches!(bench.pass(&mut sender).await, PassEnd::Unusable(_)), "the fourth try loses the line");
    bench.accept("two", "full@example.com");
    bench.accept("good 2", "good@example.com");
    // At once: the first is not due, and does not say again what is known.
    sender.pass(None, &mut Stop::pair().1).await.unwrap();
    assert_eq!(all(&mut told), ["good 2"]);
}

#[tokio::test]
async fn a_line_that_is_held_for_ever_is_strict_whatever_comes() {
    // The line is lost before the dot, behind it, and the recipient is deferred.
    for (victim, said) in [("<first@", ""), ("first", ""), ("<first@", "452 4.2.2 mailbox full")] {
        let bench = Bench::new();
        bench.accept("first", "first@example.com");
        bench.accept("second", "second@example.com");
        // The subject alone is the final dot.
        let is_hit =
            move |asked: &str| asked == victim || (victim.starts_with('<') && asked.contains(victim));
        let (port, mut told) = server(move |asked| if is_hit(asked) { said } else { "250 ok" }).await;
        let options = Options { hold_line: None, ..Bench::options(port) };
        let mut sender = Sender::new(bench.spool.clone(), bench.clock.clone(), options);
        for _ in 0..10 {
            bench.pass(&mut sender).await;
        }
        assert!(all(&mut told).is_empty(), "{victim} {said}");
        assert_eq!((bench.spool.counts().in_line, bench.spool.counts().aside), (2, 0));
    }
}

#[tokio::test]
async fn a_line_that_is_still_held_is_said_to_be_held_since_it_was() {
    let bench = Bench::new();
    bench.accept("one", "b@example.com");
    let (port, _told) =
        server(|asked| if asked.starts_with("RCPT") { "451 4.3.0 not now" } else { "250 ok" }).await;
    let mut sender = bench.sender(port);
    bench.pass(&mut sender).await;
    let first = said(&sender);
    assert!(matches!(first, Some(SenderState::Held { .. })));
    bench.pass(&mut sender).await;
    assert_eq!(said(&sender), first);
}

#[tokio::test]
async fn one_on_trial_has_its_turn_also_while_the_server_defers_whatever_it_is_given() {
    let bench = Bench::new();
    for name in ["first", "poison", "third"] {
        bench.accept(name, &format!("{name}@example.com"));
    }
    let (mut tries, mut refusals) = (0, 0);
    let (port, mut told) = server(move |asked| match asked {
        _ if asked.contains("<poison@") => {
            tries += 1;
            if tries <= 3 { "" } else { "250 ok" }
        }
        // What deferred it is not forgotten when it is given up.
        _ if asked.contains("<first@") => {
            refusals += 1;
            if refusals <= 3 { "450 4.3.0 later" } else { "550 5.1.1 nobody" }
        }
        _ if asked.contains("<third@") => "450 4.3.0 later",
        _ => "250 ok",
    })
    .await;
    let mut sender = bench.sender(port);
    for _ in 0..20 {
        bench.pass(&mut sender).await;
    }
    assert_eq!(all(&mut told), ["poison"]);
}

#[tokio::test]
async fn one_aside_that_loses_the_line_is_tried_less_and_less_often() {
    let bench = Bench::new();
    bench.accept("poison", "poison@example.com");
    bench.accept("good", "good@example.com");
    let tries = Arc::new(AtomicU64::new(0));
    let count = tries.clone();
    let (port, _told) = server(move |asked| match asked.contains("<poison@") {
        true => {
            count.fetch_add(1, Ordering::SeqCst);
            ""
        }
        false => "250 ok",
    })
    .await;
    let mut sender = bench.sender(port);
    while bench.spool.counts().in_line > 0 {
        bench.pass(&mut sender).await;
    }
    tries.store(0, Ordering::SeqCst);
    for _ in 0..32 {
        bench.pass(&mut sender).await;
    }
    // As after deferrals: 30 s, 60 s, 120 s, ... in 32 intervals.
    let tries = tries.load(Ordering::SeqCst);
    assert!((4..=7).contains(&tries), "{tries} tries");
}

#[tokio::test]
async fn two_full_mailboxes_are_no_matter_of_the_server() {
    let bench = Bench::new();
    bench.accept("one", "one@example.com");
    bench.accept("two", "two@example.com");
    bench.accept("good", "good@example.com");
    let (port, mut told) = server(|asked| match asked.starts_with("RCPT") && !asked.contains("good@") {
        true => "452 4.2.2 mailbox full",
        false => "250 ok",
    })
    .await;
    let mut sender = bench.sender(port);
    for _ in 0..5 {
        bench.pass(&mut sender).await;
    }
    assert_eq!(all(&mut told), ["good"]);
    assert_eq!(bench.spool.counts().aside, 2);
}
