//! Another configuration for a service that runs, and one that is wrong from the start.

use std::fs;
use std::sync::Arc;

use rustix::process::Signal;

use crate::support::server::{Answer, Gate, Server};
use crate::support::stage::{Stage, alarms, finish, plain, until};
use crate::{done, refused};

#[test]
fn a_new_configuration_is_in_force_without_a_message_in_flight_being_lost() {
    let gate = Arc::new(Gate::default());
    let pass = Arc::clone(&gate);
    let first = Server::scripted(move |asked| {
        if asked.line == "." {
            pass.pass();
        }
        Answer::Usual
    });
    let second = Server::start();
    let stage = Stage::new(&plain(first.port()), "");
    let service = stage.run();
    stage.drop_letters([1, 2]);
    first.wait_heard(".", 1);
    stage.configure(&plain(second.port()).replace("[[smarthost]]", "[[smarthost]]\nname = \"other\""), "");
    assert_eq!(done(&stage, &["reload"]), "reloaded: smarthost other\n");
    gate.open();
    second.wait_taken(1);
    assert_eq!((first.subjects(), second.subjects()), (alarms([1]), alarms([2])));
    // By signal, with a level at which nothing more is said.
    stage.set("settle", "\"60ms\"");
    service.signal(Signal::HUP);
    service.wait_log_times("INFO reloading", 2);
    service.wait_log_times("INFO ready", 3);
    stage.drop_letters([3]);
    second.wait_taken(2);
    fs::write(stage.config(), fs::read_to_string(stage.config()).unwrap() + "[log]\nlevel = \"error\"\n")
        .unwrap();
    done(&stage, &["reload", "--json"]);
    stage.drop_letters([4]);
    second.wait_taken(3);
    stage.wait_empty();
    assert!(!service.log().contains("file=\"4\""), "{}", service.log());
    assert_eq!(service.stop(), 0);
}

#[test]
fn while_what_is_in_flight_ends_under_the_configuration_before_drops_are_accepted_and_a_flush_waits() {
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
    done(&stage, &["reload"]);
    stage.drop_letters([2]);
    service.wait_log_times("INFO accepted", 2);
    let flush = stage.start(stage.command(&["flush", "--strict"]));
    gate.open();
    server.wait_taken(2);
    assert_eq!({ flush }.ended(), 0);
    assert_eq!(server.subjects(), alarms([1, 2]));
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_wrong_configuration_leaves_the_one_before_in_force_and_says_what_is_wrong() {
    let server = Server::start();
    let stage = Stage::new(&plain(server.port()), "");
    let service = stage.run();
    let right = fs::read_to_string(stage.config()).unwrap();
    for (config, words) in [
        (right.clone() + "[delivry]\n", "unknown field `delivry`"),
        (right.replace("/spool\"", "/elsewhere\""), "dir in [spool] cannot change while the service runs"),
    ] {
        fs::write(stage.config(), config).unwrap();
        let said = refused(&stage, &["reload", "--spool", &stage.spool().display().to_string()], 78);
        assert!(
            said.contains(words) && said.contains("hint: the configuration before stays in force"),
            "{said}"
        );
    }
    service.signal(Signal::HUP);
    service.wait_log_times("ERROR reload-failed", 3);
    assert!(service.log().contains("pillarbox.toml line "), "{}", service.log());
    stage.drop_letters([1]);
    server.wait_taken(1);
    assert_eq!(service.log().matches("INFO ready").count(), 1);
    assert_eq!(service.stop(), 0);
}

#[test]
fn reload_without_a_service_says_so() {
    let stage = Stage::new("", "");
    assert!(refused(&stage, &["reload"], 69).contains("no service runs on "));
}

#[test]
fn with_a_configuration_that_is_wrong_the_service_accepts_and_sends_nothing_until_it_is_mended() {
    let server = Server::start();
    let stage = Stage::new(&plain(server.port()), "");
    let right = fs::read_to_string(stage.config()).unwrap();
    fs::write(stage.config(), right.clone() + "[delivery]\nretry = \"30s\"\n").unwrap();
    let service = stage.run();
    service.wait_log("ERROR config-broken error= pillarbox.toml line duplicate hint=");
    stage.drop_letters([1]);
    service.wait_log("INFO accepted");
    // Whoever asks has the same file in hand, and hears it from the service.
    let json = stage.status();
    assert!(json["config_error"].as_str().unwrap().contains("pillarbox.toml line "), "{json}");
    assert_eq!(json["waiting"], 1);
    let text = done(&stage, &["status"]);
    assert!(text.contains("\nATTENTION  nothing is sent: the configuration is wrong\n"), "{text}");
    assert!(text.contains("hint: mend it, then `pillarbox reload`\n"), "{text}");
    assert_eq!(server.sessions(), 0);
    fs::write(stage.config(), right).unwrap();
    done(&stage, &["reload"]);
    server.wait_taken(1);
    until("the state to be told", || stage.status()["config_error"].is_null());
    assert_eq!(service.stop(), 0);
}

#[test]
fn without_a_spool_it_is_the_configuration_that_is_told_of() {
    let stage = Stage::without_spool();
    stage.configure_all("what = 5\n");
    let ran = finish(stage.command(&["run"]));
    assert_eq!(ran.code, 78, "{ran:?}");
    assert!(ran.stderr.contains("pillarbox.toml line ") && ran.stderr.contains("what"), "{ran:?}");
}
