//! The smarthost of the benches: takes everything, keeps nothing, and runs in a process of its own.
//!
//! A line on stdin asks it what it has: it answers with [`Seen`] in one line. The delay line stands for the round trip: each
//! batch of replies leaves so long after what it answers came.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::clock::nanos;

/// What a sink has seen since it was last asked.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// Final dots.
    pub(super) messages: u64,
    /// Batches of input behind which it had something to answer: round trips, as the server sees them.
    pub(super) turns: u64,
    /// The clock at the first and at the last final dot, nanoseconds.
    pub(super) first: u64,
    pub(super) last: u64,
}

#[derive(Default)]
struct Counters {
    messages: AtomicU64,
    turns: AtomicU64,
    first: AtomicU64,
    last: AtomicU64,
}

/// Runs as the sink: prints its port, and answers to lines on stdin until that ends.
pub(super) fn serve(delay: Duration) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    let counters = Arc::new(Counters::default());
    let seen = counters.clone();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            if line.is_err() {
                break;
            }
            let take = |counter: &AtomicU64| counter.swap(0, Ordering::SeqCst);
            let [messages, turns, first, last] =
                [&seen.messages, &seen.turns, &seen.first, &seen.last].map(take);
            println!("{messages} {turns} {first} {last}");
        }
        std::process::exit(0);
    });
    for stream in listener.incoming() {
        let (stream, counters) = (stream?, counters.clone());
        std::thread::spawn(move || converse(stream, delay, &counters));
    }
    Ok(())
}

fn converse(mut stream: TcpStream, delay: Duration, counters: &Counters) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut line = Line::new(stream.try_clone()?, delay);
    line.send(b"220 sink\r\n".to_vec())?;
    let mut dialogue = Dialogue { input: Vec::with_capacity(1 << 20), in_data: false };
    let mut block = vec![0; 1 << 18];
    loop {
        let read = stream.read(&mut block)?;
        if read == 0 {
            return Ok(());
        }
        dialogue.input.extend_from_slice(&block[..read]);
        let mut replies = Vec::new();
        let quits = dialogue.hear(&mut replies, counters);
        if !replies.is_empty() {
            counters.turns.fetch_add(1, Ordering::SeqCst);
            line.send(replies)?;
        }
        if quits {
            return Ok(());
        }
    }
}

struct Dialogue {
    input: Vec<u8>,
    in_data: bool,
}

impl Dialogue {
    /// Answers all that is whole; true after QUIT.
    fn hear(&mut self, replies: &mut Vec<u8>, counters: &Counters) -> bool {
        let mut at = 0;
        let mut quits = false;
        while let Some(end) = self.next(at) {
            if std::mem::take(&mut self.in_data) {
                let now = nanos();
                counters.messages.fetch_add(1, Ordering::SeqCst);
                if counters.first.load(Ordering::SeqCst) == 0 {
                    counters.first.store(now, Ordering::SeqCst);
                }
                counters.last.store(now, Ordering::SeqCst);
                replies.extend_from_slice(b"250 2.0.0 taken\r\n");
            } else {
                let line = &self.input[at..end];
                let reply: &[u8] = match &line[..line.len().min(4)] {
                    b"EHLO" => b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 0\r\n250 ENHANCEDSTATUSCODES\r\n",
                    b"DATA" => {
                        self.in_data = true;
                        b"354 go on\r\n"
                    }
                    b"QUIT" => {
                        quits = true;
                        b"221 2.0.0 bye\r\n"
                    }
                    _ => b"250 2.0.0 well\r\n",
                };
                replies.extend_from_slice(reply);
            }
            at = end;
        }
        // What is left of the text is not looked at again, but for the end that may be in the making.
        let keep = if self.in_data { at.max(self.input.len().saturating_sub(4)) } else { at };
        self.input.drain(..keep);
        quits
    }

    /// Where the line, or the text, that begins at `at` ends.
    fn next(&self, at: usize) -> Option<usize> {
        let rest = &self.input[at..];
        if !self.in_data {
            return rest.iter().position(|b| *b == b'\n').map(|n| at + n + 1);
        }
        let mut from = 0;
        while let Some(n) = rest[from..].iter().position(|b| *b == b'\n') {
            let lf = from + n;
            if rest[..=lf].ends_with(b"\r\n.\r\n") || (lf == 2 && rest.starts_with(b".\r\n")) {
                return Some(at + lf + 1);
            }
            from = lf + 1;
        }
        None
    }
}

/// Writes at once, or after the delay.
enum Line {
    Direct(TcpStream),
    Delayed(mpsc::Sender<(Instant, Vec<u8>)>, Duration),
}

impl Line {
    fn new(mut stream: TcpStream, delay: Duration) -> Line {
        if delay.is_zero() {
            return Line::Direct(stream);
        }
        let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
        std::thread::spawn(move || {
            for (due, bytes) in receiver {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                if stream.write_all(&bytes).is_err() {
                    break;
                }
            }
        });
        Line::Delayed(sender, delay)
    }

    fn send(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        match self {
            Line::Direct(stream) => stream.write_all(&bytes),
            Line::Delayed(sender, delay) => {
                sender.send((Instant::now() + *delay, bytes)).map_err(|_| io::ErrorKind::BrokenPipe.into())
            }
        }
    }
}

/// A sink in a process of its own.
pub(super) struct Sink {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// Where it listens, on 127.0.0.1.
    pub(super) port: u16,
}

impl Sink {
    /// Starts one that answers after `delay`.
    pub(super) fn start(delay: Duration) -> io::Result<Sink> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["sink", &delay.as_millis().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let missing = || io::Error::other("no pipe to the sink");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let mut stdout = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let port = line.trim().parse().map_err(io::Error::other)?;
        Ok(Sink { child, stdin, stdout, port })
    }

    /// What it has seen since it was last asked.
    pub(super) fn seen(&mut self) -> io::Result<Seen> {
        self.stdin.write_all(b"?\n")?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        match numbers[..] {
            [messages, turns, first, last] => Ok(Seen { messages, turns, first, last }),
            _ => Err(io::Error::other(format!("expected four numbers from the sink, found {line:?}"))),
        }
    }

    /// Waits until it has taken `messages`, asking at times; the sum of what it saw.
    pub(super) fn wait_for(&mut self, messages: u64, most: Duration) -> io::Result<Seen> {
        let (mut sum, until) = (Seen::default(), Instant::now() + most);
        while sum.messages < messages {
            if Instant::now() > until {
                let why = format!("expected {messages} messages within {most:?}, found {}", sum.messages);
                return Err(io::Error::other(why));
            }
            std::thread::sleep(Duration::from_millis(20));
            let more = self.seen()?;
            sum.messages += more.messages;
            sum.turns += more.turns;
            sum.first = if sum.first == 0 { more.first } else { sum.first };
            sum.last = sum.last.max(more.last);
        }
        Ok(sum)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // It may have ended before.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
