//! pillarbox: a durable mail spool.
//!
//! A producer drops a message file into a folder; from then on it is kept, in order, until the smarthost has taken it.
//! This is the library behind the binary of the same name. Read it from the words upwards; arrows point down
//! (`tests/floors.rs` holds it), and ARCHITECTURE.md walks one message through it.
//!
//! | floor | |
//! |---|---|
//! | 0 | [`mail`]: the words |
//! | 1 | [`message`], [`smtp`], [`policy`], [`report`]: pure functions of bytes and time |
//! | 2 | [`fs`], [`net`]: the disk and clocks behind traits; connections and TLS; [`migrate`]: what other mailers left, read |
//! | 3 | [`spool`]: the state machine over the directories, the heart; [`outgoing`]: a message as it is sent; [`oauth`]: tokens for a login; [`submit`]: how a program drops a message |
//! | 4 | [`pickup`]: from a dropped file to accepted; [`sender`]: from the head of the line to delivered |
//! | 5 | [`config`], [`control`], [`service`]; [`catch`], a server for trying things out |
//! | 6 | [`check`]: can it send, and if not, why |
//! | 7 | [`cli`]: the commands |

pub mod catch;
pub mod check;
pub mod cli;
pub mod config;
pub mod control;
pub mod fs;
pub mod mail;
pub mod message;
pub mod migrate;
pub mod net;
pub mod oauth;
pub mod outgoing;
pub mod pickup;
pub mod policy;
pub mod report;
pub mod sender;
pub mod service;
pub mod smtp;
pub mod spool;
pub mod submit;
