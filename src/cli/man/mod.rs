//! `pillarbox man`: the manual pages. Those of commands are made from the command line's own help, that of the configuration
//! from the commented default file; the rest is written by hand in `man/`.

mod settings;

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::{Cli, Failure, exit, print};
use crate::config::DEFAULT_FILE;

/// Print the manual page pillarbox(1), or write all pages into a folder
///
/// In DIR they lie as man(1) wants them: man1/pillarbox.1 and so on, so that `pillarbox man ~/.local/share/man` installs them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Write every page below this folder
    dir: Option<PathBuf>,
}

/// Of the last change of the pages.
const DATE: &str = "2026-11-23";
const MANUAL: &str = "pillarbox";

/// Pages that are written by hand: name, section, text. One that is called as a command stands for that command's.
const WRITTEN: [(&str, u8, &str); 4] = [
    ("pillarbox-sendmail", 8, include_str!("../../../man/pillarbox-sendmail.8")),
    ("pillarbox.toml", 5, include_str!("../../../man/pillarbox.toml.5")),
    ("pillarbox-spool", 5, include_str!("../../../man/pillarbox-spool.5")),
    ("pillarbox", 7, include_str!("../../../man/pillarbox.7")),
];

/// Other names of a page, as they are called.
const LINKS: [(&str, u8, &str); 3] = [
    ("sendmail", 8, "man8/pillarbox-sendmail.8"),
    ("mailq", 1, "man8/pillarbox-sendmail.8"),
    ("newaliases", 1, "man8/pillarbox-sendmail.8"),
];

/// Where a page by hand has the settings.
const SETTINGS_MARK: &str = ".\\\" SETTINGS\n";

/// One page of the manual.
struct Page {
    name: String,
    section: u8,
    text: String,
}

impl Page {
    fn new(name: impl Into<String>, section: u8, text: String) -> Page {
        Page { name: name.into(), section, text }
    }

    /// Below the folder of all pages.
    fn path(&self) -> PathBuf {
        let Page { name, section, .. } = self;
        PathBuf::from(format!("man{section}/{name}.{section}"))
    }
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let pages = pages()?;
    match &args.dir {
        Some(dir) => {
            for page in &pages {
                write(&dir.join(page.path()), &page.text)?;
            }
            print(&format!("wrote {} pages below {}\n", pages.len(), dir.display()))?;
        }
        None => {
            let first = pages.first().map_or("", |page| page.text.as_str());
            print(first)?;
        }
    }
    Ok(exit::OK)
}

/// All pages, that of the program first.
fn pages() -> Result<Vec<Page>, Failure> {
    let cannot_render = |e: io::Error| Failure::new(exit::SOFTWARE, format!("cannot make a page: {e}"));
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let mut pages = vec![rendered(&program).map_err(cannot_render)?];
    for command in program.get_subcommands() {
        let page = rendered(command).map_err(cannot_render)?;
        let stands_for = |name: &str| name == page.name || page.name == format!("pillarbox-{name}");
        let by_hand = WRITTEN.iter().chain(&LINKS).any(|(name, _, _)| stands_for(name));
        if !by_hand {
            pages.push(page);
        }
    }
    for (name, section, text) in WRITTEN {
        let text = text.replace(SETTINGS_MARK, &settings::roff(DEFAULT_FILE));
        let text = text.replacen("DATE", DATE, 1).replacen("VERSION", env!("CARGO_PKG_VERSION"), 1);
        pages.push(Page::new(name, section, text));
    }
    pages.extend(LINKS.map(|(name, section, to)| Page::new(name, section, format!(".so {to}\n"))));
    Ok(pages)
}

/// The page of a command, from its help.
fn rendered(command: &Command) -> io::Result<Page> {
    // The name of a command has the program's in front of it, once it is built.
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let source = concat!("pillarbox ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).date(DATE).source(source).manual(MANUAL);
    let mut text = Vec::new();
    man.render(&mut text)?;
    let mut more = Roff::default();
    more.control("SH", ["EXIT STATUS"]);
    more.text(exit_status(&name));
    more.control("SH", ["SEE ALSO"]);
    more.text(see_also(&name));
    Ok(Page::new(name, 1, String::from_utf8_lossy(&text).into_owned() + &more.to_roff()))
}

fn exit_status(name: &str) -> Vec<Inline> {
    let own = match name {
        "pillarbox-demo" => "0 if everything was as promised, 70 if not.",
        _ => {
            "0 if it was done; else a code of sysexits(3), and on standard error what happened and what to do."
        }
    };
    vec![roman(own), roman(" pillarbox(7) lists them.")]
}

fn see_also(name: &str) -> Vec<Inline> {
    let others = [
        ("pillarbox", "(1), "),
        ("pillarbox.toml", "(5), "),
        ("pillarbox-spool", "(5), "),
        ("pillarbox", "(7)"),
    ];
    let others =
        others.into_iter().filter(|(other, section)| !(*other == name && section.starts_with("(1)")));
    others.flat_map(|(other, section)| [bold(other), roman(section)]).collect()
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let write = || -> io::Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        file.write_all(text.as_bytes())
    };
    write().map_err(|e| Failure::new(exit::CANTCREAT, format!("cannot write {}: {e}", path.display())))
}
