//! Servers that take less than a message has: no 8BITMIME, no SMTPUTF8.

use std::io;
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::support::server::{Answer, Asked, Options, Server, say};
use crate::support::stage::{Stage, plain, until};

/// Offers PIPELINING, SIZE and this.
fn offers(asked: &Asked<'_>, what: &str) -> Option<Answer> {
    let is_ehlo = asked.line.starts_with("EHLO");
    is_ehlo.then(|| say(&format!("250-mx.example.com\r\n250-PIPELINING\r\n{what}250 SIZE 1000000")))
}

fn letter(head: &str, body: &str) -> String {
    format!("From: panel@example.com\nTo: ops@example.com\nDate: d\nMessage-ID: <m>\n{head}\n{body}")
}

#[test]
fn eight_bit_content_becomes_seven_bits_for_a_server_without_8bitmime() {
    let dots = AtomicUsize::new(0);
    let server = Server::scripted(move |asked| match offers(asked, "") {
        Some(answer) => answer,
        None if asked.line == "." && dots.fetch_add(1, Ordering::SeqCst) == 0 => say("451 4.3.0 not now"),
        None => Answer::Usual,
    });
    let stage = Stage::new(&plain(server.port()), "received = false");
    let dropped = letter(
        "Subject: door\nContent-Type: text/plain; charset=utf-8\n",
        "Tür 3 offen\n.\nFür länger als 5 Minuten.\n",
    );
    stage.drop_in("1.eml", &dropped);
    stage.drop_in(
        "2.eml",
        letter("Subject: signed\nContent-Type: multipart/signed; boundary=b\n", "--b\n\nü\n--b--\n"),
    );
    stage.drop_in("3.eml", letter("Subject: ascii\n", "as it is = \n"));
    let service = stage.run();
    server.wait_taken(2);
    let arrivals = server.arrivals();
    let text = String::from_utf8(arrivals[1].bytes.clone()).unwrap();
    assert!(
        text.ends_with(
            "Subject: door\r\nContent-Type: text/plain; charset=utf-8\r\nMIME-Version: 1.0\r\n\
             Content-Transfer-Encoding: quoted-printable\r\n\r\n\
             T=C3=BCr 3 offen\r\n.\r\nF=C3=BCr l=C3=A4nger als 5 Minuten.\r\n"
        ),
        "{text}"
    );
    assert_eq!(arrivals[0].bytes, arrivals[1].bytes, "each attempt sends the same");
    // Size and no BODY: both are those of what is sent.
    assert_eq!(server.count(&format!("MAIL FROM:<panel@example.com> SIZE={}", text.len())), 2);
    assert_eq!(server.count("MAIL"), 3, "{:#?}", server.heard());
    assert!(!server.heard().iter().any(|line| line.contains("BODY=")), "{:#?}", server.heard());
    assert!(arrivals[2].bytes.ends_with(b"\r\n\r\nas it is = \r\n"), "{:?}", arrivals[2]);
    let (report, _) = stage.the_failed_one();
    assert!(report.contains("554 5.6.3 not sent: expected 8BITMIME"), "{report}");
    assert!(report.contains("cannot be converted: it would break a signature"), "{report}");
    assert_eq!(service.stop(), 0);
}

/// What was made ready for one session is not sent on one with another kind of server.
#[test]
fn the_same_message_goes_as_it_is_where_8bitmime_is_offered() {
    let server = Server::scripted(|_| Answer::SayAndCut("421 4.3.2 down"));
    let stage = Stage::new(&plain(server.port()), "received = false");
    for number in 1..=2 {
        stage.drop_in(format!("{number}.eml"), letter("Subject: x\n", "Tür\n"));
    }
    let service = stage.run();
    until("two messages in line", || service.log().matches("INFO accepted").count() == 2);
    let dots = AtomicUsize::new(0);
    server.follow(move |asked| {
        let is_first = dots.load(Ordering::SeqCst) == 0;
        match offers(asked, if is_first { "" } else { "250-8BITMIME\r\n" }) {
            Some(answer) => answer,
            None if asked.line == "." && dots.fetch_add(1, Ordering::SeqCst) == 0 => {
                Answer::SayAndCut("250 2.0.0 taken")
            }
            None => Answer::Usual,
        }
    });
    stage.wait_empty();
    let arrivals = server.arrivals();
    assert!(arrivals[0].bytes.ends_with(b"\r\n\r\nT=C3=BCr\r\n"), "{:?}", arrivals[0]);
    assert!(arrivals[1].bytes.ends_with("Subject: x\r\n\r\nTür\r\n".as_bytes()), "{:?}", arrivals[1]);
    assert_eq!(service.stop(), 0);
}

#[test]
fn text_of_the_header_is_encoded_for_a_server_without_smtputf8() {
    let server = Server::scripted(|asked| offers(asked, "250-8BITMIME\r\n").unwrap_or(Answer::Usual));
    let stage = Stage::new(&plain(server.port()), "received = false");
    let utf8 = "From: Tür 3 <panel@example.com>\nTo: ops@example.com\nDate: d\nMessage-ID: <m>\nSubject: Tür offen\n\nTür\n";
    stage.drop_in("1.eml", utf8);
    stage.drop_in("2.eml", letter("Subject: x\nReply-To: ü@example.com\n", "y\n"));
    let service = stage.run();
    server.wait_taken(1);
    service.wait_log("ERROR failed");
    let arrival = server.arrivals().remove(0);
    let want = "From: =?utf-8?q?T=C3=BCr?= 3 <panel@example.com>\r\nTo: ops@example.com\r\nDate: d\r\n\
                Message-ID: <m>\r\nSubject: =?utf-8?q?T=C3=BCr?= offen\r\n\r\nTür\r\n";
    assert_eq!(String::from_utf8(arrival.bytes).unwrap(), want);
    let mail = format!("MAIL FROM:<panel@example.com> SIZE={} BODY=8BITMIME", want.len());
    assert_eq!((server.count("MAIL"), server.count(&mail)), (1, 1), "{:#?}", server.heard());
    assert!(!server.heard().iter().any(|line| line.contains("SMTPUTF8")), "{:#?}", server.heard());
    let (report, _) = stage.the_failed_one();
    assert!(report.contains("554 5.6.7 not sent: expected SMTPUTF8"), "{report}");
    assert!(report.contains("where it is no text, as in an address"), "{report}");
    assert_eq!(service.stop(), 0);
}

/// They are on record with the first outcome, and go out again after it.
#[test]
fn what_the_producer_asks_of_notifications_is_passed_on() {
    let dots = AtomicUsize::new(0);
    let server = Server::scripted(move |asked| match offers(asked, "250-DSN\r\n") {
        Some(answer) => answer,
        None if asked.line == "." && dots.fetch_add(1, Ordering::SeqCst) == 0 => say("451 4.3.0 not now"),
        None => Answer::Usual,
    });
    let stage = Stage::new(&plain(server.port()), "received = false");
    let block = "X-Sender: <panel@example.com> RET=HDRS ENVID=a+2Bb SIZE=1\n\
                 X-Receiver: <ops@example.com> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x@example.com\n\
                 X-Receiver: <night@example.com> NOTIFY=SOMETIMES\n";
    stage.drop_in("1.eml", format!("{block}{}", letter("Subject: x\n", "y\n")));
    let service = stage.run();
    service.wait_log("WARN dsn-parameter-dropped parameter=\"NOTIFY=SOMETIMES\"");
    server.wait_taken(1);
    stage.wait_empty();
    let heard = server.heard();
    let count = |end: &str| heard.iter().filter(|line| line.ends_with(end)).count();
    assert_eq!(count(" RET=HDRS ENVID=a+2Bb"), 2, "{heard:#?}");
    assert_eq!(
        count("RCPT TO:<ops@example.com> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x@example.com"),
        2,
        "{heard:#?}"
    );
    assert_eq!(count("RCPT TO:<night@example.com>"), 2, "{heard:#?}");
    assert_eq!(service.stop(), 0);
}

/// What goes to the socket goes to the server, and the other way round.
pub(super) fn listen_at(path: &Path, port: u16) {
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (ours, theirs) = (stream.unwrap(), TcpStream::connect(("127.0.0.1", port)).unwrap());
            let (mut from, mut to): (UnixStream, TcpStream) =
                (ours.try_clone().unwrap(), theirs.try_clone().unwrap());
            thread::spawn(move || io::copy(&mut from, &mut to));
            thread::spawn(move || {
                let (mut from, mut to) = (theirs, ours);
                let copied = io::copy(&mut from, &mut to);
                to.shutdown(std::net::Shutdown::Both).and(copied)
            });
        }
    });
}

#[test]
fn a_unix_socket_may_be_logged_in_to_without_tls() {
    let options =
        Options { login: Some(("box", "geheim")), offers: vec!["AUTH PLAIN"], ..Options::default() };
    let server = Server::with(options, |_| Answer::Usual);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("smtp.sock");
    let login = "user = \"box\"\npassword = \"geheim\"";
    let stage = Stage::new(&format!("[[smarthost]]\nurl = \"unix:{}\"\n{login}\n", path.display()), "");
    stage.drop_letters([1, 2]);
    let service = stage.run();
    service.wait_log("WARN smarthost-unusable step=\"connecting\" smtp.sock: no such file or directory");
    listen_at(&path, server.port());
    server.wait_taken(2);
    stage.wait_empty();
    assert_eq!(server.count("AUTH PLAIN"), server.sessions());
    assert_eq!(service.stop(), 0);
}
