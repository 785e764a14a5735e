//! For the tests of the spool: one on a real disk whose calls can fail.

use std::sync::Arc;

use super::{Accepted, Candidate, Failed, InFlight, Lease, Name, NotAccepted, Recipient, Record, Spool};
use crate::fs::faulty::Faulty;
use crate::fs::{Dir, Fs as _};
use crate::mail::{Dsn, Outcome, QueueId, Reply, ReversePath, Stage, UnixTime};

#[derive(Debug)]
struct Alone;

impl Lease for Alone {}

pub(super) struct Bench {
    _root: tempfile::TempDir,
    pub(super) disk: Arc<Faulty>,
    pub(super) spool: Spool,
}

/// The labels in a directory, in order.
pub(super) fn names(spool: &Spool, dir: Dir) -> Vec<String> {
    let mut names = Vec::new();
    spool.fs().list(dir, &mut |file, _| names.extend(Name::parse(file))).unwrap();
    names.sort_by_key(|name| name.id);
    names.iter().map(|name| name.label().to_owned()).collect()
}

impl Bench {
    pub(super) fn new() -> Bench {
        let root = tempfile::tempdir().unwrap();
        let disk = Faulty::new(root.path());
        let spool = Spool::new(disk.clone(), Box::new(Alone));
        spool.recover().unwrap();
        Bench { _root: root, disk, spool }
    }

    pub(super) fn drop_and_accept(&self, names: &[&str]) -> Vec<Result<Accepted, NotAccepted>> {
        names.iter().for_each(|name| self.disk.drop_file(name, "To: a@example.com\n\ntext\n"));
        self.accept(names)
    }

    pub(super) fn accept(&self, names: &[&str]) -> Vec<Result<Accepted, NotAccepted>> {
        let settled =
            |name: &&str| Candidate { name: name.into(), settled: true, rested: true, holds: false };
        let candidates: Vec<Candidate> = names.iter().map(settled).collect();
        self.spool.accept(&candidates, UnixTime::from_secs(1), &|_, _| None).unwrap()
    }

    pub(super) fn id(&self, label: &str) -> QueueId {
        let mut found = None;
        let is_it = |name: &Name| name.label() == label;
        self.disk
            .list(Dir::Pending, &mut |file, _| {
                found = found.or(Name::parse(file).filter(is_it).map(|n| n.id))
            })
            .unwrap();
        found.unwrap()
    }

    fn begin(&self, id: QueueId) -> InFlight {
        self.spool.begin(id).unwrap().unwrap()
    }

    pub(super) fn deliver_head(&self) {
        let in_flight = self.begin(self.spool.head().unwrap());
        self.spool.deliver(in_flight).unwrap();
    }

    pub(super) fn fail_head(&self) {
        self.fail(self.spool.head().unwrap());
    }

    pub(super) fn fail(&self, id: QueueId) {
        let mut record = Record::empty();
        record.failed = Some(Failed::new(UnixTime::from_secs(2), "no".into()));
        let in_flight = self.begin(id);
        self.spool.fail(in_flight, &record).unwrap();
    }

    /// The first of two recipients has it, the second never will.
    pub(super) fn fail_for_one_of_two(&self, id: QueueId) {
        let reply = |code| Reply { code, enhanced: None, text: vec!["so it is".into()] };
        let outcomes = [Outcome::Delivered(reply(250)), Outcome::Failed(Stage::Rcpt, reply(550))];
        let recipient = |(address, outcome): (&str, Outcome)| Recipient {
            mailbox: address.parse().unwrap(),
            dsn: Dsn::default(),
            outcome: Some(outcome),
        };
        let recipients: Vec<Recipient> =
            ["a@example.com", "b@example.com"].into_iter().zip(outcomes).map(recipient).collect();
        let mut record = Record::empty();
        record.set_recipients(&ReversePath::Null, &recipients);
        record.failed = Some(Failed::new(UnixTime::from_secs(2), "no".into()));
        let in_flight = self.begin(id);
        self.spool.fail(in_flight, &record).unwrap();
    }
}
