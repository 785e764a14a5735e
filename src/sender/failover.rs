//! Several smarthosts: leaving one that cannot be used, and finding out beside the mail whether it is well again.

use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;

use super::open::open;
use super::{OutOfService, PassEnd, Sender, SenderState, Smarthost, Trouble};
use crate::policy::{Limit, Moment};
use crate::smtp::Pipelining;

/// How long a pass that somebody waits for waits for a look, once its mail is out.
const LOOK_WITHIN: Duration = Duration::from_secs(10);

/// A session with a better smarthost that sends nothing. Ended when dropped.
pub(super) struct Look {
    host: usize,
    pub(super) task: JoinHandle<Result<(), Trouble>>,
}

impl Drop for Look {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sender {
    pub(super) fn smarthost(&self) -> Option<&Smarthost> {
        self.options.smarthosts.get(self.failover.in_use())
    }

    pub(super) fn smarthost_name(&self) -> String {
        self.smarthost().map(|s| s.name.clone()).unwrap_or_default()
    }

    pub(super) fn moment(&self) -> Moment {
        Moment { boot: self.clock.boot(), now: self.clock.monotonic(), wall: self.clock.wall() }
    }

    /// The smarthost cannot be used; another one may be.
    pub(super) fn leave(&mut self, host: usize, trouble: &Trouble) {
        self.failover.had_trouble(host, trouble.is_refused_login(), self.clock.monotonic());
    }

    /// A session with the smarthost is open, behind those that were tried before it. That is not yet to deliver.
    pub(super) fn arrive(&mut self, host: usize, tried: &[(usize, Trouble)]) {
        self.failover.opened(host);
        self.left = tried.to_vec();
    }

    /// The smarthost in use took a message. Those that were tried before it are out of service, and it is not.
    pub(super) fn say_it_serves(&mut self) {
        if self.left.is_empty() && self.out_of_service.is_empty() {
            return;
        }
        let to = self.smarthost_name();
        self.out_of_service.retain(|out| out.smarthost != to);
        for (left, trouble) in std::mem::take(&mut self.left) {
            let smarthost = self.options.smarthosts[left].name.clone();
            let since = self.clock.wall().as_secs();
            let Trouble { stage, cause, hint, .. } = trouble;
            if self.out_of_service.iter().any(|out| out.smarthost == smarthost && out.cause == cause) {
                continue;
            }
            tracing::warn!(smarthost, step = %stage, cause, hint, to, "failed-over");
            self.out_of_service.retain(|out| out.smarthost != smarthost);
            self.out_of_service.push(OutOfService { smarthost, since, step: stage.to_string(), cause, hint });
        }
        self.say_out_of_service();
    }

    /// None of those that were tried can be used.
    pub(super) fn all_left(&mut self, tried: Vec<(usize, Trouble)>) -> PassEnd {
        let name = |host: usize| self.options.smarthosts[host].name.clone();
        let names: Vec<String> = tried.iter().map(|(host, _)| name(*host)).collect();
        let trouble =
            Trouble::of_all(tried.into_iter().map(|(host, trouble)| (name(host), trouble)).collect());
        self.failover.all_had_trouble();
        self.schedule.use_smarthost(self.failover.in_use());
        self.schedule.session_problem();
        self.left.clear();
        self.out_of_service.clear();
        self.say_out_of_service();
        let smarthost = names.join(", ");
        let Trouble { stage, cause, hint, .. } = trouble.clone();
        self.say(match trouble.is_breaker() {
            true => SenderState::BreakerOpen { smarthost, since: 0, cause, hint },
            false => SenderState::Unusable { smarthost, since: 0, step: stage.to_string(), cause, hint },
        });
        PassEnd::Unusable(trouble)
    }

    /// Begins to look at a better smarthost, if it is time. Only while there is mail: without any, nothing is looked at.
    pub(super) fn look_at_a_better_one(&mut self) {
        let due = self.failover.look_at(self.clock.monotonic());
        let Some(host) = due.filter(|_| self.look.is_none()) else { return };
        let (smarthost, options) = (self.options.smarthosts[host].clone(), self.options.clone());
        let (clock, fs) = (self.clock.clone(), self.spool.fs().clone());
        let look = async move {
            let connection = open(&smarthost, &options, Pipelining::Off, &clock, &fs).await?;
            connection.quit(&move || clock.monotonic()).await;
            Ok(())
        };
        self.look = Some(Look { host, task: tokio::spawn(look) });
    }

    /// What the look has shown, if it is over. True if messages go to that smarthost from now on.
    pub(super) async fn take_look(&mut self) -> bool {
        let Some(mut look) = self.look.take_if(|look| look.task.is_finished()) else { return false };
        let shown = (&mut look.task).await;
        self.looked(look.host, shown)
    }

    /// A run that ends with its pass would never know what its looks have shown.
    pub(super) async fn wait_for_look(&mut self) {
        let Some(mut look) = self.look.take() else { return };
        let shown = timeout(LOOK_WITHIN, &mut look.task).await;
        self.looked(look.host, shown.unwrap_or_else(|_| Ok(Err(Trouble::not_yet()))));
    }

    fn looked(&mut self, host: usize, shown: Result<Result<(), Trouble>, JoinError>) -> bool {
        let name = self.options.smarthosts[host].name.clone();
        let trouble = match shown {
            Ok(Ok(())) => None,
            Ok(Err(trouble)) => Some(trouble),
            Err(error) => Some(Trouble::look_failed(&error)),
        };
        let is_refused_login = trouble.as_ref().is_some_and(Trouble::is_refused_login);
        let now = self.clock.monotonic();
        let is_back = self.failover.looked(host, trouble.is_none(), is_refused_login, now);
        if let Some(trouble) = trouble {
            tracing::debug!(smarthost = name, %trouble, "still-out-of-service");
        }
        if is_back {
            tracing::info!(smarthost = name, "failed-back");
            self.out_of_service.retain(|out| out.smarthost != name);
            self.say_out_of_service();
        }
        is_back
    }

    /// How long what the quota keeps from being sent has to wait, and which.
    pub(super) fn waits_for_quota(&self) -> Option<(Duration, Limit)> {
        let now = self.clock.monotonic();
        let (until, limit) = self.schedule.waits_for_quota(&*self.spool, now)?;
        Some((until - now, limit))
    }
}
