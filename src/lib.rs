//! pillarbox: a durable mail spool.

pub mod catch;
pub mod cli;
pub mod config;
pub mod fs;
pub mod mail;
pub mod message;
pub mod net;
pub mod outgoing;
pub mod pickup;
pub mod policy;
pub mod report;
pub mod sender;
pub mod service;
pub mod smtp;
pub mod spool;
