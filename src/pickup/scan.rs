//! What is there: the directory, read when it is due. Events are hints, this is the truth.

use std::ffi::OsString;

use super::{Look, Pickup, identity, is_unfinished, pattern};
use crate::fs::Stat;
use crate::mail::Monotonic;

impl Pickup {
    /// Reads the directory. True if it is another directory than before.
    pub(super) fn scan(&mut self, now: Monotonic) -> bool {
        let read = self
            .spool
            .fs()
            .refresh(self.options.source.dir)
            .and_then(|replaced| Ok((replaced, self.found()?)));
        let (replaced, found) = match read {
            Ok(read) => read,
            Err(error) => {
                // Said once: it may be away for a weekend.
                if !std::mem::replace(&mut self.is_away, true) {
                    let folder = self.spool.fs().place(self.options.source.dir);
                    let hint =
                        "is it there, and may it be read? It is looked for at every rescan, and never made";
                    tracing::warn!(folder, %error, hint, "pickup-unreadable");
                }
                return false;
            }
        };
        if std::mem::take(&mut self.is_away) {
            tracing::info!(folder = self.spool.fs().place(self.options.source.dir), "pickup-readable");
        }
        self.is_unheard = self.spool.fs().may_change_unheard(self.options.source.dir);
        // A hundred thousand files take a while: each was seen before this moment, and not at the begin.
        let now = self.clock.monotonic().max(now);
        let settled_at = now + self.options.settle;
        for (stat, name) in found {
            if let Some(file) = self.heard_of(&name) {
                file.is_from_scan = true;
                file.look = Some(Look { stat: identity(&stat), since: now });
                file.not_before = settled_at;
                file.holds_until = settled_at;
            }
        }
        replaced
    }

    /// Names in the directory that were not heard of yet, in the order of their ctime.
    ///
    /// A directory that is read while files come in may show a later one and not an earlier one. So it is read twice: what
    /// is older than the newest of the first reading is complete in the second. What is newer is left to its event, or to
    /// the next scan.
    fn found(&self) -> std::io::Result<Vec<(Stat, OsString)>> {
        let first = self.list_new()?;
        let Some(newest) = first.iter().map(|(stat, _)| stat.changed).max() else { return Ok(Vec::new()) };
        let mut found = self.list_new()?;
        found.retain(|(stat, _)| stat.changed <= newest);
        let order = |(a, name_a): &(Stat, OsString), (b, name_b): &(Stat, OsString)| {
            a.changed.cmp(&b.changed).then_with(|| pattern::natural_order(name_a, name_b))
        };
        found.sort_by(order);
        Ok(found)
    }

    fn list_new(&self) -> std::io::Result<Vec<(Stat, OsString)>> {
        let mut names = Vec::new();
        self.spool.fs().list(self.options.source.dir, &mut |name, _| {
            if !is_unfinished(name) && !self.files.contains_key(name) {
                names.push(name.to_owned());
            }
        })?;
        // What is gone since was on its way to another name.
        let with_stat =
            |name: OsString| Some((self.spool.fs().stat(self.options.source.dir, &name).ok()?, name));
        Ok(names.into_iter().filter_map(with_stat).collect())
    }
}
