//! `init --from`: for each system a folder with its files, the configuration that is made of them, and what is said.
//!
//! `PILLARBOX_BLESS=1` writes what is made now over what is expected: to be read before it is committed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::stage::{Ran, Stage, finish};

/// The system, the user whose own files are read too, and what must not be seen anywhere but in the file of a password.
const CASES: [(&str, &str, &str, &[&str]); 6] = [
    ("nullmailer", "nullmailer", "/nowhere", &["se cret #1", "plain-secret"]),
    ("msmtp", "msmtp", "/nowhere", &["geheim", "lang"]),
    ("msmtp", "msmtp-user", "/home/box", &[]),
    ("dma", "dma", "/nowhere", &["geheim", "zeichen", "andere"]),
    ("postfix", "postfix", "/nowhere", &["pa:ss", "ss word", "other-secret"]),
    ("ssmtp", "ssmtp", "/nowhere", &["geheim"]),
];

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/migrate")
}

fn from(stage: &Stage, system: &str, home: &str, more: &[&str]) -> Ran {
    let root = samples().join(system).display().to_string();
    let (config, spool) = (stage.config().display().to_string(), stage.spool().display().to_string());
    let arguments = ["init", "--from", system, "--root", &root, "--config", &config, "--spool", &spool];
    let mut command = stage.command(&[&arguments, more].concat());
    command.env("HOME", home);
    finish(command)
}

/// The same text wherever the test runs.
fn placeless(stage: &Stage, text: &str) -> String {
    text.replace(&stage.dir().display().to_string(), "DIR")
}

fn expect(name: &str, found: &str) {
    let path = samples().join(name);
    if std::env::var_os("PILLARBOX_BLESS").is_some() {
        fs::write(&path, found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, expected, "{}", path.display());
}

#[test]
fn each_configuration_becomes_one_that_loads_and_what_is_lost_is_said_with_its_line() {
    for (system, name, home, secrets) in CASES {
        let stage = Stage::without_spool();
        let ran = from(&stage, system, home, &[]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let config = fs::read_to_string(stage.config()).unwrap();
        expect(&format!("{name}.toml"), &placeless(&stage, &config));
        expect(&format!("{name}.said"), &placeless(&stage, &format!("{}{}", ran.stdout, ran.stderr)));
        for secret in secrets {
            let seen = [&config, &ran.stdout, &ran.stderr].into_iter().any(|text| text.contains(secret));
            assert!(!seen, "{name}: {secret:?} is seen");
        }
        // It loads, with its passwords where it says.
        let status = stage.pillarbox(&["status"]);
        assert_eq!(status.code, 0, "{status:?}");
        for file in fs::read_dir(stage.dir()).unwrap().map(|entry| entry.unwrap().path()) {
            if file.is_file() {
                let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o7777;
                assert_eq!(mode, 0o600, "{}", file.display());
            }
        }
    }
}

#[test]
fn passwords_are_to_the_byte_those_that_were_there() {
    let rows = [
        ("nullmailer", "password-smtp.example.com", "se cret #1\n"),
        ("msmtp", "password-smtp.example.com", "geheim \\ und \\\"lang\\\"\n"),
        ("dma", "password-mail.example.com", "geheim:mit|zeichen#\n"),
        ("postfix", "password-smtp.example.com", "pa:ss word\n"),
        ("ssmtp", "password-smtp.example.com", "geheim=42\n"),
    ];
    for (system, file, expected) in rows {
        let stage = Stage::without_spool();
        from(&stage, system, "/nowhere", &[]);
        assert_eq!(fs::read_to_string(stage.dir().join(file)).unwrap(), expected, "{system}");
    }
}

#[test]
fn what_is_there_is_only_replaced_by_force() {
    let stage = Stage::without_spool();
    fs::write(stage.config(), "# mine\n").unwrap();
    let ran = from(&stage, "ssmtp", "/nowhere", &[]);
    assert_eq!(ran.code, 73, "{ran:?}");
    assert!(ran.stderr.contains("pillarbox.toml is there already\nhint: --force replaces it"), "{ran:?}");
    assert_eq!(fs::read_to_string(stage.config()).unwrap(), "# mine\n");
    assert!(!stage.spool().exists() && !stage.dir().join("password-smtp.example.com").exists());
    let ran = from(&stage, "ssmtp", "/nowhere", &["--force"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(fs::read_to_string(stage.config()).unwrap().contains("smtps://smtp.example.com:465"));
    // A password that is there is not lost by chance either.
    fs::remove_file(stage.config()).unwrap();
    let ran = from(&stage, "ssmtp", "/nowhere", &[]);
    assert!(ran.code == 73 && ran.stderr.contains("password-smtp.example.com is there already"), "{ran:?}");
}

#[test]
fn what_would_not_load_is_not_written() {
    let stage = Stage::without_spool();
    // A drop-in beside it is part of it.
    fs::create_dir(stage.dir().join("conf.d")).unwrap();
    fs::write(stage.dir().join("conf.d/x.toml"), "[spol]\n").unwrap();
    let ran = from(&stage, "ssmtp", "/nowhere", &[]);
    assert!(ran.code == 78 && ran.stderr.contains("would not be valid: "), "{ran:?}");
    assert!(ran.stderr.contains("unknown field `spol`"), "{ran:?}");
    assert!(!stage.config().exists() && !stage.dir().join("password-smtp.example.com").exists());
}

#[test]
fn json_says_the_same() {
    let stage = Stage::without_spool();
    let ran = from(&stage, "dma", "/nowhere", &["--json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&json["from"], &json["smarthosts"]), (&"dma".into(), &1.into()));
    let notes = json["notes"].as_array().unwrap();
    let said = fs::read_to_string(samples().join("dma.said")).unwrap();
    assert_eq!(notes.len(), said.lines().filter(|line| line.starts_with("/etc/")).count());
    let defer = notes.iter().find(|note| note["what"] == "DEFER").unwrap();
    let place = (&defer["file"], &defer["line"], &defer["fate"]);
    assert_eq!(place, (&"/etc/dma/dma.conf".into(), &30.into(), &"not-carried".into()));
}

#[test]
fn a_system_that_is_not_here_is_said() {
    let stage = Stage::without_spool();
    for system in ["nullmailer", "msmtp", "dma", "postfix", "ssmtp"] {
        let empty = stage.dir().display().to_string();
        let ran = stage.pillarbox(&["init", "--from", system, "--root", &empty, "--config", "x"]);
        assert!(ran.code == 66 && ran.stderr.contains(&format!("no configuration of {system}")), "{ran:?}");
    }
    let ran = stage.pillarbox(&["init", "--from", "qmail"]);
    assert!(ran.code == 64 && ran.stderr.contains("expected one of nullmailer, msmtp, dma"), "{ran:?}");
}
