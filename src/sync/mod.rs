//! Synchronisation between the ethreads of one shard, with the names and the signatures of
//! [`std::sync`] where it has them.
//!
//! Ethreads switch only where they wait, so what they share needs no lock as long as nobody waits
//! while it is half changed: `Rc<RefCell<_>>` or `Rc<Cell<_>>` will do. What is here is for the
//! other cases: a state that must be left alone while its holder waits, and waiting for each other.
//!
//! | for | there is |
//! | --- | --- |
//! | a value that one, or many readers, may use | [`Mutex`], [`RwLock`] |
//! | so many at a time | [`Semaphore`] |
//! | a condition on what a lock protects | [`Condvar`] |
//! | a value that is made once | [`OnceCell`], [`Lazy`] |
//! | something that is started on demand and stopped when idle | [`Resource`] |
//! | a value or an error that comes later | [`Promise`] |
//! | messages, each for one receiver | [`channel`] |
//! | messages, each for all | [`broadcast`] |
//! | the latest value | [`watch`] |
//! | news for those who wait just now | [`Signal`] |
//! | the end of others, or their coming | [`WaitGroup`], [`Barrier`] |
//! | the first of several of these | [`select!`](crate::select), [`select`] |
//! | the same between OS threads | [`remote`] |
//!
//! It costs no atomic operation, and nothing here but [`remote`] is `Send`. Waiting suspends the
//! ethread. Waiters are served in the order in which they came, and nobody who comes later
//! overtakes them. A channel yields after 128 operations that did not have to wait, as I/O does.
//!
//! # Outside of ethreads
//!
//! On a shard's own OS thread, outside of [`run`](crate::run), waiting drives the shard meanwhile.
//! An OS thread without ethreads becomes a shard by the first call that has to wait. If nothing is
//! left that could end the wait, it panics with a report of what all ethreads wait for.
//!
//! # Panics of others
//!
//! Guards, permits and ends of channels are given back while their owner unwinds, whether by a
//! panic, a cancel or the deadline of a scope, so nobody waits for somebody who is gone: the next
//! in line has its turn. What may be half changed then is poisoned, as with std ([`Mutex`],
//! [`RwLock`]); what cannot be kept is told ([`Promise`], [`channel`], [`Resource`]).
//!
//! # Cancellation and deadlines
//!
//! Whoever is cancelled while it waits, or meets the deadline of a scope, unwinds and leaves the
//! line; the others move up. What was handed to a waiter before that is its own: it returns, and
//! unwinds at its next suspension point.
//!
//! # While unwinding
//!
//! An ethread that unwinds cannot wait. What is free is taken; for what is not, calls with an error
//! of their own return it, [`Condvar`] and [`Barrier`] do not wait, and the others abort the
//! process with a report, as there is nothing they could return.
//!
//! # Deadlocks
//!
//! A report of a deadlock says who holds what. Ethreads that wait for each other, by locks, joins
//! and [`OnceCell`], are told to the log when the last of them begins to wait, even if others go
//! on. What has no single owner, as permits, read locks and channels have not, is not looked
//! through for that.

mod barrier;
pub mod broadcast;
pub mod channel;
mod condvar;
mod line;
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
