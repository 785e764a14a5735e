//! One pass, for cron and for whoever has no service.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use super::{LocalError, block_on, log_accepted, setup};
use crate::config::Config;
use crate::control::{FlushEnd, Flushed};
use crate::fs::{Clock, SystemClock};
use crate::pickup::{Hint, Pickup, Step};
use crate::sender::{PassEnd, Sender, Stop, TRIES_AFTER_A_LOST_LINE};
use crate::spool::{Spool, SpoolError};

/// Accepts what lies in `pickup/` and sends what waits, once, on a spool that was recovered.
pub(super) fn flush(config: &Config, spool: Spool) -> Result<Flushed, LocalError> {
    let spool = Arc::new(spool);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let flushed = block_on(async {
        let mut pickups: Vec<Pickup> =
            setup::pickups(config, &spool, &clock).into_iter().map(|(pickup, _)| pickup).collect();
        let mut sender = Sender::new(spool.clone(), clock.clone(), setup::sender_options(config));
        let (stop_sender, mut stop) = Stop::pair();
        stop_on_signals(stop_sender).map_err(LocalError::System)?;
        loop {
            take_what_is_there(&mut pickups, &*clock, &mut stop).await?;
            let mut end = sender.pass(None, &mut stop).await?;
            for _ in 0..TRIES_AFTER_A_LOST_LINE {
                if !matches!(end, PassEnd::Unusable(_)) || !sender.wants_another_try() {
                    break;
                }
                end = sender.pass(None, &mut stop).await?;
            }
            spool.tell_producers(clock.monotonic())?;
            // What was dropped while the pass ran is part of it.
            pickups.iter_mut().for_each(|pickup| pickup.hint(Hint::Rescan));
            let came = step_all(&mut pickups)?;
            if end != PassEnd::NothingDue || (came.accepted.is_empty() && came.settling == 0) {
                return Ok(flushed(end, sender.delivered(), &spool));
            }
        }
    });
    flushed.map_err(LocalError::System)?
}

/// What is told of a pass.
pub(super) fn flushed(end: PassEnd, delivered: u64, spool: &Spool) -> Flushed {
    let left = spool.counts().waiting();
    let (end, cause, hint) = match end {
        PassEnd::NothingDue => (FlushEnd::NothingDue, None, None),
        PassEnd::Held => (FlushEnd::Held, None, None),
        PassEnd::Paced(limit) => {
            let cause = format!("as many were sent as {} of the smarthost allows for now", limit.name());
            (FlushEnd::Paced, Some(cause), None)
        }
        PassEnd::NoSmarthost => {
            let hint = "set url in [[smarthost]]".to_owned();
            (FlushEnd::NoSmarthost, Some("no smarthost is configured".to_owned()), Some(hint))
        }
        PassEnd::Paused => {
            let since = spool.paused().map(|since| format!(" since {since}")).unwrap_or_default();
            let hint = "`pillarbox resume` has it go on".to_owned();
            (FlushEnd::Paused, Some(format!("sending is paused{since}")), Some(hint))
        }
        PassEnd::Stopped => (FlushEnd::Stopped, None, None),
        PassEnd::Unusable(trouble) => (FlushEnd::Unusable, Some(trouble.cause), Some(trouble.hint)),
    };
    Flushed { end, delivered, left, cause, hint }
}

fn stop_on_signals(stop: tokio::sync::watch::Sender<bool>) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.send_replace(true);
        // Kept: whoever waits for it must not find it gone.
        stop.closed().await;
    });
    Ok(())
}

/// One step of each folder, as one.
fn step_all(pickups: &mut [Pickup]) -> Result<Step, SpoolError> {
    let mut all = Step::default();
    for pickup in pickups {
        let step = pickup.step()?;
        step.accepted.iter().for_each(log_accepted);
        all.accepted.extend(step.accepted);
        all.more |= step.more;
        // One that has nothing to wait for is not waited for.
        if step.settling > 0 {
            all.settling += step.settling;
            all.next_look = all.next_look.into_iter().chain(step.next_look).min();
        }
    }
    Ok(all)
}

/// Scans, waits for what is still settling, and accepts it.
async fn take_what_is_there(
    pickups: &mut [Pickup],
    clock: &dyn Clock,
    stop: &mut Stop,
) -> Result<(), SpoolError> {
    loop {
        let step = step_all(pickups)?;
        // Signals are heard of between two groups only here.
        tokio::task::yield_now().await;
        if stop.is_requested() {
            return Ok(());
        }
        if step.more {
            continue;
        }
        let Some(next_look) = step.next_look.filter(|_| step.settling > 0) else { return Ok(()) };
        tokio::select! {
            () = tokio::time::sleep(next_look - clock.monotonic()) => {}
            () = stop.requested() => return Ok(()),
        }
    }
}
