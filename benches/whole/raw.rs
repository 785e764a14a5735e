//! What the wire and the disk allow: the same dialogue without a queue, and the same disk calls without a dialogue.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

/// The dialogue of one round trip a message (RFC 2920): MAIL, RCPT and DATA of the next ride behind the final dot of this one.
/// `before` and `after` are called before the text of each message leaves, and once it is answered.
pub(super) fn send(
    port: u16,
    messages: u64,
    text: &[u8],
    mut before: impl FnMut(u64) -> io::Result<()>,
    mut after: impl FnMut(u64) -> io::Result<()>,
) -> io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    let mut replies = BufReader::new(stream.try_clone()?);
    reply(&mut replies)?;
    stream.write_all(b"EHLO raw.example.com\r\n")?;
    reply(&mut replies)?;
    let group =
        b"MAIL FROM:<panel@example.com> BODY=8BITMIME SIZE=4096\r\nRCPT TO:<ops@example.com>\r\nDATA\r\n";
    stream.write_all(group)?;
    for n in 0..messages {
        for _ in 0..3 {
            reply(&mut replies)?;
        }
        before(n)?;
        let rides: &[u8] = if n + 1 < messages { group } else { b"" };
        match text.len() {
            0..=100_000 => stream.write_all(&[text, b".\r\n", rides].concat())?,
            _ => {
                stream.write_all(text)?;
                stream.write_all(&[b".\r\n", rides].concat())?;
            }
        }
        reply(&mut replies)?;
        after(n)?;
    }
    stream.write_all(b"QUIT\r\n")?;
    reply(&mut replies)
}

fn reply(replies: &mut BufReader<TcpStream>) -> io::Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        if replies.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(());
        }
    }
}

/// Directories on the disk in which what the spool does is done by hand.
pub(super) struct Disk {
    root: PathBuf,
}

impl Disk {
    /// With `messages` files of `text` in `pending/`.
    pub(super) fn with_backlog(root: &Path, messages: u64, text: &[u8]) -> io::Result<Disk> {
        let disk = Disk { root: root.to_owned() };
        for dir in ["pickup", "pending", "sending"] {
            fs::create_dir_all(root.join(dir))?;
        }
        for n in 0..messages {
            fs::write(root.join("pending").join(file(n)), text)?;
        }
        sync(&root.join("pending"))?;
        Ok(disk)
    }

    /// What is durable before the final dot of a message leaves.
    pub(super) fn begin(&self, n: u64) -> io::Result<()> {
        let (pending, sending) = (self.root.join("pending"), self.root.join("sending"));
        fs::rename(pending.join(file(n)), sending.join(file(n)))?;
        sync(&sending)?;
        sync(&pending)
    }

    /// What is durable before the next one's.
    pub(super) fn deliver(&self, n: u64) -> io::Result<()> {
        let sending = self.root.join("sending");
        fs::remove_file(sending.join(file(n)))?;
        sync(&sending)
    }

    /// Takes what lies in `pickup/` until `messages` were taken: each file synced and renamed, and the directories synced
    /// once for all that were there.
    pub(super) fn accept(&self, messages: u64) -> io::Result<()> {
        let (pickup, pending) = (self.root.join("pickup"), self.root.join("pending"));
        let mut taken = 0;
        while taken < messages {
            let mut group: Vec<_> = fs::read_dir(&pickup)?
                .map(|entry| entry.map(|entry| entry.file_name()))
                .collect::<Result<_, _>>()?;
            group.retain(|name| !name.as_encoded_bytes().starts_with(b"."));
            if group.is_empty() {
                std::thread::yield_now();
                continue;
            }
            group.sort();
            for name in &group {
                File::open(pickup.join(name))?.sync_all()?;
                fs::rename(pickup.join(name), pending.join(name))?;
            }
            sync(&pending)?;
            sync(&pickup)?;
            taken += group.len() as u64;
        }
        Ok(())
    }
}

/// Drops messages as a producer does that does not wait for the disk: a hidden name, then a rename.
pub(super) fn drop_all(pickup: &Path, from: u64, messages: u64, text: &[u8]) -> io::Result<()> {
    for n in from..from + messages {
        let hidden = pickup.join(format!(".{}", file(n)));
        fs::write(&hidden, text)?;
        fs::rename(hidden, pickup.join(file(n)))?;
    }
    Ok(())
}

fn file(n: u64) -> String {
    format!("m{n:08}.eml")
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
