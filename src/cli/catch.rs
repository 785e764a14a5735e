//! `pillarbox catch`: a mail server to try things out with.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::thread;

use super::{Failure, exit};
use crate::catch::{AnswerMode, Catch, Caught, Control, Options, StartError};

/// Take everybody's mail and send none on: a server for trying things out
///
/// What is taken lands in a folder as 000001.eml (as sent, to the byte) and 000001.json (the envelope).
/// Nothing is synced to disk: a toy, not a mail server.
///
/// Some recipients are answered in their own way whatever --answer says: `defer@...` and `defer-...@...`
/// with 450 4.2.0, `refuse@...` and `refuse-...@...` with 550 5.1.1, both in reply to RCPT TO.
///
/// While it runs, type accept, defer, refuse, down, up, quit or help; a pipe can do that too. Lines of the
/// dialogue must end in CR LF: to talk to it by hand, use `nc -C` or telnet.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// Address and port, or a port of 127.0.0.1; port 0 is any free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:2525", value_parser = listen_address)]
    listen: SocketAddr,

    /// Folder for what is taken
    #[arg(long, value_name = "DIR", default_value = "caught")]
    store: PathBuf,

    /// What the end of a message is answered: accept, defer (451), refuse (550); down refuses connections
    #[arg(long, value_name = "ANSWER", default_value = "accept")]
    answer: AnswerMode,
}

const COMMANDS: &str = "accept  250 to every message
defer   451 to every message: try again later
refuse  550 to every message: never
down    nobody listens any more
up      the same as accept
quit    end";

/// Runs until `quit`, a signal, or the end of the pipe behind stdout.
pub(super) fn run(args: Args) -> Result<u8, Failure> {
    let options = Options { listen: args.listen, store: Some(args.store.clone()), answer: args.answer };
    let catch = Catch::start(options).map_err(|error| failure(&error))?;
    match talk(&catch, &args) {
        Ok(()) => Ok(exit::OK),
        // Whoever read our lines has gone, and with him the reason to go on.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(exit::OK),
        Err(error) => Err(Failure::new(exit::IOERR, format!("cannot write to standard output: {error}"))),
    }
}

fn talk(catch: &Catch, args: &Args) -> io::Result<()> {
    if !args.listen.ip().is_loopback() {
        let all = "anybody who can reach this address can fill the disk with mail";
        // A warning that nobody can see is no reason to stop.
        drop(writeln!(io::stderr(), "warning: {} is not a loopback address: {all}", catch.address()));
    }
    line(&introduction(catch.address(), args))?;
    let control = catch.control();
    thread::Builder::new().name("stdin".into()).spawn(move || obey(io::stdin().lock(), &control))?;
    for event in catch.events() {
        match event {
            Caught::Message { number, reverse_path, forward_paths, bytes, answered } => {
                line(&told(number, &reverse_path, &forward_paths, &bytes, answered))?;
            }
            Caught::NotStored { number, error } => line(&format!("{number:06}  cannot be stored: {error}"))?,
            Caught::Connected(_) | Caught::Disconnected(_) => {}
        }
    }
    Ok(())
}

/// Does what is typed. The end of the input is not the end of the server.
fn obey(input: impl io::BufRead, control: &Control) {
    for typed in input.lines() {
        // Input that is not text is of no use, and its end is none of ours.
        let Ok(typed) = typed else { return };
        let answer = match typed.trim() {
            "" => continue,
            "quit" => return control.stop(),
            "help" => COMMANDS.to_owned(),
            word => match if word == "up" { "accept" } else { word }.parse::<AnswerMode>() {
                Ok(mode) => match control.set_answer(mode) {
                    Ok(()) => format!("answer now: {mode}"),
                    Err(error) => format!("cannot change to {mode}: {error}"),
                },
                Err(_) => format!("{:?} is none of these:\n{COMMANDS}", shown(word, 40)),
            },
        };
        if line(&answer).is_err() {
            return control.stop();
        }
    }
}

/// What is printed at the start, with lines to paste.
fn introduction(address: SocketAddr, args: &Args) -> String {
    let (store, answer) = (args.store.display(), args.answer);
    let url = url(address);
    format!(
        "listening on {address}, storing in {store}, sending nothing on. In pillarbox.toml:

[[smarthost]]
url = \"{url}\"
tls = \"none\"

or on the command line: --smarthost {url}

answer now: {answer}. Type accept, defer, refuse, down, up, quit or help."
    )
}

/// Where a program on this machine reaches it.
fn url(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("smtp://{}", SocketAddr::new(ip, address.port()))
}

/// `000001  250  a@x.org to b@y.org  123 octets  Subject`.
fn told(number: u64, reverse_path: &str, forward_paths: &[String], bytes: &[u8], answered: u16) -> String {
    let from = shown(reverse_path, 100);
    let from = if from.is_empty() { "<>" } else { &from };
    let more = forward_paths.len().saturating_sub(3);
    let mut to = forward_paths.iter().take(3).map(|path| shown(path, 100)).collect::<Vec<_>>().join(", ");
    if more > 0 {
        to += &format!(" and {more} more");
    }
    let subject = subject(bytes);
    let subject = if subject.is_empty() { "(no subject)" } else { &subject };
    format!("{number:06}  {answered}  {from} to {to}  {} octets  {subject}", bytes.len())
}

/// The Subject field as it is written, unfolded, cut, and safe to show.
fn subject(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(64 * 1024)]);
    let mut lines = text.split('\n').take_while(|line| !line.trim_end().is_empty());
    let is_subject =
        |line: &&str| line.split_once(':').is_some_and(|(n, _)| n.trim().eq_ignore_ascii_case("subject"));
    let Some(first) = lines.by_ref().find(is_subject) else { return String::new() };
    let mut subject = first.split_once(':').map_or("", |(_, value)| value.trim()).to_owned();
    for folded in lines.take_while(|line| line.starts_with([' ', '\t'])) {
        subject.push(' ');
        subject.push_str(folded.trim());
    }
    shown(&subject, 70)
}

/// At most `most` characters, none of which can steer a terminal.
fn shown(text: &str, most: usize) -> String {
    let cut: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(most).collect();
    if text.chars().count() > most { cut + "..." } else { cut }
}

fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    text.parse().map_err(|_| "expected something like 127.0.0.1:2525 or 2525".to_owned())
}

fn failure(error: &StartError) -> Failure {
    let said = error.to_string();
    match error {
        StartError::Listen(address, e) => match e.kind() {
            io::ErrorKind::AddrInUse => Failure::new(exit::UNAVAILABLE, said).hint(format!(
                "another program listens there: `ss -ltnp sport = :{0}` names it; or take any free port with --listen {1}",
                address.port(),
                SocketAddr::new(address.ip(), 0)
            )),
            io::ErrorKind::PermissionDenied => Failure::new(exit::NOPERM, said)
                .hint("ports below 1024 are for root: use --listen 127.0.0.1:2525"),
            io::ErrorKind::AddrNotAvailable => Failure::new(exit::UNAVAILABLE, said)
                .hint("no interface of this machine has that address: `ip address` shows those it has"),
            _ => Failure::new(exit::UNAVAILABLE, said),
        },
        StartError::Store(..) => {
            Failure::new(exit::CANTCREAT, said).hint("name a folder that you may write to: --store DIR")
        }
        StartError::Thread(_) => Failure::new(exit::TEMPFAIL, said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_one_of_loopback() {
        let at = |text: &str| listen_address(text).map(|a| a.to_string());
        assert_eq!(at("2526").as_deref(), Ok("127.0.0.1:2526"));
        assert_eq!(at("[::1]:25").as_deref(), Ok("[::1]:25"));
        assert!(at("localhost").is_err());
        assert_eq!(url(listen_address("0.0.0.0:25").unwrap()), "smtp://127.0.0.1:25");
        assert_eq!(url(listen_address("[::]:25").unwrap()), "smtp://[::1]:25");
    }

    #[test]
    fn the_line_of_a_message_cannot_steer_the_terminal() {
        let bytes = b"X: y\r\nsubject : a \x1b[31m\r\n\tb\r\nTo: c\r\n\r\nSubject: no\r\n";
        let to: Vec<String> = (0..5).map(|n| format!("b{n}@y")).collect();
        assert_eq!(
            told(7, "", &to, bytes, 451),
            "000007  451  <> to b0@y, b1@y, b2@y and 2 more  51 octets  a \u{fffd}[31m b"
        );
        assert_eq!(
            told(8, "a@x", &to[..1], b"\r\nSubject: no", 250),
            "000008  250  a@x to b0@y  13 octets  (no subject)"
        );
        assert_eq!(shown(&"x".repeat(80), 3), "xxx...");
    }

    #[test]
    fn what_is_typed_is_obeyed_until_quit() {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let catch = Catch::start(Options { listen, store: None, answer: AnswerMode::Accept }).unwrap();
        obey(&b"down\n"[..], &catch.control());
        assert!(std::net::TcpStream::connect(catch.address()).is_err());
        obey(&b"nonsense\n\nhelp\n up \n"[..], &catch.control());
        assert!(std::net::TcpStream::connect(catch.address()).is_ok());
        obey(&b"quit\ndown\n"[..], &catch.control());
        assert_eq!(catch.events().iter().filter(|e| matches!(e, Caught::Message { .. })).count(), 0);
    }

    #[test]
    fn a_port_in_use_has_cause_cure_and_code() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = taken.local_addr().unwrap();
        let error = Catch::start(Options { listen, store: None, answer: AnswerMode::Accept }).unwrap_err();
        let failure = failure(&error);
        assert_eq!(failure.code, exit::UNAVAILABLE);
        assert!(failure.message.starts_with(&format!("cannot listen on {listen}: ")), "{failure}");
        assert!(failure.hint.is_some_and(|hint| hint.contains("--listen 127.0.0.1:0")));
    }
}
