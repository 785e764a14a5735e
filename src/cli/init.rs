//! `pillarbox init`: makes a spool and a commented configuration.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::{Failure, exit, print};
use crate::config::{self, Overrides};
use crate::fs;

/// Make the folders of a spool, and with --config a commented configuration
///
/// What is there is left as it is. All folders belong to you alone.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the spool is to be [default: as configured, else /var/spool/pillarbox]
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,

    /// Write a commented configuration with every default to this new file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let spool = match &args.spool {
        Some(spool) => spool.clone(),
        None => configured_spool(args.config.as_deref())?,
    };
    let spool = std::path::absolute(&spool)
        .map_err(|e| Failure::new(exit::CANTCREAT, format!("cannot make {}: {e}", spool.display())))?;
    let made = fs::make_spool(&spool, 0o700).map_err(|(path, error)| {
        let failure = Failure::new(exit::CANTCREAT, format!("cannot make {}: {error}", path.display()));
        match error.kind() {
            io::ErrorKind::PermissionDenied => {
                failure.hint("run it as a user who may write there, or name another place with --spool")
            }
            _ => failure,
        }
    })?;
    match made.is_empty() {
        true => print(&format!("{} is complete\n", spool.display()))?,
        false => print(&format!("made {}\n", spool.display()))?,
    };
    if let Some(path) = &args.config {
        write_config(path, &spool)?;
    }
    print(&format!("drop messages into {}\n", spool.join("pickup").display()))?;
    Ok(exit::OK)
}

/// A configuration that is there already says where the spool is.
fn configured_spool(config: Option<&Path>) -> Result<PathBuf, Failure> {
    let existing = config.filter(|path| path.exists()).map(Path::to_owned);
    let overrides = Overrides { config: existing, spool: None, smarthost: None };
    let config = config::load(&overrides).map_err(|e| Failure::new(exit::CONFIG, e.to_string()))?;
    Ok(config.spool_dir)
}

fn write_config(path: &Path, spool: &Path) -> Result<(), Failure> {
    let write = || -> io::Result<()> {
        // It may come to hold a password.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(config::default_file(spool).as_bytes())
    };
    match write() {
        Ok(()) => {
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
