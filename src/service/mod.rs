//! Floor 5: the service. One loop over one closed `Event`: what can make it move stands there.
//!
//! The pickup has a thread of its own, because it waits for the disk; the sender runs on the loop's thread, because it waits
//! for the network. They meet in the [`Spool`]. If a disk call of either fails half-way, both are stopped, the
//! spool is recovered as after a crash, and both start again. So it goes with a new configuration, but that what is in flight
//! has all the time it needs.
//!
//! What is asked for over the socket is carried out in the loop, so that it never comes between two steps of the sender.

mod asked;
mod flush;
mod local;
mod notify;
mod setup;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc as async_mpsc;

use crate::config::{Config, ConfigError};
use crate::control::view::Facts;
use crate::control::{Asked, Code, Refused, Reloaded, Server, listen};
use crate::fs::{Clock, Dir, SystemClock};
use crate::pickup::{Driver, Hint};
use crate::policy::Memory;
use crate::sender::{Outcomes, Sender, Stop, Wake};
use crate::spool::{Accepted, Recovered, Spool, SpoolError};

use asked::Hands;
use notify::Manager;

pub use local::{LocalError, Upload, carry_out};
pub use setup::{StartError, open_spool, outgoing_options, sender_options};

/// What can make the service move.
#[derive(Debug)]
enum Event {
    /// SIGTERM or SIGINT.
    Terminate(&'static str),
    /// SIGHUP.
    Reload,
    /// Somebody wants something, over the socket.
    Asked(Asked),
    /// What somebody wanted is done, or could not be.
    Done(Result<(), SpoolError>),
    /// The pickup has ended.
    PickupEnded(Result<(), SpoolError>),
    /// The sender has ended.
    SenderEnded(Result<(), SpoolError>),
}

/// Why the pickup and the sender do not work any more.
#[derive(Debug)]
enum Ended {
    /// They were told to stop.
    Stopped,
    /// There is another configuration.
    Reload,
    /// A disk call failed half-way.
    Fault(SpoolError),
}

/// What the service works with, and where that comes from.
pub struct Settings<'a> {
    /// The configuration.
    pub config: Config,
    /// What is wrong with what was configured: then `config` is good for accepting and no more.
    pub config_error: Option<ConfigError>,
    /// Reads the configuration anew.
    pub load: &'a dyn Fn() -> Result<Config, ConfigError>,
    /// Sets how much is logged.
    pub set_level: &'a dyn Fn(tracing::Level),
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
pub fn run(settings: Settings<'_>) -> Result<(), ServiceError> {
    let spool = Arc::new(open_spool(&settings.config, "run").map_err(ServiceError::Start)?);
    block_on(serve(settings, spool)).map_err(ServiceError::System)?
}

/// Runs `work` to its end on a runtime of its own. A name that is being looked up cannot be called off, and may take a
/// minute: it must not keep a process that was told to stop.
fn block_on<T>(work: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(result)
}

/// The service at work.
struct Service<'a> {
    settings: Settings<'a>,
    spool: Arc<Spool>,
    clock: Arc<dyn Clock>,
    /// What is told of it that the directories do not tell.
    facts: Arc<Mutex<Facts>>,
    asking: async_mpsc::UnboundedSender<Asked>,
    asked: async_mpsc::UnboundedReceiver<Asked>,
    manager: Manager,
    /// What the last sender knew.
    memory: Option<Memory>,
    /// What became of the last messages.
    outcomes: Arc<Outcomes>,
}

async fn serve(settings: Settings<'_>, spool: Arc<Spool>) -> Result<(), ServiceError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ServiceError::System)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServiceError::System)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(ServiceError::System)?;
    let mut signals = async move || {
        tokio::select! {
            _ = terminate.recv() => Event::Terminate("SIGTERM"),
            _ = interrupt.recv() => Event::Terminate("SIGINT"),
            _ = hangup.recv() => Event::Reload,
        }
    };
    let mut service = Service::new(settings, spool, Manager::from_env());
    service.manager.keep_alive();
    service.say_accept_only();
    // What cannot be asked for can still be dropped and sent.
    let _server = service.open_socket();
    let mut faulted = false;
    loop {
        // What could not be written down once is not tried again before something can.
        let sound = if faulted { service.spool.prove_writable() } else { Ok(()) };
        service.spool.set_folders(setup::folder_dirs(&service.settings.config, &service.spool));
        let ended = match sound.and_then(|()| recover(&service.spool)) {
            Ok(()) => {
                service.facts().spool_fault = None;
                service.serve_until_fault(&mut signals).await?
            }
            Err(error) => Ended::Fault(error),
        };
        faulted = match ended {
            Ended::Stopped => return Ok(()),
            Ended::Reload => false,
            Ended::Fault(error) => {
                if service.wait_for_disk(&error, &mut signals).await {
                    return Ok(());
                }
                true
            }
        };
    }
}

impl<'a> Service<'a> {
    fn new(settings: Settings<'a>, spool: Arc<Spool>, manager: Manager) -> Service<'a> {
        let (asking, asked) = async_mpsc::unbounded_channel();
        let (clock, facts) = (Arc::new(SystemClock), Arc::default());
        let outcomes = Arc::default();
        let service =
            Service { settings, spool, clock, facts, asking, asked, manager, memory: None, outcomes };
        service.take_over();
        service
    }

    /// What changes at once with the configuration. Pickup and sender have theirs from their start.
    fn take_over(&self) {
        let Settings { config, config_error, set_level, .. } = &self.settings;
        set_level(config.level);
        self.spool.set_limits(setup::limits(config));
        let spool_fault = self.facts().spool_fault.take();
        let config_error = config_error.as_ref().map(ConfigError::in_one_line);
        *self.facts() = Facts { config_error, spool_fault, ..setup::facts(config) };
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say_accept_only(&self) {
        if let Some(error) = &self.settings.config_error {
            tracing::error!(
                error = error.in_one_line(),
                hint = "messages are accepted and kept; mend the configuration, then `pillarbox reload` or SIGHUP",
                "config-broken"
            );
        }
    }

    fn open_socket(&self) -> Option<Server> {
        // systemd names several with a colon between them.
        let runtime = std::env::var("RUNTIME_DIRECTORY").ok().filter(|dirs| !dirs.is_empty());
        let runtime = runtime.and_then(|dirs| dirs.split(':').next().map(PathBuf::from));
        let spool = &self.settings.config.spool_dir;
        let started = listen(spool, runtime.as_deref()).and_then(|listener| {
            let (fs, facts) = (self.spool.fs().clone(), self.facts.clone());
            Server::start(listener, fs, facts, self.asking.clone()).map_err(|e| (spool.join("control"), e))
        });
        match started {
            Ok(server) => Some(server),
            Err((path, error)) => {
                tracing::error!(
                    socket = %path.display(),
                    %error,
                    hint = "messages are accepted and sent; no command can steer the service",
                    "control-unavailable"
                );
                None
            }
        }
    }

    /// The configuration is read anew. If it is wrong, the one before stays.
    fn reload(&mut self) -> Result<Reloaded, Refused> {
        let before = &self.settings.config.spool_dir;
        let wrong = match (self.settings.load)() {
            Ok(config) if config.spool_dir == *before => {
                self.settings.config = config;
                self.settings.config_error = None;
                self.take_over();
                tracing::info!("reloading");
                let smarthosts = names(&self.settings.config);
                return Ok(Reloaded { smarthosts });
            }
            Ok(config) => {
                let (before, found) = (before.display(), config.spool_dir.display());
                format!(
                    "dir in [spool] cannot change while the service runs: expected {before}, found {found}"
                )
            }
            Err(error) => error.in_one_line(),
        };
        tracing::error!(error = wrong, hint = "the configuration before stays in force", "reload-failed");
        let hint = "the configuration before stays in force: mend it, and reload again";
        Err(Refused::new(Code::BadConfig, wrong).hint(hint))
    }

    /// Waits an interval. True if the service ends.
    async fn wait_for_disk(&mut self, error: &SpoolError, signals: &mut impl AsyncFnMut() -> Event) -> bool {
        tracing::error!(
            %error,
            hint = "free or repair the disk: the spool is recovered and work resumes by itself",
            "spool-fault"
        );
        self.manager.faulted(error);
        self.facts().spool_fault = Some(error.to_string());
        let mut time = std::pin::pin!(tokio::time::sleep(self.settings.config.delivery.retry_interval));
        loop {
            let event = tokio::select! {
                () = &mut time => return false,
                event = signals() => event,
                Some(asked) = self.asked.recv() => Event::Asked(asked),
            };
            match event {
                Event::Terminate(_) => return true,
                // Nothing works that would have to be stopped for it.
                Event::Reload => drop(self.reload()),
                Event::Asked(asked) => {
                    let why = format!("the service waits for the disk: {error}");
                    let refused = Refused::new(Code::Unavailable, why);
                    asked.refuse(refused.hint("free or repair the disk; work resumes by itself"));
                }
                Event::Done(_) | Event::PickupEnded(_) | Event::SenderEnded(_) => {}
            }
        }
    }

    /// Pickup and sender together, until there is a reason to stop both.
    async fn serve_until_fault(
        &mut self,
        signals: &mut impl AsyncFnMut() -> Event,
    ) -> Result<Ended, ServiceError> {
        let (events, mut heard) = async_mpsc::unbounded_channel();
        let wake = Arc::new(Wake::default());
        let (stop_sender, hurry, mut stop) = Stop::with_hurry();
        let (spool, clock) = (self.spool.clone(), self.clock.clone());
        let told = (&wake, &self.manager);
        let (hints, pickup) = start_pickup(&self.settings.config, &spool, &clock, told, events)
            .map_err(ServiceError::System)?;
        let telling = tokio::spawn(self.manager.clone().follow(spool.clone(), wake.clone()));
        let mut sender = Sender::new(spool.clone(), clock, setup::sender_options(&self.settings.config));
        sender.tell_outcomes(self.outcomes.clone());
        if let Some(memory) = self.memory.take() {
            sender.go_on_from(&memory);
        }
        self.say_ready();
        let mut hands = Hands::new(wake.clone(), hints.clone(), self.asking.clone());
        let mut sending = Box::pin(sender.run(&wake, &mut stop));
        let (mut sender_runs, mut pickup_runs) = (true, true);
        let (mut told_to_stop, mut reload) = (false, false);
        let mut fault = None;
        while sender_runs || pickup_runs {
            let event = tokio::select! {
                ended = &mut sending, if sender_runs => Event::SenderEnded(ended),
                // Without a last word it has panicked; the join below says so.
                event = heard.recv(), if pickup_runs => event.unwrap_or(Event::PickupEnded(Ok(()))),
                event = signals() => event,
                Some(asked) = self.asked.recv() => Event::Asked(asked),
                done = hands.done() => Event::Done(done),
            };
            match event {
                Event::Terminate(signal) => {
                    told_to_stop = true;
                    self.manager.stopping();
                    tracing::info!(signal, "stopping");
                }
                Event::Reload => reload |= self.reload().is_ok(),
                Event::Asked(asked) => match self.carry_out(asked, &mut hands) {
                    Ok(reloaded) => reload |= reloaded,
                    Err(error) => fault = fault.or(Some(error)),
                },
                Event::Done(result) => fault = fault.or(result.err()),
                Event::SenderEnded(result) => {
                    sender_runs = false;
                    fault = fault.or(result.err());
                }
                Event::PickupEnded(result) => {
                    pickup_runs = false;
                    fault = fault.or(result.err());
                }
            }
            // Whatever has ended, the other ends too: it finishes the transaction in flight, within a limit unless the
            // service goes on behind it.
            let has_ended = !sender_runs || !pickup_runs || fault.is_some() || told_to_stop;
            if has_ended || reload {
                stop_sender.send_replace(true);
            }
            // Under a new configuration what is in flight has all the time it needs, and what is dropped meanwhile must not
            // wait for it.
            if has_ended {
                telling.abort();
                // It may never make another round.
                self.manager.set_pickup(None);
                // The pickup may have ended already.
                drop(hints.send(Hint::Stop));
            }
            if fault.is_some() || told_to_stop {
                hurry.send_replace(true);
            }
        }
        drop(sending);
        self.memory = Some(sender.memory());
        hands.finish(fault.is_none() && !told_to_stop).await;
        if pickup.join().is_err() {
            return Err(ServiceError::System(std::io::Error::other("the pickup thread has panicked")));
        }
        tracing::info!(waiting = spool.counts().in_line, "stopped");
        match fault {
            Some(error) if told_to_stop => {
                // Whoever starts the spool next recovers it.
                tracing::error!(%error, "spool-fault");
                Ok(Ended::Stopped)
            }
            Some(error) => Ok(Ended::Fault(error)),
            None if told_to_stop || !reload => Ok(Ended::Stopped),
            None => Ok(Ended::Reload),
        }
    }

    fn say_ready(&self) {
        let config = &self.settings.config;
        let names = names(config);
        tracing::info!(
            spool = %config.spool_dir.display(),
            smarthost = if names.is_empty() { "none".to_owned() } else { names.join(", ") },
            waiting = self.spool.counts().in_line,
            "ready"
        );
        if let Some(since) = self.spool.paused() {
            tracing::warn!(%since, hint = "nothing is sent until `pillarbox resume`", "still-paused");
        }
    }
}

/// Of the smarthosts, in order of preference.
fn names(config: &Config) -> Vec<String> {
    config.smarthosts.iter().map(|host| host.name.clone()).collect()
}

fn start_pickup(
    config: &Config,
    spool: &Arc<Spool>,
    clock: &Arc<dyn Clock>,
    (wake, manager): (&Arc<Wake>, &Manager),
    events: async_mpsc::UnboundedSender<Event>,
) -> std::io::Result<(mpsc::Sender<Hint>, JoinHandle<()>)> {
    let (hints, heard) = mpsc::channel();
    let pickups = setup::pickups(config, spool, clock);
    manager.set_pickup(Some(hints.clone()));
    let bell = hints.clone();
    // Nobody listens any more when the service ends.
    spool.set_bell(Box::new(move || drop(bell.send(Hint::Ping))));
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
    let mut driver =
        Driver::new(spool.clone(), pickups, clock.clone(), (hints.clone(), heard), Box::new(on_accepted));
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
        let is_copy = name.as_encoded_bytes().starts_with(b".");
        let hint = match dir {
            Dir::Pickup => "it was being copied, and somebody has taken the copy: rename it to have it sent",
            Dir::Outside(_) => {
                "it was copied, and its message has left, or somebody has taken the copy: remove it, or rename it to have it sent"
            }
            Dir::Pending if is_copy => {
                "a copy of a file in a folder that is not there, or not configured any more: mount it, or put it back"
            }
            _ => "only pillarbox writes here: take it away",
        };
        tracing::warn!(dir = spool.fs().place(*dir), file = %name.display(), hint, "stranger");
    }
    for (id, why) in &unreadable {
        tracing::error!(%id, %why, hint = "the message is held: mend or remove its record in meta/", "record-unreadable");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{self, Overrides};
    use crate::control::{Request, Steer};
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
        config.smarthosts = Vec::new();
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
        let load = || config::load(&Overrides::default());
        let settings = Settings { config, config_error: None, load: &load, set_level: &|_| {} };
        let ended =
            Service::new(settings, spool.clone(), Manager::default()).serve_until_fault(&mut signals).await;
        assert!(matches!(ended, Ok(Ended::Stopped)), "{ended:?}");
        assert!(spool.is_faulted());
    }

    #[tokio::test]
    async fn a_wish_that_the_disk_breaks_half_way_is_told_and_has_the_spool_recovered() {
        let root = tempfile::tempdir().unwrap();
        let disk = Faulty::new(root.path());
        let spool = Arc::new(Spool::new(disk.clone(), Box::new(Alone)));
        recover(&spool).unwrap();
        let overrides = Overrides { spool: Some(root.path().to_owned()), ..Overrides::default() };
        let config = config::Config { smarthosts: Vec::new(), ..config::load(&overrides).unwrap() };
        let mut submission = spool.submit().unwrap().unwrap();
        submission.append(b"From: a@example.com\nTo: b@example.com\n\ntext\n").unwrap();
        let accepted = submission.finish("a".as_ref(), None, SystemClock.wall(), &|_, _| None).unwrap();
        disk.ask_first(|what, dir| {
            ((what, dir) == ("sync_dir", Dir::Meta)).then(|| std::io::Error::other("EIO"))
        });
        let load = || config::load(&Overrides::default());
        let settings = Settings { config, config_error: None, load: &load, set_level: &|_| {} };
        let mut service = Service::new(settings, spool.clone(), Manager::default());
        let request = Request::Steer(Steer::Hold, accepted.name.id.to_string());
        let (answer, answered) = tokio::sync::oneshot::channel();
        let asked = Asked { request, body: async_mpsc::channel(1).1, answer };
        service.asking.send(asked).unwrap();
        let mut signals = async || std::future::pending().await;
        let ended = service.serve_until_fault(&mut signals).await;
        assert!(matches!(ended, Ok(Ended::Fault(_))) && spool.is_faulted(), "{ended:?}");
        let refused = answered.await.unwrap().unwrap_err();
        assert!(refused.code == Code::Disk && refused.message.contains("EIO"), "{refused:?}");
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
