//! How a server ends in order, and what is told of it.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::acceptor::Acceptor;
use super::shared::Shared;
use crate::runtime::task::thread::Thread;
use crate::thread;
use crate::time::Instant;

/// How a drain went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Connections that came to their end, of those that were open or were accepted meanwhile. The
    /// end of a connection is that of its last answer, whether or not its peer has closed its side.
    pub ended: u64,
    /// Connections that were answered with 503 since the drain began.
    pub refused: u64,
    /// Those that the deadline has met in the middle of something.
    pub cut: Vec<CutConnection>,
    /// From the beginning of the drain to its end.
    pub took: Duration,
}

impl DrainReport {
    /// Adds how it went on another shard, at the same time.
    pub(super) fn add(&mut self, other: Self) {
        self.ended += other.ended;
        self.refused += other.refused;
        self.cut.extend(other.cut);
        self.took = self.took.max(other.took);
    }
}

/// A connection that was cut at the end of a drain.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CutConnection {
    /// The name of its ethread, or the one that it would have got.
    pub name: String,
    /// The peer, where it has an internet address.
    pub peer: Option<SocketAddr>,
    /// What it was doing.
    pub state: CutState,
}

/// What a connection was doing when it was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CutState {
    /// A request had begun and its answer was not over.
    Serving,
    /// It waited for its turn, and was answered with 503.
    Queued,
}

/// A drain that goes on.
pub(super) struct Drain<'a> {
    shared: &'a Shared,
    acceptor: &'a Acceptor,
    began: Instant,
    /// `None` never comes.
    deadline: Option<Instant>,
    /// When idle connections are closed.
    idle_end: Option<Instant>,
    /// Connections that were being served, and numbers since the server's beginning.
    serving: usize,
    served: u64,
    refused: u64,
}

impl<'a> Drain<'a> {
    /// Begins a drain; `watcher` is unparked when the last connection is gone.
    pub(super) fn begin(
        shared: &'a Shared,
        acceptor: &'a Acceptor,
        grace: Duration,
        watcher: &Thread,
    ) -> Self {
        let began = Instant::now();
        let counts = acceptor.counts();
        let drain = Self {
            shared,
            acceptor,
            began,
            deadline: began.checked_add(grace),
            idle_end: began.checked_add(shared.config.timeouts.in_flight),
            serving: counts.serving.load(Ordering::Relaxed),
            served: counts.served.load(Ordering::Relaxed),
            refused: counts.refused.load(Ordering::Relaxed),
        };
        shared.start_draining(watcher);
        acceptor.wake();
        drain
    }

    /// Waits until all is over, or the deadline; `acceptor_has_ended` says half of that.
    pub(super) fn wait(&mut self, acceptor_has_ended: impl Fn() -> bool) {
        while !acceptor_has_ended() || !self.shared.is_quiet() {
            let now = Instant::now();
            if self.idle_end.is_some_and(|end| end <= now) {
                self.idle_end = None;
                self.shared.close_idle();
            }
            if self.deadline.is_some_and(|deadline| deadline <= now) {
                return;
            }
            match [self.idle_end, self.deadline].into_iter().flatten().min() {
                Some(next) => thread::park_timeout(next.duration_since(now)),
                None => thread::park(),
            }
            self.acceptor.wake_for_queue();
        }
    }

    /// Refuses and lists those who are left. They are cut by the end of the server.
    pub(super) fn finish(self) -> DrainReport {
        let mut cut = self.shared.busy();
        let left = cut.len() as u64;
        cut.extend(self.acceptor.refuse_rest());
        if !cut.is_empty() {
            let names: Vec<_> = cut.iter().take(NAMED).map(|cut| &*cut.name).collect();
            log::warn!(
                "{} connections were cut at the end of the drain, among them {}",
                cut.len(),
                names.join(", ")
            );
        }
        let counts = self.acceptor.counts();
        let begun = counts.served.load(Ordering::Relaxed) - self.served;
        DrainReport {
            ended: (self.serving as u64 + begun).saturating_sub(left),
            refused: counts.refused.load(Ordering::Relaxed) - self.refused,
            cut,
            took: self.began.elapsed(),
        }
    }
}

/// Connections that the log names, at most.
const NAMED: usize = 5;
