//! OS threads for calls that block: the pool of the process, and the wait of an ethread for a call
//! on the pool.
#![forbid(unsafe_code)]

mod threads;

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::oneshot::{Abandoned, Oneshot};
use crate::runtime::base::panic::without_unwinding;
use crate::runtime::base::wait::{CallSite, Reason, WaitKind, deadline_after};
use crate::runtime::driver::monotonic_now;
use crate::runtime::scheduler::current;
use crate::runtime::scheduler::event_loop::Scheduler;
use crate::runtime::scheduler::park::Unwinding;
pub use threads::BlockingStats;
use threads::{NotStarted, Threads};

/// The maximum number of jobs that run at a time, unless set.
const LIMIT: usize = 500;

/// How long an idle OS thread stays.
const IDLE: Duration = Duration::from_secs(10);

/// The minimum time between two log lines about calls that ran in place.
const WARN_EVERY: Duration = Duration::from_secs(5);

// Lazy, as the constructor of loom's mutex is not const.
static POOL: LazyLock<Threads<Box<dyn Job>>> = LazyLock::new(|| Threads::new(LIMIT, IDLE));

/// Jobs that have ended.
static ENDED: AtomicU64 = AtomicU64::new(0);

pub(crate) fn stats() -> BlockingStats {
    POOL.stats(ENDED.load(Ordering::Relaxed))
}

pub(crate) fn set_limit(limit: usize) {
    drop(POOL.set_limit(limit, &start).map_err(refuse));
}

/// Starts an OS thread of the pool.
fn start() -> io::Result<()> {
    let builder = thread::Builder::new().name("ethreads-pool".to_owned());
    builder.spawn(|| POOL.work(&start, perform)).map(drop)
}

/// Runs a job on an OS thread of the pool.
fn perform(job: Box<dyn Job>) {
    // A value that no ethread waits for any more is dropped in here.
    without_unwinding(|| job.run());
    // The next job must find a fresh OS thread. Ethreads that are left are leaked, as at the end of
    // an OS thread.
    if let Some(scheduler) = current::get() {
        without_unwinding(|| {
            current::uninstall(&scheduler);
        });
    }
}

trait Job: Send {
    fn run(self: Box<Self>);

    /// Hands the job back to the ethread that waits for it. The returned value may be the last
    /// reference to the job; the caller drops it where user code may run.
    fn refuse(self: Box<Self>, error: &Arc<io::Error>) -> Box<dyn Send>;
}

/// The outcome of a call.
enum Answer<T> {
    Ended(thread::Result<T>),
    /// The call has not begun: there is no OS thread for it.
    Refused(Box<dyn FnOnce() -> T + Send>, Arc<io::Error>),
}

struct Call<F, T> {
    f: F,
    answer: Arc<Oneshot<Answer<T>>>,
}

impl<F, T> Job for Call<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    fn run(self: Box<Self>) {
        let Self { f, answer } = *self;
        let value = call(f);
        // Before the waiting ethread goes on.
        ENDED.fetch_add(1, Ordering::Relaxed);
        // If the ethread does not wait any more, the value is dropped here.
        drop(answer.put(Answer::Ended(value)));
    }

    fn refuse(self: Box<Self>, error: &Arc<io::Error>) -> Box<dyn Send> {
        let Self { f, answer } = *self;
        drop(answer.put(Answer::Refused(Box::new(f), error.clone())));
        Box::new(answer)
    }
}

/// What is left of refused jobs. A job whose ethread does not wait any more is dropped with this.
struct Leftovers(Vec<Box<dyn Send>>);

impl Drop for Leftovers {
    fn drop(&mut self) {
        for left in self.0.drain(..) {
            without_unwinding(|| drop(left));
        }
    }
}

#[cold]
fn refuse(failed: NotStarted<Box<dyn Job>>) -> Leftovers {
    let error = Arc::new(failed.error);
    let jobs = failed.jobs.into_iter();
    Leftovers(jobs.map(|job| job.refuse(&error)).collect())
}

/// The error of a call for which no OS thread could be started.
#[derive(Debug)]
struct NoThread {
    error: Arc<io::Error>,
    limit: usize,
}

impl fmt::Display for NoThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot start an OS thread for calls that block, of which there is none (the pool's \
             limit is {}): {}; raise RLIMIT_NPROC (`ulimit -u`) and the cgroup's pids.max, or free \
             memory",
            self.limit, self.error
        )
    }
}

impl Error for NoThread {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.error)
    }
}

#[cold]
fn no_thread(error: Arc<io::Error>) -> io::Error {
    let limit = stats().limit;
    // `EAGAIN`, which as `WouldBlock` would be taken for a wait.
    let kind = match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::QuotaExceeded,
        kind => kind,
    };
    io::Error::new(kind, NoThread { error, limit })
}

/// Logs that calls run in place, at most once per [`WARN_EVERY`].
#[cold]
fn warn_in_place(error: &io::Error) {
    /// When the next line may be logged, and how many calls were not logged.
    static UNTOLD: Mutex<(u64, u64)> = Mutex::new((0, 0));
    let mut untold = UNTOLD.lock().unwrap_or_else(PoisonError::into_inner);
    untold.1 += 1;
    let now = monotonic_now();
    if now < untold.0 {
        return;
    }
    let calls = untold.1;
    *untold = (deadline_after(now, WARN_EVERY), 0);
    drop(untold);
    without_unwinding(|| {
        log::warn!(
            "ran {calls} blocking calls in place, which blocked their shards: cannot start an OS \
             thread: {error}; raise RLIMIT_NPROC (`ulimit -u`) and the cgroup's pids.max, or free \
             memory"
        );
    });
}

/// Runs `f` on the pool and parks until it has ended; a panic of `f` is the `Err`.
///
/// Outside a shard, in an ethread that unwinds, and where no OS thread can be started, `f` runs in
/// place.
pub(crate) fn run<T, F>(f: F, location: CallSite) -> thread::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    match offload(f, location, |scheduler| -> Infallible {
        scheduler.raise_elapsed()
    }) {
        Ok(Answer::Ended(result)) => result,
        Ok(Answer::Refused(f, error)) => {
            warn_in_place(&error);
            call(f)
        }
        Err(never) => match never {},
    }
}

/// As [`run`], for a call that fails with `TimedOut` once a scope's deadline has passed, and with
/// the error of the start where no OS thread can be started. A panic of the call goes on in the
/// caller.
pub(crate) fn run_io<T, F>(f: F, location: CallSite) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    match offload(f, location, Scheduler::elapsed_error)? {
        Answer::Ended(result) => result.map_or_else(|payload| panic::resume_unwind(payload), Ok),
        Answer::Refused(_, error) => Err(no_thread(error)),
    }
}

fn offload<T, F, E>(
    f: F,
    location: CallSite,
    elapsed: impl FnOnce(&Scheduler) -> E,
) -> Result<Answer<T>, E>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    current::with(|scheduler| {
        let Some(scheduler) = scheduler else {
            return Ok(Answer::Ended(call(f)));
        };
        // A call that no ethread would wait for does not begin: no file is removed after a
        // deadline.
        if scheduler.can_leave() {
            scheduler.raise_if_cancelled();
            if scheduler.has_elapsed() {
                return Err(elapsed(scheduler));
            }
        }
        let reason = Reason::new(WaitKind::Blocking, location);
        let wait = match scheduler.begin_wait(reason) {
            Ok(wait) => wait,
            Err(Unwinding) => return Ok(Answer::Ended(call(f))),
        };
        let answer = Arc::new(Oneshot::new());
        let job = Box::new(Call {
            f,
            answer: answer.clone(),
        });
        scheduler.metrics.blocking_calls.add(1);
        // Dropping what this returns may drop jobs of other ethreads, so it is kept until the wait
        // is over.
        let submit = || POOL.submit(job, &start).map_err(refuse);
        match answer.wait_from(scheduler, wait, submit) {
            Some(Ok(answer)) => Ok(answer),
            None => Err(elapsed(scheduler)),
            Some(Err(Abandoned)) => unreachable!("the job is always answered"),
        }
    })
}

fn call<T>(f: impl FnOnce() -> T) -> thread::Result<T> {
    panic::catch_unwind(AssertUnwindSafe(f))
}
