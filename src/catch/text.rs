//! What follows 354: the message up to its final dot.

use crate::smtp::server::Data;

/// Reads the data of a message and keeps them, as long as they are not too long.
#[derive(Debug)]
pub(super) struct Text {
    data: Data,
    bytes: Vec<u8>,
    most: usize,
    too_long: bool,
}

impl Text {
    /// For a message of at most `most` bytes.
    pub(super) fn new(most: usize) -> Self {
        Text { data: Data::new(false), bytes: Vec::new(), most, too_long: false }
    }

    /// Takes from the front of `input` what belongs to the message. True once the final dot was read; the
    /// rest of `input` then is the next command.
    pub(super) fn read(&mut self, input: &mut &[u8]) -> bool {
        let has_ended = self.data.read(input, &mut self.bytes);
        if self.too_long || self.bytes.len() > self.most {
            // The end still has to be found, but nothing needs to be kept for that.
            self.too_long = true;
            self.bytes = Vec::new();
        }
        has_ended
    }

    /// The message, unless it was longer than allowed.
    pub(super) fn into_bytes(self) -> Option<Vec<u8>> {
        (!self.too_long).then_some(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message and what is left behind its end, fed in pieces of each size.
    fn read(sent: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut seen = Vec::new();
        for size in 1..=sent.len() {
            let mut text = Text::new(1000);
            let mut found = None;
            let mut at = 0;
            for piece in sent.chunks(size) {
                let mut input = piece;
                at += piece.len();
                if text.read(&mut input) {
                    found = Some(at - input.len());
                    break;
                }
            }
            seen.push(found.map(|at| (text.into_bytes().unwrap(), sent[at..].to_vec())));
        }
        assert!(seen.windows(2).all(|w| w[0] == w[1]), "the pieces made a difference: {seen:?}");
        seen.pop().unwrap()
    }

    fn message(sent: &[u8]) -> Vec<u8> {
        read(sent).expect("the end was not found").0
    }

    #[test]
    fn stuffed_dots_are_removed_and_others_kept() {
        assert_eq!(message(b"a\r\n..\r\n...b\r\nc.\r\n.\r\n"), b"a\r\n.\r\n..b\r\nc.\r\n");
        assert_eq!(message(b"..first\r\n.\r\n"), b".first\r\n");
        assert_eq!(message(b".\r\n"), b"");
        assert_eq!(message(b"\r\n.\r\n"), b"\r\n");
    }

    #[test]
    fn what_follows_the_end_is_left_for_the_commands() {
        assert_eq!(read(b"a\r\n.\r\nRSET\r\n"), Some((b"a\r\n".to_vec(), b"RSET\r\n".to_vec())));
    }

    #[test]
    fn only_crlf_dot_crlf_ends() {
        for not_an_end in
            ["a\n.\n", "a\n.\r\n", "a\r\n.\n", "a\r.\r", "a\r.\r\n", "a\r\n.\r", "a\r\n.\rb", "a.\r\n", ".\n"]
        {
            assert_eq!(read(not_an_end.as_bytes()), None, "{not_an_end:?} ended the data");
        }
        assert_eq!(message(b"a\n.\r\nb\r\n.\nc\r\n.\rd\r\n.\r\n"), b"a\n.\r\nb\r\n\nc\r\n\rd\r\n");
        assert_eq!(message(b"a\r\r\n.\r\n"), b"a\r\r\n");
        assert_eq!(message(b".\r\r\n.\r\n"), b"\r\r\n");
    }

    #[test]
    fn a_message_that_is_too_long_is_read_to_its_end() {
        let mut text = Text::new(4);
        let mut input: &[u8] = b"12345\r\n.\r\nQUIT";
        assert!(text.read(&mut input));
        assert_eq!((text.into_bytes(), input), (None, &b"QUIT"[..]));
    }
}
