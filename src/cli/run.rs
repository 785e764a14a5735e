//! `pillarbox run`: the service.

use super::{ConfigArgs, Failure, exit, log, start_failure};
use crate::config;
use crate::service::{self, ServiceError, Settings, StartError};

/// Accept what is dropped and deliver it, for as long as the box runs
///
/// Logs to stderr, one event a line. Ends on SIGTERM and SIGINT; a transaction in flight may still end, for 20 s. SIGHUP has it
/// read its configuration anew. With a configuration that is wrong it accepts messages, keeps them, and says so.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let overrides = args.config.overrides();
    let failure = |e: config::ConfigError| Failure::new(exit::CONFIG, e.to_string());
    let (config, config_error) = match config::load(&overrides) {
        Ok(config) => (config, None),
        Err(error) => (config::accept_only(&overrides).map_err(failure)?, Some(error)),
    };
    let broken = config_error.as_ref().map(|error| Failure::new(exit::CONFIG, error.to_string()));
    let for_failure = config.clone();
    let log = log::start(config.level);
    let load = || config::load(&overrides);
    let set_level = |level| log.set_level(level);
    let settings = Settings { config, config_error, load: &load, set_level: &set_level };
    match (service::run(settings), broken) {
        (Ok(()), _) => Ok(exit::OK),
        // Nothing can be accepted either: it is the configuration that has to be mended first.
        (Err(ServiceError::Start(StartError::Directory(..))), Some(broken)) => Err(broken),
        (Err(ServiceError::Start(error)), _) => Err(start_failure(&error, &for_failure)),
        (Err(ServiceError::System(error)), _) => {
            Err(Failure::new(exit::SOFTWARE, format!("cannot start: {error}")))
        }
    }
}
