//! `pillarbox send`: a message handed in, durable when the command returns.

use std::fs::File;
use std::path::PathBuf;

use super::ask::{Desk, unexpected};
use super::{ConfigArgs, Failure, exit, print, print_json};
use crate::control::{Answer, Handed, Request, parse_address};
use crate::service::Upload;

/// Hand in a message, and print its queue id when it is durable
///
/// Sender and recipients are those of its header, as for a dropped file, or those of --from and --to: then no recipient is
/// read from the header. Exits with 65 if the message can never be sent, with 75 if nothing is accepted now; then it was
/// not taken.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,

    /// The message (RFC 5322), or - for stdin
    file: PathBuf,

    /// The sender; "" for none, as in a failure report
    #[arg(long, value_name = "ADDRESS", requires = "to", value_parser = parse_address)]
    from: Option<String>,

    /// A recipient; may be given more than once
    #[arg(long, value_name = "ADDRESS", requires = "from", value_parser = parse_address)]
    to: Vec<String>,

    /// How it is called in the spool [default: the file's name]
    #[arg(long)]
    name: Option<String>,

    /// Queue id, name and size as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<u8, Failure> {
    let is_stdin = args.file.as_os_str() == "-";
    let file_name =
        args.file.file_name().filter(|_| !is_stdin).map(|name| name.to_string_lossy().into_owned());
    let name = args.name.or(file_name).unwrap_or_else(|| "stdin".into());
    let handed = Handed::new(name, args.from.as_deref(), &args.to)
        .map_err(|refused| Failure::new(exit::USAGE, refused.message))?;
    let upload: Upload = match is_stdin {
        true => (Box::new(std::io::stdin()), None),
        false => open(&args.file)?,
    };
    let answer = Desk::new(&args.config, "send")?.hand_in(&Request::Send(handed), Some(upload));
    let Answer::Sent(sent) = answer.map_err(not_now)? else { return Err(unexpected()) };
    match args.json {
        true => print_json(&sent)?,
        false => print(&format!("{}\n", sent.id))?,
    };
    Ok(exit::OK)
}

fn open(path: &PathBuf) -> Result<Upload, Failure> {
    let no_input = |e| Failure::new(exit::NOINPUT, format!("cannot read {}: {e}", path.display()));
    let file = File::open(path).map_err(no_input)?;
    let stat = file.metadata().map_err(no_input)?;
    if stat.is_dir() {
        return Err(Failure::new(
            exit::NOINPUT,
            format!("cannot read {}: it is a directory", path.display()),
        ));
    }
    let size = stat.is_file().then_some(stat.len());
    Ok((Box::new(file), size))
}

/// A disk that fails may work later; the message was not taken.
fn not_now(failure: Failure) -> Failure {
    match failure.code {
        exit::IOERR => Failure { code: exit::TEMPFAIL, ..failure },
        _ => failure,
    }
}
