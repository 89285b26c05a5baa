//! Waiting for several operations at once, of which exactly one happens.
//!
//! An [`Operation`] is an event that can be waited for: a receive from a channel, a send to a
//! channel, a point in time, the end of an ethread, the readiness of a descriptor.
//! [`perform`](Operation::perform) waits for it. [`or`](Operation::or) makes one operation of two,
//! and [`any`] makes one of many. [`select!`](crate::select) writes that in the form of a `match`.
//! The idea is that of Concurrent ML (John Reppy, 1991), as in Guile's fibers: operations are
//! values, and a choice between operations is an operation too.
//!
//! Exactly one of the operations happens. The other operations have no effect: no value is taken,
//! no waiter stays in a wait queue, no timer stays.
//!
//! Of several operations that are possible at once, none is preferred for long: each call tries a
//! different one first. [`perform_in_order`](Operation::perform_in_order), or `biased;` in the
//! macro, tries them in their order.

mod combine;
mod leaves;
mod macros;
pub(super) mod sealed;

use std::io;
use std::panic::Location;

use self::sealed::{Park, Parts};
use super::wait_queue;
use crate::runtime::base::wait::{CallSite, NEVER, Outcome, Reason, WaitKind};
use crate::runtime::scheduler::event_loop::Scheduler;
use crate::runtime::scheduler::park::Unwinding;

pub use combine::{Any, Either, Map, Or};
pub use leaves::{After, Finished, Ready, after, at, finished, readable, writable};

/// An event that can be waited for, alone or as one of several.
///
/// Operations are made by methods of the primitives, named after what they do:
/// [`Receiver::receiving`](super::channel::Receiver::receiving),
/// [`Signal::waiting`](super::Signal::waiting). [`after`], [`finished`] and [`readable`] are in
/// this module. The trait cannot be implemented outside of this crate.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use ethreads::sync::{channel, select::{self, Either, Operation}};
///
/// ethreads::run_main(|| {
///     let (sender, receiver) = channel::unbounded();
///     let job = || receiver.receiving().map(|job: Result<u32, _>| job.ok());
///     sender.send(7).expect("the receiver is here");
///     let timer = select::after(Duration::from_millis(1));
///     assert_eq!(job().or(timer).perform(), Either::First(Some(7)));
///     let timer = select::after(Duration::from_millis(1));
///     assert_eq!(job().or(timer).perform(), Either::Second(()));
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
pub trait Operation: Parts<Done = Self::Output> + Sized {
    /// The result of the operation.
    type Output;

    /// Suspends the caller until the operation has happened.
    ///
    /// While the caller unwinds, the operation happens if it is possible at once; otherwise the
    /// process aborts with a report.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`. On the OS thread's own side, if the operation can never
    /// happen.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, and nothing has happened.
    #[track_caller]
    fn perform(self) -> Self::Output {
        perform(self, false, Location::caller())
    }

    /// Suspends the caller as [`perform`](Self::perform) does. Of several operations that are
    /// possible at once, the first one happens.
    ///
    /// # Panics
    ///
    /// As [`perform`](Self::perform).
    ///
    /// # Cancellation
    ///
    /// As [`perform`](Self::perform).
    #[track_caller]
    fn perform_in_order(self) -> Self::Output {
        perform(self, true, Location::caller())
    }

    /// Performs the operation if that is possible at once; does not wait.
    fn try_perform(mut self) -> Option<Self::Output> {
        let first = wait_queue::scheduler().pick(self.count());
        attempt(&mut self, first)
    }

    /// Performs the operation if that is possible at once, the first one if several are possible;
    /// does not wait.
    fn try_perform_in_order(mut self) -> Option<Self::Output> {
        attempt(&mut self, 0)
    }

    /// Returns an operation that is either this one or `other`, whichever happens first.
    fn or<B: Operation>(self, other: B) -> Or<Self, B> {
        Or::new(self, other)
    }

    /// Returns the same operation, with `f` called on its result.
    fn map<F, R>(self, f: F) -> Map<Self, F>
    where
        F: FnOnce(Self::Output) -> R,
    {
        Map::new(self, f)
    }
}

impl<P: Parts> Operation for P {
    type Output = P::Done;
}

/// Returns an operation that is one of many. Its result is the index of the operation that has
/// happened, counted from zero, and the result of that operation. A choice of none never happens.
///
/// # Examples
///
/// ```
/// use ethreads::sync::{channel, select::{any, Operation}};
///
/// ethreads::run_main(|| {
///     let channels: Vec<_> = (0..4).map(|_| channel::unbounded()).collect();
///     channels[2].0.send("hello").expect("the receiver is here");
///     let receivers = channels.iter().map(|(_, receiver)| receiver.receiving());
///     assert_eq!(any(receivers).perform(), (2, Ok("hello")));
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
pub fn any<I>(operations: I) -> Any<I::Item>
where
    I: IntoIterator,
    I::Item: Operation,
{
    Any::new(operations)
}

/// Tries each case once, from `first` on.
fn attempt<P: Parts>(parts: &mut P, first: u32) -> Option<P::Done> {
    let count = parts.count();
    let mut cases = (first..count).chain(0..first);
    cases.find_map(|case| parts.attempt(case))
}

fn perform<P: Parts>(parts: P, in_order: bool, location: CallSite) -> P::Done {
    let scheduler = wait_queue::scheduler();
    scheduler.spend_or_unwind(location);
    match wait(&scheduler, parts, in_order, location) {
        Ok(done) => done,
        Err(PerformError::Elapsed) => scheduler.raise_elapsed(),
        Err(PerformError::Unwinding) => wait_queue::cannot_wait("Operation::perform", location),
    }
}

/// Performs an operation, in order, for a call that returns an error at the deadline of a scope.
///
/// # Errors
///
/// `TimedOut` at that deadline.
///
/// # Panics
///
/// If the caller unwinds and would have to wait, the process aborts with a report.
pub(crate) fn perform_io<P: Parts>(parts: P, location: CallSite) -> io::Result<P::Done> {
    let scheduler = wait_queue::scheduler();
    scheduler.spend_budget(location)?;
    match wait(&scheduler, parts, true, location) {
        Ok(done) => Ok(done),
        Err(PerformError::Elapsed) => Err(scheduler.elapsed_error()),
        Err(PerformError::Unwinding) => wait_queue::cannot_wait("perform_io", location),
    }
}

/// Why no operation has happened.
enum PerformError {
    /// The deadline of a scope has passed.
    Elapsed,
    /// The caller unwinds, and so cannot wait.
    Unwinding,
}

#[inline]
fn wait<P: Parts>(
    scheduler: &Scheduler,
    mut parts: P,
    in_order: bool,
    location: CallSite,
) -> Result<P::Done, PerformError> {
    let count = parts.count();
    let first = if in_order { 0 } else { scheduler.pick(count) };
    if let Some(done) = attempt(&mut parts, first) {
        return Ok(done);
    }
    let waits_for_io = (0..count).any(|case| parts.is_io(case));
    let reason = Reason {
        kind: if waits_for_io {
            WaitKind::ChoiceWithIo
        } else {
            WaitKind::Choice
        },
        detail: u64::from(count),
        location,
    };
    let wait = scheduler
        .begin_wait(reason)
        .map_err(|Unwinding| PerformError::Unwinding)?;
    let token = wait.token();
    let park = Park { scheduler, token };
    // Cases are counted from one: a token without a case is the token of the park itself.
    parts.enlist(&park, 1);
    let (deadline, timer) = parts.deadline(1).unwrap_or((NEVER, 0));
    let case = match wait.park(deadline) {
        Outcome::Woken => scheduler.case_of_wake(),
        Outcome::TimedOut => timer,
        outcome => {
            parts.withdraw();
            match outcome {
                Outcome::Elapsed => return Err(PerformError::Elapsed),
                _ => scheduler.raise_cancel(),
            }
        }
    };
    Ok(parts.commit(case - 1))
}
