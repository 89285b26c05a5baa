//! What is told of the end of a server.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::time::Duration;

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
