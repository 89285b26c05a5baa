//! A value that arrives once, for all its waiters.
#![forbid(unsafe_code)]

use std::cell::{Cell, OnceCell, RefCell};
use std::error::Error;
use std::fmt;
use std::mem;
use std::panic::{self, AssertUnwindSafe, Location};
use std::rc::Rc;

use super::select::sealed::{Park, Parts};
use super::wait_queue::{Wait, WaitQueue, Waiter};
use crate::runtime::base::debug::opaque_debug;
use crate::runtime::base::wait::WaitKind;
use crate::thread;

/// A value that arrives later, or an error in its place. Any number of ethreads may wait for it,
/// and it stays.
///
/// A promise is settled once, by its [`Resolver`]. If the resolver is dropped instead, by a panic
/// or a cancel for example, the promise is broken and its waiters get an error, so no ethread waits
/// forever.
///
/// Clones are handles to the same promise. Each waiter gets a clone of the value; put the value
/// into an [`Rc`] if cloning it is not cheap.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use ethreads::{sync::Promise, thread};
///
/// ethreads::run_main(|| {
///     let quotes: Vec<Promise<u32, String>> = [30, 10, 20]
///         .into_iter()
///         .map(|price| {
///             Promise::spawn(move || {
///                 thread::sleep(Duration::from_millis(price.into()));
///                 Ok(price)
///             })
///         })
///         .collect();
///     let first = Promise::race(&quotes);
///     let total = Promise::all(&quotes).map(|prices| prices.iter().sum::<u32>());
///     assert_eq!(first.wait(), Ok(10));
///     assert_eq!(total.wait(), Ok(60));
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
///
/// It is not `Send`:
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// send(ethreads::sync::Promise::<u8, u8>::new().0);
/// ```
pub struct Promise<T, E> {
    shared: Rc<PromiseState<T, E>>,
}

/// Settles a [`Promise`]. Made by [`Promise::new`].
///
/// It is not `Send`:
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// send(ethreads::sync::Promise::<u8, u8>::new().1);
/// ```
#[must_use = "dropping it breaks the promise"]
pub struct Resolver<T, E> {
    /// `None` once the promise is settled.
    shared: Option<Rc<PromiseState<T, E>>>,
}

struct PromiseState<T, E> {
    outcome: OnceCell<Result<T, PromiseError<E>>>,
    waiters: WaitQueue,
    followers: RefCell<Vec<Rc<dyn Follow<T, E>>>>,
}

/// A promise that depends on other promises.
trait Follow<T, E> {
    /// Called when one of the other promises is settled.
    fn settled(&self, outcome: &Result<T, PromiseError<E>>);

    /// Whether this promise is settled itself, and no longer depends on the other promises.
    fn is_done(&self) -> bool;
}

/// Why a [`Promise`] has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PromiseError<E> {
    /// The promise is rejected with this error.
    Rejected(E),
    /// The resolver was dropped; or the caller unwinds, and cannot wait.
    Broken,
}

impl<E: fmt::Display> fmt::Display for PromiseError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(error) => error.fmt(f),
            Self::Broken => f.write_str("promise dropped before it was fulfilled"),
        }
    }
}

impl<E: Error + 'static> Error for PromiseError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Rejected(error) => error.source(),
            Self::Broken => None,
        }
    }
}

impl<T, E> Promise<T, E> {
    /// Creates a promise and its resolver.
    pub fn new() -> (Self, Resolver<T, E>) {
        let shared = Rc::new(PromiseState {
            outcome: OnceCell::new(),
            waiters: WaitQueue::new(),
            followers: RefCell::default(),
        });
        let promise = Self {
            shared: shared.clone(),
        };
        let resolver = Resolver {
            shared: Some(shared),
        };
        (promise, resolver)
    }

    /// Creates a promise that is resolved with `value`.
    #[must_use]
    pub fn resolved(value: T) -> Self {
        let (promise, resolver) = Self::new();
        resolver.resolve(value);
        promise
    }

    /// Creates a promise that is rejected with `error`.
    #[must_use]
    pub fn rejected(error: E) -> Self {
        let (promise, resolver) = Self::new();
        resolver.reject(error);
        promise
    }

    /// Returns the outcome if the promise is settled; does not wait.
    #[must_use]
    pub fn get(&self) -> Option<Result<&T, &PromiseError<E>>> {
        self.shared.outcome.get().map(Result::as_ref)
    }

    /// Whether the promise is settled.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.get().is_some()
    }
}

impl<T: Clone, E: Clone> Promise<T, E> {
    /// Suspends the caller until the promise is settled, and returns the outcome.
    ///
    /// # Errors
    ///
    /// `Rejected` with the error that came in place of the value; `Broken` if the resolver is gone,
    /// or the caller unwinds and would have to wait.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`. On the OS thread's own side, if nothing can ever settle the
    /// promise.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here. The promise, and the work that will settle it, go on.
    #[track_caller]
    pub fn wait(&self) -> Result<T, PromiseError<E>> {
        let location = Location::caller();
        while self.shared.outcome.get().is_none() {
            let wait = Wait::new(WaitKind::Promise, location);
            if self.shared.waiters.wait(wait, ()).is_err() {
                return Err(PromiseError::Broken);
            }
        }
        self.outcome()
    }

    fn outcome(&self) -> Result<T, PromiseError<E>> {
        let outcome = self.shared.outcome.get();
        outcome.cloned().unwrap_or(Err(PromiseError::Broken))
    }

    /// Returns an operation that waits until the promise is settled, for
    /// [`select!`](crate::select).
    pub fn settling(&self) -> Settling<'_, T, E> {
        Settling {
            promise: self,
            waiter: None,
        }
    }
}

impl<T, E> PromiseState<T, E> {
    fn add(&self, follower: Rc<dyn Follow<T, E>>) {
        let mut followers = self.followers.borrow_mut();
        // Followers that are done must not pile up at a promise that outlives many races.
        let gone = if followers.len() == followers.capacity() {
            let (gone, left) = mem::take(&mut *followers)
                .into_iter()
                .partition(|follower| follower.is_done());
            *followers = left;
            gone
        } else {
            Vec::new()
        };
        followers.push(follower);
        drop(followers);
        // Dropping the followers may run user code.
        drop(gone);
    }
}

impl<T: Clone + 'static, E: Clone + 'static> Promise<T, E> {
    /// Returns a promise that a new ethread settles with the result of `f`. If `f` panics, the
    /// promise is broken and the panic is logged.
    ///
    /// # Panics
    ///
    /// If no ethread can be made.
    #[track_caller]
    pub fn spawn<F>(f: F) -> Self
    where
        F: FnOnce() -> Result<T, E> + 'static,
    {
        let (promise, resolver) = Self::new();
        thread::spawn(move || resolver.settle(f()));
        promise
    }

    /// Returns a promise of the result of `f` on the value; `f` runs in a new ethread. If this
    /// promise is rejected or broken, so is the returned promise.
    ///
    /// # Panics
    ///
    /// If no ethread can be made.
    #[must_use = "the value is not changed"]
    #[track_caller]
    pub fn map<U, F>(&self, f: F) -> Promise<U, E>
    where
        U: 'static,
        F: FnOnce(T) -> U + 'static,
    {
        self.and_then(|value| Ok(f(value)))
    }

    /// Returns a promise of the value or the error that `f` makes of the value; otherwise as
    /// [`map`](Self::map).
    ///
    /// # Panics
    ///
    /// If no ethread can be made.
    #[must_use = "the value is not changed"]
    #[track_caller]
    pub fn and_then<U, F>(&self, f: F) -> Promise<U, E>
    where
        U: 'static,
        F: FnOnce(T) -> Result<U, E> + 'static,
    {
        let (promise, resolver) = Promise::new();
        let first = self.clone();
        thread::spawn(move || match first.wait() {
            Ok(value) => resolver.settle(f(value)),
            Err(PromiseError::Rejected(error)) => resolver.reject(error),
            Err(PromiseError::Broken) => drop(resolver),
        });
        promise
    }

    /// Returns a promise of the values of all these promises, in their order, or of the first
    /// error. If one of them is broken, so is the returned promise.
    #[must_use]
    pub fn all<'a, I: IntoIterator<Item = &'a Self>>(promises: I) -> Promise<Vec<T>, E> {
        let promises: Vec<_> = promises.into_iter().cloned().collect();
        let (promise, resolver) = Promise::new();
        if promises.is_empty() {
            resolver.resolve(Vec::new());
            return promise;
        }
        let all = Rc::new(All {
            left: Cell::new(promises.len()),
            promises: RefCell::new(promises.clone()),
            resolver: RefCell::new(Some(resolver)),
        });
        for promise in promises {
            promise.follow(all.clone());
        }
        promise
    }

    /// Returns a promise of the first outcome among these promises: a value, an error, or that a
    /// promise is broken. Without promises, the returned promise is broken.
    #[must_use]
    pub fn race<'a, I: IntoIterator<Item = &'a Self>>(promises: I) -> Self {
        let (promise, resolver) = Self::new();
        let first = Rc::new(First {
            resolver: RefCell::new(Some(resolver)),
        });
        for promise in promises {
            promise.follow(first.clone());
        }
        promise
    }

    fn follow(&self, follower: Rc<dyn Follow<T, E>>) {
        match self.shared.outcome.get() {
            Some(outcome) => follower.settled(outcome),
            None => self.shared.add(follower),
        }
    }
}

impl<T, E> Resolver<T, E> {
    /// Resolves the promise with the value.
    pub fn resolve(self, value: T) {
        self.settle(Ok(value));
    }

    /// Rejects the promise with an error.
    pub fn reject(self, error: E) {
        self.settle(Err(error));
    }

    /// Resolves or rejects the promise with `result`.
    pub fn settle(mut self, result: Result<T, E>) {
        self.end(result.map_err(PromiseError::Rejected));
    }

    fn end(&mut self, outcome: Result<T, PromiseError<E>>) {
        let Some(shared) = self.shared.take() else {
            return;
        };
        // Nothing else has set the outcome.
        let outcome = shared.outcome.get_or_init(|| outcome);
        shared.waiters.wake_all(|()| ());
        let followers = mem::take(&mut *shared.followers.borrow_mut());
        let mut panicked = None;
        for follower in followers {
            // A follower clones the value, which runs user code. However that unwinds, a cancel
            // included, the other followers are still notified.
            let told = panic::catch_unwind(AssertUnwindSafe(|| follower.settled(outcome)));
            if let Err(payload) = told {
                match panicked {
                    None => panicked = Some(payload),
                    // Dropping a payload may unwind.
                    Some(_) => mem::forget(payload),
                }
            }
        }
        if let Some(payload) = panicked {
            panic::resume_unwind(payload);
        }
    }
}

impl<T, E> Drop for Resolver<T, E> {
    fn drop(&mut self) {
        self.end(Err(PromiseError::Broken));
    }
}

/// Settles a promise with the values of all promises that it depends on.
struct All<T, E> {
    /// The number of promises that are not settled.
    left: Cell<usize>,
    promises: RefCell<Vec<Promise<T, E>>>,
    /// `None` once the dependent promise is settled.
    resolver: RefCell<Option<Resolver<Vec<T>, E>>>,
}

impl<T: Clone, E: Clone> Follow<T, E> for All<T, E> {
    fn settled(&self, outcome: &Result<T, PromiseError<E>>) {
        self.left.set(self.left.get() - 1);
        if outcome.is_ok() && self.left.get() > 0 {
            return;
        }
        let Some(mut resolver) = self.resolver.take() else {
            return;
        };
        let promises = self.promises.take();
        let values = promises.iter().map(Promise::outcome);
        resolver.end(match outcome {
            Ok(_) => values.collect(),
            Err(error) => Err(error.clone()),
        });
    }

    fn is_done(&self) -> bool {
        self.resolver.borrow().is_none()
    }
}

/// Settles a promise with the outcome that comes first.
struct First<T, E> {
    resolver: RefCell<Option<Resolver<T, E>>>,
}

impl<T: Clone, E: Clone> Follow<T, E> for First<T, E> {
    fn settled(&self, outcome: &Result<T, PromiseError<E>>) {
        let resolver = self.resolver.take();
        if let Some(mut resolver) = resolver {
            resolver.end(outcome.clone());
        }
    }

    fn is_done(&self) -> bool {
        self.resolver.borrow().is_none()
    }
}

impl<T, E> Clone for Promise<T, E> {
    /// Returns another handle to the same promise.
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<T: fmt::Debug, E: fmt::Debug> fmt::Debug for Promise<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Promise").field(&self.get()).finish()
    }
}

opaque_debug!(impl<T, E> for Resolver<T, E>);

/// Waits for a [`Promise`]; see [`Promise::settling`].
#[must_use = "an operation does nothing until it is performed"]
pub struct Settling<'a, T, E> {
    promise: &'a Promise<T, E>,
    waiter: Option<Waiter<'a, ()>>,
}

impl<T: Clone, E: Clone> Parts for Settling<'_, T, E> {
    type Done = Result<T, PromiseError<E>>;

    fn attempt(&mut self, _: u32) -> Option<Self::Done> {
        self.promise.shared.outcome.get().cloned()
    }

    fn enlist(&mut self, park: &Park<'_>, case: u32) {
        self.waiter = Some(park.enter(&self.promise.shared.waiters, case, ()));
    }

    fn commit(&mut self, _: u32) -> Self::Done {
        self.waiter = None;
        self.promise.outcome()
    }

    fn withdraw(&mut self) {
        self.waiter = None;
    }
}

opaque_debug!(impl<T, E> for Settling<'_, T, E>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn races_that_are_over_do_not_pile_up() {
        crate::run_main(|| {
            let (slow, resolver) = Promise::<u32, ()>::new();
            let waits = Promise::race([&slow]);
            for step in 0..1_000 {
                assert_eq!(
                    Promise::race([&slow, &Promise::resolved(step)]).wait(),
                    Ok(step)
                );
                assert!(Promise::all([&slow, &Promise::rejected(())]).is_settled());
                assert!(slow.shared.followers.borrow().len() <= 8);
            }
            resolver.resolve(7);
            assert_eq!(waits.wait(), Ok(7));
        })
        .unwrap();
    }
}
