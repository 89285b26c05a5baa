//! OS threads for calls that block: the crate `blocking`, whose pool starts with the first call.
//!
//! How many jobs run at a time is up to this module, which counts them: a job that comes when
//! there are enough of them waits here, and the OS thread of the next one that ends takes it.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::current;
use super::parcel::{Missed, Parcel};
use super::park::Unwinding;
use super::scheduler::Scheduler;
use super::task::without_unwinding;
use super::wait::{Reason, WaitKind};

/// As many as the crate has threads for, unless its `BLOCKING_MAX_THREADS` says otherwise.
const LIMIT: usize = 500;

type Job = Box<dyn FnOnce() + Send>;

static JOBS: Mutex<Jobs> = Mutex::new(Jobs {
    waiting: VecDeque::new(),
    stats: BlockingStats {
        running: 0,
        waiting: 0,
        most: 0,
        ended: 0,
        limit: LIMIT,
    },
});

struct Jobs {
    waiting: VecDeque<Job>,
    /// But for `waiting`, which is the length of the other.
    stats: BlockingStats,
}

/// Numbers of the pool of OS threads that [`blocking`](crate::bridge::blocking) and other calls
/// that block run on; it is one for the whole process. Given by
/// [`blocking_stats`](crate::bridge::blocking_stats).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockingStats {
    /// Jobs that run, or have been given to the pool just now.
    pub running: usize,
    /// Jobs that wait for others to end, as there may be no more at a time.
    pub waiting: usize,
    /// The most that ran at a time.
    pub most: usize,
    /// Jobs that have ended, since the beginning of the process.
    pub ended: u64,
    /// How many may run at a time.
    pub limit: usize,
}

fn jobs() -> MutexGuard<'static, Jobs> {
    // No code of a user's runs under it.
    JOBS.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn stats() -> BlockingStats {
    let jobs = jobs();
    BlockingStats {
        waiting: jobs.waiting.len(),
        ..jobs.stats
    }
}

pub(crate) fn set_limit(limit: usize) {
    let mut jobs = jobs();
    jobs.stats.limit = limit;
    // Those who wait may be let in by a higher one.
    let now: Vec<_> = std::iter::from_fn(|| jobs.next()).collect();
    drop(jobs);
    now.into_iter().for_each(start);
}

impl Jobs {
    /// The job that is to be run now, if one waits and there may be one more.
    fn next(&mut self) -> Option<Job> {
        if self.stats.running >= self.stats.limit {
            return None;
        }
        let job = self.waiting.pop_front()?;
        self.stats.running += 1;
        self.stats.most = self.stats.most.max(self.stats.running);
        Some(job)
    }
}

fn submit(job: Job) {
    let mut jobs = jobs();
    // Behind those who wait, if anybody does.
    jobs.waiting.push_back(job);
    if let Some(job) = jobs.next() {
        drop(jobs);
        start(job);
    }
}

fn start(job: Job) {
    blocking::unblock(move || {
        let mut next = Some(job);
        while let Some(job) = next {
            // A value that nobody waits for is dropped in it.
            without_unwinding(job);
            let mut jobs = jobs();
            jobs.stats.running -= 1;
            next = jobs.next();
        }
    })
    .detach();
}

/// Runs `f` on the pool and parks until it has ended; a panic of `f` is the `Err`.
///
/// Outside a shard, and in an ethread that unwinds, `f` runs right here.
pub(crate) fn run<T, F>(f: F, location: &'static Location<'static>) -> thread::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    match offload(f, location, |scheduler| -> Infallible {
        scheduler.raise_elapsed()
    }) {
        Ok(result) => result,
        Err(never) => match never {},
    }
}

/// As [`run`], for a call that fails with `TimedOut` once a scope's deadline has passed.
pub(crate) fn run_io<T, F>(
    f: F,
    location: &'static Location<'static>,
) -> io::Result<thread::Result<T>>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    offload(f, location, Scheduler::elapsed_error)
}

fn offload<T, F, E>(
    f: F,
    location: &'static Location<'static>,
    elapsed: impl FnOnce(&Scheduler) -> E,
) -> Result<thread::Result<T>, E>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    current::with(|scheduler| {
        let Some(scheduler) = scheduler else {
            return Ok(call(f));
        };
        // What nobody is to wait for is not begun: no file is removed after a deadline.
        if scheduler.can_leave() {
            scheduler.raise_if_cancelled();
            if scheduler.has_elapsed() {
                return Err(elapsed(scheduler));
            }
        }
        let reason = Reason {
            kind: WaitKind::Blocking,
            detail: 0,
            location,
        };
        let wait = match scheduler.begin_wait(reason) {
            Ok(wait) => wait,
            Err(Unwinding) => return Ok(call(f)),
        };
        let parcel = Arc::new(Parcel::new());
        // Before it begins: however fast it is, the others have their turn.
        let entered = parcel.enter(scheduler, &wait);
        debug_assert!(entered.is_none(), "nobody has brought it yet");
        let theirs = parcel.clone();
        submit(Box::new(move || {
            let value = call(f);
            // Before anybody goes on who has waited for it.
            jobs().stats.ended += 1;
            // Nobody says that it will not be asked for: if that is so, it is dropped with this.
            let _ = theirs.put(value);
        }));
        match parcel.park(scheduler, wait) {
            Ok(result) => Ok(result),
            Err(Missed::Elapsed) => Err(elapsed(scheduler)),
            Err(Missed::Abandoned | Missed::Unwinding) => {
                unreachable!("the job always ends, and the wait has begun")
            }
        }
    })
}

fn call<T>(f: impl FnOnce() -> T) -> thread::Result<T> {
    panic::catch_unwind(AssertUnwindSafe(f))
}
