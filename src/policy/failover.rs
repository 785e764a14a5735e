//! Which of several smarthosts is used: the first that serves, in the order of the configuration; and back to a better one
//! once that has been well for a while.
//!
//! A host with a session problem is left at once. Whether it is well again is found out beside the mail, by sessions that
//! send nothing, while another one delivers: no message waits for it. It has to be well for longer each time it was taken
//! back and failed again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::login_gap;
use super::pace::doubled;
use crate::mail::Monotonic;

/// The longest gap between two looks at a host that is not well.
const LOOK_GAP_MAX: Duration = Duration::from_secs(900);
/// The longest that a host has to be well.
const WELL_FOR_MAX: Duration = Duration::from_secs(6 * 3600);

/// How hosts are chosen.
#[derive(Debug, Clone, Copy)]
pub struct FailoverTerms {
    /// Between two tries of a host.
    pub retry_interval: Duration,
    /// How long a better host has to be well before it is used again.
    pub fail_back: Duration,
}

/// What is known of each host. See the head of this file.
#[derive(Debug)]
pub struct Failover {
    terms: FailoverTerms,
    hosts: Vec<Host>,
    in_use: usize,
    /// What is to outlive this run has changed: which host is in use, or what a look has shown.
    changed: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Host {
    refused_logins: u32,
    /// No login is tried before this.
    not_before: Option<Monotonic>,
    /// The first of the looks that found it well, with none that did not since.
    well_since: Option<Monotonic>,
    next_look: Option<Monotonic>,
    failed_looks: u32,
    /// How often it failed soon after it was taken back.
    relapses: u32,
    taken_back: Option<Monotonic>,
}

/// What outlives a run, for one host. Readings of the clock since boot, in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostMemory {
    name: String,
    in_use: bool,
    well_since: Option<u64>,
    next_look: Option<u64>,
    failed_looks: u32,
    relapses: u32,
}

impl Failover {
    /// Of `hosts` that nothing is known of; the first is used.
    pub fn new(terms: FailoverTerms, hosts: usize) -> Failover {
        Failover { terms, hosts: vec![Host::default(); hosts], in_use: 0, changed: false }
    }

    /// The host that messages go to.
    pub fn in_use(&self) -> usize {
        self.in_use
    }

    /// The host to open a session with; `tried` are those that had a problem in this pass. Hosts whose login was refused
    /// are passed over for as long as another one is left; of hosts that all refused it, the one whose wait ends first.
    pub fn next(&self, tried: &[usize], now: Monotonic) -> Option<usize> {
        let left = || {
            std::iter::once(self.in_use)
                .chain(0..self.hosts.len())
                .filter(|i| *i < self.hosts.len() && !tried.contains(i))
        };
        let may_log_in = |i: &usize| self.hosts[*i].not_before.is_none_or(|at| at <= now);
        let none_was_tried = || left().min_by_key(|i| self.hosts[*i].not_before).filter(|_| tried.is_empty());
        left().find(may_log_in).or_else(none_was_tried)
    }

    /// A session was opened with the host: it is the one in use.
    pub fn opened(&mut self, host: usize) {
        self.changed |= self.in_use != host;
        self.in_use = host;
        let known = &mut self.hosts[host];
        (known.refused_logins, known.not_before) = (0, None);
    }

    /// The host cannot be used.
    pub fn had_trouble(&mut self, host: usize, is_refused_login: bool, now: Monotonic) {
        let FailoverTerms { retry_interval, .. } = self.terms;
        let soon = self.has_to_be_well_for(host) * 2;
        let known = &mut self.hosts[host];
        if let Some(taken_back) = known.taken_back.take() {
            let relapsed = now - taken_back < soon;
            known.relapses = if relapsed { known.relapses.saturating_add(1) } else { 0 };
        }
        (known.well_since, known.failed_looks) = (None, 0);
        known.next_look = Some(now + retry_interval);
        known.log_in_refused(is_refused_login, retry_interval, now);
    }

    /// None of them can be used: whatever it is, it says nothing of one in particular.
    pub fn all_had_trouble(&mut self) {
        self.in_use = 0;
    }

    /// How long to wait after a pass in which no host could be used: after refused logins longer, so that no account is
    /// locked.
    pub fn retry_in(&self) -> Duration {
        let FailoverTerms { retry_interval, .. } = self.terms;
        let gap = |host: &Host| match host.refused_logins {
            0 => retry_interval,
            refused => login_gap(refused, retry_interval),
        };
        self.hosts.iter().map(gap).min().unwrap_or(retry_interval)
    }

    /// The host that is better than the one in use and should be looked at now.
    pub fn look_at(&self, now: Monotonic) -> Option<usize> {
        (0..self.in_use).find(|host| self.hosts[*host].next_look.is_none_or(|at| at <= now))
    }

    /// What a look has shown. True if the host is in use again from now on.
    pub fn looked(&mut self, host: usize, is_well: bool, is_refused_login: bool, now: Monotonic) -> bool {
        let well_for = self.has_to_be_well_for(host);
        let FailoverTerms { retry_interval, .. } = self.terms;
        self.changed = true;
        let known = &mut self.hosts[host];
        if !is_well {
            known.well_since = None;
            known.next_look = Some(now + doubled(retry_interval, known.failed_looks, LOOK_GAP_MAX));
            known.failed_looks = known.failed_looks.saturating_add(1);
            known.log_in_refused(is_refused_login, retry_interval, now);
            return false;
        }
        (known.failed_looks, known.refused_logins, known.not_before) = (0, 0, None);
        let since = *known.well_since.get_or_insert(now);
        if now - since < well_for || host >= self.in_use {
            known.next_look = Some(now + retry_interval.min(well_for - (now - since).min(well_for)));
            return false;
        }
        known.taken_back = Some(now);
        self.in_use = host;
        true
    }

    /// Somebody wants everything tried now, logins too.
    pub fn everything_is_due(&mut self) {
        for host in &mut self.hosts {
            (host.not_before, host.next_look) = (None, None);
        }
    }

    /// Whether what is to outlive this run has changed since this was asked.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    fn has_to_be_well_for(&self, host: usize) -> Duration {
        doubled(self.terms.fail_back, self.hosts[host].relapses, WELL_FOR_MAX.max(self.terms.fail_back))
    }

    /// What is to outlive this run; the hosts by their names, in order.
    pub fn memory<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<HostMemory> {
        if self.hosts.len() < 2 {
            return Vec::new();
        }
        let millis = |at: Monotonic| u64::try_from(at.0.as_millis()).unwrap_or(u64::MAX);
        let remembered = |(index, (host, name)): (usize, (&Host, &str))| HostMemory {
            name: name.to_owned(),
            in_use: index == self.in_use,
            well_since: host.well_since.map(millis),
            next_look: host.next_look.map(millis),
            failed_looks: host.failed_looks,
            relapses: host.relapses,
        };
        self.hosts.iter().zip(names).enumerate().map(remembered).collect()
    }

    /// Takes up what an earlier run of the same boot left of the hosts that are still there.
    pub fn recall<'a>(
        &mut self,
        memory: &[HostMemory],
        names: impl Iterator<Item = &'a str>,
        now: Monotonic,
    ) {
        let reading = |at: u64| Some(Monotonic(Duration::from_millis(at)));
        let soonest = now + LOOK_GAP_MAX;
        for (index, name) in names.enumerate().take(self.hosts.len()) {
            let Some(before) = memory.iter().find(|host| host.name == name) else { continue };
            self.hosts[index] = Host {
                well_since: before.well_since.and_then(reading).filter(|at| *at <= now),
                next_look: before.next_look.and_then(reading).filter(|at| *at <= soonest),
                failed_looks: before.failed_looks,
                relapses: before.relapses,
                ..self.hosts[index]
            };
            if before.in_use {
                self.in_use = index;
            }
        }
    }
}

impl Host {
    fn log_in_refused(&mut self, is_refused: bool, interval: Duration, now: Monotonic) {
        if is_refused {
            self.refused_logins = self.refused_logins.saturating_add(1);
            let not_before = now + login_gap(self.refused_logins, interval);
            self.not_before = Some(not_before);
            self.next_look = self.next_look.max(Some(not_before));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: FailoverTerms =
        FailoverTerms { retry_interval: Duration::from_secs(30), fail_back: Duration::from_secs(300) };

    fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    /// A look whenever one is due, from second to second; the second in which the host was taken back.
    fn taken_back(failover: &mut Failover, from: u64, is_well: impl Fn(u64) -> bool) -> Option<(u64, u32)> {
        let mut looks = 0;
        for second in from..from + 100_000 {
            if let Some(host) = failover.look_at(at(second)) {
                looks += 1;
                if failover.looked(host, is_well(second), false, at(second)) {
                    return Some((second - from, looks));
                }
            }
        }
        None
    }

    #[test]
    fn the_first_that_serves_is_used_and_each_is_tried_once_in_a_pass() {
        let mut failover = Failover::new(TERMS, 3);
        assert_eq!(failover.next(&[], at(0)), Some(0));
        failover.had_trouble(0, false, at(0));
        assert_eq!(failover.next(&[0], at(0)), Some(1));
        failover.had_trouble(1, false, at(0));
        assert_eq!(failover.next(&[0, 1], at(0)), Some(2));
        failover.opened(2);
        assert_eq!(failover.next(&[], at(1)), Some(2), "the one in use first");
        failover.had_trouble(2, false, at(1));
        assert_eq!(failover.next(&[2], at(1)), Some(0));
        assert_eq!(failover.next(&[2, 0, 1], at(1)), None);
    }

    #[test]
    fn an_outage_of_all_says_nothing_of_one() {
        let mut failover = Failover::new(TERMS, 2);
        failover.had_trouble(0, false, at(0));
        failover.opened(1);
        for host in [1, 0] {
            failover.had_trouble(host, false, at(10));
        }
        failover.all_had_trouble();
        assert_eq!(failover.next(&[], at(40)), Some(0));
    }

    #[test]
    fn a_better_host_is_taken_back_once_it_has_been_well_for_a_while() {
        let mut failover = Failover::new(TERMS, 2);
        failover.had_trouble(0, false, at(0));
        failover.opened(1);
        assert_eq!(failover.look_at(at(29)), None, "not sooner than any other try");
        let well = taken_back(&mut failover, 1, |_| true);
        assert_eq!(well, Some((29 + 300, 11)), "seen to be well from the first look to the last");
        assert_eq!(failover.in_use(), 0);

        let mut failover = Failover::new(TERMS, 2);
        failover.had_trouble(0, false, at(0));
        failover.opened(1);
        assert_eq!(taken_back(&mut failover, 1, |second| (second / 200) % 2 == 0), None, "it comes and goes");
        assert_eq!(failover.in_use(), 1);
    }

    #[test]
    fn one_that_fails_again_has_to_be_well_for_longer_each_time() {
        let mut failover = Failover::new(TERMS, 2);
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..10 {
            failover.had_trouble(0, false, at(now));
            failover.opened(1);
            let (wait, _) = taken_back(&mut failover, now, |_| true).unwrap();
            waits.push(wait);
            now += wait + 10;
        }
        assert_eq!(waits[..3], [330, 630, 1230]);
        assert_eq!(waits[9], 30 + 6 * 3600, "and no longer than that");
        // Once it has served for long, the past is forgotten.
        now += 24 * 3600;
        failover.had_trouble(0, false, at(now));
        failover.opened(1);
        assert_eq!(taken_back(&mut failover, now, |_| true).unwrap().0, 330);
    }

    #[test]
    fn looks_at_a_host_that_is_down_grow_rare() {
        let mut failover = Failover::new(TERMS, 2);
        failover.had_trouble(0, false, at(0));
        failover.opened(1);
        let mut looks = Vec::new();
        for second in 0..7200 {
            if let Some(host) = failover.look_at(at(second)) {
                failover.looked(host, false, false, at(second));
                looks.push(second);
            }
        }
        assert_eq!(looks[..5], [30, 60, 120, 240, 480]);
        assert!(looks.windows(2).all(|two| two[1] - two[0] <= 900));
    }

    #[test]
    fn a_refused_login_is_not_repeated_while_another_host_serves() {
        let mut failover = Failover::new(TERMS, 2);
        failover.had_trouble(0, true, at(0));
        assert_eq!(failover.next(&[], at(10)), Some(1), "the account is not locked");
        assert_eq!(failover.next(&[], at(30)), Some(0));
        failover.opened(1);
        assert_eq!(failover.look_at(at(29)), None);
        assert!(!failover.looked(0, false, true, at(30)));
        assert_eq!(failover.look_at(at(89)), None, "a look logs in, too");
        failover.everything_is_due();
        assert_eq!(failover.look_at(at(40)), Some(0));
    }

    #[test]
    fn where_every_login_was_refused_the_next_is_where_the_wait_ends_first() {
        let mut failover = Failover::new(TERMS, 2);
        for _ in 0..5 {
            failover.had_trouble(0, true, at(0));
        }
        failover.had_trouble(1, true, at(0));
        failover.all_had_trouble();
        // The wait between two passes may be a little shorter than the one that is wanted.
        assert_eq!(failover.next(&[], at(29)), Some(1), "the account at the first is not locked");
        assert_eq!(failover.next(&[1], at(29)), None);
    }

    #[test]
    fn alone_it_is_waited_for_as_its_logins_want_it() {
        let mut failover = Failover::new(TERMS, 1);
        for (refused, wait) in [(true, 30), (true, 60), (true, 120), (false, 120)] {
            failover.had_trouble(0, refused, at(0));
            assert_eq!(failover.retry_in(), Duration::from_secs(wait));
            assert_eq!(failover.next(&[], at(1)), Some(0), "if it is asked, it is tried");
        }
        failover.opened(0);
        assert_eq!(failover.retry_in(), Duration::from_secs(30));
        assert_eq!(Failover::new(TERMS, 0).next(&[], at(0)), None);
    }

    #[test]
    fn what_is_known_of_the_hosts_outlives_the_run() {
        let names = || ["a", "b"].into_iter();
        let mut failover = Failover::new(TERMS, 2);
        failover.had_trouble(0, false, at(0));
        failover.opened(1);
        failover.looked(0, true, false, at(30));
        let memory = failover.memory(names());
        let mut next = Failover::new(TERMS, 2);
        next.recall(&memory, names(), at(400));
        assert_eq!(next.in_use(), 1);
        assert!(next.looked(0, true, false, at(400)), "it was well before, and is");
        let mut other = Failover::new(TERMS, 2);
        other.recall(&memory, ["c", "a"].into_iter(), at(400));
        assert_eq!(other.in_use(), 0, "the one that was in use is gone");
    }
}
