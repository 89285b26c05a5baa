//! The configuration of admission, and its adjustment to the system's limits.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::http::admission::{Bounds, Counts};
use crate::http::conn::overload::Overload;

/// Decides how many connections a server has, how many requests it handles at a time, and what
/// happens to the rest.
///
/// A request takes a slot when its head has arrived, and keeps it until its response is sent, a
/// streamed body included. At the limit of *threads*, the number of slots, further requests wait in
/// order, which costs no stack. At the limit of *accepted* requests, which includes the waiting
/// ones, the answer is 503 with `Retry-After`, as to a request that waits for too long; the
/// connection goes on. A connection that is idle, has sent a part of a head, or speaks another
/// protocol by now holds no slot.
///
/// At the limit of *connections*, an idle connection is closed for a new one: about the one that
/// has been idle for longest. If none is idle, the new one is answered with 503.
///
/// Behind a load balancer leave the accept limit out: an immediate 503 lets the balancer try
/// another server. Without a balancer set both limits: then a burst is served a little later.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use ethreads::http::{Server, Taskmaster};
///
/// // 2,000 requests are handled, 500 more wait for at most 3 s each.
/// let taskmaster = Taskmaster::with_limits(2000, 2500)?.queue_timeout(Duration::from_secs(3));
/// ethreads::run_main(move || {
///     let _server = Server::bind("127.0.0.1:0")?.taskmaster(taskmaster);
///     std::io::Result::Ok(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taskmaster {
    mode: Mode,
    /// `None` follows the limit of descriptors.
    max_connections: Option<usize>,
    pub(in crate::http) queue_timeout: Duration,
    retry_after: Duration,
    busy_message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    SingleThreaded,
    PerConnection(Bounds),
}

/// Descriptors that the default limit leaves to the rest of the process: standard streams, the
/// driver, log files, connections that linger, and those that handlers open themselves. At least
/// this number, and one of 64, but at most half of all descriptors.
const DESCRIPTOR_RESERVE: u64 = 128;

fn reserve(descriptors: u64) -> u64 {
    DESCRIPTOR_RESERVE
        .max(descriptors / 64)
        .min(descriptors / 2)
}

impl Taskmaster {
    /// 10,000: the number that the "C10k" page asks for. A request in its handler costs the stack
    /// pages that the handler touches.
    pub const MAX_THREADS: usize = 10_000;

    /// 25 % above [`MAX_THREADS`](Self::MAX_THREADS).
    pub const MAX_ACCEPT: usize = 12_500;

    /// 10 s: most clients that wait for longer have given up, and retry.
    pub const QUEUE_TIMEOUT: Duration = Duration::from_secs(10);

    /// 5 s: about the time in which a burst passes.
    pub const RETRY_AFTER: Duration = Duration::from_secs(5);

    /// Serves one connection after the other in the acceptor's own ethread. Each connection ends
    /// with its first response, as no other connection is served before. Connections that arrive
    /// meanwhile wait in the listener's queue.
    #[must_use]
    pub fn single_threaded() -> Self {
        Self::new(Mode::SingleThreaded)
    }

    /// Serves each connection in an ethread of its own. Handles up to
    /// [`MAX_THREADS`](Self::MAX_THREADS) requests at a time, and lets requests wait up to
    /// [`MAX_ACCEPT`](Self::MAX_ACCEPT) in total. This is the default.
    #[must_use]
    pub fn per_connection() -> Self {
        Self::new(Mode::PerConnection(Bounds {
            max_threads: Some(Self::MAX_THREADS),
            max_accept: Some(Self::MAX_ACCEPT),
        }))
    }

    /// As [`per_connection`](Self::per_connection), with other limits of requests; `None` is no
    /// limit. Without a limit of accepted requests no request waits: beyond the limit of threads
    /// all are refused.
    ///
    /// # Errors
    ///
    /// If a limit of accepted requests is given without a limit of threads, or is not above it; if
    /// the limit of threads is zero.
    pub fn with_limits(
        max_threads: impl Into<Option<usize>>,
        max_accept: impl Into<Option<usize>>,
    ) -> Result<Self, TaskmasterError> {
        let bounds = Bounds {
            max_threads: max_threads.into(),
            max_accept: max_accept.into(),
        };
        if bounds.are_valid() {
            Ok(Self::new(Mode::PerConnection(bounds)))
        } else {
            Err(TaskmasterError { bounds })
        }
    }

    /// Sets how many connections may be open, idle ones included. By default these are as many as
    /// the process may have descriptors (`RLIMIT_NOFILE`), without a reserve of at least 128 for
    /// everything else; a server on several shards divides that number among them if its
    /// [limits are per shard](crate::http::ShardedServer::limits_per_shard).
    ///
    /// # Panics
    ///
    /// If `most` is zero: no connection would ever be served.
    #[must_use]
    #[track_caller]
    pub fn max_connections(mut self, most: usize) -> Self {
        assert!(most > 0, "a limit of 0 connections serves none");
        self.max_connections = Some(most);
        self
    }

    /// Sets how long a request may wait for its turn before it is answered with 503. The default is
    /// [`QUEUE_TIMEOUT`](Self::QUEUE_TIMEOUT).
    #[must_use]
    pub fn queue_timeout(mut self, timeout: Duration) -> Self {
        self.queue_timeout = timeout;
        self
    }

    /// Sets the `Retry-After` of the 503, in whole seconds. The default is
    /// [`RETRY_AFTER`](Self::RETRY_AFTER).
    #[must_use]
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.retry_after = pause;
        self
    }

    /// Sets the text of the 503. The default is `Service Unavailable`.
    #[must_use]
    pub fn busy_message(mut self, text: impl Into<String>) -> Self {
        self.busy_message = text.into();
        self
    }

    fn new(mode: Mode) -> Self {
        Self {
            mode,
            max_connections: None,
            queue_timeout: Self::QUEUE_TIMEOUT,
            retry_after: Self::RETRY_AFTER,
            busy_message: "Service Unavailable\n".to_owned(),
        }
    }

    pub(in crate::http) fn overload(&self) -> Overload {
        Overload::new(self.retry_after, &self.busy_message)
    }

    pub(in crate::http) fn is_single_threaded(&self) -> bool {
        self.mode == Mode::SingleThreaded
    }

    /// The limits of requests.
    pub(in crate::http) fn bounds(&self) -> Bounds {
        match self.mode {
            // The acceptor is the limit.
            Mode::SingleThreaded => Bounds::default(),
            Mode::PerConnection(bounds) => bounds,
        }
    }

    /// How many connections may be open in a process that may have `descriptors` descriptors;
    /// `None` is no limit.
    pub(in crate::http) fn most_connections(&self, descriptors: Option<u64>) -> usize {
        let room = descriptors.map_or(usize::MAX, |limit| {
            usize::try_from(limit - reserve(limit)).unwrap_or(usize::MAX)
        });
        if let Some(most) = self.max_connections.filter(|most| *most > room) {
            log::warn!(
                "the taskmaster allows {most} connections, but the process may have {} descriptors \
                 only: raise RLIMIT_NOFILE (ulimit -n)",
                descriptors.unwrap_or_default()
            );
        }
        match self.mode {
            Mode::SingleThreaded => usize::MAX,
            Mode::PerConnection(_) => self.max_connections.unwrap_or(room).max(1),
        }
    }

    /// How many connections may linger at a time, besides those that are open: half of the
    /// descriptors that are left.
    pub(in crate::http) fn most_lingering(&self, descriptors: Option<u64>) -> usize {
        let left = match self.mode {
            // In this mode the process keeps its descriptor limit, which is not known here.
            Mode::SingleThreaded => DESCRIPTOR_RESERVE,
            Mode::PerConnection(_) => descriptors.map_or(u64::MAX, |limit| {
                let most = self.max_connections.map_or(u64::MAX, |most| most as u64);
                limit - most.min(limit - reserve(limit))
            }),
        };
        usize::try_from(left / 2).unwrap_or(usize::MAX)
    }
}

impl Default for Taskmaster {
    fn default() -> Self {
        Self::per_connection()
    }
}

/// The limits given to [`Taskmaster::with_limits`] contradict each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskmasterError {
    bounds: Bounds,
}

impl fmt::Display for TaskmasterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.bounds.max_threads, self.bounds.max_accept) {
            (Some(0), _) => f.write_str("a limit of 0 threads handles no request"),
            (Some(threads), Some(accept)) => write!(
                f,
                "the accept limit {accept} is not above the thread limit {threads}, so no request \
                 could wait"
            ),
            (_, Some(accept)) => write!(f, "the accept limit {accept} needs a thread limit"),
            (_, None) => f.write_str("the limits contradict each other"),
        }
    }
}

impl std::error::Error for TaskmasterError {}

/// How many connections a server has. Read by [`Server::counts`](crate::http::Server::counts) and
/// [`ServerHandle::counts`](crate::http::ServerHandle::counts).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerCounts {
    /// Connections that are open and being served, idle ones included.
    pub serving: usize,
    /// Requests that hold a slot: from their complete head until their response is sent.
    pub handling: usize,
    /// Requests that wait for a slot.
    pub queued: usize,
    /// Connections that were sent their last answer, or a 503, and wait for the peer to close its
    /// side: see [`Timeouts::linger`](crate::http::Timeouts::linger). Not included in `serving`.
    pub lingering: usize,
    /// Connections that have been served or are being served, since the server began.
    pub served: u64,
    /// Connections and requests that were answered with 503 by the [`Taskmaster`], since the server
    /// began.
    pub refused: u64,
    /// Requests that a handler was called for, since the server began.
    pub requests: u64,
    /// Connections that ended by an error, since the server began: see
    /// [`Server::on_refusal`](crate::http::Server::on_refusal). Requests that were refused are
    /// none.
    pub broken_off: u64,
}

impl ServerCounts {
    /// Reads the counts of one shard.
    pub(in crate::http) fn of(counts: &Counts) -> Self {
        let mut read = Self::default();
        read.add(counts);
        read
    }

    /// Adds the counts of one shard.
    pub(in crate::http) fn add(&mut self, counts: &Counts) {
        self.serving += counts.serving.load(Ordering::Relaxed);
        self.handling += counts.handling();
        self.queued += counts.queued.load(Ordering::Relaxed);
        self.lingering += counts.lingering.load(Ordering::Relaxed);
        self.served += counts.served.load(Ordering::Relaxed);
        self.refused += counts.refused.load(Ordering::Relaxed);
        self.requests += counts.requests.get();
        self.broken_off += counts.broken_off.get();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradicting_limits_are_an_error() {
        let check = |threads: Option<usize>, accept: Option<usize>, text: &str| {
            let error = Taskmaster::with_limits(threads, accept).unwrap_err();
            assert_eq!(error.to_string(), text);
        };
        check(None, Some(20), "the accept limit 20 needs a thread limit");
        check(Some(0), None, "a limit of 0 threads handles no request");
        check(
            Some(20),
            Some(20),
            "the accept limit 20 is not above the thread limit 20, so no request could wait",
        );
        assert!(Taskmaster::with_limits(None, None).is_ok());
        assert!(Taskmaster::with_limits(20, None).is_ok());
        assert!(Taskmaster::with_limits(20, 21).is_ok());
    }

    #[test]
    fn the_default_limit_of_connections_follows_the_descriptors() {
        let check = |descriptors, connections, lingering| {
            let taskmaster = Taskmaster::default();
            let most = taskmaster.most_connections(descriptors);
            assert_eq!(most, connections, "{descriptors:?}");
            let most = taskmaster.most_lingering(descriptors);
            assert_eq!(most, lingering, "{descriptors:?}");
        };
        check(None, usize::MAX, usize::MAX / 2);
        check(Some(1 << 20), (1 << 20) - (1 << 14), 1 << 13);
        check(Some(20_000), 19_688, 156);
        check(Some(1024), 896, 64);
        check(Some(256), 128, 64);
        check(Some(64), 32, 16);
        check(Some(3), 2, 0);
        check(Some(0), 1, 0);
    }

    #[test]
    fn half_of_what_the_limit_leaves_may_linger() {
        let check = |taskmaster: Taskmaster, descriptors, lingering| {
            let most = taskmaster.most_lingering(descriptors);
            assert_eq!(most, lingering, "{descriptors:?}");
        };
        let limited = Taskmaster::default().max_connections(100);
        check(limited.clone(), Some(256), 78);
        check(limited, Some(64), 16);
        check(Taskmaster::single_threaded(), None, 64);
    }

    #[test]
    fn given_limits_are_taken_as_they_are() {
        let limited = Taskmaster::with_limits(2000, 2500)
            .unwrap()
            .max_connections(7);
        assert_eq!(limited.bounds().max_threads, Some(2000));
        assert_eq!(limited.bounds().max_accept, Some(2500));
        assert_eq!(limited.most_connections(Some(100)), 7);
        let unlimited = Taskmaster::with_limits(None, None).unwrap();
        assert_eq!(unlimited.bounds(), Bounds::default());
        assert_eq!(Taskmaster::single_threaded().bounds(), Bounds::default());
    }
}
