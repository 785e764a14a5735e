//! Floor 5: the service. One loop over one closed `Event`: what can make it move stands there.
//!
//! The pickup has a thread of its own, because it waits for the disk; the sender runs on the loop's thread, because it waits
//! for the network. They meet in the [`Spool`]. If a disk call of either fails half-way, both are stopped, the
//! spool is recovered as after a crash, and both start again.

pub mod guard;
mod notify;
mod setup;

use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc as async_mpsc;

use crate::config::Config;
use crate::fs::{Clock, Dir, SystemClock};
use crate::pickup::{Driver, Hint, Pickup};
use crate::sender::{PassEnd, Sender, Stop, Wake};
use crate::spool::{Accepted, Recovered, Spool, SpoolError};

use notify::Manager;

pub use setup::{StartError, open_spool};

/// What can make the service move.
#[derive(Debug)]
enum Event {
    /// SIGTERM or SIGINT.
    Terminate(&'static str),
    /// The pickup has ended.
    PickupEnded(Result<(), SpoolError>),
    /// The sender has ended.
    SenderEnded(Result<(), SpoolError>),
}

/// Why [`run`] ended before it was told to.
#[derive(Debug)]
pub enum ServiceError {
    /// It could not start.
    Start(StartError),
    /// The runtime, a thread or a signal handler could not be had.
    System(std::io::Error),
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
///
/// Why it could not start.
pub fn run(config: &Config) -> Result<(), ServiceError> {
    let spool = Arc::new(open_spool(config, "run").map_err(ServiceError::Start)?);
    block_on(serve(config, &spool)).map_err(ServiceError::System)?
}

/// Runs `work` to its end on a runtime of its own. A name that is being looked up cannot be called off, and may take a
/// minute: it must not keep a process that was told to stop.
fn block_on<T>(work: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(result)
}

async fn serve(config: &Config, spool: &Arc<Spool>) -> Result<(), ServiceError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ServiceError::System)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServiceError::System)?;
    let mut signals = async move || {
        tokio::select! {
            _ = terminate.recv() => Event::Terminate("SIGTERM"),
            _ = interrupt.recv() => Event::Terminate("SIGINT"),
        }
    };
    let manager = Manager::from_env();
    manager.keep_alive();
    let mut faulted = false;
    loop {
        // What could not be written down once is not tried again before something can.
        let sound = if faulted { spool.prove_writable() } else { Ok(()) };
        let broken = match sound.and_then(|()| recover(spool)) {
            Ok(()) => serve_until_fault(config, spool, &manager, &mut signals).await?,
            Err(error) => Some(error),
        };
        let Some(error) = broken else { return Ok(()) };
        faulted = true;
        manager.faulted(&error);
        tracing::error!(
            %error,
            hint = "free or repair the disk: the spool is recovered and work resumes by itself",
            "spool-fault"
        );
        tokio::select! {
            () = tokio::time::sleep(config.delivery.retry_interval) => {}
            _ = signals() => return Ok(()),
        }
    }
}

/// Pickup and sender together, until told to stop (`None`) or until a disk call fails half-way.
async fn serve_until_fault(
    config: &Config,
    spool: &Arc<Spool>,
    manager: &Manager,
    signals: &mut impl AsyncFnMut() -> Event,
) -> Result<Option<SpoolError>, ServiceError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (events, mut heard) = async_mpsc::unbounded_channel();
    let wake = Arc::new(Wake::default());
    let (stop_sender, mut stop) = Stop::pair();
    let (hints, pickup) =
        start_pickup(config, spool, &clock, (&wake, manager), events).map_err(ServiceError::System)?;
    let telling = tokio::spawn(manager.clone().follow(spool.clone(), wake.clone()));
    let mut sender = Sender::new(spool.clone(), clock.clone(), setup::sender_options(config));
    tracing::info!(
        spool = %config.spool_dir.display(),
        smarthost = config.smarthost.as_ref().map_or("none", |s| s.name.as_str()),
        waiting = spool.counts().in_line,
        "ready"
    );
    let mut sending = std::pin::pin!(sender.run(&wake, &mut stop));
    let (mut sender_runs, mut pickup_runs, mut told_to_stop) = (true, true, false);
    let mut fault = None;
    while sender_runs || pickup_runs {
        let event = tokio::select! {
            ended = &mut sending, if sender_runs => Event::SenderEnded(ended),
            // Without a last word it has panicked; the join below says so.
            event = heard.recv(), if pickup_runs => event.unwrap_or(Event::PickupEnded(Ok(()))),
            event = signals() => event,
        };
        match event {
            Event::Terminate(signal) => {
                told_to_stop = true;
                manager.stopping();
                tracing::info!(signal, "stopping");
            }
            Event::SenderEnded(result) => {
                sender_runs = false;
                fault = fault.or(result.err());
            }
            Event::PickupEnded(result) => {
                pickup_runs = false;
                fault = fault.or(result.err());
            }
        }
        telling.abort();
        // It may never make another round.
        manager.set_pickup(None);
        // Whatever has ended, the other ends too: it finishes the transaction in flight, within a limit.
        stop_sender.send_replace(true);
        // The pickup may have ended already.
        drop(hints.send(Hint::Stop));
    }
    if pickup.join().is_err() {
        return Err(ServiceError::System(std::io::Error::other("the pickup thread has panicked")));
    }
    tracing::info!(waiting = spool.counts().in_line, "stopped");
    if let Some(error) = fault.take_if(|_| told_to_stop) {
        // Whoever starts the spool next recovers it.
        tracing::error!(%error, "spool-fault");
    }
    Ok(fault)
}

fn start_pickup(
    config: &Config,
    spool: &Arc<Spool>,
    clock: &Arc<dyn Clock>,
    (wake, manager): (&Arc<Wake>, &Manager),
    events: async_mpsc::UnboundedSender<Event>,
) -> std::io::Result<(mpsc::Sender<Hint>, JoinHandle<()>)> {
    let (hints, heard) = mpsc::channel();
    let pickup = Pickup::new(spool.clone(), clock.clone(), setup::pickup_options(config));
    manager.set_pickup(Some(hints.clone()));
    let (wake, manager) = (wake.clone(), manager.clone());
    let on_accepted = move |accepted: Vec<Accepted>| {
        if !accepted.is_empty() {
            accepted.iter().for_each(log_accepted);
            wake.accepted.notify_one();
            wake.told.notify_one();
        }
        manager.pickup_made_a_round();
        Ok(())
    };
    let directory = config.spool_dir.join("pickup");
    let mut driver =
        Driver::new(pickup, clock.clone(), directory, (hints.clone(), heard), Box::new(on_accepted));
    let run = move || {
        let ended = driver.run();
        // Nobody listens any more when the service ends.
        drop(events.send(Event::PickupEnded(ended)));
    };
    Ok((hints, std::thread::Builder::new().name("pickup".into()).spawn(run)?))
}

fn log_accepted(accepted: &Accepted) {
    let (id, file) = (accepted.name.id, accepted.name.label());
    match &accepted.refused {
        None => tracing::info!(%id, file, size = accepted.size, "accepted"),
        Some(reason) => tracing::error!(%id, file, reason, report = accepted.name.report(), "refused"),
    }
}

fn recover(spool: &Spool) -> Result<(), SpoolError> {
    let Recovered { in_flight, rolled_forward, already_accepted, strangers, unreadable } = spool.recover()?;
    for name in &in_flight {
        tracing::warn!(id = %name.id, file = name.label(), "recovered-in-flight");
    }
    for name in &rolled_forward {
        tracing::warn!(id = %name.id, file = name.label(), "recovered-failure");
    }
    for name in &already_accepted {
        tracing::info!(file = %name.display(), "recovered-pickup");
    }
    for (dir, name) in &strangers {
        let hint = match dir {
            Dir::Pickup => "it was being copied, and somebody has taken the copy: rename it to have it sent",
            _ => "only pillarbox writes here: take it away",
        };
        tracing::warn!(dir = dir.name(), file = %name.display(), hint, "stranger");
    }
    for (id, why) in &unreadable {
        tracing::error!(%id, %why, hint = "the message is held: mend or remove its record in meta/", "record-unreadable");
    }
    Ok(())
}

/// Three times with the same message, once with the next, and some to spare.
const TRIES_AFTER_A_LOST_LINE: usize = 6;

/// What a one-shot pass came to.
#[derive(Debug)]
pub struct Flushed {
    /// How the pass ended.
    pub end: PassEnd,
    /// Messages that still wait, in line or out of it.
    pub left: u64,
}

/// Accepts what lies in `pickup/` and sends what waits, once.
///
/// # Errors
///
/// Why it could not start, or the disk call that failed.
pub fn flush(config: &Config) -> Result<Flushed, FlushError> {
    let spool = Arc::new(open_spool(config, "flush").map_err(FlushError::Start)?);
    recover(&spool).map_err(FlushError::Spool)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let flushed = block_on(async {
        let mut pickup = Pickup::new(spool.clone(), clock.clone(), setup::pickup_options(config));
        let mut sender = Sender::new(spool.clone(), clock.clone(), setup::sender_options(config));
        let (stop_sender, mut stop) = Stop::pair();
        stop_on_signals(stop_sender).map_err(FlushError::System)?;
        loop {
            take_what_is_there(&mut pickup, &*clock, &mut stop).await.map_err(FlushError::Spool)?;
            let mut end = sender.pass(None, &mut stop).await.map_err(FlushError::Spool)?;
            for _ in 0..TRIES_AFTER_A_LOST_LINE {
                if !matches!(end, PassEnd::Unusable(_)) || !sender.wants_another_try() {
                    break;
                }
                end = sender.pass(None, &mut stop).await.map_err(FlushError::Spool)?;
            }
            // What was dropped while the pass ran is part of it.
            pickup.hint(Hint::Rescan);
            let came = pickup.step().map_err(FlushError::Spool)?;
            came.accepted.iter().for_each(log_accepted);
            if end != PassEnd::NothingDue || (came.accepted.is_empty() && came.settling == 0) {
                let counts = spool.counts();
                return Ok(Flushed { end, left: counts.in_line + counts.aside + counts.held });
            }
        }
    });
    flushed.map_err(FlushError::System)?
}

/// Why a one-shot pass failed.
#[derive(Debug)]
pub enum FlushError {
    /// It could not start.
    Start(StartError),
    /// A disk call of the spool failed.
    Spool(SpoolError),
    /// The runtime or a signal handler could not be had.
    System(std::io::Error),
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

/// Scans, waits for what is still settling, and accepts it.
async fn take_what_is_there(
    pickup: &mut Pickup,
    clock: &dyn Clock,
    stop: &mut Stop,
) -> Result<(), SpoolError> {
    loop {
        let step = pickup.step()?;
        step.accepted.iter().for_each(log_accepted);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{self, Overrides};
    use crate::fs::faulty::Faulty;
    use crate::spool::Lease;

    #[derive(Debug)]
    struct Alone;

    impl Lease for Alone {}

    #[tokio::test]
    async fn a_fault_while_it_stops_does_not_start_it_again() {
        let root = tempfile::tempdir().unwrap();
        let disk = Faulty::new(root.path());
        let spool = Arc::new(Spool::new(disk.clone(), Box::new(Alone)));
        recover(&spool).unwrap();
        let overrides = Overrides { spool: Some(root.path().to_owned()), ..Overrides::default() };
        let mut config = config::load(&overrides).unwrap();
        config.smarthost = None;
        config.pickup.settle = Duration::from_millis(1);
        disk.drop_file("a.eml", "From: a@example.com\nTo: b@example.com\n\ntext\n");
        // The signal comes while the pickup accepts; its disk call fails once the signal was heard.
        let (reached, mut accepting) = async_mpsc::unbounded_channel();
        let (heard, go_on) = mpsc::channel();
        disk.ask_first(move |what, dir| {
            ((what, dir) == ("sync_dir", Dir::Pending)).then(|| {
                reached.send(()).unwrap();
                go_on.recv().unwrap();
                std::io::Error::other("EIO")
            })
        });
        let mut calls = 0;
        let mut signals = async || {
            calls += 1;
            if calls == 1 {
                accepting.recv().await.unwrap();
                return Event::Terminate("SIGTERM");
            }
            heard.send(()).unwrap();
            std::future::pending().await
        };
        let ended = serve_until_fault(&config, &spool, &Manager::default(), &mut signals).await;
        assert!(matches!(ended, Ok(None)), "{ended:?}");
        assert!(spool.is_faulted());
    }

    #[test]
    fn a_look_up_that_hangs_does_not_keep_the_process() {
        let (_hold, held) = mpsc::channel::<()>();
        let (ended, heard) = mpsc::channel();
        std::thread::spawn(move || {
            let look_up = tokio::task::spawn_blocking;
            block_on(async move { drop(look_up(move || held.recv())) }).unwrap();
            ended.send(()).unwrap();
        });
        assert_eq!(heard.recv_timeout(Duration::from_secs(10)), Ok(()));
    }
}
