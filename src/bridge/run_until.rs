//! Driving the scheduler from ordinary code.

use std::cell::Cell;
use std::rc::Rc;

use crate::runtime::base::debug::opaque_debug;
use crate::runtime::scheduler::current;
use crate::runtime::scheduler::event_loop::Goal;
use crate::runtime::{RunError, refuse_nested};

/// Ends a [`run_until`]: with a value by [`Exit::finish`], or without a value by being dropped. It
/// stays on its OS thread.
pub struct Exit<T> {
    shared: Rc<ExitState<T>>,
}

struct ExitState<T> {
    value: Cell<Option<T>>,
    finished: Cell<bool>,
}

impl<T> Exit<T> {
    /// Makes its [`run_until`] return `value`, before any other ethread runs: as soon as the
    /// closure given to [`suspend`](super::suspend) that calls `finish` has returned, or the
    /// ethread that calls `finish` waits. Does nothing if that `run_until` has ended already.
    pub fn finish(self, value: T) {
        // The drop of `self` sets `finished`.
        self.shared.value.set(Some(value));
    }
}

impl<T> Drop for Exit<T> {
    /// Ends the [`run_until`], without a value unless `finish` has set one.
    fn drop(&mut self) {
        self.shared.finished.set(true);
    }
}

opaque_debug!(impl<T> for Exit<T>);

/// Runs the ethreads of this OS thread until [`Exit::finish`] is called, and returns its value.
/// `start` is called first, in place; it hands the `Exit` to the code that is to end the run.
///
/// The ethreads that are left stay as they are, for the next run.
///
/// # Errors
///
/// [`RunError::Abandoned`] if the `Exit` is dropped; [`RunError::Deadlock`] if all ethreads are
/// parked and nothing can ever wake one; [`RunError::Io`] if the driver fails.
///
/// # Panics
///
/// Inside an ethread, and in a closure given to [`suspend`](super::suspend).
///
/// # Examples
///
/// An ethread hands over a value, and goes on when it is resumed:
///
/// ```
/// use std::{cell::RefCell, rc::Rc};
/// use ethreads::bridge::{Suspended, run_until, suspend};
///
/// let next: Rc<RefCell<Option<ethreads::bridge::Exit<(u32, Suspended<()>)>>>> = Rc::default();
/// let theirs = next.clone();
/// ethreads::spawn(move || {
///     for n in 1..=3 {
///         suspend(|me| {
///             let exit = theirs.borrow_mut().take().expect("a run waits for it");
///             exit.finish((n, me));
///         });
///     }
/// });
/// let mut seen = Vec::new();
/// for _ in 0..3 {
///     let (n, ethread) = run_until(|exit| *next.borrow_mut() = Some(exit))?;
///     seen.push(n);
///     ethread.resume(()).expect("it waits for this");
/// }
/// assert_eq!(seen, [1, 2, 3]);
/// # Ok::<(), ethreads::RunError>(())
/// ```
#[track_caller]
pub fn run_until<T>(start: impl FnOnce(Exit<T>)) -> Result<T, RunError> {
    refuse_nested("run_until")?;
    let shared = Rc::new(ExitState {
        value: Cell::new(None),
        finished: Cell::new(false),
    });
    start(Exit {
        shared: shared.clone(),
    });
    // The scheduler is found only now: `start` is user code, which may have ended a run that left
    // ethreads behind.
    refuse_nested("run_until")?;
    let scheduler = current::get_or_install()?;
    let driven = scheduler.drive(&Goal::Flag(&shared.finished));
    driven.map_err(|stuck| scheduler.report(stuck))?;
    shared.value.take().ok_or(RunError::Abandoned)
}
