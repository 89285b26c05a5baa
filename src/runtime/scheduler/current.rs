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

/// Logs a line where a logger's panic must not leave. While the thread-locals of this OS thread are
/// being destroyed, which a logger may need, another OS thread does it.
pub(in crate::runtime) fn log(level: Level, line: &str) {
    if OWNER.try_with(|_| ()).is_err() {
        watchdog::log_for_another(level, line.to_owned());
    } else {
        without_unwinding(|| log::log!(level, "{line}"));
    }
}

/// Whether ethreads of this OS thread were left behind, with what is on their stacks, or would be
/// if it ended now.
pub(in crate::runtime) fn has_leaked() -> bool {
    HAS_LEAKED.get() || with(|scheduler| scheduler.is_some_and(|s| s.stats().ethreads > 0))
}

/// Keeps the scheduler of the thread, and decides its end with it.
struct Owner(RefCell<Option<Rc<Scheduler>>>);

/// Name and id of the ethread that runs; nothing where there is no scheduler.
pub(crate) fn label() -> String {
    with(|scheduler| {
        let label = scheduler.map(|scheduler| scheduler.label_of(scheduler.current_place()));
        label.map_or_else(String::new, |label| label.to_string())
    })
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

/// For those above and below, who limit for how long it is used.
#[inline(always)]
fn current<'a>() -> Option<&'a Scheduler> {
    // SAFETY: `CURRENT` is set to what `OWNER` holds and cleared before that is freed (`retire`). A
    // scheduler with live ethreads is never freed, so a frame of an ethread may hold this reference
    // over a switch; on the OS thread's own stack, a scheduler is freed (`uninstall`) by the
    // `Builder::run` that has installed it alone, which refuses to begin within a call that has
    // found another one, or by an OS thread of a group or of the pool, below which there is no
    // call; `run_main` uninstalls only what it leaks. A frame on a coroutine of the program's own
    // may outlive the run: what calls user code holds an `Origin` instead.
    unsafe { CURRENT.get().as_ref() }
}

/// Calls `f` with this OS thread's scheduler; makes one with the default settings if there is none.
#[inline(always)]
pub(crate) fn with_or_install<R>(f: impl FnOnce(&Scheduler) -> R) -> io::Result<R> {
    Ok(f(for_call(&Call)?))
}

/// A call that wants the scheduler in a variable: a closure is a function of its own, mostly.
pub(crate) struct Call;

/// So that each is a variable: without it a reference to one could live forever.
impl Drop for Call {
    fn drop(&mut self) {}
}

/// This OS thread's scheduler, for as long as a call's own variable lives; makes one with the
/// default settings if there is none.
#[inline(always)]
pub(crate) fn for_call(_call: &Call) -> io::Result<&Scheduler> {
    if let Some(scheduler) = current() {
        return Ok(scheduler);
    }
    install_default()?;
    Ok(current().expect("it was just made"))
}

/// This OS thread's scheduler, to be kept; makes one with the default settings if there is none.
#[inline]
pub(crate) fn get_or_install() -> io::Result<Rc<Scheduler>> {
    with_or_install(Scheduler::keep)
}

/// This OS thread's scheduler, to be kept.
#[inline]
pub(crate) fn get() -> Option<Rc<Scheduler>> {
    with(|scheduler| scheduler.map(Scheduler::keep))
}

#[cold]
fn install_default() -> io::Result<()> {
    install(Settings::default()).map(drop)
}

/// Gives this OS thread, which has none, a scheduler.
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

/// Takes a scheduler away from this OS thread, if it is still the one that is installed. Returns
/// how many ethreads were spawned here from elsewhere and did not begin.
pub(crate) fn uninstall(scheduler: &Rc<Scheduler>) -> usize {
    let take = |owner: &Owner| {
        let mut owner = owner.0.borrow_mut();
        owner.take_if(|installed| Rc::ptr_eq(installed, scheduler))
    };
    let Some(scheduler) = OWNER.try_with(take).ok().flatten() else {
        return 0;
    };
    let remains = retire(scheduler);
    for line in remains.lines() {
        // While a root's panic is raised, a logger's panic would end the process.
        without_unwinding(|| log::warn!("{line}"));
    }
    remains.unstarted
}

/// What a scheduler has left at its end.
struct Remains {
    /// The labels of the ethreads that are leaked.
    leaked: Vec<String>,
    /// How many ethreads were spawned from elsewhere and did not begin.
    unstarted: usize,
}

impl Remains {
    /// For the log.
    fn lines(&self) -> impl Iterator<Item = String> {
        let unstarted = (self.unstarted > 0).then(|| {
            let count = self.unstarted;
            format!("{count} ethreads did not begin, as their shard ended before")
        });
        let leaked = (!self.leaked.is_empty()).then(|| {
            format!(
                "{} ethreads are leaked with their stacks, as their shard ends before them: {}",
                self.leaked.len(),
                self.leaked.join(", "),
            )
        });
        unstarted.into_iter().chain(leaked)
    }
}

/// Ends a scheduler that has no ethreads, and leaks one that has: their frames may hold anything,
/// also references to thread-locals whose destructors have run.
fn retire(scheduler: Rc<Scheduler>) -> Remains {
    // Counted before user code runs, which may let an ethread end: a frame that goes on below the
    // caller may refer to a scheduler that leaves ethreads behind.
    let mut leaked = scheduler.labels();
    // From here on no scheduler is current. What is dropped and woken next is user code. It may
    // wait, and no ethread may go on meanwhile, as thread-locals may be gone; and the wake-up that
    // it waits for would not be taken from the inbox. Without a scheduler it blocks the OS thread.
    CURRENT.set(ptr::null());
    scheduler.set_retired();
    let unstarted = scheduler.inbox.close();
    let awaited = scheduler.take_awaited();
    watchdog::forget(&scheduler.heartbeat);
    // All are marked before the first one is woken or dropped: that may wait for another one.
    unstarted.iter().for_each(|begin| begin.abandon());
    awaited.iter().for_each(|awaited| awaited.abandon());
    let count = unstarted.len();
    unstarted.into_iter().for_each(|begin| begin.drop_unbegun());
    awaited.into_iter().for_each(|awaited| awaited.wake());
    if leaked.is_empty() {
        leaked = scheduler.labels();
    }
    if !leaked.is_empty() {
        HAS_LEAKED.set(true);
        std::mem::forget(scheduler);
    }
    Remains {
        leaked,
        unstarted: count,
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some(scheduler) = self.0.get_mut().take() {
            // A logger may need thread-locals of this OS thread that are gone.
            for line in retire(scheduler).lines() {
                watchdog::log_for_another(Level::Warn, line);
            }
        }
    }
}

/// Ends the scheduler of this OS thread, also when a root's panic is raised.
pub(in crate::runtime) struct Uninstall(pub(in crate::runtime) Rc<Scheduler>);

impl Uninstall {
    /// Returns how many ethreads were spawned from elsewhere and did not begin.
    pub(in crate::runtime) fn now(self) -> usize {
        uninstall(&self.0)
    }
}

impl Drop for Uninstall {
    fn drop(&mut self) {
        uninstall(&self.0);
    }
}
