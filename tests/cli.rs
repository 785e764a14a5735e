//! The commands as their user sees them: what they print, where, and how they end.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "these tests are a user with an editor")]

#[expect(dead_code, reason = "promises.rs uses the rest")]
mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::Arc;

use support::server::{Answer, Gate, Server, say};
use support::stage::{Ran, Stage, finish, letter, plain, until};

/// What a command is expected to print and how it is to end.
struct Test {
    stage: Stage,
    arguments: Vec<String>,
    code: i32,
    stdout: Vec<String>,
    stderr: Vec<String>,
}

impl Test {
    /// In a folder with nothing in it.
    fn new(arguments: &[&str]) -> Test {
        Test::on(Stage::without_spool(), arguments)
    }

    fn on(stage: Stage, arguments: &[&str]) -> Test {
        let arguments = arguments.iter().map(|a| (*a).to_owned()).collect();
        Test { stage, arguments, code: 0, stdout: Vec::new(), stderr: Vec::new() }
    }

    /// With this configuration.
    fn config(self, text: &str) -> Test {
        fs::write(self.stage.config(), text).unwrap();
        fs::set_permissions(self.stage.config(), fs::Permissions::from_mode(0o600)).unwrap();
        self
    }

    fn code(self, code: i32) -> Test {
        Test { code, ..self }
    }

    /// The first has to be a line's begin; each of the others stands somewhere behind the one before.
    fn stdout(mut self, parts: &[&str]) -> Test {
        self.stdout = parts.iter().map(|p| (*p).to_owned()).collect();
        self
    }

    fn stderr(mut self, parts: &[&str]) -> Test {
        self.stderr = parts.iter().map(|p| (*p).to_owned()).collect();
        self
    }

    /// Runs it; what is not expected on an output must not be there.
    fn run(self) -> Ran {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let ran = self.stage.pillarbox(&arguments);
        assert_eq!(ran.code, self.code, "{arguments:?}: {ran:?}");
        for (parts, printed) in [(&self.stdout, &ran.stdout), (&self.stderr, &ran.stderr)] {
            assert_eq!(parts.is_empty(), printed.is_empty(), "{arguments:?}: {ran:?}");
            let mut rest = printed.as_str();
            for part in parts {
                let Some(at) = rest.find(part.as_str()) else {
                    panic!("{arguments:?}: no {part:?} in what is left, {rest:?}, of\n{printed}");
                };
                rest = &rest[at + part.len()..];
            }
        }
        ran
    }
}

const COMMANDS: [&str; 23] = [
    "run",
    "flush",
    "send",
    "sendmail",
    "init",
    "import",
    "status",
    "list",
    "show",
    "retry",
    "remove",
    "hold",
    "release",
    "pause",
    "resume",
    "reload",
    "resolve",
    "check",
    "test",
    "catch",
    "demo",
    "completions",
    "man",
];

#[test]
fn help_lists_what_exists_and_nothing_else() {
    let help = Test::new(&["--help"]).stdout(&["Usage: pillarbox <COMMAND>"]).run().stdout;
    let section = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let listed: Vec<&str> = section.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(listed, [&COMMANDS[..], &["help"]].concat());
    for command in COMMANDS {
        let usage = format!("Usage: pillarbox {command}");
        // `sendmail --help` is sendmail's own.
        let asked = if command == "sendmail" { ["help", command] } else { [command, "--help"] };
        let help = Test::new(&asked)
            .stdout(&[&usage, if command == "sendmail" { "Arguments:" } else { "Options:" }])
            .run()
            .stdout;
        let has_json = help.contains("--json");
        assert_eq!(
            has_json,
            !["run", "sendmail", "catch", "demo", "completions", "man"].contains(&command),
            "{help}"
        );
    }
}

#[test]
fn version_is_that_of_the_package() {
    for flag in ["--version", "-V"] {
        let ran = Test::new(&[flag]).stdout(&["pillarbox "]).run();
        assert_eq!(ran.stdout, format!("pillarbox {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn a_wrong_command_line_is_told_and_exits_64() {
    Test::new(&["frobnicate"])
        .code(64)
        .stderr(&["error: ", "'frobnicate'", "Usage: pillarbox <COMMAND>"])
        .run();
    Test::new(&["statsu"]).code(64).stderr(&["error: ", "'statsu'", "'status'"]).run();
    Test::new(&[]).code(64).stderr(&["Usage: pillarbox <COMMAND>"]).run();
    Test::new(&["status", "--jsno"]).code(64).stderr(&["error: ", "'--jsno'", "'--json'"]).run();
    Test::new(&["status", "extra"]).code(64).stderr(&["error: ", "'extra'"]).run();
    Test::new(&["init", "--spool"]).code(64).stderr(&["error: ", "--spool <DIR>"]).run();
    Test::new(&["catch", "--answer", "perhaps"])
        .code(64)
        .stderr(&["perhaps", "accept, defer, refuse or down"])
        .run();
    Test::new(&["catch", "--listen", "localhost"]).code(64).stderr(&["127.0.0.1:2525"]).run();
}

#[test]
fn every_mistake_in_the_configuration_is_one_message_with_place_text_and_what_is_valid() {
    let smarthost = |rest: &str| format!("[[smarthost]]\nurl = \"smtp://mail.example.com\"\n{rest}\n");
    let mistakes: Vec<(String, usize, &str)> = vec![
        ("[spol]\n".into(), 1, "unknown field `spol`, expected one of `spool`, `pickup`"),
        ("[spool]\ndri = \"x\"\n".into(), 2, "unknown field `dri`, expected one of `dir`, `max_messages`"),
        ("[spool]\ndir = \"\"\n".into(), 2, "expected a value, found an empty string"),
        ("[spool]\ndir = 5\n".into(), 2, "integer `5`, expected a string"),
        ("[spool]\nmax_messages = 0\n".into(), 2, "expected a number above zero, found 0"),
        ("[spool]\nmax_messages = -1\n".into(), 2, "integer `-1`, expected u64"),
        ("[spool]\nmax_message_size = \"50M\"\n".into(), 2, "expected a size like \"512KiB\", \"50MB\""),
        ("[spool]\nmax_message_size = \"0B\"\n".into(), 2, "expected a size above zero"),
        ("[spool]\nmin_free = 16\n".into(), 2, "integer `16`, expected a string"),
        ("[spool]\nkeep_sent = \"all\"\n".into(), 2, "expected u64"),
        ("[pickup]\nmatch = \"*.eml\"\n".into(), 2, "expected a sequence"),
        ("[pickup]\nmatch = []\n".into(), 2, "expected at least one pattern, found none"),
        ("[pickup]\nsettle = \"0s\"\n".into(), 2, "expected a span of time above zero, found \"0s\""),
        ("[pickup]\nsettle = \"1 s\"\n".into(), 2, "expected a span of time like \"500ms\""),
        ("\n\n[pickup]\n# x\nrescan = \"1w\"\n".into(), 5, "expected a span of time like \"500ms\", \"30s\""),
        ("[identity]\nhostname = \"a b\"\n".into(), 2, "expected a host or domain name, found \"a b\""),
        ("[identity]\nfrom = \"box\"\n".into(), 2, "expected"),
        ("[identity]\ndomain = \"@x\"\n".into(), 2, "expected a host or domain name, found \"@x\""),
        (
            "[[smarthost]]\nurl = \"mail.example.com:25\"\n".into(),
            2,
            "a port without a scheme: expected a host, smtps://host, smtp://host",
        ),
        (
            "[[smarthost]]\nurl = \"http://mail\"\n".into(),
            2,
            "not a scheme that is known here: expected a host, smtps://host",
        ),
        ("[[smarthost]]\nurl = \"smtp://mail:0\"\n".into(), 2, "not a port: expected"),
        ("[[smarthost]]\nurl = \"smtp://\"\n".into(), 2, "no host name: expected"),
        ("[smarthost]\nurl = \"smtp://mail\"\n".into(), 1, "expected a sequence"),
        (smarthost("tls = \"yes\""), 3, "expected \"required\", \"auto\" or \"none\", found \"yes\""),
        (smarthost("timeout = \"0s\""), 3, "expected a span of time above zero"),
        (smarthost("user = \"box\""), 3, "user is set but password is not"),
        (smarthost("password = { env = \"X\" }"), 3, "password is set but user is not"),
        (smarthost("user = \"box\"\npassword = { }"), 4, "expected one of file, env, credential and command"),
        (smarthost("user = \"box\"\npassword = 5"), 4, "expected a string, { file = \"/path\" }"),
        (
            smarthost("user = \"b\"\npassword = { env = \"X\" }\ntls = \"none\"\nauth = \"PLAIN\""),
            5,
            "expected \"required\"",
        ),
        (
            smarthost("user = \"b\"\npassword = { env = \"X\" }\ntls = \"auto\""),
            5,
            "a login needs tls = \"required\"",
        ),
        (smarthost(&smarthost("")), 4, "two smarthosts are called \"mail.example.com\""),
        ("[delivery]\nretry_interval = \"0s\"\n".into(), 2, "expected a span of time above zero"),
        ("[delivery]\nhold_line = \"never\"\n".into(), 2, "found \"never\"; or \"forever\""),
        ("[delivery]\nreceived = \"no\"\n".into(), 2, "string \"no\", expected a boolean"),
        ("[delivery]\nkeep_open = 5\n".into(), 2, "integer `5`, expected a string"),
        ("[log]\nlevel = \"loud\"\n".into(), 2, "expected error, warn, info, debug or trace, found \"loud\""),
        ("[log\nlevel = \"info\"\n".into(), 1, "expected `]`"),
        ("[log]\nlevel = info\n".into(), 2, "expected a value in quotes, \"info\", found info"),
        ("[log]\nlevel = \"info\"\nlevel = \"warn\"\n".into(), 3, "duplicate key"),
    ];
    for (text, line, valid) in mistakes {
        let (place, number) = (format!("pillarbox.toml line {line}: "), format!("{line:>5} | "));
        let shown = text.lines().nth(line - 1).unwrap();
        let shown = if shown.starts_with("password") { "password = ****" } else { shown };
        let quoted = format!("\n{number}{shown}\n");
        let expected = ["pillarbox: ", &place, valid, &quoted];
        let ran = Test::new(&["status"]).config(&text).code(78).stderr(&expected).run();
        assert_eq!(ran.stderr.matches("pillarbox: ").count(), 1, "{ran:?}");
        assert!(ran.stderr.lines().count() <= 3, "{}", ran.stderr);
    }
}

#[test]
fn a_mistake_outside_of_the_file_is_told_with_its_place() {
    let missing = Test::new(&["status", "--config", "nowhere.toml"]).code(78);
    missing
        .stderr(&[
            "nowhere.toml: cannot be read: No such file",
            "hint: `pillarbox init --config nowhere.toml`",
        ])
        .run();
    let url = Test::new(&["status", "--smarthost", "mail:25"]).config("").code(78);
    url.stderr(&["pillarbox: --smarthost: a port without a scheme: expected a host", "found \"mail:25\""])
        .run();
    let test = Test::new(&["status"]).config("");
    for (name, value, words) in [
        ("PILLARBOX_SMARTHOST", "mail:25", "PILLARBOX_SMARTHOST: a port without a scheme: expected"),
        ("PILLARBOX_SPOOL", "/nowhere", "there is no spool at /nowhere"),
    ] {
        let mut command = test.stage.command(&["status"]);
        command.env(name, value);
        let ran = finish(command);
        assert!(ran.code == 78 && ran.stderr.contains(words), "{ran:?}");
    }
    // A drop-in file is named as the place.
    fs::create_dir(test.stage.dir().join("conf.d")).unwrap();
    fs::write(test.stage.dir().join("conf.d/10-log.toml"), "[log]\nlevel = 1\n").unwrap();
    fs::write(test.stage.dir().join("conf.d/ignored.txt"), "[").unwrap();
    test.code(78)
        .stderr(&["conf.d/10-log.toml line 2: ", "expected a string", "\n    2 | level = 1\n"])
        .run();
}

#[test]
fn a_missing_spool_is_told_with_the_command_that_makes_it() {
    for command in ["run", "flush", "status", "list"] {
        let test = Test::new(&[command]);
        let spool = test.stage.spool().display().to_string();
        let (there, hint) = (
            format!("pillarbox: there is no spool at {spool}"),
            format!("hint: pillarbox init --spool {spool}\n"),
        );
        let test = test.config(&format!("[spool]\ndir = {spool:?}\n")).code(78);
        test.stderr(&[&there, &hint]).run();
    }
    // And that command does.
    let stage = Stage::new("", "");
    fs::remove_dir(stage.spool().join("meta")).unwrap();
    let ran = stage.pillarbox(&["status"]);
    assert!(ran.code == 78 && ran.stderr.contains("/meta"), "{ran:?}");
    let init = stage.pillarbox(&["init", "--spool", &stage.spool().display().to_string()]);
    assert_eq!(init.code, 0);
    assert_eq!(stage.pillarbox(&["status"]).code, 0);
}

#[test]
fn init_makes_a_spool_and_a_configuration_that_load_and_a_second_init_changes_nothing() {
    let stage = Stage::without_spool();
    let init = ["init", "--spool", "a spool", "--config", "my.toml"];
    let ran = stage.pillarbox(&init);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    let spool = stage.dir().canonicalize().unwrap().join("a spool");
    assert!(ran.stdout.contains(&format!("made {}\n", spool.display())), "{ran:?}");
    assert!(ran.stdout.contains("wrote my.toml: ") && ran.stdout.contains("[[smarthost]]"), "{ran:?}");
    let last = format!("drop messages into {}\n", spool.join("pickup").display());
    assert!(ran.stdout.ends_with(&last), "{ran:?}");
    for directory in ["", "pickup", "pending", "sending", "failed", "meta"] {
        let mode = fs::metadata(spool.join(directory)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{directory}");
    }
    let config = stage.dir().join("my.toml");
    assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o600);
    let status = stage.pillarbox(&["status", "--config", "my.toml"]);
    assert_eq!(status.code, 0, "{status:?}");
    assert!(status.stdout.starts_with(&format!("spool      {}\n", spool.display())), "{status:?}");

    fs::write(spool.join("pickup/1.eml"), letter(1, &["ops@example.com"])).unwrap();
    fs::write(&config, fs::read_to_string(&config).unwrap() + "# mine\n").unwrap();
    let again = stage.pillarbox(&init);
    assert_eq!(again.code, 0, "{again:?}");
    assert!(again.stdout.contains(" is complete\n"), "{again:?}");
    assert!(again.stdout.contains("my.toml is there already and was left as it is\n"), "{again:?}");
    assert!(spool.join("pickup/1.eml").exists());
    assert!(fs::read_to_string(&config).unwrap().ends_with("# mine\n"));
    // Without --spool the configuration says where.
    let third = stage.pillarbox(&["init", "--config", "my.toml"]);
    assert!(third.code == 0 && third.stdout.contains("a spool is complete"), "{third:?}");
}

#[test]
fn init_says_what_it_cannot_make() {
    let stage = Stage::without_spool();
    fs::write(stage.dir().join("file"), "").unwrap();
    let ran = stage.pillarbox(&["init", "--spool", "file/spool"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (73, ""), "{ran:?}");
    assert!(ran.stderr.starts_with("pillarbox: cannot make ") && ran.stderr.contains("file"), "{ran:?}");
    let ran = stage.pillarbox(&["init", "--spool", "spool", "--config", "nowhere/my.toml"]);
    assert_eq!(ran.code, 73, "{ran:?}");
    assert!(ran.stderr.contains("cannot write nowhere/my.toml: "), "{ran:?}");
}

#[test]
fn status_and_list_of_an_empty_spool() {
    let stage = Stage::new("", "");
    let status = stage.pillarbox(&["status"]);
    assert_eq!((status.code, status.stderr.as_str()), (0, ""));
    let lines: Vec<&str> = status.stdout.lines().collect();
    assert_eq!(
        lines,
        [
            format!("spool      {}", stage.spool().display()).as_str(),
            "service    nobody works on this spool: start `pillarbox run`, or `pillarbox flush` from cron",
            "smarthost  none is configured: messages are accepted and kept",
            "           set url in [[smarthost]]",
            "waiting    0",
            "failed     0",
        ]
    );
    let json = stage.status();
    for key in ["in_pickup", "waiting", "aside", "held", "sending", "failed"] {
        assert_eq!(json[key], 0, "{key}");
    }
    assert!(json["free_bytes"].as_u64() > Some(0) && json["holder"].is_null(), "{json}");
    assert_eq!(json["sender"]["state"], "no-smarthost");
    assert_eq!(stage.pillarbox(&["list"]).stdout, "");
    // A smarthost that nobody has tried.
    stage.configure(&plain(1), "");
    assert!(stage.pillarbox(&["status"]).stdout.contains("\nsmarthost  not tried yet\n"));
    assert!(stage.status()["sender"].is_null());
}

#[test]
fn status_and_list_tell_each_state() {
    let gate = Arc::new(Gate::default());
    let pass = Arc::clone(&gate);
    let server = Server::scripted(move |asked| match asked.line {
        "RCPT TO:<late@example.com>" => say("450 4.2.1 mailbox busy"),
        "RCPT TO:<gone@example.com>" => say("550 5.1.1 no such user"),
        "." => {
            pass.pass();
            Answer::Usual
        }
        _ => Answer::Usual,
    });
    let stage = Stage::new(&plain(server.port()), "hold_line = \"0s\"");
    let drop_in = |name: &str, number, to: &str| {
        stage.drop_in(name, letter(number, &[to]));
        stage.next_tick();
    };
    drop_in("aside.eml", 1, "late@example.com");
    drop_in("failed.eml", 2, "gone@example.com");
    drop_in("held.eml", 3, "ops@example.com");
    // The first pass: one aside, one failed, and the held one in flight. It is killed there.
    let first = stage.start(stage.command(&["flush"]));
    server.wait_heard(".", 1);
    first.kill();
    let held = stage.names("sending").remove(0);
    fs::rename(stage.spool().join("sending").join(&held), stage.spool().join("pending").join(&held)).unwrap();
    fs::write(stage.spool().join("meta").join(format!("{}.json", &held[..32])), "{").unwrap();
    drop_in("sending.eml", 4, "ops@example.com");
    drop_in("waiting.eml", 5, "ops@example.com");
    // Names that are not taken.
    stage.drop_in("photo.jpg", "x");
    fs::write(stage.pickup().join("empty.eml"), "").unwrap();
    let service = stage.run();
    server.wait_heard(".", 2);
    service.wait_log("INFO accepted file=\"waiting\"");

    let rows = stage.list();
    let told: Vec<String> =
        rows.iter().map(|row| format!("{} {}", row["file"], row["state"]).replace('"', "")).collect();
    assert_eq!(told, ["sending sending", "aside aside", "held held", "waiting waiting", "failed failed"]);
    for row in &rows {
        let id = row["id"].as_str().unwrap();
        assert_eq!(id.len(), 32, "{row}");
        assert!(row["accepted"].as_u64() > Some(1_600_000_000), "{row}");
        let path = row["path"].as_str().unwrap();
        assert!(path.contains(&format!("/{id}_")) && stage.spool().join(path).is_file(), "{row}");
    }
    let recipient = &rows[1]["recipients"][0];
    assert_eq!(recipient["address"], "late@example.com");
    assert_eq!(recipient["outcome"]["deferred"][1]["code"], 450, "{recipient}");
    assert!(rows[1]["attempts"].as_u64() >= Some(1));
    assert_eq!(rows[4]["recipients"][0]["outcome"]["failed"][1]["code"], 550);
    assert!(rows[2]["problem"].as_str().unwrap().starts_with("its record cannot be read: "), "{}", rows[2]);

    let text = stage.pillarbox(&["list"]).stdout;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5, "{text}");
    assert!(lines[0].contains("Z  sending  sending"), "{text}");
    assert!(
        lines[1]
            .ends_with("  aside    aside  late@example.com: 450 4.2.1 mailbox busy (in reply to RCPT TO)"),
        "{text}"
    );
    assert!(lines[2].contains("  held     held  its record cannot be read: "), "{text}");
    assert!(lines[3].ends_with("  waiting  waiting"), "{text}");
    assert!(
        lines[4]
            .ends_with("  failed   failed  gone@example.com: 550 5.1.1 no such user (in reply to RCPT TO)"),
        "{text}"
    );

    let json = stage.status();
    for (key, count) in
        [("waiting", 3), ("aside", 1), ("held", 1), ("sending", 1), ("failed", 1), ("in_pickup", 2)]
    {
        assert_eq!(json[key], count, "{key} in {json}");
    }
    let left: Vec<&str> =
        json["left_in_pickup"].as_array().unwrap().iter().map(|l| l["file"].as_str().unwrap()).collect();
    assert_eq!(left, ["empty.eml", "photo.jpg"]);
    assert_eq!(json["sender"]["state"], "usable");
    let holder = format!("pid {}, pillarbox run, since 2", service.id());
    assert!(json["holder"].as_str().unwrap().starts_with(&holder), "{json}");

    let text = stage.pillarbox(&["status"]).stdout;
    for line in [
        format!("service    {holder}"),
        "smarthost  127.0.0.1: usable since 2".into(),
        "waiting    4 (1 aside, 1 held), the oldest (".into(),
        format!("failed     1: the reasons lie beside them in {}/failed\n", stage.spool().display()),
        "in pickup  2, 2 of them not taken\n           empty.eml: not taken: empty\n".into(),
        "           photo.jpg: not taken: its name matches no pattern of match in [pickup]\n".into(),
    ] {
        assert!(text.contains(&format!("\n{line}")), "no {line:?} in\n{text}");
    }
    gate.open();
}

#[test]
fn status_tells_what_holds_the_line() {
    let server = Server::scripted(|asked| match asked.line {
        "." => say("451 4.3.0 try later"),
        _ => Answer::Usual,
    });
    let stage = Stage::new(&plain(server.port()), "hold_line = \"forever\"");
    stage.drop_letters([1]);
    assert_eq!(stage.pillarbox(&["flush"]).code, 0);
    let json = stage.status();
    assert_eq!(
        (&json["sender"]["state"], &json["sender"]["message"]),
        (&"held".into(), &stage.list()[0]["id"])
    );
    let text = stage.pillarbox(&["status"]).stdout;
    assert!(text.contains("smarthost  127.0.0.1: a deferred message holds the line since 2"), "{text}");
    assert!(text.contains(": 451 4.3.0 try later (in reply to the end of the message text)\n"), "{text}");
}

#[test]
fn status_tells_why_the_smarthost_is_unusable_and_what_to_do() {
    // Nobody listens on port 1.
    let stage = Stage::new(&plain(1), "");
    stage.drop_letters([1]);
    assert_eq!(stage.pillarbox(&["flush"]).code, 0);
    let sender = &stage.status()["sender"];
    assert_eq!(sender["state"], "unusable");
    assert!(sender["cause"].as_str().unwrap().contains("connection refused"), "{sender}");
    assert!(sender["hint"].as_str().unwrap().contains("is the server running"), "{sender}");
    let text = stage.pillarbox(&["status"]).stdout;
    let after = text.split("smarthost  127.0.0.1: NOT USABLE since 2").nth(1).unwrap();
    let lines: Vec<&str> = after.lines().collect();
    assert!(lines[1].starts_with("           failed to connect to 127.0.0.1:1"), "{text}");
    assert!(lines[2].starts_with("           hint: "), "{text}");
}

#[test]
fn list_into_head_does_not_fail() {
    let stage = Stage::new("", "");
    // More than a pipe holds, so that whoever does not read on leaves the rest unwritten.
    for number in 0..2000 {
        let name = format!("{number:032x}_1700000000_{}.eml", "x".repeat(60));
        fs::write(stage.spool().join("pending").join(name), letter(number, &["ops@example.com"])).unwrap();
    }
    for arguments in [&["list"][..], &["list", "--json"]] {
        let mut child =
            stage.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        assert!(first.contains("00000000000000000000000000000000"), "{first}");
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn help_and_status_into_a_closed_pipe_do_not_panic() {
    let stage = Stage::new("", "");
    for arguments in
        [&["status"][..], &["status", "--json"], &["--help"], &["list"], &["init", "--spool", "spool"]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = stage.command(arguments);
        let output = command.stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
        if arguments != ["--help"] {
            assert_eq!((output.status.code(), &*stderr), (Some(0), ""), "{arguments:?}");
        }
    }
}

#[test]
fn catch_takes_what_run_delivers() {
    let stage = Stage::new("", "");
    let mut command = stage.command(&["catch", "--listen", "127.0.0.1:0", "--store", "caught"]);
    let mut catch = command.stdout(Stdio::piped()).stdin(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(catch.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let address = first.strip_prefix("listening on ").unwrap().split(',').next().unwrap().to_owned();
    let service = stage.start({
        let mut command = stage.command(&["run"]);
        command.args(["--smarthost", &format!("smtp://{address}")]);
        command
    });
    stage.drop_letters([1]);
    let caught = stage.dir().join("caught");
    until("what was caught", || caught.join("000001.json").exists());
    let bytes = fs::read_to_string(caught.join("000001.eml")).unwrap();
    assert!(bytes.contains("Subject: alarm 1\r\n") && bytes.ends_with("Zone 1 is open.\r\n.\r\n"), "{bytes}");
    assert_eq!(service.stop(), 0);
    std::io::Write::write_all(&mut catch.stdin.take().unwrap(), b"quit\n").unwrap();
    assert!(catch.wait().unwrap().success());
}
