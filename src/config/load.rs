//! Which files, and what stands above them.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::check::{Layers, check};
use super::error::{ConfigError, Source};
use super::raw::Raw;
use super::{Config, DEFAULT_FILE};

/// Where the spool is if nothing else is said.
pub(super) const DEFAULT_SPOOL: &str = "/var/spool/pillarbox";

/// Where the configuration is if nothing else is said.
const DEFAULT_PATH: &str = "/etc/pillarbox/pillarbox.toml";

/// What the command line says; it stands above the environment, which stands above the files.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--spool`.
    pub spool: Option<PathBuf>,
    /// `--smarthost`.
    pub smarthost: Option<String>,
}

/// Reads and checks the configuration.
///
/// # Errors
///
/// The first thing that is wrong, with its place.
pub fn load(overrides: &Overrides) -> Result<Config, ConfigError> {
    let from_env = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let named = overrides.config.clone().or_else(|| from_env("PILLARBOX_CONFIG").map(PathBuf::from));
    let mut layers = Vec::new();
    let path = named.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_PATH));
    match std::fs::read_to_string(&path) {
        Ok(text) => layers.push(parse(&path, text)?),
        Err(e) if e.kind() == io::ErrorKind::NotFound && named.is_none() => {}
        Err(e) => return Err(not_read(&path, &e)),
    }
    for path in conf_d(&path.with_file_name("conf.d"))? {
        let text = std::fs::read_to_string(&path).map_err(|e| ConfigError::cannot_read(&path, &e))?;
        layers.push(parse(&path, text)?);
    }
    let spool = overrides.spool.clone().or_else(|| from_env("PILLARBOX_SPOOL").map(PathBuf::from));
    let smarthost = match (&overrides.smarthost, from_env("PILLARBOX_SMARTHOST").map(OsString::into_string)) {
        (Some(url), _) => Some(("--smarthost", url.clone())),
        (None, Some(Ok(url))) => Some(("PILLARBOX_SMARTHOST", url)),
        (None, Some(Err(_))) => return Err(ConfigError::new("PILLARBOX_SMARTHOST", "is not UTF-8")),
        (None, None) => None,
    };
    check(Layers { layers, spool, smarthost })
}

/// What can be worked with where [`load`] failed: every default, no smarthost, and the spool in the place that is named by
/// `--spool`, `PILLARBOX_SPOOL`, the last line of the files that can be read as `dir` of `[spool]`, or nobody (the default).
/// It is enough for accepting messages and keeping them.
///
/// # Errors
///
/// That a file which was named cannot be read, and nothing else says where the spool is: a message must not go into another one.
pub fn accept_only(overrides: &Overrides) -> Result<Config, ConfigError> {
    let from_env = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let named = overrides.config.clone().or_else(|| from_env("PILLARBOX_CONFIG"));
    let unread = named.as_ref().and_then(|path| Some(not_read(path, &std::fs::read(path).err()?)));
    let path = named.unwrap_or_else(|| PathBuf::from(DEFAULT_PATH));
    // What cannot be read says nothing of the place.
    let drop_ins = conf_d(&path.with_file_name("conf.d")).unwrap_or_default();
    let mut texts = std::iter::once(path).chain(drop_ins).rev().filter_map(|path| std::fs::read(path).ok());
    let said = texts.find_map(|text| spool_dir_in(&String::from_utf8_lossy(&text)));
    let spool = overrides.spool.clone().or_else(|| from_env("PILLARBOX_SPOOL")).or(said);
    let spool = match (spool, unread) {
        (None, Some(error)) => return Err(error),
        (spool, _) => Some(spool.unwrap_or_else(|| PathBuf::from(DEFAULT_SPOOL))),
    };
    check(Layers { layers: Vec::new(), spool, smarthost: None })
}

/// A file that is named has to be there and readable.
fn not_read(path: &Path, error: &io::Error) -> ConfigError {
    let path_text = path.display();
    ConfigError::cannot_read(path, error).hint(match error.kind() {
        io::ErrorKind::NotFound => format!("`pillarbox init --config {path_text}` writes a commented one"),
        io::ErrorKind::PermissionDenied => {
            format!("run it as a user who may read {path_text}, or let this one read it")
        }
        _ => "name a file that can be read with --config".to_owned(),
    })
}

/// `dir` of `[spool]` in a text that need not be TOML from end to end.
fn spool_dir_in(text: &str) -> Option<PathBuf> {
    let mut in_spool = false;
    let mut found = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            in_spool =
                line.split('#').next().is_some_and(|header| header.replace(' ', "").trim() == "[spool]");
        }
        let Ok(table) = line.parse::<toml::Table>() else { continue };
        let value = match in_spool {
            true => table.get("dir"),
            false => table.get("spool").and_then(|spool| spool.get("dir")),
        };
        let named = value.and_then(toml::Value::as_str).filter(|dir| !dir.trim().is_empty());
        found = named.map(PathBuf::from).or(found);
    }
    found
}

/// The drop-in files, in order of their names.
fn conf_d(directory: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(ConfigError::cannot_read(directory, &e)),
    };
    let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| entry.map(|e| e.path())).collect();
    let mut paths = paths.map_err(|e| ConfigError::cannot_read(directory, &e))?;
    paths.retain(|path| path.extension().is_some_and(|e| e == "toml"));
    paths.sort();
    Ok(paths)
}

fn parse(path: &Path, text: String) -> Result<(Source, Raw), ConfigError> {
    let source = Source { path: path.to_owned(), text };
    match toml::from_str(&source.text) {
        Ok(raw) => Ok((source, raw)),
        Err(error) => Err(source.toml_error(&error)),
    }
}

/// The defaults, as the embedded file has them: an empty configuration.
#[cfg(test)]
pub(super) fn parse_text(text: &str) -> Result<Config, ConfigError> {
    parse_texts(&[text])
}

/// The same of a file and its drop-ins.
#[cfg(test)]
pub(super) fn parse_texts(texts: &[&str]) -> Result<Config, ConfigError> {
    let layer = |text: &&str| parse(Path::new("pillarbox.toml"), (*text).to_owned());
    let layers = texts.iter().map(layer).collect::<Result<_, _>>()?;
    check(Layers { layers, spool: None, smarthost: None })
}

/// The commented default file with the place of the spool filled in.
pub fn default_file(spool: &Path) -> String {
    let line = format!("dir = {}", toml_string(&spool.display().to_string()));
    DEFAULT_FILE.replacen("# dir = \"/var/spool/pillarbox\"", &line, 1)
}

/// A basic string of TOML.
fn toml_string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_the_spool_is_found_in_a_broken_file() {
        let rows = [
            ("[spool]\ndir = \"/a\"\nmax = = 5\n[log]\ndir = \"/b\"", Some("/a")),
            (" [ spool ] # here\n  dir='/a b'  # there\n[[[", Some("/a b")),
            ("spool.dir = \"/a\"\nwhat", Some("/a")),
            ("spool = { dir = \"/a\" }\nwhat", Some("/a")),
            ("dir = \"/a\"\n[other]\ndir = \"/b\"", None),
            ("[spool]\ndir = 5\n# dir = \"/c\"\ndir = \"\"", None),
        ];
        for (text, dir) in rows {
            assert_eq!(spool_dir_in(text), dir.map(PathBuf::from), "{text:?}");
        }
    }

    #[test]
    fn a_spool_of_any_name_can_be_written_into_the_default_file() {
        for dir in ["/var/spool/x", "/a b\"c\\d'e", "/tab\there", "/ü\u{7f}"] {
            let config = parse_text(&default_file(Path::new(dir))).unwrap();
            assert_eq!(config.spool_dir, Path::new(dir));
        }
    }
}
