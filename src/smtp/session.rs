//! The session: its states, the routing of replies, time and the end. What is said before the first message is in
//! `opening.rs`, the transaction in `transaction.rs`.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use lettre::transport::smtp::commands::Quit;

use super::auth::AuthExchange;
use super::awaited::Awaited;
use super::progress::Progress;
use super::reply_parser::ReplyParser;
use super::{EndCause, Extensions, Mechanism, SessionEnd, SessionOptions, TlsMode, Transcript};
use crate::mail::{Monotonic, Reply, Stage};

/// The client's side of one session. Fed with bytes and time; gives bytes and events.
///
/// After each call: first [`Session::poll_event`] until `None`, then [`Session::take_output`] into the
/// connection as one write, then wait until [`Session::deadline`] for what comes.
pub struct Session {
    pub(super) options: SessionOptions,
    pub(super) extensions: Extensions,
    pub(super) phase: Phase,
    /// What each request that was sent awaits; a reply answers the front.
    pub(super) awaited: VecDeque<Awaited>,
    pub(super) events: VecDeque<Event>,
    /// A transaction may be open on the server: RSET goes in front of the next MAIL.
    pub(super) needs_rset: bool,
    /// MAIL commands sent, for LIMITS MAILMAX.
    pub(super) mails: u64,
    /// What rides behind the final dot of the transaction under way; after the end of the session, what rode and
    /// was not begun.
    pub(super) behind: Option<Box<Progress>>,
    pub(super) bears_overlap: bool,
    parser: ReplyParser,
    pub(super) output: Vec<u8>,
    /// How many of the last entries of `awaited` stand for requests that are still in `output`: what came
    /// before a request went out cannot be its reply.
    unwritten: usize,
    deadline: Option<Deadline>,
    pub(super) inside_tls: bool,
    pub(super) auth: Option<AuthExchange>,
    /// What a mechanism is bound to (RFC 9266).
    pub(super) binding: Option<Vec<u8>>,
    pub(super) mechanism: Option<Mechanism>,
}

/// What the caller has to know or to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Begin the TLS handshake on the connection, then call [`Session::tls_established`].
    StartTls,
    /// [`Session::begin`] or [`Session::quit`] may be called.
    Ready,
    /// Write the message with its final dot; see [`Session::body_progress`], [`Session::body_sent`].
    SendBody,
    /// The transaction is over. If the session is as well, [`Event::Ended`] follows.
    TransactionEnded(Transcript),
    /// The session is over: drop the connection, after writing what [`Session::take_output`] still has.
    Ended(SessionEnd),
}

/// How the connection failed from outside of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkFault {
    /// The server closed it.
    Closed,
    /// It broke.
    Io(String),
    /// The TLS handshake failed.
    Tls(String),
    /// The message could not be read to its end, so the connection was given up before the final dot.
    Source(String),
}

pub(super) enum Phase {
    Opening,
    Handshake,
    Idle,
    Transacting(Box<Progress>),
    /// The transaction before is over, and this one's requests rode behind its final dot: the replies are
    /// collected until the caller begins or abandons it.
    Ahead(Box<Progress>),
    Quitting,
    Ended(SessionEnd),
}

struct Deadline {
    at: Monotonic,
    span: Duration,
}

impl Session {
    /// The connection stands (inside TLS for [`TlsMode::Implicit`]); the greeting is awaited.
    pub fn new(options: SessionOptions, now: Monotonic) -> Self {
        let inside_tls = options.tls == TlsMode::Implicit;
        let mut session = Session {
            options,
            extensions: Extensions::default(),
            phase: Phase::Opening,
            awaited: VecDeque::from([Awaited::Greeting]),
            events: VecDeque::new(),
            needs_rset: false,
            mails: 0,
            behind: None,
            bears_overlap: true,
            parser: ReplyParser::default(),
            output: Vec::new(),
            unwritten: 0,
            deadline: None,
            inside_tls,
            auth: None,
            binding: None,
            mechanism: None,
        };
        session.arm(now);
        session
    }

    /// Takes what the server sent, in pieces of any size.
    pub fn handle_bytes(&mut self, bytes: &[u8], now: Monotonic) {
        if bytes.is_empty() || self.end().is_some() {
            return;
        }
        self.parser.push(bytes);
        loop {
            if matches!(self.phase, Phase::Handshake) && !self.parser.is_empty() {
                // RFC 3207 section 4.2: what came in the clear must not be taken for the server's word.
                return self.fault(Stage::StartTls, "expected the TLS handshake, found more in the clear");
            }
            match self.parser.next_reply() {
                Ok(Some(reply)) => self.route(reply, now),
                Ok(None) => return,
                Err(error) => {
                    let text = self.without_secrets(&error.to_string());
                    return self.fault(self.stage(), &text);
                }
            }
            if self.end().is_some() {
                return;
            }
        }
    }

    /// The connection is gone. Replies that were read before are to be given first.
    pub fn handle_closed(&mut self, how: LinkFault, _now: Monotonic) {
        let why = match how {
            // After QUIT the server may close with or without a word (RFC 5321 section 4.1.1.10).
            _ if matches!(self.phase, Phase::Quitting) => EndCause::Quit,
            LinkFault::Closed => EndCause::Closed,
            LinkFault::Io(error) => EndCause::Io(error),
            LinkFault::Tls(error) => EndCause::Tls(error),
            LinkFault::Source(error) => EndCause::Source(error),
        };
        self.finish(self.stage(), why);
    }

    /// Ends the session if what it waits for is overdue.
    pub fn handle_time(&mut self, now: Monotonic) {
        let Some(Deadline { span, .. }) = self.deadline.as_ref().filter(|deadline| deadline.at <= now) else {
            return;
        };
        let why =
            if matches!(self.phase, Phase::Quitting) { EndCause::Quit } else { EndCause::TimedOut(*span) };
        self.finish(self.stage(), why);
    }

    /// The handshake asked for by [`Event::StartTls`] succeeded. All that was known is asked anew
    /// (RFC 3207 section 4.2).
    pub fn tls_established(&mut self, now: Monotonic) {
        if matches!(self.phase, Phase::Handshake) {
            self.inside_tls = true;
            self.extensions = Extensions::default();
            self.phase = Phase::Opening;
            self.say_ehlo(now);
        }
    }

    /// Gives the `tls-exporter` data of the TLS connection (RFC 9266), so that a login can be bound to it. To be called before
    /// the EHLO inside TLS is answered.
    pub fn bind(&mut self, exported: Vec<u8>) {
        self.binding = Some(exported);
    }

    /// The mechanism of the last login that was tried, whatever came of it.
    pub fn mechanism(&self) -> Option<Mechanism> {
        self.mechanism
    }

    /// Says QUIT between two messages; anywhere else it ends the session without, also where a transaction was sent
    /// ahead and the server may wait for its message.
    pub fn quit(&mut self, now: Monotonic) {
        self.abandon(now);
        match self.phase {
            Phase::Idle => {
                self.phase = Phase::Quitting;
                self.request(&Quit.to_string(), Awaited::Quit, now);
            }
            Phase::Quitting => {}
            _ => self.finish(self.stage(), EndCause::Quit),
        }
    }

    /// What is to be written now, as one write.
    pub fn take_output(&mut self) -> Vec<u8> {
        if self.unwritten > 0 && self.unwritten == self.awaited.len() && !self.parser.is_empty() {
            self.fault(self.stage(), "expected nothing, found the beginning of a reply");
            self.output.clear();
        }
        self.unwritten = 0;
        std::mem::take(&mut self.output)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Session::handle_time`] has to be called at the latest. `None` between two messages and after the end.
    pub fn deadline(&self) -> Option<Monotonic> {
        self.deadline.as_ref().map(|deadline| deadline.at)
    }

    /// What the server offered to the last EHLO.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// Whether [`Session::begin`] may be called: the session is between two messages, and the server's
    /// MAILMAX is not reached. With one sent ahead ([`Session::ahead`]) that is the one to begin.
    pub fn may_begin(&self) -> bool {
        match self.phase {
            Phase::Idle => self.has_room(),
            Phase::Ahead(_) => true,
            _ => false,
        }
    }

    /// Neither our limit nor MAILMAX (RFC 9422) is reached.
    pub(super) fn has_room(&self) -> bool {
        let limits = [self.extensions.mail_max, self.options.messages_max];
        limits.into_iter().flatten().all(|most| self.mails < most)
    }

    /// How the session ended, if it has.
    pub fn end(&self) -> Option<&SessionEnd> {
        match &self.phase {
            Phase::Ended(end) => Some(end),
            _ => None,
        }
    }

    /// What is being waited for.
    pub fn stage(&self) -> Stage {
        match &self.phase {
            Phase::Handshake => Stage::Tls,
            Phase::Ended(end) => end.stage,
            _ => self.awaited.front().map_or(Stage::Idle, |awaited| awaited.stage()),
        }
    }

    /// Sends one request and notes what it waits for.
    pub(super) fn request(&mut self, line: &str, awaited: Awaited, now: Monotonic) {
        self.output.extend_from_slice(line.as_bytes());
        self.awaited.push_back(awaited);
        self.unwritten += 1;
        if self.awaited.len() == 1 {
            self.arm(now);
        }
    }

    /// Starts the time of what is waited for now.
    pub(super) fn arm(&mut self, now: Monotonic) {
        let t = &self.options.timeouts;
        let span = match self.phase {
            Phase::Handshake => Some(t.tls),
            _ => self.awaited.front().map(|awaited| awaited.time_out(t)),
        };
        self.deadline = span.map(|span| Deadline { at: now + span, span });
    }

    /// Gives a reply to the request that awaits it.
    fn route(&mut self, mut reply: Reply, now: Monotonic) {
        let stage = self.stage();
        let answered = if self.awaited.len() > self.unwritten { self.awaited.pop_front() } else { None };
        let Some(awaited) = answered else {
            return if reply.code == 421 {
                self.finish(stage, EndCause::Reply(reply))
            } else {
                let text = self.without_secrets(&format!("expected nothing, found the reply {reply}"));
                self.fault(stage, &text)
            };
        };
        if awaited == Awaited::Auth {
            for line in &mut reply.text {
                *line = self.without_secrets(line);
            }
        }
        match awaited {
            Awaited::Rset
            | Awaited::Mail
            | Awaited::Rcpt(_)
            | Awaited::Data
            | Awaited::Body
            | Awaited::FinalDot
            | Awaited::LoneDot => {
                self.on_transaction_reply(awaited, reply, now);
            }
            Awaited::Quit => self.finish(stage, EndCause::Quit),
            // RFC 5321 section 3.8: 421 may answer anything; the server closes.
            _ if reply.code == 421 => self.finish(stage, EndCause::Reply(reply)),
            _ => self.on_opening_reply(awaited, reply, now),
        }
        self.arm(now);
    }

    /// `text` without what the login under way has shown or is to show.
    pub fn without_secrets(&self, text: &str) -> String {
        self.auth.as_ref().map_or_else(|| text.to_owned(), |auth| auth.without_secrets(text))
    }

    /// We end it, in step: RFC 5321 section 4.1.1.10 wants a QUIT before the connection is closed. Nobody waits
    /// for its reply.
    pub(super) fn give_up(&mut self, stage: Stage, why: EndCause) {
        self.output.extend_from_slice(Quit.to_string().as_bytes());
        self.finish(stage, why);
    }

    pub(super) fn out_of_step(&mut self, stage: Stage, reply: &Reply) {
        self.fault(stage, &format!("expected another reply code, found {reply}"));
    }

    pub(super) fn fault(&mut self, stage: Stage, text: &str) {
        self.finish(stage, EndCause::Protocol(text.to_owned()));
    }

    /// The one way into [`Phase::Ended`].
    pub(super) fn finish(&mut self, stage: Stage, why: EndCause) {
        if self.end().is_some() {
            return;
        }
        self.weigh_end(stage, &why);
        let end = SessionEnd { stage, why };
        // What the caller was about to be asked for has no sense any more.
        self.events.retain(|event| matches!(event, Event::TransactionEnded(_)));
        if self.behind.is_some() && self.unwritten > 0 {
            // Requests that were to ride: without the dot in front of them they would be text.
            self.output.clear();
        }
        self.awaited.clear();
        self.unwritten = 0;
        self.parser = ReplyParser::default();
        self.deadline = None;
        self.auth = None;
        match std::mem::replace(&mut self.phase, Phase::Ended(end.clone())) {
            Phase::Transacting(progress) => {
                self.events.push_back(Event::TransactionEnded(progress.lost(end.clone())));
            }
            Phase::Ahead(progress) => self.behind = Some(progress),
            _ => {}
        }
        self.events.push_back(Event::Ended(end));
    }
}

/// Neither the output nor the login: both hold secrets.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("stage", &self.stage())
            .field("awaited", &self.awaited)
            .finish_non_exhaustive()
    }
}
