//! The report of a server's end.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::time::Duration;

/// How a drain went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Connections that ended in order, among those that were open when the drain began or were
    /// accepted meanwhile. A connection ends with its last answer, whether or not its peer has
    /// closed its side.
    pub ended: u64,
    /// Connections and requests that were answered with 503 since the drain began.
    pub refused: u64,
    /// Connections that were busy or queued at the deadline.
    pub cut: Vec<CutConnection>,
    /// From the beginning of the drain to its end.
    pub took: Duration,
}

impl DrainReport {
    /// Adds the report of another shard that drained at the same time.
    pub(in crate::http) fn add(&mut self, other: Self) {
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
    /// The name of the connection's ethread, or the name that it would have had.
    pub name: String,
    /// The peer, where it has an internet address.
    pub peer: Option<SocketAddr>,
    /// What the connection was doing.
    pub state: CutState,
}

/// What a connection was doing when it was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CutState {
    /// A request had begun and its answer was not complete.
    Serving,
    /// A request waited for its turn, and was answered with 503.
    Queued,
}
