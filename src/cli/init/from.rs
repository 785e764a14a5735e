//! `pillarbox init --from`: the configuration of another mailer as ours.

use std::fs::DirBuilder;
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Args, Parties, make};
use crate::cli::{Failure, exit, print, print_json};
use crate::config::{self, Overrides};
use crate::fs::NewFile;
use crate::migrate::{self, Note, System, render};
use crate::smtp::Secret;

const CONFIG: &str = "/etc/pillarbox/pillarbox.toml";
const SPOOL: &str = "/var/spool/pillarbox";

pub(super) fn system(text: &str) -> Result<System, String> {
    System::ALL.into_iter().find(|system| system.name() == text).ok_or_else(|| {
        let names: Vec<&str> = System::ALL.iter().map(|system| system.name()).collect();
        format!("expected one of {}", names.join(", "))
    })
}

/// What was done.
#[derive(Serialize)]
struct Done<'a> {
    from: &'static str,
    config: &'a Path,
    spool: &'a Path,
    /// Files with a password that were written.
    secrets: Vec<PathBuf>,
    smarthosts: usize,
    notes: &'a [Note],
}

pub(super) fn run(args: &Args, system: System) -> Result<u8, Failure> {
    let root = args.root.clone().unwrap_or_else(|| "/".into());
    let home = std::env::var("HOME").ok();
    let mut plan = migrate::read(system, home.as_deref(), &|path| read(&root, path)).map_err(|why| {
        Failure::new(exit::NOINPUT, why)
            .hint("is it installed here? --root names the folder that its /etc lies in")
    })?;
    let config = config_path(args)?;
    let folder = config.parent().unwrap_or(Path::new("/")).to_owned();
    let spool = args.spool.clone().unwrap_or_else(|| SPOOL.into());
    let spool = std::path::absolute(&spool).map_err(|e| cannot_write(&spool, &e))?;
    let rendered = render(&plan, system, &spool.display().to_string(), &folder.display().to_string());
    let secrets: Vec<(PathBuf, Secret)> = rendered
        .secrets
        .into_iter()
        .filter_map(|(name, secret)| Some((folder.join(name), secret?)))
        .collect();
    for path in std::iter::once(&config).chain(secrets.iter().map(|(path, _)| path)).filter(|_| !args.force) {
        if path.symlink_metadata().is_ok() {
            let failure = Failure::new(exit::CANTCREAT, format!("{} is there already", path.display()));
            return Err(failure.hint("--force replaces it; --config names another place"));
        }
    }
    let (spool, parties) = make(args, &spool)?;
    DirBuilder::new().recursive(true).mode(0o755).create(&folder).map_err(|e| cannot_write(&folder, &e))?;
    write(&config, &rendered.config, &secrets, parties, args.force)?;
    plan.notes.sort_by_key(|note| note.fate);
    let done = Done {
        from: system.name(),
        config: &config,
        spool: &spool,
        secrets: secrets.into_iter().map(|(path, _)| path).collect(),
        smarthosts: plan.hosts.len(),
        notes: &plan.notes,
    };
    say(args, &done)
}

/// Nobody sees half of it: all is written first, and the configuration is read as the service will read it.
fn write(
    config: &Path,
    text: &str,
    secrets: &[(PathBuf, Secret)],
    parties: Parties,
    force: bool,
) -> Result<(), Failure> {
    // The service has to read them.
    let owner = if parties.user.is_some() { (parties.user, parties.group) } else { (None, None) };
    let new = |path: &Path, bytes: &[u8]| {
        NewFile::write(path, bytes, 0o600, owner).map_err(|e| cannot_write(path, &e))
    };
    let file = new(config, text.as_bytes())?;
    let overrides = Overrides { config: Some(file.path().to_owned()), spool: None, smarthost: None };
    config::load(&overrides).map_err(|error| {
        let text = error.to_string();
        Failure::new(exit::CONFIG, format!("what was to be written would not be valid: {text}"))
            .hint("nothing was written; a setting there has a value that is not understood here, or conf.d is at odds with it")
    })?;
    let mut written = Vec::new();
    for (path, secret) in secrets {
        written.push((path, new(path, format!("{}\n", secret.expose()).as_bytes())?));
    }
    for (path, file) in written {
        file.name(path, force).map_err(|e| cannot_write(path, &e))?;
    }
    file.name(config, force).map_err(|e| cannot_write(config, &e))
}

fn say(args: &Args, done: &Done<'_>) -> Result<u8, Failure> {
    if args.json {
        print_json(done)?;
        return Ok(exit::OK);
    }
    for note in done.notes {
        eprintln!("{note}");
    }
    print(&format!("wrote {}, from the configuration of {}\n", done.config.display(), done.from))?;
    for path in &done.secrets {
        print(&format!("wrote {}: a password, for the owner of the spool alone\n", path.display()))?;
    }
    print(&format!("drop messages into {}\n", done.spool.join("pickup").display()))?;
    Ok(exit::OK)
}

fn config_path(args: &Args) -> Result<PathBuf, Failure> {
    let from_env = std::env::var_os("PILLARBOX_CONFIG").filter(|value| !value.is_empty()).map(PathBuf::from);
    let path = args.config.clone().or(from_env).unwrap_or_else(|| CONFIG.into());
    std::path::absolute(&path).map_err(|e| cannot_write(&path, &e))
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    let failure = Failure::new(exit::CANTCREAT, format!("cannot write {}: {error}", path.display()));
    match error.kind() {
        ErrorKind::PermissionDenied => {
            failure.hint("run it as root, or name places of your own with --config and --spool")
        }
        _ => failure,
    }
}

/// A file of the system below `root`. What is no UTF-8 in it is in a comment, or in a value that is refused later.
fn read(root: &Path, path: &str) -> Result<Option<String>, String> {
    match std::fs::read(root.join(path.trim_start_matches('/'))) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(format!("cannot read {path}: {e}")),
    }
}
