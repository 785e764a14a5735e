//! The server's side of SMTP (`sendmail -bs`): the same in pieces of any size, a reply to each command and none to text, and a
//! message only with somebody to send it to.

use pillarbox::smtp::server::{Dialogue, Step};

pub(crate) fn run(data: &[u8]) {
    let whole = talk(data, data.len().max(1));
    for size in [1, 2, 7] {
        assert_eq!(talk(data, size), whole, "in pieces of {size}");
    }
}

/// All that was said, and each message with its envelope.
fn talk(data: &[u8], size: usize) -> (String, Vec<String>) {
    let mut dialogue = Dialogue::new("box.example.com", |text| !text.is_empty() && !text.contains(' '));
    let (mut replies, mut text, mut messages) = (Vec::new(), Vec::new(), Vec::new());
    'all: for piece in data.chunks(size) {
        let mut rest = piece;
        loop {
            match dialogue.advance(&mut rest, &mut replies, &mut text) {
                Step::Hungry => break,
                Step::Message(envelope) => {
                    assert!(!envelope.forward_paths.is_empty(), "a message for nobody");
                    messages.push(format!("{envelope:?} {:?}", String::from_utf8_lossy(&text)));
                    text.clear();
                }
                Step::Goodbye => break 'all,
            }
        }
        assert!(rest.is_empty(), "it is hungry, and something is left");
        assert_eq!(dialogue.is_within_message(), dialogue.envelope().is_some());
    }
    let said = String::from_utf8(replies).expect("replies are text");
    for line in said.split_terminator("\r\n") {
        let bytes = line.as_bytes();
        assert!(bytes.len() > 3 && bytes[..3].iter().all(u8::is_ascii_digit), "{line:?}");
        assert!(bytes.len() <= 510 && !line.contains(char::is_control), "{line:?}");
    }
    (said, messages)
}
