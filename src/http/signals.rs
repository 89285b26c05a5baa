//! Ends a server by SIGINT and SIGTERM.
//!
//! The first signal drains the server, the second one ends the process: in the signal's handler, so
//! that it works even if the shard is stuck. When no server watches any more, the signals do what
//! they did before.
#![forbid(unsafe_code)]

use std::io::{self, Read};
use std::time::Duration;

use super::handle::ServerHandle;
use crate::io::PipeReader;
use crate::runtime::driver::ops;
use crate::runtime::driver::signal::TerminationSignals;
use crate::thread::{self, JoinHandle};

/// Watches for the signals that end a server, until it is dropped.
pub(super) struct Signals {
    watch: Option<TerminationSignals>,
    /// `None` once it is waited for.
    drainer: Option<JoinHandle<()>>,
}

impl Signals {
    /// Drains `server` within `grace` at the first signal.
    pub(super) fn drain(server: ServerHandle, grace: Duration) -> io::Result<Self> {
        // Non-blocking at both ends: a signal's handler must not wait.
        let (receiver, sender) = ops::pipe()?;
        let mut receiver = PipeReader::from(receiver);
        let watch = TerminationSignals::install(sender)?;
        // A daemon: a signal may come, but waiting for one keeps no shard alive.
        let drainer = thread::Builder::new()
            .name("http-signals")
            .daemon(true)
            .spawn(move || match receiver.read(&mut [0]) {
                // Nobody watches any more.
                Ok(0) => {}
                Ok(_) => {
                    log::info!(
                        "a signal: draining for at most {grace:?}; a second one ends the process"
                    );
                    server.drain(grace);
                }
                Err(error) => log::error!("signals are not seen any more: {error}"),
            })?;
        Ok(Self {
            watch: Some(watch),
            drainer: Some(drainer),
        })
    }

    /// Ends it, suspending the caller until nothing of it is left on the shard.
    pub(super) fn end(mut self) {
        self.watch.take();
        if let Some(drainer) = self.drainer.take() {
            drainer.cancel();
            // It has ended, or was cancelled: either is its end.
            let _ = drainer.join();
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        if let Some(drainer) = &self.drainer {
            drainer.cancel();
        }
    }
}
