//! Fields with a grammar (RFC 5322 section 3.2): what of them is text, and may be encoded.

use super::words::{Folded, Word};

/// What may stand for text in a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grammar {
    /// Addresses with names in front of them.
    Addresses,
    /// Phrases with commas between them.
    Phrases,
    /// Nothing but comments.
    Comments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// An atom, a quoted string, a dot: part of a word.
    Word,
    Comment,
    /// One of `< > , ; :`.
    Special(u8),
}

#[derive(Debug, Clone)]
struct Token<'a> {
    kind: Kind,
    blank: &'a [u8],
    raw: &'a [u8],
    is_phrase: bool,
}

/// Writes the value of a field with what is text encoded. `None` if something else is not ASCII.
pub(super) fn write(value: &[u8], grammar: Grammar, folded: &mut Folded<'_>) -> Option<()> {
    let (mut tokens, tail) = tokens(value);
    mark_phrases(&mut tokens, grammar);
    let is_fixed = |t: &Token<'_>| t.kind != Kind::Comment && !t.is_phrase;
    if tokens.iter().any(|t| is_fixed(t) && !t.raw.is_ascii()) {
        return None;
    }
    let mut at = 0;
    // An encoded word in a phrase has white space on both sides (RFC 2047 section 5 rule 3).
    let mut wants_blank = false;
    while let Some(token) = tokens.get(at) {
        let blank: &[u8] = if wants_blank && token.blank.is_empty() { b" " } else { token.blank };
        wants_blank = false;
        match token.kind {
            Kind::Comment if !token.raw.is_ascii() => {
                let text = comment_text(token.raw);
                folded.put(blank, b"(");
                folded.encoded(b"", &text);
                folded.put(b"", b")");
                at += 1;
            }
            Kind::Word if token.is_phrase => {
                let mut words = words(&tokens[at..]);
                at += words.1;
                if let Some(first) = words.0.first_mut().filter(|w| w.blank.is_empty() && !w.raw.is_ascii()) {
                    first.blank = b" ";
                }
                wants_blank = words.0.last().is_some_and(|w| !w.raw.is_ascii());
                folded.words(&words.0);
            }
            _ => {
                folded.put(blank, token.raw);
                at += 1;
            }
        }
    }
    folded.put(b"", tail);
    Some(())
}

/// The words at the beginning of `tokens`, up to a comment or a special, and how many tokens they are. What stands
/// together without white space is one word.
fn words<'a>(tokens: &[Token<'a>]) -> (Vec<Word<'a>>, usize) {
    let mut words: Vec<Word<'a>> = Vec::new();
    let count = tokens.iter().take_while(|t| t.is_phrase && t.kind == Kind::Word).count();
    for token in &tokens[..count] {
        words.push(Word { blank: token.blank, raw: token.raw, text: word_text(token.raw) });
    }
    (words, count)
}

/// The tokens of a value, and the white space behind them.
fn tokens(value: &[u8]) -> (Vec<Token<'_>>, &[u8]) {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        let start = at;
        while value.get(at).is_some_and(|b| is_blank(*b)) {
            at += 1;
        }
        let blank = &value[start..at];
        let Some(first) = value.get(at) else { return (tokens, blank) };
        let begin = at;
        let kind = match first {
            b'(' => {
                at = comment_end(value, at);
                Kind::Comment
            }
            b'<' | b'>' | b',' | b';' | b':' => {
                at += 1;
                Kind::Special(*first)
            }
            _ => {
                at = word_end(value, at);
                Kind::Word
            }
        };
        tokens.push(Token { kind, blank, raw: &value[begin..at], is_phrase: false });
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn comment_end(value: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_usize);
    while at < value.len() {
        match value[at] {
            b'\\' => at += 1,
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    at.min(value.len())
}

/// Behind the last octet of a word: atoms, quoted strings, literals and dots that stand together.
fn word_end(value: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(byte) = value.get(at) {
        match byte {
            b'"' => at += super::super::parameters::unquoted(&value[at..]).1,
            b'[' => at += value[at..].iter().position(|b| *b == b']').map_or(value.len() - at, |n| n + 1),
            b'(' | b'<' | b'>' | b',' | b';' | b':' => break,
            byte if is_blank(*byte) => break,
            _ => at += 1,
        }
    }
    at
}

/// What stands in front of `<` or of the `:` of a group is a phrase, and so is what has no `@` at all.
fn mark_phrases(tokens: &mut [Token<'_>], grammar: Grammar) {
    if grammar == Grammar::Comments {
        return;
    }
    let mut start = 0;
    while start < tokens.len() {
        let ends = |t: &Token<'_>| matches!(t.kind, Kind::Special(_));
        let end = tokens[start..].iter().position(ends).map_or(tokens.len(), |n| start + n);
        let by = tokens.get(end).map(|t| t.kind);
        let has_at = tokens[start..end].iter().any(|t| t.kind == Kind::Word && t.raw.contains(&b'@'));
        let is_phrase = grammar == Grammar::Phrases
            || !has_at
            || matches!(by, Some(Kind::Special(b'<') | Kind::Special(b':')));
        tokens[start..end].iter_mut().for_each(|t| t.is_phrase = is_phrase);
        start = end + 1;
        if by == Some(Kind::Special(b'<')) && grammar == Grammar::Addresses {
            // An address, up to its end.
            let close = |t: &Token<'_>| t.kind == Kind::Special(b'>');
            start = tokens[start..].iter().position(close).map_or(tokens.len(), |n| start + n + 1);
        }
    }
}

/// A word without its quotes.
fn word_text(raw: &[u8]) -> Vec<u8> {
    let (mut text, mut at) = (Vec::new(), 0);
    while at < raw.len() {
        if raw[at] == b'"' {
            let (inside, len) = super::super::parameters::unquoted(&raw[at..]);
            text.extend(inside);
            at += len;
        } else {
            text.push(raw[at]);
            at += 1;
        }
    }
    text
}

/// A comment without its parentheses and line ends; one inside it keeps its own.
fn comment_text(raw: &[u8]) -> Vec<u8> {
    let inside = raw.strip_prefix(b"(").unwrap_or(raw);
    let inside = inside.strip_suffix(b")").unwrap_or(inside);
    let (mut text, mut escaped) = (Vec::new(), false);
    for byte in inside {
        match byte {
            b'\\' if !escaped => escaped = true,
            b'\r' | b'\n' => {}
            byte => {
                text.push(*byte);
                escaped = false;
            }
        }
    }
    text
}
