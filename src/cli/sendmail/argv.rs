//! The command line of sendmail(8), as its callers write it. Pure.
//!
//! docs/SENDMAIL.md has the table. What is not known is passed over with a note: a caller that has always added it must not lose
//! its mail over it. Only what can be no mail at all is an error.

use std::ffi::OsString;
use std::path::PathBuf;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Take a message from stdin.
    Submit,
    /// Speak SMTP on stdin and stdout (`-bs`).
    Session,
    /// Say what waits (`-bp`, mailq).
    List,
    /// Nothing: the aliases are in the configuration (`-bi`, newaliases).
    Aliases,
    /// Look at the addresses (`-bv`).
    Verify,
    /// Send what waits (`-q`).
    Flush,
    /// Show the help.
    Help,
    /// Show the version.
    Version,
}

/// A command line that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// What is to be done.
    pub mode: Mode,
    /// Where the configuration is (`--config`).
    pub config: Option<PathBuf>,
    /// Where the spool is (`--spool`).
    pub spool: Option<PathBuf>,
    /// Recipients; each argument may be a list.
    pub recipients: Vec<String>,
    /// The header names further ones (`-t`).
    pub reads_header: bool,
    /// A line with a lone dot is a line like any other (`-i`).
    pub ignores_dots: bool,
    /// The reverse-path (`-f`); empty or `<>` is the null one.
    pub sender: Option<String>,
    /// The name beside the address in a From that is added (`-F`).
    pub full_name: Option<String>,
    /// What is asked of notifications (`-N`): the words of NOTIFY, RFC 3461.
    pub notify: Option<String>,
    /// How much of the message comes back with them (`-R`): the words of RET.
    pub ret: Option<String>,
    /// What the message is called in them (`-V`), before it is encoded.
    pub envelope_id: Option<String>,
    /// Say what was done (`-v`).
    pub is_verbose: bool,
    /// What was passed over: for a person who reads it.
    pub notes: Vec<String>,
}

/// Options with a value, attached or in the next argument.
const WITH_VALUE: &str = "ABCDFLMNORVXbefhopr";
/// Options without one that change nothing here.
const WITHOUT_MEANING: &str = "GTUcmnsx";

impl Invocation {
    fn new(mode: Mode) -> Invocation {
        Invocation {
            mode,
            config: None,
            spool: None,
            recipients: Vec::new(),
            reads_header: false,
            ignores_dots: false,
            sender: None,
            full_name: None,
            notify: None,
            ret: None,
            envelope_id: None,
            is_verbose: false,
            notes: Vec::new(),
        }
    }

    /// Reads the arguments behind the name of the program, which is `sendmail`, `mailq` or `newaliases`.
    ///
    /// # Errors
    ///
    /// Why that is no use: a sentence for stderr, with exit code 64.
    pub fn parse(program: &str, arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, String> {
        let mut arguments =
            arguments.into_iter().map(|argument| argument.to_string_lossy().into_owned()).peekable();
        let mut found = Invocation::new(match program {
            "mailq" => Mode::List,
            "newaliases" => Mode::Aliases,
            _ => Mode::Submit,
        });
        // Ours, and only in front of everything: an address that a caller passes on must not name another spool.
        while let Some(argument) =
            arguments.next_if(|argument| argument.starts_with("--") && argument.len() > 2)
        {
            found.long(&argument, &mut arguments)?;
        }
        while let Some(argument) = arguments.next() {
            match argument.strip_prefix('-') {
                _ if argument == "--" => {
                    found.recipients.extend(arguments);
                    break;
                }
                Some(cluster) if cluster.starts_with('-') => {
                    found.notes.push(format!("{argument} is not known and was ignored"));
                }
                Some(cluster) if !cluster.is_empty() => found.cluster(cluster, &mut arguments)?,
                Some(_) | None => found.recipients.push(argument),
            }
        }
        let needs_recipients = matches!(found.mode, Mode::Submit | Mode::Verify) && !found.reads_header;
        if needs_recipients && found.recipients.iter().all(|text| text.trim().is_empty()) {
            return Err(
                "no recipient: expected addresses on the command line, or -t to take them from the header"
                    .into(),
            );
        }
        Ok(found)
    }

    fn long(&mut self, argument: &str, more: &mut impl Iterator<Item = String>) -> Result<(), String> {
        let (name, attached) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument, None),
        };
        let mut value = || {
            attached.clone().or_else(|| more.next()).map(PathBuf::from).ok_or(format!("{name} needs a value"))
        };
        match name {
            "--config" => self.config = Some(value()?),
            "--spool" => self.spool = Some(value()?),
            "--help" => self.mode = Mode::Help,
            "--version" => self.mode = Mode::Version,
            _ => self.notes.push(format!("{argument} is not known and was ignored")),
        }
        Ok(())
    }

    /// `-tif sender`: the first option with a value takes what is left, or the next argument.
    fn cluster(&mut self, cluster: &str, more: &mut impl Iterator<Item = String>) -> Result<(), String> {
        let mut rest = cluster.chars();
        while let Some(option) = rest.next() {
            match option {
                't' => self.reads_header = true,
                'i' => self.ignores_dots = true,
                'v' => self.is_verbose = true,
                'I' => self.mode = Mode::Aliases,
                'q' => return self.queue(rest.as_str()),
                // Debugging; its value is always attached.
                'd' => return Ok(()),
                _ if WITH_VALUE.contains(option) => {
                    let attached = Some(rest.as_str()).filter(|value| !value.is_empty());
                    return match attached.map(str::to_owned).or_else(|| more.next()) {
                        // A caller whose variable was empty.
                        Some(next)
                            if attached.is_none() && matches!(option, 'f' | 'r') && next.starts_with('-') =>
                        {
                            self.notes.push(format!("-{option} without an address was ignored"));
                            self.argument(&next, more)
                        }
                        Some(value) => self.with_value(option, value, more),
                        None => {
                            self.notes.push(format!("-{option} without a value was ignored"));
                            Ok(())
                        }
                    };
                }
                _ if WITHOUT_MEANING.contains(option) => {}
                _ => self.notes.push(format!("-{option} is not known and was ignored")),
            }
        }
        Ok(())
    }

    /// An argument that was taken for a value and is none.
    fn argument(&mut self, argument: &str, more: &mut impl Iterator<Item = String>) -> Result<(), String> {
        match argument.strip_prefix('-') {
            Some("-") => self.recipients.extend(more),
            Some(cluster) if !cluster.is_empty() => return self.cluster(cluster, more),
            _ => {}
        }
        Ok(())
    }

    fn queue(&mut self, which: &str) -> Result<(), String> {
        if which.starts_with(|c: char| c.is_ascii_digit()) || which.starts_with('p') {
            return Err(format!("-q{which} asks for a daemon; pillarbox run is the service"));
        }
        self.mode = Mode::Flush;
        Ok(())
    }

    fn with_value(
        &mut self,
        option: char,
        value: String,
        more: &mut impl Iterator<Item = String>,
    ) -> Result<(), String> {
        match option {
            'f' | 'r' => self.sender = Some(value),
            'F' => self.full_name = Some(value),
            'N' => self.notify = Some(value),
            'R' => self.ret = Some(value),
            'V' => self.envelope_id = Some(value),
            'b' => self.mode = self.mode_of(&value)?,
            'o' => self.old_option(&value, more),
            'O' => self.set_option(&value),
            _ => {}
        }
        Ok(())
    }

    fn mode_of(&self, value: &str) -> Result<Mode, String> {
        Ok(match value {
            "m" => self.mode,
            "s" => Mode::Session,
            "p" => Mode::List,
            "i" => Mode::Aliases,
            "v" => Mode::Verify,
            "d" | "D" => return Err(format!("-b{value} asks for a daemon; pillarbox run is the service")),
            _ => return Err(format!("-b{value} is not offered; there are -bm -bp -bs -bi -bv")),
        })
    }

    /// `-oi`, `-oem`, `-odb`...: of these only the dot means something here.
    fn old_option(&mut self, value: &str, more: &mut impl Iterator<Item = String>) {
        // Exim's, about where a message came from; they have a value of their own.
        const WITH_NEXT: [&str; 8] = ["Ma", "Maa", "Mai", "Mas", "Mi", "Mr", "Ms", "Mt"];
        if value.starts_with('i') {
            self.ignores_dots = true;
        } else if WITH_NEXT.contains(&value) {
            drop(more.next());
        }
    }

    /// `-O Name=value`.
    fn set_option(&mut self, text: &str) {
        let (name, value) = text.split_once('=').unwrap_or((text, "true"));
        if name.trim().eq_ignore_ascii_case("IgnoreDots") {
            self.ignores_dots = value.trim().starts_with(['t', 'T', 'y', 'Y', '1']);
        }
    }
}

#[cfg(test)]
#[path = "argv_tests.rs"]
mod tests;
