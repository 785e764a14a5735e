//! Which names are looked at.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// A pattern over a whole name: `*` any run of octets, `?` one octet; with `!` in front, every name that the rest
/// does not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// `*.eml`, and names without a dot.
    pub fn defaults() -> Vec<Pattern> {
        vec![Pattern("*.eml".into()), Pattern("!*.*".into())]
    }

    /// A pattern from its text.
    pub fn new(text: &str) -> Pattern {
        Pattern(text.to_owned())
    }

    /// Whether `name` is one that this pattern means.
    pub fn matches(&self, name: &OsStr) -> bool {
        match self.0.strip_prefix('!') {
            Some(rest) => !glob(rest.as_bytes(), name.as_bytes()),
            None => glob(self.0.as_bytes(), name.as_bytes()),
        }
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a producer writes under until it renames, and what we write ourselves: never looked at.
pub fn is_unfinished(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let endings: [&[u8]; 5] = [b".tmp", b".part", b".swp", b"~", b".rejected.txt"];
    name.starts_with(b".") || endings.iter().any(|e| name.ends_with(e))
}

/// Linear in both: on a mismatch only the last `*` takes one octet more.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, n));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match retry {
                Some((after_star, from)) => {
                    retry = Some((after_star, from + 1));
                    p = after_star;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

/// Names in the order in which people number them: runs of digits compare as numbers.
pub(super) fn natural_order(a: &OsStr, b: &OsStr) -> std::cmp::Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while let (Some(x), Some(y)) = (a.first(), b.first()) {
        let order = if x.is_ascii_digit() && y.is_ascii_digit() {
            let (x, rest_a) = digits(a);
            let (y, rest_b) = digits(b);
            (a, b) = (rest_a, rest_b);
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        } else {
            let order = x.cmp(y);
            (a, b) = (&a[1..], &b[1..]);
            order
        };
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

/// The run of digits in front, without leading zeros, and the rest.
fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|c| !c.is_ascii_digit()).unwrap_or(text.len());
    let (run, rest) = text.split_at(end);
    let zeros = run.iter().take_while(|c| **c == b'0').count();
    (&run[zeros..], rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_whole_names() {
        let any = |name: &str| Pattern::defaults().iter().any(|p| p.matches(OsStr::new(name)));
        for name in ["a.eml", ".eml", "mail", "a.b.eml", "a-1"] {
            assert!(any(name), "{name}");
        }
        for name in ["a.eml.gz", "a.txt", "a.", "x.EML"] {
            assert!(!any(name), "{name}");
        }
        let p = |pattern: &str, name: &str| Pattern::new(pattern).matches(OsStr::new(name));
        assert!(p("a*b?c", "axxbbyc") && !p("a*b?c", "abc") && p("**", "") && !p("?", ""));
        assert!(!p(&"*a".repeat(50), &"b".repeat(5_000)));
    }

    #[test]
    fn unfinished_names_are_left_alone() {
        for name in [".a.eml", "a.tmp", "a.eml.part", "a.eml.swp", "a.eml~", "a.eml.rejected.txt"] {
            assert!(is_unfinished(OsStr::new(name)), "{name}");
        }
        assert!(!is_unfinished(OsStr::new("a.eml")));
    }

    #[test]
    fn numbers_in_names_count_as_numbers() {
        let mut names = ["a10", "a9", "a2b10", "a2b9", "a", "b1", "a02", "a1x"].map(OsStr::new).to_vec();
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(names, ["a", "a1x", "a02", "a2b9", "a2b10", "a9", "a10", "b1"]);
    }
}
