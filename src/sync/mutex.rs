//! Mutual exclusion over suspension points.

// The value is in an `UnsafeCell`, and one guard at a time refers to it.
#![allow(unsafe_code)]

use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;

use super::line::{self, Line, Wait};
use super::poison::{Holding, Poison};
use super::{LockResult, TryLockError, TryLockResult};
use crate::runtime::base::owner::{Owner, Peer};
use crate::runtime::base::wait::WaitKind;

/// A lock that may be held while its holder waits. [`std::sync::Mutex`], for the ethreads of one
/// shard.
///
/// It is fair: unlocking hands it to whoever has waited longest. A report of a deadlock names the
/// holder. It is poisoned if its holder unwinds, by a panic, a cancel or the deadline of a scope.
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
///                 let mut balance = account.lock().expect("nobody panics");
///                 let before = *balance;
///                 thread::sleep(Duration::from_millis(1)); // the bank is asked
///                 *balance = before - 10;
///             })
///         })
///         .collect();
///     for spender in spenders {
///         spender.join().expect("it does not panic");
///     }
///     assert_eq!(*account.lock().expect("nobody panics"), 70);
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
///
/// It stays on its OS thread:
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// send(ethreads::sync::Mutex::new(1));
/// ```
pub struct Mutex<T: ?Sized> {
    /// Those who wait, who will be its holders.
    line: Line<Peer>,
    /// The ethread that holds it, or has been handed it and did not run since.
    holder: Cell<Peer>,
    /// The same, for those who wait.
    owner: Owner,
    poison: Poison,
    value: UnsafeCell<T>,
}

/// Gives the value of a [`Mutex`] as long as it is locked, which it is until this is dropped.
#[must_use = "the mutex is unlocked at once"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    holding: Holding,
}

impl<T> Mutex<T> {
    /// Creates a mutex that is not locked.
    pub const fn new(value: T) -> Self {
        Self {
            line: Line::new(),
            holder: Cell::new(Peer::NOBODY),
            owner: Owner::new(),
            poison: Poison::new(),
            value: UnsafeCell::new(value),
        }
    }

    /// Returns the value.
    ///
    /// # Errors
    ///
    /// The value all the same, if a holder has unwound.
    pub fn into_inner(self) -> LockResult<T> {
        self.poison.guard(self.value.into_inner())
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Locks it; suspends the caller until it is its turn.
    ///
    /// While the caller unwinds, it is locked if it is free; else the process is aborted with a
    /// report.
    ///
    /// # Errors
    ///
    /// The guard all the same, if a holder has unwound.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`, and on the OS thread's own side if nobody can ever unlock
    /// it, as the caller itself cannot that has locked it.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, unless it has been handed the lock.
    #[track_caller]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.lock_at(Location::caller())
    }

    pub(super) fn lock_at(
        &self,
        location: &'static Location<'static>,
    ) -> LockResult<MutexGuard<'_, T>> {
        if self.holder.get() != Peer::NOBODY {
            let wait = Wait::new(WaitKind::Lock, location).on(&self.owner, self.holder.get());
            line::unlimited(self.line.wait(wait, line::me()), "Mutex::lock", location);
        } else {
            self.holder.set(line::me());
        }
        self.guard()
    }

    /// Locks it if it is free, and does not wait.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if it is locked; `Poisoned` with the guard if a holder has unwound.
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        if self.holder.get() != Peer::NOBODY {
            return Err(TryLockError::WouldBlock);
        }
        self.holder.set(line::me());
        Ok(self.guard()?)
    }

    /// The guard of whoever holds it.
    fn guard(&self) -> LockResult<MutexGuard<'_, T>> {
        self.poison.guard(MutexGuard {
            mutex: self,
            holding: Holding::begin(),
        })
    }

    /// Whether a holder has unwound.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poison.is_set()
    }

    /// Takes its value for whole again.
    pub fn clear_poison(&self) {
        self.poison.clear();
    }

    /// Returns the value, which nobody else can have.
    ///
    /// # Errors
    ///
    /// The value all the same, if a holder has unwound.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.poison.guard(self.value.get_mut())
    }
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    pub(super) fn mutex(&self) -> &'a Mutex<T> {
        self.mutex
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: there is one guard at a time: `guard` is called by the one who has found the
        // mutex free and marked it as held, or to whom the last guard has handed it over. All is on
        // one OS thread, as neither is `Send` or `Sync`.
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
        // It stays held while it is handed over, so that nobody gets in between.
        let next = mutex.line.serve(|next| *next);
        let next = next.unwrap_or(Peer::NOBODY);
        mutex.holder.set(next);
        mutex.owner.set(next);
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
