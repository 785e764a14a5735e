//! Floor 2: the configurations and queues of other mailers, read (docs/MIGRATING.md).
//!
//! Pure: text goes in, and a [`Plan`] comes out, whose values and losses name the line that each came from. What is
//! written where is the commands' business.

mod aliases;
mod dma;
mod host;
mod lines;
mod msmtp;
mod nullmailer;
mod postfix;
mod queue;
mod render;
mod ssmtp;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;

use crate::mail::Mailbox;
pub use host::{Host, Proof, Security};
pub use lines::Line;
pub use queue::{NotQueued, Queued, msmtpq, nullmailer as nullmailer_file};
pub use render::{Rendered, render};

/// Whose configuration can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// nullmailer 1 and 2.
    Nullmailer,
    /// msmtp 1.4 and later.
    Msmtp,
    /// The DragonFly Mail Agent.
    Dma,
    /// Postfix with a relay host.
    Postfix,
    /// sSMTP.
    Ssmtp,
}

/// Reads a file of that system by its absolute path: `None` if there is none, an error why it cannot be read.
pub type Files<'a> = &'a dyn Fn(&str) -> Result<Option<String>, String>;

/// A line of a file, counted from 1; 0 is the file as a whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// Its path.
    pub file: String,
    /// The line.
    pub line: usize,
}

/// What becomes of something that is not carried over as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It is written, and means something else here, or the operator has something to do.
    Changed,
    /// Nothing is written for it.
    NotCarried,
    /// Nothing is written for it, and nothing is lost by that.
    NotNeeded,
}

/// One thing that is not carried over as it is. Never with a secret in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// What becomes of it.
    pub fate: Fate,
    /// Where it stands.
    #[serde(flatten)]
    pub place: Place,
    /// Its name there.
    pub what: String,
    /// Why, or what to do instead.
    pub why: String,
}

/// A section of our configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// `[spool]`.
    Spool,
    /// `[identity]`.
    Identity,
    /// `[delivery]`.
    Delivery,
}

/// One of our settings, and the line that it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its key.
    pub key: &'static str,
    /// Its value, a string.
    pub value: String,
    /// Name and place there.
    pub from: Line,
}

/// One line of `[aliases]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// A name, an address, or `*`.
    pub name: String,
    /// Names and addresses.
    pub to: Vec<String>,
    /// Name and place there.
    pub from: Line,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Plan {
    /// By section.
    pub settings: Vec<(Section, Setting)>,
    /// The mail servers, the best first.
    pub hosts: Vec<Host>,
    /// In their order.
    pub aliases: Vec<Alias>,
    /// What is not carried over as it is, in the order in which it was found.
    pub notes: Vec<Note>,
}

impl System {
    /// All of them.
    pub const ALL: [System; 5] =
        [System::Nullmailer, System::Msmtp, System::Dma, System::Postfix, System::Ssmtp];

    /// How it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            System::Nullmailer => "nullmailer",
            System::Msmtp => "msmtp",
            System::Dma => "dma",
            System::Postfix => "postfix",
            System::Ssmtp => "ssmtp",
        }
    }
}

/// Reads the configuration of `system`; `home` is the folder of the user whose files are read too.
///
/// # Errors
///
/// That there is none, or that it cannot be read at all.
pub fn read(system: System, home: Option<&str>, files: Files<'_>) -> Result<Plan, String> {
    let mut plan = Plan::default();
    match system {
        System::Nullmailer => nullmailer::read(files, &mut plan)?,
        System::Msmtp => msmtp::read(home, files, &mut plan)?,
        System::Dma => dma::read(files, &mut plan)?,
        System::Postfix => postfix::read(files, &mut plan)?,
        System::Ssmtp => ssmtp::read(files, &mut plan)?,
    }
    let Plan { hosts, notes, .. } = &mut plan;
    for host in hosts.iter_mut() {
        host.settle(notes);
    }
    // What is for all mail servers is said once.
    let mut said: Vec<Note> = Vec::new();
    for note in plan.notes.drain(..) {
        if !said.contains(&note) {
            said.push(note);
        }
    }
    plan.notes = said;
    Ok(plan)
}

impl Plan {
    fn note(&mut self, fate: Fate, line: &Line, why: impl Into<String>) {
        self.notes.push(line.note(fate, why));
    }

    fn lost(&mut self, line: &Line, why: impl Into<String>) {
        self.note(Fate::NotCarried, line, why);
    }

    fn set(&mut self, section: Section, key: &'static str, value: impl Into<String>, from: &Line) {
        self.settings.retain(|(_, setting)| setting.key != key);
        self.settings.push((section, Setting { key, value: value.into(), from: from.clone() }));
    }

    /// A setting that nobody here has heard of; its name may be a password that slipped.
    fn unknown(&mut self, line: &Line) {
        self.lost(&Line { name: "setting".into(), ..line.clone() }, "it is not known here");
    }

    /// `hostname` or `domain`, if `name` is one.
    fn set_domain(&mut self, key: &'static str, name: &str, from: &Line) {
        match format!("a@{name}").parse::<Mailbox>() {
            Ok(_) => self.set(Section::Identity, key, name, from),
            Err(_) => self.lost(from, format!("expected the name of a host or domain, found {name:?}")),
        }
    }

    /// Everything else that is named in `aliases` of that system.
    fn read_aliases(&mut self, path: &str, files: Files<'_>, named_in: Option<&Line>) {
        let whole = Line::new("aliases", "", path, 0);
        match files(path) {
            Ok(Some(text)) => aliases::read(path, &text, self),
            Ok(None) => {
                if let Some(line) = named_in {
                    self.lost(line, format!("there is no {path}"));
                }
            }
            Err(why) => self.lost(&whole, why),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Note { fate, place, what, why } = self;
        let fate = match fate {
            Fate::Changed => "not as it was",
            Fate::NotCarried => "not carried over",
            Fate::NotNeeded => "not needed",
        };
        write!(f, "{place}: {what}: {fate}: {why}")
    }
}
