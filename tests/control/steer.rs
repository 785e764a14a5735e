//! hold, release, remove, retry, pause, resume: the same with a service and without one.

use std::sync::Arc;
use std::time::Duration;

use crate::support::server::{Answer, Gate, Server, say};
use crate::support::stage::{Stage, alarms, finish, letter, pass_time, plain, until};
use crate::{done, refused, states, with_and_without_a_service};

/// Two letters are accepted, and nothing is sent.
fn paused_with_two(smarthost: &str) -> Stage {
    let stage = Stage::new(smarthost, "");
    done(&stage, &["pause"]);
    for number in [1, 2] {
        let file = format!("{number}.eml");
        std::fs::write(stage.dir().join(&file), letter(number, &["ops@example.com"])).unwrap();
        done(&stage, &["send", &file]);
    }
    stage
}

#[test]
fn what_is_held_waits_out_of_line_until_it_is_released() {
    with_and_without_a_service(
        || paused_with_two(""),
        |stage, _| {
            let said = done(stage, &["hold", "1"]);
            assert!(said.ends_with("  1  held until it is released\n"), "{said}");
            assert_eq!(states(stage), ["1 held", "2 waiting"]);
            assert_eq!(stage.list()[0]["problem"], "an operator holds it");
            let again = refused(stage, &["hold", "1.eml"], 65);
            assert!(again.contains("(1): it is held already\nhint: `pillarbox release`"), "{again}");
            let retry = refused(stage, &["retry", "1"], 65);
            assert!(retry.contains("an operator holds it: `pillarbox release`"), "{retry}");
            assert!(refused(stage, &["release", "2"], 65).contains("it is not held"));
            let json: serde_json::Value =
                serde_json::from_str(&done(stage, &["release", "1", "--json"])).unwrap();
            assert_eq!((json["file"].as_str(), json["state"].as_str()), (Some("1"), Some("aside")));
            assert_eq!(states(stage), ["1 aside", "2 waiting"]);
            done(stage, &["retry", "1"]);
            let waits = refused(stage, &["retry", "2"], 65);
            assert!(waits.contains("it has not failed, it waits\nhint: its turn comes"), "{waits}");
        },
    );
}

#[test]
fn who_names_no_message_is_told_how() {
    let stage = Stage::new("", "");
    for command in ["hold", "release", "retry", "remove"] {
        let ran = stage.pillarbox(&[command]);
        assert!(ran.code == 64 && ran.stderr.contains("ID"), "{command}: {ran:?}");
    }
}

#[test]
fn what_is_removed_is_gone_for_good() {
    with_and_without_a_service(
        || paused_with_two(""),
        |stage, _| {
            let ran = stage.pillarbox(&["remove", "1", "nobody", "2"]);
            assert_eq!(ran.code, 65, "{ran:?}");
            assert_eq!(ran.stdout.lines().count(), 2, "those behind one that is refused have their turn");
            assert_eq!(
                ran.stderr,
                "pillarbox: there is no message \"nobody\"\nhint: `pillarbox list` shows the messages\n"
            );
            assert_eq!(states(stage), [""; 0]);
            assert!(stage.names("pending").is_empty());
        },
    );
}

#[test]
fn a_message_is_named_by_its_id_by_part_of_it_or_by_its_file() {
    with_and_without_a_service(
        || paused_with_two(""),
        |stage, _| {
            let ids: Vec<String> =
                stage.list().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
            for name in [&ids[0][..], &ids[0].to_uppercase(), &ids[0][26..], "1", "1.eml"] {
                let shown = done(stage, &["show", name]);
                assert!(shown.starts_with(&format!("id         {}\nname       1\n", ids[0])), "{shown}");
                assert!(shown.contains("\nenvelope   as its header says"), "{shown}");
            }
            // Both were accepted in the same minutes.
            let both = refused(stage, &["show", &ids[0][..6]], 65);
            assert!(both.contains("means 2 messages: ") && ids.iter().all(|id| both.contains(id)), "{both}");
            assert!(both.ends_with("hint: name one of them by its queue id\n"), "{both}");
            let short = refused(stage, &["show", &ids[0][..3]], 65);
            assert!(short.ends_with("hint: of a queue id at least four digits are needed\n"), "{short}");
            let gone = "0".repeat(32);
            assert!(refused(stage, &["hold", &gone], 65).contains("there is no message"));
        },
    );
}

#[test]
fn what_failed_is_brought_back_and_sent_to_those_who_do_not_have_it() {
    for served in [false, true] {
        let server = Server::scripted(|asked| match asked.line {
            "RCPT TO:<gone@example.com>" => say("550 5.1.1 no such user"),
            _ => Answer::Usual,
        });
        let stage = Stage::new(&plain(server.port()), "");
        stage.drop_in("1.eml", letter(1, &["ops@example.com", "gone@example.com"]));
        stage.drop_in("2.eml", letter(2, &["gone@example.com"]));
        done(&stage, &["flush"]);
        assert_eq!(states(&stage), ["1 failed", "2 failed"]);
        let shown = done(&stage, &["show", "1"]);
        assert!(shown.contains("\nto         ops@example.com: taken: 250"), "{shown}");
        assert!(
            shown.contains("\nto         gone@example.com: 550 5.1.1 no such user (in reply to RCPT TO)")
        );
        assert!(shown.contains("\n\n"), "the report stands below: {shown}");
        assert!(refused(&stage, &["hold", "1"], 65).contains("it does not wait, it has failed"));

        server.follow(|_| Answer::Usual);
        let service = served.then(|| stage.run());
        let said = done(&stage, &["retry", "--failed"]);
        assert_eq!(said.matches("due now, out of line").count(), 2, "{said}");
        if service.is_none() {
            done(&stage, &["flush", "--strict"]);
        }
        server.wait_taken(3);
        let second: Vec<Vec<String>> = server.taken()[1..].iter().map(|a| a.forward_paths.clone()).collect();
        assert_eq!(second, [["gone@example.com"], ["gone@example.com"]]);
        stage.wait_empty();
        assert!(stage.names("failed").is_empty());
        assert_eq!(done(&stage, &["remove", "--failed"]), "");
    }
}

#[test]
fn a_retry_of_what_is_aside_does_not_wait_for_its_schedule() {
    let server = Server::scripted(|asked| match asked.line {
        "RCPT TO:<late@example.com>" => say("450 4.2.1 not now"),
        _ => Answer::Usual,
    });
    let stage = Stage::new(&plain(server.port()), "hold_line = \"0s\"");
    stage.set("retry_interval", "\"1h\"");
    let service = stage.run();
    stage.drop_in("late.eml", letter(1, &["late@example.com"]));
    service.wait_log("WARN message-stepped-aside");
    server.follow(|_| Answer::Usual);
    done(&stage, &["retry", "late"]);
    server.wait_taken(1);
    stage.wait_empty();
    assert_eq!(service.stop(), 0);
}

#[test]
fn those_behind_a_message_that_holds_the_line_go_when_it_is_held() {
    let server = Server::scripted(|asked| match asked.line {
        "RCPT TO:<late@example.com>" => say("450 4.2.1 not now"),
        _ => Answer::Usual,
    });
    let stage = Stage::new(&plain(server.port()), "hold_line = \"forever\"");
    stage.set("retry_interval", "\"1h\"");
    let service = stage.run();
    stage.drop_in("late.eml", letter(1, &["late@example.com"]));
    service.wait_log("WARN line-held");
    stage.drop_letters([2]);
    service.wait_log_times("INFO accepted", 2);
    done(&stage, &["hold", "late"]);
    server.wait_taken(1);
    assert_eq!(server.subjects(), alarms([2]));
    until("the state to be told", || stage.status()["sender"]["state"] == "usable");
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_pause_sends_nothing_and_outlives_a_restart() {
    let server = Server::start();
    with_and_without_a_service(
        || Stage::new(&plain(server.port()), ""),
        |stage, service| {
            let said = done(stage, &["pause"]);
            assert!(said.starts_with("paused: nothing is sent"), "{said}");
            stage.drop_letters([1]);
            let flushed = done(stage, &["flush", "--json"]);
            let flushed: serde_json::Value = serde_json::from_str(&flushed).unwrap();
            assert_eq!((&flushed["end"], &flushed["left"]), (&"paused".into(), &1.into()), "{flushed}");
            assert!(flushed["hint"].as_str().unwrap().contains("pillarbox resume"), "{flushed}");
            assert_eq!(stage.status()["sender"]["state"], "paused");
            let status = done(stage, &["status"]);
            assert!(status.contains("\nsmarthost  PAUSED since 2"), "{status}");
            if let Some(service) = service {
                service.wait_log("WARN paused hint");
            }
        },
    );
    assert_eq!(server.sessions(), 0, "a connection although nothing is to be sent");
    // Over a restart, and until it is ended.
    let stage = paused_with_two(&plain(server.port()));
    let service = stage.run();
    service.wait_log("WARN still-paused since=2 hint=");
    assert_eq!(stage.status()["sender"]["state"], "paused");
    let json = done(&stage, &["resume", "--json"]);
    assert_eq!(json, "{\"paused_since\":null}\n");
    server.wait_taken(2);
    stage.wait_empty();
    until("the state to be told", || stage.status()["sender"]["state"] == "usable");
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_pause_carries_what_is_in_flight_to_its_end_and_sends_nothing_of_what_rides_behind() {
    let gate = Arc::new(Gate::default());
    let pass = Arc::clone(&gate);
    let server = Server::scripted(move |asked| {
        if asked.line == "." && asked.content.windows(8).any(|w| w == b" alarm 1") {
            pass.pass();
        }
        Answer::Usual
    });
    let stage = paused_with_two(&plain(server.port()));
    let service = stage.run();
    done(&stage, &["resume"]);
    server.wait_heard(".", 1);
    done(&stage, &["pause"]);
    gate.open();
    server.wait_taken(1);
    until("the first to be gone", || states(&stage) == ["2 waiting"]);
    let flushed = done(&stage, &["flush", "--json"]);
    assert!(flushed.contains("\"paused\""), "{flushed}");
    assert_eq!((server.subjects(), server.count(".")), (alarms([1]), 1));
    done(&stage, &["resume"]);
    server.wait_taken(2);
    assert_eq!(server.subjects(), alarms([1, 2]));
    assert_eq!(service.stop(), 0);
}

/// Its requests are with the server already.
#[test]
fn a_message_is_held_while_its_requests_ride_behind_the_final_dot_of_the_one_before() {
    let gate = Arc::new(Gate::default());
    let pass = Arc::clone(&gate);
    let server = Server::scripted(move |asked| {
        if asked.line == "." {
            pass.pass();
        }
        Answer::Usual
    });
    let stage = paused_with_two(&plain(server.port()));
    let service = stage.run();
    done(&stage, &["resume"]);
    server.wait_heard(".", 1);
    done(&stage, &["hold", "2"]);
    gate.open();
    server.wait_taken(1);
    done(&stage, &["flush"]);
    assert_eq!(states(&stage), ["2 held"]);
    // Those that rode, and none of its text.
    assert_eq!((server.count("MAIL FROM"), server.count(".")), (2, 1), "{:?}", server.heard());
    done(&stage, &["release", "2"]);
    server.wait_taken(2);
    assert_eq!(server.subjects(), alarms([1, 2]));
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_message_that_is_being_sent_is_not_touched_and_whoever_comes_is_told() {
    let gate = Arc::new(Gate::default());
    let pass = Arc::clone(&gate);
    let server = Server::scripted(move |asked| {
        if asked.line == "." {
            pass.pass();
        }
        Answer::Usual
    });
    let stage = Stage::new(&plain(server.port()), "");
    let service = stage.run();
    stage.drop_letters([1]);
    server.wait_heard(".", 1);
    for command in ["hold", "remove", "retry", "release"] {
        let said = refused(&stage, &[command, "1"], 75);
        assert!(said.contains(": it is being sent\nhint: nothing was changed; ask again"), "{said}");
    }
    assert_eq!(states(&stage), ["1 sending"]);
    gate.open();
    server.wait_taken(1);
    stage.wait_empty();
    assert_eq!(server.taken().len(), 1);
    assert_eq!(service.stop(), 0);
}

#[test]
fn of_two_operators_one_wins_and_the_other_is_told() {
    for command in ["remove", "hold"] {
        let stage = paused_with_two("");
        let service = stage.run();
        let both: Vec<_> = (0..2)
            .map(|_| {
                let command = stage.command(&[command, "1"]);
                std::thread::spawn(move || finish(command))
            })
            .collect();
        let mut codes: Vec<i32> = both.into_iter().map(|one| one.join().unwrap().code).collect();
        codes.sort_unstable();
        assert_eq!(codes, [0, 65], "{command}");
        assert_eq!(service.stop(), 0);
    }
}

#[test]
fn without_a_service_a_command_waits_a_while_for_the_one_that_has_the_spool() {
    let gate = Arc::new(Gate::default());
    let pass = Arc::clone(&gate);
    let server = Server::scripted(move |asked| {
        if asked.line == "." {
            pass.pass();
        }
        Answer::Usual
    });
    let stage = Stage::new(&plain(server.port()), "");
    stage.drop_letters([1]);
    let flush = stage.start(stage.command(&["flush"]));
    server.wait_heard(".", 1);
    let pause = stage.command(&["pause"]);
    let pause = std::thread::spawn(move || finish(pause));
    // Longer than a command takes that does not wait.
    pass_time(Duration::from_millis(500));
    gate.open();
    let ran = pause.join().unwrap();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!((server.subjects(), states(&stage).len()), (alarms([1]), 0));
    assert_eq!(stage.status()["sender"]["state"], "paused");
    drop(flush);
}
