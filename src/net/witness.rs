//! Who watches a session being opened and held: `check`, which says how far it came, and `test`, which shows the dialogue.

use std::net::SocketAddr;

use super::{Endpoint, OpenError, Peer, TlsFacts};
use crate::mail::Stage;

/// What happens, as it happens. Never a secret.
#[derive(Debug)]
pub enum Heard<'a> {
    /// A connection is to be made; its name is looked up first.
    Opening(&'a Endpoint),
    /// The name is found.
    Addresses(&'a [SocketAddr]),
    /// The connection stands.
    Connected(&'a Peer),
    /// The TLS handshake is done.
    Tls(&'a TlsFacts),
    /// A line of ours, without its end. Of a login only the mechanism; of a message only its size.
    Said(Stage, &'a str),
    /// A line of the server, in answer to it. Of a login only what shows nothing.
    Answered(Stage, &'a str),
    /// There is no session.
    Failed(&'a OpenError),
}

/// Whoever watches.
pub trait Witness: Send + Sync {
    /// Is told, and must not wait.
    fn hear(&self, heard: Heard<'_>);
}

/// A line of ours in a login: what of it may be shown.
pub(super) fn masked_request(line: &str) -> String {
    match line.strip_prefix("AUTH ").and_then(|rest| rest.split_once(' ')) {
        Some((mechanism, _)) => format!("AUTH {mechanism} ****"),
        None if line.starts_with("AUTH ") || line == "QUIT" => line.to_owned(),
        None => "****".to_owned(),
    }
}

/// A line of the server in a login, from which what was shown to it is taken out already. A challenge is nobody's business.
pub(super) fn masked_answer(line: &str) -> String {
    match line.strip_prefix("334") {
        Some(rest) if !rest.trim().is_empty() => "334 ****".to_owned(),
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_login_only_the_mechanism_is_shown() {
        for (line, shown) in [
            ("AUTH PLAIN AGJveABzM2NyM3Q=", "AUTH PLAIN ****"),
            ("AUTH LOGIN", "AUTH LOGIN"),
            ("czNjcjN0", "****"),
            ("*", "****"),
        ] {
            assert_eq!(masked_request(line), shown);
        }
        for (line, shown) in
            [("334 UGFzc3dvcmQ6", "334 ****"), ("334 ", "334 "), ("535 5.7.8 no", "535 5.7.8 no")]
        {
            assert_eq!(masked_answer(line), shown);
        }
    }
}
