//! `run`, `run_main`, and the runtime's long form.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::panic::{self, Location};
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::current;
use super::deadlock::Deadlock;
use super::driver::DriverKind;
use super::scheduler::{Goal, Scheduler, Settings, Stuck};
use super::shards::Shards;
use super::source::WouldPark;
use super::stack::GuardKind;
use super::stats::Stats;
use super::task::{Cancelled, Once, Task, message};

/// Why a run did not end as it should.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// Every ethread is parked, and nothing can ever wake one.
    Deadlock(Deadlock),
    /// This many ethreads panicked that nobody joined; the run went on to its end. The log has
    /// the messages.
    Panicked(usize),
    /// The `Exit` of a [`run_until`](crate::bridge::run_until) was dropped, so that nobody can
    /// finish it any more.
    Abandoned,
    /// The root of one of several [shards](Shards::run) panicked. Elsewhere that panic is raised
    /// again.
    RootPanicked(RootPanic),
    /// The driver failed, or the shard could not be made.
    Io(io::Error),
}

/// The panic of a shard's root. In [`RunError::RootPanicked`].
pub struct RootPanic {
    shard: Box<str>,
    /// Of the payload. Kept apart, so that no lock is held while it is written.
    message: Box<str>,
    /// The mutex is for `Sync`, which an error is expected to be; nothing locks it.
    payload: Mutex<Box<dyn Any + Send>>,
}

impl RootPanic {
    /// Of the shard of this OS thread.
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
            Self::Panicked(1) => f.write_str("an ethread that nobody joined panicked"),
            Self::Panicked(n) => write!(f, "{n} ethreads that nobody joined panicked"),
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

impl From<Stuck> for RunError {
    fn from(stuck: Stuck) -> Self {
        match stuck {
            Stuck::Deadlock(deadlock) => Self::Deadlock(deadlock),
            Stuck::Io(error) => Self::Io(error),
        }
    }
}

/// Runs this OS thread's ethreads until all of them have ended, but for daemons.
///
/// Returns at once if there are none. Daemons stay parked for the next run.
///
/// # Errors
///
/// [`RunError::Deadlock`] if all are parked and nothing can ever wake one; they stay as they are.
/// [`RunError::Panicked`] if an ethread whose handle was dropped panicked; the others ran to their
/// end. [`RunError::Io`] if the driver fails, or in a destructor while the OS thread unwinds.
///
/// # Panics
///
/// Inside an ethread, where there is nothing left to run: join the ethread that is waited for.
///
/// # Examples
///
/// ```
/// for name in ["tick", "tock"] {
///     ethreads::spawn(move || println!("{name}"));
/// }
/// ethreads::run()?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
#[track_caller]
pub fn run() -> Result<(), RunError> {
    refuse_nested("run")?;
    let Some(scheduler) = current::get() else {
        return Ok(());
    };
    let result = scheduler.drive(&Goal::AllEnded);
    let panics = scheduler.panics.take();
    result?;
    if panics > 0 {
        Err(RunError::Panicked(panics))
    } else {
        Ok(())
    }
}

/// Runs `f` as an ethread, and shuts the others down when it has ended.
///
/// When `f` returns, the ethreads that are left are cancelled and given five seconds to unwind. A
/// panic of `f` is raised again here, after that.
///
/// # Errors
///
/// As [`run`]; after a deadlock the ethreads are shut down too.
///
/// # Panics
///
/// Inside an ethread; and with the panic of `f`.
///
/// # Examples
///
/// ```
/// let sum = ethreads::run_main(|| {
///     let threads: Vec<_> = (1..=3).map(|n| ethreads::spawn(move || n * n)).collect();
///     threads.into_iter().map(|thread| thread.join().unwrap_or(0)).sum::<i32>()
/// })?;
/// assert_eq!(sum, 14);
/// # Ok::<(), ethreads::RunError>(())
/// ```
#[track_caller]
pub fn run_main<F, T>(f: F) -> Result<T, RunError>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    refuse_nested("run_main")?;
    run_root(&current::get_or_install()?, f, false, Location::caller())
}

/// Refuses to run ethreads from a destructor while its OS thread unwinds, where all of them would
/// look as if they were panicking; panics where the scheduler runs already.
#[track_caller]
pub(crate) fn refuse_nested(what: &str) -> Result<(), RunError> {
    if std::thread::panicking() {
        let location = Location::caller();
        return Err(RunError::Io(io::Error::other(WouldPark { location })));
    }
    current::with(|scheduler| {
        let Some(scheduler) = scheduler else { return };
        assert!(
            !scheduler.in_ethread(),
            "`{what}` was called inside an ethread: the scheduler runs already; join the ethreads \
             that you wait for"
        );
        assert!(
            !scheduler.on_scheduler_side(),
            "`{what}` was called in a closure given to `suspend`: the scheduler runs already"
        );
    });
    Ok(())
}

/// Runs `f` as the root ethread and then shuts the shard down, for the last time if `is_last`.
fn run_root<F, T>(
    scheduler: &Rc<Scheduler>,
    f: F,
    is_last: bool,
    location: &'static Location<'static>,
) -> Result<T, RunError>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    let ended = Rc::new(Cell::new(false));
    let guard = SetOnDrop(ended.clone());
    let root = Task::new(Once::new(move |_| {
        let _guard = guard;
        f()
    }));
    scheduler.spawn(root.clone(), Some(Rc::from("main")), false, None, location)?;
    let result = scheduler.drive(&Goal::Flag(&ended));
    let left = scheduler.shut_down(is_last)?;
    let panics = scheduler.panics.take();
    if left > 0 {
        // They are leaked, and so is the scheduler that holds them: nothing resumes them any more.
        current::uninstall(scheduler);
    }
    result?;
    if !root.packet().has_ended() {
        // The root's frames are gone, so its closure has ended; the packet follows at once.
        return Err(RunError::Io(io::Error::other(
            "the root ethread did not end",
        )));
    }
    match root.packet().join(location) {
        Ok(_) if panics > 0 => Err(RunError::Panicked(panics)),
        Ok(value) => Ok(value),
        Err(payload) if payload.is::<Cancelled>() => Err(RunError::Io(io::Error::other(
            "the root ethread was cancelled",
        ))),
        Err(payload) => raise(payload),
    }
}

/// Shuts this OS thread's shard down, as [`run_main`] does when its root has ended: for a call that
/// has driven the shard from the OS thread's own side and is its last. Does nothing in an ethread,
/// on the scheduler's side, and while the OS thread unwinds.
#[cfg(feature = "http")]
pub(crate) fn shut_down_from_host() -> io::Result<()> {
    let Some(scheduler) = current::get() else {
        return Ok(());
    };
    if std::thread::panicking() || scheduler.in_ethread() || scheduler.on_scheduler_side() {
        return Ok(());
    }
    if scheduler.shut_down(false)? > 0 {
        // As in `run_root`: what is left is leaked, and told to the log here.
        current::uninstall(&scheduler);
    }
    Ok(())
}

fn raise(payload: Box<dyn Any + Send>) -> ! {
    panic::resume_unwind(payload)
}

struct SetOnDrop(Rc<Cell<bool>>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

/// A scheduler with settings of its own, for this OS thread.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use ethreads::{Runtime, thread};
///
/// let answer = Runtime::builder()
///     .stack_size(64 * 1024)
///     .grace(Duration::from_secs(1))
///     .run(|| {
///         thread::sleep(Duration::from_millis(1));
///         42
///     })?;
/// assert_eq!(answer, 42);
/// # Ok::<(), ethreads::RunError>(())
/// ```
#[derive(Debug)]
pub enum Runtime {}

impl Runtime {
    /// Returns a builder with the default settings.
    pub fn builder() -> Builder {
        Builder {
            settings: Settings::default(),
        }
    }
}

/// Settings of a runtime. Made by [`Runtime::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing before `run`"]
pub struct Builder {
    settings: Settings,
}

impl Builder {
    /// Sets the driver; the default is epoll on Linux and `polling` elsewhere, or what the
    /// environment variable `ETHREADS_DRIVER` says.
    pub fn driver(mut self, driver: DriverKind) -> Self {
        self.settings.driver = Some(driver);
        self
    }

    /// Sets how stacks are guarded; the default is the cheapest way that this kernel has.
    pub fn guard(mut self, guard: GuardKind) -> Self {
        self.settings.guard = guard;
        self
    }

    /// Sets the usable size, in bytes, of the stacks of ethreads that do not ask for another: 512
    /// KiB, and 1 MiB in debug builds. Rounded up to a power of two, at least 16 KiB, at most 1
    /// GiB. Only touched pages cost memory.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.settings.stack_size = bytes;
        self
    }

    /// Sets how many free stacks keep their pages for the next ethread: 1,024.
    pub fn hot_stacks(mut self, stacks: usize) -> Self {
        self.settings.hot_stacks = stacks;
        self
    }

    /// Sets how long the shutdown waits for cancelled ethreads: 5 s. Those that are left then are
    /// leaked, with one line in the log.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = grace;
        self
    }

    /// Sets how long an ethread may hold the shard before a log warning names it: 100 ms. `None`
    /// turns these reports off. The watchdog's OS thread runs in any case, as it makes busy shards
    /// look for events in time: see [the module](crate::runtime#scheduling).
    pub fn watchdog(mut self, threshold: Option<Duration>) -> Self {
        self.settings.watchdog = threshold;
        self
    }

    /// Whether the shard waits for messages from other OS threads even when it knows of nobody who
    /// could send one, instead of reporting a deadlock: false.
    pub fn serve_inbox(mut self, serve: bool) -> Self {
        self.settings.serve_inbox = serve;
        self
    }

    /// The same on `count` OS threads; zero is one for each CPU that the process may use, where
    /// what a cgroup grants counts too: see [`Shards`].
    pub fn shards(self, count: usize) -> Shards {
        Shards::new(self, count)
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Runs `f` as the root ethread of a new scheduler on this OS thread, like
    /// [`run_main`](crate::run_main); the scheduler ends with it.
    ///
    /// # Errors
    ///
    /// As [`run_main`](crate::run_main); [`RunError::Io`] of kind `AlreadyExists` if this OS thread
    /// has a scheduler already, and if a setting is out of its range.
    ///
    /// # Panics
    ///
    /// Inside an ethread; and with the panic of `f`.
    #[track_caller]
    pub fn run<F, T>(self, f: F) -> Result<T, RunError>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let location = Location::caller();
        refuse_nested("Builder::run")?;
        let scheduler = current::install(self.settings)?;
        let _uninstall = Uninstall(scheduler.clone());
        run_root(&scheduler, f, true, location)
    }
}

/// Ends the scheduler of this OS thread, also when a root's panic is raised.
pub(super) struct Uninstall(pub(super) Rc<Scheduler>);

impl Uninstall {
    /// Returns how many ethreads were spawned from elsewhere and did not begin.
    pub(super) fn now(self) -> usize {
        current::uninstall(&self.0)
    }
}

impl Drop for Uninstall {
    fn drop(&mut self) {
        current::uninstall(&self.0);
    }
}

/// Counters of this OS thread's shard; `None` if it has none.
///
/// # Examples
///
/// ```
/// ethreads::spawn(|| {
///     let stats = ethreads::runtime::stats().expect("an ethread has a shard");
///     assert_eq!(stats.ethreads, 1);
///     assert_eq!(stats.stacks.live, 1);
/// });
/// ethreads::run()?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
#[must_use]
pub fn stats() -> Option<Stats> {
    current::with(|scheduler| scheduler.map(Scheduler::stats))
}
