//! Synchronisation between the ethreads of one shard, with the names and the signatures of
//! [`std::sync`] where it has them.
//!
//! Ethreads switch only where they wait, so what they share needs no lock as long as nobody waits
//! while it is half changed: `Rc<RefCell<_>>` or `Rc<Cell<_>>` will do. What is here is for the
//! other cases: a state that must be left alone while its holder waits, and waiting for each other.
//!
//! It costs no atomic operation, and nothing here is `Send`. Waiting suspends the ethread; on a
//! shard's own OS thread it drives the shard meanwhile. Waiters are served in the order in which
//! they came, and nobody who comes later overtakes them.
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
