use super::*;

fn parse(line: &[&str]) -> Result<Invocation, String> {
    Invocation::parse("sendmail", line.iter().map(OsString::from))
}

fn read(line: &[&str]) -> Invocation {
    parse(line).unwrap_or_else(|e| panic!("{line:?}: {e}"))
}

/// `t`, `i`, the sender, the name, and the recipients.
fn short(line: &[&str]) -> String {
    let found = read(line);
    assert_eq!((found.mode, found.notes.as_slice()), (Mode::Submit, &[][..]), "{line:?}");
    let mut words = Vec::new();
    words.extend(found.reads_header.then(|| "t".to_owned()));
    words.extend(found.ignores_dots.then(|| "i".to_owned()));
    words.extend(found.sender.map(|sender| format!("f={sender}")));
    words.extend(found.full_name.map(|name| format!("F={name}")));
    words.extend(found.recipients);
    words.join(" ")
}

#[test]
fn callers_are_understood() {
    let rows: [(&str, &[&str]); 26] = [
        // cron of Debian, cronie, at, mdadm, smartd's script through mailutils.
        ("i F=CronDaemon root", &["-i", "-FCronDaemon", "-B8BITMIME", "-oem", "root"]),
        ("t i f=root F=CronDaemon", &["-FCronDaemon", "-i", "-odi", "-oem", "-oi", "-t", "-f", "root"]),
        ("i ann", &["-i", "ann"]),
        ("t", &["-t"]),
        ("i f=root ops@example.com", &["-oi", "-f", "root", "ops@example.com"]),
        // php mail(), with and without mail.force_extra_parameters; nullmailer's -f before.
        ("t i", &["-t", "-i"]),
        ("t i f=www@example.com", &["-t", "-i", "-fwww@example.com"]),
        // git send-email, mutt, s-nail, mailutils.
        ("i a@b.c d@e.f", &["-i", "a@b.c", "d@e.f"]),
        ("i f=x@y.z a@b.c", &["-oem", "-oi", "-f", "x@y.z", "--", "a@b.c"]),
        ("i f=x@y.z a@b.c", &["-i", "-r", "x@y.z", "--", "a@b.c"]),
        ("t i f=x@y.z", &["-f", "x@y.z", "-oi", "-t"]),
        // perl MIME::Lite, Mail::Mailer, Net::..; ruby mail; python; fail2ban; logwatch; unattended-upgrades through mail.
        ("t i", &["-t", "-oi", "-oem"]),
        ("t", &["-t", "-odq"]),
        ("i f=x@y.z a@b.c", &["-i", "-f", "x@y.z", "--", "a@b.c"]),
        ("f=fail2ban ops@example.com", &["-f", "fail2ban", "ops@example.com"]),
        ("t i f=x@y.z", &["-oi", "-f", "x@y.z", "-t"]),
        // Symfony, nodemailer, Go's gomail.
        ("t i", &["-oi", "-t"]),
        ("i f=x@y.z a@b.c", &["-i", "-f", "x@y.z", "a@b.c"]),
        // Combined, attached, in any order.
        ("t i f=x@y.z", &["-tifx@y.z"]),
        ("t i f=x@y.z", &["-tif", "x@y.z"]),
        ("i a@b.c", &["a@b.c", "-oi"]),
        ("f= a@b.c", &["-f", "", "a@b.c"]),
        ("f=<> a@b.c", &["-f<>", "a@b.c"]),
        ("-x -t a@b.c", &["--", "-x", "-t", "a@b.c"]),
        ("i F=A B a", &["-o", "i", "-F", "A B", "a"]),
        (
            "i a",
            &[
                "-OIgnoreDots=True",
                "-O",
                "DeliveryMode=b",
                "-C",
                "/etc/x.cf",
                "-X",
                "/log",
                "-L",
                "tag",
                "-h",
                "3",
                "-UGnm",
                "-Ac",
                "-pl:x",
                "-d0.1",
                "a",
            ],
        ),
    ];
    for (want, line) in rows {
        assert_eq!(short(line), want, "{line:?}");
    }
}

#[test]
fn what_is_asked_of_notifications_is_kept() {
    let found = read(&["-N", "success,delay", "-Rhdrs", "-V", "id 7", "a"]);
    let asked = (found.notify.as_deref(), found.ret.as_deref(), found.envelope_id.as_deref());
    assert_eq!(asked, (Some("success,delay"), Some("hdrs"), Some("id 7")));
}

#[test]
fn modes_go_by_option_and_by_the_name_of_the_program() {
    let rows: [(Mode, &[&str]); 9] = [
        (Mode::Session, &["-bs"]),
        (Mode::List, &["-bp"]),
        (Mode::Aliases, &["-bi"]),
        (Mode::Aliases, &["-I"]),
        (Mode::Verify, &["-bv", "a"]),
        (Mode::Submit, &["-bm", "a"]),
        (Mode::Flush, &["-q"]),
        (Mode::Flush, &["-qf", "-v"]),
        (Mode::Flush, &["-qRexample.com"]),
    ];
    for (mode, line) in rows {
        assert_eq!(read(line).mode, mode, "{line:?}");
    }
    assert_eq!(Invocation::parse("mailq", []).unwrap().mode, Mode::List);
    assert_eq!(Invocation::parse("newaliases", []).unwrap().mode, Mode::Aliases);
    assert!(read(&["-v", "-bm", "a"]).is_verbose);
}

#[test]
fn what_can_be_no_mail_is_refused() {
    for (line, words) in [
        (&[][..], "no recipient"),
        (&["-i"], "no recipient"),
        (&["-i", ""], "no recipient"),
        (&["-bv"], "no recipient"),
        (&["-bd"], "a daemon"),
        (&["-bD", "-q30m"], "a daemon"),
        (&["-q30m"], "a daemon"),
        (&["-qp5m"], "a daemon"),
        (&["-bt"], "is not offered"),
        (&["-bx"], "is not offered"),
        (&["--spool"], "needs a value"),
    ] {
        let error = parse(line).unwrap_err();
        assert!(error.contains(words), "{line:?}: {error}");
    }
}

#[test]
fn what_is_not_known_is_passed_over_with_a_note() {
    for line in [&["-Z", "a"][..], &["-iZ", "a"], &["-i", "--strange", "a"], &["a", "-f"]] {
        let found = read(line);
        assert_eq!((found.recipients, found.notes.len()), (vec!["a".to_owned()], 1), "{line:?}");
    }
    // An address that is missing must not swallow the next option.
    let found = read(&["-f", "-t", "-i"]);
    assert!(found.reads_header && found.ignores_dots && found.sender.is_none(), "{found:?}");
    assert_eq!(read(&["-f", "--", "-a"]).recipients, ["-a"]);
}

#[test]
fn another_spool_is_named_in_front_or_not_at_all() {
    let found = read(&["--config", "/c", "--spool=/s", "-t"]);
    assert_eq!((found.config, found.spool), (Some("/c".into()), Some("/s".into())));
    let found = read(&["-t", "a", "--spool=/s", "--config", "/c"]);
    assert_eq!((found.config, found.spool), (None, None));
    assert_eq!(found.recipients, ["a", "/c"]);
}

#[test]
fn values_of_exim_s_own_options_are_no_recipients() {
    assert_eq!(read(&["-oMr", "local", "-oMs", "host", "a"]).recipients, ["a"]);
    assert_eq!(read(&["-oMshost", "a"]).recipients, ["a"]);
}
