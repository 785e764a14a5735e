//! Floor 6: can it send? Each step on the way, with what was found, how long it took, and where it fails why and what to do.
//!
//! The session is opened by the code that delivers ([`crate::sender::look`]), and watched; what can only be told apart by asking
//! again (which name server, which port, who answers there) is asked after that has failed. Nothing is sent, nothing on the disk is
//! changed, and the lock is not taken.

mod cause;
mod clock;
mod direct;
mod dns;
mod look_only;
mod names;
mod ports;
mod replies;
mod smarthost;
mod spool;
mod step;
mod watch;

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::config::{Config, ConfigError};
use crate::fs::{Clock, SystemClock, user_name};
use crate::mail::{Mailbox, Origin};
use crate::service::outgoing_options;

pub use cause::{About, Cause};
pub use direct::{Letter, NotTaken, direct};
pub use look_only::LookOnly;
pub use step::{Result, Step};

/// What is to be tried.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The sender that MAIL names, in place of the configured one.
    pub from: Option<Mailbox>,
    /// The recipient that RCPT names; without one there is no RCPT.
    pub to: Option<Mailbox>,
    /// The most that any one reply is waited for, where the configuration has more.
    pub within: Duration,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Nothing failed.
    pub ok: bool,
    /// Each step, in order.
    pub steps: Vec<Step>,
}

impl Report {
    /// The cause of the first step that failed.
    pub fn cause(&self) -> Option<Cause> {
        self.steps.iter().find(|step| step.result == Result::Failed).and_then(|step| step.cause)
    }
}

/// The steps so far, and who is shown each.
pub(crate) struct Steps {
    steps: Mutex<Vec<Step>>,
    show: Box<dyn Fn(&Step) + Send + Sync>,
}

impl Steps {
    /// Nobody is shown any.
    fn silent() -> Steps {
        Steps { steps: Mutex::default(), show: Box::new(|_| {}) }
    }

    fn add(&self, step: Step) {
        (self.show)(&step);
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).push(step);
    }

    fn report(&self) -> Report {
        let steps = std::mem::take(&mut *self.steps.lock().unwrap_or_else(PoisonError::into_inner));
        Report { ok: steps.iter().all(|step| step.result != Result::Failed), steps }
    }
}

/// What can be seen on this box alone: configuration, spool, clock. `config` is what could be read, or at least where the spool is;
/// `error` what is wrong with it.
pub fn local(config: Option<&Config>, error: Option<&ConfigError>) -> Report {
    let steps = Steps::silent();
    look_here(config, error, &steps);
    steps.report()
}

/// All of it. Each step is shown when it is over.
///
/// # Errors
///
/// The runtime cannot be had.
pub fn all(
    config: Option<&Config>,
    error: Option<&ConfigError>,
    wanted: &Wanted,
    show: Box<dyn Fn(&Step) + Send + Sync>,
) -> std::io::Result<Report> {
    let steps = Arc::new(Steps { steps: Mutex::default(), show });
    look_here(config, error, &steps);
    if let (Some(config), None) = (config, error) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(smarthost::check_all(config, wanted, &steps));
        // A look-up that nobody answers goes on in a thread of its own.
        runtime.shutdown_background();
    }
    Ok(steps.report())
}

fn look_here(config: Option<&Config>, error: Option<&ConfigError>, steps: &Steps) {
    let clock = SystemClock;
    let begun = clock.monotonic();
    let took = || clock.monotonic() - begun;
    steps.add(
        match (error, config) {
            (Some(error), _) => Step::failed("config", Cause::ConfigWrong, error.to_string()),
            (None, Some(config)) if config.smarthosts.is_empty() => {
                Step::failed("config", Cause::SettingsMissing, "")
            }
            (None, _) => Step::ok("config", "read"),
        }
        .took(took()),
    );
    if let Some(config) = config {
        let user = rustix::process::geteuid().as_raw();
        spool::check(config, user).into_iter().for_each(|step| steps.add(step.took(took())));
    }
    steps.add(clock::check(clock.wall()).took(took()));
}

/// The sender that `config` gives to a message of this user's that names none; `None` if it gives none that can be used.
pub fn sender_of(config: &Config) -> Option<Mailbox> {
    let user = || Ok(user_name(rustix::process::geteuid().as_raw()));
    let chosen = outgoing_options(config).sender(&Origin::default(), user);
    chosen.ok()?.ok()?.author.map(|author| author.mailbox)
}

/// Whose a path is.
fn owner_of(path: &Path) -> Option<u32> {
    std::fs::metadata(path).ok().map(|stat| stat.uid())
}
