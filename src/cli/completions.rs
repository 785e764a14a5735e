//! `pillarbox completions`: what a shell needs to complete our command lines.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, Failure, exit, print};

/// Print what a shell needs to complete these commands
///
/// For bash: pillarbox completions bash > ~/.local/share/bash-completion/completions/pillarbox. The Debian package brings those
/// of bash, zsh and fish.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// bash, zsh, fish, elvish or powershell
    #[arg(value_enum, hide_possible_values = true)]
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "pillarbox", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(exit::OK)
}
