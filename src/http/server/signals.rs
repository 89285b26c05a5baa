//! Ends a server on SIGINT and SIGTERM.
//!
//! The first signal drains the server. The second signal ends the process, from within the signal
//! handler, so that it works even if the shard is stuck. When no server watches any more, the
//! signals have their previous effect.
#![forbid(unsafe_code)]

use std::io::{self, Read};
use std::rc::Rc;
use std::time::Duration;

use super::handle::ServerHandle;
use crate::io::PipeReader;
use crate::runtime::driver::ops;
use crate::runtime::driver::signal::Watch;
use crate::thread::{self, CancelOnDrop};

/// Watches for the signals that end a server, until it is dropped.
pub(in crate::http) struct Signals {
    watch: Watch,
    /// Open for longer than the watch: a write into a pipe without a reader raises SIGPIPE.
    _receiver: Rc<PipeReader>,
    drainer: CancelOnDrop<()>,
}

impl Signals {
    /// Drains `server` within `grace` at the first signal.
    pub(in crate::http) fn drain(server: ServerHandle, grace: Duration) -> io::Result<Self> {
        // Non-blocking at both ends: a signal handler must not wait.
        let (receiver, sender) = ops::pipe()?;
        let receiver = Rc::new(PipeReader::from(receiver));
        let theirs = receiver.clone();
        let watch = Watch::for_termination(sender)?;
        // A daemon, so that waiting for a signal keeps no shard alive.
        let drainer = thread::Builder::new()
            .name("http-signals")
            .daemon(true)
            .spawn(move || match (&*theirs).read(&mut [0]) {
                // The watch has ended.
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
            watch,
            _receiver: receiver,
            drainer: drainer.cancel_on_drop(),
        })
    }

    /// Ends the watch, suspending the caller until nothing of it is left on the shard.
    pub(in crate::http) fn end(self) {
        drop(self.watch);
        let drainer = self.drainer.into_inner();
        drainer.cancel();
        // Whether the ethread returned or was cancelled, it has ended.
        let _ = drainer.join();
    }
}
