//! A server as the RFCs have it, at the other end of the machine: whatever it decides, and wherever the line is lost,
//! both sides must tell the same story of each message.

use std::collections::VecDeque;
use std::time::Duration;

use super::*;
use crate::mail::{Dsn, Monotonic, ReversePath};

const NOW: Monotonic = Monotonic(Duration::from_secs(1_000));

/// xorshift: the same seed goes the same way.
struct Random(u32);

impl Random {
    fn below(&mut self, n: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 % n
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }
}

/// What it received and how it answered, with replies that are still to be sent.
struct Server {
    random: Random,
    input: Vec<u8>,
    replies: VecDeque<String>,
    protocol: Protocol,
    mail: bool,
    rcpts: Vec<String>,
    in_data: bool,
    /// Messages that it took, and all whose dot it saw.
    taken: Vec<String>,
    dots: Vec<String>,
    /// With LMTP, of each message that it took for somebody: for whom.
    taken_for: Vec<(String, String)>,
    /// Answers 354 although nobody takes the message.
    generous: bool,
    /// Closes after so many dots.
    dots_left: u32,
    closed: bool,
}

impl Server {
    fn new(seed: u32, protocol: Protocol) -> Self {
        let mut random = Random(seed.wrapping_mul(2_654_435_761).max(1));
        let (generous, dots_left) = (random.one_in(2), 1 + random.below(8));
        Server {
            random,
            input: Vec::new(),
            replies: VecDeque::from(["220 mx\r\n".to_owned()]),
            protocol,
            mail: false,
            rcpts: Vec::new(),
            in_data: false,
            taken: Vec::new(),
            dots: Vec::new(),
            taken_for: Vec::new(),
            generous,
            dots_left,
            closed: false,
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        loop {
            let end: &[u8] = if self.in_data { b".\r\n" } else { b"\r\n" };
            let Some(at) = self.input.windows(end.len()).position(|w| w == end) else { return };
            let text: Vec<u8> = self.input.drain(..at + end.len()).take(at).collect();
            if self.closed {
                return;
            }
            let reply = self.reply(String::from_utf8(text).unwrap());
            self.replies.push_back(format!("{reply}\r\n"));
        }
    }

    fn reply(&mut self, line: String) -> String {
        if std::mem::take(&mut self.in_data) {
            assert!(self.rcpts.is_empty() || !line.is_empty(), "an empty message for somebody");
            let rcpts = std::mem::take(&mut self.rcpts);
            self.mail = false;
            return match self.protocol {
                Protocol::Smtp => self.on_dot(line, rcpts.is_empty()),
                Protocol::Lmtp => self.on_lmtp_dot(&line, rcpts),
            };
        }
        let fate = self.random.below(12);
        let refused = match fate {
            0 => Some("450 4.2.1 later"),
            1 => Some("550 5.1.1 no"),
            _ => None,
        };
        match &line[..4] {
            "EHLO" | "LHLO" => "250-mx\r\n250 PIPELINING".to_owned(),
            "RSET" => {
                (self.mail, self.rcpts) = (false, Vec::new());
                "250 reset".to_owned()
            }
            "MAIL" if self.mail => "503 5.5.1 nested".to_owned(),
            "MAIL" if refused.is_none() => {
                self.mail = true;
                "250 ok".to_owned()
            }
            "RCPT" if !self.mail => "503 5.5.1 need MAIL".to_owned(),
            "RCPT" if refused.is_none() => {
                self.rcpts.push(line);
                "250 ok".to_owned()
            }
            "DATA" if !self.mail => "503 5.5.1 need MAIL".to_owned(),
            "DATA" if self.rcpts.is_empty() && !self.generous => "554 5.5.1 nobody".to_owned(),
            "DATA" if refused.is_none() || self.rcpts.is_empty() => {
                self.in_data = true;
                "354 go".to_owned()
            }
            _ => refused.unwrap().to_owned(),
        }
    }

    fn on_dot(&mut self, text: String, nobody: bool) -> String {
        if nobody {
            return "554 5.5.1 nobody".to_owned();
        }
        self.dots.push(text.clone());
        self.dots_left -= 1;
        self.closed = self.dots_left == 0;
        match self.random.below(8) {
            0 => "451 4.3.0 later".to_owned(),
            1 => "554 5.7.1 spam".to_owned(),
            _ => {
                self.taken.push(text);
                "250 queued".to_owned()
            }
        }
    }

    /// RFC 2033 section 4.2. All replies but the last are under way when this returns.
    fn on_lmtp_dot(&mut self, text: &str, rcpts: Vec<String>) -> String {
        assert!(!rcpts.is_empty(), "a dot to which there is no reply");
        self.dots.push(text.to_owned());
        self.dots_left -= 1;
        self.closed = self.dots_left == 0;
        let mut replies = Vec::new();
        for rcpt in rcpts {
            let reply = match self.random.below(8) {
                0 => "451 4.3.0 later",
                1 => "554 5.7.1 spam",
                2 => "421 4.3.2 going down",
                _ => "250 queued",
            };
            replies.push(reply.to_owned());
            self.closed |= reply.starts_with("421");
            if reply.starts_with("250") {
                self.taken_for.push((text.to_owned(), rcpt));
            }
            if reply.starts_with("421") {
                break;
            }
        }
        let last = replies.pop().unwrap_or_default();
        self.replies.extend(replies.into_iter().map(|reply| format!("{reply}\r\n")));
        last
    }
}

fn transaction(number: u64) -> Transaction {
    Transaction {
        reverse_path: ReversePath::Null,
        forward_paths: vec!["a@x.org".parse().unwrap(), "b@x.org".parse().unwrap()],
        size: number,
        eight_bit: false,
        smtputf8: false,
        dsn: Dsn::default(),
        rcpt_dsn: Vec::new(),
        unconvertible: None,
    }
}

/// One session in which messages 0, 1, 2 ... are sent, each once; gives what the client believes of each.
struct Client {
    session: Session,
    random: Random,
    at: u64,
    /// The message may be begun: the outcome of the one before is kept.
    begun: bool,
    transcripts: Vec<(u64, Transcript)>,
}

impl Client {
    fn new(seed: u32, protocol: Protocol) -> Self {
        let mut random = Random(seed.wrapping_mul(40_503).max(1));
        let pipelining = [Pipelining::Off, Pipelining::Group, Pipelining::Overlap, Pipelining::Overlap];
        let options = SessionOptions {
            protocol,
            hostname: "box.example".to_owned(),
            tls: TlsMode::None,
            login: None,
            timeouts: Timeouts::default(),
            pipelining: pipelining[random.below(4) as usize],
            messages_max: None,
        };
        Client { session: Session::new(options, NOW), random, at: 0, begun: false, transcripts: Vec::new() }
    }

    /// What is to be written after the events are dealt with.
    fn turn(&mut self) -> Vec<u8> {
        let mut written = Vec::new();
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::SendBody => {
                    assert!(self.begun, "message {} was asked for before it was begun", self.at);
                    written.extend(self.session.take_output());
                    written.extend(format!("message {}\r\n.\r\n", self.at).as_bytes());
                    if !self.random.one_in(5) {
                        self.session.begin_behind(transaction(self.at + 1), NOW);
                        written.extend(self.session.take_output());
                    }
                    self.session.body_sent(NOW);
                }
                Event::TransactionEnded(transcript) => {
                    assert!(std::mem::take(&mut self.begun), "an end without a beginning");
                    self.transcripts.push((self.at, transcript));
                    self.at += 1;
                }
                _ => {}
            }
        }
        // The outcome takes its time to reach the disk; meanwhile replies come.
        if !self.begun && self.session.may_begin() && self.random.one_in(2) {
            if self.random.one_in(20) {
                self.session.abandon(NOW);
            } else {
                self.begun = true;
                self.session.begin(transaction(self.at), NOW);
            }
        }
        written.extend(self.session.take_output());
        written
    }
}

fn run(seed: u32, protocol: Protocol) -> (Client, Server, bool) {
    let (mut client, mut server) = (Client::new(seed, protocol), Server::new(seed, protocol));
    let mut rode = false;
    // With LMTP the replies to one dot are to be torn apart often.
    let seldom = if protocol == Protocol::Lmtp { 4 } else { 20 };
    for _ in 0..400 {
        let output = client.turn();
        rode |= client.session.ahead().is_some();
        let piece = 1 + client.random.below(200) as usize;
        output.chunks(piece).for_each(|part| server.hear(part));
        if client.session.end().is_some() || client.at == 12 {
            break;
        }
        let some = client.random.below(6) as usize;
        let ready = some.min(server.replies.len());
        let bytes: String = server.replies.drain(..ready).collect();
        for part in bytes.as_bytes().chunks(1 + client.random.below(40) as usize) {
            client.session.handle_bytes(part, NOW);
        }
        // A server that is going may take the replies that nobody has read with it.
        if server.closed && (server.replies.is_empty() || client.random.one_in(seldom)) {
            client.session.handle_closed(LinkFault::Closed, NOW);
        }
    }
    if client.session.end().is_none() {
        client.session.handle_closed(LinkFault::Closed, NOW);
    }
    client.turn();
    (client, server, rode)
}

#[test]
fn both_sides_tell_the_same_story_of_each_message() {
    let (mut rides, mut taken, mut doubts, mut refused) = (0, 0, 0, 0);
    for seed in 1..20_000 {
        let (client, server, rode) = run(seed, Protocol::Smtp);
        rides += u32::from(rode);
        let name = |number: &u64| format!("message {number}\r\n");
        for (number, t) in &client.transcripts {
            let (is_taken, has_dot) =
                (server.taken.contains(&name(number)), server.dots.contains(&name(number)));
            if t.is_in_doubt() {
                doubts += 1;
            } else {
                assert_eq!(t.is_taken(), is_taken, "seed {seed}, message {number}: {t:?}");
                assert_eq!(t.dot != Answer::NotSent, has_dot, "seed {seed}, message {number}: {t:?}");
            }
            assert!(!t.is_taken() || t.rcpts.iter().any(Answer::is_completed), "seed {seed}: {t:?}");
            refused += u32::from(t.lost.is_none() && !t.is_taken());
        }
        // In order, none twice, none that the client does not know of, and at most one in doubt.
        let numbers: Vec<u64> = client.transcripts.iter().map(|(number, _)| *number).collect();
        let sent: Vec<String> = numbers.iter().map(name).filter(|name| server.dots.contains(name)).collect();
        assert_eq!(sent, server.dots, "seed {seed}");
        assert!(client.transcripts.iter().filter(|(_, t)| t.is_in_doubt()).count() <= 1, "seed {seed}");
        taken += server.taken.len();
    }
    // The walk must have been everywhere.
    assert!(
        rides > 2_000 && taken > 10_000 && doubts > 100 && refused > 2_000,
        "{rides} {taken} {doubts} {refused}"
    );
}

#[test]
fn lmtp_both_sides_tell_the_same_story_of_each_recipient() {
    let (mut taken, mut refused, mut doubts, mut halves) = (0, 0, 0, 0);
    for seed in 1..20_000 {
        let (client, server, rode) = run(seed, Protocol::Lmtp);
        assert!(!rode, "seed {seed}");
        for (number, t) in &client.transcripts {
            let text = format!("message {number}\r\n");
            assert_eq!(!t.dots.is_empty(), server.dots.contains(&text), "seed {seed}, {number}: {t:?}");
            for (index, rcpt) in ["RCPT TO:<a@x.org>", "RCPT TO:<b@x.org>"].into_iter().enumerate() {
                let is_taken = server.taken_for.contains(&(text.clone(), rcpt.to_owned()));
                match t.dot_for(index) {
                    Answer::Awaited => doubts += 1,
                    answer => {
                        assert_eq!(answer.is_completed(), is_taken, "seed {seed}, {number}: {t:?}");
                        taken += u32::from(is_taken);
                        refused += u32::from(answer.reply().is_some() && !is_taken);
                    }
                }
            }
            halves += u32::from(t.is_taken() && t.is_in_doubt());
        }
        let in_doubt = client.transcripts.iter().filter(|(_, t)| t.is_in_doubt()).count();
        assert!(in_doubt <= 1, "seed {seed}");
    }
    assert!(
        taken > 10_000 && refused > 2_000 && doubts > 1_000 && halves > 300,
        "{taken} {refused} {doubts} {halves}"
    );
}
