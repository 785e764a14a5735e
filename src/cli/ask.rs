//! Who carries out what a command wants: the service over its socket, or this process where no service runs.

use std::cell::Cell;
use std::io::ErrorKind;
use std::time::Duration;

use super::{ConfigArgs, Failure, exit, start_failure};
use crate::config::{self, Config};
use crate::control::{Answer, Client, ClientError, Code, Refused, Request};
use crate::fs::LockError;
use crate::service::{self, LocalError, StartError, Upload};

/// How often it is asked again while another command, or a service that has only just started, has the spool.
const TRIES: u32 = 100;
/// How long between two of them.
const BETWEEN: Duration = Duration::from_millis(50);

/// The spool that a command is about.
pub(super) struct Desk {
    config: Config,
    /// What is wrong with the configuration. A service that runs has one of its own.
    config_error: Option<Failure>,
    command: &'static str,
    /// A service has answered.
    was_served: Cell<bool>,
}

/// Why there is no answer.
pub(super) enum NoAnswer {
    /// Another process that is no service has the spool.
    InUse(Failure),
    /// Anything else.
    Failed(Failure),
}

impl Desk {
    /// `command` is what another one is told while this has the spool.
    pub(super) fn new(args: &ConfigArgs, command: &'static str) -> Result<Desk, Failure> {
        let overrides = args.overrides();
        let failure = |e: config::ConfigError| Failure::new(exit::CONFIG, e.to_string());
        let (config, config_error) = match config::load(&overrides) {
            Ok(config) => (config, None),
            Err(error) => (config::accept_only(&overrides).map_err(failure)?, Some(failure(error))),
        };
        Ok(Desk { config, config_error, command, was_served: Cell::new(false) })
    }

    /// The configuration of this process.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Whether a service has answered before.
    pub(super) fn was_served(&self) -> bool {
        self.was_served.get()
    }

    /// Has it done.
    pub(super) fn ask(&self, request: &Request) -> Result<Answer, Failure> {
        self.hand_in(request, None)
    }

    /// Has it done, with a message behind it.
    pub(super) fn hand_in(&self, request: &Request, upload: Option<Upload>) -> Result<Answer, Failure> {
        self.try_in_turn(request, upload, true).map_err(|why| match why {
            NoAnswer::InUse(failure) | NoAnswer::Failed(failure) => failure,
        })
    }

    /// Has it done, if nobody but a service has the spool.
    pub(super) fn ask_now(&self, request: &Request) -> Result<Answer, NoAnswer> {
        self.try_in_turn(request, None, false)
    }

    fn try_in_turn(
        &self,
        request: &Request,
        mut upload: Option<Upload>,
        waits: bool,
    ) -> Result<Answer, NoAnswer> {
        let mut tries = TRIES;
        loop {
            if let Some(answer) = self.ask_service(request, &mut upload) {
                return answer.map_err(NoAnswer::Failed);
            }
            // It is enough to know where the spool is, to keep a message.
            let is_enough = matches!(request, Request::Send(_) | Request::Outcome(..));
            if let Some(error) = self.config_error.as_ref().filter(|_| !is_enough) {
                return Err(NoAnswer::Failed(error.clone()));
            }
            let by = match service::carry_out(&self.config, self.command, request, &mut upload) {
                Ok(answer) => return Ok(answer),
                Err(LocalError::Start(StartError::Lock(LockError::Held { by }))) => by,
                Err(error) => return Err(NoAnswer::Failed(self.local_failure(error))),
            };
            // A service listens before long.
            let is_worth_it = waits || by.contains("pillarbox run");
            if !is_worth_it || tries == 0 {
                let error = StartError::Lock(LockError::Held { by });
                return Err(NoAnswer::InUse(start_failure(&error, &self.config)));
            }
            tries -= 1;
            std::thread::park_timeout(BETWEEN);
        }
    }

    /// Has the service do it; `None` if none runs.
    pub(super) fn ask_service_alone(&self, request: &Request) -> Option<Result<Answer, Failure>> {
        self.ask_service(request, &mut None)
    }

    /// `None` if no service runs.
    fn ask_service(&self, request: &Request, upload: &mut Option<Upload>) -> Option<Result<Answer, Failure>> {
        let client = match Client::connect(&self.config.spool_dir) {
            Ok(client) => client?,
            // Whoever may read the directories need not ask.
            Err(_) if matches!(request, Request::Status | Request::List(_) | Request::Show(_)) => {
                return None;
            }
            Err(error) => return Some(Err(client_failure(error))),
        };
        let answer = client.ask(request, upload.take());
        self.was_served.set(self.was_served.get() || answer.is_ok());
        Some(answer.map_err(client_failure))
    }

    fn local_failure(&self, error: LocalError) -> Failure {
        match error {
            LocalError::Start(error) => start_failure(&error, &self.config),
            LocalError::Refused(refused) => failure(refused),
            LocalError::Spool(error) => Failure::new(exit::IOERR, error.to_string()),
            LocalError::System(error) => Failure::new(exit::IOERR, format!("cannot go on: {error}")),
        }
    }
}

/// A bug: the answer is to another request.
pub(super) fn unexpected() -> Failure {
    Failure::new(exit::SOFTWARE, "the answer is to another request")
}

fn client_failure(error: ClientError) -> Failure {
    match error {
        ClientError::Refused(refused) => failure(refused),
        ClientError::Connect(e) if e.kind() == ErrorKind::PermissionDenied => {
            let failure = Failure::new(exit::NOPERM, format!("cannot connect to the service: {e}"));
            failure.hint("run it as the user that owns the spool, or as a member of its group")
        }
        ClientError::Connect(_) => Failure::new(exit::IOERR, error.to_string()),
        ClientError::Broken(_) => {
            Failure::new(exit::TEMPFAIL, error.to_string()).hint("`pillarbox status` says how things stand")
        }
    }
}

fn failure(refused: Refused) -> Failure {
    let Refused { code, message, hint } = refused;
    let code = match code {
        Code::BadRequest => exit::USAGE,
        Code::Forbidden => exit::NOPERM,
        Code::NotFound | Code::Ambiguous | Code::Conflict | Code::TooLarge | Code::BadMessage => {
            exit::DATAERR
        }
        Code::BadConfig => exit::CONFIG,
        Code::Disk => exit::IOERR,
        Code::InFlight | Code::Unavailable | Code::NoRoom => exit::TEMPFAIL,
    };
    Failure { code, message, hint }
}
