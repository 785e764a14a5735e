//! The end that the user wants.

use std::io;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use tokio::signal::unix::{SignalKind, signal};

/// Something comes out when the user presses ^C, or the demo is asked to end in another way; so that the
/// folder and the service do not stay behind.
pub(super) fn interruptions() -> io::Result<Receiver<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let context = runtime.enter();
    let (mut interrupt, mut terminate, mut hangup) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    drop(context);
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                if sender.send(()).is_err() {
                    return;
                }
            }
        });
    })?;
    Ok(receiver)
}
