//! How much a smarthost is given: so many transactions in any span of so long, so many recipients a day.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::mail::Monotonic;

/// So many are remembered over a restart.
const KEPT: usize = 1000;

/// How many transactions may begin within a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At least one.
    pub count: u32,
    /// Within this span, wherever it begins.
    pub per: Duration,
}

/// How much one smarthost is given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Quota {
    /// Its name: what is remembered over a restart is found by it.
    pub smarthost: String,
    /// How many transactions may begin.
    pub rate: Option<Rate>,
    /// So many recipients within any 24 hours.
    pub daily: Option<u32>,
}

/// What the next message waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// [`Quota::rate`].
    Rate,
    /// [`Quota::daily`].
    Daily,
}

impl Limit {
    /// The setting that it is.
    pub fn name(self) -> &'static str {
        match self {
            Limit::Rate => "rate",
            Limit::Daily => "daily",
        }
    }
}

/// What was given to a smarthost, as far back as it matters.
#[derive(Debug, Default)]
pub(super) struct Pace {
    quota: Quota,
    began: VecDeque<Monotonic>,
    day: VecDeque<Spent>,
}

/// Recipients that count until some time.
#[derive(Debug, Clone, Copy)]
struct Spent {
    until: Monotonic,
    recipients: u32,
}

const DAY: Duration = Duration::from_secs(86_400);
/// Recipients of so long a span are remembered as one, until the last of them is a day ago.
const TOGETHER: Duration = Duration::from_secs(300);

/// What outlives a run. Readings of the clock since boot in milliseconds, if nothing else is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct PaceMemory {
    smarthost: String,
    began: Vec<u64>,
    /// For how long each still counts, milliseconds, and how many recipients.
    day: Vec<(u64, u32)>,
}

impl Pace {
    pub(super) fn new(quota: Quota) -> Pace {
        Pace { quota, began: VecDeque::new(), day: VecDeque::new() }
    }

    /// A transaction begins, whatever comes of it: the server counts it too.
    pub(super) fn begins(&mut self, recipients: u32, now: Monotonic) {
        if let Some(rate) = self.quota.rate {
            self.began.push_back(now);
            while self.began.len() > rate.count as usize {
                self.began.pop_front();
            }
        }
        if self.quota.daily.is_some() {
            self.day.retain(|spent| spent.until > now);
            match self.day.back_mut().filter(|last| last.until >= now + DAY) {
                Some(last) => last.recipients = last.recipients.saturating_add(recipients),
                None => self.day.push_back(Spent { until: now + DAY + TOGETHER, recipients }),
            }
        }
    }

    /// Whether a message with so many recipients may go now.
    pub(super) fn fits(&self, recipients: u32, now: Monotonic) -> bool {
        self.next(recipients).is_none_or(|(next, _)| next <= now)
    }

    /// A transaction with so many recipients may not begin before this, and what keeps it.
    pub(super) fn next(&self, recipients: u32) -> Option<(Monotonic, Limit)> {
        let rate = self.next_by_rate().map(|at| (at, Limit::Rate));
        let day = self.next_by_day(recipients).map(|at| (at, Limit::Daily));
        rate.into_iter().chain(day).max_by_key(|(at, _)| *at)
    }

    fn next_by_rate(&self) -> Option<Monotonic> {
        let rate = self.quota.rate?;
        let first = self.began.len().checked_sub(rate.count as usize)?;
        self.began.get(first).map(|began| *began + rate.per)
    }

    /// A message with more recipients than a day has goes when nothing else counts.
    fn next_by_day(&self, recipients: u32) -> Option<Monotonic> {
        let most = u64::from(self.quota.daily?);
        let mut spent: u64 = self.day.iter().map(|spent| u64::from(spent.recipients)).sum();
        let mut next = None;
        for first in &self.day {
            if spent + u64::from(recipients) <= most {
                break;
            }
            spent -= u64::from(first.recipients);
            next = Some(first.until);
        }
        next
    }

    pub(super) fn is_limited(&self) -> bool {
        self.quota.rate.is_some() || self.quota.daily.is_some()
    }

    /// What is to be remembered, the oldest first.
    pub(super) fn memory(&self, now: Monotonic) -> PaceMemory {
        let began = self.began.iter().skip(self.began.len().saturating_sub(KEPT));
        PaceMemory {
            smarthost: self.quota.smarthost.clone(),
            began: began.map(|at| millis(at.0)).collect(),
            day: self.day.iter().map(|spent| (millis(spent.until - now), spent.recipients)).collect(),
        }
    }

    /// Takes up what an earlier run remembered of this smarthost. `gone` has passed since, as far as is known; `reading` tells
    /// what a reading of that run's clock is on this one's, if it is anything.
    pub(super) fn recall(
        &mut self,
        memory: &[PaceMemory],
        gone: Duration,
        reading: &dyn Fn(u64) -> Option<Monotonic>,
        now: Monotonic,
    ) {
        let Some(before) = memory.iter().find(|before| before.smarthost == self.quota.smarthost) else {
            return;
        };
        if let Some(rate) = self.quota.rate {
            let began: VecDeque<Monotonic> = before.began.iter().filter_map(|at| reading(*at)).collect();
            self.began = began.into_iter().rev().take(rate.count as usize).rev().collect();
        }
        if self.quota.daily.is_some() {
            let still = |(left, recipients): &(u64, u32)| {
                let left = Duration::from_millis(*left).min(DAY + TOGETHER).checked_sub(gone)?;
                Some(Spent { until: now + left, recipients: *recipients })
            };
            self.day = before.day.iter().filter_map(still).collect();
        }
    }
}

pub(super) fn millis(span: Duration) -> u64 {
    span.as_millis().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    fn pace(rate: Option<(u32, u64)>, daily: Option<u32>) -> Pace {
        let rate = rate.map(|(count, per)| Rate { count, per: Duration::from_secs(per) });
        Pace::new(Quota { smarthost: "mail".into(), rate, daily })
    }

    #[test]
    fn no_span_holds_more_than_the_rate() {
        let mut pace = pace(Some((3, 60)), None);
        let mut began = Vec::new();
        for second in 0..1000 {
            // In bursts and with pauses.
            for _ in 0..5 {
                if (second / 100) % 3 != 1 && pace.fits(1, at(second)) {
                    pace.begins(1, at(second));
                    began.push(second);
                }
            }
        }
        assert!(began.windows(4).all(|four| four[3] - four[0] >= 60), "{began:?}");
        assert!(began.len() > 25, "and what it allows is used: {began:?}");
    }

    #[test]
    fn no_day_holds_more_recipients_than_its_quota() {
        let mut pace = pace(None, Some(100));
        let mut sent = Vec::new();
        for minute in 0..10_000 {
            let recipients = 1 + (minute % 7) as u32;
            if pace.fits(recipients, at(minute * 60)) {
                pace.begins(recipients, at(minute * 60));
                sent.push((minute, recipients));
            }
        }
        for (first, (from, _)) in sent.iter().enumerate() {
            let day = sent[first..].iter().take_while(|(minute, _)| minute - from < 1440);
            assert!(day.map(|(_, recipients)| recipients).sum::<u32>() <= 100);
        }
        let all: u32 = sent.iter().map(|(_, recipients)| recipients).sum();
        assert!(all > 600, "and what it allows is used: {all}");
    }

    #[test]
    fn when_the_next_may_go_is_known_to_the_second() {
        let mut pace = pace(Some((2, 60)), Some(10));
        pace.begins(4, at(0));
        pace.begins(4, at(10));
        assert_eq!(pace.next(1), Some((at(60), Limit::Rate)));
        assert!(!pace.fits(3, at(60)), "two are left");
        assert_eq!(pace.next(3), Some((at(86_400 + 300), Limit::Daily)));
        assert!(pace.fits(2, at(60)));
        assert!(!pace.fits(50, at(60)));
        assert!(pace.fits(50, at(86_700)), "more than a day has, with the whole day for itself");
    }

    #[test]
    fn without_a_quota_nothing_waits() {
        let mut pace = pace(None, None);
        (0..100).for_each(|_| pace.begins(1000, at(0)));
        assert!(pace.fits(1, at(0)) && pace.next(1).is_none());
    }

    #[test]
    fn what_was_given_is_known_to_the_next_run_and_behind_a_boot() {
        let mut before = pace(Some((2, 60)), Some(10));
        (0..2).for_each(|_| before.begins(5, at(1000)));
        let memory = [before.memory(at(1010))];
        let with = |gone: u64, reading: &dyn Fn(u64) -> Option<Monotonic>, now: u64| {
            let mut next = pace(Some((2, 60)), Some(10));
            next.recall(&memory, Duration::from_secs(gone), reading, at(now));
            next
        };
        let same = |at: u64| Some(Monotonic(Duration::from_millis(at)));
        let mut next = with(5, &same, 1015);
        assert_eq!(next.next_by_rate(), Some(at(1060)));
        assert_eq!(next.next_by_day(1), Some(at(1000 + 86_700)));
        // Another boot: its clock began anew, and an hour has passed on the one on the wall.
        let none = |_: u64| None;
        next = with(3600, &none, 20);
        assert_eq!(next.next_by_rate(), None);
        assert_eq!(next.next_by_day(1), Some(at(20 + 86_700 - 10 - 3600)));
        assert_eq!(with(86_700, &none, 20).next_by_day(1), None);
    }
}
