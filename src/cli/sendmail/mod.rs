//! `sendmail`, `mailq`, `newaliases`: what other programs expect to find on a Unix box. By that name of the program, or as
//! commands. docs/SENDMAIL.md says what is taken, ignored and refused.

mod argv;
mod compose;
mod input;
mod mailq;
mod route;
mod session;

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal as _};
use std::path::Path;

use super::{ConfigArgs, Failure, exit, flush, print};
use crate::config::Overrides;
use crate::message::{Listed, parse_address_list};

pub use argv::{Invocation, Mode};
pub use compose::{Caller, Composed, compose};
use input::Input;
pub use input::LoneDot;
use route::{Place, Stored};

/// Take a message as sendmail(8) does, for programs that want one
///
/// Options are those of sendmail, so -h and --config behind the first of them mean something else than elsewhere; docs/SENDMAIL.md has
/// them all. --config FILE and --spool DIR come first. The same happens if the program is called sendmail; called mailq it lists
/// what waits, called newaliases it does nothing.
///
/// Exits with 0 once the message is durable, with 64 if nobody is named, with 75 if it cannot be stored.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(super) struct Args {
    /// -t: recipients from the header too; -i: a lone dot is text; -f ADDRESS: the sender; -F NAME; -bs: SMTP on stdin; -bp: list;
    /// -bv: look at the addresses; -q: flush
    #[arg(value_name = "OPTIONS AND RECIPIENTS", trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Names under which the program, or the command, is one of these.
const NAMES: [(&str, &str); 4] =
    [("sendmail", "sendmail"), ("send-mail", "sendmail"), ("mailq", "mailq"), ("newaliases", "newaliases")];

/// The exit code, if the program was called by one of these names or the first argument is one; clap has no part in it.
pub(super) fn dispatch(mut arguments: impl Iterator<Item = OsString>) -> Option<u8> {
    let called = arguments.next()?;
    let program = program(&called).or_else(|| program(&arguments.next()?))?;
    Some(finish(Invocation::parse(program, arguments).map_err(misused).and_then(|wanted| run(&wanted))))
}

/// Which of these has that path.
fn program(called: &OsStr) -> Option<&'static str> {
    let name = Path::new(called).file_name()?;
    NAMES.iter().find(|(known, _)| name == *known).map(|(_, program)| *program)
}

/// Whether the program is installed with rights that its caller has not (set-group-id), so that every user of the host can drop.
pub(super) fn has_lent_rights() -> bool {
    use rustix::process::{getegid, geteuid, getgid, getuid};
    (getuid(), getgid()) != (geteuid(), getegid())
}

/// With lent rights it takes messages and does nothing else, by whatever name it is called, and its caller does not say where it
/// works: neither by arguments nor by the environment. For anything but a message the rights are given back.
pub(super) fn with_lent_rights(mut arguments: impl Iterator<Item = OsString>) -> u8 {
    for name in ["PILLARBOX_CONFIG", "PILLARBOX_SPOOL", "PILLARBOX_SMARTHOST"] {
        // SAFETY: the process has one thread; it has done nothing yet.
        unsafe { std::env::remove_var(name) }
    }
    let called = arguments.next().unwrap_or_default();
    let wanted = Invocation::parse(program(&called).unwrap_or("sendmail"), arguments).map_err(misused);
    finish(wanted.and_then(|wanted| {
        if wanted.config.is_some() || wanted.spool.is_some() {
            let why = "expected no --config and no --spool: this sendmail works on the spool of the system";
            return Err(Failure::new(exit::USAGE, why).hint("pillarbox sendmail takes both"));
        }
        if !matches!(wanted.mode, Mode::Submit | Mode::Session) {
            give_back_rights()
                .map_err(|e| Failure::new(exit::NOPERM, format!("cannot give up the group: {e}")))?;
        }
        run(&wanted)
    }))
}

/// Goes on with the rights of its caller, for good.
fn give_back_rights() -> io::Result<()> {
    use rustix::process::{getgid, getuid};
    let (user, group) = (getuid().as_raw(), getgid().as_raw());
    // SAFETY: both take numbers. The group first: without the rights of its owner the user cannot change it.
    let done = unsafe { libc::setresgid(group, group, group) == 0 && libc::setresuid(user, user, user) == 0 };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}

pub(super) fn run_command(args: Args) -> Result<u8, Failure> {
    let wanted = Invocation::parse("sendmail", args.arguments).map_err(misused)?;
    run(&wanted)
}

fn misused(why: String) -> Failure {
    Failure::new(exit::USAGE, why).hint("pillarbox help sendmail")
}

fn finish(done: Result<u8, Failure>) -> u8 {
    done.unwrap_or_else(|failure| {
        eprintln!("{failure}");
        failure.code
    })
}

fn run(invocation: &Invocation) -> Result<u8, Failure> {
    let config =
        ConfigArgs { config: invocation.config.clone(), spool: invocation.spool.clone(), smarthost: None };
    note(&invocation.notes);
    match invocation.mode {
        Mode::Submit => submit(invocation, &config.overrides()),
        Mode::Session => session::run(&config.overrides()),
        Mode::List => mailq::run(&config),
        Mode::Flush => flush::run(&flush::Args::plain(config)),
        Mode::Verify => verify(&invocation.recipients),
        Mode::Aliases => {
            note(&["aliases are read from the configuration, [aliases]; nothing has to be made of them".into()]);
            Ok(exit::OK)
        }
        Mode::Help => print("usage: sendmail [-t] [-i] [-f ADDRESS] [-F NAME] [-N WHEN] [-R HOW] [-V ID] [--] [ADDRESS...]\n       \
                             sendmail -bs | -bp | -bv ADDRESS... | -bi | -q\nSee `pillarbox help sendmail`.\n").map(|_| exit::OK),
        Mode::Version => print(concat!("pillarbox ", env!("CARGO_PKG_VERSION"), "\n")).map(|_| exit::OK),
    }
}

fn submit(invocation: &Invocation, overrides: &Overrides) -> Result<u8, Failure> {
    let place = Place::find(overrides)?;
    let mut input = Input::new(io::stdin().lock(), invocation.ignores_dots);
    let unread = |e: io::Error| Failure::new(exit::IOERR, format!("the message cannot be read: {e}"));
    let beginning = route::begin(&mut input).map_err(unread)?;
    let composed = compose(
        invocation,
        &Caller { domain: place.domain.clone(), ..Caller::this() },
        &beginning.bytes,
        beginning.is_all,
    );
    note(&composed.notes);
    let stored = place.store(composed, beginning, &mut input)?;
    if invocation.is_verbose {
        match stored {
            Stored::Accepted(id) => eprintln!("pillarbox: accepted as {id}"),
            Stored::Dropped(name) => eprintln!("pillarbox: dropped as {name}; no service took it yet"),
        }
    }
    Ok(exit::OK)
}

/// For a person; a program that started this one would take it for an error, or mail it.
fn note(notes: &[String]) {
    if io::stderr().is_terminal() {
        for note in notes {
            eprintln!("pillarbox: {note}");
        }
    }
}

fn verify(recipients: &[String]) -> Result<u8, Failure> {
    let mut code = exit::OK;
    for listed in recipients.iter().flat_map(|text| parse_address_list(text.as_bytes())) {
        let line = match listed {
            Listed::Mailbox(mailbox) => format!("{mailbox}... is an address\n"),
            Listed::Bare(name) => format!("{name}... is a name; the configuration says where it goes\n"),
            Listed::Unreadable { text, why, .. } => {
                code = exit::DATAERR;
                format!("{text}... is no address: {why}\n")
            }
        };
        print(&line)?;
    }
    Ok(code)
}

impl Caller {
    /// Whoever started this process.
    fn this() -> Caller {
        let user = rustix::process::getuid().as_raw();
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        Caller::of(&passwd, user, std::env::var("LOGNAME").ok())
    }

    /// Users that a directory service knows are not in the file; `logname` is what their session calls them.
    fn of(passwd: &str, user: u32, logname: Option<String>) -> Caller {
        let mut accounts = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let Some(account) =
            accounts.find(|fields| fields.get(2).and_then(|id| id.parse().ok()) == Some(user))
        else {
            let login = logname.filter(|name| !name.is_empty()).unwrap_or_else(|| user.to_string());
            return Caller { login, full_name: String::new(), domain: None };
        };
        let login = account[0].to_owned();
        let full_name = account.get(4).and_then(|gecos| gecos.split(',').next()).unwrap_or_default();
        // "&" stands for the login name, capitalised, since there are passwd files.
        let capitalised: String =
            login.chars().enumerate().map(|(n, c)| if n == 0 { c.to_ascii_uppercase() } else { c }).collect();
        Caller { full_name: full_name.replace('&', &capitalised), login, domain: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_known_by_the_account() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000:Ann B. Clark,room 7,,:/:\nop:x:11:0:& &:/:\n";
        let of = |user, logname: Option<&str>| {
            let caller = Caller::of(passwd, user, logname.map(str::to_owned));
            format!("{}/{}", caller.login, caller.full_name)
        };
        assert_eq!(of(0, None), "root/root");
        assert_eq!(of(1000, Some("eve")), "ann/Ann B. Clark");
        assert_eq!(of(11, None), "op/Op Op");
        assert_eq!(of(7, None), "7/");
        assert_eq!(of(7, Some("zoe")), "zoe/");
    }
}
