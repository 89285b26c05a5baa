//! Mutual exclusion across suspension points.

// The value is in an `UnsafeCell`, and one guard at a time refers to it.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;

use super::poison::{Holding, Poison, poisonable};
use super::wait_queue::{self, Wait, WaitQueue};
use super::{LockResult, TryLockError, TryLockResult};
use crate::runtime::base::owner::{Owner, Peer};
use crate::runtime::base::wait::{CallSite, WaitKind};

/// A lock that may be held while its holder waits. [`std::sync::Mutex`], for the ethreads of one
/// shard.
///
/// The mutex is fair: unlocking hands it to the waiter that has waited longest. A report of a
/// deadlock names the holder. The mutex is poisoned if its holder unwinds, by a panic, a cancel or
/// the deadline of a scope.
///
/// # Examples
///
/// ```
/// use std::{rc::Rc, time::Duration};
/// use ethreads::{sync::Mutex, thread};
///
/// ethreads::run_main(|| {
///     let account = Rc::new(Mutex::new(100));
///     let spenders: Vec<_> = (0..3)
///         .map(|_| {
///             let account = account.clone();
///             thread::spawn(move || {
///                 let mut balance = account.lock().expect("no holder panics");
///                 let before = *balance;
///                 thread::sleep(Duration::from_millis(1)); // the bank is asked
///                 *balance = before - 10;
///             })
///         })
///         .collect();
///     for spender in spenders {
///         spender.join().expect("it does not panic");
///     }
///     assert_eq!(*account.lock().expect("no holder panics"), 70);
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
///
/// A mutex stays on its OS thread:
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// send(ethreads::sync::Mutex::new(1));
/// ```
pub struct Mutex<T: ?Sized> {
    /// The waiters, each with the ethread that will be the holder.
    waiters: WaitQueue<Peer>,
    /// The ethread that holds the mutex, or has been handed it and has not run since.
    owner: Owner,
    poison: Poison,
    value: UnsafeCell<T>,
}

/// Access to the value of a [`Mutex`]. Dropping the guard unlocks the mutex.
#[must_use = "the mutex is unlocked at once"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    holding: Holding,
}

impl<T> Mutex<T> {
    /// Creates a mutex that is not locked.
    pub const fn new(value: T) -> Self {
        Self {
            waiters: WaitQueue::new(),
            owner: Owner::new(),
            poison: Poison::new(),
            value: UnsafeCell::new(value),
        }
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Locks the mutex; suspends the caller until its turn comes.
    ///
    /// While the caller unwinds, it gets the mutex if the mutex is free; otherwise the process
    /// aborts with a report.
    ///
    /// # Errors
    ///
    /// If a holder has unwound. The error contains the guard.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`. On the OS thread's own side, if nothing can ever unlock the
    /// mutex, for example because the caller itself has locked it.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, unless it has been handed the lock.
    #[track_caller]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.lock_at(Location::caller())
    }

    pub(super) fn lock_at(&self, location: CallSite) -> LockResult<MutexGuard<'_, T>> {
        if self.owner.get() != Peer::NONE {
            let wait = Wait::new(WaitKind::Lock, location).on(&self.owner);
            self.waiters
                .wait_infallibly(wait, wait_queue::me(), "Mutex::lock");
        } else {
            self.owner.set(wait_queue::me());
        }
        self.guard()
    }

    /// Locks the mutex if it is free; does not wait.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the mutex is locked; `Poisoned` with the guard if a holder has unwound.
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        if self.owner.get() != Peer::NONE {
            return Err(TryLockError::WouldBlock);
        }
        self.owner.set(wait_queue::me());
        Ok(self.guard()?)
    }

    /// The guard of the current holder.
    fn guard(&self) -> LockResult<MutexGuard<'_, T>> {
        self.poison.guard(MutexGuard {
            mutex: self,
            holding: Holding::begin(),
        })
    }
}

poisonable!(Mutex, "a holder");

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    pub(super) fn mutex(&self) -> &'a Mutex<T> {
        self.mutex
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: at most one guard exists at a time: `guard` is called only by the ethread that
        // found the mutex free and marked it as held, or that the last guard has handed it to.
        // Everything is on one OS thread, as neither type is `Send` or `Sync`.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        let mutex = self.mutex;
        self.holding.end(&mutex.poison);
        // The mutex stays held during the hand-over, so that no other ethread locks it in between.
        let next = mutex.waiters.wake_one(|next| *next);
        mutex.owner.set(next.unwrap_or(Peer::NONE));
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Mutex");
        match self.try_lock() {
            Ok(guard) => text.field("value", &&*guard),
            Err(TryLockError::Poisoned(error)) => text.field("value", &&**error.get_ref()),
            Err(TryLockError::WouldBlock) => text.field("value", &format_args!("<locked>")),
        };
        text.field("poisoned", &self.is_poisoned()).finish()
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
