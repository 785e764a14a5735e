//! docs/CONTROL.md says what is so: its examples are replayed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::ask;
use crate::support::server::Server;
use crate::support::stage::{Stage, letter, plain};

/// A call of curl, and what it is answered.
struct Example {
    call: String,
    status: u16,
    answer: Value,
}

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
}

/// `    $ curl ...`, perhaps `    HTTP 404`, and the answer on the lines behind it.
fn examples(text: &str) -> Vec<Example> {
    let mut examples: Vec<(String, u16, String)> = Vec::new();
    for line in text.lines() {
        let Some(line) = line.strip_prefix("    ") else { continue };
        if let Some(call) = line.strip_prefix("$ curl ") {
            examples.push((call.to_owned(), 200, String::new()));
        } else if let Some((_, status, answer)) = examples.last_mut() {
            match line.strip_prefix("HTTP ") {
                Some(code) => *status = code.parse().unwrap(),
                None => answer.push_str(line),
            }
        }
    }
    let example = |(call, status, answer): (String, u16, String)| {
        let answer = serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{call}: {e}: {answer}"));
        Example { call, status, answer }
    };
    examples.into_iter().map(example).collect()
}

/// The request that curl would make.
fn request(call: &str, files: &Path) -> String {
    let words: Vec<&str> = call.split_whitespace().map(|word| word.trim_matches('\'')).collect();
    let behind = |option: &str| words.iter().position(|word| *word == option).map(|at| words[at + 1]);
    assert_eq!(behind("--unix-socket"), Some("control"), "{call}");
    let body = behind("--data-binary").map(|file| fs::read_to_string(files.join(&file[1..])).unwrap());
    let method = behind("-X").unwrap_or(if body.is_some() { "POST" } else { "GET" });
    let url = words.iter().find_map(|word| word.strip_prefix("http://spool")).unwrap();
    let body = body.unwrap_or_default();
    format!("{method} {url} HTTP/1.1\r\nhost: spool\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// The same keys with values of the same kind; what may be missing is null.
fn assert_alike(documented: &Value, found: &Value, place: &str) {
    match (documented, found) {
        (Value::Object(one), Value::Object(other)) => {
            let keys = |map: &serde_json::Map<String, Value>| map.keys().cloned().collect::<BTreeSet<_>>();
            assert_eq!(keys(one), keys(other), "{place}");
            for (key, value) in one {
                assert_alike(value, &other[key], &format!("{place} {key}"));
            }
        }
        (Value::Array(one), Value::Array(other)) => {
            if let (Some(one), Some(other)) = (one.first(), other.first()) {
                assert_alike(one, other, place);
            }
        }
        (Value::String(one), Value::String(other)) => {
            let is_word = ["code", "state", "end"].iter().any(|key| place.ends_with(key));
            assert!(!is_word || one == other, "{place}: {one:?} is {other:?}");
        }
        (Value::Null, _) | (_, Value::Null) => {}
        (one, other) => {
            let kind = |v: &Value| (v.is_number(), v.is_boolean(), v.is_string(), v.is_array());
            assert_eq!(kind(one), kind(other), "{place}: {one} is {other}");
        }
    }
}

#[test]
fn the_examples_of_control_md_are_answered_as_it_says() {
    let server = Server::start();
    let stage = Stage::new(&plain(server.port()), "");
    fs::write(stage.dir().join("door-3.eml"), letter(3, &["ops@example.com"])).unwrap();
    let service = stage.run();
    let examples = examples(&document("CONTROL.md"));
    assert!(examples.len() >= 14, "{} examples", examples.len());
    for Example { call, status, answer } in examples {
        let (found, text) = ask(&stage.spool().join("control"), &request(&call, stage.dir()));
        assert_eq!(found, status, "{call}: {text}");
        assert_alike(&answer, &serde_json::from_str(&text).unwrap(), &call);
    }
    assert_eq!(service.stop(), 0);
}

/// Each route and each code of an error.
#[test]
fn control_md_names_every_route_and_every_code() {
    let text = document("CONTROL.md");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/control/answer.rs");
    let source = fs::read_to_string(source).unwrap();
    let codes = source.split("pub enum Code {").nth(1).unwrap().split('}').next().unwrap();
    let codes: Vec<&str> = codes.lines().filter_map(|line| line.trim().strip_suffix(',')).collect();
    assert!(codes.len() > 10, "{codes:?}");
    for code in codes {
        let mut word = String::new();
        for c in code.chars() {
            if c.is_uppercase() && !word.is_empty() {
                word.push('-');
            }
            word.push(c.to_ascii_lowercase());
        }
        assert!(text.contains(&format!("| `{word}` |")), "{word} is not in docs/CONTROL.md");
    }
    for route in [
        "GET /v1/status",
        "GET /v1/messages",
        "GET /v1/messages/ID",
        "GET /v1/messages/ID/outcome",
        "POST /v1/messages",
        "POST /v1/messages/ID/retry",
        "POST /v1/messages/ID/hold",
        "POST /v1/messages/ID/release",
        "DELETE /v1/messages/ID",
        "POST /v1/pause",
        "POST /v1/resume",
        "POST /v1/flush",
        "POST /v1/reload",
    ] {
        assert!(text.contains(&format!("| `{route}` |")), "{route} is not in docs/CONTROL.md");
    }
}
