//! Why a run did not end as it should.
#![forbid(unsafe_code)]

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};

use super::base::panic::message;
use super::scheduler::deadlock::{Deadlock, StuckReport};

/// Why a run did not end as it should.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// Every ethread is parked, and nothing can ever wake any of them.
    Deadlock(Deadlock),
    /// This many ethreads panicked without being joined; the run went on to its end. The log has
    /// the messages.
    Panicked(usize),
    /// The `Exit` of a [`run_until`](crate::bridge::run_until) was dropped, so nothing can end the
    /// run any more.
    Abandoned,
    /// The root of one of several [shards](super::Shards::run) panicked. Other calls raise the
    /// panic of their root again instead.
    RootPanicked(RootPanic),
    /// The driver failed, or the shard could not be made.
    Io(io::Error),
}

/// The panic of a shard's root. In [`RunError::RootPanicked`].
pub struct RootPanic {
    shard: Box<str>,
    /// The message of the payload, kept apart so that no lock is held while it is written.
    message: Box<str>,
    /// The mutex makes the error `Sync`, as errors are expected to be; nothing locks it.
    payload: Mutex<Box<dyn Any + Send>>,
}

impl RootPanic {
    /// The panic of the root of this OS thread's shard.
    pub(super) fn new(payload: Box<dyn Any + Send>) -> Self {
        Self {
            shard: std::thread::current().name().unwrap_or("unnamed").into(),
            message: message(&*payload).into(),
            payload: Mutex::new(payload),
        }
    }

    /// Returns the name of the shard's OS thread.
    #[must_use]
    pub fn shard(&self) -> &str {
        &self.shard
    }

    /// Returns the payload, as [`join`](crate::thread::JoinHandle::join) would.
    #[must_use]
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        self.payload
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for RootPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the root of {} panicked: {}", self.shard, self.message)
    }
}

impl fmt::Debug for RootPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootPanic({:?})", self.to_string())
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadlock(deadlock) => deadlock.fmt(f),
            Self::Panicked(1) => f.write_str("an ethread panicked and was not joined"),
            Self::Panicked(n) => write!(f, "{n} ethreads panicked and were not joined"),
            Self::Abandoned => f.write_str("the `Exit` of `run_until` was dropped"),
            Self::RootPanicked(panic) => panic.fmt(f),
            Self::Io(error) => write!(f, "the scheduler failed: {error}"),
        }
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Deadlock(_) | Self::Panicked(_) | Self::Abandoned | Self::RootPanicked(_) => None,
            Self::Io(error) => Some(error),
        }
    }
}

impl From<io::Error> for RunError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<StuckReport> for RunError {
    fn from(stuck: StuckReport) -> Self {
        match stuck {
            StuckReport::Deadlock(deadlock) => Self::Deadlock(deadlock),
            StuckReport::Io(error) => Self::Io(error),
        }
    }
}
