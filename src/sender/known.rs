//! What was learned of a smarthost while the process runs. It saves time and logins, and nothing is lost with it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::mail::Monotonic;
use crate::net::{Endpoint, Trust};
use crate::smtp::{Credential, Mechanism};

/// How often the end of a certificate is warned of.
const WARN_EACH: Duration = Duration::from_secs(86_400);

/// Shared by all clones of a smarthost's options.
#[derive(Clone, Default)]
pub struct Known {
    pub(super) trust: Arc<Trust>,
    learned: Arc<Mutex<Learned>>,
}

#[derive(Default)]
struct Learned {
    worked: Option<Endpoint>,
    mechanism: Option<(Credential, Mechanism)>,
    warned: Option<Monotonic>,
}

impl Known {
    fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `endpoints` with the one that worked last in front.
    pub(super) fn in_order(&self, endpoints: &[Endpoint]) -> Vec<Endpoint> {
        let worked = self.learned().worked.clone();
        let mut endpoints = endpoints.to_vec();
        endpoints.sort_by_key(|endpoint| Some(endpoint) != worked.as_ref());
        endpoints
    }

    pub(super) fn note_worked(&self, endpoint: Option<&Endpoint>) {
        self.learned().worked = endpoint.cloned();
    }

    /// The mechanism that had the last word with this credential.
    pub(super) fn mechanism(&self, credential: &Credential) -> Option<Mechanism> {
        let learned = self.learned();
        let (with, mechanism) = learned.mechanism.as_ref()?;
        (with == credential).then_some(*mechanism)
    }

    pub(super) fn note_mechanism(&self, credential: &Credential, mechanism: Mechanism) {
        self.learned().mechanism = Some((credential.clone(), mechanism));
    }

    /// Whether it is time to warn again; if so, that is noted.
    pub(super) fn may_warn(&self, now: Monotonic) -> bool {
        let mut learned = self.learned();
        let may = learned.warned.is_none_or(|at| now - at >= WARN_EACH);
        if may {
            learned.warned = Some(now);
        }
        may
    }
}
