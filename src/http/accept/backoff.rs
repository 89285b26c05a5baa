//! Transient failures to accept connections: how they are logged and survived.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::io;
use std::time::Duration;

use super::listener::{AcceptError, Listener, classify};
use crate::thread;
use crate::time::Instant;

/// How long an acceptor pauses when it cannot even refuse.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// The shortest time between two log lines about the same kind of failure.
const LOG_PERIOD: Duration = Duration::from_secs(5);

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

/// Limits one kind of log line to one per [`LOG_PERIOD`].
#[derive(Debug, Default)]
pub(in crate::http) struct LogPeriod {
    told: Cell<Option<Instant>>,
    times: Cell<u64>,
}

impl LogPeriod {
    /// Counts the calls. Calls `line` with the count since the last line, if that was at least
    /// [`LOG_PERIOD`] ago.
    pub(in crate::http) fn tell(&self, line: impl FnOnce(u64)) {
        self.times.set(self.times.get() + 1);
        let now = Instant::now();
        let is_due = self
            .told
            .get()
            .is_none_or(|at| now.duration_since(at) >= LOG_PERIOD);
        if is_due {
            self.told.set(Some(now));
            line(self.times.take());
        }
    }
}
