//! pillarbox: a durable mail spool.

pub mod fs;
pub mod mail;
pub mod message;
pub mod net;
pub mod smtp;
pub mod spool;
