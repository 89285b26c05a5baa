//! Orderly end of a server, and its report.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::http::accept::acceptor::Acceptor;
use crate::http::accept::taskmaster::ServerCounts;
use crate::http::conn::registry::ServerState;
use crate::http::conn::report::DrainReport;
use crate::runtime::task::thread::Thread;
use crate::thread;
use crate::time::Instant;

/// A drain in progress.
pub(in crate::http) struct Drain<'a> {
    state: &'a ServerState,
    acceptor: &'a Acceptor,
    began: Instant,
    /// End of the grace period; `None` if it never comes.
    deadline: Option<Instant>,
    /// When idle connections are closed; `None` if they have been, or if that never comes.
    idle_end: Option<Instant>,
    /// The counts at the beginning of the drain.
    before: ServerCounts,
}

impl<'a> Drain<'a> {
    /// Begins a drain; `watcher` is unparked when the last connection is gone.
    pub(in crate::http) fn begin(
        state: &'a ServerState,
        acceptor: &'a Acceptor,
        grace: Duration,
        watcher: &Thread,
    ) -> Self {
        let began = Instant::now();
        let drain = Self {
            state,
            acceptor,
            began,
            deadline: began.checked_add(grace),
            idle_end: began.checked_add(state.context.config.timeouts.in_flight),
            before: ServerCounts::of(&state.context.counts),
        };
        state.start_draining(watcher);
        acceptor.wake();
        drain
    }

    /// Waits until the acceptor has ended and no connection is left, or until the deadline.
    pub(in crate::http) fn wait(&mut self, acceptor_has_ended: impl Fn() -> bool) {
        while !acceptor_has_ended() || !self.state.is_quiet() {
            let now = Instant::now();
            if self.idle_end.is_some_and(|end| end <= now) {
                self.idle_end = None;
                self.state.close_idle();
            }
            if self.deadline.is_some_and(|deadline| deadline <= now) {
                return;
            }
            match [self.idle_end, self.deadline].into_iter().flatten().min() {
                Some(next) => thread::park_timeout(next.duration_since(now)),
                None => thread::park(),
            }
            self.state.admission.tend();
        }
    }

    /// Refuses the connections that are not accepted yet, and the requests that are queued. Lists
    /// these and the busy ones; the end of the server cuts their connections.
    pub(in crate::http) fn finish(self) -> DrainReport {
        let cut = self.state.busy();
        let left = cut.len() as u64;
        self.acceptor.refuse_rest();
        self.state.refuse_queued();
        if !cut.is_empty() {
            let names: Vec<_> = cut.iter().take(NAMED).map(|cut| &*cut.name).collect();
            log::warn!(
                "{} connections were cut at the end of the drain, among them {}",
                cut.len(),
                names.join(", ")
            );
        }
        let now = ServerCounts::of(&self.state.context.counts);
        let begun = now.served - self.before.served;
        DrainReport {
            ended: (self.before.serving as u64 + begun).saturating_sub(left),
            refused: now.refused - self.before.refused,
            cut,
            took: self.began.elapsed(),
        }
    }
}

/// How many of the cut connections the log names at most.
const NAMED: usize = 5;
