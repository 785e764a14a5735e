//! docs/LOG.md says what is so: every event that is logged is described, and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// An event of the log: where it is logged, how loud, and with which fields.
#[derive(Debug, Default)]
struct Event {
    levels: BTreeSet<String>,
    fields: BTreeSet<String>,
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The arguments of a macro: what stands between the parenthesis at the beginning of `text` and its partner, cut at the
/// commas that are in no other brackets and no string.
fn arguments(text: &str) -> Vec<String> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let mut found = vec![String::new()];
    for c in text.chars() {
        let is_end = match c {
            _ if escaped => {
                escaped = false;
                false
            }
            '\\' if in_string => {
                escaped = true;
                false
            }
            '"' => {
                in_string = !in_string;
                false
            }
            _ if in_string => false,
            '(' | '[' | '{' => {
                depth += 1;
                depth == 1
            }
            ')' | ']' | '}' => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
                false
            }
            ',' if depth == 1 => {
                found.push(String::new());
                true
            }
            _ => false,
        };
        if !is_end {
            found.last_mut().unwrap().push(c);
        }
    }
    found.into_iter().map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect()
}

fn events() -> BTreeMap<String, Event> {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let mut events: BTreeMap<String, Event> = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for call in text.split("tracing::").skip(1) {
            let Some((level, rest)) = call.split_once("!(") else { continue };
            if !["error", "warn", "info", "debug", "trace"].contains(&level) {
                continue;
            }
            let arguments = arguments(&format!("({rest}"));
            let (name, fields) = arguments.split_last().unwrap();
            let name = name.trim_matches('"');
            let is_name = name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
            assert!(is_name, "{}: {name:?} is no name of an event", file.display());
            let event = events.entry(name.to_owned()).or_default();
            event.levels.insert(level.to_owned());
            let field = |text: &String| {
                let name = text.split('=').next().unwrap().trim().trim_start_matches(['%', '?']);
                name.rsplit('.').next().unwrap().to_owned()
            };
            event.fields.extend(fields.iter().map(field));
        }
    }
    assert!(events.len() > 20, "{events:?}");
    events
}

/// `| event | level | fields | what it means and what to do |`
#[test]
fn every_event_of_the_log_is_described_with_its_fields_and_no_other() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/LOG.md");
    let text = fs::read_to_string(document).unwrap();
    let rows: BTreeMap<String, Vec<String>> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|line| line.split('|').map(|cell| cell.trim_matches([' ', '`']).to_owned()).collect())
        .map(|cells: Vec<String>| (cells[0].clone(), cells))
        .collect();
    let events = events();
    for (name, Event { levels, fields }) in &events {
        let Some(row) = rows.get(name) else { panic!("the event {name} is not in docs/LOG.md") };
        let documented: BTreeSet<String> = row[1].split(", ").map(str::to_owned).collect();
        assert_eq!(&documented, levels, "{name}: levels");
        let documented: BTreeSet<String> =
            row[2].split(", ").map(|f| f.trim_matches('`').to_owned()).filter(|f| !f.is_empty()).collect();
        assert_eq!(&documented, fields, "{name}: fields");
        assert!(row[3].len() > 20, "{name}: what the operator does");
    }
    let gone: Vec<&String> = rows.keys().filter(|name| !events.contains_key(*name)).collect();
    assert!(gone.is_empty(), "described, and never logged: {gone:?}");
}
