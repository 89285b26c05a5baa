//! A value that changes, and receivers that wait for changes.
//!
//! A [`Sender`] replaces the value. Each [`Receiver`] can read it at any time, and can wait until
//! there is a value that the receiver has not seen. Values in between may be missed; a
//! [`broadcast`](super::broadcast) delivers each of them. Names are those of tokio's `watch`.
//!
//! Values are returned as [`Rc`], so that holding a value blocks nothing.
//!
//! # Examples
//!
//! ```
//! use ethreads::{sync::watch, thread};
//!
//! ethreads::run_main(|| {
//!     let (level, mut changes) = watch::channel("info");
//!     let logger = thread::spawn(move || {
//!         let mut seen = vec![*changes.get_and_update()];
//!         while changes.changed().is_ok() {
//!             seen.push(*changes.get_and_update());
//!         }
//!         seen
//!     });
//!     for new in ["debug", "trace"] {
//!         thread::yield_now();
//!         level.send(new).expect("it is watched");
//!     }
//!     drop(level);
//!     assert_eq!(logger.join().ok(), Some(vec!["info", "debug", "trace"]));
//! })?;
//! # Ok::<(), ethreads::RunError>(())
//! ```
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::sync::mpsc::{RecvError, SendError};

use super::endpoints::Endpoints;
use super::select::sealed::{Park, Parts};
use super::wait_queue::{Wait, Waiter};
use crate::runtime::base::debug::opaque_debug;
use crate::runtime::base::wait::WaitKind;

/// Creates a value that can be watched. The receiver has seen this value.
#[must_use]
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let shared = Rc::new(WatchState {
        value: RefCell::new(Rc::new(value)),
        version: Cell::new(0),
        ends: Endpoints::new(),
    });
    let receiver = shared.subscribe(0);
    (Sender { shared }, receiver)
}

struct WatchState<T> {
    value: RefCell<Rc<T>>,
    /// The number of changes so far.
    version: Cell<u64>,
    ends: Endpoints,
}

impl<T> WatchState<T> {
    fn get(&self) -> Rc<T> {
        self.value.borrow().clone()
    }

    fn replace(&self, value: Rc<T>) -> Rc<T> {
        let old = self.value.replace(value);
        self.version.set(self.version.get() + 1);
        self.ends.waiters.wake_all(|()| ());
        old
    }

    fn subscribe(self: &Rc<Self>, seen: u64) -> Receiver<T> {
        self.ends.receivers.add();
        Receiver {
            shared: self.clone(),
            seen,
        }
    }
}

/// Replaces the value. Made by [`channel`]. When the last sender is dropped, the value stays as it
/// is.
///
/// It is not `Send`:
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// send(ethreads::sync::watch::channel(1).0);
/// ```
pub struct Sender<T> {
    shared: Rc<WatchState<T>>,
}

/// Reads the value and waits for changes. Made by [`channel`] and [`Sender::subscribe`].
///
/// It is not `Send`:
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// send(ethreads::sync::watch::channel(1).1);
/// ```
pub struct Receiver<T> {
    shared: Rc<WatchState<T>>,
    /// The last version that the receiver has seen.
    seen: u64,
}

impl<T> Sender<T> {
    /// Replaces the value, and wakes the receivers that wait for a change.
    ///
    /// # Errors
    ///
    /// The new value, if there is no receiver; the old value stays.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.receiver_count() == 0 {
            return Err(SendError(value));
        }
        drop(self.send_replace(value));
        Ok(())
    }

    /// Replaces the value, with or without receivers, and returns the old value.
    pub fn send_replace(&self, value: T) -> Rc<T> {
        self.shared.replace(Rc::new(value))
    }

    /// Replaces the value, with or without receivers, by a clone that `f` has changed.
    ///
    /// If `f` panics, the value stays as it was. `f` should not wait: values that are sent
    /// meanwhile are replaced too.
    pub fn send_modify<F: FnOnce(&mut T)>(&self, f: F)
    where
        T: Clone,
    {
        let mut value = T::clone(&self.shared.get());
        f(&mut value);
        drop(self.send_replace(value));
    }

    /// Returns the value.
    #[must_use]
    pub fn get(&self) -> Rc<T> {
        self.shared.get()
    }

    /// Creates another receiver, which has seen the current value.
    #[must_use]
    pub fn subscribe(&self) -> Receiver<T> {
        self.shared.subscribe(self.shared.version.get())
    }

    /// Returns how many receivers there are.
    #[must_use]
    pub fn receiver_count(&self) -> usize {
        self.shared.ends.receivers.get()
    }
}

impl<T> Receiver<T> {
    /// Returns the value without marking it as seen: [`changed`](Self::changed) still reports it.
    #[must_use]
    pub fn get(&self) -> Rc<T> {
        self.shared.get()
    }

    /// Returns the value and marks it as seen.
    pub fn get_and_update(&mut self) -> Rc<T> {
        self.seen = self.shared.version.get();
        self.shared.get()
    }

    /// Whether there is a value that this receiver has not seen.
    ///
    /// # Errors
    ///
    /// If there is no such value, and the last sender is gone.
    pub fn has_changed(&self) -> Result<bool, RecvError> {
        match (self.is_stale(), self.shared.ends.is_closed()) {
            (false, true) => Err(RecvError),
            (changed, _) => Ok(changed),
        }
    }

    fn is_stale(&self) -> bool {
        self.seen != self.shared.version.get()
    }

    /// Suspends the caller until there is a value that this receiver has not seen, and marks it as
    /// seen.
    ///
    /// # Errors
    ///
    /// If there is no such value, and the last sender is gone; or if the caller unwinds and would
    /// have to wait.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`. On the OS thread's own side, if the value can never change.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, and marks no value as seen.
    #[track_caller]
    pub fn changed(&mut self) -> Result<(), RecvError> {
        let location = Location::caller();
        loop {
            if let Some(changed) = self.changing().attempt(0) {
                return changed;
            }
            let wait = Wait::new(WaitKind::Watch, location);
            if self.shared.ends.waiters.wait(wait, ()).is_err() {
                return Err(RecvError);
            }
        }
    }

    /// Suspends the caller until `condition` is true of the value, and returns that value. The
    /// current value counts too.
    ///
    /// # Errors
    ///
    /// As [`changed`](Self::changed).
    ///
    /// # Panics
    ///
    /// As [`changed`](Self::changed).
    ///
    /// # Cancellation
    ///
    /// As [`changed`](Self::changed).
    #[track_caller]
    pub fn wait_for<F: FnMut(&T) -> bool>(&mut self, mut condition: F) -> Result<Rc<T>, RecvError> {
        loop {
            let value = self.get_and_update();
            if condition(&value) {
                return Ok(value);
            }
            self.changed()?;
        }
    }

    /// Returns an operation that waits for a value that this receiver has not seen, for
    /// [`select!`](crate::select).
    pub fn changing(&mut self) -> Changing<'_, T> {
        Changing {
            shared: &self.shared,
            seen: &mut self.seen,
            waiter: None,
        }
    }
}

impl<T> Clone for Sender<T> {
    /// Creates another sender, which replaces the same value.
    fn clone(&self) -> Self {
        self.shared.ends.senders.add();
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<T> Clone for Receiver<T> {
    /// Creates another receiver, which has seen the same version as this receiver.
    fn clone(&self) -> Self {
        self.shared.subscribe(self.seen)
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.shared.ends.remove_sender();
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.ends.receivers.remove();
    }
}

opaque_debug!(impl<T: fmt::Debug> for Sender<T>; value = get);
opaque_debug!(impl<T: fmt::Debug> for Receiver<T>; value = get);

/// Waits for a change; see [`Receiver::changing`].
#[must_use = "an operation does nothing until it is performed"]
pub struct Changing<'a, T> {
    shared: &'a WatchState<T>,
    seen: &'a mut u64,
    waiter: Option<Waiter<'a, ()>>,
}

impl<T> Parts for Changing<'_, T> {
    type Done = Result<(), RecvError>;

    fn attempt(&mut self, _: u32) -> Option<Self::Done> {
        let version = self.shared.version.get();
        if *self.seen != version {
            *self.seen = version;
            return Some(Ok(()));
        }
        self.shared.ends.is_closed().then_some(Err(RecvError))
    }

    fn enlist(&mut self, park: &Park<'_>, case: u32) {
        self.waiter = Some(park.enter(&self.shared.ends.waiters, case, ()));
    }

    fn commit(&mut self, case: u32) -> Self::Done {
        self.waiter = None;
        let done = self.attempt(case);
        done.expect("it is woken by a change, or of the end")
    }

    fn withdraw(&mut self) {
        self.waiter = None;
    }
}

opaque_debug!(impl<T> for Changing<'_, T>);
