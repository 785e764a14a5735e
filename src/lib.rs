//! pillarbox: a durable mail spool.

pub mod mail;
