//! The configuration of admission, and its adjustment to the system's limits.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::http::admission::{Bounds, Counts};

/// Decides which connections a server takes on, how many at a time, and what happens to the rest.
///
/// A connection counts from its admission to its close, idle or not. At the limit of *threads*
/// further connections wait, which costs a descriptor each and no stack. At the limit of *accepted*
/// connections, which includes the waiting ones, the answer is 503 with `Retry-After`. A connection
/// that waits for too long gets the same answer.
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
/// // 2,000 connections are served, 500 more wait for at most 3 s each.
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
    pub(in crate::http) queue_timeout: Duration,
    pub(in crate::http) retry_after: Duration,
    pub(in crate::http) busy_message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    SingleThreaded,
    /// The default limits, or lower ones where the system allows fewer descriptors.
    PerConnection,
    Limited(Bounds),
}

/// Descriptors that the default limits leave to the rest of the process: standard streams, the
/// driver, log files, connections that handlers open themselves. At most half of all descriptors.
const DESCRIPTOR_RESERVE: u64 = 128;

impl Taskmaster {
    /// 10,000: the number that the "C10k" page asks for. An idle connection costs a few kilobytes;
    /// a connection in its handler costs the stack pages that the handler touches.
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

    /// Serves each connection in an ethread of its own, up to [`MAX_THREADS`](Self::MAX_THREADS) of
    /// them, and lets connections wait up to [`MAX_ACCEPT`](Self::MAX_ACCEPT) in total. The limits
    /// are lower where the process may not have that many descriptors. This is the default.
    #[must_use]
    pub fn per_connection() -> Self {
        Self::new(Mode::PerConnection)
    }

    /// As [`per_connection`](Self::per_connection), with other limits; `None` is no limit. Without
    /// a limit of accepted connections no connection waits: beyond the limit of threads all are
    /// refused.
    ///
    /// # Errors
    ///
    /// If a limit of accepted connections is given without a limit of threads, or is not above it;
    /// if the limit of threads is zero.
    pub fn with_limits(
        max_threads: impl Into<Option<usize>>,
        max_accept: impl Into<Option<usize>>,
    ) -> Result<Self, TaskmasterError> {
        let bounds = Bounds {
            max_threads: max_threads.into(),
            max_accept: max_accept.into(),
        };
        if bounds.are_valid() {
            Ok(Self::new(Mode::Limited(bounds)))
        } else {
            Err(TaskmasterError { bounds })
        }
    }

    /// Sets how long a connection may wait for its turn before it is answered with 503. The
    /// default is [`QUEUE_TIMEOUT`](Self::QUEUE_TIMEOUT).
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
            queue_timeout: Self::QUEUE_TIMEOUT,
            retry_after: Self::RETRY_AFTER,
            busy_message: "Service Unavailable\n".to_owned(),
        }
    }

    pub(in crate::http) fn is_single_threaded(&self) -> bool {
        self.mode == Mode::SingleThreaded
    }

    /// How many connections may linger at a time, besides those that `bounds` let in: half of the
    /// descriptors that are left.
    pub(in crate::http) fn most_lingering(
        &self,
        descriptors: Option<u64>,
        bounds: Bounds,
    ) -> usize {
        let taken = bounds.max_accept.or(bounds.max_threads).unwrap_or(0);
        let left = match self.mode {
            // In this mode the process keeps its descriptor limit, which is not known here.
            Mode::SingleThreaded => DESCRIPTOR_RESERVE,
            _ => descriptors.map_or(u64::MAX, |limit| limit.saturating_sub(taken as u64)),
        };
        usize::try_from(left / 2).unwrap_or(usize::MAX)
    }

    /// The limits of a process that may have `descriptors` descriptors; `None` is no limit.
    pub(in crate::http) fn bounds(&self, descriptors: Option<u64>) -> Bounds {
        let room = descriptors.map_or(usize::MAX, |limit| {
            let room = limit - DESCRIPTOR_RESERVE.min(limit / 2);
            usize::try_from(room).unwrap_or(usize::MAX)
        });
        match self.mode {
            // The acceptor is the limit.
            Mode::SingleThreaded => Bounds::default(),
            Mode::PerConnection => {
                // At least two, so that there is a queue, however few descriptors the system gives.
                let max_accept = Self::MAX_ACCEPT.min(room).max(2);
                Bounds {
                    max_threads: Some(max_accept / 5 * 4 + max_accept % 5 * 4 / 5),
                    max_accept: Some(max_accept),
                }
            }
            Mode::Limited(bounds) => {
                let most = bounds.max_accept.or(bounds.max_threads);
                if let Some(most) = most.filter(|most| *most > room) {
                    log::warn!(
                        "the taskmaster takes on {most} connections, but the process may have \
                         {} descriptors only: raise RLIMIT_NOFILE (ulimit -n)",
                        descriptors.unwrap_or_default()
                    );
                }
                bounds
            }
        }
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
            (Some(0), _) => f.write_str("a limit of 0 threads serves no connection"),
            (Some(threads), Some(accept)) => write!(
                f,
                "the accept limit {accept} is not above the thread limit {threads}, so no \
                 connection could wait"
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
    /// Connections that wait for their turn.
    pub queued: usize,
    /// Connections that were sent their last answer, or a 503, and wait for the peer to close its
    /// side: see [`Timeouts::linger`](crate::http::Timeouts::linger). Not included in `serving`.
    pub lingering: usize,
    /// Connections that have been served or are being served, since the server began.
    pub served: u64,
    /// Connections that were answered with 503 instead of being served, since the server began.
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
        check(Some(0), None, "a limit of 0 threads serves no connection");
        check(
            Some(20),
            Some(20),
            "the accept limit 20 is not above the thread limit 20, so no connection could wait",
        );
        assert!(Taskmaster::with_limits(None, None).is_ok());
        assert!(Taskmaster::with_limits(20, None).is_ok());
        assert!(Taskmaster::with_limits(20, 21).is_ok());
    }

    #[test]
    fn default_limits_fit_into_the_descriptors() {
        let check = |descriptors, threads, accept| {
            let bounds = Taskmaster::default().bounds(descriptors);
            assert!(bounds.are_valid());
            assert_eq!(
                (bounds.max_threads, bounds.max_accept),
                (Some(threads), Some(accept)),
                "{descriptors:?}"
            );
        };
        check(None, 10_000, 12_500);
        check(Some(1 << 30), 10_000, 12_500);
        check(Some(12_628), 10_000, 12_500);
        check(Some(1024), 716, 896);
        check(Some(256), 102, 128);
        check(Some(64), 25, 32);
        check(Some(12), 4, 6);
        check(Some(3), 1, 2);
        check(Some(0), 1, 2);
    }

    #[test]
    fn half_of_what_the_limits_leave_may_linger() {
        let check = |taskmaster: Taskmaster, descriptors, lingering| {
            let bounds = taskmaster.bounds(descriptors);
            let most = taskmaster.most_lingering(descriptors, bounds);
            assert_eq!(most, lingering, "{descriptors:?}");
        };
        check(Taskmaster::default(), None, usize::MAX / 2);
        check(Taskmaster::default(), Some(20_000), 3750);
        check(Taskmaster::default(), Some(1024), 64);
        check(Taskmaster::default(), Some(64), 16);
        check(Taskmaster::default(), Some(0), 0);
        let limited = Taskmaster::with_limits(100, None).unwrap();
        check(limited.clone(), Some(256), 78);
        check(limited, Some(64), 0);
        check(Taskmaster::single_threaded(), None, 64);
    }

    #[test]
    fn given_limits_are_taken_as_they_are() {
        let bounds = |taskmaster: &Taskmaster| taskmaster.bounds(Some(100));
        let limited = Taskmaster::with_limits(2000, 2500).unwrap();
        assert_eq!(bounds(&limited).max_threads, Some(2000));
        assert_eq!(bounds(&limited).max_accept, Some(2500));
        let unlimited = Taskmaster::with_limits(None, None).unwrap();
        assert_eq!(bounds(&unlimited), Bounds::default());
        assert_eq!(bounds(&Taskmaster::single_threaded()), Bounds::default());
    }
}
