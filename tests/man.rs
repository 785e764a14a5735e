//! The manual: whole, and true of the program that prints it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "these tests are a user with an editor")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

fn pillarbox(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pillarbox"));
    for variable in ["PILLARBOX_CONFIG", "PILLARBOX_SPOOL", "PILLARBOX_SMARTHOST"] {
        command.env_remove(variable);
    }
    let output = command.args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

/// Every page by its path below the folder that `man DIR` writes.
fn pages() -> BTreeMap<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let told = pillarbox(&["man", dir.path().to_str().unwrap()]);
    let mut pages = BTreeMap::new();
    for section in fs::read_dir(dir.path()).unwrap() {
        for page in fs::read_dir(section.unwrap().path()).unwrap() {
            let path = page.unwrap().path();
            let name = path.strip_prefix(dir.path()).unwrap().display().to_string();
            pages.insert(name, fs::read_to_string(path).unwrap());
        }
    }
    assert_eq!(told, format!("wrote {} pages below {}\n", pages.len(), dir.path().display()));
    pages
}

/// The text of a page as it is read, without the marks of roff.
fn plain(page: &str) -> String {
    let text = page.replace("\\-", "-").replace("\\fB", "").replace("\\fI", "").replace("\\fR", "");
    text.replace("\\fP", "").replace("\\*(Aq", "'")
}

#[test]
fn every_command_has_a_page_and_every_option_of_it_is_there() {
    let pages = pages();
    let help = pillarbox(&["--help"]);
    let section = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands: Vec<&str> = section.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.len() > 15, "{help}");
    for command in commands.into_iter().filter(|command| *command != "help") {
        let of = |section| {
            let names = [
                format!("man{section}/pillarbox-{command}.{section}"),
                format!("man{section}/{command}.{section}"),
            ];
            names.iter().find_map(|name| pages.get(name))
        };
        let page = of(1).or(of(8)).unwrap_or_else(|| panic!("{command} has no page in {:?}", pages.keys()));
        if page.starts_with(".so ") || page == &pages["man8/pillarbox-sendmail.8"] {
            continue;
        }
        let page = plain(page);
        let options = pillarbox(&[command, "--help"]);
        let options = options.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2);
        for option in options.map(|word| word.trim_end_matches([',', '.', ':', ';', ')'])) {
            assert!(page.contains(option), "{command}: {option} is not in its page");
        }
    }
    for page in ["man1/pillarbox.1", "man5/pillarbox.toml.5", "man5/pillarbox-spool.5", "man7/pillarbox.7"] {
        assert!(pages.contains_key(page), "no {page} in {:?}", pages.keys());
    }
    assert_eq!(pillarbox(&["man"]), pages["man1/pillarbox.1"]);
}

#[test]
fn what_a_page_leads_to_is_there() {
    let pages = pages();
    for (name, page) in &pages {
        if let Some(target) = page.strip_prefix(".so ") {
            assert!(pages.contains_key(target.trim_end()), "{name} leads to {target}");
            continue;
        }
        assert!(page.contains(".TH "), "{name}");
        assert!(!page.contains(" DATE ") && !page.contains("VERSION\""), "{name}: {page}");
        let see_also = plain(page.split("SEE ALSO").nth(1).unwrap_or_else(|| panic!("{name} leads nowhere")));
        for other in see_also.replace(".BR ", "").split(',') {
            let (other, section) = other.trim().trim_start_matches("\"\n").split_once('(').unwrap();
            let section = section.trim_end_matches(|c: char| !c.is_ascii_digit());
            let target = format!("man{section}/{}.{section}", other.trim());
            assert!(pages.contains_key(&target), "{name}: there is no {target}");
        }
    }
}

/// The keys that a table of the configuration may have, as the program itself names them.
fn keys_of(dir: &Path, header: &str) -> Vec<String> {
    let config = dir.join("pillarbox.toml");
    // A table within another one has to have the other one around it.
    let outer = header.trim_matches(['[', ']']).split_once('.');
    let outer = outer.map_or(String::new(), |(outer, _)| format!("[[{outer}]]\n"));
    fs::write(&config, format!("{outer}{header}\nno_such_key = 1\n")).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
    let told = pillarbox(&["flush", "--config", config.to_str().unwrap(), "--spool", dir.to_str().unwrap()]);
    let Some(valid) = told.split("expected one of ").nth(1).or(told.split("expected ").nth(1)) else {
        panic!("{header}: no keys in {told:?}");
    };
    valid.lines().next().unwrap().split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_setting_is_in_its_page() {
    let page = plain(&pages()["man5/pillarbox.toml.5"]);
    let dir = tempfile::tempdir().unwrap();
    let headers: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix(".SS [")).collect();
    assert!(headers.len() > 6, "{headers:?}");
    let mut tables: Vec<String> = Vec::new();
    for header in headers {
        let table = &page[page.find(&format!("\n.SS [{header}\n")).unwrap()..];
        let table = table[5..].split("\n.S").next().unwrap();
        tables.push(header.trim_matches(['[', ']']).to_owned());
        // Names of the user's own: any key is right there.
        if header.starts_with("aliases") {
            continue;
        }
        for key in keys_of(dir.path(), &format!("[{header}")) {
            let is_it = |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric()) == key;
            let nested = format!("{}.{key}", header.trim_matches(['[', ']']));
            assert!(
                table.split_whitespace().any(is_it) || page.contains(&format!("[{nested}]")),
                "{key} of [{header} is not in pillarbox.toml(5)"
            );
        }
    }
    // And every table.
    for table in keys_of(dir.path(), "") {
        assert!(
            tables.iter().any(|name| name.split('.').next() == Some(table.as_str())),
            "[{table}] is not in pillarbox.toml(5)"
        );
    }
}

#[test]
fn every_key_of_the_commented_default_file_is_in_the_page() {
    let page = plain(&pages()["man5/pillarbox.toml.5"]);
    let keys = include_str!("../src/config/default.toml").lines().filter_map(|line| {
        let line = line.trim_start_matches(['#', ' ']);
        // A line that is a setting once it is no comment any more.
        let table: toml::Table = line.parse().ok().filter(|_| line.contains(" = "))?;
        table.into_iter().next().map(|(key, _)| (key, line))
    });
    let mut count = 0;
    for (key, line) in keys {
        let (name, value) = line.split_once(" = ").unwrap();
        assert_eq!(name.trim_matches('"'), key);
        assert!(page.contains(&format!("\n{name} = {value}\n")), "{line}");
        count += 1;
    }
    assert!(count > 30, "{count}");
}

#[test]
fn the_shells_can_complete_every_command() {
    for (shell, word) in
        [("bash", "complete -F"), ("zsh", "#compdef pillarbox"), ("fish", "complete -c pillarbox")]
    {
        let script = pillarbox(&["completions", shell]);
        for word in [word, "flush", "status", "smarthost"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
    }
    assert!(pillarbox(&["completions", "cmd"]).contains("'cmd'"));
}
