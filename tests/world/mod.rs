//! A spool on the model of a disk, with a smarthost and producers, and the record of what each was told.

pub(crate) mod scenario;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

use pillarbox::fs::{Dir, Fs as _};
use pillarbox::mail::{
    Dsn, Envelope, Mailbox, Monotonic, Origin, Outcome, QueueId, Reply, ReversePath, Stage, UnixTime,
};
use pillarbox::spool::{
    Candidate, Failed, InFlight, Lease, Limits, Name, NotAccepted, OutOfLine, Place, Recipient, Record,
    Source, Spool,
};

use crate::model::{Away, Disk, FOLDER, FOLDERS, FOREIGN_FOLDER, OUTCOMES, OUTCOMES_DIR};

/// Every message goes to these two.
const RECIPIENTS: [&str; 2] = ["a@example.com", "b@example.com"];
const REPORT: &str = "this message was given up: the smarthost said no";

/// What was acknowledged to whom: not on the disk, it outlives every crash.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth {
    /// In the order in which they were dropped.
    dropped: Vec<(String, Vec<u8>)>,
    /// Dropped by a producer that synced neither bytes nor name: until acceptance a power cut may take it.
    careless: Vec<String>,
    /// Has another name, through which [`MORE`] is written to it when it is first taken.
    written: Vec<String>,
    /// There are folders besides `pickup/`, and this was dropped there.
    has_folders: bool,
    in_folder: Vec<(String, Dir)>,
    /// Whoever drops in a folder wants to know what became of it.
    wants_outcomes: bool,
    /// After a crash the other filesystem is not mounted before everything else was delivered.
    is_late: Option<Away>,
    /// Told to be accepted, in that order.
    accepted: Vec<String>,
    /// What the smarthost took: message and recipient, in that order.
    taken: Vec<(String, &'static str)>,
    /// Taken, and the spool has said that this is on disk.
    settled: Vec<(String, &'static str)>,
    /// The spool has said that it gave it up.
    given_up: Vec<String>,
    /// The failure is being decided; it may or may not be on disk.
    doomed: Vec<String>,
    /// Stepped aside from the line: order says nothing of them.
    aside: Vec<String>,
    /// An operator holds it, and was told so; or is just being told either way.
    held: Vec<String>,
    unsure_if_held: Vec<String>,
    /// An operator removed it, and was told so; or is about to be.
    removed: Vec<String>,
    being_removed: Vec<String>,
    /// It is being handed in, and nobody was told anything: it may be there or not.
    handing_in: Vec<String>,
    /// Delivered messages are to be kept.
    keeps_sent: bool,
    /// The final dot is out and the outcome is not yet on disk.
    open: Option<String>,
    /// Was open at a crash: may be taken once more for each time it stands here.
    doubtful: Vec<String>,
}

/// What is written to a file through its other name. It cannot be torn.
const MORE: &[u8] = b"+";

#[derive(Debug)]
struct Alone;

impl Lease for Alone {}

pub(crate) struct World {
    pub(crate) disk: Disk,
    spool: Option<Spool>,
    truth: Truth,
    ignored_site: Option<u8>,
}

/// A broken promise.
fn broken<T>(promise: &str, what: String) -> Result<T, String> {
    Err(format!("BROKEN {promise}: {what}"))
}

impl World {
    pub(crate) fn new(disk: Disk, ignored_site: Option<u8>) -> World {
        disk.ignore_site(ignored_site);
        World { disk, spool: None, truth: Truth::default(), ignored_site }
    }

    /// The same people on the disk that a crash left.
    pub(crate) fn after_crash(&self, disk: Disk) -> World {
        let mut world = self.clone_on(disk);
        world.truth.doubtful.extend(world.truth.open.take());
        world.forget_what_producers_lost();
        world
    }

    /// What a careless producer dropped and nobody acknowledged may be gone, or torn in `pickup/`. (Torn in
    /// `pending/` it must never be: there it counts as accepted.)
    fn forget_what_producers_lost(&mut self) {
        for label in std::mem::take(&mut self.truth.careless) {
            let whole =
                self.truth.dropped.iter().find(|(name, _)| *name == label).map(|(_, bytes)| bytes.clone());
            let dir = self.dropped_in(&label);
            let in_pickup = self.disk.files(dir).into_iter().find(|(name, _)| *name == label);
            let elsewhere = [Dir::Pending, Dir::Sending, Dir::Failed].iter().any(|dir| {
                let names = self.disk.files(*dir);
                names.iter().filter_map(|(n, _)| Name::parse(n.as_ref())).any(|n| n.label() == label)
            }) || self.is_copied(&label);
            let torn = in_pickup.as_ref().is_some_and(|(_, bytes)| Some(bytes) != whole.as_ref());
            let lost =
                in_pickup.is_none() && !elsewhere && !self.truth.taken.iter().any(|(l, _)| *l == label);
            if self.truth.accepted.contains(&label) || elsewhere || !(torn || lost) {
                self.truth.careless.push(label);
                continue;
            }
            if torn {
                self.disk.forget_file(dir, &label);
            }
            self.truth.dropped.retain(|(name, _)| *name != label);
        }
    }

    fn dropped_in(&self, label: &str) -> Dir {
        let folder = self.truth.in_folder.iter().find(|(name, _)| name == label);
        folder.map_or(Dir::Pickup, |(_, dir)| *dir)
    }

    /// Its name where it was dropped was given up, and it waits under the name of its copy.
    fn is_copied(&self, label: &str) -> bool {
        let hidden = self.disk.files(self.dropped_in(label)).into_iter();
        let taken =
            hidden.filter_map(|(n, _)| Name::parse(n.strip_prefix('.')?.strip_suffix(".taken")?.as_ref()));
        taken.into_iter().any(|name| name.label() == label)
    }

    pub(crate) fn clone_on(&self, disk: Disk) -> World {
        disk.ignore_site(self.ignored_site);
        World { disk, spool: None, truth: self.truth.clone(), ignored_site: self.ignored_site }
    }

    /// The program starts: recovery.
    pub(crate) fn start(&mut self) -> Result<(), String> {
        let spool = Spool::new(Arc::new(self.disk.clone()), Box::new(Alone));
        if self.truth.has_folders {
            spool.set_folders(self.folders());
        }
        self.disk.set_foreign_away(self.truth.is_late);
        spool.recover().map_err(|e| e.to_string())?;
        self.spool = Some(spool);
        self.set_limits();
        if self.truth.is_late.is_some() {
            while self.next().is_some() {
                self.deliver()?;
            }
            self.disk.set_foreign_away(None);
            self.spool().look_again_at(FOLDERS[1]);
            self.spool().settle(FOLDERS[1]).map_err(|e| e.to_string())?;
            if self.spool().is_unsettled(FOLDERS[1]) {
                return Err("the folder is there and was not settled".into());
            }
        }
        Ok(())
    }

    fn folders(&self) -> Vec<(String, Dir)> {
        let folder = |name: &str, path: &str| (name.to_owned(), self.disk.outside(path.as_ref()));
        vec![folder("here", FOLDER), folder("there", FOREIGN_FOLDER)]
    }

    /// From now on there are two folders: one on the filesystem of the spool, one on another.
    pub(crate) fn use_folders(&mut self) {
        self.truth.has_folders = true;
        self.spool().set_folders(self.folders());
    }

    /// Whoever drops in a folder is told what became of it.
    pub(crate) fn want_outcomes(&mut self) {
        self.truth.wants_outcomes = true;
    }

    /// What is to be told is told now.
    pub(crate) fn tell_producers(&mut self) -> Result<(), String> {
        self.spool().tell_producers(Monotonic::default()).map(drop).map_err(|e| e.to_string())
    }

    /// After each crash the other filesystem is away, until everything that waits was delivered.
    pub(crate) fn mount_late(&mut self, away: Away) {
        self.truth.is_late = Some(away);
    }

    fn spool(&self) -> &Spool {
        self.spool.as_ref().expect("the program was started")
    }

    pub(crate) fn drop_file(&mut self, name: &str) {
        self.drop_file_in(Dir::Pickup, name);
    }

    /// The same in any folder.
    pub(crate) fn drop_file_in(&mut self, dir: Dir, name: &str) {
        if self.disk.has_crashed() {
            return;
        }
        if dir != Dir::Pickup {
            self.truth.in_folder.push((name.to_owned(), dir));
        }
        let bytes = format!("To: {}\r\n\r\nthis is {name}\r\n", RECIPIENTS.join(", ")).into_bytes();
        let careful = self.truth.dropped.len() % 2 == 1;
        self.disk.drop_file_in(dir, name, &bytes, careful);
        if !careful {
            self.truth.careless.push(name.to_owned());
        }
        self.truth.dropped.push((name.to_owned(), bytes));
    }

    /// A drop that has another name besides, outside of the spool.
    pub(crate) fn drop_linked(&mut self, name: &str) {
        self.drop_file(name);
        if !self.disk.has_crashed() {
            self.disk.link_file(name);
        }
    }

    /// The same, and through that name it is written to while it is taken.
    pub(crate) fn drop_written(&mut self, name: &str) {
        self.drop_linked(name);
        if !self.disk.has_crashed() {
            self.disk.write_when_taken(name, MORE);
            self.truth.written.push(name.to_owned());
        }
    }

    pub(crate) fn accept(&mut self, names: &[&str]) -> Result<(), String> {
        self.accept_from(Dir::Pickup, names)
    }

    pub(crate) fn accept_from(&mut self, dir: Dir, names: &[&str]) -> Result<(), String> {
        let to = if dir == Dir::Pickup { Vec::new() } else { vec!["ops@example.com".to_owned()] };
        let is_folder = dir != Dir::Pickup;
        let outcomes = (self.truth.wants_outcomes && is_folder).then(|| OUTCOMES.into());
        let source = Source { dir, origin: Origin { to, outcomes, ..Origin::default() } };
        let settled =
            |n: &&str| Candidate { name: OsString::from(n), settled: true, rested: true, holds: false };
        let candidates: Vec<Candidate> = names.iter().map(settled).collect();
        let results = self
            .spool()
            .accept_from(&source, &candidates, UnixTime::from_secs(1_000), &|_, _| None)
            .map_err(|e| e.to_string())?;
        for (name, result) in names.iter().zip(results) {
            match result {
                Ok(_) => self.truth.accepted.push((*name).to_owned()),
                // Once: then nobody writes to it any more.
                Err(NotAccepted::Changed) if self.truth.written.iter().any(|w| w == name) => {
                    self.accept_from(dir, &[name])?;
                }
                Err(why) => return Err(format!("{name} was not accepted: {why}")),
            }
        }
        Ok(())
    }

    /// The head of the line; if nothing is in line, the first that is aside.
    fn next(&self) -> Option<QueueId> {
        let is_aside = |(id, out): (QueueId, OutOfLine)| matches!(out, OutOfLine::Aside(_)).then_some(id);
        let aside = || self.spool().out_of_line().into_iter().find_map(is_aside);
        self.spool().head().or_else(aside)
    }

    fn begin(&mut self) -> Result<InFlight, String> {
        let head = self.next().ok_or("nothing waits")?;
        let begun = self.spool().begin(head).map_err(|e| e.to_string())?;
        let in_flight = begun.ok_or_else(|| "BROKEN N1: the head of the line is gone".to_owned())?;
        let label = in_flight.name().label();
        if self.truth.held.iter().any(|held| held == label) {
            return broken("hold", format!("{label} was held and is being sent"));
        }
        if self.truth.removed.iter().any(|removed| removed == label) {
            return broken("remove", format!("{label} was removed and is being sent"));
        }
        let has_origin = in_flight.record().is_some_and(|record| !record.origin.to.is_empty());
        if self.dropped_in(label) != Dir::Pickup && !has_origin {
            return broken("folder", format!("{label} is being sent without the settings of its folder"));
        }
        // As the sender does before the first byte leaves.
        self.spool().set_room_aside(1000).map_err(|e| e.to_string())?;
        Ok(in_flight)
    }

    /// The final dot goes out to those of `wanted` that still wait, and the smarthost takes it.
    fn send(&mut self, in_flight: &InFlight, wanted: &[&'static str]) -> Result<(), String> {
        let label = in_flight.name().label().to_owned();
        let mut bytes = vec![0; 4096];
        let read = in_flight.file().read_at(&mut bytes, 0).map_err(|e| e.to_string())?;
        self.expect_bytes(&label, &bytes[..read])?;
        for recipient in waiting(in_flight).into_iter().filter(|r| wanted.contains(r)) {
            let this = (label.clone(), recipient);
            let before = self.truth.taken.iter().filter(|t| **t == this).count();
            let may_repeat = self.truth.doubtful.iter().filter(|d| **d == label).count();
            if self.truth.settled.contains(&this) {
                return broken("N3", format!("{label} was sent to {recipient} again, who is on record"));
            }
            if before > may_repeat {
                return broken("N5", format!("{label} was sent to {recipient} {} times", before + 1));
            }
            self.truth.taken.push(this);
        }
        self.truth.open = Some(label);
        Ok(())
    }

    /// The whole way of the message whose turn it is.
    pub(crate) fn deliver(&mut self) -> Result<(), String> {
        let in_flight = self.begin()?;
        let label = in_flight.name().label().to_owned();
        self.send(&in_flight, &RECIPIENTS)?;
        let record = in_flight.record().cloned().unwrap_or_else(Record::empty);
        self.spool().deliver_as(in_flight, record, UnixTime::from_secs(5)).map_err(|e| e.to_string())?;
        self.settle(&label, &RECIPIENTS);
        Ok(())
    }

    /// The first recipient is taken, the second deferred.
    pub(crate) fn deliver_half(&mut self) -> Result<(), String> {
        self.deliver_half_and(None)
    }

    /// The first recipient is taken; because of the second the message steps aside.
    pub(crate) fn step_aside(&mut self) -> Result<(), String> {
        self.deliver_half_and(Some(0))
    }

    fn deliver_half_and(&mut self, aside: Option<u32>) -> Result<(), String> {
        let in_flight = self.begin()?;
        let label = in_flight.name().label().to_owned();
        self.send(&in_flight, &RECIPIENTS[..1])?;
        let reply = |code| Reply { code, enhanced: None, text: vec!["so it is".into()] };
        let outcomes = [Outcome::Delivered(reply(250)), Outcome::Deferred(Stage::Rcpt, reply(450))];
        let mailboxes = RECIPIENTS.iter().map(|r| r.parse::<Mailbox>().expect("an address"));
        let recipients: Vec<Recipient> = mailboxes
            .zip(outcomes)
            .map(|(mailbox, o)| Recipient { mailbox, dsn: Dsn::default(), outcome: Some(o) })
            .collect();
        let mut record = in_flight.record().cloned().unwrap_or_else(Record::empty);
        record.set_recipients(&ReversePath::Null, &recipients);
        record.aside = aside;
        self.truth.aside.extend(aside.map(|_| label.clone()));
        self.spool().defer(in_flight, Some(record)).map_err(|e| e.to_string())?;
        self.settle(&label, &RECIPIENTS[..1]);
        Ok(())
    }

    /// It is put aside, and comes back into its place with nothing on record.
    pub(crate) fn trial(&mut self) -> Result<(), String> {
        let in_flight = self.begin()?;
        self.truth.aside.push(in_flight.name().label().to_owned());
        let mut record = Record::empty();
        record.aside = Some(0);
        let id = in_flight.name().id;
        self.spool().defer(in_flight, Some(record)).map_err(|e| e.to_string())?;
        let begun = self.spool().begin(id).map_err(|e| e.to_string())?;
        let in_flight = begun.ok_or("BROKEN N1: the message on trial is gone")?;
        self.spool().defer(in_flight, Some(Record::empty())).map_err(|e| e.to_string())
    }

    /// The connection is lost before the final dot.
    pub(crate) fn put_back(&mut self) -> Result<(), String> {
        let in_flight = self.begin()?;
        self.spool().defer(in_flight, None).map_err(|e| e.to_string())
    }

    /// The smarthost refuses it for good.
    pub(crate) fn fail(&mut self) -> Result<(), String> {
        let in_flight = self.begin()?;
        let label = in_flight.name().label().to_owned();
        let mut record = in_flight.record().cloned().unwrap_or_else(Record::empty);
        let recipients = RECIPIENTS.map(|r| r.parse::<Mailbox>().expect("an address"));
        record.freeze(&Envelope::new(ReversePath::Null, recipients).expect("recipients"));
        record.failed = Some(Failed::new(UnixTime::from_secs(7), REPORT.into()));
        self.truth.doomed.push(label.clone());
        self.spool().fail(in_flight, &record).map_err(|e| e.to_string())?;
        self.truth.given_up.push(label);
        Ok(())
    }

    /// It can never be sent, and no server is asked.
    pub(crate) fn refuse(&mut self) -> Result<(), String> {
        let head = self.spool().head().ok_or("nothing waits")?;
        let label = self.spool().name(head).ok_or("it has no name")?.label().to_owned();
        self.truth.doomed.push(label.clone());
        let failed = Failed::new(UnixTime::from_secs(7), REPORT.into());
        self.spool().refuse(head, failed).map_err(|e| e.to_string())?;
        self.truth.given_up.push(label);
        Ok(())
    }

    fn id(&self, label: &str) -> Result<QueueId, String> {
        let all = [Dir::Pending, Dir::Failed].into_iter().flat_map(|dir| self.disk.files(dir));
        let mut names = all.filter_map(|(file, _)| Name::parse(file.as_ref()));
        names.find(|name| name.label() == label).map(|name| name.id).ok_or(format!("{label} is nowhere"))
    }

    /// An operator holds it.
    pub(crate) fn hold(&mut self, label: &str) -> Result<(), String> {
        let id = self.id(label)?;
        self.truth.aside.push(label.to_owned());
        self.truth.unsure_if_held.push(label.to_owned());
        self.spool().hold(id).map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        self.truth.held.push(label.to_owned());
        Ok(())
    }

    fn release(&mut self, id: QueueId) -> Result<(), String> {
        let label = self.spool().name(id).ok_or("it has no name")?.label().to_owned();
        if !self.truth.unsure_if_held.contains(&label) {
            return broken("hold", format!("{label} is held by nobody"));
        }
        self.truth.held.retain(|held| *held != label);
        self.spool().release(id).map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        self.truth.unsure_if_held.retain(|held| *held != label);
        Ok(())
    }

    /// An operator lets it go again.
    pub(crate) fn release_one(&mut self, label: &str) -> Result<(), String> {
        let id = self.id(label)?;
        self.release(id)
    }

    /// An operator removes it.
    pub(crate) fn remove(&mut self, label: &str) -> Result<(), String> {
        let id = self.id(label)?;
        self.truth.being_removed.push(label.to_owned());
        self.spool().remove(id).map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        self.truth.removed.push(label.to_owned());
        Ok(())
    }

    /// An operator brings it back from `failed/`.
    pub(crate) fn retry(&mut self, label: &str, place: Place) -> Result<(), String> {
        let id = self.id(label)?;
        self.truth.given_up.retain(|name| name != label);
        if place == Place::Aside {
            self.truth.aside.push(label.to_owned());
        }
        self.spool().retry(id, place).map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        self.truth.doomed.retain(|name| name != label);
        match self.places(label)?.as_slice() {
            [Dir::Pending] => Ok(()),
            places => broken("retry", format!("{label} was brought back and is in {places:?}")),
        }
    }

    /// A command hands it in, with an envelope of its own.
    pub(crate) fn submit(&mut self, label: &str) -> Result<(), String> {
        if self.disk.has_crashed() {
            return Ok(());
        }
        let bytes = format!("Subject: no recipients here\r\n\r\nthis is {label}\r\n").into_bytes();
        self.truth.dropped.push((label.to_owned(), bytes.clone()));
        self.truth.handing_in.push(label.to_owned());
        let recipients = RECIPIENTS.map(|r| r.parse::<Mailbox>().expect("an address"));
        let envelope = Envelope::new(ReversePath::Null, recipients).expect("recipients");
        let text = |e: pillarbox::spool::SpoolError| e.to_string();
        let mut submission = self.spool().submit().map_err(text)?.map_err(|e| e.to_string())?;
        submission.append(&bytes).map_err(text)?;
        submission
            .finish(label.as_ref(), Some(&envelope), UnixTime::from_secs(1_000), &|_, _| None)
            .map_err(text)?;
        self.truth.handing_in.retain(|name| name != label);
        self.truth.accepted.push(label.to_owned());
        Ok(())
    }

    /// From now on delivered messages are kept.
    pub(crate) fn keep_sent(&mut self) {
        self.truth.keeps_sent = true;
        self.set_limits();
    }

    fn set_limits(&self) {
        let keep_sent = if self.truth.keeps_sent { 100 } else { 0 };
        self.spool().set_limits(Limits { keep_sent, ..Limits::default() });
    }

    fn settle(&mut self, label: &str, recipients: &[&'static str]) {
        self.truth.open = None;
        self.truth.settled.extend(recipients.iter().map(|r| (label.to_owned(), *r)));
    }

    /// Does all that is left to do, and holds the end against the truth.
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        for dir in [Dir::Pickup, FOLDERS[0], FOLDERS[1]] {
            let left: Vec<String> = self.disk.files(dir).into_iter().map(|(name, _)| name).collect();
            let dropped = self.truth.dropped.iter().map(|(name, _)| name.clone());
            let in_order: Vec<String> = dropped.filter(|name| left.contains(name)).collect();
            if !in_order.is_empty() {
                self.accept_from(dir, &in_order.iter().map(String::as_str).collect::<Vec<_>>())?;
            }
        }
        let held = |(id, out): (QueueId, OutOfLine)| matches!(out, OutOfLine::Held).then_some(id);
        let held: Vec<QueueId> = self.spool().out_of_line().into_iter().filter_map(held).collect();
        for id in held {
            self.release(id)?;
        }
        while self.next().is_some() {
            self.deliver()?;
        }
        self.tell_producers()?;
        self.check_recovered()?;
        self.check_order()?;
        self.check_outcomes(true)?;
        for (name, _) in &self.truth.dropped {
            let places = self.places(name)?;
            let failed = self.truth.doomed.contains(name) && places.contains(&Dir::Failed);
            let excused = self.truth.removed.contains(name)
                || (places.is_empty()
                    && (self.truth.being_removed.contains(name) || self.truth.handing_in.contains(name)));
            for recipient in RECIPIENTS {
                if !failed && !excused && !self.truth.taken.contains(&(name.clone(), recipient)) {
                    return broken("N1", format!("{name} never reached {recipient}"));
                }
            }
        }
        Ok(())
    }

    /// Where the message lies. More than one place, or other bytes, is a broken promise.
    fn places(&self, label: &str) -> Result<Vec<Dir>, String> {
        let mut places = Vec::new();
        let places_of_spool = [Dir::Pickup, Dir::Pending, Dir::Sending, Dir::Failed, Dir::Sent];
        for dir in places_of_spool.into_iter().chain(FOLDERS) {
            for (file, bytes) in self.disk.files(dir) {
                let is_it = match Name::parse(file.as_ref()) {
                    Some(name) => name.label() == label,
                    None => file == label,
                };
                if is_it {
                    self.expect_bytes(label, &bytes)?;
                    places.push(dir);
                }
            }
        }
        match places.len() {
            0 | 1 => Ok(places),
            _ => broken("N1", format!("{label} is in {places:?}")),
        }
    }

    fn expect_bytes(&self, label: &str, bytes: &[u8]) -> Result<(), String> {
        let dropped = self.truth.dropped.iter().find(|(name, _)| name == label);
        let written = |whole: &[u8]| {
            let is_written = self.truth.written.iter().any(|w| w == label);
            is_written && bytes.strip_suffix(MORE) == Some(whole)
        };
        match dropped {
            Some((_, whole)) if whole == bytes || written(whole) => Ok(()),
            _ => broken("N2", format!("{label} is not whole: {:?}", String::from_utf8_lossy(bytes))),
        }
    }

    /// What must hold whenever recovery has ended.
    pub(crate) fn check_recovered(&self) -> Result<(), String> {
        let truth = &self.truth;
        for (label, _) in &truth.dropped {
            let places = self.places(label)?;
            let is = |what: &[(String, &str)], r: &str| what.iter().any(|(l, to)| l == label && *to == r);
            let accepted = truth.accepted.contains(label);
            match places.first() {
                Some(place) if truth.removed.contains(label) => {
                    return broken("remove", format!("{label} was removed and is in {place:?} again"));
                }
                None if truth.keeps_sent && RECIPIENTS.iter().all(|r| is(&truth.settled, r)) => {
                    return broken("keep_sent", format!("{label} was delivered and not kept"));
                }
                None if truth.removed.contains(label)
                    || truth.being_removed.contains(label)
                    || truth.handing_in.contains(label) => {}
                None if !RECIPIENTS.iter().all(|r| is(&truth.taken, r)) => {
                    return broken("N1", format!("{label} is lost (told to be accepted: {accepted})"));
                }
                Some(Dir::Pickup | Dir::Outside(_)) if accepted => {
                    return broken("N2", format!("{label} fell back to where it was dropped"));
                }
                Some(Dir::Sent) if truth.keeps_sent && RECIPIENTS.iter().all(|r| is(&truth.taken, r)) => {}
                Some(Dir::Sending) => return broken("N1", format!("{label} was left in sending/")),
                Some(place) if RECIPIENTS.iter().all(|r| is(&truth.settled, r)) => {
                    return broken("N5", format!("{label} was delivered and is in {place:?} again"));
                }
                Some(place) if truth.given_up.contains(label) && *place != Dir::Failed => {
                    return broken("N1", format!("{label} was given up and is in {place:?}"));
                }
                _ => {}
            }
        }
        self.check_outcomes(false)?;
        self.check_nothing_is_hidden()?;
        self.check_reports()?;
        self.check_records()
    }

    /// Hidden names are those of a copy that is under way; nobody would ever look at one that is left.
    fn check_nothing_is_hidden(&self) -> Result<(), String> {
        for dir in [Dir::Pickup, Dir::Pending].into_iter().chain(FOLDERS) {
            let hidden = self.disk.files(dir).into_iter().filter(|(name, _)| name.starts_with('.'));
            // What left while its folder was away.
            let is_left = |name: &str| {
                let labels = self.truth.taken.iter().map(|(label, _)| label);
                let mut labels = labels.filter(|label| name.ends_with(&format!("_{label}.eml.taken")));
                self.truth.is_late.is_some() && dir == FOLDERS[1] && labels.next().is_some()
            };
            if let Some((name, _)) = hidden.into_iter().find(|(name, _)| !is_left(name)) {
                return broken("N1", format!("{name} was left in {dir:?}"));
            }
        }
        Ok(())
    }

    /// What a producer was told is so; in the end each was told.
    fn check_outcomes(&self, at_the_end: bool) -> Result<(), String> {
        if !self.truth.wants_outcomes {
            return Ok(());
        }
        let files: BTreeMap<String, Vec<u8>> = self.disk.files(OUTCOMES_DIR).into_iter().collect();
        for (label, _) in &self.truth.in_folder {
            let told = files.get(&format!("{label}.json")).map(|bytes| {
                let told: Result<serde_json::Value, _> = serde_json::from_slice(bytes);
                told.map(|told| told["outcome"].as_str().unwrap_or_default().to_owned())
            });
            let is_failed = self.places(label)?.contains(&Dir::Failed);
            let is_taken = RECIPIENTS.iter().all(|r| self.truth.taken.contains(&(label.clone(), *r)));
            let was_dropped = self.truth.dropped.iter().any(|(name, _)| name == label);
            match told {
                None if at_the_end && was_dropped => {
                    return broken("outcomes", format!("nobody was told of {label}"));
                }
                Some(Err(error)) => return broken("outcomes", format!("{label}: {error}")),
                Some(Ok(told)) if told == "failed" && !is_failed => {
                    return broken("outcomes", format!("{label} is called failed, and did not"));
                }
                Some(Ok(told)) if told == "delivered" && (is_failed || !is_taken) => {
                    return broken("outcomes", format!("{label} is called delivered, and was not"));
                }
                _ => {}
            }
        }
        match files.keys().find(|name| name.starts_with('.') && at_the_end) {
            Some(name) => broken("outcomes", format!("{name} was left")),
            None => Ok(()),
        }
    }

    fn check_reports(&self) -> Result<(), String> {
        let files: BTreeMap<String, Vec<u8>> = self.disk.files(Dir::Failed).into_iter().collect();
        for name in files.keys().filter_map(|file| Name::parse(file.as_ref())) {
            if files.get(&name.report()).map(Vec::as_slice) != Some(REPORT.as_bytes()) {
                return broken("N1", format!("{} failed without its report", name.label()));
            }
        }
        for report in files.keys().filter_map(|file| file.strip_suffix(".txt")) {
            if !files.contains_key(&format!("{report}.eml")) {
                return broken("S5", format!("the report {report} lies beside no message"));
            }
        }
        Ok(())
    }

    /// A record that cannot be read holds its message: that must not come from a crash.
    fn check_records(&self) -> Result<(), String> {
        let is_record = |(file, _): &(String, Vec<u8>)| file.ends_with(".json");
        for (file, bytes) in self.disk.files(Dir::Meta).into_iter().filter(is_record) {
            if let Err(why) = Record::from_json(&bytes) {
                return broken("N1", format!("the record {file} cannot be read: {why}"));
            }
        }
        Ok(())
    }

    /// First deliveries of what was acknowledged leave in the order of acceptance.
    fn check_order(&self) -> Result<(), String> {
        let mut firsts: Vec<&String> = Vec::new();
        for (label, _) in &self.truth.taken {
            if !firsts.contains(&label) && !self.truth.aside.contains(label) {
                firsts.push(label);
            }
        }
        let place = |label: &&String| self.truth.accepted.iter().position(|a| a == *label);
        let order: Vec<usize> = firsts.iter().filter_map(place).collect();
        match order.is_sorted() {
            true => Ok(()),
            false => broken("N4", format!("accepted {:?}, sent {firsts:?}", self.truth.accepted)),
        }
    }
}

fn waiting(in_flight: &InFlight) -> Vec<&'static str> {
    let Some((_, recipients)) = in_flight.record().and_then(Record::recipients) else {
        return RECIPIENTS.to_vec();
    };
    let waits = |r: &&str| recipients.iter().any(|x| x.mailbox.as_str() == *r && x.is_waiting());
    RECIPIENTS.into_iter().filter(waits).collect()
}
