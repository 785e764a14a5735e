//! What the bytes of a message do not tell: `meta/<queue id>.json` (docs/SPOOL.md, "The records").

use serde::{Deserialize, Serialize};

use crate::mail::{Dsn, Envelope, Mailbox, Origin, Outcome, ReversePath, UnixTime};
use crate::policy::Age;

const VERSION: u32 = 1;

/// The record of one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    version: u32,
    /// The frozen envelope. `None` while nothing but the failure is known of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    envelope: Option<Frozen>,
    /// Transactions that ended with an outcome for this message.
    #[serde(default)]
    pub attempts: u32,
    /// Transactions that ended with the final dot out and no reply.
    #[serde(default)]
    pub unknown_ends: u32,
    /// Set when it stepped aside from the line: how often it was tried since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aside: Option<u32>,
    /// Set with its first deferral: for how long since then the smarthost was usable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<Age>,
    /// An operator holds it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub held: bool,
    /// The envelope was given beside the message, and what its bytes say of one is not read.
    #[serde(default, skip_serializing_if = "is_false")]
    pub given: bool,
    /// Where it came from, as far as neither its bytes nor its file tell.
    #[serde(default, skip_serializing_if = "Origin::is_empty")]
    pub origin: Origin,
    /// Set when it was delivered and its producer is yet to be told; from then on that is rolled forward.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered: Option<Delivered>,
    /// Set when the failure was decided; from then on it is rolled forward.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failed>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Frozen {
    /// Empty for the null reverse-path.
    reverse_path: String,
    /// What is asked of notifications (RFC 3461): `RET=HDRS`.
    #[serde(default, skip_serializing_if = "Dsn::is_empty")]
    dsn: Dsn,
    recipients: Vec<FrozenRecipient>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FrozenRecipient {
    address: String,
    #[serde(default, skip_serializing_if = "Dsn::is_empty")]
    dsn: Dsn,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
}

/// One recipient and its last outcome; `None` before the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The forward-path.
    pub mailbox: Mailbox,
    /// What is asked of notifications about it.
    pub dsn: Dsn,
    /// What the last transaction that included it made of it.
    pub outcome: Option<Outcome>,
}

/// A decided failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failed {
    /// When it was decided, seconds since 1970 as the box's clock had it.
    pub at: u64,
    /// The report for people, as it lies beside the message.
    pub report: String,
}

/// A delivery of which the producer is yet to be told; seconds since 1970 as the box's clock had them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivered {
    /// When it was delivered.
    pub at: u64,
    /// When it was accepted: the name that tells that is gone with the message.
    pub accepted: u64,
}

impl Recipient {
    /// One of an envelope, before its first outcome.
    pub fn waiting((mailbox, dsn): (&Mailbox, &Dsn)) -> Recipient {
        Recipient { mailbox: mailbox.clone(), dsn: dsn.clone(), outcome: None }
    }

    /// Whether it is still to be sent to.
    pub fn is_waiting(&self) -> bool {
        !matches!(self.outcome, Some(Outcome::Delivered(_) | Outcome::Failed(..)))
    }
}

impl Failed {
    /// Decided now.
    pub fn new(at: UnixTime, report: String) -> Failed {
        Failed { at: at.as_secs(), report }
    }
}

impl Record {
    /// A record of a message of which nothing is known yet.
    pub fn empty() -> Record {
        Record {
            version: VERSION,
            envelope: None,
            attempts: 0,
            unknown_ends: 0,
            aside: None,
            age: None,
            held: false,
            given: false,
            origin: Origin::default(),
            delivered: None,
            failed: None,
        }
    }

    /// Whether it says nothing: then there need be none.
    pub fn is_empty(&self) -> bool {
        *self == Record::empty()
    }

    /// As if it had not failed: those for whom it did wait again, and what counts towards giving up counts from nothing.
    pub fn start_anew(&mut self) {
        self.failed = None;
        self.unknown_ends = 0;
        self.attempts = 0;
        self.age = None;
        for recipient in self.envelope.iter_mut().flat_map(|frozen| &mut frozen.recipients) {
            recipient.outcome = recipient.outcome.take().filter(|o| matches!(o, Outcome::Delivered(_)));
        }
    }

    /// Freezes `envelope`, with no outcome for anybody.
    pub fn freeze(&mut self, envelope: &Envelope) {
        let recipients: Vec<Recipient> = envelope.recipients().map(Recipient::waiting).collect();
        self.set_recipients(&envelope.reverse_path, &recipients);
        self.set_dsn(&envelope.dsn);
    }

    /// Sets what is asked of notifications about the message, once it has an envelope.
    pub fn set_dsn(&mut self, dsn: &Dsn) {
        if let Some(frozen) = &mut self.envelope {
            frozen.dsn = dsn.clone();
        }
    }

    /// What is asked of notifications about the message.
    pub fn dsn(&self) -> Dsn {
        self.envelope.as_ref().map(|frozen| frozen.dsn.clone()).unwrap_or_default()
    }

    /// Sets the envelope with what became of each recipient; what is asked of notifications about the message stays.
    pub fn set_recipients(&mut self, reverse_path: &ReversePath, recipients: &[Recipient]) {
        let dsn = self.dsn();
        self.envelope = Some(Frozen {
            dsn,
            reverse_path: reverse_path.mailbox().map(Mailbox::to_string).unwrap_or_default(),
            recipients: recipients
                .iter()
                .map(|r| FrozenRecipient {
                    address: r.mailbox.to_string(),
                    dsn: r.dsn.clone(),
                    outcome: r.outcome.clone(),
                })
                .collect(),
        });
    }

    /// The frozen envelope. `None` if none was frozen; an address that does not parse makes the record
    /// unreadable, which [`Record::from_json`] has ruled out.
    pub fn recipients(&self) -> Option<(ReversePath, Vec<Recipient>)> {
        self.envelope.as_ref().and_then(|frozen| frozen.thaw().ok())
    }

    /// The text of the file.
    ///
    /// # Errors
    ///
    /// Never for a value of this type; serde's interface has the error.
    pub fn to_json(&self) -> Result<Vec<u8>, String> {
        let mut bytes = serde_json::to_vec(self).map_err(|e| e.to_string())?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads the text of the file.
    ///
    /// # Errors
    ///
    /// Why it cannot be read: torn, of another version, or with something in it that is not an address.
    pub fn from_json(bytes: &[u8]) -> Result<Record, String> {
        let record: Record = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if record.version != VERSION {
            return Err(format!("expected version {VERSION}, found {}", record.version));
        }
        record.envelope.as_ref().map_or(Ok(()), |frozen| frozen.thaw().map(|_| ()))?;
        Ok(record)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over like this")]
fn is_false(value: &bool) -> bool {
    !*value
}

impl Frozen {
    fn thaw(&self) -> Result<(ReversePath, Vec<Recipient>), String> {
        let parse = |text: &str| text.parse::<Mailbox>().map_err(|e| e.to_string());
        let reverse_path = match self.reverse_path.as_str() {
            "" => ReversePath::Null,
            text => ReversePath::Mailbox(parse(text)?),
        };
        let recipients = self
            .recipients
            .iter()
            .map(|r| {
                Ok(Recipient { mailbox: parse(&r.address)?, dsn: r.dsn.clone(), outcome: r.outcome.clone() })
            })
            .collect::<Result<Vec<_>, String>>()?;
        if recipients.is_empty() {
            return Err("expected at least one recipient, found none".into());
        }
        Ok((reverse_path, recipients))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{Reply, Stage};

    #[test]
    fn a_record_reads_back_and_a_torn_or_foreign_one_is_an_error() {
        let mailbox: Mailbox = "a@example.com".parse().unwrap();
        let reply =
            Reply { code: 450, enhanced: "4.2.0".parse().ok(), text: vec!["grey\u{fffd}listed".into()] };
        let outcome = Some(Outcome::Deferred(Stage::Rcpt, reply));
        let mut record = Record::empty();
        let dsn = Dsn::of_rcpt(["NOTIFY=NEVER"]).0;
        record.set_recipients(&ReversePath::Null, &[Recipient { mailbox, dsn, outcome }]);
        record.set_dsn(&Dsn::of_mail(["RET=HDRS"]).0);
        record.aside = Some(2);
        let json = record.to_json().unwrap();
        assert_eq!(Record::from_json(&json), Ok(record));
        for cut in 0..json.len() - 2 {
            assert!(Record::from_json(&json[..cut]).is_err(), "cut at {cut}");
        }
        let text = String::from_utf8(json).unwrap();
        let old = text.replace("\"dsn\":\"RET=HDRS\",", "").replace("\"dsn\":\"NOTIFY=NEVER\",", "");
        assert!(!old.contains("dsn"), "{old}");
        assert!(Record::from_json(old.as_bytes()).unwrap().dsn().is_empty());
        assert!(Record::from_json(text.replace("\"version\":1", "\"version\":2").as_bytes()).is_err());
        assert!(Record::from_json(text.replace("a@example.com", "nobody").as_bytes()).is_err());
    }
}
