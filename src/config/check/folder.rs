//! `[folder.NAME]`: where files are dropped besides `pickup/`.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::super::raw::{At, OneOrMore, RawFolder};
use super::super::{Folder, Identity, Pickup};
use super::addresses::{force_from, template};
use super::{ConfigError, Layers, patterns, positive};
use crate::mail::Mailbox;
use crate::message::Places;
use crate::pickup::Pattern;

/// Longest NAME.
const NAME_MAX: usize = 40;

/// What a producer is known to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// As `pickup/`.
    Plain,
    /// `SpecifiedPickupDirectory` of .NET.
    DotNet,
    /// The pickup directory of the SMTP service of IIS: any name, dots doubled.
    Iis,
    /// The pickup or the replay directory of Exchange.
    Exchange,
    /// A Maildir: what is delivered to `new/`.
    Maildir,
    /// Any file is the text of a message.
    Text,
}

/// One folder in all layers.
struct Section<'a> {
    layers: &'a Layers,
    name: &'a str,
    identity: &'a Identity,
}

pub(super) fn check_all(
    layers: &Layers,
    spool_dir: &Path,
    identity: &Identity,
) -> Result<Vec<Folder>, ConfigError> {
    let names: BTreeSet<&String> = layers.layers.iter().flat_map(|(_, raw)| raw.folder.keys()).collect();
    let mut folders: Vec<Folder> = Vec::new();
    for name in names {
        let section = Section { layers, name, identity };
        let folder = section.check()?;
        section.check_place(&folder, spool_dir, &folders)?;
        folders.push(folder);
    }
    Ok(folders)
}

impl Section<'_> {
    fn value<T, V>(
        &self,
        key: impl Fn(&RawFolder) -> &At<T>,
        parse: impl Fn(&T) -> Result<V, String>,
    ) -> Result<Option<V>, ConfigError> {
        let sections = self
            .layers
            .layers
            .iter()
            .rev()
            .filter_map(|(source, raw)| Some((source, raw.folder.get(self.name)?)));
        let mut values =
            sections.filter_map(|(source, folder)| Some((source, key(folder.get_ref()).as_ref()?)));
        values.next().map(|(source, value)| super::at(source, value, &parse)).transpose()
    }

    fn text<V>(
        &self,
        key: impl Fn(&RawFolder) -> &At<String>,
        parse: impl Fn(&str) -> Result<V, String>,
    ) -> Result<Option<V>, ConfigError> {
        self.value(key, |text| parse(text))
    }

    /// An error about the section as a whole, at the place where it was named last.
    fn error(&self, message: impl Into<String>) -> ConfigError {
        let place = self
            .layers
            .layers
            .iter()
            .rev()
            .find_map(|(source, raw)| Some((source, raw.folder.get(self.name)?)));
        match place {
            Some((source, folder)) => source.error(folder.span(), message),
            None => ConfigError::new(format!("[folder.{}]", self.name), message),
        }
    }

    fn check(&self) -> Result<Folder, ConfigError> {
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty()
            || self.name.len() > NAME_MAX
            || !self.name.chars().all(is_name)
            || self.name == "pickup"
        {
            return Err(self.error(format!(
                "expected a name of a to z, 0 to 9 and -, at most {NAME_MAX} long and not pickup, found {:?}",
                self.name
            )));
        }
        let dialect = self.text(|f| &f.dialect, dialect)?.unwrap_or(Dialect::Plain);
        let Some(dir) = self.text(|f| &f.dir, absolute)? else {
            return Err(self.error(format!("[folder.{}] has no dir", self.name)));
        };
        let to = self.value(|f| &f.to, recipients)?.unwrap_or_default();
        if dialect == Dialect::Text && to.is_empty() {
            let message = format!("[folder.{}] has no to: a text names no recipient", self.name);
            return Err(self.error(message).hint("to = \"ops@example.com\""));
        }
        let Identity { hostname, domain, from: of_host, .. } = self.identity;
        let places = Places { user: "user", hostname, domain: domain.as_deref() };
        let from = self.text(|f| &f.from, |text| template(text, &places).map(|_| text.to_owned()))?;
        let force_from = self.text(|f| &f.force_from, force_from)?;
        if force_from.is_some() && from.is_none() && of_host.is_none() {
            let message = format!("[folder.{}] has force_from and no from", self.name);
            return Err(self.error(message).hint("from = \"box@example.com\""));
        }
        Ok(Folder {
            name: self.name.to_owned(),
            dir: if dialect == Dialect::Maildir { dir.join("new") } else { dir },
            pickup: self.pickup(dialect)?,
            is_text: dialect == Dialect::Text,
            to,
            from,
            force_from,
            outcomes: self.text(|f| &f.outcomes, absolute)?,
        })
    }

    fn pickup(&self, dialect: Dialect) -> Result<Pickup, ConfigError> {
        let any = || vec![Pattern::new("*")];
        let default_patterns = || match dialect {
            Dialect::Plain => Pattern::defaults(),
            Dialect::DotNet | Dialect::Exchange => vec![Pattern::new("*.eml")],
            Dialect::Iis | Dialect::Maildir | Dialect::Text => any(),
        };
        Ok(Pickup {
            patterns: self.value(|f| &f.patterns, |texts| patterns(texts))?.unwrap_or_else(default_patterns),
            settle: self.text(|f| &f.settle, positive)?.unwrap_or(Duration::from_millis(500)),
            rescan: self.text(|f| &f.rescan, positive)?.unwrap_or(Duration::from_secs(60)),
            unstuff: self.value(|f| &f.unstuff, |v| Ok(*v))?.unwrap_or(dialect == Dialect::Iis),
        })
    }

    /// A file must not be found in two folders, or be taken for a drop that pillarbox wrote itself.
    fn check_place(&self, folder: &Folder, spool_dir: &Path, others: &[Folder]) -> Result<(), ConfigError> {
        let dir = real(&folder.dir);
        let spool = real(spool_dir);
        if meet(&dir, &spool) {
            let (dir, spool) = (folder.dir.display(), spool_dir.display());
            return Err(self
                .error(format!(
                    "[folder.{}]: {dir} and the spool, {spool}, are the same or one is in the other",
                    self.name
                ))
                .hint("give it a place of its own; settings of pickup/ are in [pickup]"));
        }
        if let Some(other) = others.iter().find(|other| meet(&dir, &real(&other.dir))) {
            let (name, other_name) = (self.name, &other.name);
            let (dir, other) = (folder.dir.display(), other.dir.display());
            return Err(self
                .error(format!(
                    "[folder.{name}] and [folder.{other_name}]: {dir} and {other} are the same or one is in the other"
                ))
                .hint("give each a place of its own"));
        }
        let drops = others.iter().chain([folder]).map(|folder| real(&folder.dir));
        let outcomes =
            folder.outcomes.iter().chain(others.iter().filter_map(|other| other.outcomes.as_ref()));
        let outcomes: Vec<PathBuf> = outcomes.map(|dir| real(dir)).collect();
        if let Some(dir) = outcomes.iter().find(|dir| dir.starts_with(&spool)) {
            let dir = dir.display();
            return Err(self
                .error(format!("[folder.{}]: outcomes, {dir}, is in the spool", self.name))
                .hint("give outcomes a directory of its own"));
        }
        match drops.into_iter().find(|dir| outcomes.contains(dir)) {
            Some(dir) => Err(self
                .error(format!(
                    "[folder.{}]: files are dropped in {}, and outcomes cannot be written there",
                    self.name,
                    dir.display()
                ))
                .hint("give outcomes a directory of its own")),
            None => Ok(()),
        }
    }
}

fn dialect(text: &str) -> Result<Dialect, String> {
    match text {
        "plain" => Ok(Dialect::Plain),
        "dotnet" => Ok(Dialect::DotNet),
        "iis" => Ok(Dialect::Iis),
        "exchange-pickup" | "exchange-replay" => Ok(Dialect::Exchange),
        "maildir" => Ok(Dialect::Maildir),
        "text" => Ok(Dialect::Text),
        _ => Err(format!(
            "expected plain, dotnet, iis, exchange-pickup, exchange-replay, maildir or text, found {text:?}"
        )),
    }
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let is_plain = path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    match path.is_absolute() && is_plain {
        true => Ok(path.components().collect()),
        false => Err(format!("expected an absolute path without .., found {text:?}")),
    }
}

fn recipients(texts: &OneOrMore) -> Result<Vec<String>, String> {
    if texts.texts.is_empty() {
        return Err("expected at least one address or name, found none".into());
    }
    let one = |text: &String| {
        let is_name = |c: char| !c.is_whitespace() && !c.is_control() && !"<>,;:\"()[]".contains(c);
        let is_valid = match text.contains('@') {
            true => text.parse::<Mailbox>().is_ok(),
            false => !text.is_empty() && text.chars().all(is_name),
        };
        match is_valid {
            true => Ok(text.clone()),
            false => Err(format!("expected an address like \"ops@example.com\", or a name, found {text:?}")),
        }
    };
    texts.texts.iter().map(one).collect()
}

/// Where it really is, as far as it is there.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = path.ancestors().find_map(|above| Some((above, std::fs::canonicalize(above).ok()?)));
    match there {
        Some((above, real)) => path.strip_prefix(above).map_or(real.clone(), |rest| real.join(rest)),
        None => path,
    }
}

fn meet(a: &Path, b: &Path) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

#[cfg(test)]
mod tests {
    use super::super::super::load::parse_text;
    use super::*;
    use crate::mail::ForceFrom;

    fn error(text: &str) -> String {
        parse_text(text).unwrap_err().to_string()
    }

    fn folder(lines: &str) -> Folder {
        parse_text(&format!("[folder.x]\ndir = \"/srv/x\"\n{lines}")).unwrap().folders.remove(0)
    }

    #[test]
    fn a_dialect_says_what_is_taken_and_where() {
        let shown = |dialect: &str| {
            let folder = folder(&format!("to = \"ops\"\ndialect = \"{dialect}\""));
            let patterns: Vec<String> = folder.pickup.patterns.iter().map(Pattern::to_string).collect();
            let text = if folder.is_text { " text" } else { "" };
            let unstuff = if folder.pickup.unstuff { " unstuff" } else { "" };
            format!("{} {}{text}{unstuff}", folder.dir.display(), patterns.join(" "))
        };
        let rows = [
            ("plain", "/srv/x *.eml !*.*"),
            ("dotnet", "/srv/x *.eml"),
            ("iis", "/srv/x * unstuff"),
            ("exchange-pickup", "/srv/x *.eml"),
            ("exchange-replay", "/srv/x *.eml"),
            ("maildir", "/srv/x/new *"),
            ("text", "/srv/x * text"),
        ];
        for (dialect, want) in rows {
            assert_eq!(shown(dialect), want, "{dialect}");
        }
        let own = folder("dialect = \"iis\"\nunstuff = false\nmatch = [\"a*\"]\nto = [\"a@b.c\", \"root\"]");
        assert!(!own.pickup.unstuff && own.pickup.patterns[0].to_string() == "a*");
        assert_eq!(own.to, ["a@b.c", "root"]);
        assert_eq!(folder("from = \"{user}@x.y\"\nforce_from = \"both\"").force_from, Some(ForceFrom::Both));
    }

    #[test]
    fn what_a_folder_cannot_be_is_said_with_its_line() {
        let x = "[folder.x]\ndir = \"/srv/x\"\n";
        let rows = [
            ("[folder.pickup]\ndir = \"/srv/x\"".to_owned(), "line 1: expected a name of a to z"),
            ("[folder.\"A b\"]\ndir = \"/srv/x\"".to_owned(), "line 1: expected a name of a to z"),
            ("[folder.x]\nto = \"a@b.c\"".to_owned(), "line 1: [folder.x] has no dir"),
            ("[folder.x]\ndir = \"srv/x\"".to_owned(), "line 2: expected an absolute path"),
            ("[folder.x]\ndir = \"/srv/../x\"".to_owned(), "line 2: expected an absolute path"),
            (format!("{x}dialect = \"text\""), "line 1: [folder.x] has no to"),
            (format!("{x}dialect = \"lotus\""), "line 3: expected plain, dotnet, iis"),
            (format!("{x}to = []"), "line 3: expected at least one address"),
            (format!("{x}to = \"a b\""), "line 3: expected an address like"),
            (format!("{x}from = \"not an address\""), "line 3: expected"),
            (format!("{x}force_from = \"both\""), "line 1: [folder.x] has force_from and no from"),
            (format!("{x}outcomes = \"/srv/x\""), "and outcomes cannot be written there"),
            (format!("[spool]\ndir = \"/spool\"\n{x}outcomes = \"/spool/meta\""), "is in the spool"),
            (format!("{x}folder = 1"), "line 3: unknown field `folder`"),
            (
                format!("{x}[folder.y]\ndir = \"/srv/x/in\""),
                "line 3: [folder.y] and [folder.x]: /srv/x/in and /srv/x are",
            ),
            (format!("[spool]\ndir = \"/srv\"\n{x}"), "line 3: [folder.x]: /srv/x and the spool, /srv, are"),
            (format!("[spool]\ndir = \"/srv/x/spool\"\n{x}"), "are the same or one is in the other"),
        ];
        for (text, want) in rows {
            assert!(error(&text).contains(want), "{text}\n{}", error(&text));
        }
    }

    #[test]
    fn the_example_of_the_default_file_is_understood() {
        let lines = crate::config::DEFAULT_FILE.lines().take_while(|line| !line.contains("[identity]"));
        let example: String =
            lines.filter_map(|l| l.strip_prefix("#   ")).map(|l| format!("{l}\n")).collect();
        let folder = parse_text(&example).unwrap().folders.remove(0);
        assert_eq!((folder.name.as_str(), folder.to), ("alarms", vec!["ops@example.com".to_owned()]));
        assert_eq!(folder.outcomes, Some(PathBuf::from("/srv/alarms-outcomes")));
    }

    #[test]
    fn folders_that_are_the_same_by_a_link_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let (a, b) = (root.path().join("a"), root.path().join("b"));
        std::fs::create_dir(&a).unwrap();
        std::os::unix::fs::symlink(&a, &b).unwrap();
        let text = format!("[folder.a]\ndir = {a:?}\n[folder.b]\ndir = {b:?}");
        assert!(error(&text).contains("are the same"), "{}", error(&text));
    }
}
