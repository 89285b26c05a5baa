//! Waiting for several things at once, of which exactly one happens.
//!
//! An [`Operation`] is something that can be waited for: receiving from a channel, sending to one,
//! a time, the end of an ethread, a descriptor. [`perform`](Operation::perform) waits for it;
//! [`or`](Operation::or) makes one of two, and [`any`] of many. [`select!`](crate::select) writes
//! that down as a `match` does. The idea is that of Concurrent ML (John Reppy, 1991), as in Guile's
//! fibers: operations are values, and a choice between them is one too.
//!
//! Exactly one of the things happens. The others are as if nobody had waited for them: no value is
//! taken, no place in a line is kept, no timer stays.
//!
//! Of several that are possible at once, none is preferred for long: each time another one is the
//! first to be tried. [`perform_in_order`](Operation::perform_in_order), or `biased;` in the macro,
//! tries them in their order.

mod combine;
mod leaves;
mod macros;
pub(super) mod sealed;

use std::io;
use std::panic::Location;

use self::sealed::{Parts, Turn};
use super::line;
use crate::runtime::base::wait::{NEVER, Outcome, Reason, WaitKind};
use crate::runtime::scheduler::event_loop::Scheduler;
use crate::runtime::scheduler::park::Unwinding;

pub use combine::{Any, Either, Map, Or};
pub use leaves::{After, Finished, Ready, after, at, finished, readable, writable};

/// Something that can be waited for, alone or as one of several.
///
/// The methods of the things that can be waited for make them, named after what they do:
/// [`Receiver::receiving`](super::channel::Receiver::receiving),
/// [`Signal::waiting`](super::Signal::waiting); [`after`], [`finished`] and [`readable`] are here.
/// It cannot be implemented outside of this crate.
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
    /// What comes of it.
    type Output;

    /// Suspends the caller until it has happened.
    ///
    /// While the caller unwinds, what is possible at once happens; if nothing is, the process is
    /// aborted with a report.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`, and on the OS thread's own side if it can never happen.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, and nothing has happened.
    #[track_caller]
    fn perform(self) -> Self::Output {
        perform(self, false, Location::caller())
    }

    /// Suspends the caller as [`perform`](Self::perform) does. Of several things that are possible
    /// at once the first one happens.
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

    /// Lets it happen if that is possible at once; does not wait.
    fn try_perform(mut self) -> Option<Self::Output> {
        let first = line::scheduler().pick(self.count());
        attempt(&mut self, first)
    }

    /// Lets it happen if that is possible at once, the first thing if several are; does not wait.
    fn try_perform_in_order(mut self) -> Option<Self::Output> {
        attempt(&mut self, 0)
    }

    /// Either this or another one.
    fn or<B: Operation>(self, other: B) -> Or<Self, B> {
        Or::new(self, other)
    }

    /// The same operation, with `f` called on what has come of it.
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

/// Returns an operation that is one of many: what comes of it is the number of the one that has
/// happened, counted from zero, and what has come of that. Of none, it never happens.
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

/// Tries each of the things once, from the given one on.
fn attempt<P: Parts>(parts: &mut P, first: u32) -> Option<P::Done> {
    let count = parts.count();
    let mut cases = (first..count).chain(0..first);
    cases.find_map(|case| parts.attempt(case))
}

fn perform<P: Parts>(parts: P, in_order: bool, location: &'static Location<'static>) -> P::Done {
    let scheduler = line::scheduler();
    scheduler.spend_or_unwind(location);
    match wait(&scheduler, parts, in_order, location) {
        Ok(done) => done,
        Err(Missed::Elapsed) => scheduler.raise_elapsed(),
        Err(Missed::Unwinding) => line::cannot_wait("Operation::perform", location),
    }
}

/// Performs an operation, in order, for a call whose error tells of the deadline of a scope.
///
/// # Errors
///
/// `TimedOut` at that deadline.
///
/// # Panics
///
/// While the caller unwinds, if it would have to wait.
pub(crate) fn perform_io<P: Parts>(
    parts: P,
    location: &'static Location<'static>,
) -> io::Result<P::Done> {
    let scheduler = line::scheduler();
    scheduler.spend_budget(location)?;
    match wait(&scheduler, parts, true, location) {
        Ok(done) => Ok(done),
        Err(Missed::Elapsed) => Err(scheduler.elapsed_error()),
        Err(Missed::Unwinding) => line::cannot_wait("perform_io", location),
    }
}

/// Why nothing has happened.
enum Missed {
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
    location: &'static Location<'static>,
) -> Result<P::Done, Missed> {
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
        .map_err(|Unwinding| Missed::Unwinding)?;
    let turn = Turn::new(scheduler, wait.token());
    // Cases are counted from one: a token without one is that of the park itself.
    parts.enlist(&turn, 1);
    let (deadline, timer) = parts.deadline(1).unwrap_or((NEVER, 0));
    let case = match wait.park(deadline) {
        Outcome::Woken => scheduler.case_of_wake(),
        Outcome::TimedOut => timer,
        outcome => {
            parts.withdraw();
            match outcome {
                Outcome::Elapsed => return Err(Missed::Elapsed),
                _ => scheduler.raise_cancel(),
            }
        }
    };
    Ok(parts.commit(case - 1))
}
