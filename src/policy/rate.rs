//! `delivery.rate`: so many transactions in any span of so long.

use std::collections::VecDeque;
use std::time::Duration;

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

/// When transactions began, as far back as it matters.
#[derive(Debug, Default)]
pub(super) struct Pace {
    rate: Option<Rate>,
    began: VecDeque<Monotonic>,
}

impl Pace {
    pub(super) fn new(rate: Option<Rate>) -> Pace {
        Pace { rate, began: VecDeque::new() }
    }

    /// A transaction begins, whatever comes of it: the server counts it too.
    pub(super) fn begins(&mut self, now: Monotonic) {
        if let Some(rate) = self.rate {
            self.began.push_back(now);
            while self.began.len() > rate.count as usize {
                self.began.pop_front();
            }
        }
    }

    /// The next transaction may not begin before this.
    pub(super) fn next(&self) -> Option<Monotonic> {
        let rate = self.rate?;
        let first = self.began.len().checked_sub(rate.count as usize)?;
        self.began.get(first).map(|began| *began + rate.per)
    }

    pub(super) fn allows(&self, now: Monotonic) -> bool {
        self.next().is_none_or(|next| next <= now)
    }

    pub(super) fn is_limited(&self) -> bool {
        self.rate.is_some()
    }

    /// What is to be remembered, the oldest first.
    pub(super) fn remembered(&self) -> impl Iterator<Item = Monotonic> {
        self.began.iter().skip(self.began.len().saturating_sub(KEPT)).copied()
    }

    pub(super) fn recall(&mut self, began: impl Iterator<Item = Monotonic>, now: Monotonic) {
        // A reading that lies ahead of the clock is not one of this clock.
        began.filter(|began| *began <= now).for_each(|began| self.begins(began));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    #[test]
    fn no_span_holds_more_than_the_rate() {
        let rate = Rate { count: 3, per: Duration::from_secs(60) };
        let mut pace = Pace::new(Some(rate));
        let mut began = Vec::new();
        for second in 0..1000 {
            // In bursts and with pauses.
            for _ in 0..5 {
                if (second / 100) % 3 != 1 && pace.allows(at(second)) {
                    pace.begins(at(second));
                    began.push(second);
                }
            }
        }
        assert!(began.windows(4).all(|four| four[3] - four[0] >= 60), "{began:?}");
        assert!(began.len() > 25, "and what it allows is used: {began:?}");
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let mut pace = Pace::new(None);
        (0..100).for_each(|_| pace.begins(at(0)));
        assert!(pace.allows(at(0)) && pace.next().is_none());
    }
}
