//! `[aliases]`: names and addresses that stand for others.
//!
//! As in aliases(5): a name is looked up as a name first; a target may be an alias itself; an alias that names itself goes
//! on to the address of that name. Keys compare without regard to case, in both parts of an address.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use super::{Listed, parse_address_list};
use crate::mail::Mailbox;

/// Most aliases from a name to the addresses that it stands for, one behind the other.
pub const ALIAS_DEPTH_MAX: usize = 32;

/// Most targets of all aliases together.
pub const ALIAS_TARGETS_MAX: usize = 100_000;

/// The alias of every local name that has none of its own.
const ANY: &str = "*";

/// One recipient, or one target of an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A local part without a domain.
    Name(String),
    /// An address.
    Mailbox(Mailbox),
}

/// The aliases of this host. Free of loops by construction.
#[derive(Debug, Clone, Default)]
pub struct Aliases {
    /// By their keys in lower case.
    targets: BTreeMap<String, Vec<Target>>,
    /// Completes a name.
    domain: Option<String>,
    /// Domains whose addresses are those of local names, in lower case.
    local: Vec<String>,
}

/// Which alias is wrong, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasError {
    /// Its key, as it was given.
    pub key: String,
    /// Cause and cure.
    pub message: String,
}

/// One step on the way from a recipient to addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<'a> {
    /// `recipient` is known under `key`; what that stands for follows, one deeper.
    Alias {
        /// What was looked up.
        recipient: &'a Target,
        /// In lower case.
        key: &'a str,
    },
    /// The same, and what it stands for was told before.
    Again {
        /// What was looked up.
        recipient: &'a Target,
        /// In lower case.
        key: &'a str,
    },
    /// It is sent to this address.
    Address {
        /// What was looked up.
        recipient: &'a Target,
        /// With its domain.
        mailbox: Mailbox,
    },
    /// A name that is no alias, and makes no address with the domain there is: why.
    NoAddress {
        /// What was looked up.
        recipient: &'a Target,
        /// What fits after "which".
        why: String,
    },
}

/// Aliases that were expanded already: each is expanded once.
#[derive(Debug, Clone, Default)]
pub struct Expanded<'a>(BTreeSet<&'a str>);

impl Aliases {
    /// No aliases; names are completed by `domain`.
    pub fn none(domain: Option<&str>) -> Aliases {
        Aliases { domain: domain.map(str::to_owned), ..Aliases::default() }
    }

    /// From keys and what they stand for, for a host whose names are completed by `domain`, and for whose own addresses
    /// `local` are further domains.
    ///
    /// # Errors
    ///
    /// The first that cannot be read, that leads back to itself by way of others, or that goes too deep.
    pub fn new<'t>(
        entries: impl IntoIterator<Item = (&'t str, &'t [String])>,
        domain: Option<&str>,
        local: &[&str],
    ) -> Result<Aliases, AliasError> {
        let local = domain.iter().chain(local).map(|domain| domain.to_lowercase()).collect();
        let mut aliases = Aliases { targets: BTreeMap::new(), domain: domain.map(str::to_owned), local };
        let (mut as_given, mut total) = (HashMap::new(), 0);
        for (given, texts) in entries {
            let error = |message: String| AliasError { key: given.to_owned(), message };
            let key = key(given).map_err(error)?;
            let targets = targets(given, texts).map_err(error)?;
            total += targets.len();
            if total > ALIAS_TARGETS_MAX {
                return Err(error(format!(
                    "expected at most {ALIAS_TARGETS_MAX} targets of all aliases, found more"
                )));
            }
            if let Some(before) = as_given.insert(key.clone(), given) {
                return Err(error(format!(
                    "the alias {given:?} is there already, as {before:?}: case does not tell them apart"
                )));
            }
            aliases.targets.insert(key, targets);
        }
        let mut heights = HashMap::new();
        for key in aliases.targets.keys() {
            aliases.height(key, &mut Vec::new(), &mut heights).map_err(|message| AliasError {
                key: as_given.get(key).map_or_else(|| key.clone(), |given| (*given).to_owned()),
                message,
            })?;
        }
        Ok(aliases)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Tells the steps from `recipient` to the addresses that it stands for, each with how deep it is.
    pub fn expand<'a: 'r, 'r>(
        &'a self,
        recipient: &'r Target,
        expanded: &mut Expanded<'a>,
        tell: &mut impl FnMut(usize, Step<'r>),
    ) {
        self.walk(recipient, None, 0, expanded, tell);
    }

    /// `within` is the alias whose target it is.
    fn walk<'a: 'r, 'r>(
        &'a self,
        recipient: &'r Target,
        within: Option<&str>,
        depth: usize,
        expanded: &mut Expanded<'a>,
        tell: &mut impl FnMut(usize, Step<'r>),
    ) {
        match self.find(recipient, within) {
            Some((key, _)) if !expanded.0.insert(key) => tell(depth, Step::Again { recipient, key }),
            Some((key, targets)) => {
                tell(depth, Step::Alias { recipient, key });
                for target in targets {
                    self.walk(target, Some(key), depth + 1, expanded, tell);
                }
            }
            None => tell(
                depth,
                match self.complete(recipient) {
                    Ok(mailbox) => Step::Address { recipient, mailbox },
                    Err(why) => Step::NoAddress { recipient, why },
                },
            ),
        }
    }

    /// The alias of `recipient`. What an alias names is never looked up as that alias again, nor as "*".
    fn find(&self, recipient: &Target, within: Option<&str>) -> Option<(&str, &[Target])> {
        if self.targets.is_empty() {
            return None;
        }
        let (mut keys, is_local) = (Vec::with_capacity(3), self.is_local(recipient));
        match recipient {
            Target::Name(name) => {
                keys.push(name.to_lowercase());
                keys.extend(self.domain.iter().map(|domain| format!("{name}@{domain}").to_lowercase()));
            }
            Target::Mailbox(mailbox) => {
                keys.push(mailbox.as_str().to_lowercase());
                keys.extend(is_local.then(|| mailbox.local_part().to_lowercase()));
            }
        }
        keys.extend((is_local && within.is_none()).then(|| ANY.to_owned()));
        for key in &keys {
            match self.targets.get_key_value(key) {
                // It names itself, and goes on to the address.
                Some((key, _)) if within == Some(key) => return None,
                Some((key, targets)) => return Some((key, targets)),
                None => {}
            }
        }
        None
    }

    fn is_local(&self, recipient: &Target) -> bool {
        match recipient {
            Target::Name(_) => true,
            Target::Mailbox(mailbox) => self.local.contains(&mailbox.domain().to_lowercase()),
        }
    }

    fn complete(&self, recipient: &Target) -> Result<Mailbox, String> {
        match (recipient, &self.domain) {
            (Target::Mailbox(mailbox), _) => Ok(mailbox.clone()),
            (Target::Name(_), None) => Err("has no domain and is none of [aliases]".into()),
            (Target::Name(name), Some(domain)) => format!("{name}@{domain}")
                .parse::<Mailbox>()
                .map_err(|e| format!("got the domain {domain:?}: {e}")),
        }
    }

    /// How many aliases stand one behind the other from `key` on. `path` leads to it.
    fn height<'a>(
        &'a self,
        key: &'a str,
        path: &mut Vec<&'a str>,
        heights: &mut HashMap<&'a str, usize>,
    ) -> Result<usize, String> {
        if let Some(height) = heights.get(key) {
            return Ok(*height);
        }
        if let Some(start) = path.iter().position(|before| *before == key) {
            let round = [&path[start..], &[key]].concat().join(" -> ");
            return Err(format!(
                "the aliases go round in a circle: {round}; take one of these targets out, or give an address in its place"
            ));
        }
        path.push(key);
        let too_deep = |path: &[&str]| {
            Err(format!(
                "expected at most {ALIAS_DEPTH_MAX} aliases one behind the other, found more from {:?} on",
                path[0]
            ))
        };
        if path.len() > ALIAS_DEPTH_MAX {
            return too_deep(path);
        }
        let mut height = 1;
        for target in self.targets.get(key).into_iter().flatten() {
            if let Some((next, _)) = self.find(target, Some(key)) {
                height = height.max(1 + self.height(next, path, heights)?);
            }
        }
        if height > ALIAS_DEPTH_MAX {
            return too_deep(path);
        }
        path.pop();
        heights.insert(key, height);
        Ok(height)
    }
}

/// A key in the form in which it is looked up.
fn key(given: &str) -> Result<String, String> {
    let mut listed = parse_address_list(given.as_bytes()).into_iter();
    match (listed.next(), listed.next()) {
        _ if given == ANY => Ok(ANY.to_owned()),
        _ if given.contains(ANY) => {
            Err(format!("expected a name, an address or \"*\" alone as the key of an alias, found {given:?}"))
        }
        (Some(Listed::Bare(name)), None) => Ok(name.to_lowercase()),
        (Some(Listed::Mailbox(mailbox)), None) => Ok(mailbox.as_str().to_lowercase()),
        (Some(Listed::Unreadable { why, .. }), None) => {
            Err(format!("{given:?} cannot be the key of an alias: {why}"))
        }
        _ => Err(format!("expected one name or address as the key of an alias, found {given:?}")),
    }
}

fn targets(key: &str, texts: &[String]) -> Result<Vec<Target>, String> {
    let mut targets = Vec::new();
    for text in texts {
        if let Some(what) = foreign(text) {
            return Err(format!(
                "the alias {key:?} leads to {text:?}, {what}: mail goes to addresses and names only; name one in its place, or \
                 take the line out"
            ));
        }
        for listed in parse_address_list(text.as_bytes()) {
            targets.push(match listed {
                Listed::Mailbox(mailbox) => Target::Mailbox(mailbox),
                Listed::Bare(name) if name != ANY => Target::Name(name),
                Listed::Bare(_) => {
                    return Err(format!("the alias {key:?} leads to \"*\": expected an address or a name"));
                }
                Listed::Unreadable { text, why, .. } => {
                    return Err(format!("the alias {key:?} leads to {text:?}: {why}"));
                }
            });
        }
    }
    match targets.is_empty() {
        true => Err(format!("the alias {key:?} leads to nobody: expected at least one address or name")),
        false => Ok(targets),
    }
}

/// What aliases(5) knows and nobody here can deliver to.
fn foreign(text: &str) -> Option<&'static str> {
    let text = text.trim_start_matches(['"', ' ']);
    match text.as_bytes().first() {
        Some(b'|') => Some("a program"),
        Some(b'/') => Some("a file"),
        _ if text.get(..9).is_some_and(|start| start.eq_ignore_ascii_case(":include:")) => {
            Some("a list in a file")
        }
        _ => None,
    }
}

impl Target {
    /// Reads one name or address.
    ///
    /// # Errors
    ///
    /// Why it is neither.
    pub fn parse(text: &str) -> Result<Target, String> {
        let mut listed = parse_address_list(text.as_bytes()).into_iter();
        match (listed.next(), listed.next()) {
            (Some(Listed::Mailbox(mailbox)), None) => Ok(Target::Mailbox(mailbox)),
            (Some(Listed::Bare(name)), None) => Ok(Target::Name(name)),
            (Some(Listed::Unreadable { why, .. }), None) => Err(why),
            _ => Err(format!("expected one address or name, found {text:?}")),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Name(name) => f.write_str(name),
            Target::Mailbox(mailbox) => mailbox.fmt(f),
        }
    }
}

impl fmt::Display for AliasError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for AliasError {}

#[cfg(test)]
mod tests {
    use super::*;

    type Entries<'t> = &'t [(&'t str, &'t [&'t str])];

    fn aliases(rows: Entries<'_>, domain: Option<&str>) -> Result<Aliases, String> {
        let rows: Vec<(&str, Vec<String>)> =
            rows.iter().map(|(key, to)| (*key, to.iter().map(|t| (*t).to_owned()).collect())).collect();
        let entries = rows.iter().map(|(key, to)| (*key, to.as_slice()));
        Aliases::new(entries, domain, &["box.x.org"]).map_err(|e| format!("{}: {e}", e.key))
    }

    fn expanded(aliases: &Aliases, text: &str) -> String {
        let mut out = Vec::new();
        let target = Target::parse(text).unwrap();
        aliases.expand(&target, &mut Expanded::default(), &mut |_, step| match step {
            Step::Address { mailbox, .. } => out.push(mailbox.to_string()),
            Step::NoAddress { why, .. } => out.push(format!("?{why}")),
            Step::Again { key, .. } => out.push(format!("({key})")),
            Step::Alias { .. } => {}
        });
        out.join(" ")
    }

    #[test]
    fn names_and_addresses_stand_for_others() {
        let known = aliases(
            &[
                ("root", &["ops"]),
                ("Ops", &["a@e.f", "b@e.f", "ann"]),
                ("self", &["self", "a@e.f"]),
                ("here", &["here@X.org", "a@e.f"]),
                ("Old@E.f", &["new@e.f"]),
                ("loud@x.org", &["z@e.f"]),
                ("two", &["Ann <a@e.f>, b@e.f"]),
                ("diamond", &["root", "ops", "root"]),
            ],
            Some("x.org"),
        )
        .unwrap();
        let rows = [
            ("root", "a@e.f b@e.f ann@x.org"),
            ("ROOT", "a@e.f b@e.f ann@x.org"),
            ("root@x.org", "a@e.f b@e.f ann@x.org"),
            ("root@Box.X.org", "a@e.f b@e.f ann@x.org"),
            ("root@e.f", "root@e.f"),
            ("self", "self@x.org a@e.f"),
            ("here", "here@X.org a@e.f"),
            ("old@E.F", "new@e.f"),
            ("old", "old@x.org"),
            ("loud", "z@e.f"),
            ("loud@box.x.org", "loud@box.x.org"),
            ("two", "a@e.f b@e.f"),
            ("diamond", "a@e.f b@e.f ann@x.org (ops) (root)"),
        ];
        for (text, want) in rows {
            assert_eq!(expanded(&known, text), want, "{text}");
        }
    }

    #[test]
    fn a_star_is_for_local_names_that_nobody_named() {
        let rows: [(Entries<'_>, &str, &str); 8] = [
            (&[("*", &["ops@e.f"])], "anybody", "ops@e.f"),
            (&[("*", &["ops@e.f"])], "anybody@x.org", "ops@e.f"),
            (&[("*", &["ops@e.f"])], "anybody@e.f", "anybody@e.f"),
            (&[("*", &["ops@x.org"])], "ops", "ops@x.org"),
            (&[("*", &["ops"])], "anybody", "ops@x.org"),
            (&[("*", &["ops"]), ("ops", &["a@e.f"])], "anybody", "a@e.f"),
            (&[("*", &["ops@e.f"]), ("root", &["ann", "b@x.org"])], "root", "ann@x.org b@x.org"),
            (&[("*", &["ops@e.f"]), ("root", &["root"])], "root", "root@x.org"),
        ];
        for (entries, text, want) in rows {
            assert_eq!(
                expanded(&aliases(entries, Some("x.org")).unwrap(), text),
                want,
                "{text} of {entries:?}"
            );
        }
    }

    #[test]
    fn a_name_without_a_domain_is_no_address() {
        let known = aliases(&[("root", &["ops"])], None).unwrap();
        assert_eq!(expanded(&known, "root"), "?has no domain and is none of [aliases]");
        assert_eq!(expanded(&known, "root@box.x.org"), "?has no domain and is none of [aliases]");
    }

    #[test]
    fn circles_and_what_is_no_alias_are_refused_with_the_cure() {
        let rows: [(Entries<'_>, &str); 13] = [
            (
                &[("a", &["b"]), ("b", &["a"])],
                "a: the aliases go round in a circle: a -> b -> a; take one of",
            ),
            (
                &[("A", &["x@y.z", "b@x.org"]), ("b", &["c"]), ("c", &["a@box.x.org"])],
                "A: the aliases go round in a circle: a -> b -> c -> a",
            ),
            (
                &[("a@x.org", &["b"]), ("b", &["a"])],
                "a@x.org: the aliases go round in a circle: a@x.org -> b",
            ),
            (
                &[("*", &["a"]), ("a", &["b"]), ("b", &["a"])],
                "*: the aliases go round in a circle: a -> b -> a",
            ),
            (&[("a", &[])], "a: the alias \"a\" leads to nobody: expected at least one"),
            (&[("a", &["b c"])], "a: the alias \"a\" leads to \"b c\": "),
            (&[("a", &["*"])], "a: the alias \"a\" leads to \"*\""),
            (&[("a", &["| /bin/x"])], "a: the alias \"a\" leads to \"| /bin/x\", a program: mail goes to"),
            (&[("a", &["/dev/null"])], "a: the alias \"a\" leads to \"/dev/null\", a file"),
            (&[("a", &[":include:/x"])], "a: the alias \"a\" leads to \":include:/x\", a list in a file"),
            (&[("a b", &["c@d.e"])], "a b: \"a b\" cannot be the key of an alias: "),
            (&[("*@x.org", &["c@d.e"])], "*@x.org: expected a name, an address or \"*\" alone"),
            (
                &[("Root", &["c@d.e"]), ("root", &["c@d.e"])],
                "root: the alias \"root\" is there already, as \"Root\"",
            ),
        ];
        for (entries, want) in rows {
            let error = aliases(entries, Some("x.org")).unwrap_err();
            assert!(error.starts_with(want), "{error}");
        }
    }

    #[test]
    fn a_chain_is_bounded_whichever_end_is_read_first() {
        for flip in [false, true] {
            for (len, fits) in [(ALIAS_DEPTH_MAX, true), (ALIAS_DEPTH_MAX + 1, false), (5000, false)] {
                let number = |n: usize| format!("n{:05}", if flip { 10_000 - n } else { n });
                let rows: Vec<(String, Vec<String>)> =
                    (0..len).map(|n| (number(n), vec![number(n + 1)])).collect();
                let entries = rows.iter().map(|(key, to)| (key.as_str(), to.as_slice()));
                let made = Aliases::new(entries, Some("x.org"), &[]);
                assert_eq!(made.is_ok(), fits, "{len} {flip}");
                if let Ok(made) = made {
                    assert_eq!(expanded(&made, &number(0)), format!("{}@x.org", number(len)));
                }
            }
        }
    }
}
