//! The protocol of a bounded pool of OS threads: one queue, and the threads that serve it.
//!
//! A job goes to the end of the queue. If a thread is idle, exactly one is woken for the job; else,
//! below the limit, a new thread is started; else the job waits until a thread has ended its job. A
//! thread that was woken or started counts as *coming* until it looks at the queue. It takes the
//! job that is first in the queue by then, so jobs begin in the order in which they came.
//!
//! No job is stranded. Under one lock, a thread looks at the queue and becomes idle, or stops being
//! idle and ends; under the same lock a submitter chooses between a wake and a start. If a start
//! fails, the jobs stay in the queue as long as any thread is left, because that thread looks at
//! the queue before it becomes idle. If no thread is left, all jobs are returned.
//!
//! Nothing is dropped, run or started under the lock.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::PoisonError;
use std::time::Duration;

use crate::runtime::base::primitives::{Mutex, MutexGuard, Thread, thread};

/// Numbers of the process-wide pool of OS threads that runs [`blocking`](crate::bridge::blocking)
/// and other calls that block. Returned by [`blocking_stats`](crate::bridge::blocking_stats).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockingStats {
    /// Jobs that run, or for which an OS thread was just woken or started.
    pub running: usize,
    /// Jobs that wait for running jobs to end: the limit is reached, or no more OS threads can be
    /// started.
    pub waiting: usize,
    /// The highest number of jobs that ran at a time.
    pub most: usize,
    /// Jobs that have ended since the start of the process.
    pub ended: u64,
    /// The maximum number of jobs that may run at a time.
    pub limit: usize,
}

pub(super) struct Threads<J> {
    state: Mutex<PoolState<J>>,
    /// How long an idle thread stays.
    idle: Duration,
}

struct PoolState<J> {
    queue: VecDeque<J>,
    /// Idle threads. The last one is woken next, so that threads that are not needed reach their
    /// idle timeout.
    idle: Vec<Thread>,
    /// Threads that were woken or started, and have not looked at the queue since.
    coming: usize,
    /// Threads that run a job.
    active: usize,
    limit: usize,
    most: usize,
}

/// A thread could not be started.
#[derive(Debug)]
pub(super) struct NotStarted<J> {
    pub(super) error: io::Error,
    /// All jobs of the queue, if no thread is left to run them.
    pub(super) jobs: VecDeque<J>,
}

/// Starts a thread that calls [`Threads::work`].
type Start<'a> = &'a dyn Fn() -> io::Result<()>;

/// How a job gets a thread.
enum Step {
    Wake(Thread),
    Start,
}

impl<J> PoolState<J> {
    fn threads(&self) -> usize {
        self.idle.len() + self.coming + self.active
    }

    /// The number of jobs that run, or for which a thread is coming.
    fn running(&self) -> usize {
        self.active + self.coming.min(self.queue.len())
    }

    fn may_begin(&self) -> bool {
        self.active + self.coming < self.limit
    }

    /// Reserves a thread for the first job that has none, if that job may begin.
    fn assign(&mut self) -> Option<Step> {
        if self.queue.len() <= self.coming || !self.may_begin() {
            return None;
        }
        self.coming += 1;
        let Some(thread) = self.idle.pop() else {
            return Some(Step::Start);
        };
        self.most = self.most.max(self.running());
        Some(Step::Wake(thread))
    }

    /// Takes the first job, if it may begin.
    fn next(&mut self) -> Option<J> {
        if !self.may_begin() {
            return None;
        }
        let job = self.queue.pop_front()?;
        self.active += 1;
        self.most = self.most.max(self.running());
        Some(job)
    }
}

impl<J> Threads<J> {
    pub(super) fn new(limit: usize, idle: Duration) -> Self {
        let state = PoolState {
            queue: VecDeque::new(),
            idle: Vec::new(),
            coming: 0,
            active: 0,
            limit,
            most: 0,
        };
        Self {
            state: Mutex::new(state),
            idle,
        }
    }

    fn lock(&self) -> MutexGuard<'_, PoolState<J>> {
        // No user code runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stats(&self, ended: u64) -> BlockingStats {
        let state = self.lock();
        BlockingStats {
            running: state.running(),
            waiting: state.queue.len().saturating_sub(state.coming),
            most: state.most,
            ended,
            limit: state.limit,
        }
    }

    /// Queues a job.
    ///
    /// # Errors
    ///
    /// The error of `start`, if a start was needed. The job waits for another thread if there is
    /// one.
    pub(super) fn submit(&self, job: J, start: Start<'_>) -> Result<(), NotStarted<J>> {
        let mut state = self.lock();
        state.queue.push_back(job);
        let step = state.assign();
        drop(state);
        step.map_or(Ok(()), |step| self.perform(step, start))
    }

    /// Sets how many jobs may run at a time, and begins the jobs that may run now.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    pub(super) fn set_limit(&self, limit: usize, start: Start<'_>) -> Result<(), NotStarted<J>> {
        let mut state = self.lock();
        state.limit = limit;
        while let Some(step) = state.assign() {
            drop(state);
            self.perform(step, start)?;
            state = self.lock();
        }
        Ok(())
    }

    fn perform(&self, step: Step, start: Start<'_>) -> Result<(), NotStarted<J>> {
        match step {
            Step::Wake(thread) => thread.unpark(),
            Step::Start => {
                start().map_err(|error| self.not_started(error))?;
                let mut state = self.lock();
                state.most = state.most.max(state.running());
            }
        }
        Ok(())
    }

    fn not_started(&self, error: io::Error) -> NotStarted<J> {
        let mut state = self.lock();
        state.coming -= 1;
        let jobs = match state.threads() {
            0 => mem::take(&mut state.queue),
            _ => VecDeque::new(),
        };
        // A thread may have become idle because the failed start counted towards the limit.
        let is_idle = !state.idle.is_empty();
        let step = is_idle.then(|| state.assign()).flatten();
        drop(state);
        if let Some(Step::Wake(thread)) = step {
            thread.unpark();
        }
        NotStarted { error, jobs }
    }

    /// The main function of a pool thread: runs jobs until it has been idle for too long. `run`
    /// must not unwind.
    pub(super) fn work(&self, start: Start<'_>, run: impl Fn(J)) {
        let me = thread::current();
        let mut state = self.lock();
        loop {
            state.coming -= 1;
            while let Some(job) = state.next() {
                // Another job waits if the start of a thread has failed; the start is tried again.
                let step = state.assign();
                drop(state);
                if let Some(Err(failed)) = step.map(|step| self.perform(step, start)) {
                    debug_assert!(failed.jobs.is_empty(), "this thread is left");
                }
                run(job);
                state = self.lock();
                state.active -= 1;
            }
            state.idle.push(me.clone());
            drop(state);
            match self.wait(&me) {
                Some(woken) => state = woken,
                None => return,
            }
        }
    }

    /// Waits as an idle thread until it is woken for a job; `None` if its idle timeout is over.
    fn wait(&self, me: &Thread) -> Option<MutexGuard<'_, PoolState<J>>> {
        let end = idle_until(self.idle);
        loop {
            let in_time = park_until(end);
            let mut state = self.lock();
            match state.idle.iter().position(|idle| idle.id() == me.id()) {
                None => return Some(state),
                Some(place) if !in_time => {
                    drop(state.idle.remove(place));
                    return None;
                }
                // A job has left an unpark behind.
                Some(_) => {}
            }
        }
    }
}

#[cfg(not(ethreads_loom))]
fn idle_until(idle: Duration) -> u64 {
    use crate::runtime::base::wait::deadline_after;
    use crate::runtime::driver::monotonic_now;
    deadline_after(monotonic_now(), idle)
}

/// Parks until the thread is unparked or the time `end` comes; false if `end` had passed already.
#[cfg(not(ethreads_loom))]
fn park_until(end: u64) -> bool {
    let left = end.saturating_sub(crate::runtime::driver::monotonic_now());
    thread::park_timeout(Duration::from_nanos(left));
    left > 0
}

/// Loom has no time: a thread is idle for no time, or forever.
#[cfg(ethreads_loom)]
fn idle_until(idle: Duration) -> u64 {
    u64::from(!idle.is_zero())
}

#[cfg(ethreads_loom)]
fn park_until(end: u64) -> bool {
    if end > 0 {
        thread::park();
    }
    end > 0
}

#[cfg(all(test, not(ethreads_loom)))]
mod tests;

/// Exhaustive checks of all interleavings.
#[cfg(all(test, ethreads_loom))]
mod loom_tests;
