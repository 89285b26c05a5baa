//! The scheduler of this OS thread.

// One raw pointer in a thread-local, so that finding the scheduler costs one load and works while
// the thread's destructors run.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::io;
use std::ptr;
use std::rc::Rc;

use super::scheduler::{Scheduler, Settings};
use super::task::without_unwinding;

thread_local! {
    /// Null, or the scheduler that `OWNER` keeps alive.
    static CURRENT: Cell<*const Scheduler> = const { Cell::new(ptr::null()) };
    static OWNER: Owner = const { Owner(RefCell::new(None)) };
}

/// Keeps the scheduler of the thread, and decides its end with it.
struct Owner(RefCell<Option<Rc<Scheduler>>>);

/// Calls `f` with this OS thread's scheduler, if it has one.
#[inline(always)]
pub(crate) fn with<R>(f: impl FnOnce(Option<&Scheduler>) -> R) -> R {
    f(current())
}

/// For those above and below, who limit for how long it is used.
#[inline(always)]
fn current<'a>() -> Option<&'a Scheduler> {
    // SAFETY: `CURRENT` is set to what `OWNER` holds and cleared before that goes (`uninstall`,
    // `Owner::drop`). A scheduler with live ethreads is never freed, so a frame of an ethread may
    // hold this reference over a switch; on the OS thread's own stack, a scheduler is freed
    // (`uninstall`) by the `Builder::run` that has installed it alone, which refuses to begin
    // within a call that has found another one, or by the OS thread of a group's shard, below which
    // there is no call; `run_main` uninstalls only what it leaks.
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

/// Takes this OS thread's scheduler away.
pub(crate) fn uninstall() {
    // What is dropped and woken by that is the user's code, and finds the scheduler still.
    with(|scheduler| scheduler.map(settle));
    let scheduler = OWNER
        .try_with(|owner| owner.0.borrow_mut().take())
        .ok()
        .flatten();
    if let Some(scheduler) = scheduler {
        retire(scheduler);
    }
}

/// Takes no more messages, and tells those who wait for what will not come any more.
fn settle(scheduler: &Scheduler) {
    let unstarted = scheduler.inbox.close();
    scheduler.abandon_awaited();
    if unstarted > 0 {
        without_unwinding(|| {
            log::warn!("{unstarted} ethreads did not begin, as their shard ended before");
        });
    }
}

/// Ends a scheduler that has no ethreads, and leaks one that has: their frames may hold anything,
/// also references to thread-locals whose destructors have run.
fn retire(scheduler: Rc<Scheduler>) {
    // First of all: the code of the user's that follows may wait, and in the destructor of a
    // thread-local no ethread may go on meanwhile.
    CURRENT.set(ptr::null());
    settle(&scheduler);
    super::watchdog::forget(&scheduler);
    let left = scheduler.labels();
    if left.is_empty() {
        return;
    }
    std::mem::forget(scheduler);
    // In the destructor of a thread-local, or while a root's panic is raised: a logger's panic
    // would end the process.
    without_unwinding(|| {
        log::warn!(
            "{} ethreads are leaked with their stacks, as their shard ends before them: {}",
            left.len(),
            left.join(", "),
        );
    });
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some(scheduler) = self.0.get_mut().take() {
            retire(scheduler);
        }
    }
}
