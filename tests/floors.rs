//! The house: arrows point down (ARCHITECTURE.md, "Floors"), and what only one file may do only one file does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Each room and its floor. A room may use those below it.
const FLOORS: &[(&str, u32)] = &[
    ("mail", 0),
    ("message", 1),
    ("smtp", 1),
    ("policy", 1),
    ("report", 1),
    ("fs", 2),
    ("net", 2),
    ("migrate", 2),
    ("spool", 3),
    ("outgoing", 3),
    ("oauth", 3),
    ("submit", 3),
    ("pickup", 4),
    ("sender", 4),
    ("config", 5),
    ("catch", 5),
    ("control", 5),
    ("service", 5),
    ("check", 6),
    ("cli", 7),
];

/// Arrows within one floor, each for a reason.
const LEVEL: &[(&str, &str)] = &[
    // What a transaction was answered is the policy's question.
    ("policy", "smtp"),
    // The wire form needs the name: queue id and time of acceptance stand in it.
    ("outgoing", "spool"),
    // The service turns the configuration into the options of the rooms below.
    ("service", "config"),
    // It carries out what is asked for.
    ("service", "control"),
];

/// Files that may do what clippy.toml forbids, and say why where they do.
const EXCEPTIONS: &[&str] =
    &["fs/clock.rs", "fs/real.rs", "catch/store.rs", "cli/demo/show.rs", "cli/demo/world.rs"];

/// Who calls the disk: the spool, and a producer, who may not open what the spool opens and touches only files that he made.
const DISK: [&str; 2] = ["fs/real.rs", "submit/disk.rs"];

/// Longest file, lines.
const LINES_MAX: usize = 800;

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("src can be listed") {
            let path: PathBuf = entry.expect("an entry of src").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(&root).expect("below src").display().to_string();
                sources.push((name, std::fs::read_to_string(&path).expect("a source can be read")));
            }
        }
    }
    assert!(sources.len() > 50, "src was not found whole");
    sources
}

fn room_of(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap_or(file)
}

/// The code that is not tests, without comments.
fn product(text: &str) -> String {
    let code = text.split("#[cfg(test)]").next().unwrap_or(text);
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Rooms that a source names as `crate::room`.
fn rooms_used(text: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for piece in text.split("crate::").skip(1) {
        match piece.strip_prefix('{') {
            Some(group) => {
                let group = group.split('}').next().unwrap_or(group);
                rooms.extend(group.split(',').map(|r| r.trim().split("::").next().unwrap_or("").to_owned()));
            }
            None => rooms.push(piece.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()),
        }
    }
    rooms
}

#[test]
fn arrows_between_the_floors_point_down() {
    let floors: BTreeMap<&str, u32> = FLOORS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let room = room_of(&file);
        let Some(floor) = floors.get(room) else {
            assert!(matches!(file.as_str(), "lib.rs" | "main.rs"), "{file} is on no floor");
            continue;
        };
        for used in rooms_used(&product(&text)).iter().filter(|used| *used != room) {
            match floors.get(used.as_str()) {
                Some(below) if below < floor => {}
                Some(_) if LEVEL.contains(&(room, used.as_str())) => {}
                Some(_) => wrong.push(format!("{file} uses {used}, which is not below it")),
                None => wrong.push(format!("{file} uses crate::{used}, which is on no floor")),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_pure_rooms_see_no_files_sockets_clocks_or_runtime() {
    let forbidden = [
        "std::fs",
        "std::net::Tcp",
        "ToSocketAddrs",
        "std::io::",
        "std::thread",
        "Instant",
        "SystemTime",
        "tokio",
        "rustix",
    ];
    for (file, text) in sources() {
        if !matches!(room_of(&file), "mail" | "message" | "smtp" | "policy" | "report" | "migrate") {
            continue;
        }
        for word in forbidden {
            let text = product(&text);
            assert!(!text.contains(word), "{file} is pure and names {word}");
        }
    }
}

#[test]
fn one_file_changes_the_disk_and_one_reads_the_clock() {
    for (file, text) in sources() {
        let text = product(&text);
        if !DISK.contains(&file.as_str()) {
            assert!(!text.contains("rustix::fs"), "{file} calls the disk; only {DISK:?} do");
        }
        if file != "fs/clock.rs" {
            assert!(!text.contains("clock_gettime"), "{file} reads a clock; only fs/clock.rs does");
        }
        let excused = text.contains("clippy::disallowed_methods");
        assert!(!excused || EXCEPTIONS.contains(&file.as_str()), "{file} does what clippy.toml forbids");
    }
}

#[test]
fn no_file_grows_out_of_sight() {
    for (file, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{file} has {lines} lines: look for a seam");
    }
    let readme = include_str!("../README.md").lines().count();
    assert!(readme <= 150, "README.md has {readme} lines; 150 is the most a newcomer should meet");
}
