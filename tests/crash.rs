//! Crash by enumeration: a crash before every disk call of the spool's transitions, each as a kill and as every
//! power cut that a disk may make of what was not synced; recovery; and the same again inside what follows.
//!
//! The promises are held against a record of what was acknowledged to whom (`world::Truth`). docs/TESTING.md has the
//! fault model.

#[expect(dead_code, reason = "the pickup tests use the rest")]
mod model;
mod world;

use std::collections::HashSet;
use std::io::Write as _;

use model::{Disk, Snapshot};
use pillarbox::spool::SYNC_SITES;
use world::{World, scenario};

/// Up to so many pending changes every subset is tried; above, so many seeded ones.
const EXHAUSTIVE_UP_TO: usize = 12;
const SEEDED_SUBSETS: usize = 4096;

#[derive(Clone, Copy)]
struct Plan {
    scenario: fn(&mut World) -> Result<(), String>,
    /// How many crashes follow each other.
    crashes: usize,
    ignored_site: Option<u8>,
    /// For the second and later crashes: at most so many subsets of what is pending (beside none and all).
    later_subsets: usize,
}

#[derive(Debug, Default)]
struct Counts {
    crash_points: usize,
    exhaustive: usize,
    seeded: usize,
    states: usize,
}

/// Runs the scenario with a crash before every call. The first broken promise is the error.
fn explore(plan: Plan) -> Result<Counts, String> {
    let mut counts = Counts::default();
    let mut whole = World::new(Disk::default(), plan.ignored_site);
    whole.start().and_then(|()| (plan.scenario)(&mut whole)).map_err(|e| format!("without a crash: {e}"))?;
    whole.finish().map_err(|e| format!("without a crash: {e}"))?;
    let calls = whole.disk.calls();
    for call in 0..calls {
        let mut world = World::new(Disk::default(), plan.ignored_site);
        world.disk.crash_before(Some(call));
        // The error is the crash itself; a run that ends before it has nothing left to crash in.
        let ended = world.start().and_then(|()| (plan.scenario)(&mut world)).and_then(|()| world.finish());
        if ended.is_err() && !world.disk.has_crashed() {
            return ended.map(|()| counts).map_err(|e| format!("before call {call}: {e}"));
        }
        crashed(&world, plan, 1, &mut counts)
            .map_err(|e| format!("crash before call {call}: {e}\ncalls: {:#?}", tail(&world.disk)))?;
    }
    Ok(counts)
}

/// Every way in which the disk of `world` can look after this crash, each carried to the end.
fn crashed(world: &World, plan: Plan, crash: usize, counts: &mut Counts) -> Result<(), String> {
    counts.crash_points += 1;
    let snapshot = world.disk.snapshot();
    let killed = world.after_crash(Disk::after_kill(&snapshot));
    follow(killed, plan, crash, counts).map_err(|e| format!("(kill) {e}"))?;
    let mut seen = HashSet::new();
    for kept in subsets(&snapshot, plan, crash, counts) {
        let Some(disk) = snapshot.after_power_cut(kept) else { continue };
        if !seen.insert(disk.picture()) {
            continue;
        }
        counts.states += 1;
        follow(world.after_crash(disk), plan, crash, counts)
            .map_err(|e| format!("(power cut, kept {kept:b} of {}) {e}", snapshot.pending()))?;
    }
    Ok(())
}

fn subsets(snapshot: &Snapshot, plan: Plan, crash: usize, counts: &mut Counts) -> Vec<u64> {
    let pending = snapshot.pending();
    let all = if pending >= 64 { u64::MAX } else { (1 << pending) - 1 };
    let mut random = Random(pending as u64 + 1);
    let mut some =
        |n: usize| [0, all].into_iter().chain((0..n).map(|_| random.next() & all)).collect::<Vec<_>>();
    if crash > 1 && pending > 2 {
        counts.seeded += plan.later_subsets;
        return some(plan.later_subsets);
    }
    if pending > EXHAUSTIVE_UP_TO {
        counts.seeded += SEEDED_SUBSETS;
        return some(SEEDED_SUBSETS);
    }
    counts.exhaustive += 1 << pending;
    (0..=all).collect()
}

/// Recovery and all that is left to do: once to the end, and once with a crash before every call of it.
fn follow(world: World, plan: Plan, crash: usize, counts: &mut Counts) -> Result<(), String> {
    let before = world.disk.snapshot();
    let mut undisturbed = world.clone_on(Disk::after_kill(&before));
    undisturbed.start()?;
    undisturbed.check_recovered()?;
    undisturbed.finish()?;
    if crash == plan.crashes {
        return Ok(());
    }
    for call in 0..undisturbed.disk.calls() {
        let mut disturbed = world.clone_on(Disk::after_kill(&before));
        disturbed.disk.crash_before(Some(call));
        let ended = disturbed.start().and_then(|()| disturbed.finish());
        if ended.is_err() && !disturbed.disk.has_crashed() {
            return ended;
        }
        crashed(&disturbed, plan, crash + 1, counts).map_err(|e| {
            format!("then a crash before call {call}: {e}\ncalls then: {:#?}", tail(&disturbed.disk))
        })?;
    }
    Ok(())
}

fn tail(disk: &Disk) -> Vec<String> {
    let log = disk.log();
    log[log.len().saturating_sub(30)..].to_vec()
}

/// SplitMix64: the same subsets every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

fn plan(scenario: fn(&mut World) -> Result<(), String>, crashes: usize) -> Plan {
    Plan { scenario, crashes, ignored_site: None, later_subsets: 6 }
}

/// Says what was counted, also where the words of a test that passes are not shown.
fn tell(line: &str) {
    println!("{line}");
    let path = concat!(env!("CARGO_TARGET_TMPDIR"), "/crash.txt");
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut file| writeln!(file, "{line}")).expect("a file in the build directory");
}

fn hold(name: &str, plan: Plan) {
    match explore(plan) {
        Ok(counts) => tell(&format!("{name}: {counts:?}")),
        Err(broken) => panic!("{name}: {broken}"),
    }
}

#[test]
fn n1_to_n5_hold_when_a_crash_comes_before_any_disk_call() {
    hold("every transition, one crash", plan(scenario::everything, 1));
    hold("a burst, one crash", plan(scenario::burst, 1));
}

#[test]
fn n1_to_n5_hold_when_recovery_and_what_follows_crash_as_well() {
    hold("a delivery, two crashes", plan(scenario::delivery, 2));
    hold("a file with another name, two crashes", plan(scenario::linked, 2));
    hold("a file that is written to while it is copied, two crashes", plan(scenario::written, 2));
    hold("a folder, two crashes", plan(scenario::folder, 2));
    hold("a folder on another filesystem, two crashes", plan(scenario::foreign, 2));
    hold("producers are told of a delivery, two crashes", plan(scenario::told, 2));
    hold("producers are told of a failure, two crashes", plan(scenario::told_of_failure, 2));
    hold("producers are told of a refusal, one crash", plan(scenario::told_of_refusal, 1));
    hold("one that comes late, two crashes", plan(scenario::late, 2));
    hold("one that comes late over a directory, two crashes", plan(scenario::late_over_a_directory, 2));
    hold("a deferral, two crashes", plan(scenario::deferral, 2));
    hold("a message aside, two crashes", plan(scenario::aside, 2));
    hold("a failure, two crashes", plan(scenario::failure, 2));
}

#[test]
fn what_an_operator_was_told_holds_across_crashes() {
    hold("held and removed, two crashes", plan(scenario::held, 2));
    hold("handed in, two crashes", plan(scenario::handed_in, 2));
    hold("kept, two crashes", plan(scenario::kept, 2));
    hold("brought back, one crash", plan(scenario::given_up_and_back, 1));
    hold("brought back once, two crashes", plan(scenario::back, 2));
}

#[test]
fn without_any_one_of_its_syncs_the_spool_breaks_a_promise() {
    for site in SYNC_SITES {
        // Those that can break without it, where that is known: a scenario that holds takes its time.
        let scenarios = if site.number >= 33 { &scenario::WITH_FOLDERS[..] } else { &scenario::ALL[..] };
        let broken = scenarios.iter().find_map(|scenario| {
            let broken = explore(Plan { ignored_site: Some(site.number), ..plan(*scenario, 2) }).err();
            broken.filter(|what| what.contains("BROKEN "))
        });
        match broken {
            Some(promise) => {
                let said = promise.split("BROKEN ").nth(1).unwrap_or(&promise).lines().next().unwrap_or("");
                tell(&format!("without sync {:>2} ({}): {said}", site.number, site.why));
            }
            None => panic!("nothing breaks without sync {}: it has no place in the code", site.number),
        }
    }
}
