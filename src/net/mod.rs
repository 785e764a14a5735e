//! Floor 2: connections. Names to addresses, TCP, unix sockets, TLS, and the driver that moves bytes between a socket and
//! the machine of [`crate::smtp`].
//!
//! Time is an argument here too: each call is given the clock that the time-outs are counted with. tokio's
//! timers only wake it up.

mod certificate;
mod connect;
mod drive;
mod https;
mod signer;
#[cfg(test)]
mod tests;
mod tls;
mod trust;
mod wire;
mod witness;

pub use certificate::{Pin, not_after, not_before};
pub use connect::{ConnectError, ConnectFault, Endpoint, Peer, connect};
pub use drive::{BodySource, Connection, OpenError};
pub use https::{HttpAnswer, HttpError, HttpLink, HttpTimeouts, HttpUrl};
pub use signer::Signer;
pub use tls::{
    CertificateFault, CertificateProblem, ClientCertificate, TlsConfig, TlsError, TlsFacts, TlsFault,
    TlsOptions, Verify,
};
pub use trust::Trust;
pub use witness::{Heard, Witness};
