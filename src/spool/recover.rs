//! recover: from whatever a crash left to one of the states of docs/SPOOL.md.
//!
//! It finishes before anything is accepted or sent, may be interrupted at any point and run again, and also
//! mends a spool that was faulted while the process went on.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::drops::Drops;
use super::line::{OutOfLine, Waiting};
use super::name::{Name, mark_id, mark_name, record_id};
use super::record::Record;
use super::sync::{RECORD_META, RECOVER_FAILED, RECOVER_PENDING, RECOVER_PICKUP, RECOVER_SENDING};
use super::{Spool, SpoolError};
use crate::fs::Dir;
use crate::mail::{QueueId, UnixTime};

/// What recovery found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Messages that were in flight and wait again. The smarthost may already have one of them.
    pub in_flight: Vec<Name>,
    /// Failures that had been decided and were carried out now.
    pub rolled_forward: Vec<Name>,
    /// Names in `pickup/` of files that had been accepted, and were taken away.
    pub already_accepted: Vec<OsString>,
    /// Files in `pending/`, `sending/` or `failed/` whose name is not one of ours, and files in `pickup/` whose name is
    /// ours and whose copy is nowhere; left as they are.
    pub strangers: Vec<(Dir, OsString)>,
    /// Messages whose record cannot be read, with the reason; they are held.
    pub unreadable: Vec<(QueueId, String)>,
}

/// What the directories hold, by queue id, with the inode of each file.
#[derive(Default)]
pub(super) struct Found {
    pub(super) pending: BTreeMap<QueueId, (Name, u64)>,
    pub(super) sending: BTreeMap<QueueId, (Name, u64)>,
    pub(super) failed: BTreeMap<QueueId, (Name, u64)>,
    pub(super) sent: BTreeMap<QueueId, (Name, u64)>,
    reports: Vec<OsString>,
    records: BTreeSet<QueueId>,
    /// Failures of which a producer was not told.
    untold: Vec<QueueId>,
    /// Deliveries of which a producer was not told.
    owed: Vec<Name>,
    temporary: Vec<(Dir, OsString)>,
    /// Copies in `pending/` that are no messages yet, and of which directories they are.
    pub(super) copies: Vec<(Name, String)>,
    /// What lies where files are dropped.
    pub(super) drops: Vec<Drops>,
    /// Copies that have become messages just now.
    pub(super) completed: Vec<Name>,
    strangers: Vec<(Dir, OsString)>,
}

impl Found {
    /// Whether it is a message already.
    pub(super) fn has(&self, name: &Name) -> bool {
        let all = [&self.pending, &self.sending, &self.failed, &self.sent];
        all.into_iter().any(|names| names.get(&name.id).is_some_and(|(n, _)| n == name))
    }
}

impl Spool {
    /// Mends the spool and fills the line. Everything that was in flight waits again, in its old place.
    ///
    /// # Errors
    ///
    /// The disk call that failed. The spool stays faulted, and recovery can be run again.
    pub fn recover(&self) -> Result<Recovered, SpoolError> {
        self.faulted.store(true, Ordering::Release);
        self.line().clear();
        let mut recovered = Recovered::default();
        // It may have been removed, or be another one now, or not be within reach: that is for the pickup to tell. Without one
        // nothing can be accepted, but what was accepted can be sent.
        let folders = self.drop_dirs();
        folders.iter().for_each(|dir| drop(self.fs.refresh(*dir)));
        let mut found = self.look()?;
        self.sync_what_was_left(!found.sending.is_empty())?;
        recovered.strangers = std::mem::take(&mut found.strangers);
        recovered.strangers.extend(self.complete_copies(&mut found)?);
        self.remove_garbage(&mut found)?;
        let records = self.read_records(&found, &mut recovered);
        self.drop_second_names(&mut found)?;
        self.forget_owed();
        self.carry_out_deliveries(&mut found, &records)?;
        self.carry_out_decided_failures(&mut found, &records, &mut recovered)?;
        self.find_owed(&mut found)?;
        self.drop_lonely_reports(&mut found)?;
        self.find_pause()?;
        for (id, (name, inode)) in std::mem::take(&mut found.sending) {
            self.return_to_pending(&name)?;
            recovered.in_flight.push(name.clone());
            found.pending.insert(id, (name, inode));
        }
        recovered.already_accepted = self.drop_accepted_names(&found)?;
        self.fill_line(found, records, &recovered);
        self.faulted.store(false, Ordering::Release);
        Ok(recovered)
    }

    fn look(&self) -> Result<Found, SpoolError> {
        let mut found = self.look_at_messages()?;
        self.list(Dir::Meta, &mut |name, _| match record_id(name) {
            Some(id) => drop(found.records.insert(id)),
            None if is_temporary(name) => found.temporary.push((Dir::Meta, name.to_owned())),
            None => found.untold.extend(mark_id(name)),
        })?;
        found.drops = self.look_at_all_drops()?;
        Ok(found)
    }

    /// The messages, and the copies that are to be some.
    pub(super) fn look_at_messages(&self) -> Result<Found, SpoolError> {
        let mut found = Found::default();
        found.pending = self.look_at(Dir::Pending, &mut found)?;
        found.sending = self.look_at(Dir::Sending, &mut found)?;
        found.failed = self.look_at(Dir::Failed, &mut found)?;
        found.sent = self.look_at(Dir::Sent, &mut found)?;
        self.list(Dir::Pending, &mut |file, _| {
            found.copies.extend(Name::parse_copy(file));
        })?;
        Ok(found)
    }

    fn look_at(&self, dir: Dir, found: &mut Found) -> Result<BTreeMap<QueueId, (Name, u64)>, SpoolError> {
        let mut names = BTreeMap::new();
        self.list(dir, &mut |file, inode| match Name::parse(file) {
            Some(name) => drop(names.insert(name.id, (name, inode))),
            None if dir == Dir::Failed && file.as_encoded_bytes().ends_with(b".txt") => {
                found.reports.push(file.to_owned());
            }
            None if is_temporary(file) => found.temporary.push((dir, file.to_owned())),
            None if file.as_encoded_bytes().starts_with(b".") => {}
            None => found.strangers.push((dir, file.to_owned())),
        })?;
        Ok(names)
    }

    fn list(&self, dir: Dir, visit: &mut dyn FnMut(&OsStr, u64)) -> Result<(), SpoolError> {
        self.fs.list(dir, visit).map_err(|e| SpoolError::new(format!("list {}/", dir.name()), e))
    }

    /// After a kill what is seen need not be on the disk. A directory that gained a name is synced before the one
    /// that lost it. Only one move between `pending/` and `sending/` is ever under way, and if it was a begin,
    /// `sending/` holds it.
    fn sync_what_was_left(&self, sending_holds_one: bool) -> Result<(), SpoolError> {
        self.sync_dir(Dir::Failed, RECOVER_FAILED)?;
        self.sync_dir(Dir::Meta, RECORD_META)?;
        if sending_holds_one {
            self.sync_dir(Dir::Sending, RECOVER_SENDING)?;
            self.sync_dir(Dir::Pending, RECOVER_PENDING)?;
        } else {
            self.sync_dir(Dir::Pending, RECOVER_PENDING)?;
            self.sync_dir(Dir::Sending, RECOVER_SENDING)?;
        }
        self.sync_dir(Dir::Pickup, RECOVER_PICKUP)
    }

    fn remove_garbage(&self, found: &mut Found) -> Result<(), SpoolError> {
        // Room that was set aside is among it.
        drop(self.take_reserve());
        for (dir, name) in std::mem::take(&mut found.temporary) {
            self.take_away_os(dir, &name)?;
        }
        // A copy that waits for its folder may yet be one.
        let copies: BTreeSet<QueueId> = found.copies.iter().map(|(name, _)| name.id).collect();
        let has_message = |id: &QueueId| {
            let in_any =
                [&found.pending, &found.sending, &found.failed].into_iter().any(|m| m.contains_key(id));
            in_any || copies.contains(id)
        };
        let (kept, garbage): (BTreeSet<_>, BTreeSet<_>) =
            std::mem::take(&mut found.records).into_iter().partition(has_message);
        for id in garbage {
            if let Some(name) = self.owed_name(id) {
                found.owed.push(name);
                continue;
            }
            self.take_away(Dir::Meta, &super::name::record_name(id))?;
        }
        found.records = kept;
        Ok(())
    }

    fn read_records(&self, found: &Found, recovered: &mut Recovered) -> BTreeMap<QueueId, Record> {
        let mut records = BTreeMap::new();
        // The records of what has failed are read when somebody asks for them.
        let waiting = |id: &&QueueId| found.pending.contains_key(id) || found.sending.contains_key(id);
        for id in found.records.iter().filter(waiting) {
            match self.read_record(*id) {
                Ok(record) => drop(records.insert(*id, record)),
                Err(why) => recovered.unreadable.push((*id, why)),
            }
        }
        records
    }

    /// A name that a rename left behind is taken away; the name in the later state stays. One that was being brought back
    /// from `failed/` stays there: nobody was told that it was.
    fn drop_second_names(&self, found: &mut Found) -> Result<(), SpoolError> {
        for id in found.sending.keys().filter(|id| found.sent.contains_key(id)).copied().collect::<Vec<_>>() {
            if let Some((name, _)) = found.sending.remove(&id) {
                self.take_away(Dir::Sending, &name.to_string())?;
            }
        }
        let (sending, pending, failed) = (&mut found.sending, &mut found.pending, &found.failed);
        for (from, earlier) in [(Dir::Sending, &mut *sending), (Dir::Pending, &mut *pending)] {
            for id in earlier.keys().filter(|id| failed.contains_key(id)).copied().collect::<Vec<_>>() {
                if let Some((name, _)) = earlier.remove(&id) {
                    self.take_away(from, &name.to_string())?;
                }
            }
        }
        for id in sending.keys().filter(|id| pending.contains_key(id)).copied().collect::<Vec<_>>() {
            if let Some((name, _)) = sending.remove(&id) {
                self.take_away(Dir::Sending, &name.to_string())?;
            }
        }
        Ok(())
    }

    /// What a message was called of which only a record is left, if that says that its producer was not told.
    fn owed_name(&self, id: QueueId) -> Option<Name> {
        let record = self.read_record(id).ok()?;
        let accepted = UnixTime::from_secs(record.delivered?.accepted);
        Some(Name::new(id, accepted, OsStr::new(&record.origin.file.unwrap_or_default())))
    }

    /// Deliveries that are on record: the smarthost has these messages, and they are let go.
    fn carry_out_deliveries(
        &self,
        found: &mut Found,
        records: &BTreeMap<QueueId, Record>,
    ) -> Result<(), SpoolError> {
        for (id, _) in records.iter().filter(|(_, record)| record.delivered.is_some()) {
            for (from, names) in [(Dir::Sending, &mut found.sending), (Dir::Pending, &mut found.pending)] {
                if let Some((name, _)) = names.remove(id) {
                    self.let_go(from, &name)?;
                    found.owed.push(name);
                }
            }
        }
        Ok(())
    }

    /// Producers that are yet to be told.
    fn find_owed(&self, found: &mut Found) -> Result<(), SpoolError> {
        std::mem::take(&mut found.owed).into_iter().for_each(|name| self.owe(name));
        for id in std::mem::take(&mut found.untold) {
            match found.failed.get(&id) {
                Some((name, _)) => self.owe(name.clone()),
                None => self.take_away(Dir::Meta, &mark_name(id))?,
            }
        }
        Ok(())
    }

    /// A report whose message was removed or brought back.
    fn drop_lonely_reports(&self, found: &mut Found) -> Result<(), SpoolError> {
        let reports = std::mem::take(&mut found.reports);
        let with_message: HashSet<String> = match reports.is_empty() {
            true => HashSet::new(),
            false => found.failed.values().map(|(name, _)| name.report()).collect(),
        };
        let is_ours = |report: &&OsString| {
            let stem = report.to_str().and_then(|text| text.strip_suffix(".txt"));
            stem.is_some_and(|stem| Name::parse(OsStr::new(&format!("{stem}.eml"))).is_some())
        };
        for report in reports.iter().filter(is_ours) {
            if report.to_str().is_some_and(|text| !with_message.contains(text)) {
                self.take_away_os(Dir::Failed, report)?;
            }
        }
        Ok(())
    }

    fn carry_out_decided_failures(
        &self,
        found: &mut Found,
        records: &BTreeMap<QueueId, Record>,
        recovered: &mut Recovered,
    ) -> Result<(), SpoolError> {
        for (id, record) in records.iter().filter(|(_, record)| record.failed.is_some()) {
            for (from, names) in [(Dir::Sending, &mut found.sending), (Dir::Pending, &mut found.pending)] {
                if let Some((name, inode)) = names.remove(id) {
                    if record.origin.outcomes.is_some() {
                        // The record can have got to the disk without the mark.
                        self.mark_untold(*id, record);
                        self.sync_dir(Dir::Meta, RECORD_META)?;
                        found.untold.retain(|untold| untold != id);
                    }
                    self.roll_failure_forward(from, &name, record)?;
                    recovered.rolled_forward.push(name.clone());
                    found.failed.insert(*id, (name, inode));
                }
            }
        }
        Ok(())
    }

    fn take_away_os(&self, dir: Dir, name: &OsStr) -> Result<(), SpoolError> {
        let doing = || format!("remove {}/{}", dir.name(), name.display());
        self.fs.unlink(dir, name).map_err(|e| SpoolError::new(doing(), e))
    }

    fn fill_line(&self, found: Found, records: BTreeMap<QueueId, Record>, recovered: &Recovered) {
        let all = [&found.pending, &found.failed, &found.sent];
        let copies = found.copies.iter().map(|(name, _)| name.id);
        let last = all.into_iter().filter_map(|m| m.keys().next_back().copied()).chain(copies).max();
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.raise_to(last);
        let unreadable: HashSet<QueueId> = recovered.unreadable.iter().map(|(id, _)| *id).collect();
        let mut line = self.line();
        // What was rolled forward was counted, and is counted with the others here.
        line.clear();
        for _ in &found.failed {
            line.count_failed();
        }
        for _ in &found.sent {
            line.count_sent();
        }
        for (id, (name, _)) in found.pending {
            let out = match records.get(&id) {
                Some(record) => OutOfLine::of(record),
                None if unreadable.contains(&id) => {
                    Some(OutOfLine::Unreadable("its record cannot be read".into()))
                }
                None => None,
            };
            line.insert(Waiting { name, has_record: records.contains_key(&id) }, out);
        }
    }
}

/// A file that was being written when the process ended.
fn is_temporary(file: &OsStr) -> bool {
    let bytes = file.as_encoded_bytes();
    bytes.starts_with(b".") && bytes.ends_with(b".tmp")
}
