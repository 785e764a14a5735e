//! Golden dialogues: `dialogues.txt` is run against the machine and compared whole.
//!
//! `S:` is what the server sends (`\xHH` an octet, `\n` at the end a bare LF, `\-` at the end no line end;
//! lines that follow each other come in one read), `C:` what the client wrote, `E:` an event. A line with `!`
//! is something done to the machine: `!begin`, `!probe`, `!behind`, `!abandon`, `!body`, `!progress`, `!tls`, `!closed`,
//! `!io`, `!source`, `!tls-failed`, `!quit`, `!wait SECONDS`. `?deadline` shows the seconds that are left, `?ahead`
//! whether a transaction was sent ahead, `?bears` whether the server is thought to bear that. What `!behind` makes
//! the client write goes behind the final dot; it stands here before the `!body` that says that the dot is out.

use std::time::Duration;

use super::*;
use crate::mail::{Dsn, Monotonic, ReversePath};

const DIALOGUES: &str = include_str!("dialogues.txt");
/// PILLARBOX_BLESS=1 prints what the machine does now instead of comparing.
const BLESS: &str = "PILLARBOX_BLESS";

struct Dialogue {
    name: &'static str,
    lines: Vec<&'static str>,
}

fn dialogues() -> Vec<Dialogue> {
    let mut all = Vec::new();
    for section in DIALOGUES.split("\n== ").skip(1) {
        let (name, text) = section.split_once('\n').unwrap();
        all.push(Dialogue {
            name,
            lines: text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).collect(),
        });
    }
    all
}

/// The dialogue as it really goes: the server's lines and what is done, with the machine's lines between.
/// `chunk` is how many octets are fed at once.
fn play(dialogue: &Dialogue, chunk: usize) -> String {
    let mut player = Player::new(dialogue.lines[0]);
    let mut lines = dialogue.lines.iter().copied().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("C:") || line.starts_with("E:") {
            continue;
        }
        player.shown.push_str(&format!("{line}\n"));
        if let Some(text) = line.strip_prefix("S: ").or_else(|| line.strip_prefix("S:")) {
            player.incoming.extend(unescaped(text));
            if lines.peek().is_some_and(|next| next.starts_with("S:")) {
                continue;
            }
            for part in std::mem::take(&mut player.incoming).chunks(chunk) {
                player.session.handle_bytes(part, player.now);
            }
        } else if let Some(action) = line.strip_prefix('!') {
            player.act(action);
        } else if line == "?deadline" {
            let left = player.session.deadline().map(|at| (at - player.now).as_secs());
            player.shown.push_str(&format!("E: {left:?}\n"));
        } else if line == "?bears" {
            player.shown.push_str(&format!("E: {}\n", player.session.bears_overlap()));
        } else if line == "?ahead" {
            let (ahead, may) = (player.session.ahead().is_some(), player.session.may_begin());
            player.shown.push_str(&format!("E: ahead {ahead}, may begin {may}\n"));
        }
        player.show();
    }
    player.shown
}

struct Player {
    session: Session,
    now: Monotonic,
    incoming: Vec<u8>,
    shown: String,
}

impl Player {
    /// `options protocol=lmtp tls=none|starttls|auto|implicit login=user:password timeout=SECONDS pipelining=off|group`
    fn new(line: &str) -> Self {
        let word = |key: &str| line.split(' ').find_map(|w| w.strip_prefix(key));
        let tls = match word("tls=") {
            Some("starttls") => TlsMode::StartTlsRequired,
            Some("auto") => TlsMode::StartTlsIfOffered,
            Some("implicit") => TlsMode::Implicit,
            _ => TlsMode::None,
        };
        let login = word("login=").and_then(|l| l.split_once(':'));
        let login = login.map(|(user, password)| Login::with_password(user, Secret::new(password)));
        let timeouts = match word("timeout=") {
            Some(seconds) => Timeouts::at_most(Duration::from_secs(seconds.parse().unwrap())),
            None => Timeouts::default(),
        };
        let pipelining = match word("pipelining=") {
            Some("off") => Pipelining::Off,
            Some("group") => Pipelining::Group,
            _ => Pipelining::Overlap,
        };
        let now = Monotonic(Duration::from_secs(1_000));
        let hostname = word("hostname=").unwrap_or("box.example").to_owned();
        let protocol = match word("protocol=") {
            Some("lmtp") => Protocol::Lmtp,
            _ => Protocol::Smtp,
        };
        let options =
            SessionOptions { protocol, hostname, tls, login, timeouts, pipelining, messages_max: None };
        let session = Session::new(options, now);
        Player { session, now, incoming: Vec::new(), shown: String::new() }
    }

    fn act(&mut self, action: &str) {
        let now = self.now;
        let (verb, rest) = action.split_once(' ').unwrap_or((action, ""));
        match verb {
            "begin" => self.session.begin(transaction(rest), now),
            "probe" => self.session.probe(transaction(rest), now),
            "behind" => {
                let rides = self.session.begin_behind(transaction(rest), now);
                self.shown.push_str(if rides { "E: rides\n" } else { "E: does not ride\n" });
            }
            "abandon" => self.session.abandon(now),
            "body" => self.session.body_sent(now),
            "progress" => self.session.body_progress(now),
            "tls" => self.session.tls_established(now),
            "closed" => self.session.handle_closed(LinkFault::Closed, now),
            "io" => self.session.handle_closed(LinkFault::Io(rest.into()), now),
            "source" => self.session.handle_closed(LinkFault::Source(rest.into()), now),
            "tls-failed" => self.session.handle_closed(LinkFault::Tls(rest.into()), now),
            "quit" => self.session.quit(now),
            "wait" => {
                self.now = now + Duration::from_secs(rest.parse().unwrap());
                self.session.handle_time(self.now);
            }
            _ => panic!("unknown action {action}"),
        }
    }

    fn show(&mut self) {
        let output = String::from_utf8(self.session.take_output()).unwrap();
        for line in output.split_terminator("\r\n") {
            // What is behind it is random.
            let line = if line.starts_with("AUTH SCRAM") { "AUTH SCRAM-SHA-256 ..." } else { line };
            self.shown.push_str(&format!("C: {line}\n"));
        }
        while let Some(event) = self.session.poll_event() {
            // Neither an event nor the session may ever tell the password, in no form.
            let debug = format!("{event:?} {:?}", self.session);
            for secret in ["hunter2", "AG9wcwBodW50ZXIy", "aHVudGVyMg=="] {
                assert!(!debug.contains(secret), "{debug}");
            }
            self.shown.push_str(&format!("E: {}\n", shown(&event)));
        }
    }
}

/// `a@x.org asks=NOTIFY=NEVER b@x.org from=c@x.org size=10 8bit smtputf8 dsn=RET=HDRS/ENVID=x`
fn transaction(text: &str) -> Transaction {
    let mut t = Transaction {
        reverse_path: ReversePath::Null,
        forward_paths: Vec::new(),
        size: 10,
        eight_bit: false,
        smtputf8: false,
        dsn: Dsn::default(),
        rcpt_dsn: Vec::new(),
        unconvertible: None,
    };
    for word in text.split(' ') {
        match word.split_once('=') {
            Some(("from", address)) => t.reverse_path = ReversePath::Mailbox(address.parse().unwrap()),
            Some(("dsn", words)) => t.dsn = Dsn::of_mail(words.split('/')).0,
            // Of the recipient in front of it.
            Some(("asks", words)) => {
                t.rcpt_dsn.resize(t.forward_paths.len(), Dsn::default());
                *t.rcpt_dsn.last_mut().unwrap() = Dsn::of_rcpt(words.split('/')).0;
            }
            Some(("size", size)) => t.size = size.parse().unwrap(),
            _ if word == "8bit" => t.eight_bit = true,
            _ if word == "smtputf8" => t.smtputf8 = true,
            _ => t.forward_paths.push(word.parse().unwrap()),
        }
    }
    t
}

fn shown(event: &Event) -> String {
    match event {
        Event::StartTls => "start tls".into(),
        Event::Ready => "ready".into(),
        Event::SendBody => "send body".into(),
        Event::Ended(end) => format!("ended: {end}"),
        Event::TransactionEnded(t) => {
            let rcpts: Vec<String> = t.rcpts.iter().map(answer).collect();
            let mut text = format!(
                "transaction: mail {} | rcpts {} | data {} | dot {}",
                answer(&t.mail),
                rcpts.join(", "),
                answer(&t.data),
                answer(&t.dot)
            );
            if !t.dots.is_empty() {
                let dots: Vec<String> = t.dots.iter().map(answer).collect();
                text.push_str(&format!(", each {}", dots.join(", ")));
            }
            let left: Vec<usize> = (0..t.rcpts.len()).filter(|&i| t.is_left_over(i)).collect();
            if !left.is_empty() {
                text.push_str(&format!(" | left over {left:?}"));
            }
            if let Some(end) = &t.lost {
                text.push_str(&format!(" | lost: {end}"));
            }
            text
        }
    }
}

fn answer(answer: &Answer) -> String {
    match answer {
        Answer::NotSent => "-".into(),
        Answer::Awaited => "?".into(),
        Answer::Reply(reply) => reply.to_string(),
        Answer::Unsendable(why) => format!("unsendable ({why})"),
    }
}

/// `\xHH`, `\n` for a bare LF at the end, `\-` for no line end.
fn unescaped(text: &str) -> Vec<u8> {
    let (text, end) = match (text.strip_suffix("\\n"), text.strip_suffix("\\-")) {
        (Some(text), _) => (text, "\n"),
        (None, Some(text)) => (text, ""),
        (None, None) => (text, "\r\n"),
    };
    let mut bytes = Vec::new();
    let mut parts = text.split("\\x");
    bytes.extend(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend(&part.as_bytes()[2..]);
    }
    // `{1000*x}` stands for a long run.
    let text = bytes.clone();
    if let (Some(open), Some(star), Some(close)) = (
        text.iter().position(|&b| b == b'{'),
        text.iter().position(|&b| b == b'*'),
        text.iter().position(|&b| b == b'}'),
    ) {
        let count: usize = std::str::from_utf8(&text[open + 1..star]).unwrap().parse().unwrap();
        bytes.splice(open..=close, std::iter::repeat_n(text[star + 1], count));
    }
    bytes.extend(end.as_bytes());
    bytes
}

#[test]
fn the_machine_keeps_to_every_dialogue() {
    let bless = std::env::var_os(BLESS).is_some();
    assert!(dialogues().len() >= 25);
    let mut differ = Vec::new();
    for dialogue in dialogues() {
        let expected: String = dialogue.lines.iter().map(|line| format!("{line}\n")).collect();
        let found = play(&dialogue, usize::MAX);
        if bless {
            println!("== {}\n{found}", dialogue.name);
        } else if expected != found {
            differ.push(format!("== {}\n{found}--- expected\n{expected}", dialogue.name));
        }
    }
    assert!(differ.is_empty(), "{} dialogues went another way:\n{}", differ.len(), differ.join("\n"));
}

#[test]
fn pieces_of_any_size_make_the_same_dialogue() {
    for dialogue in dialogues() {
        let whole = play(&dialogue, usize::MAX);
        for size in [1, 2, 3, 7, 64] {
            assert_eq!(whole, play(&dialogue, size), "{} in pieces of {size}", dialogue.name);
        }
    }
}

/// Whatever a server sends at whatever point, the machine neither panics nor takes a message for delivered
/// before its dot was out.
#[test]
fn noise_never_makes_a_delivery() {
    const REPLIES: [&str; 12] = [
        "220 x\r\n",
        "250 x\r\n",
        "250-x\r\n",
        "334 \r\n",
        "354 x\r\n",
        "421 x\r\n",
        "450 x\r\n",
        "550 5.1.1 x\r\n",
        "100 x\r\n",
        "699 x\r\n",
        "x\r\n",
        "25",
    ];
    for seed in 0..20_000_u32 {
        let mut state = seed.wrapping_mul(2_654_435_761).max(1);
        let mut random = |n: usize| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as usize % n
        };
        let mut player = Player::new(["options", "options tls=auto", "options login=a:b"][random(3)]);
        let pipelining = random(2) == 0;
        if pipelining {
            player.session.handle_bytes(b"220 x\r\n", player.now);
            player.session.take_output();
            player.session.handle_bytes(b"250-x\r\n250 PIPELINING\r\n", player.now);
        }
        let mut dot_out = false;
        for _ in 0..30 {
            let step = random(20);
            match step {
                0 => player.session.tls_established(player.now),
                1 => {
                    dot_out = dot_out || player.session.stage() == crate::mail::Stage::Body;
                    player.session.body_sent(player.now);
                }
                2 => player.session.begin(transaction("a@x.org b@x.org"), player.now),
                3 if pipelining => {
                    player.session.begin_behind(transaction("a@x.org b@x.org"), player.now);
                }
                4 if pipelining && random(8) == 0 => player.session.abandon(player.now),
                _ => {
                    // Mostly what a server would say, so that the later states are reached.
                    let reply = match player.session.stage() {
                        crate::mail::Stage::Data if step > 8 => "354 x\r\n",
                        _ if step > 8 => "250 x\r\n",
                        _ => REPLIES[random(REPLIES.len())],
                    };
                    player.session.handle_bytes(reply.as_bytes(), player.now);
                }
            }
            player.session.take_output();
            while let Some(event) = player.session.poll_event() {
                if let Event::TransactionEnded(t) = event {
                    assert!(!t.is_taken() || dot_out, "seed {seed}: {t:?}");
                    assert!(!t.is_in_doubt() || dot_out, "seed {seed}: {t:?}");
                    assert!(t.rcpts.iter().any(Answer::is_completed) || !t.is_taken());
                    // One begun out of turn ends at once and says nothing of the one under way.
                    dot_out &= t.mail == Answer::NotSent;
                }
            }
            assert!(player.session.end().is_none() || player.session.deadline().is_none());
        }
    }
}
