//! The commented default file as a part of pillarbox.toml(5): a subsection for each table, a paragraph for each key.

use clap_mangen::roff::{Roff, bold, roman};

/// A table of the file.
#[derive(Debug, Default, PartialEq)]
struct Table {
    /// With its brackets.
    header: String,
    about: String,
    keys: Vec<Key>,
}

/// A setting.
#[derive(Debug, Default, PartialEq)]
struct Key {
    name: String,
    value: String,
    about: String,
}

/// What a line of the file is.
enum Line<'a> {
    Blank,
    Header { text: &'a str, is_nested: bool },
    Key { name: &'a str, value: &'a str, is_nested: bool },
    Text(&'a str),
}

pub(super) fn roff(file: &str) -> String {
    let mut roff = Roff::default();
    for table in tables(file) {
        roff.control("SS", [table.header.as_str()]);
        if !table.about.is_empty() {
            roff.text([roman(table.about)]);
        }
        for key in table.keys {
            roff.control("TP", []);
            roff.text([bold(key.name), roman(format!(" = {}", key.value))]);
            roff.text([roman(key.about)]);
        }
    }
    roff.to_roff()
}

/// What stands above a header or a key, without a blank line between, is about it.
fn tables(file: &str) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let mut about: Vec<&str> = Vec::new();
    // The table that keys belong to which are not indented further.
    let mut outer = 0;
    for line in file.lines() {
        match classify(line) {
            Line::Blank => about.clear(),
            Line::Text(text) => about.push(text),
            Line::Header { text, is_nested } => {
                if !is_nested {
                    outer = tables.len();
                }
                let about = std::mem::take(&mut about).join(" ");
                tables.push(Table { header: text.to_owned(), about, keys: Vec::new() });
            }
            Line::Key { name, value, is_nested } => {
                let about = std::mem::take(&mut about).join(" ");
                let key = Key { name: name.to_owned(), value: value.to_owned(), about };
                let table = if is_nested { tables.last_mut() } else { tables.get_mut(outer) };
                if let Some(table) = table {
                    table.keys.push(key);
                }
            }
        }
    }
    tables
}

fn classify(line: &str) -> Line<'_> {
    let bare = line.trim_start_matches('#');
    let is_nested = bare.starts_with("   ");
    let bare = bare.trim();
    if bare.is_empty() {
        return Line::Blank;
    }
    let is_name = |name: &str| {
        let name = name.trim_matches('"');
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-*@.".contains(c))
    };
    let inner = bare.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if inner.is_some_and(|inner| is_name(inner.trim_start_matches('[').trim_end_matches(']'))) {
        return Line::Header { text: bare, is_nested };
    }
    match bare.split_once(" = ") {
        Some((name, value)) if is_name(name) => Line::Key { name, value, is_nested },
        _ => Line::Text(bare),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_keys_and_what_is_said_of_them() {
        let file = "# The head.\n\n[log]\n# How much. Default:\n# \"info\".\n# level = \"info\"\n\n# Where to.\n# [[smarthost]]\n\
                    # url = \"a\"\n# Tokens.\n#   [smarthost.oauth]\n# Whose.\n#   tenant = \"b\"\n# How.\n# auth = \"c\"\n";
        let key = |name: &str, value: &str, about: &str| Key {
            name: name.into(),
            value: value.into(),
            about: about.into(),
        };
        let table =
            |header: &str, about: &str, keys| Table { header: header.into(), about: about.into(), keys };
        let expected = [
            table("[log]", "", vec![key("level", "\"info\"", "How much. Default: \"info\".")]),
            table("[[smarthost]]", "Where to.", vec![key("url", "\"a\"", ""), key("auth", "\"c\"", "How.")]),
            table("[smarthost.oauth]", "Tokens.", vec![key("tenant", "\"b\"", "Whose.")]),
        ];
        assert_eq!(tables(file), expected);
    }
}
