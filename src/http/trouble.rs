//! What keeps connections from being accepted, and may pass: how it is told and survived.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::io;
use std::time::Duration;

use super::listener::{AcceptError, Listener, classify};
use crate::thread;
use crate::time::Instant;

/// How long an acceptor pauses when it cannot even refuse.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// How often the log tells of one kind of trouble.
const LOG_PERIOD: Duration = Duration::from_secs(5);

/// There is a lack of descriptors or memory, now and then.
#[derive(Debug, Default)]
pub(super) struct Exhaustion(LogPeriod);

impl Exhaustion {
    /// A connection was answered with 503 on the reserve.
    pub(super) fn refused(&self, error: &io::Error) {
        self.0.tell(|times| {
            log::error!(
                "cannot accept connections, which are answered with 503 ({times} since it was said \
                 last): {error}; raise RLIMIT_NOFILE (ulimit -n)"
            );
        });
    }

    /// Goes on after an error of accept(2), unless it is the listener's.
    pub(super) fn survive(&self, listener: &Listener, error: io::Error) -> io::Result<()> {
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

/// Keeps one kind of line to one a period.
#[derive(Debug, Default)]
pub(super) struct LogPeriod {
    told: Cell<Option<Instant>>,
    times: Cell<u64>,
}

impl LogPeriod {
    /// Counts, and calls `line` with the number since it was called last, if that is long ago.
    pub(super) fn tell(&self, line: impl FnOnce(u64)) {
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
