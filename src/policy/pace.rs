//! When what was not delivered is tried again.

use std::time::Duration;

/// The longest gap between two tries of a message that is aside.
const ASIDE_GAP_MAX: Duration = Duration::from_secs(3600);
/// The longest gap between two logins after refused ones: a provider locks an account that is tried too often.
const LOGIN_GAP_MAX: Duration = Duration::from_secs(900);

/// What becomes of a deferred message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It keeps its place, and everybody behind it waits for its next try.
    HoldLine,
    /// It lets the others pass, and is tried on a schedule of its own.
    StepAside,
}

/// How much longer deferred messages may hold the line. Every try that holds it takes one interval from the budget; a
/// delivery fills it up.
#[derive(Debug, Clone)]
pub struct LineBudget {
    /// `None` holds for ever.
    hold_line: Option<Duration>,
    interval: Duration,
    spent: Duration,
}

impl LineBudget {
    /// A full budget.
    pub fn new(hold_line: Option<Duration>, interval: Duration) -> LineBudget {
        LineBudget { hold_line, interval, spent: Duration::ZERO }
    }

    /// A message in line was deferred.
    pub fn deferred(&mut self) -> Next {
        let spent = self.spent.saturating_add(self.interval);
        match self.hold_line {
            Some(budget) if spent > budget => Next::StepAside,
            _ => {
                self.spent = spent;
                Next::HoldLine
            }
        }
    }

    /// Deferred messages hold the line for ever, whatever else is known of them.
    pub fn is_strict(&self) -> bool {
        self.hold_line.is_none()
    }

    /// How much of it is used up.
    pub fn spent(&self) -> Duration {
        self.spent
    }

    /// So much was used up before.
    pub fn recall(&mut self, spent: Duration) {
        self.spent = spent;
    }

    /// A message was delivered.
    pub fn delivered(&mut self) {
        self.spent = Duration::ZERO;
    }
}

/// How long a message that is aside waits after its `tries`-th try: from one interval, doubling up to an hour.
pub fn aside_gap(tries: u32, interval: Duration) -> Duration {
    doubled(interval, tries, ASIDE_GAP_MAX)
}

/// How long the smarthost is left alone after `refused` logins in a row: from one interval, doubling up to a quarter
/// of an hour.
pub fn login_gap(refused: u32, interval: Duration) -> Duration {
    doubled(interval, refused.saturating_sub(1), LOGIN_GAP_MAX)
}

/// Never below one interval, whatever the most.
pub(super) fn doubled(interval: Duration, times: u32, most: Duration) -> Duration {
    let factor = 1u32.checked_shl(times).unwrap_or(u32::MAX);
    interval.checked_mul(factor).unwrap_or(most).min(most).max(interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn the_line_is_held_for_its_budget_and_no_longer() {
        let mut budget = LineBudget::new(Some(300 * S), 30 * S);
        for _ in 0..10 {
            assert_eq!(budget.deferred(), Next::HoldLine);
        }
        assert_eq!(budget.deferred(), Next::StepAside);
        assert_eq!(budget.deferred(), Next::StepAside, "the next message does not hold it again");
        budget.delivered();
        assert_eq!(budget.deferred(), Next::HoldLine);
    }

    #[test]
    fn zero_never_holds_and_forever_always_does() {
        assert_eq!(LineBudget::new(Some(Duration::ZERO), S).deferred(), Next::StepAside);
        let mut strict = LineBudget::new(None, 1_000_000 * S);
        assert!((0..10_000).all(|_| strict.deferred() == Next::HoldLine));
    }

    #[test]
    fn gaps_double_up_to_their_most() {
        let gaps: Vec<u64> = (0..9).map(|n| aside_gap(n, 30 * S).as_secs()).collect();
        assert_eq!(gaps, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
        assert_eq!(login_gap(1, 30 * S), 30 * S);
        assert_eq!(login_gap(6, 30 * S), 900 * S);
        assert_eq!(login_gap(u32::MAX, 30 * S), 900 * S);
        assert_eq!(aside_gap(3, 7200 * S), 7200 * S);
    }
}
