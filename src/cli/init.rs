//! `pillarbox init`: makes a spool and a commented configuration.

mod from;

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::{Failure, exit, print};
use crate::config::{self, Overrides};
use crate::fs::{self, Dir};
use crate::migrate;

/// Make the folders of a spool, and with --config a commented configuration
///
/// A spool of your own is closed to everybody else (mode 0700). One for other users' programs belongs to a user of its own, and
/// the members of a group may drop into pickup/, and not list it (mode 3730). Without --spool root makes such a one for the
/// user and group pillarbox, if they exist and nothing else is said.
///
/// On a spool that is there already, the folders that are missing are made, and those behind pickup/ that are open to
/// others are closed; root also gives those that belong to somebody else to the owner of pending/. Each change is told.
///
/// With --from the configuration is that of another mailer of this host. What is not carried over as it is, is told on
/// stderr, a line each: where it stands, what, and why or what to do instead.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the spool is to be [default: as configured, else /var/spool/pillarbox]
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,

    /// Write a commented configuration with every default to this new file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Whose the spool is to be, by name or number; only root can give it away [default: as it is, if there is
    /// one; else yours, or as root and without --spool that of the user pillarbox]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// Whose members may drop, by name or number [default: with --user the group of that name, if there is one; else nobody]
    #[arg(long, value_name = "NAME")]
    group: Option<String>,

    /// Read the configuration of this mailer, and write ours to --config [default: /etc/pillarbox/pillarbox.toml]
    #[arg(long, value_name = "SYSTEM", value_parser = from::system)]
    from: Option<migrate::System>,

    /// The files of that mailer lie below this folder, as in a backup or an image
    #[arg(long, value_name = "DIR", requires = "from")]
    root: Option<PathBuf>,

    /// Replace a configuration that is there
    #[arg(long, requires = "from")]
    force: bool,

    /// What was written, and what was not carried over, as JSON on stdout alone
    #[arg(long, requires = "from")]
    json: bool,
}

/// Who has what to do with the spool.
#[derive(Debug, Clone, Copy)]
struct Parties {
    user: Option<u32>,
    /// Of all folders.
    group: Option<u32>,
    /// That group may drop.
    shared: bool,
    /// Nobody was named: those that the spool has.
    found: bool,
}

/// The user that the service runs as where nothing else is said.
const SERVICE_USER: &str = "pillarbox";
const OWN: u32 = 0o700;
/// Members of the group may drop and not list; each may remove only its own; what is dropped gets the folder's group.
const SHARED_PICKUP: u32 = 0o3730;

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    if let Some(system) = args.from {
        return from::run(args, system);
    }
    let spool = match &args.spool {
        Some(spool) => spool.clone(),
        None => configured_spool(args.config.as_deref())?,
    };
    let (spool, parties) = make(args, &spool)?;
    if let Some(path) = &args.config {
        write_config(path, &spool, parties)?;
    }
    print(&format!("drop messages into {}\n", spool.join("pickup").display()))?;
    Ok(exit::OK)
}

/// Makes the spool, or mends it, and says so.
fn make(args: &Args, spool: &Path) -> Result<(PathBuf, Parties), Failure> {
    let say = |text: &str| if args.json { Ok(true) } else { print(text) };
    let cannot = |path: &Path, error: &io::Error| {
        Failure::new(exit::CANTCREAT, format!("cannot make {}: {error}", path.display()))
    };
    let spool = std::path::absolute(spool).map_err(|e| cannot(spool, &e))?;
    let parties = Parties::of(args, &spool)?;
    let was_there = mode_of(&spool).is_some();
    refuse_a_place_of_others(&spool)?;
    let pickup_mode = if parties.shared { SHARED_PICKUP } else { OWN };
    let made = fs::make_spool(&spool, pickup_mode).map_err(|(path, error)| {
        let failure = cannot(&path, &error);
        match error.kind() {
            io::ErrorKind::PermissionDenied => {
                failure.hint("run it as a user who may write there, or name another place with --spool")
            }
            _ => failure,
        }
    })?;
    let mended = mend(&spool, parties)?;
    if made.is_empty() && mended.is_empty() {
        say(&format!("{} is complete\n", spool.display()))?;
    } else if !was_there || mended.is_empty() {
        say(&format!("made {}\n", spool.display()))?;
    }
    // What was just made is as it should be; to speak of it would only raise questions.
    for (path, what) in mended.iter().filter(|(path, _)| was_there && !made.contains(path)) {
        say(&format!("{}: {what}\n", path.display()))?;
    }
    Ok((spool, parties))
}

impl Parties {
    fn of(args: &Args, spool: &Path) -> Result<Parties, Failure> {
        let cannot_read =
            |error: io::Error| Failure::new(exit::IOERR, format!("cannot read who is known here: {error}"));
        let unknown = |what: &str, name: &str| {
            Failure::new(exit::USAGE, format!("there is no {what} {name}"))
                .hint(format!("make it, or give a number: one that /etc does not know goes by it ({what}add --system {name})"))
        };
        let found = std::fs::metadata(spool.join(Dir::Pending.name())).ok().filter(|_| is_root());
        if let (Some(stat), None, None) = (&found, &args.user, &args.group) {
            let (user, group) = (Some(stat.uid()), Some(stat.gid()));
            return Ok(Parties { user, group, shared: false, found: true });
        }
        let by_default = Some(SERVICE_USER)
            .filter(|name| {
                found.is_none() && args.spool.is_none() && is_root() && matches!(fs::user(name), Ok(Some(_)))
            })
            .map(str::to_owned);
        let user_name = args.user.clone().or(by_default);
        let user = match &user_name {
            Some(name) => Some(fs::user(name).map_err(cannot_read)?.ok_or_else(|| unknown("user", name))?),
            None => None,
        };
        let named = match (&args.group, &user_name) {
            (Some(name), _) => {
                Some(fs::group(name).map_err(cannot_read)?.ok_or_else(|| unknown("group", name))?)
            }
            // A number is no name: nobody is let in by chance.
            (None, Some(name)) if name.parse::<u32>().is_err() => fs::group(name).map_err(cannot_read)?,
            _ => None,
        };
        Ok(Parties {
            user: user.map(|owner| owner.user),
            group: named.or(user.map(|owner| owner.group)),
            shared: named.is_some(),
            found: false,
        })
    }
}

/// A folder that is there, is no spool yet, and in which others can write, as /tmp: nothing is made in it, and it is not taken
/// away from them.
fn refuse_a_place_of_others(spool: &Path) -> Result<(), Failure> {
    match mode_of(spool) {
        Some(mode) if mode & 0o022 != 0 && !is_spool(spool) => Err(Failure::new(
            exit::CANTCREAT,
            format!("cannot make a spool of {}: others can write to it (mode {mode:04o})", spool.display()),
        )
        .hint(format!("name a folder of its own: --spool {}", spool.join("pillarbox").display()))),
        _ => Ok(()),
    }
}

/// Gives every folder the owner and the mode it should have. What was changed, in words.
fn mend(spool: &Path, parties: Parties) -> Result<Vec<(PathBuf, String)>, Failure> {
    let pickup = spool.join(Dir::Pickup.name());
    let pickup_mode = match mode_of(&pickup).unwrap_or(OWN) {
        _ if parties.shared => SHARED_PICKUP,
        // Nobody else can drop there: nobody else loses anything.
        mode if mode & 0o022 == 0 => OWN,
        mode => mode & !0o007,
    };
    let root_mode = match mode_of(spool).unwrap_or(OWN) {
        // Those who drop pass it.
        mode if parties.shared => (mode | 0o755) & !0o022,
        mode if pickup_mode != OWN => mode & !0o022,
        _ => OWN,
    };
    let mut wanted = vec![(spool.to_owned(), root_mode)];
    let behind = Dir::ALL.into_iter().filter(|dir| *dir != Dir::Pickup);
    wanted.extend(behind.map(|dir| (spool.join(dir.name()), OWN)));
    wanted.push((pickup, pickup_mode));
    wanted.push((spool.join("lock"), 0o600));
    let mut mended = Vec::new();
    for (path, mode) in wanted {
        let stat = match std::fs::symlink_metadata(&path) {
            Ok(stat) => stat,
            // There is no lock file before the first start.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => {
                return Err(Failure::new(exit::IOERR, format!("cannot look at {}: {e}", path.display())));
            }
        };
        let (follow, stat) = match path == spool && stat.is_symlink() {
            true => (true, std::fs::metadata(&path).unwrap_or(stat)),
            false => (false, stat),
        };
        // A root that is root's, and a group that somebody chose for pickup/, are no mistakes.
        let keeps_user = parties.found && path == spool && stat.uid() == 0;
        let user = parties.user.filter(|user| *user != stat.uid() && !keeps_user);
        let group = parties.group.filter(|group| *group != stat.gid() && !parties.found);
        let old = stat.mode() & 0o7777;
        if old == mode && user.is_none() && group.is_none() {
            continue;
        }
        fs::set_access(&path, follow, mode, user, group).map_err(|error| not_mended(&path, &error))?;
        let mut what = Vec::new();
        if old != mode {
            what.push(format!("mode was {old:04o}, is {mode:04o} now"));
        }
        if let Some(user) = user {
            what.push(format!(
                "belonged to {}, belongs to {} now",
                fs::user_name(stat.uid()),
                fs::user_name(user)
            ));
            let has_files =
                stat.is_dir() && std::fs::read_dir(&path).is_ok_and(|mut files| files.next().is_some());
            if has_files && path != spool {
                let command = format!("chown -R {} {}", fs::user_name(user), path.display());
                what.push(format!("what lies in it still belongs to whom it did: {command}"));
            }
        }
        if let (Some(group), None) = (group, user) {
            what.push(format!("its group was {}, is {group} now", stat.gid()));
        }
        mended.push((path, what.join("; ")));
    }
    Ok(mended)
}

fn not_mended(path: &Path, error: &io::Error) -> Failure {
    let failure =
        Failure::new(exit::CANTCREAT, format!("cannot set owner and mode of {}: {error}", path.display()));
    match error.kind() {
        io::ErrorKind::PermissionDenied => failure.hint("run it as root, or as the user that owns the spool"),
        _ => failure,
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn mode_of(path: &Path) -> Option<u32> {
    std::fs::metadata(path).ok().map(|stat| stat.mode() & 0o7777)
}

fn is_spool(path: &Path) -> bool {
    [Dir::Pending, Dir::Meta].iter().all(|dir| path.join(dir.name()).is_dir())
}

/// A configuration that is there already says where the spool is.
fn configured_spool(config: Option<&Path>) -> Result<PathBuf, Failure> {
    let existing = config.filter(|path| path.exists()).map(Path::to_owned);
    let overrides = Overrides { config: existing, spool: None, smarthost: None };
    let config = config::load(&overrides).map_err(|e| Failure::new(exit::CONFIG, e.to_string()))?;
    Ok(config.spool_dir)
}

fn write_config(path: &Path, spool: &Path, parties: Parties) -> Result<(), Failure> {
    let write = || -> io::Result<()> {
        // It may come to hold a password.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(config::default_file(spool).as_bytes())
    };
    match write() {
        Ok(()) => {
            if let Some(user) = parties.user {
                // The service has to read it.
                fs::set_access(path, false, 0o600, Some(user), parties.group)
                    .map_err(|e| not_mended(path, &e))?;
            }
            print(&format!("wrote {}: name your mail server there, in [[smarthost]]\n", path.display()))?;
            Ok(())
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            print(&format!("{} is there already and was left as it is\n", path.display()))?;
            Ok(())
        }
        Err(e) => Err(Failure::new(exit::CANTCREAT, format!("cannot write {}: {e}", path.display()))),
    }
}
