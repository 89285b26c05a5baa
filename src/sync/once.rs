//! A value that is made once, on demand.
#![forbid(unsafe_code)]

use std::cell::{self, Cell};
use std::convert::Infallible;
use std::fmt;
use std::ops::Deref;
use std::panic::Location;

use super::wait_queue::{self, Wait, WaitQueue};
use crate::runtime::base::owner::{Owner, Peer};
use crate::runtime::base::wait::{CallSite, WaitKind};

/// A cell that is written to once. [`std::sync::OnceLock`], for the ethreads of one shard.
///
/// The closure that makes the value may wait; ethreads that ask for the value meanwhile wait for
/// that. If the closure fails, or unwinds by a panic, a cancel or the deadline of a scope, the next
/// waiter makes another attempt with its own closure.
///
/// For a value that can also end and begin again, see [`Resource`](super::Resource).
///
/// # Examples
///
/// ```
/// use std::{rc::Rc, time::Duration};
/// use ethreads::{sync::OnceCell, thread};
///
/// ethreads::run_main(|| {
///     let settings = Rc::new(OnceCell::new());
///     let readers: Vec<_> = (0..3)
///         .map(|reader| {
///             let settings = settings.clone();
///             thread::spawn(move || {
///                 *settings.get_or_init(|| {
///                     thread::sleep(Duration::from_millis(1)); // loading them takes time
///                     reader
///                 })
///             })
///         })
///         .collect();
///     for reader in readers {
///         assert_eq!(reader.join().ok(), Some(0)); // made by the first reader
///     }
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
///
/// It is not `Send`:
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// send(ethreads::sync::OnceCell::<u8>::new());
/// ```
pub struct OnceCell<T> {
    value: cell::OnceCell<T>,
    /// The ethread that makes the value, or is the next to do so.
    maker: Owner,
    /// The waiters, each with its ethread if the waiter would make the value itself.
    waiters: WaitQueue<Option<Peer>>,
}

/// An attempt to make the value. When it ends, the waiters have the value, or the next waiter
/// makes it.
struct Making<'a, T>(&'a OnceCell<T>);

impl<T> Drop for Making<'_, T> {
    fn drop(&mut self) {
        let cell = self.0;
        if cell.value.get().is_none() {
            // A waiter that only waits is woken on the way, and enters the queue again.
            while let Some(waiter) = cell.waiters.wake_one(|waiter| *waiter) {
                if let Some(next) = waiter {
                    // `next` makes the value from now on, so that no other ethread makes the
                    // value in between.
                    cell.maker.set(next);
                    return;
                }
            }
        }
        cell.maker.set(Peer::NONE);
        cell.waiters.wake_all(|_| ());
    }
}

impl<T> OnceCell<T> {
    /// Creates a cell without a value.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            value: cell::OnceCell::new(),
            maker: Owner::new(),
            waiters: WaitQueue::new(),
        }
    }

    /// Returns the value, if there is one; does not wait.
    #[must_use]
    pub fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// Returns the value, if there is one. `&mut self` guarantees that nothing else refers to it.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.value.get_mut()
    }

    /// Sets the value; does not wait.
    ///
    /// # Errors
    ///
    /// The given value, if the cell has a value already or an ethread is about to make it.
    pub fn set(&self, value: T) -> Result<(), T> {
        if self.is_made() {
            return Err(value);
        }
        self.value.set(value)?;
        self.waiters.wake_all(|_| ());
        Ok(())
    }

    /// Returns the value; makes it with `f` if there is none. Suspends the caller while another
    /// ethread makes it.
    ///
    /// While the caller unwinds, the call does not wait: if another ethread makes the value, the
    /// process aborts with a report.
    ///
    /// # Panics
    ///
    /// With the panic of `f`. If `f` asks for the value that it is to make. In a closure given to
    /// `suspend`, if the call would have to wait. On the OS thread's own side, if the call would
    /// have to wait forever.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here while it waits, and from where it waits in `f`.
    #[track_caller]
    pub fn get_or_init<F: FnOnce() -> T>(&self, f: F) -> &T {
        match self.make(|| Ok::<T, Infallible>(f()), Location::caller()) {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    /// Returns the value; makes it with `f` if there is none. Suspends the caller while another
    /// ethread makes it, as [`get_or_init`](Self::get_or_init) does.
    ///
    /// # Errors
    ///
    /// The error of `f`. The cell has no value then, and the next caller tries again.
    ///
    /// # Panics
    ///
    /// As [`get_or_init`](Self::get_or_init).
    ///
    /// # Cancellation
    ///
    /// As [`get_or_init`](Self::get_or_init).
    #[track_caller]
    pub fn get_or_try_init<F, E>(&self, f: F) -> Result<&T, E>
    where
        F: FnOnce() -> Result<T, E>,
    {
        self.make(f, Location::caller())
    }

    fn make<E>(&self, f: impl FnOnce() -> Result<T, E>, location: CallSite) -> Result<&T, E> {
        let me = wait_queue::me();
        if self.is_made() {
            assert!(
                self.maker.get() != me,
                "the value of a cell is needed at {location} in order to make it"
            );
            // Waits until there is a value, or until the caller is to make it.
            let wait = self.wait_for_it(location);
            self.waiters
                .wait_infallibly(wait, Some(me), "OnceCell::get_or_init");
        }
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        self.maker.set(me);
        let _making = Making(self);
        let value = f()?;
        Ok(self.value.get_or_init(|| value))
    }

    /// Suspends the caller until there is a value; does not make the value itself.
    ///
    /// While the caller unwinds, the call does not wait: if there is no value, the process aborts
    /// with a report.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`. On the OS thread's own side, if nothing can ever make the
    /// value.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here.
    #[track_caller]
    pub fn wait(&self) -> &T {
        let location = Location::caller();
        loop {
            if let Some(value) = self.value.get() {
                return value;
            }
            let wait = self.wait_for_it(location);
            self.waiters.wait_infallibly(wait, None, "OnceCell::wait");
        }
    }

    /// Whether an ethread makes the value, or is about to.
    fn is_made(&self) -> bool {
        self.maker.get() != Peer::NONE
    }

    fn wait_for_it(&self, location: CallSite) -> Wait<'_> {
        Wait::new(WaitKind::Once, location).on(&self.maker)
    }

    /// Takes the value out, so that another one can be made.
    pub fn take(&mut self) -> Option<T> {
        self.value.take()
    }

    /// Returns the value, if there is one.
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }
}

impl<T> Default for OnceCell<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> From<T> for OnceCell<T> {
    fn from(value: T) -> Self {
        Self {
            value: cell::OnceCell::from(value),
            ..Self::new()
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

/// A value that is made on first use. [`std::sync::LazyLock`], for the ethreads of one shard.
///
/// The closure that makes the value may wait, so using the value suspends the first caller, and the
/// callers that arrive meanwhile.
///
/// # Examples
///
/// ```
/// use ethreads::sync::Lazy;
///
/// ethreads::run_main(|| {
///     let primes = Lazy::new(|| vec![2, 3, 5, 7]);
///     assert_eq!(primes[2], 5);
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
///
/// It is not `Send`:
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// send(ethreads::sync::Lazy::<u8>::new(|| 1));
/// ```
pub struct Lazy<T, F = fn() -> T> {
    cell: OnceCell<T>,
    init: Cell<Option<F>>,
}

impl<T, F> Lazy<T, F> {
    /// Creates a value that `f` makes on first use.
    pub const fn new(f: F) -> Self {
        Self {
            cell: OnceCell::new(),
            init: Cell::new(Some(f)),
        }
    }
}

impl<T, F: FnOnce() -> T> Lazy<T, F> {
    /// Returns the value; makes it if there is none, or suspends the caller while another ethread
    /// makes it.
    ///
    /// # Panics
    ///
    /// As [`OnceCell::get_or_init`]; and if the closure has unwound before, by a panic, a cancel or
    /// the deadline of a scope: there is no other closure.
    ///
    /// # Cancellation
    ///
    /// As [`OnceCell::get_or_init`].
    #[track_caller]
    pub fn force(this: &Self) -> &T {
        this.cell.get_or_init(|| match this.init.take() {
            Some(f) => f(),
            None => panic!("the closure of a `Lazy` has unwound, and there is no other"),
        })
    }
}

impl<T, F: FnOnce() -> T> Deref for Lazy<T, F> {
    type Target = T;

    #[track_caller]
    fn deref(&self) -> &T {
        Self::force(self)
    }
}

impl<T: fmt::Debug, F> fmt::Debug for Lazy<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lazy").field(&self.cell).finish()
    }
}
