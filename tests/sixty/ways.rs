//! The ways to misbehave, each with what must come of it.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::rogue::{Act, How, Manner, Point, When};

/// Where a message lies at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The server has it.
    Sent,
    /// In failed/, with a report.
    Failed,
    /// In pending/.
    Waiting,
}

/// Whether the first message may reach the server twice (N5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Twice {
    No,
    /// It depends on what the client could still read.
    May,
    Must,
}

/// What is between the server and the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Plain,
    Login,
    StartTls,
    /// `tls = "auto"`: where it is offered.
    AutoTls,
    ImplicitTls,
}

pub(crate) struct Way {
    pub(crate) name: String,
    pub(crate) rules: Vec<(Point, When, Act)>,
    pub(crate) manner: Manner,
    pub(crate) offers: Vec<&'static str>,
    pub(crate) link: Link,
    /// The first message has so many octets more.
    pub(crate) larger: usize,
    /// How many recipients the first message has.
    pub(crate) recipients: usize,
    pub(crate) places: [Place; 3],
    pub(crate) twice: Twice,
    /// The order in which they were taken.
    pub(crate) order: &'static [usize],
    pub(crate) sessions: RangeInclusive<usize>,
    /// Stands in the log.
    pub(crate) says: &'static str,
    /// From the start of the service to the end of all this.
    pub(crate) within: Duration,
}

impl Way {
    fn at(mut self, at: Point, when: When, act: Act) -> Way {
        self.rules.push((at, when, act));
        self
    }

    fn manner(self, manner: Manner) -> Way {
        Way { manner, ..self }
    }

    fn offers(self, offers: &[&'static str]) -> Way {
        Way { offers: offers.to_vec(), ..self }
    }

    fn link(self, link: Link) -> Way {
        Way { link, ..self }
    }

    fn larger(self, larger: usize) -> Way {
        Way { larger, ..self }
    }

    fn recipients(self, recipients: usize) -> Way {
        Way { recipients, ..self }
    }

    fn first(mut self, place: Place) -> Way {
        self.places[0] = place;
        Way { order: &[2, 3], ..self }
    }

    fn twice(self, twice: Twice) -> Way {
        Way { twice, ..self }
    }

    fn order(self, order: &'static [usize]) -> Way {
        Way { order, ..self }
    }

    fn sessions(self, sessions: RangeInclusive<usize>) -> Way {
        Way { sessions, ..self }
    }

    fn says(self, says: &'static str) -> Way {
        Way { says, ..self }
    }

    fn within(self, seconds: u64) -> Way {
        Way { within: Duration::from_secs(seconds), ..self }
    }
}

fn way(name: impl Into<String>) -> Way {
    Way {
        name: name.into(),
        rules: Vec::new(),
        manner: Manner::Plain,
        offers: vec!["PIPELINING", "8BITMIME", "SIZE 26214400"],
        link: Link::Plain,
        larger: 0,
        recipients: 1,
        places: [Place::Sent; 3],
        twice: Twice::No,
        order: &[1, 2, 3],
        sessions: 1..=1,
        says: "",
        within: Duration::from_secs(10),
    }
}

use Act::{
    Close, Deaf, Flood, HalfClose, Late, LoseTheRest, Pieces, Raw, RawThenClose, Say, Silence, ThenClose,
};
use How::{Fin, Rst};
use Point::{Auth, Banner, Data, Dot, Ehlo, Handshake, Helo, Mail, Quit, Rcpt, Rset, StartTls, Text};
use When::{Always, Behind, First, With};

/// Longer than any buffer on the way.
const LARGE: usize = 8 << 20;
/// Longer than `timeout`.
const TOO_LONG: Duration = Duration::from_secs(5);
const LOCKSTEP: &[&str] = &["8BITMIME", "SIZE 26214400"];

fn raw(text: &str) -> Act {
    Raw(text.as_bytes().to_vec())
}

pub(crate) fn all() -> Vec<Way> {
    let closes = [Fin, Rst].into_iter().flat_map(closes);
    closes
        .chain(silences())
        .chain(slow())
        .chain(no_mail_server())
        .chain(out_of_step())
        .chain(odd())
        .chain(verdicts())
        .collect()
}

/// It closes, the first two times, at each stage.
fn closes(how: How) -> Vec<Way> {
    let way = |place: &str| way(format!("{how:?} {place}").to_lowercase()).sessions(3..=3);
    vec![
        way("after connect").at(Banner, First(2), Close(how)),
        way("after the banner").at(Banner, First(2), ThenClose(how)),
        way("behind EHLO").at(Ehlo, First(2), Close(how)),
        way("in the middle of the reply to EHLO").at(
            Ehlo,
            First(2),
            RawThenClose(b"250-mx\r\n250-PIPEL".to_vec(), how),
        ),
        way("after the reply to EHLO").at(Ehlo, First(2), ThenClose(how)),
        way("behind STARTTLS").link(Link::StartTls).at(StartTls, First(2), Close(how)),
        way("after the 220 to STARTTLS").link(Link::StartTls).at(Handshake, First(2), Close(how)),
        way("in the TLS handshake").link(Link::StartTls).at(
            Handshake,
            First(2),
            RawThenClose(b"\x16\x03\x03\x00\x50\x02\x00".to_vec(), how),
        ),
        way("behind AUTH").link(Link::Login).at(Auth, First(2), Close(how)),
        way("after the 235 to AUTH").link(Link::Login).at(Auth, First(2), ThenClose(how)),
        way("behind MAIL").at(Mail, First(2), Close(how)),
        way("behind MAIL, inside TLS").link(Link::ImplicitTls).at(Mail, First(2), Close(how)),
        way("behind RCPT").at(Rcpt, First(2), Close(how)),
        way("behind DATA").at(Data, First(2), Close(how)),
        way("after the 354").at(Data, First(2), ThenClose(how)).larger(LARGE),
        way("in the middle of the body").at(Text, First(2), Close(how)).larger(LARGE),
        way("behind the dot").at(Dot, First(1), Close(how)).twice(Twice::Must).sessions(2..=2),
        way("after the 250 to the dot").at(Dot, First(1), ThenClose(how)).twice(Twice::May).sessions(2..=2),
        way("behind QUIT").at(Quit, Always, Close(how)).sessions(1..=1),
    ]
}

/// It says nothing more, the first time, at each stage.
fn silences() -> Vec<Way> {
    let silent = |at: Point| {
        way(format!("silence at {at:?}").to_lowercase()).at(at, First(1), Silence).sessions(2..=2).within(15)
    };
    vec![
        silent(Banner),
        silent(Ehlo),
        way("silence in the middle of the reply to ehlo")
            .at(Ehlo, First(1), Pieces("250-mx\r\n", TOO_LONG, "250 late\r\n"))
            .sessions(2..=2)
            .within(15),
        silent(StartTls).link(Link::StartTls),
        silent(Handshake).link(Link::StartTls),
        silent(Auth).link(Link::Login),
        silent(Mail),
        silent(Rcpt),
        silent(Data),
        silent(Quit).sessions(1..=1),
        way("reads nothing of the body, and never will")
            .at(Text, First(1), Deaf(TOO_LONG))
            .larger(LARGE)
            .sessions(2..=2)
            .within(20),
    ]
}

/// It takes its time, and that is no fault.
fn slow() -> Vec<Way> {
    vec![
        way("the dot is answered long after timeout").at(Dot, First(1), Late(TOO_LONG)).within(15),
        way("each reply is late").manner(Manner::LateBy(Duration::from_millis(150))).within(15),
        way("replies in single octets").manner(Manner::SingleOctets),
        way("reads nothing of the body for a while, then goes on")
            .at(Text, Always, Deaf(Duration::from_secs(1)))
            .larger(LARGE)
            .within(15),
        way("the 250 to the dot in two pieces").at(
            Dot,
            Always,
            Pieces("25", Duration::from_millis(300), "0 2.0.0 taken\r\n"),
        ),
        way("the reply to EHLO in two pieces, split in a line").at(
            Ehlo,
            Always,
            Pieces("250-mx\r\n250-PIPE", Duration::from_millis(300), "LINING\r\n250 SIZE\r\n"),
        ),
    ]
}

/// What answers is no mail server.
fn no_mail_server() -> Vec<Way> {
    let banner =
        |name: &str, bytes: &[u8]| way(name).at(Banner, First(2), Raw(bytes.to_vec())).sessions(3..=3);
    vec![
        banner(
            "a banner of 10 MB in one line",
            &b"220 ".iter().copied().chain(std::iter::repeat_n(b'x', 10 << 20)).collect::<Vec<u8>>(),
        ),
        banner("HTTP answers", b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
        banner("SSH answers", b"SSH-2.0-OpenSSH_10.0\r\n"),
        banner("binary answers", &[0xff, 0xfb, 0x01, 0x00, 0x80, 0x0a, 0x0d, 0x0a]),
        banner("a TLS alert answers", b"\x15\x03\x01\x00\x02\x02\x28\r\n"),
        banner("an empty line answers", b"\r\n"),
        banner("nul answers", &[0; 5000]),
        way("an endless reply to EHLO").at(Ehlo, First(2), Flood("250-X-MORE\r\n")).sessions(3..=3),
        way("an endless banner without a line end").at(Banner, First(2), Flood("220 ")).sessions(3..=3),
        way("a TLS alert in the handshake")
            .link(Link::StartTls)
            .at(Handshake, First(2), RawThenClose(b"\x15\x03\x03\x00\x02\x02\x28".to_vec(), Fin))
            .sessions(3..=3),
        way("a TLS alert in every handshake, where TLS need not be")
            .link(Link::AutoTls)
            .at(Handshake, Always, RawThenClose(b"\x15\x03\x03\x00\x02\x02\x46".to_vec(), Fin))
            .says("WARN tls-not-usable")
            .sessions(2..=2),
        way("plain text from the start where TLS is spoken")
            .link(Link::ImplicitTls)
            .at(Handshake, First(2), RawThenClose(b"220 mx ESMTP\r\n".to_vec(), Fin))
            .sessions(3..=3),
    ]
}

/// Replies where none belong, and none where one does.
fn out_of_step() -> Vec<Way> {
    let once = |name: &str, at: Point, act: Act| way(name).at(at, First(1), act).sessions(2..=2);
    let slow = |name: &str, at: Point, act: Act| once(name, at, act).within(15);
    vec![
        once("text behind the 220 to STARTTLS", StartTls, raw("220 go\r\n250-mx\r\n250 AUTH PLAIN\r\n"))
            .link(Link::StartTls),
        once("EHLO is answered before it was sent", Banner, raw("220 mx\r\n250 mx\r\n")),
        once("all of a session is answered before it was begun", Banner, raw(&"250 ok\r\n".repeat(20))),
        slow("PIPELINING is offered, and only the first of a group is heard", Mail, LoseTheRest),
        once("PIPELINING is offered, and a group ends the session", Mail, ThenClose(Fin)),
        way("PIPELINING is offered, and of no group more than the first is heard")
            .at(Mail, Always, LoseTheRest)
            .within(20)
            .sessions(3..=3),
        once("354 and 250 in one write", Data, raw("354 go on\r\n250 2.0.0 taken\r\n")),
        once("250 to DATA", Data, Say("250 2.0.0 taken")),
        once("250 to DATA, in lockstep", Data, Say("250 2.0.0 taken")).offers(LOCKSTEP),
        once("the dot is answered twice", Dot, raw("250 2.0.0 taken\r\n250 2.0.0 taken\r\n")),
        once("MAIL is answered twice", Mail, raw("250 2.1.0 ok\r\n250 2.1.0 ok\r\n")),
        once("150 to MAIL", Mail, Say("150 wait")),
        once("354 to MAIL", Mail, Say("354 go on")),
        once("lines of one reply with two codes", Mail, raw("250-ok\r\n550 no\r\n")),
        once("a reply of NULs", Mail, Raw([&[0; 50][..], b"\r\n"].concat())),
        once("a reply line of 5,000 octets", Mail, Raw([b"250 ", &[b'x'; 5000][..], b"\r\n"].concat())),
        once("a reply of 1,000 lines", Mail, raw(&"250-x\r\n".repeat(1000))),
        once("a code of two digits", Mail, raw("25 ok\r\n")),
        once("half-close behind EHLO", Ehlo, HalfClose),
        once("half-close behind MAIL", Mail, HalfClose),
        way("closes after every message").at(Dot, Always, ThenClose(Fin)).sessions(3..=3),
        way("421 behind every message")
            .at(Mail, Behind(1), RawThenClose(b"421 4.7.0 enough\r\n".to_vec(), Fin))
            .sessions(3..=3),
        way("goes on talking behind QUIT").at(Quit, Always, Flood("250 and another thing\r\n")),
    ]
}

/// Odd, and no reason not to deliver.
fn odd() -> Vec<Way> {
    vec![
        way("replies end with LF alone").manner(Manner::LineFeedOnly),
        way("codes without text").manner(Manner::WithoutText),
        way("8-bit text and control characters in replies").manner(Manner::Binary),
        way("reply lines of 2,000 octets").manner(Manner::Long(2000)),
        way("every reply of 21 lines").manner(Manner::Talkative),
        way("EHLO is refused, HELO is not").at(Ehlo, Always, Say("502 5.5.1 what is that?")),
        way("EHLO is not understood").at(Ehlo, Always, Say("500 5.5.2 what is that?")),
        way("EHLO and HELO are refused")
            .at(Ehlo, First(2), Say("550 no"))
            .at(Helo, First(2), Say("550 no"))
            .sessions(3..=3),
        way("EHLO offers what nobody knows, twice, and malformed").offers(&[
            "X-UNKNOWN this that",
            "PIPELINING",
            "PIPELINING",
            "8BITMIME trailing",
            "AUTH",
            "AUTH=",
            "SIZE",
            "=",
            "LIMITS =",
            "LIMITS RCPTMAX=0 MAILMAX=x",
            "",
            "  ",
            "\u{fc}nicode",
        ]),
        way("SIZE 0").offers(&["PIPELINING", "SIZE 0"]),
        way("SIZE of rubbish").offers(&["SIZE minus one", "SIZE 99999999999999999999999"]),
        way("LIMITS MAILMAX=1").offers(&["PIPELINING", "LIMITS MAILMAX=1"]).sessions(3..=3),
        way("LIMITS RCPTMAX=1")
            .offers(&["PIPELINING", "LIMITS RCPTMAX=1"])
            .recipients(2)
            .order(&[1, 1, 2, 3]),
        way("500 to RSET").at(Rset, First(1), Say("500 5.5.2 what is that?")),
    ]
}

/// It refuses. What is no verdict about a message is charged to none.
fn verdicts() -> Vec<Way> {
    let goes = |at: Point, link: Link| {
        let name = format!("421 to {at:?}").to_lowercase();
        way(name)
            .link(link)
            .at(at, First(2), RawThenClose(b"421 4.3.2 going\r\n".to_vec(), Fin))
            .sessions(3..=3)
    };
    vec![
        goes(Banner, Link::Plain),
        goes(Ehlo, Link::Plain),
        goes(StartTls, Link::StartTls),
        goes(Auth, Link::Login),
        goes(Mail, Link::Plain),
        goes(Rcpt, Link::Plain),
        goes(Data, Link::Plain),
        goes(Dot, Link::Plain),
        way("421 to every command, without closing")
            .at(Mail, First(2), Say("421 4.3.2 going"))
            .sessions(3..=3),
        way("454 to STARTTLS")
            .link(Link::StartTls)
            .at(StartTls, First(2), Say("454 4.7.0 not now"))
            .sessions(3..=3),
        way("AUTH is offered and not known")
            .link(Link::Login)
            // PLAIN and LOGIN, and in the next session the one that had the last word.
            .at(Auth, First(3), Say("500 5.5.2 what is that?"))
            .sessions(3..=3)
            .says("hint=\"check user and password"),
        // What comes next is no command to it, and LOGIN is tried.
        way("AUTH asks with rubbish").link(Link::Login).at(Auth, First(1), Say("334 !!!!")),
        way("535, and the next session is let in")
            .link(Link::Login)
            .at(Auth, First(1), Say("535 5.7.8 no"))
            .sessions(2..=2)
            .says("hint=\"check user and password"),
        way("535 because this provider takes no passwords")
            .link(Link::Login)
            .at(Auth, First(2), Say("535 5.7.139 SmtpClientAuthentication is disabled for the Tenant"))
            .sessions(3..=3)
            .says("hint=\"this provider has switched logins by password off: use an OAuth 2.0 token"),
        way("999 to MAIL").at(Mail, First(1), Say("999 ?")).sessions(1..=2),
        way("530 to MAIL")
            .at(Mail, First(2), Say("530 5.7.0 log in first"))
            .sessions(3..=3)
            .says("hint=\"the server wants a login"),
        way("a quota that is used up")
            .at(Dot, First(1), Say("554 5.2.0 STOREDRV; SubmissionQuotaExceededException"))
            .sessions(1..=2)
            .says("WARN line-held"),
        way("354 although the only recipient was refused")
            .at(Rcpt, With(1), Say("550 5.1.1 nobody"))
            .at(Data, With(1), Say("354 go on"))
            .first(Place::Failed),
        way("the same, and 250 to the lone dot")
            .at(Rcpt, With(1), Say("550 5.1.1 nobody"))
            .at(Data, With(1), Say("354 go on"))
            .at(Dot, With(1), Say("250 2.0.0 taken"))
            .first(Place::Failed),
        way("SIZE is smaller than one message")
            .offers(&["PIPELINING", "SIZE 5000"])
            .larger(8000)
            .first(Place::Failed)
            .says("not sent: expected at most 5000 octets (the server's SIZE)"),
        way("one sender may not be used")
            .at(Mail, With(1), Say("550 5.7.60 may not send as this sender"))
            .first(Place::Waiting)
            .sessions(4..=100)
            .says("hint=\"this login may not send as the sender of the message"),
        // Tried by the first, three times, and once by the next, and so on: whichever it is of, nobody steps aside.
        way("no sender may be used for a while")
            .at(Mail, First(6), Say("550 5.7.60 may not send as this sender"))
            .sessions(7..=7),
        way("one message ends every session")
            .at(Rcpt, With(1), Close(Rst))
            .first(Place::Waiting)
            .sessions(4..=100)
            .says("WARN message-stepped-aside"),
    ]
}
