//! Floor 7: the commands, one file each.

mod ask;
mod catch;
mod check;
mod completions;
mod demo;
mod flush;
mod hold;
mod import;
mod init;
mod list;
mod log;
mod man;
mod pause;
mod release;
mod reload;
mod remove;
mod resolve;
mod resume;
mod retry;
mod run;
mod send;
pub mod sendmail;
mod show;
mod status;
mod steer;
mod test;

use std::fmt;
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::{Config, Overrides};
use crate::fs::{LockError, user_name};
use crate::service::StartError;

/// A durable mail spool: drop a message file into a folder, and it reaches your mail server once, in order
#[derive(Debug, Parser)]
#[command(name = "pillarbox", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Flush(flush::Args),
    Send(Box<send::Args>),
    Sendmail(sendmail::Args),
    Init(init::Args),
    Import(import::Args),
    Status(status::Args),
    List(list::Args),
    Show(show::Args),
    Retry(retry::Args),
    Remove(remove::Args),
    Hold(hold::Args),
    Release(release::Args),
    Pause(pause::Args),
    Resume(resume::Args),
    Reload(reload::Args),
    Resolve(resolve::Args),
    Check(check::Args),
    Test(test::Args),
    Catch(catch::Args),
    Demo(demo::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Where the configuration is, and what stands above it.
#[derive(Debug, Clone, clap::Args)]
struct ConfigArgs {
    /// Configuration file [default: $PILLARBOX_CONFIG, else /etc/pillarbox/pillarbox.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Where the spool is, whatever the configuration says [env: PILLARBOX_SPOOL]
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,

    /// Where messages go, whatever the configuration says: smtps://host, smtp://host:port [env: PILLARBOX_SMARTHOST]
    #[arg(long, value_name = "URL")]
    smarthost: Option<String>,
}

impl ConfigArgs {
    fn overrides(&self) -> Overrides {
        let Self { config, spool, smarthost } = self.clone();
        Overrides { config, spool, smarthost }
    }
}

/// Parses the command line, runs the command, and returns the exit code. What went wrong was written to stderr.
pub fn main() -> u8 {
    if sendmail::has_lent_rights() {
        return sendmail::with_lent_rights(std::env::args_os());
    }
    if let Some(code) = sendmail::dispatch(std::env::args_os()) {
        return code;
    }
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => {
            let code = if error.use_stderr() { exit::USAGE } else { exit::OK };
            // Where the text cannot be written there is nobody to tell.
            return error.print().map_or(exit::IOERR, |()| code);
        }
    };
    let result = match command {
        Command::Run(args) => run::run(&args),
        Command::Flush(args) => flush::run(&args),
        Command::Send(args) => send::run(&args),
        Command::Sendmail(args) => sendmail::run_command(args),
        Command::Init(args) => init::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Status(args) => status::run(&args),
        Command::List(args) => list::run(&args),
        Command::Show(args) => show::run(&args),
        Command::Retry(args) => retry::run(&args),
        Command::Remove(args) => remove::run(&args),
        Command::Hold(args) => hold::run(&args),
        Command::Release(args) => release::run(&args),
        Command::Pause(args) => pause::run(&args),
        Command::Resume(args) => resume::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Resolve(args) => resolve::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Catch(args) => catch::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    };
    result.unwrap_or_else(|failure| {
        eprintln!("{failure}");
        failure.code
    })
}

/// Prints on stdout. False if nobody reads there any more, as behind `| head -1`: no reason to fail.
fn print(text: &str) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Failure::new(exit::IOERR, format!("cannot write to stdout: {e}"))),
    }
}

/// Prints a value as one line of JSON. False as [`print`].
fn print_json(value: &impl serde::Serialize) -> Result<bool, Failure> {
    let json = serde_json::to_string(value).map_err(|e| Failure::new(exit::SOFTWARE, e.to_string()))?;
    print(&format!("{json}\n"))
}

/// Why a command could not begin to work on the spool.
fn start_failure(error: &StartError, config: &Config) -> Failure {
    use std::io::ErrorKind;
    let dir = config.spool_dir.display();
    match error {
        StartError::Directory(_, e) if e.kind() == ErrorKind::NotFound => {
            Failure::new(exit::CONFIG, format!("there is no spool at {dir}: {error}"))
                .hint(format!("pillarbox init --spool {dir}"))
        }
        StartError::Directory(_, e) if e.kind() == ErrorKind::PermissionDenied => {
            Failure::new(exit::NOPERM, error.to_string()).hint("run it as the user that owns the spool")
        }
        StartError::Directory(..) => Failure::new(exit::IOERR, error.to_string()),
        StartError::Exposed(exposed) => {
            let failure = Failure::new(exit::NOPERM, error.to_string());
            match exposed.other_owner() {
                Some(owner) => {
                    let owner = user_name(owner);
                    failure.hint(format!(
                        "run it as {owner} (runuser -u {owner} -- pillarbox ...), or: {}",
                        exposed.cure()
                    ))
                }
                None => failure.hint(exposed.cure()),
            }
        }
        StartError::Lock(LockError::Held { .. }) => Failure::new(exit::TEMPFAIL, error.to_string())
            .hint("one process at a time works on a spool; that one delivers what waits"),
        StartError::Lock(LockError::Io(_, e)) if e.kind() == ErrorKind::PermissionDenied => {
            Failure::new(exit::NOPERM, error.to_string()).hint("run it as the user that owns the spool")
        }
        StartError::Lock(LockError::Io(..)) => Failure::new(exit::IOERR, error.to_string()),
    }
}

/// Exit codes as in sysexits(3).
pub mod exit {
    /// Done.
    pub const OK: u8 = 0;
    /// The command line is wrong.
    pub const USAGE: u8 = 64;
    /// The message is bad, or what is wanted of it makes no sense.
    pub const DATAERR: u8 = 65;
    /// A file to be read cannot be.
    pub const NOINPUT: u8 = 66;
    /// A service that is needed is not there.
    pub const UNAVAILABLE: u8 = 69;
    /// A bug of ours.
    pub const SOFTWARE: u8 = 70;
    /// A file or folder cannot be made.
    pub const CANTCREAT: u8 = 73;
    /// The disk said no.
    pub const IOERR: u8 = 74;
    /// Try again later.
    pub const TEMPFAIL: u8 = 75;
    /// Not permitted.
    pub const NOPERM: u8 = 77;
    /// The configuration is wrong.
    pub const CONFIG: u8 = 78;
}

/// Why a command ends without having done its work.
#[derive(Debug, Clone)]
pub struct Failure {
    /// One of [`exit`].
    pub code: u8,
    /// What happened, to what, and why: lower case, no full stop.
    pub message: String,
    /// What to do about it, if there is something.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Failure { code, message: message.into(), hint: None }
    }

    /// The same with what to do.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Failure { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pillarbox: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}
