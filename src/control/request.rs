//! What can be asked for, and how HTTP says it (docs/CONTROL.md).

use std::str::FromStr as _;

use super::answer::{Code, Refused, State};
use crate::mail::{Envelope, Mailbox, QueueId, ReversePath};

/// A request. What is not here cannot be asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// What waits, and why.
    Status,
    /// The messages, or those in one state.
    List(Option<State>),
    /// One message.
    Show(String),
    /// What became of one message; if nothing did yet, wait for it for so many seconds.
    Outcome(String, u64),
    /// Something to be done to one message.
    Steer(Steer, String),
    /// Send nothing until [`Request::Resume`].
    Pause,
    /// End a pause.
    Resume,
    /// Try everything now, and say what came of it.
    Flush,
    /// Take a message; its bytes come behind the request.
    Send(Handed),
    /// Read the configuration anew.
    Reload,
}

/// What can be done to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steer {
    /// Bring it back, or try it now.
    Retry,
    /// Take it away for good.
    Remove,
    /// Do not send it until it is released.
    Hold,
    /// Let a held one go.
    Release,
}

/// A message that is handed in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Handed {
    /// How it is called in the spool.
    pub name: String,
    /// Who it is from and for, if not what its own header says.
    pub envelope: Option<Envelope>,
    /// Who hands it in, if that is not the owner of the spool. The socket says that, and no request can.
    pub user: Option<String>,
}

/// A request as HTTP has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) method: &'static str,
    /// Path and query.
    pub(super) target: String,
}

impl Request {
    /// Whether everybody who can connect may ask for it; the rest is for root and the spool's owner.
    pub fn is_for_all(&self) -> bool {
        match self {
            Request::Status | Request::Send(_) => true,
            // Whoever handed it in was told its queue id, which nobody can guess.
            Request::Outcome(which, _) => QueueId::from_str(which).is_ok(),
            _ => false,
        }
    }

    pub(super) fn line(&self) -> Line {
        let message = |which: &str, what: &str| format!("/v1/messages/{}{what}", encode(which));
        let (method, target) = match self {
            Request::Status => ("GET", "/v1/status".to_owned()),
            Request::List(None) => ("GET", "/v1/messages".to_owned()),
            Request::List(Some(state)) => ("GET", format!("/v1/messages?state={state}")),
            Request::Show(which) => ("GET", message(which, "")),
            Request::Outcome(which, wait) => ("GET", message(which, &format!("/outcome?wait={wait}"))),
            Request::Steer(Steer::Remove, which) => ("DELETE", message(which, "")),
            Request::Steer(Steer::Retry, which) => ("POST", message(which, "/retry")),
            Request::Steer(Steer::Hold, which) => ("POST", message(which, "/hold")),
            Request::Steer(Steer::Release, which) => ("POST", message(which, "/release")),
            Request::Pause => ("POST", "/v1/pause".to_owned()),
            Request::Resume => ("POST", "/v1/resume".to_owned()),
            Request::Flush => ("POST", "/v1/flush".to_owned()),
            Request::Reload => ("POST", "/v1/reload".to_owned()),
            Request::Send(handed) => ("POST", format!("/v1/messages?{}", handed.query())),
        };
        Line { method, target }
    }

    /// Reads what HTTP says.
    pub(super) fn read(method: &str, path: &str, query: &str) -> Result<Request, Refused> {
        let bad = |what: String| Refused::new(Code::BadRequest, what);
        let unknown = || {
            Refused::new(Code::NotFound, format!("there is no {method} {path}")).hint("see docs/CONTROL.md")
        };
        let pairs = pairs(query)?;
        let rest = path.strip_prefix("/v1/").ok_or_else(unknown)?;
        let parts: Vec<&str> = rest.split('/').collect();
        let takes: &[&str] = match (method, &parts[..]) {
            ("GET", ["messages"]) => &["state"],
            ("POST", ["messages"]) => &["name", "from", "to"],
            ("GET", ["messages", _, "outcome"]) => &["wait"],
            _ => &[],
        };
        if let Some((key, _)) = pairs.iter().find(|(key, _)| !takes.contains(&key.as_str())) {
            return Err(bad(format!("expected no {key:?} in the query of {method} {path}")));
        }
        Ok(match (method, &parts[..]) {
            ("GET", ["status"]) => Request::Status,
            ("GET", ["messages"]) => {
                let state = pairs.last().map(|(_, value)| state(value)).transpose()?;
                Request::List(state)
            }
            ("POST", ["messages"]) => Request::Send(Handed::read(&pairs)?),
            ("GET", ["messages", which]) => Request::Show(decode(which)?),
            ("GET", ["messages", which, "outcome"]) => {
                let wait = pairs.last().map_or(Ok(0), |(_, value)| seconds(value))?;
                Request::Outcome(decode(which)?, wait)
            }
            ("DELETE", ["messages", which]) => Request::Steer(Steer::Remove, decode(which)?),
            ("POST", ["messages", which, "retry"]) => Request::Steer(Steer::Retry, decode(which)?),
            ("POST", ["messages", which, "hold"]) => Request::Steer(Steer::Hold, decode(which)?),
            ("POST", ["messages", which, "release"]) => Request::Steer(Steer::Release, decode(which)?),
            ("POST", ["pause"]) => Request::Pause,
            ("POST", ["resume"]) => Request::Resume,
            ("POST", ["flush"]) => Request::Flush,
            ("POST", ["reload"]) => Request::Reload,
            _ => return Err(unknown()),
        })
    }
}

/// How long is waited.
fn seconds(text: &str) -> Result<u64, Refused> {
    // parse takes a sign.
    let digits = Some(text).filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| {
        Refused::new(Code::BadRequest, format!("expected a number of seconds to wait, found {text:?}"))
    })
}

/// A state in which a message can be listed.
fn state(text: &str) -> Result<State, Refused> {
    let states = [State::Waiting, State::Aside, State::Held, State::Sending, State::Failed];
    states.into_iter().find(|state| state.to_string() == text).ok_or_else(|| {
        let message = format!("expected waiting, aside, held, sending or failed, found {text:?}");
        Refused::new(Code::BadRequest, message)
    })
}

impl Handed {
    /// A message called `name`; with an envelope if there are recipients.
    ///
    /// # Errors
    ///
    /// What is no address, and a sender without recipients or the other way round.
    pub fn new(name: String, from: Option<&str>, to: &[String]) -> Result<Handed, Refused> {
        let bad = |message: String| Refused::new(Code::BadRequest, message);
        let address = |text: &str| text.parse::<Mailbox>().map_err(|e| bad(e.to_string()));
        let reverse_path = match from {
            None if to.is_empty() => return Ok(Handed { name, ..Handed::default() }),
            None => return Err(bad("expected a sender beside the recipients, found none".into())),
            Some("" | "<>") => ReversePath::Null,
            Some(text) => ReversePath::Mailbox(address(text)?),
        };
        let to = to.iter().map(|text| address(text)).collect::<Result<Vec<Mailbox>, Refused>>()?;
        let envelope = Envelope::new(reverse_path, to)
            .ok_or_else(|| bad("expected recipients beside the sender, found none".into()))?;
        Ok(Handed { name, envelope: Some(envelope), user: None })
    }

    fn read(pairs: &[(String, String)]) -> Result<Handed, Refused> {
        let of =
            |key: &'static str| pairs.iter().filter(move |(k, _)| k == key).map(|(_, value)| value.clone());
        let to: Vec<String> = of("to").collect();
        Handed::new(of("name").next_back().unwrap_or_default(), of("from").next_back().as_deref(), &to)
    }

    fn query(&self) -> String {
        let mut query = format!("name={}", encode(&self.name));
        if let Some(envelope) = &self.envelope {
            let from = envelope.reverse_path.mailbox().map(Mailbox::as_str).unwrap_or_default();
            query.push_str(&format!("&from={}", encode(from)));
            for to in envelope.forward_paths() {
                query.push_str(&format!("&to={}", encode(to.as_str())));
            }
        }
        query
    }
}

/// Percent-encoding of everything but the unreserved characters (RFC 3986 section 2.3).
fn encode(text: &str) -> String {
    let octet = |b: u8| match b {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
        _ => format!("%{b:02X}"),
    };
    text.bytes().map(octet).collect()
}

fn decode(text: &str) -> Result<String, Refused> {
    let bad = || Refused::new(Code::BadRequest, format!("expected percent-encoded UTF-8, found {text:?}"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2).ok_or_else(bad)?;
        let digits = std::str::from_utf8(digits).map_err(|_| bad())?;
        // u8::from_str_radix takes a sign.
        let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
        bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| is_hex).ok_or_else(bad)?);
        rest = behind;
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

fn pairs(query: &str) -> Result<Vec<(String, String)>, Refused> {
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decode(key)?, decode(value)?))
    };
    query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect()
}

/// The state of that name, for a command line.
///
/// # Errors
///
/// What would be valid.
pub fn parse_state(text: &str) -> Result<State, String> {
    state(text).map_err(|refused| refused.message)
}

/// An address, for a command line.
///
/// # Errors
///
/// Why it is none.
pub fn parse_address(text: &str) -> Result<String, String> {
    match text {
        "" | "<>" => Ok(String::new()),
        _ => Mailbox::from_str(text).map(|mailbox| mailbox.to_string()).map_err(|e| e.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_reads_back_from_its_line() {
        let to = ["a b@x".to_owned(), "\"o p\"@example.com".into(), "ü+1@example.com".into()];
        let with_envelope = |from| Handed::new("a/b &c=d%.eml".into(), from, &to[1..]).unwrap();
        let mut requests = vec![
            Request::Status,
            Request::List(None),
            Request::List(Some(State::Failed)),
            Request::Show("door 3/../x?y#z".into()),
            Request::Outcome("door 3".into(), 25),
            Request::Pause,
            Request::Resume,
            Request::Flush,
            Request::Reload,
            Request::Send(Handed::default()),
            Request::Send(with_envelope(Some("me@example.com"))),
            Request::Send(with_envelope(Some("<>"))),
        ];
        let steers = [Steer::Retry, Steer::Remove, Steer::Hold, Steer::Release];
        requests.extend(steers.map(|steer| Request::Steer(steer, "01a2".into())));
        for request in requests {
            let Line { method, target } = request.line();
            let (path, query) = target.split_once('?').unwrap_or((&target, ""));
            assert!(!path.contains(' ') && target.is_ascii(), "{target}");
            assert_eq!(Request::read(method, path, query), Ok(request));
        }
        assert!(Handed::new(String::new(), Some("a@b.c"), &to[..1]).is_err());
    }

    #[test]
    fn what_is_not_a_request_is_refused_with_what_is_wrong() {
        let rows = [
            ("GET", "/", "", Code::NotFound),
            ("GET", "/v2/status", "", Code::NotFound),
            ("POST", "/v1/status", "", Code::NotFound),
            ("POST", "/v1/messages/1/explode", "", Code::NotFound),
            ("GET", "/v1/messages", "state=gone", Code::BadRequest),
            ("GET", "/v1/messages", "sate=failed", Code::BadRequest),
            ("POST", "/v1/pause", "now", Code::BadRequest),
            ("GET", "/v1/messages/1/outcome", "wait=+5", Code::BadRequest),
            ("GET", "/v1/messages/1/outcome", "wait=", Code::BadRequest),
            ("POST", "/v1/messages", "to=a@example.com", Code::BadRequest),
            ("POST", "/v1/messages", "from=a@example.com", Code::BadRequest),
            ("POST", "/v1/messages", "from=a@example.com&to=nobody", Code::BadRequest),
            ("POST", "/v1/messages", "from=a@b.c%0D%0A&to=a@b.c", Code::BadRequest),
            ("GET", "/v1/messages/%zz", "", Code::BadRequest),
            ("GET", "/v1/messages/%+f", "", Code::BadRequest),
            ("GET", "/v1/messages/%ff", "", Code::BadRequest),
            ("GET", "/v1/messages/%4", "", Code::BadRequest),
        ];
        for (method, path, query, code) in rows {
            let refused = Request::read(method, path, query).unwrap_err();
            assert_eq!(refused.code, code, "{method} {path}?{query}: {refused}");
        }
    }
}
