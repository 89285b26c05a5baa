//! Several schedulers, one per OS thread. Only `Send` values cross between them.
#![forbid(unsafe_code)]

use std::any::Any;
use std::io;
use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::Arc;
use std::thread;

use super::base::panic::without_unwinding;
use super::run::run_new;
use super::run_error::{RootPanic, RunError};
use super::scheduler::current;
use super::scheduler::event_loop::Scheduler;
use super::scheduler::settings::Settings;
use super::shard_group::{ShardGroup, start};
use super::shard_thread::{ShardThread, ShardThreads};

/// A number of OS threads to start, each with a scheduler of its own. Made by
/// [`Builder::shards`](super::Builder::shards).
#[derive(Clone, Debug)]
#[must_use = "shards do nothing before `run` or `start`"]
pub struct Shards {
    settings: Settings,
    threads: ShardThreads,
}

impl Shards {
    /// `count` shards; zero means one for each CPU that the process may use.
    pub(super) fn new(settings: Settings, count: usize) -> Self {
        let threads = ShardThreads {
            count: match count {
                0 => thread::available_parallelism().map_or(1, usize::from),
                count => count,
            },
            name: "shard".into(),
            pinned: false,
        };
        Self { settings, threads }
    }

    /// Sets the name of the OS threads, to which the shard's number is appended; the default is
    /// `shard`. Logs and debuggers show the name, Linux its first 15 bytes.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.threads.name = name.into().into();
        self
    }

    /// Sets whether each OS thread stays on one CPU; the default is false. The CPUs that the
    /// process may use (sched_getaffinity(2)) are assigned in their order, and again from the first
    /// if there are more OS threads than CPUs.
    ///
    /// Pinning pays if nothing else needs these CPUs: the content of a CPU's cache stays useful,
    /// but a shard cannot move to another CPU. Linux only; elsewhere no shard can be started with
    /// it.
    pub fn pin(mut self, pin: bool) -> Self {
        self.threads.pinned = pin;
        self
    }

    /// Returns how many shards there will be.
    #[must_use]
    pub fn count(&self) -> usize {
        self.threads.count
    }

    /// Starts the OS threads, runs `f` as the root ethread of each with the shard's number, from 0
    /// on, and blocks the calling OS thread until all have ended. The results are in the order of
    /// the numbers.
    ///
    /// An ethread never leaves its shard; values that cross shards are `Send`. For shards to which
    /// work is sent, see [`start`](Self::start).
    ///
    /// # Errors
    ///
    /// Each shard has its own result, with the errors of [`Builder::run`](super::Builder::run).
    /// [`RunError::RootPanicked`] if the shard's root panicked; the panic is also logged at once,
    /// as the other shards go on. [`RunError::Io`] of kind `QuotaExceeded`, with a text that names
    /// the limit, if the shard's OS thread cannot be started.
    ///
    /// # Panics
    ///
    /// If called inside an ethread, whose shard would be blocked: use [`start`](Self::start), and
    /// join what is spawned there.
    ///
    /// # Examples
    ///
    /// ```
    /// let squares = ethreads::Runtime::builder().shards(3).run(|shard| shard * shard);
    /// let squares: Result<Vec<_>, _> = squares.into_iter().collect();
    /// assert_eq!(squares?, [0, 1, 4]);
    /// # Ok::<(), ethreads::RunError>(())
    /// ```
    #[track_caller]
    pub fn run<F, T>(self, f: F) -> Vec<Result<T, RunError>>
    where
        F: Fn(usize) -> T + Send + Sync + 'static,
        T: Send + 'static,
    {
        assert!(
            !current::with(|scheduler| scheduler.is_some_and(Scheduler::in_ethread)),
            "`Shards::run` was called inside an ethread, which it would block with its whole \
             shard; use `Shards::start`, and join what you spawn there"
        );
        let location = Location::caller();
        let f = Arc::new(f);
        let threads: Vec<_> = (0..self.count())
            .map(|shard| {
                let f = f.clone();
                let settings = self.settings.clone();
                self.threads.spawn(shard, move |pinned| {
                    pinned?;
                    let run = AssertUnwindSafe(|| run_new(settings, move || f(shard), location));
                    panic::catch_unwind(run).unwrap_or_else(|payload| Err(told(payload)))
                })
            })
            .collect();
        // All OS threads are joined before the first result is used, so none is left running.
        let ends: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.map(ShardThread::join))
            .collect();
        let ends = ends.into_iter();
        ends.map(|end| match end {
            Ok(Ok(result)) => result,
            Ok(Err(payload)) => Err(RunError::RootPanicked(RootPanic::new(payload))),
            Err(error) => Err(error.into()),
        })
        .collect()
    }

    /// Starts the OS threads. They serve what is sent to them until the group is shut down, even if
    /// they have nothing to do meanwhile.
    ///
    /// # Errors
    ///
    /// The error that keeps an OS thread from being started; the other OS threads are ended then.
    /// If the cause is a limit, the text names it: the limit of descriptors, or, with kind
    /// `QuotaExceeded`, of OS threads.
    ///
    /// # Examples
    ///
    /// Three sums, each on the shard that its key belongs to:
    ///
    /// ```
    /// use ethreads::Runtime;
    ///
    /// let shards = Runtime::builder().shards(2).name("sum").start()?;
    /// let sums = ["a", "b", "c"].map(|key| {
    ///     let bytes = key.as_bytes().to_vec();
    ///     shards.by_key(key).spawn(move || bytes.into_iter().map(u32::from).sum::<u32>())
    /// });
    /// let sums = sums.map(|sum| sum.map(|sum| sum.join().ok()).ok().flatten());
    /// assert_eq!(sums, [Some(97), Some(98), Some(99)]);
    /// assert!(shards.shutdown().is_clean());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn start(self) -> io::Result<ShardGroup> {
        start(&self.settings, &self.threads)
    }
}

/// Logs the panic of a root at once: the other shards go on, and the caller gets the results only
/// when all have ended.
fn told(payload: Box<dyn Any + Send>) -> RunError {
    let panic = RootPanic::new(payload);
    without_unwinding(|| log::error!("{panic}"));
    RunError::RootPanicked(panic)
}
