//! hold, release, remove, retry: what an operator does to a message, and pause, which stops them all.
//!
//! Each has reached the disk when it returns. A message in flight is its transaction's: who comes meanwhile is told so, and
//! nothing is changed. What was held or retried is out of line from then on: it holds nobody, and goes when it is due.

use std::ffi::OsStr;
use std::fmt;
use std::io;

use super::line::{OutOfLine, Waiting};
use super::name::{Name, record_name};
use super::record::Record;
use super::sync::{RECORD_FILE, RECORD_META, REMOVE, RETRY_FAILED, RETRY_PENDING};
use super::{Spool, SpoolError};
use crate::fs::{Dir, Fs};
use crate::mail::{QueueId, UnixTime};

/// Where a message goes that had been given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Where it was in the line, as if it had never failed.
    Line,
    /// Out of line, due at once.
    Aside,
}

/// Why an operator's wish was not granted. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotSteered {
    /// There is no such message.
    Unknown,
    /// It is being sent, and what becomes of it is being written down.
    InFlight,
    /// It waits; only what was given up can be retried.
    NotFailed,
    /// It does not wait: it was given up.
    NotWaiting,
    /// It is held already.
    AlreadyHeld,
    /// It is not held.
    NotHeld,
    /// Its record cannot be read, so that nobody knows who has it already.
    Unreadable(String),
}

/// The file in `meta/` that is there while nothing is to be sent.
const PAUSED: &str = "paused";

impl Spool {
    /// Takes a waiting message out of line until it is released.
    ///
    /// # Errors
    ///
    /// The disk call that failed. The spool is faulted.
    pub fn hold(&self, id: QueueId) -> Result<Result<Name, NotSteered>, SpoolError> {
        self.check_sound()?;
        let (waiting, mut record) = match self.waiting(id)? {
            Ok(found) => found,
            Err(why) => return Ok(Err(why)),
        };
        if record.held {
            return Ok(Err(NotSteered::AlreadyHeld));
        }
        record.held = true;
        self.rewrite(waiting, &record, OutOfLine::Held).map(Ok)
    }

    /// Lets a held message go: out of line, due at once.
    ///
    /// # Errors
    ///
    /// As [`Spool::hold`].
    pub fn release(&self, id: QueueId) -> Result<Result<Name, NotSteered>, SpoolError> {
        self.check_sound()?;
        let (waiting, mut record) = match self.waiting(id)? {
            Ok(found) => found,
            Err(why) => return Ok(Err(why)),
        };
        if !record.held {
            return Ok(Err(NotSteered::NotHeld));
        }
        record.held = false;
        let tries = *record.aside.get_or_insert(0);
        self.rewrite(waiting, &record, OutOfLine::Aside(tries)).map(Ok)
    }

    /// Removes a message that waits or was given up, for good, with its record and its report.
    ///
    /// # Errors
    ///
    /// The disk call that failed. The spool is faulted: the message may still be there after recovery.
    pub fn remove(&self, id: QueueId) -> Result<Result<Name, NotSteered>, SpoolError> {
        self.check_sound()?;
        let waiting = self.line().get(id).map(|waiting| (waiting.name.clone(), Dir::Pending));
        let found = match waiting {
            Some(found) => Ok(found),
            None => self.elsewhere(id)?.map(|name| (name, Dir::Failed)),
        };
        let (name, dir) = match found {
            Ok(found) => found,
            Err(why) => return Ok(Err(why)),
        };
        self.take_away(dir, &name.to_string())?;
        self.sync_dir(dir, REMOVE)?;
        // Not synced: what comes back belongs to no message, and recovery removes it.
        if dir == Dir::Failed {
            self.take_away(dir, &name.report())?;
            self.line().uncount_failed(1);
        }
        self.take_away(Dir::Meta, &record_name(id))?;
        self.line().remove(id);
        Ok(Ok(name))
    }

    /// Brings back a message that was given up. Who has it already does not get it again; those for whom it failed are
    /// tried anew.
    ///
    /// # Errors
    ///
    /// The disk call that failed. The spool is faulted, and recovery finds the message in `failed/` or waiting.
    pub fn retry(&self, id: QueueId, place: Place) -> Result<Result<Name, NotSteered>, SpoolError> {
        self.check_sound()?;
        if self.line().get(id).is_some() {
            return Ok(Err(NotSteered::NotFailed));
        }
        let name = match self.elsewhere(id)? {
            Ok(name) => name,
            Err(why) => return Ok(Err(why)),
        };
        let mut record = match self.record_if_any(id) {
            Ok(record) => record.unwrap_or_else(Record::empty),
            Err(why) => return Ok(Err(NotSteered::Unreadable(why))),
        };
        record.start_anew();
        record.aside = (place == Place::Aside).then_some(0);
        self.write_record(id, &record)?;
        // Two names for a moment, not a rename: after a kill recovery syncs failed/ first, for the sake of what failed, and
        // a rename the other way must not be torn by that.
        let text = name.to_string();
        let linked = self.fs.link(Dir::Failed, OsStr::new(&text), Dir::Pending, OsStr::new(&text));
        let linked = match linked.as_ref().map_err(io::Error::raw_os_error) {
            // A filesystem without links: a rename is the best that it has.
            Err(Some(libc::EPERM | libc::EOPNOTSUPP | libc::ENOSYS)) => {
                self.fs.rename(Dir::Failed, OsStr::new(&text), Dir::Pending, OsStr::new(&text))
            }
            _ => linked,
        };
        linked.map_err(|e| self.fault(SpoolError::new(format!("link {text} into pending/"), e)))?;
        self.sync_dir(Dir::Pending, RETRY_PENDING)?;
        self.take_away(Dir::Failed, &text)?;
        self.sync_dir(Dir::Failed, RETRY_FAILED)?;
        // Not synced: recovery removes a report that lies beside no message.
        self.take_away(Dir::Failed, &name.report())?;
        let mut line = self.line();
        line.uncount_failed(1);
        line.insert(Waiting { name: name.clone(), has_record: true }, record.aside.map(OutOfLine::Aside));
        Ok(Ok(name))
    }

    /// Whether nothing is to be sent, and since when.
    pub fn paused(&self) -> Option<UnixTime> {
        *self.paused.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Nothing is sent until [`Spool::resume`], also after a restart. What is in flight is carried to its end.
    ///
    /// # Errors
    ///
    /// The disk call that failed.
    pub fn pause(&self, now: UnixTime) -> Result<(), SpoolError> {
        self.check_sound()?;
        if self.paused().is_some() {
            return Ok(());
        }
        self.take_away(Dir::Meta, PAUSED)?;
        self.write_new(Dir::Meta, PAUSED, format!("{}\n", now.as_secs()).as_bytes(), RECORD_FILE)?;
        self.sync_dir(Dir::Meta, RECORD_META)?;
        self.set_paused(Some(now));
        Ok(())
    }

    /// Ends a pause.
    ///
    /// # Errors
    ///
    /// The disk call that failed.
    pub fn resume(&self) -> Result<(), SpoolError> {
        self.check_sound()?;
        self.take_away(Dir::Meta, PAUSED)?;
        self.sync_dir(Dir::Meta, RECORD_META)?;
        self.set_paused(None);
        Ok(())
    }

    /// What the disk says of a pause. Where it does not say whether there is one, nobody may guess: mail must not leave during a
    /// pause, nor wait for the end of one that nobody made.
    pub(super) fn find_pause(&self) -> Result<(), SpoolError> {
        let since = match self.fs.stat(Dir::Meta, OsStr::new(PAUSED)) {
            Ok(_) => read_pause(&*self.fs),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(SpoolError::new("look for meta/paused".into(), e)),
        };
        self.set_paused(since);
        Ok(())
    }

    fn set_paused(&self, since: Option<UnixTime>) {
        *self.paused.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = since;
    }

    /// A waiting message and its record.
    fn waiting(&self, id: QueueId) -> Result<Result<(Waiting, Record), NotSteered>, SpoolError> {
        let Some(waiting) = self.line().get(id).cloned() else {
            return Ok(Err(match self.elsewhere(id)? {
                Ok(_) => NotSteered::NotWaiting,
                Err(why) => why,
            }));
        };
        Ok(match self.record_if_any(id) {
            Ok(record) => Ok((waiting, record.unwrap_or_else(Record::empty))),
            Err(why) => Err(NotSteered::Unreadable(why)),
        })
    }

    /// A message that does not wait: its name if it lies in `failed/`.
    fn elsewhere(&self, id: QueueId) -> Result<Result<Name, NotSteered>, SpoolError> {
        for (dir, found) in [(Dir::Failed, None), (Dir::Sending, Some(NotSteered::InFlight))] {
            let mut name = None;
            let is_it = |file: &OsStr| Name::parse(file).filter(|name| name.id == id);
            let listed = self.fs.list(dir, &mut |file, _| name = name.take().or_else(|| is_it(file)));
            listed.map_err(|e| SpoolError::new(format!("list {}/", dir.name()), e))?;
            if let Some(name) = name {
                return Ok(found.map_or(Ok(name), Err));
            }
        }
        Ok(Err(NotSteered::Unknown))
    }

    pub(super) fn record_if_any(&self, id: QueueId) -> Result<Option<Record>, String> {
        match self.fs.stat(Dir::Meta, OsStr::new(&record_name(id))) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e.to_string()),
            Ok(_) => self.read_record(id).map(Some),
        }
    }

    fn rewrite(&self, waiting: Waiting, record: &Record, out: OutOfLine) -> Result<Name, SpoolError> {
        let name = waiting.name;
        self.write_record(name.id, record)?;
        let mut line = self.line();
        line.remove(name.id);
        line.insert(Waiting { name: name.clone(), has_record: true }, Some(out));
        Ok(name)
    }
}

/// Since when nothing is to be sent, as the disk has it. What cannot be read is a pause all the same.
pub fn read_pause(fs: &dyn Fs) -> Option<UnixTime> {
    let mut text = [0; 32];
    let read = match fs.open(Dir::Meta, OsStr::new(PAUSED)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
        opened => opened.and_then(|file| file.read_at(&mut text, 0)),
    };
    let secs = read.ok().and_then(|read| str::from_utf8(&text[..read]).ok()?.trim().parse().ok());
    Some(UnixTime::from_secs(secs.unwrap_or(0)))
}

/// Fits behind the name of a message and a colon.
impl fmt::Display for NotSteered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotSteered::Unknown => f.write_str("there is no such message"),
            NotSteered::InFlight => f.write_str("it is being sent"),
            NotSteered::NotFailed => f.write_str("it has not failed, it waits"),
            NotSteered::NotWaiting => f.write_str("it does not wait, it has failed"),
            NotSteered::AlreadyHeld => f.write_str("it is held already"),
            NotSteered::NotHeld => f.write_str("it is not held"),
            NotSteered::Unreadable(why) => write!(f, "its record cannot be read: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::tests::{Bench, names};

    type Wish = fn(&Spool, QueueId) -> Result<Result<Name, NotSteered>, SpoolError>;

    #[test]
    fn each_wish_is_granted_where_it_makes_sense_and_refused_with_the_reason_elsewhere() {
        let bench = Bench::new();
        bench.drop_and_accept(&["waits", "flies", "failed"]);
        let [waits, flies, failed] = ["waits", "flies", "failed"].map(|label| bench.id(label));
        bench.fail(failed);
        let in_flight = bench.spool.begin(flies).unwrap().unwrap();
        let spool = &bench.spool;
        let ask = |wish: Wish, id| wish(spool, id).unwrap().err();
        let retry = |spool: &Spool, id: QueueId| spool.retry(id, Place::Aside);
        for wish in [Spool::hold, Spool::release, Spool::remove, retry] {
            assert_eq!(ask(wish, flies), Some(NotSteered::InFlight));
        }
        spool.deliver(in_flight).unwrap();
        for wish in [Spool::hold, Spool::release, Spool::remove, retry] {
            assert_eq!(ask(wish, flies), Some(NotSteered::Unknown));
        }
        assert_eq!(ask(retry, waits), Some(NotSteered::NotFailed));
        assert_eq!(ask(Spool::release, waits), Some(NotSteered::NotHeld));
        assert_eq!(ask(Spool::hold, waits), None);
        assert_eq!(ask(Spool::hold, waits), Some(NotSteered::AlreadyHeld));
        assert_eq!((spool.head(), spool.counts().held), (None, 1));
        assert_eq!(ask(Spool::release, waits), None);
        assert_eq!((spool.head(), spool.counts().aside), (None, 1));
        assert_eq!(ask(Spool::hold, failed), Some(NotSteered::NotWaiting));
        assert_eq!(ask(Spool::release, failed), Some(NotSteered::NotWaiting));
        assert_eq!(ask(retry, failed), None);
        assert_eq!((spool.counts().failed, spool.counts().aside), (0, 2));
        assert_eq!(ask(Spool::remove, failed), None);
        assert_eq!(ask(Spool::remove, waits), None);
        assert!(names(spool, Dir::Pending).is_empty() && names(spool, Dir::Failed).is_empty());
    }

    #[test]
    fn a_message_that_is_brought_back_goes_to_those_who_do_not_have_it() {
        let bench = Bench::new();
        bench.drop_and_accept(&["a"]);
        let id = bench.id("a");
        bench.fail_for_one_of_two(id);
        bench.spool.retry(id, Place::Line).unwrap().unwrap();
        assert_eq!(bench.spool.head(), Some(id));
        let in_flight = bench.spool.begin(id).unwrap().unwrap();
        let (_, recipients) = in_flight.record().and_then(Record::recipients).unwrap();
        let waiting: Vec<bool> = recipients.iter().map(crate::spool::Recipient::is_waiting).collect();
        assert_eq!(waiting, [false, true]);
        bench.spool.defer(in_flight, None).unwrap();
    }

    #[test]
    fn a_message_is_brought_back_also_where_there_are_no_links() {
        let bench = Bench::new();
        bench.drop_and_accept(&["a"]);
        let id = bench.id("a");
        bench.fail(id);
        bench.disk.ask_first(|what, _| (what == "link").then(|| io::Error::from_raw_os_error(libc::EPERM)));
        bench.spool.retry(id, Place::Line).unwrap().unwrap();
        assert_eq!((bench.spool.head(), names(&bench.spool, Dir::Failed)), (Some(id), Vec::new()));
    }

    #[test]
    fn a_pause_outlives_a_restart_and_ends_when_it_is_ended() {
        let bench = Bench::new();
        assert_eq!(bench.spool.paused(), None);
        bench.spool.pause(UnixTime::from_secs(7)).unwrap();
        bench.spool.pause(UnixTime::from_secs(9)).unwrap();
        bench.spool.recover().unwrap();
        assert_eq!(bench.spool.paused(), Some(UnixTime::from_secs(7)));
        bench.spool.resume().unwrap();
        bench.spool.recover().unwrap();
        assert_eq!(bench.spool.paused(), None);
        bench.spool.resume().unwrap();
    }

    #[test]
    fn a_pause_that_cannot_be_read_is_one() {
        let bench = Bench::new();
        bench.spool.pause(UnixTime::from_secs(7)).unwrap();
        bench.disk.ask_first(|what, dir| {
            ((what, dir) == ("open", Dir::Meta)).then(|| io::Error::from_raw_os_error(libc::EMFILE))
        });
        bench.spool.recover().unwrap();
        assert_eq!(bench.spool.paused(), Some(UnixTime::from_secs(0)));
    }

    #[test]
    fn where_nobody_can_tell_whether_there_is_a_pause_recovery_is_tried_again() {
        let bench = Bench::new();
        bench.disk.ask_first(|what, dir| {
            ((what, dir) == ("stat", Dir::Meta)).then(|| io::Error::from_raw_os_error(libc::EIO))
        });
        assert!(bench.spool.recover().is_err() && bench.spool.is_faulted());
        bench.disk.mend();
        bench.spool.recover().unwrap();
        assert_eq!(bench.spool.paused(), None);
    }
}
