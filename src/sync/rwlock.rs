//! Many readers or one writer, held across suspension points.

// The value is in an `UnsafeCell`, and the state says which guards may refer to it.
#![allow(unsafe_code)]

use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::panic::Location;

use super::poison::{Holding, Poison, poisonable};
use super::wait_queue::{self, Wait, WaitQueue};
use super::{LockResult, TryLockError, TryLockResult};
use crate::runtime::base::on_drop::OnDrop;
use crate::runtime::base::owner::{Owner, Peer};
use crate::runtime::base::wait::WaitKind;

/// Protects a value for many readers or one writer at a time. [`std::sync::RwLock`], for the
/// ethreads of one shard.
///
/// The lock is fair: a reader that arrives while a writer waits is queued behind the writer, so
/// neither starves. An ethread that holds a read lock must therefore not ask for another read lock:
/// the ethread may wait for a writer that waits for this ethread.
///
/// If a writer unwinds, by a panic, a cancel or the deadline of a scope, the lock is poisoned: the
/// value may be half changed. A reader that unwinds does not poison the lock.
///
/// # Examples
///
/// ```
/// use std::rc::Rc;
/// use ethreads::{sync::RwLock, thread};
///
/// ethreads::run_main(|| {
///     let routes = Rc::new(RwLock::new(vec!["/"]));
///     let readers: Vec<_> = (0..2)
///         .map(|_| {
///             let routes = routes.clone();
///             thread::spawn(move || {
///                 let routes = routes.read().expect("no writer panics");
///                 thread::yield_now(); // both readers hold the lock
///                 routes.len()
///             })
///         })
///         .collect();
///     thread::yield_now();
///     routes.write().expect("likewise").push("/about"); // after both readers
///     for reader in readers {
///         assert_eq!(reader.join().ok(), Some(1));
///     }
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
///
/// It is not `Send`:
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// send(ethreads::sync::RwLock::new(1));
/// ```
pub struct RwLock<T: ?Sized> {
    state: Cell<LockState>,
    /// The writer, shared with the waits on this lock for deadlock detection.
    owner: Owner,
    waiters: WaitQueue<Access>,
    poison: Poison,
    value: UnsafeCell<T>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LockState {
    /// This many readers hold the lock. With 0, the lock is free.
    Read(usize),
    /// This ethread holds the lock for writing, or has been handed it and has not run since.
    Written(Peer),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    /// By this ethread.
    Write(Peer),
}

/// Read access to the value of an [`RwLock`]. Dropping the guard releases the lock.
#[must_use = "the lock is released at once"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
}

/// Write access to the value of an [`RwLock`]. Dropping the guard releases the lock.
#[must_use = "the lock is released at once"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    holding: Holding,
}

impl<T> RwLock<T> {
    /// Creates a lock that is free.
    pub const fn new(value: T) -> Self {
        Self {
            state: Cell::new(LockState::Read(0)),
            owner: Owner::new(),
            waiters: WaitQueue::new(),
            poison: Poison::new(),
            value: UnsafeCell::new(value),
        }
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Locks for reading; suspends the caller until no writer holds the lock and no writer waits
    /// ahead of the caller.
    ///
    /// While the caller unwinds, it gets the lock if that is possible at once; otherwise the
    /// process aborts with a report.
    ///
    /// # Errors
    ///
    /// If a writer has unwound. The error contains the guard.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`. On the OS thread's own side, if nothing can ever release
    /// the lock.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, unless it has been handed the lock.
    #[track_caller]
    pub fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        self.lock(Access::Read, "RwLock::read");
        self.reader()
    }

    /// Locks for writing; suspends the caller until the lock is free and the caller's turn comes.
    ///
    /// While the caller unwinds, it gets the lock if the lock is free; otherwise the process aborts
    /// with a report.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    ///
    /// # Panics
    ///
    /// As [`read`](Self::read).
    ///
    /// # Cancellation
    ///
    /// As [`read`](Self::read).
    #[track_caller]
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.lock(Access::Write(wait_queue::me()), "RwLock::write");
        self.writer()
    }

    /// Locks for reading if that is possible at once; does not wait.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if a writer holds the lock or waits for it; `Poisoned` with the guard if a
    /// writer has unwound.
    pub fn try_read(&self) -> TryLockResult<RwLockReadGuard<'_, T>> {
        if self.try_lock(Access::Read) {
            Ok(self.reader()?)
        } else {
            Err(TryLockError::WouldBlock)
        }
    }

    /// Locks for writing if the lock is free; does not wait.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the lock is not free; `Poisoned` with the guard if a writer has unwound.
    pub fn try_write(&self) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        if self.try_lock(Access::Write(wait_queue::me())) {
            Ok(self.writer()?)
        } else {
            Err(TryLockError::WouldBlock)
        }
    }

    fn try_lock(&self, access: Access) -> bool {
        let after = self.after(access).filter(|_| self.waiters.is_empty());
        after.inspect(|&state| self.set(state)).is_some()
    }

    #[track_caller]
    fn lock(&self, access: Access, call: &str) {
        if self.try_lock(access) {
            return;
        }
        let location = Location::caller();
        let wait = match self.state.get() {
            LockState::Written(_) => Wait::new(WaitKind::Lock, location).on(&self.owner),
            LockState::Read(readers) => {
                Wait::new(WaitKind::Readers, location).for_many(readers as u64)
            }
        };
        // A waiter that leaves may have kept back waiters that can have the lock now.
        let _left = OnDrop(|| self.grant());
        self.waiters.wait_infallibly(wait, access, call);
    }

    fn set(&self, state: LockState) {
        self.state.set(state);
        self.owner.set(match state {
            LockState::Read(_) => Peer::NONE,
            LockState::Written(writer) => writer,
        });
    }

    /// The state with one more holder, if the current state admits this access.
    fn after(&self, access: Access) -> Option<LockState> {
        match (self.state.get(), access) {
            (LockState::Read(readers), Access::Read) => Some(LockState::Read(readers + 1)),
            (LockState::Read(0), Access::Write(writer)) => Some(LockState::Written(writer)),
            _ => None,
        }
    }

    /// Grants the lock to each waiter that can have it now, in queue order.
    fn grant(&self) {
        self.waiters
            .grant(|access| self.after(access), |state| self.set(state));
    }

    fn reader(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        self.poison.guard(RwLockReadGuard { lock: self })
    }

    fn writer(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.poison.guard(RwLockWriteGuard {
            lock: self,
            holding: Holding::begin(),
        })
    }
}

poisonable!(RwLock, "a writer");

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// Turns the write guard into a read guard; no other writer gets the lock in between. Readers
    /// that wait at the front of the queue get the lock too.
    pub fn downgrade(this: Self) -> RwLockReadGuard<'a, T> {
        let lock = this.lock;
        this.holding.end(&lock.poison);
        mem::forget(this);
        lock.set(LockState::Read(1));
        lock.grant();
        RwLockReadGuard { lock }
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: while a read guard exists, the state is `Read` with a count that includes it, so
        // no write guard exists. Everything is on one OS thread, as nothing here is `Send` or
        // `Sync`.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: while a write guard exists, the state is `Written`, and no other guard exists: a
        // write guard is made only by the ethread that found the state `Read(0)`, or that was
        // granted the lock in that state. Everything is on one OS thread, as nothing here is `Send`
        // or `Sync`.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    fn drop(&mut self) {
        if let LockState::Read(readers) = self.lock.state.get() {
            self.lock.set(LockState::Read(readers - 1));
        }
        self.lock.grant();
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    fn drop(&mut self) {
        self.holding.end(&self.lock.poison);
        self.lock.set(LockState::Read(0));
        self.lock.grant();
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("RwLock");
        match self.try_read() {
            Ok(guard) => text.field("value", &&*guard),
            Err(TryLockError::Poisoned(error)) => text.field("value", &&**error.get_ref()),
            Err(TryLockError::WouldBlock) => text.field("value", &format_args!("<locked>")),
        };
        text.field("poisoned", &self.is_poisoned()).finish()
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
