//! The server's side of an SMTP session (RFC 5321 sections 3 and 4) for programs of this host: bytes in, replies out. No sockets, no
//! time, no disk; who drives it stores the message and says what came of that.
//!
//! It takes whom the spool takes: names without a domain too, which become addresses later. Parameters of DSN (RFC 3461) are
//! kept. AUTH and STARTTLS are not offered: nobody else is on the line.

pub(crate) mod command;
mod data;

pub use data::Data;

use crate::mail::Dsn;
use command::{Line, Lines, Path};

/// The recipients of one message; RFC 5321 section 4.5.3.1.8 asks for at least 100.
const MOST_RECIPIENTS: usize = 10_000;

/// MAIL and the RCPTs that were taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Empty for the null reverse-path.
    pub reverse_path: String,
    /// What is asked of notifications about the message.
    pub dsn: Dsn,
    /// The recipients, and what is asked of notifications about each.
    pub forward_paths: Vec<(String, Dsn)>,
}

/// Why [`Dialogue::advance`] stopped.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// All input is used up.
    Hungry,
    /// The final dot of this message, whose text was appended; its reply is for the caller to write.
    Message(Envelope),
    /// QUIT: the session is over once the replies are out.
    Goodbye,
}

/// One session.
#[derive(Debug)]
pub struct Dialogue {
    name: String,
    is_address: fn(&str) -> bool,
    hello: Hello,
    phase: Phase,
    lines: Lines,
}

#[derive(Debug, PartialEq, Eq)]
enum Hello {
    NotYet,
    Helo,
    Ehlo,
}

#[derive(Debug)]
enum Phase {
    /// No transaction.
    Idle,
    /// Behind MAIL.
    Transaction(Envelope),
    /// Behind 354.
    Text(Envelope, Data),
}

impl Dialogue {
    /// A session with somebody who has just connected. `name` is what the server says its name is; `is_address` says whether a
    /// path can be an address or a local name.
    pub fn new(name: &str, is_address: fn(&str) -> bool) -> Dialogue {
        Dialogue {
            name: name.to_owned(),
            is_address,
            hello: Hello::NotYet,
            phase: Phase::Idle,
            lines: Lines::of_lf_too(),
        }
    }

    /// What opens the session.
    pub fn greeting(&self) -> String {
        format!("220 {} ESMTP pillarbox\r\n", self.name)
    }

    /// Whether a message has begun and its final dot has not come.
    pub fn is_within_message(&self) -> bool {
        matches!(self.phase, Phase::Text(..))
    }

    /// That of the message that has begun and not ended.
    pub fn envelope(&self) -> Option<&Envelope> {
        match &self.phase {
            Phase::Text(envelope, _) => Some(envelope),
            Phase::Idle | Phase::Transaction(_) => None,
        }
    }

    /// Works through `input`, and adds what there is to say to `replies`, so that the replies to a group of commands leave
    /// together (RFC 2920 section 3.2), and the text of a message to `text`.
    pub fn advance(&mut self, input: &mut &[u8], replies: &mut Vec<u8>, text: &mut Vec<u8>) -> Step {
        loop {
            if let Phase::Text(envelope, data) = &mut self.phase {
                if !data.read(input, text) {
                    return Step::Hungry;
                }
                let envelope = std::mem::take(envelope);
                self.phase = Phase::Idle;
                return Step::Message(envelope);
            }
            let reply = match self.lines.read(input) {
                None => return Step::Hungry,
                Some(Line::TooLong) => "500 5.5.6 line too long".into(),
                Some(Line::Garbled) => "500 5.5.2 control character, bare CR, or not UTF-8".into(),
                Some(Line::Text(line)) => {
                    let (verb, argument) = command::split(&line);
                    if verb == "QUIT" {
                        say(replies, &format!("221 2.0.0 {} closes", self.name));
                        return Step::Goodbye;
                    }
                    self.command(&verb, argument)
                }
            };
            say(replies, &reply);
        }
    }

    fn command(&mut self, verb: &str, argument: &str) -> String {
        match verb {
            "EHLO" | "HELO" => self.hello(verb, argument),
            "MAIL" => self.mail(argument),
            "RCPT" => self.rcpt(argument),
            "DATA" => self.data(argument),
            "RSET" => {
                self.phase = Phase::Idle;
                "250 2.0.0 forgotten".into()
            }
            "NOOP" => "250 2.0.0 nothing done".into(),
            "VRFY" if argument.is_empty() => "501 5.5.4 expected VRFY and an address".into(),
            "VRFY" => "252 2.0.0 send a message and see".into(),
            "HELP" => "214 2.0.0 EHLO HELO MAIL RCPT DATA RSET NOOP VRFY QUIT".into(),
            "AUTH" | "STARTTLS" | "BDAT" | "EXPN" | "ETRN" => format!("502 5.5.1 {verb} is not offered"),
            // nmh's post and old mailers; they only say that they want to hear more.
            "VERB" | "ONEX" => "250 2.0.0 as always".into(),
            _ => "500 5.5.1 unknown command".into(),
        }
    }

    fn hello(&mut self, verb: &str, argument: &str) -> String {
        if argument.is_empty() {
            return format!("501 5.5.4 expected {verb} and a name");
        }
        // RFC 5321 section 4.1.4: it ends a transaction as RSET does.
        self.phase = Phase::Idle;
        let name = &self.name;
        if verb == "HELO" {
            self.hello = Hello::Helo;
            return format!("250 {name}");
        }
        self.hello = Hello::Ehlo;
        format!(
            "250-{name}\r\n250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250 ENHANCEDSTATUSCODES"
        )
    }

    fn mail(&mut self, argument: &str) -> String {
        if self.hello == Hello::NotYet {
            return "503 5.5.1 EHLO comes first".into();
        }
        if matches!(self.phase, Phase::Transaction(_)) {
            return "503 5.5.1 there was a MAIL already".into();
        }
        let Some(Path { address, parameters }) = command::path("FROM:", argument) else {
            return "501 5.5.4 expected MAIL FROM:<address>".into();
        };
        if !address.is_empty() && !(self.is_address)(&address) {
            return "553 5.1.7 the sender is not an address".into();
        }
        let mut words = Vec::new();
        for (key, value) in parameters {
            match (key.as_str(), value) {
                ("SIZE" | "BODY", Some(_)) | ("SMTPUTF8", None) => {}
                // Nobody logged in; RFC 4954 section 5 lets it be passed over.
                ("AUTH", Some(_)) => {}
                ("RET" | "ENVID", Some(value)) => words.push(format!("{key}={value}")),
                _ => return format!("555 5.5.4 the parameter {} is not known", shown(&key)),
            }
        }
        match Dsn::of_mail(words.iter().map(String::as_str)) {
            (dsn, bad) if bad.is_empty() => {
                let reverse_path = address;
                self.phase = Phase::Transaction(Envelope { reverse_path, dsn, forward_paths: Vec::new() });
                "250 2.1.0 sender ok".into()
            }
            (_, bad) => format!("501 5.5.4 {} cannot be read", shown(&bad.join(" "))),
        }
    }

    fn rcpt(&mut self, argument: &str) -> String {
        let is_address = self.is_address;
        let Phase::Transaction(envelope) = &mut self.phase else {
            return "503 5.5.1 MAIL comes first".into();
        };
        let Some(Path { address, parameters }) = command::path("TO:", argument) else {
            return "501 5.5.4 expected RCPT TO:<address>".into();
        };
        if !is_address(&address) {
            return "553 5.1.3 the recipient is not an address".into();
        }
        let mut words = Vec::new();
        for (key, value) in parameters {
            match (key.as_str(), value) {
                ("NOTIFY" | "ORCPT", Some(value)) => words.push(format!("{key}={value}")),
                _ => return format!("555 5.5.4 the parameter {} is not known", shown(&key)),
            }
        }
        let (dsn, bad) = Dsn::of_rcpt(words.iter().map(String::as_str));
        if !bad.is_empty() {
            return format!("501 5.5.4 {} cannot be read", shown(&bad.join(" ")));
        }
        if envelope.forward_paths.len() == MOST_RECIPIENTS {
            return format!("452 4.5.3 more than {MOST_RECIPIENTS} recipients");
        }
        envelope.forward_paths.push((address, dsn));
        "250 2.1.5 recipient ok".into()
    }

    fn data(&mut self, argument: &str) -> String {
        if !argument.is_empty() {
            return "501 5.5.4 DATA takes no argument".into();
        }
        match &mut self.phase {
            Phase::Transaction(envelope) if envelope.forward_paths.is_empty() => {
                "554 5.5.1 no valid recipients".into()
            }
            Phase::Transaction(envelope) => {
                self.phase = Phase::Text(std::mem::take(envelope), Data::new(self.lines.had_lf()));
                "354 go on, end with a dot on a line of its own".into()
            }
            Phase::Idle | Phase::Text(..) => "503 5.5.1 MAIL and RCPT come first".into(),
        }
    }
}

/// What a client wrote, fit to stand in a reply: short, and without what would not be text there.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).take(100).collect()
}

/// Adds one reply; `reply` holds no CRLF at its end.
pub fn say(replies: &mut Vec<u8>, reply: &str) {
    replies.extend_from_slice(reply.as_bytes());
    replies.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialogue() -> Dialogue {
        Dialogue::new("box", |text| !text.is_empty() && !text.contains(' '))
    }

    /// The codes of the replies, what the last step was, and the text.
    fn talk(dialogue: &mut Dialogue, sent: &str) -> (String, Step, String) {
        let (mut replies, mut text) = (Vec::new(), Vec::new());
        let step = dialogue.advance(&mut sent.as_bytes(), &mut replies, &mut text);
        let said = String::from_utf8(replies).unwrap();
        let codes: Vec<&str> = said.lines().filter(|l| l.as_bytes()[3] == b' ').map(|l| &l[..3]).collect();
        (codes.join(" "), step, String::from_utf8(text).unwrap())
    }

    fn codes(sent: &str) -> String {
        let mut dialogue = dialogue();
        talk(&mut dialogue, "EHLO test\r\n");
        talk(&mut dialogue, sent).0
    }

    #[test]
    fn commands_out_of_order_are_told_so() {
        assert_eq!(talk(&mut dialogue(), "MAIL FROM:<a>\r\nRCPT TO:<a>\r\nDATA\r\n").0, "503 503 503");
        assert_eq!(
            codes("MAIL FROM:<a>\r\nMAIL FROM:<a>\r\nDATA\r\nRSET\r\nDATA\r\n"),
            "250 503 554 250 503"
        );
        assert_eq!(codes("MAIL FROM:<a>\r\nRCPT TO:<a>\r\nEHLO x\r\nRCPT TO:<a>\r\n"), "250 250 250 503");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert_eq!(
            codes("EHLO\r\nHELO\r\nMAIL\r\nFOO\r\n\r\nVRFY\r\nAUTH PLAIN x\r\nSTARTTLS\r\nBDAT 1\r\n"),
            "501 501 501 500 500 501 502 502 502"
        );
        assert_eq!(
            codes("MAIL FROM:a@b\r\nMAIL FROM:<a b>\r\nMAIL FROM:<a> FOO=1\r\nMAIL FROM:<a> RET=SOME\r\n"),
            "501 501 555 501"
        );
        assert_eq!(
            codes(
                "MAIL FROM:<>\r\nRCPT TO:<>\r\nRCPT TO:<a> NOTIFY=OFTEN\r\nRCPT TO:<a> X=1\r\nRCPT TO:<a>\r\nDATA x\r\n"
            ),
            "250 553 501 555 250 501"
        );
        assert_eq!(codes("verb\r\nhelp\r\nvrfy a\r\nnoop x\r\nQUIT\r\nNOOP\r\n"), "250 214 252 250 221");
    }

    #[test]
    fn a_message_comes_with_its_envelope() {
        let mut dialogue = dialogue();
        talk(&mut dialogue, "EHLO x\r\n");
        let sent = "mail from:<a@b.c> SIZE=9 BODY=8BITMIME RET=hdrs ENVID=x SMTPUTF8\r\nRCPT TO:<root> NOTIFY=never\r\n\
                    rcpt to:<d@e.f>\r\nDATA\r\nhi\n.\nthere\r\n..\r\n.\r\nQUIT\r\n";
        let (codes, step, text) = talk(&mut dialogue, sent);
        assert_eq!((codes.as_str(), text.as_str()), ("250 250 250 354", "hi\n.\nthere\r\n.\r\n"));
        let Step::Message(envelope) = step else { panic!("{step:?}") };
        assert_eq!((envelope.reverse_path.as_str(), envelope.dsn.as_str()), ("a@b.c", "RET=HDRS ENVID=x"));
        let to: Vec<String> = envelope.forward_paths.iter().map(|(to, dsn)| format!("{to} {dsn}")).collect();
        assert_eq!(to, ["root NOTIFY=NEVER", "d@e.f "]);
    }

    /// A dot between bare line ends is no end where the commands end in CRLF: else what a stranger wrote in a form could become
    /// a message of its own.
    #[test]
    fn nothing_is_smuggled_past_a_client_of_crlf() {
        for end in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r"] {
            let mut dialogue = dialogue();
            talk(&mut dialogue, "EHLO x\r\nMAIL FROM:<a>\r\nRCPT TO:<b>\r\nDATA\r\n");
            let (codes, step, _) =
                talk(&mut dialogue, &format!("hi{end}MAIL FROM:<eve>\r\nRCPT TO:<c>\r\nDATA\r\n"));
            assert_eq!((codes.as_str(), step), ("", Step::Hungry), "{end:?}");
            assert!(dialogue.is_within_message());
        }
        let mut dialogue = dialogue();
        let (codes, step, text) =
            talk(&mut dialogue, "HELO x\nMAIL FROM:<a>\nRCPT TO:<b>\nDATA\nhi\n..\n.\nQUIT\n");
        assert_eq!((codes.as_str(), text.as_str()), ("250 250 250 354", "hi\n.\n"));
        assert!(matches!(step, Step::Message(_)));
    }
}
