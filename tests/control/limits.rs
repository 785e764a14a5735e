//! The limits of `[spool]`, each with the real binary.

use std::fs;

use crate::support::server::{Answer, Server, say};
use crate::support::stage::{Stage, alarms, letter, plain, until};
use crate::{done, refused};

fn with_limits(limits: &str, smarthost: &str) -> Stage {
    let stage = Stage::new(smarthost, "");
    let config = fs::read_to_string(stage.config()).unwrap();
    let limits = format!("[spool]\n{limits}\n");
    fs::write(stage.config(), config.replacen("[spool]\n", &limits, 1)).unwrap();
    stage
}

fn write_letter(stage: &Stage) {
    fs::write(stage.dir().join("m.eml"), letter(9, &["ops@example.com"])).unwrap();
}

#[test]
fn no_more_than_max_messages_wait_and_the_rest_stays_where_it_was_dropped() {
    let server = Server::scripted(|_| Answer::SayAndCut("421 4.3.2 down"));
    let stage = with_limits("max_messages = 2", &plain(server.port()));
    let service = stage.run();
    stage.drop_letters([1, 2, 3]);
    service.wait_log("ERROR no-room reason=2 messages wait already (max_messages in [spool]) hint=");
    assert_eq!((stage.names("pending").len(), stage.names("pickup")), (2, vec!["3.eml".to_owned()]));
    let full = "2 messages wait already (max_messages in [spool])";
    assert_eq!(stage.status()["not_accepting"], full);
    assert!(done(&stage, &["status"]).contains(&format!("\nATTENTION  nothing is accepted: {full}\n")));
    write_letter(&stage);
    let said = refused(&stage, &["send", "m.eml"], 75);
    assert!(said.contains(&format!("nothing is accepted: {full}\nhint: try again later")), "{said}");
    server.follow(|_| Answer::Usual);
    done(&stage, &["flush"]);
    server.wait_taken(3);
    assert_eq!(server.subjects(), alarms([1, 2, 3]));
    until("room to be told", || stage.status()["not_accepting"].is_null());
    done(&stage, &["send", "m.eml"]);
    assert_eq!(service.stop(), 0);
}

#[test]
fn nothing_is_accepted_while_less_than_min_free_is_free() {
    let stage = with_limits("", "");
    stage.set("min_free", "\"900000GB\"");
    write_letter(&stage);
    let words = "less than 900000000000000 (min_free in [spool])";
    assert!(refused(&stage, &["send", "m.eml"], 75).contains(words));
    stage.drop_letters([1]);
    let service = stage.run();
    service.wait_log(&format!("ERROR no-room octets are free on the disk, {words}"));
    assert!(refused(&stage, &["send", "m.eml"], 75).contains(words));
    assert!(stage.status()["not_accepting"].as_str().unwrap().contains(words));
    assert_eq!((stage.names("pending").len(), stage.names("pickup").len()), (0, 1));
    stage.set("min_free", "\"0\"");
    done(&stage, &["reload"]);
    service.wait_log("INFO accepted");
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_message_longer_than_max_message_size_is_refused() {
    let stage = with_limits("max_message_size = \"1kB\"", "");
    let long = letter(1, &["ops@example.com"]) + &"x".repeat(1000);
    fs::write(stage.dir().join("m.eml"), &long).unwrap();
    let words = "the message is longer than 1000 octets (max_message_size in [spool])";
    assert!(refused(&stage, &["send", "m.eml"], 65).contains(words));
    let service = stage.run();
    // Long enough that the answer comes while it is still being handed in.
    fs::write(stage.dir().join("m.eml"), long.clone() + &"x\n".repeat(4_000_000)).unwrap();
    assert!(refused(&stage, &["send", "m.eml"], 65).contains(words));
    assert!(stage.names("pending").is_empty());
    stage.drop_in("long.eml", &long);
    service.wait_log("ERROR refused reason= at most 1000 octets (max_message_size in [spool]), found");
    let (report, message) = stage.the_failed_one();
    assert!(report.contains("max_message_size") && message == long, "{report}");
    assert_eq!(service.stop(), 0);
}

#[test]
fn the_newest_that_were_delivered_or_failed_are_kept() {
    let server = Server::scripted(|asked| match asked.line {
        "RCPT TO:<gone@example.com>" => say("550 5.1.1 no such user"),
        // Not alike: what might be brought back is kept.
        "RCPT TO:<full@example.com>" => say("552 5.2.2 mailbox full"),
        _ => Answer::Usual,
    });
    let stage = with_limits("keep_sent = 2\nkeep_failed = 1", &plain(server.port()));
    stage.drop_letters([1, 2, 3]);
    for (number, to) in [(4, "gone@example.com"), (5, "full@example.com")] {
        stage.drop_in(format!("{number}.eml"), letter(number, &[to]));
        stage.next_tick();
    }
    done(&stage, &["flush"]);
    let kept = |dir| -> Vec<String> {
        let names = stage.names(dir).into_iter().filter(|name| name.ends_with(".eml"));
        names.map(|name| name.rsplit('_').next().unwrap().to_owned()).collect()
    };
    assert_eq!((kept("sent"), kept("failed")), (vec!["2.eml".into(), "3.eml".into()], vec!["5.eml".into()]));
    let json = stage.status();
    assert_eq!((&json["sent"], &json["failed"]), (&2.into(), &1.into()));
}
