//! One session as a state machine: bytes in, replies out (RFC 5321 sections 3 and 4). No sockets, no time.

use super::text::Text;
use crate::smtp::server::command::{self, Line, Lines, Path};

/// What it says its name is.
const NAME: &str = "catch.localhost";

/// The recipients of one message; RFC 5321 section 4.5.3.1.8 asks for at least 100.
const MOST_RECIPIENTS: usize = 1000;

/// MAIL and the RCPTs that were taken.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) reverse_path: String,
    pub(super) forward_paths: Vec<String>,
    internationalized: bool,
}

/// Why [`Dialogue::advance`] stopped.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// All input is used up.
    Hungry,
    /// A final dot; its reply is for the caller to write.
    Message(Envelope, Vec<u8>),
    /// QUIT: the session is over once the replies are out.
    Goodbye,
}

#[derive(Debug)]
pub(super) struct Dialogue {
    hello: Hello,
    phase: Phase,
    lines: Lines,
    /// The longest message taken, octets.
    most: usize,
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
    Text(Envelope, Text),
}

/// What opens a session.
pub(super) fn greeting() -> String {
    format!("220 {NAME} ESMTP pillarbox catch: takes everybody's mail, sends none on\r\n")
}

impl Dialogue {
    pub(super) fn new(most: usize) -> Self {
        Dialogue { hello: Hello::NotYet, phase: Phase::Idle, lines: Lines::default(), most }
    }

    /// Works through `input` and adds what there is to say to `replies`, so that the replies to a group of
    /// commands leave together (RFC 2920 section 3.2).
    pub(super) fn advance(&mut self, input: &mut &[u8], replies: &mut Vec<u8>) -> Step {
        loop {
            if let Phase::Text(envelope, text) = &mut self.phase {
                if !text.read(input) {
                    return Step::Hungry;
                }
                let envelope = std::mem::take(envelope);
                let text = std::mem::replace(text, Text::new(0));
                self.phase = Phase::Idle;
                match text.into_bytes() {
                    Some(bytes) => return Step::Message(envelope, bytes),
                    None => say(replies, &format!("552 5.3.4 longer than {} octets", self.most)),
                }
                continue;
            }
            let reply = match self.lines.read(input) {
                None => return Step::Hungry,
                Some(Line::TooLong) => "500 5.5.6 line too long".into(),
                Some(Line::Garbled) => "500 5.5.2 control character, bare CR or LF, or not UTF-8".into(),
                Some(Line::Text(line)) => {
                    let (verb, argument) = command::split(&line);
                    if verb == "QUIT" {
                        say(replies, &format!("221 2.0.0 {NAME} closes"));
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
            "VRFY" => "252 2.0.0 everybody is taken".into(),
            "HELP" => "214 2.0.0 EHLO HELO MAIL RCPT DATA RSET NOOP VRFY QUIT".into(),
            "AUTH" | "STARTTLS" | "BDAT" | "EXPN" | "ETRN" => format!("502 5.5.1 {verb} is not offered"),
            _ => "500 5.5.1 unknown command".into(),
        }
    }

    fn hello(&mut self, verb: &str, argument: &str) -> String {
        if argument.is_empty() {
            return format!("501 5.5.4 expected {verb} and a name");
        }
        // RFC 5321 section 4.1.4: it ends a transaction as RSET does.
        self.phase = Phase::Idle;
        if verb == "HELO" {
            self.hello = Hello::Helo;
            return format!("250 {NAME}");
        }
        self.hello = Hello::Ehlo;
        let most = self.most;
        format!(
            "250-{NAME}\r\n250-PIPELINING\r\n250-SIZE {most}\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES"
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
        if !address.is_empty() && !command::is_address(&address) {
            return "553 5.1.7 the sender is not an address".into();
        }
        let mut internationalized = false;
        for (key, value) in parameters {
            match (key.as_str(), value.as_deref()) {
                ("SIZE", Some(size)) if size.bytes().all(|b| b.is_ascii_digit()) && !size.is_empty() => {
                    if size.parse::<usize>().map_or(true, |size| size > self.most) {
                        return format!("552 5.3.4 longer than {} octets", self.most);
                    }
                }
                ("SIZE", _) => return "501 5.5.4 expected SIZE=number".into(),
                ("BODY", Some(body)) if is_one_of(body, &["7BIT", "8BITMIME"]) => {}
                ("BODY", _) => return "501 5.5.4 expected BODY=7BIT or BODY=8BITMIME".into(),
                ("SMTPUTF8", None) => internationalized = true,
                _ => return format!("555 5.5.4 the parameter {key} is not known"),
            }
        }
        if !address.is_ascii() && !internationalized {
            return "550 5.6.7 an address like this needs SMTPUTF8".into();
        }
        self.phase = Phase::Transaction(Envelope {
            reverse_path: address,
            forward_paths: Vec::new(),
            internationalized,
        });
        "250 2.1.0 sender ok".into()
    }

    fn rcpt(&mut self, argument: &str) -> String {
        let Phase::Transaction(envelope) = &mut self.phase else {
            return "503 5.5.1 MAIL comes first".into();
        };
        let Some(Path { address, parameters }) = command::path("TO:", argument) else {
            return "501 5.5.4 expected RCPT TO:<address>".into();
        };
        if let Some((key, _)) = parameters.first() {
            return format!("555 5.5.4 the parameter {key} is not known");
        }
        if !command::is_address(&address) {
            return "553 5.1.3 the recipient is not an address".into();
        }
        if !address.is_ascii() && !envelope.internationalized {
            return "553 5.6.7 an address like this needs SMTPUTF8".into();
        }
        if envelope.forward_paths.len() == MOST_RECIPIENTS {
            return format!("452 4.5.3 more than {MOST_RECIPIENTS} recipients");
        }
        match magic(&address) {
            Some(reply) => reply.into(),
            None => {
                envelope.forward_paths.push(address);
                "250 2.1.5 recipient ok".into()
            }
        }
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
                self.phase = Phase::Text(std::mem::take(envelope), Text::new(self.most));
                "354 go on, end with a dot on a line of its own".into()
            }
            Phase::Idle | Phase::Text(..) => "503 5.5.1 MAIL and RCPT come first".into(),
        }
    }
}

/// The recipients that are always put off or refused.
fn magic(address: &str) -> Option<&'static str> {
    let local = address.rsplit_once('@').map_or(address, |(local, _)| local).to_ascii_lowercase();
    let is =
        |word: &str| local.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    if is("defer") {
        Some("450 4.2.0 this recipient is always deferred")
    } else if is("refuse") {
        Some("550 5.1.1 this recipient is always refused")
    } else {
        None
    }
}

fn is_one_of(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Adds one reply; `reply` holds no CRLF at its end.
pub(super) fn say(replies: &mut Vec<u8>, reply: &str) {
    replies.extend_from_slice(reply.as_bytes());
    replies.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The codes of the replies, and what ended it.
    fn talk(dialogue: &mut Dialogue, sent: &str) -> (Vec<String>, Step) {
        let mut replies = Vec::new();
        let step = dialogue.advance(&mut sent.as_bytes(), &mut replies);
        let said = String::from_utf8(replies).unwrap();
        (said.lines().filter(|l| l.as_bytes()[3] == b' ').map(|l| l[..3].to_owned()).collect(), step)
    }

    fn codes(sent: &str) -> Vec<String> {
        let mut dialogue = Dialogue::new(1000);
        talk(&mut dialogue, "EHLO test\r\n");
        talk(&mut dialogue, sent).0
    }

    #[test]
    fn commands_out_of_order_are_told_so() {
        assert_eq!(
            talk(&mut Dialogue::new(1000), "MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\n").0,
            ["503", "503", "503"]
        );
        assert_eq!(
            codes("MAIL FROM:<a@b>\r\nMAIL FROM:<a@b>\r\nDATA\r\nRSET\r\nDATA\r\n"),
            ["250", "503", "554", "250", "503"]
        );
        assert_eq!(
            codes("MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nEHLO x\r\nRCPT TO:<a@b>\r\n"),
            ["250", "250", "250", "503"]
        );
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert_eq!(
            codes("EHLO\r\nHELO\r\nMAIL\r\nFOO\r\n\r\nVRFY\r\nAUTH PLAIN x\r\nSTARTTLS\r\nBDAT 1\r\n"),
            ["501", "501", "501", "500", "500", "501", "502", "502", "502"]
        );
        assert_eq!(
            codes("MAIL FROM:a@b\r\nMAIL FROM:<a>\r\nMAIL FROM:<a@b> FOO=1\r\nMAIL FROM:<a@b> SIZE=x\r\n"),
            ["501", "553", "555", "501"]
        );
        assert_eq!(
            codes("MAIL FROM:<>\r\nRCPT TO:<>\r\nRCPT TO:<a@b> NOTIFY=NEVER\r\nRCPT TO:<a@b>\r\nDATA x\r\n"),
            ["250", "553", "555", "250", "501"]
        );
    }

    #[test]
    fn verbs_are_read_in_any_case() {
        assert_eq!(
            codes("mail from:<a@b>\r\nRcpt To:<a@b>\r\nrset\r\nnoop x\r\nvrfy a\r\nhelp\r\n"),
            ["250", "250", "250", "250", "252", "214"]
        );
    }

    #[test]
    fn sizes_are_bounded_when_announced_and_when_sent() {
        assert_eq!(codes("MAIL FROM:<a@b> SIZE=1001\r\nMAIL FROM:<a@b> SIZE=1000\r\n"), ["552", "250"]);
        assert_eq!(codes("MAIL FROM:<a@b> SIZE=99999999999999999999999\r\n"), ["552"]);
        let long =
            format!("MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\n{}\r\n.\r\nNOOP\r\n", "x".repeat(2000));
        assert_eq!(codes(&long), ["250", "250", "354", "552", "250"]);
    }

    #[test]
    fn addresses_beyond_ascii_need_smtputf8() {
        assert_eq!(codes("MAIL FROM:<ä@b>\r\nMAIL FROM:<a@b>\r\nRCPT TO:<ä@b>\r\n"), ["550", "250", "553"]);
        assert_eq!(codes("MAIL FROM:<ä@b> SMTPUTF8 BODY=8bitmime\r\nRCPT TO:<ö@b>\r\n"), ["250", "250"]);
    }

    #[test]
    fn magic_recipients_are_left_out_of_the_envelope() {
        let mut dialogue = Dialogue::new(1000);
        talk(&mut dialogue, "EHLO test\r\n");
        let all = ["defer", "defer-1", "Refuse", "refuse-x", "deferred", "refused", "x-defer"];
        let sent: String = all.iter().map(|local| format!("RCPT TO:<{local}@b>\r\n")).collect();
        let (codes, step) =
            talk(&mut dialogue, &format!("MAIL FROM:<>\r\n{sent}DATA\r\nhi\r\n.\r\nQUIT\r\n"));
        assert_eq!(codes, ["250", "450", "450", "550", "550", "250", "250", "250", "354"]);
        let Step::Message(envelope, bytes) = step else { panic!("{step:?}") };
        assert_eq!((envelope.reverse_path.as_str(), bytes.as_slice()), ("", &b"hi\r\n"[..]));
        assert_eq!(envelope.forward_paths, ["deferred@b", "refused@b", "x-defer@b"]);
        assert_eq!(talk(&mut dialogue, "QUIT\r\n"), (vec!["221".into()], Step::Goodbye));
    }

    #[test]
    fn the_number_of_recipients_is_bounded() {
        let sent = "RCPT TO:<a@b>\r\n".repeat(MOST_RECIPIENTS + 1);
        let codes = codes(&format!("MAIL FROM:<a@b>\r\n{sent}"));
        assert_eq!(codes.iter().filter(|c| *c == "250").count(), MOST_RECIPIENTS + 1);
        assert_eq!(codes.last().map(String::as_str), Some("452"));
    }
}
