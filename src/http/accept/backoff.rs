//! Transient failures to accept connections: how they are logged and survived.
#![forbid(unsafe_code)]

use std::io;
use std::time::Duration;

use super::listener::{AcceptError, Listener, classify};
use crate::http::conn::log_period::LogPeriod;
use crate::thread;

/// How long an acceptor pauses when it cannot even refuse.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Handles a temporary lack of descriptors or memory.
#[derive(Debug, Default)]
pub(in crate::http) struct Exhaustion(LogPeriod);

impl Exhaustion {
    /// Logs that a connection was answered with 503 on the reserve descriptor.
    pub(in crate::http) fn refused(&self, error: &io::Error) {
        self.0.tell(|times| {
            log::error!(
                "refused {times} connections with 503: {error}; raise RLIMIT_NOFILE (ulimit -n)"
            );
        });
    }

    /// Recovers from an error of accept(2); returns the error if it is the listener's.
    pub(in crate::http) fn survive(&self, listener: &Listener, error: io::Error) -> io::Result<()> {
        match classify(&error) {
            AcceptError::Connection => log::debug!("a connection was gone: {error}"),
            AcceptError::Exhausted => {
                self.0.tell(|_| {
                    log::error!(
                        "cannot accept connections, which wait meanwhile: {error}; raise \
                         RLIMIT_NOFILE (ulimit -n)"
                    );
                });
                thread::sleep(EXHAUSTED_PAUSE);
                listener.take_reserve();
            }
            AcceptError::Listener => return Err(error),
        }
        Ok(())
    }
}
