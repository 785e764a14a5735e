//! The replies of a server, by themselves and to a whole session: the same in pieces of any size, and whatever comes, a
//! message counts as taken only where a 2yz answered its final dot.

use std::time::Duration;

use pillarbox::mail::{Dsn, Monotonic, ReversePath};
use pillarbox::policy::judge;
use pillarbox::smtp::{
    Event, LinkFault, Pipelining, Protocol, ReplyParser, Session, SessionOptions, Timeouts, TlsMode,
    Transaction,
};

const NOW: Monotonic = Monotonic(Duration::from_secs(1_000));

pub(crate) fn run(data: &[u8]) {
    let Some((flags, data)) = data.split_first() else { return };
    let whole = replies(data, data.len());
    for size in [1, 2, 3, 5 + usize::from(flags / 8)] {
        assert_eq!(replies(data, size), whole, "in pieces of {size}");
    }
    converse(*flags, data);
}

fn replies(data: &[u8], size: usize) -> Vec<String> {
    let (mut parser, mut found) = (ReplyParser::default(), Vec::new());
    for chunk in data.chunks(size.max(1)) {
        parser.push(chunk);
        loop {
            match parser.next_reply() {
                Ok(Some(reply)) => {
                    assert!((100..1000).contains(&reply.code), "{reply:?}");
                    assert!(!reply.text.iter().any(|line| line.contains(char::is_control)), "{reply:?}");
                    found.push(format!("{reply:?}"));
                }
                Ok(None) => break,
                Err(why) => {
                    found.push(format!("{why:?}"));
                    return found;
                }
            }
        }
    }
    found
}

/// A session that hears `data`, cut at each 0xFF, as fast as it may.
fn converse(flags: u8, data: &[u8]) {
    let options = SessionOptions {
        protocol: if flags & 1 == 1 { Protocol::Lmtp } else { Protocol::Smtp },
        hostname: "box.example.com".into(),
        tls: if flags & 2 == 2 { TlsMode::StartTlsIfOffered } else { TlsMode::None },
        login: None,
        timeouts: Timeouts::default(),
        pipelining: if flags & 4 == 4 { Pipelining::Off } else { Pipelining::Overlap },
        messages_max: None,
    };
    let mut talk = Talk { session: Session::new(options, NOW), left: 4, under_way: false, ended: false };
    for piece in data.split(|b| *b == 0xFF) {
        talk.session.handle_bytes(piece, NOW);
        talk.settle();
    }
    talk.session.handle_closed(LinkFault::Closed, NOW);
    talk.settle();
    assert!(talk.ended && !talk.under_way, "the line is gone, and the session goes on");
}

struct Talk {
    session: Session,
    left: u8,
    under_way: bool,
    ended: bool,
}

impl Talk {
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 10_000, "it never comes to rest");
            let output = self.session.take_output();
            assert!(output.is_empty() || output.ends_with(b"\r\n"), "{:?}", String::from_utf8_lossy(&output));
            let Some(event) = self.session.poll_event() else { return };
            assert!(!self.ended, "{event:?} behind the end");
            match event {
                Event::StartTls => self.session.tls_established(NOW),
                Event::Ready => self.next(),
                Event::SendBody => {
                    if self.left > 0 {
                        self.session.begin_behind(transaction(), NOW);
                    }
                    self.session.body_sent(NOW);
                }
                Event::TransactionEnded(transcript) => {
                    assert!(std::mem::take(&mut self.under_way), "a transaction that nobody began");
                    let taken = transcript.dots.iter().chain([&transcript.dot]).any(|answer| {
                        matches!(answer, pillarbox::smtp::Answer::Reply(reply) if reply.code / 100 == 2)
                    });
                    let judged = format!("{:?}", judge(&transcript));
                    assert!(taken || !judged.contains("Delivered"), "{judged}: {transcript:?}");
                    if self.session.may_begin() {
                        self.next();
                    }
                }
                Event::Ended(_) => self.ended = true,
            }
        }
    }

    fn next(&mut self) {
        if self.left == 0 {
            return self.session.quit(NOW);
        }
        self.left -= 1;
        self.under_way = true;
        self.session.begin(transaction(), NOW);
    }
}

fn transaction() -> Transaction {
    let to = ["a@example.com", "b@example.com"].map(|text| text.parse().expect("an address"));
    Transaction {
        reverse_path: ReversePath::Null,
        forward_paths: to.to_vec(),
        size: 1_000,
        eight_bit: false,
        smtputf8: false,
        dsn: Dsn::default(),
        rcpt_dsn: Vec::new(),
        unconvertible: None,
    }
}
