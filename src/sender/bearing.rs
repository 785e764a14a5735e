//! How much a server is given at once. PIPELINING is offered by servers, and by things in front of them, that do not bear it.

use std::time::Duration;

use crate::mail::{Monotonic, Stage};
use crate::smtp::{EndCause, Pipelining, SessionEnd};

/// How long less is given after a server did not bear more. The line may have failed by itself: not for ever.
const LESS_FOR: Duration = Duration::from_secs(3600);
/// So many groups in a row without an answer to each request, and none is sent any more.
const GROUPS_LOST_MAX: u32 = 2;

/// What was seen of one smarthost.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bearing {
    no_overlap_before: Option<Monotonic>,
    no_group_before: Option<Monotonic>,
    groups_lost: u32,
}

impl Bearing {
    pub(super) fn pipelining(&self, now: Monotonic) -> Pipelining {
        let holds = |until: Option<Monotonic>| until.is_some_and(|until| now < until);
        match (holds(self.no_group_before), holds(self.no_overlap_before)) {
            (true, _) => Pipelining::Off,
            (false, true) => Pipelining::Group,
            (false, false) => Pipelining::Overlap,
        }
    }

    /// What rode behind a final dot was not borne.
    pub(super) fn no_overlap(&mut self, now: Monotonic) {
        self.no_overlap_before = Some(now + LESS_FOR);
    }

    /// Every request of a group was answered.
    pub(super) fn answered(&mut self) {
        self.groups_lost = 0;
    }

    /// A session ended in a transaction whose requests were sent as a group.
    pub(super) fn ended(&mut self, end: &SessionEnd, now: Monotonic) {
        let among_requests = matches!(end.stage, Stage::Rset | Stage::Mail | Stage::Rcpt | Stage::Data);
        // Its own words, and what is wrong with the message, say nothing of the group.
        let without_a_word = !matches!(end.why, EndCause::Reply(_) | EndCause::Source(_) | EndCause::Quit);
        if among_requests && without_a_word {
            self.groups_lost += 1;
            if self.groups_lost >= GROUPS_LOST_MAX {
                self.groups_lost = 0;
                self.no_group_before = Some(now + LESS_FOR);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    fn end(stage: Stage, why: EndCause) -> SessionEnd {
        SessionEnd { stage, why }
    }

    #[test]
    fn two_groups_in_a_row_without_an_answer_are_the_last_for_an_hour() {
        let mut bearing = Bearing::default();
        bearing.ended(&end(Stage::Rcpt, EndCause::Closed), at(0));
        assert_eq!(bearing.pipelining(at(0)), Pipelining::Overlap, "the line may have failed by itself");
        bearing.answered();
        bearing.ended(&end(Stage::Rcpt, EndCause::TimedOut(Duration::ZERO)), at(1));
        bearing.ended(&end(Stage::Body, EndCause::Closed), at(2));
        bearing.ended(&end(Stage::Mail, EndCause::Quit), at(2));
        assert_eq!(bearing.pipelining(at(2)), Pipelining::Overlap);
        bearing.ended(&end(Stage::Data, EndCause::Io("reset".into())), at(3));
        assert_eq!(bearing.pipelining(at(3)), Pipelining::Off);
        assert_eq!(bearing.pipelining(at(3602)), Pipelining::Off);
        assert_eq!(bearing.pipelining(at(3603)), Pipelining::Overlap);
    }

    #[test]
    fn a_server_that_bears_a_group_and_no_more_is_given_a_group() {
        let mut bearing = Bearing::default();
        bearing.no_overlap(at(0));
        assert_eq!(bearing.pipelining(at(3599)), Pipelining::Group);
        assert_eq!(bearing.pipelining(at(3600)), Pipelining::Overlap);
    }
}
