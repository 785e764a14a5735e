//! `pillarbox run`: the service.

use super::{ConfigArgs, Failure, exit, log, start_failure};
use crate::service::{self, ServiceError};

/// Accept what is dropped and deliver it, for as long as the box runs
///
/// Logs to stderr, one event a line. Ends on SIGTERM and SIGINT; a transaction in flight may still end, for 20 s.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let config = args.config.load()?;
    log::start(config.level);
    match service::run(&config) {
        Ok(()) => Ok(exit::OK),
        Err(ServiceError::Start(error)) => Err(start_failure(&error, &config)),
        Err(ServiceError::System(error)) => {
            Err(Failure::new(exit::SOFTWARE, format!("cannot start: {error}")))
        }
    }
}
