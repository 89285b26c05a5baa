//! The ethread that starts a resource, keeps it, and stops it.
#![forbid(unsafe_code)]

use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use super::core::{ResourceCore, State};
use super::error::StartError;
use crate::runtime::base::panic::{message, without_unwinding};
use crate::runtime::base::wait::{NEVER, deadline_after};
use crate::thread;
use crate::time::{self, Instant};

/// Starts a resource, keeps it until it is to stop, and stops it. However the keeper ends, even
/// before it has run, its drop marks the resource as stopped.
pub(super) struct Keeper<T, E> {
    shared: Rc<ResourceCore<T, E>>,
    /// The error for the waiters of the start, if the start does not complete.
    why: StartError<E>,
}

impl<T, E> Drop for Keeper<T, E> {
    fn drop(&mut self) {
        self.shared.stopped(&self.why);
    }
}

impl<T, E> Keeper<T, E> {
    pub(super) fn new(shared: &Rc<ResourceCore<T, E>>) -> Self {
        shared.state.set(State::Starting);
        shared.usage.take();
        Self {
            shared: shared.clone(),
            // The reason if a cancel ends the keeper.
            why: StartError::Stopped,
        }
    }

    pub(super) fn run(mut self) {
        match start(&self.shared) {
            Ok(value) if self.shared.state.get() == State::Starting => self.keep(Rc::new(value)),
            // The start has completed in spite of the cancel, which must not interrupt the stop.
            Ok(value) => thread::uncancellable(|| stop(&self.shared, &value)),
            Err(error) => self.why = error,
        }
    }

    fn keep(&self, value: Rc<T>) {
        let shared = &*self.shared;
        shared.state.set(State::Running);
        *shared.value.borrow_mut() = Some(value.clone());
        shared.usage().idle_since.set(Instant::now().as_nanos());
        let hand_over = |slot: &mut Option<_>| *slot = shared.lease().map(Ok);
        shared.starting.wake_all(hand_over);
        while shared.state.get() == State::Running {
            rest(shared);
        }
        drain(shared);
        stop(shared, &value);
    }
}

fn stop<T, E>(shared: &ResourceCore<T, E>, value: &T) {
    let stop = AssertUnwindSafe(|| (shared.settings.stop)(value));
    if let Err(payload) = thread::catch_panic(stop) {
        let text = message(&*payload);
        without_unwinding(|| log::error!("stopping a resource panicked: {text}"));
    }
}

fn start<T, E>(shared: &ResourceCore<T, E>) -> Result<T, StartError<E>> {
    let settings = &shared.settings;
    let started = thread::catch_panic(AssertUnwindSafe(|| {
        let result = match settings.start_timeout {
            Some(limit) => {
                time::timeout(limit, &settings.start).map_err(|_| StartError::TimedOut(limit))?
            }
            None => (settings.start)(),
        };
        result.map_err(|error| StartError::Failed(Rc::new(error)))
    }));
    started.unwrap_or_else(|payload| {
        let text = message(&*payload);
        without_unwinding(|| log::error!("the start of a resource panicked: {text}"));
        Err(StartError::Panicked(text.into()))
    })
}

/// Waits until the keeper may have something to do; begins the stop if the resource has been idle
/// for too long.
fn rest<T, E>(shared: &ResourceCore<T, E>) {
    let usage = shared.usage();
    let deadline = match shared.settings.idle_timeout {
        Some(timeout) if usage.count.get() == 0 => deadline_after(usage.idle_since.get(), timeout),
        Some(_) | None => NEVER,
    };
    if deadline <= Instant::now().as_nanos() {
        shared.ask_to_stop();
    } else {
        usage.wait(deadline);
    }
}

/// Waits until no lease is left, for at most the resource's grace.
fn drain<T, E>(shared: &ResourceCore<T, E>) {
    let now = Instant::now().as_nanos();
    let grace = shared.settings.grace;
    let deadline = grace.map_or(NEVER, |grace| deadline_after(now, grace));
    let usage = shared.usage();
    while usage.count.get() > 0 && Instant::now().as_nanos() < deadline {
        usage.wait(deadline);
    }
}
