//! What became of one recipient, and in reply to what.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Reply;

/// A stage of a session: what was being waited for when something was said or went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The name is being looked up and a TCP connection made.
    Connect,
    /// The TLS handshake.
    Tls,
    /// The 220 with which a server opens (RFC 5321 section 3.1).
    Greeting,
    /// EHLO, or HELO behind a refused EHLO.
    Ehlo,
    /// STARTTLS (RFC 3207).
    StartTls,
    /// AUTH with its challenges (RFC 4954).
    Auth,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// DATA, until the 354.
    Data,
    /// The message itself is being written, its final dot is not out.
    Body,
    /// The final dot is out.
    FinalDot,
    /// RSET.
    Rset,
    /// QUIT.
    Quit,
    /// Nothing was asked: the session is between two messages.
    Idle,
}

/// What became of one recipient in one transaction, with the server's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// 2yz to the final dot: the smarthost has it.
    Delivered(Reply),
    /// Tried again.
    Deferred(Stage, Reply),
    /// Given up.
    Failed(Stage, Reply),
}

impl Stage {
    /// The request as it is named in "in reply to ...".
    pub fn request(self) -> &'static str {
        match self {
            Stage::Connect => "the connection attempt",
            Stage::Tls => "the TLS handshake",
            Stage::Greeting => "the connection",
            Stage::Ehlo => "EHLO",
            Stage::StartTls => "STARTTLS",
            Stage::Auth => "AUTH",
            Stage::Mail => "MAIL FROM",
            Stage::Rcpt => "RCPT TO",
            Stage::Data => "DATA",
            Stage::Body => "the message text",
            Stage::FinalDot => "the end of the message text",
            Stage::Rset => "RSET",
            Stage::Quit => "QUIT",
            Stage::Idle => "nothing",
        }
    }
}

/// What was being done: fits after "while" and "failed".
impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Connect => "connecting",
            Stage::Tls => "setting up TLS",
            Stage::Greeting => "waiting for the greeting",
            Stage::Ehlo => "waiting for the reply to EHLO",
            Stage::StartTls => "waiting for the reply to STARTTLS",
            Stage::Auth => "logging in",
            Stage::Mail => "waiting for the reply to MAIL FROM",
            Stage::Rcpt => "waiting for the reply to RCPT TO",
            Stage::Data => "waiting for the reply to DATA",
            Stage::Body => "sending the message text",
            Stage::FinalDot => {
                "waiting for the reply to the end of the message text (the message may be sent twice)"
            }
            Stage::Rset => "waiting for the reply to RSET",
            Stage::Quit => "waiting for the reply to QUIT",
            Stage::Idle => "waiting for the next message",
        })
    }
}
