//! Synchronisation between the ethreads of one shard. Names and signatures are those of
//! [`std::sync`] where std has an equivalent.
//!
//! Ethreads switch only at suspension points, so shared state needs no lock as long as no ethread
//! waits while the state is half changed: `Rc<RefCell<_>>` or `Rc<Cell<_>>` is enough. This module
//! is for the other cases: state that must not change while its holder waits, and ethreads that
//! wait for each other.
//!
//! | for | there is |
//! | --- | --- |
//! | a value with one user, or one writer or many readers, at a time | [`Mutex`], [`RwLock`] |
//! | a limited number of users at a time | [`Semaphore`] |
//! | a condition on the value that a lock protects | [`Condvar`] |
//! | a value that is made once | [`OnceCell`], [`Lazy`] |
//! | a resource that is started on demand and stopped when idle | [`Resource`] |
//! | a value or an error that arrives later | [`Promise`] |
//! | messages, each for one receiver | [`channel`] |
//! | messages, each for every receiver | [`broadcast`] |
//! | the latest value | [`watch`] |
//! | a value for the current waiters only | [`Signal`] |
//! | the end of a group of ethreads, or their arrival | [`WaitGroup`], [`Barrier`] |
//! | the first of several of these events | [`select!`](crate::select), [`select`] |
//! | the same between OS threads | [`remote`] |
//!
//! Outside of [`remote`], nothing here uses an atomic operation and nothing is `Send`. Waiting
//! suspends the ethread. Waiters are served in order of arrival, and no later caller overtakes
//! them. A channel yields after 128 operations that did not have to wait, as I/O does.
//!
//! # Outside of ethreads
//!
//! On a shard's own OS thread, outside of [`run`](crate::run), a call that waits drives the shard
//! meanwhile. An OS thread without ethreads becomes a shard at the first call that has to wait. If
//! nothing is left that could end the wait, the call panics with a report of what every ethread
//! waits for.
//!
//! # When a holder unwinds
//!
//! When an ethread unwinds, by a panic, a cancel or the deadline of a scope, its guards, permits
//! and channel ends are released, so the next waiter has its turn and no ethread waits for an owner
//! that is gone. A value that may be half changed is poisoned, as in std ([`Mutex`], [`RwLock`]).
//! What can no longer be delivered is reported as an error ([`Promise`], [`channel`],
//! [`Resource`]).
//!
//! # Cancellation and deadlines
//!
//! An ethread that is cancelled while it waits, or meets the deadline of a scope, unwinds and
//! leaves the wait queue; the waiters behind it move up. A waiter owns what it was handed before
//! that: its call returns, and the ethread unwinds at its next suspension point.
//!
//! # While unwinding
//!
//! An ethread that unwinds cannot wait. A call that needs no wait succeeds. A call that would have
//! to wait returns its error if it has one; [`Condvar`] and [`Barrier`] do not wait; any other call
//! aborts the process with a report, as it has nothing to return.
//!
//! # Deadlocks
//!
//! A report of a deadlock says which ethread holds what. Ethreads that wait for each other, by
//! locks, joins and [`OnceCell`], are logged when the last of them begins to wait, even if other
//! ethreads go on. Primitives without a single owner (permits, read locks and channels) are not
//! searched for such cycles.

mod barrier;
pub mod broadcast;
pub mod channel;
mod condvar;
mod count;
mod endpoints;
mod mutex;
mod once;
mod poison;
mod promise;
pub mod remote;
pub mod resource;
mod rwlock;
pub mod select;
mod semaphore;
mod signal;
mod wait_group;
pub(crate) mod wait_queue;
pub mod watch;

pub use barrier::{Barrier, BarrierWaitResult};
pub use condvar::{Condvar, WaitTimeoutResult};
pub use mutex::{Mutex, MutexGuard};
pub use once::{Lazy, OnceCell};
pub use promise::{Promise, PromiseError, Resolver, Settling};
pub use resource::Resource;
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{Permit, Semaphore, TryAcquireError};
pub use signal::{Signal, Waiting};
pub use wait_group::{Member, WaitGroup};

pub use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};
