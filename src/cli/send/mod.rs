//! `pillarbox send`: a message handed in, durable when the command returns.

mod compose;
pub(super) mod wait;

use std::fs::File;
use std::io::{Cursor, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ask::{Desk, unexpected};
use super::{ConfigArgs, Failure, exit, print, print_json};
use crate::config::parse_duration;
use crate::control::{Answer, Handed, Request, parse_address};
use crate::service::Upload;

use compose::{Attachment, Draft};

/// Hand in a message, and print its queue id when it is durable
///
/// FILE is a whole message: sender and recipients are those of its header, as for a dropped file, or those of --from and
/// --to; then no recipient is read from the header. Without FILE a message is composed; its body is read from stdin unless
/// --body or --html is given. Exits with 65 if the message can never be sent, with 75 if nothing is accepted now; then it
/// was not taken.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,

    /// The message (RFC 5322), or - for stdin
    #[arg(conflicts_with_all = COMPOSING)]
    file: Option<PathBuf>,

    /// The sender; "" for none, as in a failure report [default when composing: that of the configuration]
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,

    /// A recipient; may be given more than once
    #[arg(long, value_name = "ADDRESS")]
    to: Vec<String>,

    /// One more recipient, whom the others see
    #[arg(long, value_name = "ADDRESS")]
    cc: Vec<String>,

    /// One more recipient, whom nobody sees
    #[arg(long, value_name = "ADDRESS")]
    bcc: Vec<String>,

    /// What it is about
    #[arg(long, value_name = "TEXT")]
    subject: Option<String>,

    /// Its text, or - for stdin
    #[arg(long, value_name = "TEXT")]
    body: Option<String>,

    /// The same as HTML, or @FILE that holds it
    #[arg(long, value_name = "HTML|@FILE")]
    html: Option<String>,

    /// A file that goes with it; may be given more than once
    #[arg(long, value_name = "FILE")]
    attach: Vec<PathBuf>,

    /// A further field of its header; may be given more than once
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,

    /// Wait until it is delivered (exit 0) or given up (69), with what the server said; 75 after DURATION, as in 30s or 5m
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, value_parser = parse_wait)]
    wait: Option<Option<Wait>>,

    /// How it is called in the spool [default: the file's name, or the subject]
    #[arg(long)]
    name: Option<String>,

    /// Queue id, name and size as JSON; with --wait, a second line with what became of it
    #[arg(long)]
    json: bool,
}

/// What makes no sense beside a whole message.
const COMPOSING: [&str; 7] = ["cc", "bcc", "subject", "body", "html", "attach", "header"];

/// For how long is waited.
#[derive(Debug, Clone, Copy)]
struct Wait(Duration);

fn parse_wait(text: &str) -> Result<Wait, String> {
    parse_duration(text).map(Wait)
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let (handed, upload) = match &args.file {
        Some(file) => whole(file, args)?,
        None => composed(args)?,
    };
    let desk = Desk::new(&args.config, "send")?;
    let answer = desk.hand_in(&Request::Send(handed), Some(upload));
    let Answer::Sent(sent) = answer.map_err(not_now)? else { return Err(unexpected()) };
    match args.json {
        true => print_json(&sent)?,
        false => print(&format!("{}\n", sent.id))?,
    };
    match args.wait {
        Some(within) => wait::wait(&desk, &sent.id, within.map(|Wait(span)| span), args.json),
        None => {
            if std::io::stderr().is_terminal()
                && let Some(why) = wait::why_nothing_moves(&desk)
            {
                eprintln!("pillarbox: it is kept, and will not leave soon: {why}");
            }
            Ok(exit::OK)
        }
    }
}

fn usage(why: impl Into<String>) -> Failure {
    Failure::new(exit::USAGE, why)
}

/// A message as it is.
fn whole(file: &Path, args: &Args) -> Result<(Handed, Upload), Failure> {
    match (&args.from, args.to.is_empty()) {
        (Some(_), true) => return Err(usage("expected --to beside --from: an envelope has both")),
        (None, false) => return Err(usage("expected --from beside --to: an envelope has both")),
        _ => {}
    }
    let address = |option: &str, text: &str| parse_address(text).map_err(|e| usage(format!("{option}: {e}")));
    let from = args.from.as_deref().map(|from| address("--from", from)).transpose()?;
    let to = args.to.iter().map(|to| address("--to", to)).collect::<Result<Vec<String>, Failure>>()?;
    let is_stdin = file.as_os_str() == "-";
    let file_name = file.file_name().filter(|_| !is_stdin).map(|name| name.to_string_lossy().into_owned());
    let name = args.name.clone().or(file_name).unwrap_or_else(|| "stdin".into());
    let handed = Handed::new(name, from.as_deref(), &to).map_err(|refused| usage(refused.message))?;
    let upload: Upload = match is_stdin {
        true => (Box::new(std::io::stdin()), None),
        false => {
            let (file, size) = open(file)?;
            (Box::new(file), size)
        }
    };
    Ok((handed, upload))
}

/// A message that is made here. Its envelope is in its header, as a dropped one's: names without a domain and aliases mean
/// there what they mean here. Only the null reverse-path cannot be said in a header.
fn composed(args: &Args) -> Result<(Handed, Upload), Failure> {
    if args.to.is_empty() && args.cc.is_empty() && args.bcc.is_empty() {
        let failure = usage("expected FILE, or a recipient of a message to be composed");
        return Err(failure.hint(
            "pillarbox send FILE, or: echo text | pillarbox send --to ops@example.com --subject text",
        ));
    }
    let is_null = matches!(args.from.as_deref(), Some("" | "<>"));
    let reads_body = match &args.body {
        Some(body) => body == "-",
        None => args.html.is_none(),
    };
    let mut draft = Draft {
        from: args.from.clone().filter(|_| !is_null),
        to: args.to.clone(),
        cc: args.cc.clone(),
        bcc: args.bcc.clone(),
        subject: args.subject.clone(),
        body: args.body.clone().map(String::into_bytes),
        html: None,
        attachments: args.attach.iter().map(|path| attachment(path)).collect::<Result<_, _>>()?,
        headers: args.header.clone(),
    };
    draft.html = match args.html.as_deref().map(|html| html.strip_prefix('@').ok_or(html)) {
        Some(Ok(path)) => Some(read(Path::new(path))?),
        Some(Err(html)) => Some(html.as_bytes().to_vec()),
        None => None,
    };
    if reads_body {
        if std::io::stdin().is_terminal() {
            eprintln!("pillarbox: the body is read from here: end it with Ctrl-D, or give --body");
        }
        let mut body = Vec::new();
        let read = std::io::stdin().lock().read_to_end(&mut body);
        read.map_err(|e| Failure::new(exit::NOINPUT, format!("cannot read the body from stdin: {e}")))?;
        draft.body = Some(body);
    }
    let name = args.name.clone().or_else(|| args.subject.clone()).unwrap_or_default();
    let to = if is_null { draft.recipients().map_err(usage)? } else { Vec::new() };
    let handed = Handed::new(name, is_null.then_some(""), &to).map_err(|refused| usage(refused.message))?;
    let bytes = draft.compose().map_err(usage)?;
    let size = bytes.len() as u64;
    Ok((handed, (Box::new(Cursor::new(bytes)), Some(size))))
}

fn attachment(path: &Path) -> Result<Attachment, Failure> {
    let bytes = read(path)?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    Ok(Attachment { name: name.replace(char::is_control, "_"), bytes })
}

fn cannot_read(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(exit::NOINPUT, format!("cannot read {}: {why}", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let (mut file, _) = open(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|e| cannot_read(path, &e))?;
    Ok(bytes)
}

fn open(path: &Path) -> Result<(File, Option<u64>), Failure> {
    let file = File::open(path).map_err(|e| cannot_read(path, &e))?;
    let stat = file.metadata().map_err(|e| cannot_read(path, &e))?;
    if stat.is_dir() {
        return Err(cannot_read(path, &"it is a directory"));
    }
    Ok((file, stat.is_file().then_some(stat.len())))
}

/// A disk that fails may work later; the message was not taken.
fn not_now(failure: Failure) -> Failure {
    match failure.code {
        exit::IOERR => Failure { code: exit::TEMPFAIL, ..failure },
        _ => failure,
    }
}
