//! What the tests of the binary share: a spool of its own with the product around it, and servers.

pub(crate) mod certificate;
pub(crate) mod issuer;
pub(crate) mod sasl;
pub(crate) mod server;
pub(crate) mod stage;

use std::time::Duration;

/// No wait of a test is nearly as long; one that is fails it.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
