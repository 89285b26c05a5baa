//! The scheduler of this OS thread.

// One raw pointer in a thread-local, so that finding the scheduler costs one load and works while
// the thread's destructors run.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::io;
use std::ptr;
use std::rc::Rc;

use log::Level;

use super::event_loop::Scheduler;
use super::settings::Settings;
use super::watchdog;
use crate::runtime::base::panic::without_unwinding;

thread_local! {
    /// Null, or the scheduler that `OWNER` keeps alive.
    static CURRENT: Cell<*const Scheduler> = const { Cell::new(ptr::null()) };
    static OWNER: Owner = const { Owner(RefCell::new(None)) };
    /// A scheduler of this OS thread has left ethreads behind.
    static HAS_LEAKED: Cell<bool> = const { Cell::new(false) };
}

/// Logs a line where a panic of the logger must not escape. While the thread-locals of this OS
/// thread, which a logger may need, are being destroyed, another OS thread logs the line.
pub(in crate::runtime) fn log(level: Level, line: &str) {
    if OWNER.try_with(|_| ()).is_err() {
        watchdog::log_for_another(level, line.to_owned());
    } else {
        without_unwinding(|| log::log!(level, "{line}"));
    }
}

/// Whether ethreads of this OS thread were leaked with the contents of their stacks, or would be if
/// the OS thread ended now.
pub(in crate::runtime) fn has_leaked() -> bool {
    HAS_LEAKED.get() || with(|scheduler| scheduler.is_some_and(|s| s.stats().ethreads > 0))
}

/// Keeps the scheduler of the OS thread alive, and retires it when the OS thread ends.
struct Owner(RefCell<Option<Rc<Scheduler>>>);

/// Name and id of the running ethread; empty where there is no scheduler.
pub(crate) fn label() -> String {
    let label = |s: &Scheduler| s.label_of(s.current_place()).to_string();
    with(|scheduler| scheduler.map(label).unwrap_or_default())
}

impl Scheduler {
    /// Whether this is still the scheduler of its OS thread.
    pub(crate) fn is_current(&self) -> bool {
        with(|current| current.is_some_and(|scheduler| ptr::eq(scheduler, self)))
    }
}

/// Calls `f` with this OS thread's scheduler, if it has one.
#[inline(always)]
pub(crate) fn with<R>(f: impl FnOnce(Option<&Scheduler>) -> R) -> R {
    f(current())
}

/// For the functions above and below, which bound how long the reference is used.
#[inline(always)]
fn current<'a>() -> Option<&'a Scheduler> {
    // SAFETY: `CURRENT` is set to the scheduler that `OWNER` holds, and cleared before that is
    // freed (`retire`). A scheduler with live ethreads is never freed, so a frame of an ethread may
    // hold this reference over a switch. On the OS thread's own stack, a scheduler is freed
    // (`uninstall`) only by the `Builder::run` that has installed it, which refuses to begin within
    // a call that has found another scheduler, or by an OS thread of a group or of the pool, below
    // which there is no call; `run_main` uninstalls only a scheduler that it leaks. A frame on a
    // coroutine of the program's own may outlive the run: code that calls user code holds an
    // `Origin` instead.
    unsafe { CURRENT.get().as_ref() }
}

/// Calls `f` with this OS thread's scheduler; installs a default one if there is none.
#[inline(always)]
pub(crate) fn with_or_install<R>(f: impl FnOnce(&Scheduler) -> R) -> io::Result<R> {
    Ok(f(for_call(&Call)?))
}

/// Bounds the lifetime of a scheduler reference that is kept in a variable. The alternative, a
/// closure, mostly compiles to a function of its own.
pub(crate) struct Call;

/// Ties each reference to a `Call` to a variable; without `Drop` it could be promoted to `'static`.
impl Drop for Call {
    fn drop(&mut self) {}
}

/// This OS thread's scheduler, for as long as the `Call` variable lives; installs a default one if
/// there is none.
#[inline(always)]
pub(crate) fn for_call(_call: &Call) -> io::Result<&Scheduler> {
    if let Some(scheduler) = current() {
        return Ok(scheduler);
    }
    install_default()?;
    Ok(current().expect("it was just made"))
}

/// An owning reference to this OS thread's scheduler; installs a default one if there is none.
#[inline]
pub(crate) fn get_or_install() -> io::Result<Rc<Scheduler>> {
    with_or_install(Scheduler::keep)
}

/// An owning reference to this OS thread's scheduler.
#[inline]
pub(crate) fn get() -> Option<Rc<Scheduler>> {
    with(|scheduler| scheduler.map(Scheduler::keep))
}

/// The scheduler of this OS thread, for a call that has no other answer than a panic.
///
/// # Panics
///
/// If there is none and none can be made: then `missing` is not there, either.
pub(crate) fn expect_for(missing: &str) -> Rc<Scheduler> {
    get_or_install().unwrap_or_else(|error| panic!("there is no {missing}: {error}"))
}

#[cold]
fn install_default() -> io::Result<()> {
    install(Settings::default()).map(drop)
}

/// Installs a scheduler on this OS thread, which has none.
pub(crate) fn install(settings: Settings) -> io::Result<Rc<Scheduler>> {
    let scheduler = Scheduler::new(settings)?;
    OWNER
        .try_with(|owner| {
            let mut owner = owner.0.borrow_mut();
            if owner.is_some() {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "this OS thread has a scheduler already: a runtime must be built before the \
                     first `spawn`, or on another OS thread",
                ));
            }
            CURRENT.set(Rc::as_ptr(&scheduler));
            *owner = Some(scheduler.clone());
            Ok(())
        })
        .unwrap_or_else(|_| {
            Err(io::Error::other(
                "this OS thread is ending: no scheduler can begin on it",
            ))
        })?;
    Ok(scheduler)
}

/// Removes a scheduler from this OS thread, if it is still the installed one. Returns how many
/// ethreads were spawned here from other shards or OS threads and did not begin.
pub(crate) fn uninstall(scheduler: &Rc<Scheduler>) -> usize {
    let take = |owner: &Owner| {
        let mut owner = owner.0.borrow_mut();
        owner.take_if(|installed| Rc::ptr_eq(installed, scheduler))
    };
    let Some(scheduler) = OWNER.try_with(take).ok().flatten() else {
        return 0;
    };
    let (unstarted, lines) = retire(scheduler);
    for line in lines {
        // While a root's panic is raised, a panic of the logger would abort the process.
        without_unwinding(|| log::warn!("{line}"));
    }
    unstarted
}

/// Ends a scheduler that has no ethreads, and leaks a scheduler that has some: the frames of its
/// ethreads may hold anything, even references to thread-locals whose destructors have run. Returns
/// how many ethreads did not begin, and the lines for the log.
fn retire(scheduler: Rc<Scheduler>) -> (usize, Vec<String>) {
    // Counted before user code runs, because user code may let an ethread end. A frame below the
    // caller that goes on may still refer to a scheduler that leaves ethreads behind.
    let mut leaked = scheduler.labels();
    // From here on no scheduler is current. The values dropped and the waiters woken next are user
    // code, which may wait. No ethread may go on meanwhile, as thread-locals may be gone, and a
    // wake-up for that wait would never be taken from the inbox. Without a scheduler the wait
    // blocks the OS thread.
    CURRENT.set(ptr::null());
    scheduler.retired.set(true);
    let unstarted = scheduler.inbox.close();
    let awaited = scheduler.take_awaited();
    watchdog::forget(&scheduler.heartbeat);
    // All are marked before the first is woken or dropped: user code run by that may wait for
    // another.
    unstarted.iter().for_each(|begin| begin.abandon());
    awaited.iter().for_each(|awaited| awaited.abandon());
    let count = unstarted.len();
    unstarted.into_iter().for_each(|begin| begin.drop_unbegun());
    awaited.into_iter().for_each(|awaited| awaited.wake());
    if leaked.is_empty() {
        leaked = scheduler.labels();
    }
    let mut lines = Vec::new();
    if count > 0 {
        let line = format!("{count} ethreads did not begin, as their shard ended before");
        lines.push(line);
    }
    if !leaked.is_empty() {
        lines.push(format!(
            "{} ethreads are leaked with their stacks, as their shard ends before them: {}",
            leaked.len(),
            leaked.join(", "),
        ));
        HAS_LEAKED.set(true);
        std::mem::forget(scheduler);
    }
    (count, lines)
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some(scheduler) = self.0.get_mut().take() {
            // A logger may need thread-locals of this OS thread, which are gone.
            for line in retire(scheduler).1 {
                watchdog::log_for_another(Level::Warn, line);
            }
        }
    }
}

/// Ends the scheduler of this OS thread, even while a root's panic is raised.
pub(in crate::runtime) struct Uninstall(pub(in crate::runtime) Rc<Scheduler>);

impl Uninstall {
    /// Returns how many ethreads were spawned from other shards or OS threads and did not begin.
    pub(in crate::runtime) fn now(self) -> usize {
        uninstall(&self.0)
    }
}

impl Drop for Uninstall {
    fn drop(&mut self) {
        uninstall(&self.0);
    }
}
