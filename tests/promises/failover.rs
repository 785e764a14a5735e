//! Several smarthosts, and a provider that takes only so much: whatever they do, all arrive once and in order.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::server::{Answer, Asked, GREETING, Server, say};
use crate::support::stage::{Stage, alarms};

/// The first smarthost goes away after so many messages, and comes back after the second has had so many.
const STINT: usize = 40;
const ABSENCE: usize = 30;
const DEPARTURES: usize = 10;

#[derive(Default)]
struct Events {
    /// What was taken, by either.
    taken: Vec<String>,
    by_first: usize,
    stint: usize,
    absence: usize,
    away: bool,
    departures: usize,
}

fn subject(asked: &Asked<'_>) -> String {
    let text = String::from_utf8_lossy(asked.content).into_owned();
    text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or_default().to_owned()
}

fn first(events: &mut Events, asked: &Asked<'_>) -> Answer {
    if events.away {
        // Every other time it vanishes only with a whole message in its hands.
        let waits_for_dot =
            events.departures.is_multiple_of(2) && asked.line != GREETING && asked.line != ".";
        return if waits_for_dot { Answer::Usual } else { Answer::Cut };
    }
    if asked.line == "." {
        events.taken.push(subject(asked));
        events.by_first += 1;
        events.stint += 1;
        if events.stint == STINT && events.departures < DEPARTURES {
            (events.away, events.stint, events.absence) = (true, 0, 0);
            events.departures += 1;
        }
    }
    Answer::Usual
}

fn second(events: &mut Events, asked: &Asked<'_>) -> Answer {
    if asked.line == "." {
        events.taken.push(subject(asked));
        events.absence += 1;
        events.away &= events.absence < ABSENCE;
    }
    Answer::Usual
}

#[test]
fn n4_a_thousand_messages_arrive_once_in_order_while_the_first_smarthost_goes_and_comes_ten_times() {
    let events = Arc::new(Mutex::new(Events::default()));
    let (one, two) = (Arc::clone(&events), Arc::clone(&events));
    let first = Server::scripted(move |asked| first(&mut one.lock().unwrap(), asked));
    let second = Server::scripted(move |asked| second(&mut two.lock().unwrap(), asked));
    let smarthosts = format!(
        "[[smarthost]]\nname = \"first\"\nurl = \"smtp://127.0.0.1:{}\"\ntls = \"none\"\n\
         [[smarthost]]\nname = \"second\"\nurl = \"smtp://127.0.0.1:{}\"\ntls = \"none\"\n",
        first.port(),
        second.port()
    );
    let stage = Stage::new(&smarthosts, "fail_back = \"1ms\"");
    stage.set("retry_interval", "\"20ms\"");
    stage.drop_letters(1..=1000);
    let service = stage.run();
    stage.wait_empty();
    let log = service.log();
    assert_eq!(service.stop(), 0);
    let events = events.lock().unwrap();
    assert_eq!(events.taken, alarms(1..=1000));
    assert_eq!(events.departures, DEPARTURES);
    assert!(events.by_first > DEPARTURES * STINT, "it was gone back to: {}", events.by_first);
    let told = |event: &str| log.lines().filter(|line| line.contains(event)).count();
    assert_eq!((told(" failed-over "), told(" failed-back ")), (DEPARTURES, DEPARTURES));
    assert!(stage.names("failed").is_empty());
}

#[test]
fn a_smarthost_out_of_service_is_shown_with_cause_and_cure_while_another_delivers() {
    let first = Server::scripted(|_| say("421 4.3.2 out of office"));
    let second = Server::start();
    let smarthosts = format!(
        "[[smarthost]]\nname = \"first\"\nurl = \"smtp://127.0.0.1:{}\"\ntls = \"none\"\n\
         [[smarthost]]\nname = \"second\"\nurl = \"smtp://127.0.0.1:{}\"\ntls = \"none\"\n",
        first.port(),
        second.port()
    );
    let stage = Stage::new(&smarthosts, "");
    let service = stage.run();
    stage.drop_letters([1]);
    stage.wait_empty();
    let status = stage.status();
    assert_eq!(status["sender"]["smarthost"], "second");
    assert_eq!(status["out_of_service"][0]["smarthost"], "first");
    assert!(status["out_of_service"][0]["cause"].as_str().unwrap().contains("421 4.3.2 out of office"));
    let shown = stage.pillarbox(&["status"]).stdout;
    assert!(shown.contains("ATTENTION  first: not usable since "), "{shown}");
    assert!(service.log().contains("WARN failed-over"));
}

/// Refuses for good what comes faster than so many in so long, and remembers that it did.
struct Provider {
    count: usize,
    within: Duration,
    began: Mutex<VecDeque<Instant>>,
    refused: Mutex<usize>,
}

impl Provider {
    fn answer(&self, asked: &Asked<'_>) -> Answer {
        if !asked.line.starts_with("MAIL") {
            return Answer::Usual;
        }
        let mut began = self.began.lock().unwrap();
        let now = Instant::now();
        began.push_back(now);
        if began.len() > self.count {
            let first = began.pop_front().unwrap();
            if now - first < self.within {
                *self.refused.lock().unwrap() += 1;
                return say("550 5.7.1 too fast");
            }
        }
        Answer::Usual
    }
}

#[test]
fn a_provider_that_fails_what_comes_too_fast_fails_nothing_after_an_outage() {
    // What was begun 2 s apart may be heard a little closer together.
    let provider = Arc::new(Provider {
        count: 30,
        within: Duration::from_millis(1900),
        began: Mutex::default(),
        refused: Mutex::default(),
    });
    let script = Arc::clone(&provider);
    let server = Server::scripted(move |asked| script.answer(asked));
    let smarthost = format!(
        "[[smarthost]]\nurl = \"smtp://127.0.0.1:{}\"\ntls = \"none\"\nrate = \"30/2s\"\n",
        server.port()
    );
    let stage = Stage::new(&smarthost, "");
    stage.drop_letters(1..=100);
    let service = stage.run();
    service.wait_log("quota-reached");
    let sender = &stage.status()["sender"];
    if sender["state"] == "paced" {
        assert_eq!(sender["limit"], "rate");
        assert!(sender["until"].as_u64().unwrap() >= sender["since"].as_u64().unwrap());
    }
    stage.wait_empty();
    assert_eq!(server.subjects(), alarms(1..=100));
    assert_eq!(*provider.refused.lock().unwrap(), 0);
    assert!(stage.names("failed").is_empty());
}
