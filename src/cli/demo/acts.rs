//! What happens, in order, and what it proves.

use std::time::Duration;

use super::broken;
use super::ledger::Compared;
use super::show::{Show, now, span};
use super::world::World;
use crate::catch::AnswerMode;
use crate::cli::Failure;

/// For deliveries. Generous: on a slow flash card each sync can take a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// Long enough to be tried in vain a few times.
const OUTAGE: Duration = Duration::from_secs(4);

const MANY: usize = 50;
const KILL_AFTER: usize = 20;

/// What is summed up at the end.
#[derive(Default)]
struct Proof {
    outage: Duration,
    twice: usize,
}

pub(super) fn play(show: &mut Show, world: &mut World) -> Result<(), Failure> {
    let mut proof = Proof::default();
    prologue(show, world)?;
    one_message(show, world)?;
    outage_and_crash(show, world, &mut proof)?;
    refusal(show, world)?;
    crash_in_mid_delivery(show, world, &mut proof)?;
    world.stop_service()?;
    show.tell("the service is asked to end, and ends")?;
    sum_up(show, world, &proof)
}

fn prologue(show: &mut Show, world: &mut World) -> Result<(), Failure> {
    show.line("A mail server to deliver to, and pillarbox itself, both on this machine only.")?;
    show.line(&format!("Everything happens in {}", world.dir().display()))?;
    show.line("\nThe configuration, pillarbox.toml:")?;
    show.quote(&world.config())?;
    let spool = world.dir().join("spool").display().to_string();
    world.run(&["init", "--spool", &spool])?;
    show.line("")?;
    show.tell("`pillarbox init` has made the spool")?;
    let pid = world.start_service()?;
    show.tell(&format!("`pillarbox run` is ready (process {pid})"))
}

fn one_message(show: &mut Show, world: &mut World) -> Result<(), Failure> {
    show.act("A file becomes a mail")?;
    let first = world.mark();
    let text = message(
        "ops@example.com",
        "hello",
        "A file in pickup/, that is all.\n.\nThe line above is a single dot.",
    );
    show.tell("this file is written into pickup/ as .hello.eml, then renamed to hello.eml:")?;
    show.quote(&text)?;
    world.drop_file("hello.eml", "hello", text)?;
    world.wait("the mail server to get hello.eml", PATIENCE, |w| w.ledger.here(first) == 1)?;
    let all = compare(world, first)?;
    show.tell(&format!("the mail server has it, {} after the rename", span(all[0].waited)))
}

fn outage_and_crash(show: &mut Show, world: &mut World, proof: &mut Proof) -> Result<(), Failure> {
    show.act("The mail server goes away")?;
    let first = world.mark();
    world.set_smarthost(AnswerMode::Down)?;
    let down = now();
    show.tell("the mail server is gone: connections are refused")?;
    drop_alarms(world, 1..=5)?;
    world.wait("five messages in pending/", PATIENCE, |w| w.waiting() == 5)?;
    show.tell("five alarms were dropped, and wait in pending/:")?;
    show.quote(&world.names("pending").join("\n"))?;
    let config = world.config_path();
    let status = world.run(&["status", "--config", &config])?;
    show.tell("`pillarbox status` says:")?;
    show.quote(status.trim_end())?;

    show.act("The service is killed")?;
    let pid = world.service_id();
    world.kill_service();
    show.tell(&format!("kill -9 {pid}: it had no chance to put anything in order"))?;
    drop_alarms(world, 6..=7)?;
    show.tell("nobody runs; two more alarms are dropped:")?;
    show.quote(&world.names("pickup").join("\n"))?;

    show.act("It is started again, the mail server still away")?;
    let pid = world.start_service()?;
    world.wait("seven messages in pending/", PATIENCE, |w| w.waiting() == 7)?;
    show.tell(&format!("process {pid} is ready; all seven wait in pending/"))?;
    show.tell("it tries once a second, and goes on trying")?;
    world.wait("the outage to pass", PATIENCE, |_| now().duration_since(down) > OUTAGE)?;
    world.wait("seven messages that are still in pending/", PATIENCE, |w| w.waiting() == 7)?;

    show.act("The mail server is back")?;
    world.set_smarthost(AnswerMode::Accept)?;
    let back = now();
    proof.outage = back.duration_since(down);
    show.tell(&format!("it was away for {}", span(proof.outage)))?;
    world.wait("all seven alarms", PATIENCE, |w| w.ledger.here(first) == 7 && w.waiting() == 0)?;
    let all = compare(world, first)?;
    show.tell(&format!("{} later everything has arrived:", span(now().duration_since(back))))?;
    table(show, &all)?;
    at_most_twice(&all, 1).map(|twice| proof.twice += twice)
}

fn refusal(show: &mut Show, world: &mut World) -> Result<(), Failure> {
    show.act("One message is refused")?;
    let bad = world.mark();
    let text = message("refuse@example.com", "to nobody", "This recipient is refused by the mail server.");
    world.drop_file("bad.eml", "to nobody", text.clone())?;
    let good = world.mark();
    let next = message("ops@example.com", "next in line", "It must not wait for the one before it.");
    world.drop_file("good.eml", "next in line", next)?;
    show.tell("a message to refuse@example.com is dropped, and a good one behind it")?;
    let is_reason = |name: &String| name.ends_with(".txt");
    world.wait("the good message, and the reason for the bad one in failed/", PATIENCE, |w| {
        w.ledger.here(good) == 1 && w.names("failed").iter().any(is_reason)
    })?;
    if world.ledger.dots(bad) != 1 {
        return Err(broken("the refused message reached the mail server, or the good one did twice"));
    }
    compare(world, good)?;
    let names = world.names("failed");
    let kept: Vec<&String> = names.iter().filter(|name| name.ends_with(".eml")).collect();
    if kept.len() != 1 || world.text("failed", kept[0]) != text {
        return Err(broken(format!("expected the refused message unchanged in failed/, found {names:?}")));
    }
    show.tell("the good one has arrived; the bad one lies in failed/ as it was dropped,")?;
    let reason = names.iter().find(|name| is_reason(name)).map_or("", String::as_str);
    show.tell(&format!("and {reason} says why:"))?;
    show.quote(world.text("failed", reason).trim_end())
}

fn crash_in_mid_delivery(show: &mut Show, world: &mut World, proof: &mut Proof) -> Result<(), Failure> {
    show.act("The service is killed in the middle of its work")?;
    let first = world.mark();
    let pid = world.service_id();
    for number in 1..=MANY {
        let subject = format!("note {number} of {MANY}");
        let text =
            message("ops@example.com", &subject, &format!("Line {number}\n..\n{}", "x".repeat(number * 20)));
        world.drop_file(&format!("note-{number}.eml"), &subject, text)?;
    }
    show.tell(&format!("{MANY} files are dropped at once"))?;
    world.wait(&format!("{KILL_AFTER} of {MANY} notes"), PATIENCE, |w| w.ledger.dots(first) >= KILL_AFTER)?;
    world.kill_service();
    show.tell(&format!("kill -9 {pid}, just as message {KILL_AFTER} was taken; that leaves:"))?;
    let left = |folder| world.names(folder).len();
    show.quote(&format!(
        "pickup/ {}   pending/ {}   sending/ {}",
        left("pickup"),
        left("pending"),
        left("sending")
    ))?;
    let pid = world.start_service()?;
    show.tell(&format!("started again (process {pid})"))?;
    world.wait(&format!("all {MANY} notes, and an empty spool"), PATIENCE, |w| {
        w.ledger.here(first) == MANY && w.waiting() == 0 && w.names("pickup").is_empty()
    })?;
    let all = compare(world, first)?;
    let twice = at_most_twice(&all, 1)?;
    proof.twice += twice;
    let twice = match all.iter().find(|message| message.places.len() > 1) {
        Some(message) => format!("{:?} came twice (one a crash may)", message.subject),
        None => "none came twice (one might have)".to_owned(),
    };
    show.tell(&format!("all {MANY} have arrived, in order; {twice}"))
}

fn sum_up(show: &mut Show, world: &World, proof: &Proof) -> Result<(), Failure> {
    let dropped = world.ledger.dropped.len();
    let delivered = world.ledger.here(0);
    if delivered + 1 != dropped {
        return Err(broken(format!("{dropped} files were dropped and one refused, but {delivered} arrived")));
    }
    let copies = world.ledger.dots(0) - delivered;
    if copies != proof.twice {
        return Err(broken(format!("{copies} copies arrived, {} of them by the two crashes", proof.twice)));
    }
    show.line("\nIs it as promised?")?;
    show.proved(&format!("nothing is lost: {dropped} dropped, {delivered} delivered, 1 refused and kept"))?;
    show.proved("the order held, through one outage and two crashes")?;
    show.proved("every message arrived as it was dropped, compared byte by byte")?;
    show.proved(&format!("two crashes, sent twice: {} (one a crash is the most)", proof.twice))?;
    show.proved(&format!("an outage of {} needed nobody's help", span(proof.outage)))?;
    show.proved("a refused message said why, and held nobody up")
}

fn drop_alarms(world: &mut World, numbers: std::ops::RangeInclusive<usize>) -> Result<(), Failure> {
    for number in numbers {
        let subject = format!("alarm {number} of 7");
        let text = message("ops@example.com", &subject, &format!("Zone {number}: door open."));
        world.drop_file(&format!("alarm-{number}.eml"), &subject, text)?;
    }
    Ok(())
}

fn message(to: &str, subject: &str, body: &str) -> String {
    format!("From: panel@demo.example.com\nTo: {to}\nSubject: {subject}\n\n{body}\n")
}

/// What was dropped from `first` on; all of it has to have arrived.
fn compare(world: &World, first: usize) -> Result<Vec<Compared>, Failure> {
    world.ledger.compare(first, world.mark()).map_err(broken)
}

/// How many came more than once: at most `most`, and none of them three times.
fn at_most_twice(all: &[Compared], most: usize) -> Result<usize, Failure> {
    let copies: usize = all.iter().map(|message| message.places.len() - 1).sum();
    if copies <= most {
        Ok(copies)
    } else {
        Err(broken(format!("expected at most {most} sent twice, found {copies} copies")))
    }
}

fn table(show: &mut Show, all: &[Compared]) -> Result<(), Failure> {
    show.line("           dropped        arrived   waited   bytes")?;
    for message in all {
        let places: Vec<String> = message.places.iter().map(|place| (place + 1).to_string()).collect();
        show.line(&format!(
            "           {:<14} {:<9} {:<8} same",
            message.subject,
            places.join(", "),
            span(message.waited)
        ))?;
    }
    Ok(())
}
