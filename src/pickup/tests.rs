//! The pickup over a real directory, on a clock that stands until it is moved.

use std::sync::Mutex;
use std::sync::mpsc;

use super::*;
use crate::fs::faulty::Faulty;
use crate::spool::Lease;

#[derive(Debug)]
struct Alone;

impl Lease for Alone {}

/// Each reading may be `stride` later than the one before.
#[derive(Default)]
struct Hand {
    now: Mutex<Duration>,
    stride: Duration,
}

impl Hand {
    fn advance(&self, span: Duration) {
        *self.now.lock().unwrap() += span;
    }
}

impl Clock for Hand {
    fn monotonic(&self) -> Monotonic {
        self.advance(self.stride);
        Monotonic(*self.now.lock().unwrap())
    }
    fn wall(&self) -> UnixTime {
        UnixTime::from_secs(self.now.lock().unwrap().as_secs())
    }
}

struct Bench {
    root: tempfile::TempDir,
    disk: Arc<Faulty>,
    spool: Arc<Spool>,
    clock: Arc<Hand>,
    pickup: Pickup,
}

const SETTLE: Duration = Duration::from_millis(500);
const MESSAGE: &str = "From: a@example.com\nTo: b@example.com\n\ntext\n";

impl Bench {
    fn new() -> Bench {
        Bench::on(Hand::default())
    }

    fn on(clock: Hand) -> Bench {
        let root = tempfile::tempdir().unwrap();
        let disk = Faulty::new(root.path());
        let spool = Arc::new(Spool::new(disk.clone(), Box::new(Alone)));
        spool.recover().unwrap();
        let clock = Arc::new(clock);
        let outgoing = outgoing::Options {
            hostname: "box.example.com".into(),
            from: None,
            domain: None,
            received: true,
        };
        let options = Options {
            patterns: Pattern::defaults(),
            settle: SETTLE,
            rescan: Duration::from_secs(60),
            outgoing,
        };
        let pickup = Pickup::new(spool.clone(), clock.clone(), options);
        Bench { root, disk, spool, clock, pickup }
    }

    /// A step, as much later than the one before.
    fn step_after(&mut self, span: Duration) -> Step {
        self.clock.advance(span);
        self.pickup.step().unwrap()
    }

    fn now(&self) -> Monotonic {
        self.clock.monotonic()
    }
}

#[test]
fn what_was_accepted_is_told_also_when_the_directory_is_watched_anew() {
    let Bench { root: _root, disk, clock, pickup, .. } =
        Bench::on(Hand { stride: Duration::from_secs(61), ..Hand::default() });
    disk.drop_file("a.eml", MESSAGE);
    let (told, heard) = mpsc::channel();
    let (hints, hints_heard) = mpsc::channel();
    let stop = hints.clone();
    let on_accepted = move |accepted: Vec<Accepted>| {
        told.send(accepted.len()).unwrap();
        drop(stop.send(Hint::Stop));
        Ok(())
    };
    // It cannot be watched, and with each look it is time to try again.
    let nowhere = std::path::PathBuf::from("/nonexistent");
    let mut driver = Driver::new(pickup, clock, nowhere, (hints, hints_heard), Box::new(on_accepted));
    std::thread::spawn(move || driver.run());
    assert_eq!(heard.recv_timeout(Duration::from_secs(10)), Ok(1));
}
