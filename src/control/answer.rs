//! What is answered, as data: the one schema that the socket speaks and `--json` prints.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::mail::Outcome;
use crate::sender::{OutOfService, SenderState};
use crate::spool::SpoolError;

/// An answer to a request.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// To `status`.
    Status(Box<Status>),
    /// To `list`.
    Messages(Messages),
    /// To `show`.
    Shown(Box<Shown>),
    /// To what became of a message.
    Became(Became),
    /// To `retry`, `remove`, `hold`, `release`.
    Steered(Steered),
    /// To `pause` and `resume`.
    Pause(Pause),
    /// To `flush`.
    Flushed(Flushed),
    /// To `send`.
    Sent(Sent),
    /// To `reload`.
    Reloaded(Reloaded),
}

impl Answer {
    /// What everybody may know: nothing of what others have dropped.
    #[must_use]
    pub fn for_others(self) -> Answer {
        match self {
            Answer::Status(status) => Answer::Status(Box::new(status.for_others())),
            other => other,
        }
    }
}

impl Status {
    fn for_others(self) -> Status {
        let sender = self.sender.map(|state| match state {
            SenderState::Held { smarthost, since, .. } => {
                SenderState::Held { smarthost, since, message: String::new(), cause: String::new() }
            }
            other => other,
        });
        Status {
            left_in_pickup: Vec::new(),
            folders: Vec::new(),
            held_messages: Vec::new(),
            oldest_waiting: None,
            sender,
            ..self
        }
    }
}

/// What waits, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Where the spool is.
    pub spool: String,
    /// Who works on it, if anybody.
    pub holder: Option<String>,
    /// What others may do that they should not.
    pub warnings: Vec<Warning>,
    /// Why the service sends nothing: what is wrong with its configuration.
    pub config_error: Option<String>,
    /// The disk call that failed, if the service waits for the disk.
    pub spool_fault: Option<String>,
    /// Why nothing more is accepted.
    pub not_accepting: Option<String>,
    /// Files in `pickup/`.
    pub in_pickup: usize,
    /// Those of them that are not taken.
    pub left_in_pickup: Vec<Left>,
    /// What lies in the folders besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folders: Vec<FolderStatus>,
    /// Messages in `pending/`: in line, aside and held.
    pub waiting: usize,
    /// Those aside.
    pub aside: usize,
    /// Those held.
    pub held: usize,
    /// Why each of these is held.
    pub held_messages: Vec<Left>,
    /// In flight.
    pub sending: usize,
    /// Given up.
    pub failed: usize,
    /// Delivered and kept.
    pub sent: usize,
    /// The oldest that is not let go.
    pub oldest_waiting: Option<Oldest>,
    /// For ordinary users on the spool's filesystem, octets.
    pub free_bytes: Option<u64>,
    /// What is known of the smarthost; `None` before the first try.
    pub sender: Option<SenderState>,
    /// Better smarthosts than the one in use, which cannot be used.
    pub out_of_service: Vec<OutOfService>,
}

/// A folder besides `pickup/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderStatus {
    /// Its name in the configuration.
    pub name: String,
    /// Where it is.
    pub dir: String,
    /// Why it cannot be read.
    pub problem: Option<String>,
    /// Files in it.
    pub files: usize,
    /// Those of them that are not taken.
    pub left: Vec<Left>,
}

/// What is wrong with the spool's owners or modes, and the command that mends it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Warning {
    /// What is wrong.
    pub what: String,
    /// What mends it.
    pub cure: String,
}

/// A file or message that does not move, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// The producer's name of it.
    pub file: String,
    /// Why.
    pub reason: String,
}

/// The oldest message that waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Oldest {
    /// Its queue id.
    pub id: String,
    /// The producer's name of it.
    pub file: String,
    /// Seconds since 1970.
    pub accepted: u64,
}

/// Messages, those in flight first, then those that wait, then those that failed, each in order of acceptance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Messages {
    /// In this order.
    pub messages: Vec<Message>,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Its queue id.
    pub id: String,
    /// Seconds since 1970.
    pub accepted: u64,
    /// Where it is.
    pub state: State,
    /// The producer's name of it.
    pub file: String,
    /// The file's place below the spool.
    pub path: String,
    /// Transactions that ended with an outcome.
    pub attempts: u32,
    /// Who gets it, once that is on record.
    pub recipients: Vec<Recipient>,
    /// Why it is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// One recipient and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipient {
    /// The forward-path.
    pub address: String,
    /// What the last transaction made of it.
    pub outcome: Option<Outcome>,
}

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// In line.
    Waiting,
    /// Out of line, tried on its own schedule.
    Aside,
    /// Out of line, not tried.
    Held,
    /// In flight.
    Sending,
    /// Given up.
    Failed,
    /// Gone for good.
    Removed,
    /// Taken by the smarthost for every recipient.
    Delivered,
    /// Not in the spool, and what became of it is not known any more.
    Unknown,
}

/// One message with all that is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// As in a list.
    #[serde(flatten)]
    pub message: Message,
    /// Octets as dropped.
    pub size: u64,
    /// The frozen sender, empty for the null reverse-path; `None` before the first try of a plain drop.
    pub reverse_path: Option<String>,
    /// Whether the envelope was given beside the message.
    pub given: bool,
    /// Transactions that ended with the final dot out and no reply.
    pub unknown_ends: u32,
    /// Why it was given up, for people.
    pub report: Option<String>,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Became {
    /// Its queue id.
    pub id: String,
    /// Delivered, failed, removed or unknown; otherwise it is still on its way.
    pub state: State,
    /// What is known of each recipient, with the server's words.
    pub recipients: Vec<Recipient>,
    /// What else was wrong with it, or why it is held.
    pub problems: Vec<String>,
}

/// What was done to a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Steered {
    /// Its queue id.
    pub id: String,
    /// The producer's name of it.
    pub file: String,
    /// Where it is now.
    pub state: State,
}

/// Whether anything is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pause {
    /// Seconds since 1970; `None` if it is not paused.
    pub paused_since: Option<u64>,
}

/// What a pass came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flushed {
    /// How it ended.
    pub end: FlushEnd,
    /// Messages that the smarthost took, for one recipient at least.
    pub delivered: u64,
    /// Messages that still wait, in line or out of it.
    pub left: u64,
    /// Why, where the smarthost cannot be used.
    pub cause: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// How a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlushEnd {
    /// Nothing more is due.
    NothingDue,
    /// A deferred message holds the line.
    Held,
    /// The smarthost cannot be used.
    Unusable,
    /// No smarthost is configured.
    NoSmarthost,
    /// As many were sent as the rate allows for now.
    Paced,
    /// An operator wants nothing to be sent.
    Paused,
    /// It was told to stop.
    Stopped,
}

/// A message that was handed in: it is durable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sent {
    /// Its queue id.
    pub id: String,
    /// The name it was given.
    pub file: String,
    /// Octets.
    pub size: u64,
}

/// The configuration that is in force now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The names of the smarthosts, in order of preference.
    pub smarthosts: Vec<String>,
}

/// Why a request was not granted. Nothing was changed, unless the disk failed half-way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// For programs.
    pub code: Code,
    /// What happened, to what, and why: lower case, no full stop.
    pub message: String,
    /// What to do about it, if there is something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Why, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The request cannot be understood.
    BadRequest,
    /// Not for this user.
    Forbidden,
    /// There is no such message, or no such thing to ask for.
    NotFound,
    /// Several messages are called that.
    Ambiguous,
    /// The message is being sent.
    InFlight,
    /// The message is in a state in which that makes no sense.
    Conflict,
    /// The message is longer than is taken.
    TooLarge,
    /// The message can never be sent.
    BadMessage,
    /// The configuration is wrong; the one before stays in force.
    BadConfig,
    /// The disk said no.
    Disk,
    /// Not now.
    Unavailable,
    /// Nothing more is accepted now.
    NoRoom,
}

impl Code {
    /// The status code of HTTP (RFC 9110 section 15; 507 is RFC 4918 section 11.5).
    pub fn status(self) -> u16 {
        match self {
            Code::BadRequest => 400,
            Code::Forbidden => 403,
            Code::NotFound => 404,
            Code::Ambiguous | Code::InFlight | Code::Conflict => 409,
            Code::TooLarge => 413,
            Code::BadMessage | Code::BadConfig => 422,
            Code::Disk => 500,
            Code::Unavailable => 503,
            Code::NoRoom => 507,
        }
    }
}

impl Refused {
    /// Without a hint.
    pub fn new(code: Code, message: impl Into<String>) -> Refused {
        Refused { code, message: message.into(), hint: None }
    }

    /// The same with what to do.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Refused {
        Refused { hint: Some(hint.into()), ..self }
    }
}

/// Why something was not done: it was refused, or the disk failed.
#[derive(Debug)]
pub enum NotDone {
    /// Nothing was changed.
    Refused(Refused),
    /// The spool may be faulted.
    Disk(SpoolError),
}

impl NotDone {
    /// What whoever asked is told.
    pub fn refused(&self) -> Refused {
        use std::io::ErrorKind;
        match self {
            NotDone::Refused(refused) => refused.clone(),
            NotDone::Disk(error) => {
                let full = matches!(error.error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
                let code = if full { Code::NoRoom } else { Code::Disk };
                Refused::new(code, error.to_string()).hint("see to the disk, then try again")
            }
        }
    }
}

impl From<Refused> for NotDone {
    fn from(refused: Refused) -> NotDone {
        NotDone::Refused(refused)
    }
}

impl From<SpoolError> for NotDone {
    fn from(error: SpoolError) -> NotDone {
        NotDone::Disk(error)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::Waiting => "waiting",
            State::Aside => "aside",
            State::Held => "held",
            State::Sending => "sending",
            State::Failed => "failed",
            State::Removed => "removed",
            State::Delivered => "delivered",
            State::Unknown => "unknown",
        })
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refused {}
