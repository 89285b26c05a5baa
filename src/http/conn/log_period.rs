//! Log lines that an overload would repeat endlessly.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::time::Duration;

use crate::time::Instant;

/// The shortest time between two log lines about the same kind of failure.
const LOG_PERIOD: Duration = Duration::from_secs(5);

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
