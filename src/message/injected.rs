//! The block that pickup folders know: `X-Sender:` and `X-Receiver:` at the very top (IIS, Exchange, .NET).

use std::ops::Range;

use super::header::Field;

/// What may stand in the block, as Exchange's pickup and replay directories write it.
const INJECTED: [&str; 8] = [
    "X-Sender",
    "X-Receiver",
    "X-CreatedBy",
    "X-ExtendedMessageProps",
    "X-ExtendedProps",
    "X-HeloDomain",
    "X-Source",
    "X-SourceIPAddress",
];

/// Ends the block. Its value means nothing, but for [`OURS`].
const MARKER: &str = "X-EndOfInjectedXHeaders";

/// The marker's value where the block was put in front of a message of any kind, as `sendmail` does it: what is called like a
/// line of the block behind it is the message's own.
const OURS: &[u8] = b"pillarbox";

/// What Exchange writes behind an address: parameters of MAIL and RCPT (RFC 3461, RFC 4954, RFC 6152).
const PARAMETERS: [&str; 6] = ["BODY=", "RET=", "ENVID=", "AUTH=", "NOTIFY=", "ORCPT="];

/// What NOTIFY can say (RFC 3461 section 4.1), in a list with commas of its own.
const NOTIFY: [&str; 4] = ["NEVER", "SUCCESS", "FAILURE", "DELAY"];

/// How many of the first fields are the block. Without an `X-Receiver` there is none: an `X-Sender` alone is
/// an ordinary field. Where the marker stands, everything called `X-` in front of it is part of the block.
pub(super) fn block_len(fields: &[Field], bytes: &[u8]) -> usize {
    let is_injected = |field: &Field| INJECTED.iter().any(|name| field.is(name, bytes));
    if !fields.first().is_some_and(is_injected) {
        return 0;
    }
    let extended = fields.iter().take_while(|f| f.has_prefix("X-", bytes));
    let len = match extended.clone().position(|f| f.is(MARKER, bytes)) {
        Some(marker) => marker + 1,
        None => fields.iter().take_while(|f| is_injected(f)).count(),
    };
    if fields[..len].iter().any(|f| f.is("X-Receiver", bytes)) { len } else { 0 }
}

/// Whether a block ends where whoever wrote it says so, whatever the message behind it begins with.
pub(super) fn is_ours(block: &[Field], bytes: &[u8]) -> bool {
    block.last().is_some_and(|f| f.is(MARKER, bytes) && f.value(bytes).trim_ascii() == OURS)
}

/// A parameter behind an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parameter {
    /// Where the element of the list begins to which it belongs.
    element: usize,
    /// Where it is itself.
    range: Range<usize>,
}

/// The parameters of one element of a list.
pub(super) struct Asked {
    /// The element, in the value without its parameters.
    pub(super) element: Range<usize>,
    /// `NOTIFY=NEVER`; those that mean nothing here are left out.
    pub(super) words: Vec<String>,
}

/// The parameters of DSN (RFC 3461) that stand behind addresses, by address. BODY is ours to decide, and AUTH is not passed on.
pub(super) fn asked(value: &[u8]) -> Vec<Asked> {
    let (_, parameters) = split_parameters(value);
    let mut asked: Vec<Asked> = Vec::new();
    for Parameter { element, range } in parameters {
        let text = &value[range.clone()];
        if begins(text, "BODY=") || begins(text, "AUTH=") {
            continue;
        }
        let word = String::from_utf8_lossy(text).into_owned();
        match asked.last_mut().filter(|last| last.element.start == element) {
            Some(last) => last.words.push(word),
            None => asked.push(Asked { element: element..range.start, words: vec![word] }),
        }
    }
    asked
}

/// The value with the parameters behind its addresses blanked out, so that offsets stay what they were.
pub(super) fn without_parameters(value: &[u8]) -> Vec<u8> {
    split_parameters(value).0
}

/// A comma ends a parameter, except between the words of NOTIFY.
fn split_parameters(value: &[u8]) -> (Vec<u8>, Vec<Parameter>) {
    let mut out = value.to_vec();
    let (mut found, mut element) = (Vec::new(), 0);
    let (mut at, mut depth, mut word_begins, mut behind_address) = (0, 0_usize, false, false);
    while at < value.len() {
        let byte = value[at];
        match byte {
            b'\\' => at += 1,
            b'"' if depth == 0 => at = quoted_end(value, at),
            b'(' | b'<' => depth += 1,
            b')' | b'>' => depth = depth.saturating_sub(1),
            _ if depth == 0 && word_begins && behind_address => {
                if let Some(end) = parameter_end(value, at) {
                    out[at..end].fill(b' ');
                    found.push(Parameter { element, range: at..end });
                    at = end;
                    continue;
                }
            }
            _ => {}
        }
        let is_blank = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        word_begins = is_blank || matches!(byte, b'>' | b')');
        // `notify=me@example.com` is an address where none is in front of it.
        let ends_element = byte == b',' && depth == 0;
        behind_address = if ends_element { false } else { behind_address || !is_blank };
        if ends_element {
            element = at + 1;
        }
        at += 1;
    }
    (out, found)
}

/// The last octet of the quoted string that begins at `at`.
fn quoted_end(value: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    while end < value.len() && value[end] != b'"' {
        end += if value[end] == b'\\' { 2 } else { 1 };
    }
    end
}

fn parameter_end(value: &[u8], at: usize) -> Option<usize> {
    let rest = &value[at..];
    let keyword = PARAMETERS.iter().find(|name| begins(rest, name))?;
    let word = |from: usize| {
        let ends = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n' | b',');
        value[from..].iter().position(ends).map_or(value.len(), |n| from + n)
    };
    let mut end = word(at);
    if *keyword == "NOTIFY=" {
        while let Some(next) = value.get(end + 1..).filter(|_| value[end] == b',') {
            let next_end = word(end + 1);
            let len = next_end - end - 1;
            if !NOTIFY.iter().any(|name| name.len() == len && begins(next, name)) {
                break;
            }
            end = next_end;
        }
    }
    Some(end)
}

fn begins(bytes: &[u8], with: &str) -> bool {
    bytes.get(..with.len()).is_some_and(|b| b.eq_ignore_ascii_case(with.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::{Header, Scan};
    use super::*;

    fn len(text: &str) -> usize {
        match Header::scan(text.as_bytes(), true) {
            Ok(Scan::Done(header)) => header.injected().len(),
            other => panic!("{other:?} for {text:?}"),
        }
    }

    #[test]
    fn the_block_is_at_the_very_top_and_has_a_receiver() {
        let rows = [
            (2, "X-Sender: a@b\nX-Receiver: c@d\nSubject: x\n\n"),
            (2, "x-receiver: c@d\nX-RECEIVER: e@f\n\n"),
            (1, "From x y\nX-Receiver: c@d\n\n"),
            (0, "X-Sender: a@b\nSubject: x\n\n"),
            (0, "Subject: x\nX-Sender: a@b\nX-Receiver: c@d\n\n"),
            (0, "X-Mailer: x\nX-Receiver: c@d\nX-EndOfInjectedXHeaders: 1\n\n"),
            (2, "X-Sender: a@b\nX-Receiver: c@d\nX-Mailer: x\nX-Sender: e@f\n\n"),
            (4, "X-Sender: a@b\nX-Receiver: c@d\nX-Mailer: x\nX-EndOfInjectedXHeaders: 77\nX-Keep: 1\n\n"),
            (
                3,
                "X-Sender: a@b\nX-Receiver: c@d\nX-CreatedBy: MSExchange15\nReceived: x\nX-EndOfInjectedXHeaders: 1\n\n",
            ),
            (0, "X-Sender: a@b\nX-EndOfInjectedXHeaders: 1\nX-Receiver: c@d\n\n"),
            (0, "X-EndOfInjectedXHeaders: 1\nX-Receiver: c@d\n\n"),
        ];
        for (want, text) in rows {
            assert_eq!(len(text), want, "{text:?}");
        }
    }

    #[test]
    fn parameters_are_told_by_address() {
        let value = b"<a@b> NOTIFY=SUCCESS,DELAY ORCPT=x BODY=7BIT, c@d, e@f\r\n auth=<> notify=NEVER";
        let shown: Vec<(&[u8], String)> =
            asked(value).into_iter().map(|a| (value[a.element].trim_ascii(), a.words.join(" "))).collect();
        let want: [(&[u8], &str); 2] =
            [(b"<a@b>", "NOTIFY=SUCCESS,DELAY ORCPT=x"), (b"e@f\r\n auth=<>", "notify=NEVER")];
        assert_eq!(shown, want.map(|(element, words)| (element, words.to_owned())));
    }

    #[test]
    fn parameters_are_blanked_and_nothing_moves() {
        let rows = [
            ("<a@b> BODY=7bit RET=HDRS ENVID=1 auth=<x>", "<a@b>"),
            ("<a@b> NOTIFY=SUCCESS,FAILURE,DELAY ORcpt=rfc822;a@b", "<a@b>"),
            ("<a@b>NOTIFY=never", "<a@b>"),
            ("a@b NOTIFY=SUCCESS,DELAY,failure@x.org", "a@b ,failure@x.org"),
            ("a@b NOTIFY=NEVER, c@d\r\n ORCPT=x,e@f", "a@b , c@d ,e@f"),
            ("a@b NOTIFY=NEVER,", "a@b ,"),
            ("notify=me@b.c, notify=you@b.c", "notify=me@b.c, notify=you@b.c"),
            ("\"x RET=FULL\" <a@b>", "\"x RET=FULL\" <a@b>"),
            ("(x RET=FULL) a@b", "(x RET=FULL) a@b"),
            ("<a@b> SIZE=5", "<a@b> SIZE=5"),
            ("\"unclosed \\", "\"unclosed \\"),
        ];
        for (value, want) in rows {
            let out = without_parameters(value.as_bytes());
            assert_eq!(out.len(), value.len());
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(words(&String::from_utf8(out).unwrap()), words(want));
        }
    }
}
