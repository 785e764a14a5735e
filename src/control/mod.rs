//! Floor 5: what an operator or a program can ask for, and who carries it out.
//!
//! A [`Request`] is data, and so is its [`Answer`]. [`view`] answers what is only read, from the directories alone; [`Desk`]
//! and [`Intake`] change the spool, for whoever owns it: the service in its one loop, or a command under the lock. [`Server`]
//! and [`Client`] carry the same requests and answers over the socket (docs/CONTROL.md).

mod answer;
mod became;
mod client;
mod desk;
mod find;
pub mod guard;
mod intake;
mod request;
mod server;
mod socket;
pub mod view;

pub use answer::{
    Answer, Became, Code, FlushEnd, Flushed, FolderStatus, Left, Message, Messages, NotDone, Oldest, Pause,
    Recipient, Refused, Reloaded, Sent, Shown, State, Status, Steered, Warning,
};
pub use became::became;
pub use client::{Client, ClientError};
pub use desk::Desk;
pub use intake::{Intake, Options as IntakeOptions};
pub use request::{Handed, Request, Steer, parse_address, parse_state};
pub use server::{Asked, Body, Piece, Server};
pub use socket::{Listener, listen};
