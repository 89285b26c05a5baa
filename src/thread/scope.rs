//! Ethreads that borrow from the ethread that waits for them.

// Borrowing closures run as `'static` ones: the scope does not end before they do.
#![allow(unsafe_code)]

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::panic::{self, AssertUnwindSafe, Location};
use std::rc::Rc;

use super::{Builder, JoinHandle, Thread, ThreadId};
use crate::runtime::base::panic::without_unwinding;
use crate::runtime::base::wait::{CallSite, NEVER, Outcome, Reason, Token, WaitKind};
use crate::runtime::scheduler::current as shard;
use crate::runtime::scheduler::event_loop::Scheduler;
use crate::runtime::scheduler::park::Unwinding;
use crate::runtime::scheduler::unwind::{Addressed, Mask, ScopeGuard, addressed};
use crate::runtime::stack::coroutine::Run;
use crate::runtime::state::scopes::{ScopeId, ScopeKind};
use crate::runtime::task::work::{Family, Joinable, Once, Task, discard};

type Payload = Box<dyn Any + Send>;

/// Runs `f`, which can spawn ethreads that borrow from the enclosing stack frames, and suspends the
/// caller until all of them have ended. [`std::thread::scope`], for ethreads.
///
/// It neither returns nor unwinds before that, whatever happens.
///
/// The scope cancels the children that are still running when a child that is not joined panics,
/// when `f` panics, and when the caller is cancelled or its deadline passes while it waits here.
/// The panic of a child also interrupts `f`, at its next suspension point. The first panic is then
/// raised from here. Children are bound by the deadlines of the scopes around this call.
///
/// On the OS thread's own side, children that wait for each other are cancelled, and the log lists
/// what all ethreads wait for. The process is aborted if the children can never end because they
/// are in `uncancellable`, or because their shard was ended from within the scope.
///
/// # Panics
///
/// With the panic of `f`, or else of a child whose handle was dropped. If the OS thread has no
/// scheduler and none can be made.
///
/// # Cancellation
///
/// A cancelled ethread cancels its children, and unwinds from here when they have ended.
///
/// # Examples
///
/// ```
/// use ethreads::thread;
///
/// ethreads::run_main(|| {
///     let words = ["one".to_owned(), "three".to_owned()];
///     let mut longest = 0;
///     thread::scope(|scope| {
///         let lengths = words.each_ref().map(|word| scope.spawn(|| word.len()));
///         for length in lengths {
///             longest = longest.max(length.join().expect("it does not panic"));
///         }
///     });
///     assert_eq!(longest, words[1].len());
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
#[doc(alias("nursery", "JoinSet"))]
#[track_caller]
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let location = Location::caller();
    let scheduler = shard::expect_for("ethread to open a scope, and no scheduler");
    let inherited = scheduler.scope_deadline();
    let group = ScopeGuard::enter(scheduler.clone(), ScopeKind::Group, location);
    let scope = Scope {
        children: Rc::new(Children {
            parent: scheduler.current_place(),
            group: group.id(),
            inherited,
            running: RefCell::default(),
            waiter: Cell::new(None),
            failure: Cell::new(None),
            cancelled: Cell::new(false),
            elapsed: Cell::new(false),
            scheduler: scheduler.clone(),
        }),
        scope: PhantomData,
        env: PhantomData,
    };
    let children = &*scope.children;
    // The children may use this stack until `wait` returns: nothing may unwind before.
    let result = panic::catch_unwind(AssertUnwindSafe(|| f(&scope)));
    if result.is_err() {
        children.cancel();
    }
    let interrupted = children.wait(location);
    let id = group.id();
    // A cancel of the ethread, which the group has held back so far, takes effect from here on.
    drop(group);
    let failure = children.failure.take();
    match (result, failure) {
        // `f` was interrupted because of the failure.
        (Err(payload), Some(failure)) if addressed(&*payload, id) == Addressed::Here => {
            panic::resume_unwind(failure)
        }
        (Err(payload), failure) => {
            if let Some(failure) = failure {
                discard(Err::<(), _>(failure), || "of a scope".to_owned());
            }
            panic::resume_unwind(payload)
        }
        (Ok(value), Some(failure)) => {
            discard(Ok(value), shard::label);
            panic::resume_unwind(failure)
        }
        (Ok(value), None) => {
            if interrupted || children.elapsed.get() {
                scheduler.raise_if_due();
            }
            value
        }
    }
}

/// A scope to spawn ethreads in. Given to the closure of [`scope`].
///
/// It stays on its OS thread, and is neither `Send` nor `Sync`:
///
/// ```compile_fail
/// ethreads::thread::scope(|scope| std::thread::scope(|s| { s.spawn(|| scope); }));
/// ```
///
/// Children cannot borrow variables of the closure itself:
///
/// ```compile_fail
/// ethreads::thread::scope(|scope| {
///     let inside = 1;
///     scope.spawn(|| assert_eq!(inside, 1));
/// });
/// ```
pub struct Scope<'scope, 'env: 'scope> {
    children: Rc<Children>,
    /// Invariant in both lifetimes, as std's.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// The children of a scope.
struct Children {
    scheduler: Rc<Scheduler>,
    /// The place of the ethread that opened the scope, and waits.
    parent: u32,
    group: ScopeId,
    /// The deadline of the scopes around this scope.
    inherited: Option<(u64, CallSite)>,
    /// In spawn order.
    running: RefCell<BTreeMap<ThreadId, u32>>,
    waiter: Cell<Option<Token>>,
    /// The first panic of a child that is not joined.
    failure: Cell<Option<Payload>>,
    /// All children that run, or are spawned later, are cancelled.
    cancelled: Cell<bool>,
    /// The inherited deadline has ended a child.
    elapsed: Cell<bool>,
}

impl<'scope> Scope<'scope, '_> {
    /// Spawns an ethread that may borrow data that outlives the scope.
    ///
    /// Dropping the handle does not detach the ethread: the scope waits for it, and raises its
    /// panic.
    ///
    /// # Panics
    ///
    /// If the ethread cannot be made; see [`Builder::spawn_scoped`]. In a closure given to
    /// `suspend`. While the caller unwinds the process is aborted, with a report.
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + 'scope,
        T: 'scope,
    {
        match Builder::new().spawn_scoped(self, f) {
            Ok(handle) => handle,
            Err(error) => panic!("cannot spawn an ethread: {error}"),
        }
    }
}

impl Builder {
    /// Makes an ethread in a scope. See [`Scope::spawn`].
    ///
    /// # Errors
    ///
    /// The errors of [`Builder::spawn`].
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`. While the caller unwinds the process is aborted, with a
    /// report.
    #[track_caller]
    pub fn spawn_scoped<'scope, F, T>(
        self,
        scope: &'scope Scope<'scope, '_>,
        f: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + 'scope,
        T: 'scope,
    {
        let location = Location::caller();
        let children = &scope.children;
        let scheduler = &children.scheduler;
        if std::thread::panicking() {
            scheduler.abort_unwinding("Scope::spawn", location);
        }
        assert!(
            !scheduler.on_scheduler_side(),
            "Scope::spawn at {location} on the scheduler's side: its scope could not wait there"
        );
        let task = Task::of(Once::new(move |_| f()), Some(children.clone()));
        let run: Rc<dyn Run + 'scope> = task.clone();
        // SAFETY: only the lifetime changes. What the closure borrows outlives the call of `scope`,
        // which does not end before `Children::ended` was called for this ethread (`wait`). The
        // ethread itself calls `ended`, when the closure is gone and the result is stored or
        // dropped. Right after that, before it leaves its stack, it drops this `Rc`, whose result
        // is gone or belongs to the holder of the handle. If the ethread is leaked, the waiting
        // ethread is leaked as well, with its frames; the OS thread's own code aborts the process
        // instead.
        let run = unsafe { mem::transmute::<Rc<dyn Run + 'scope>, Rc<dyn Run>>(run) };
        let joinable: Rc<Joinable<'scope, T>> = task;
        // SAFETY: only the lifetime changes, and the handle that holds it is bound to `'scope`.
        let joinable = unsafe {
            mem::transmute::<Rc<Joinable<'scope, T>>, Rc<Joinable<'static, T>>>(joinable)
        };
        let handle = self.spawn_run(scheduler.clone(), run, joinable, location)?;
        // Right after the child has become ready: the user code in a spawn, inheriting local
        // values, runs before that. So every child that can run is counted.
        let thread: &Thread = handle.thread();
        children.add(thread.id(), thread.place());
        Ok(ScopedJoinHandle {
            handle,
            scope: PhantomData,
        })
    }
}

impl Children {
    fn add(&self, id: ThreadId, index: u32) {
        self.running.borrow_mut().insert(id, index);
        if let Some(inherited) = self.inherited {
            self.scheduler.inherit_into(index, inherited);
        }
        if self.cancelled.get() {
            self.scheduler.cancel(index, id);
        }
    }

    fn is_running(&self) -> bool {
        !self.running.borrow().is_empty()
    }

    /// Cancels all children that run, and all that are spawned later.
    fn cancel(&self) {
        if !self.cancelled.replace(true) {
            for (id, index) in &*self.running.borrow() {
                self.scheduler.cancel(*index, *id);
            }
        }
    }

    /// Waits for the end of all children; never unwinds. Returns whether the caller was
    /// interrupted: by a cancel, a deadline or a deadlock.
    fn wait(&self, location: CallSite) -> bool {
        if !self.is_running() {
            return false;
        }
        // A panic from below would leave the children without the frames that they refer to.
        let bomb = AbortOnDrop(location);
        let mut interrupted = false;
        let mut mask = None;
        while self.is_running() {
            if self.scheduler.on_scheduler_side() || !self.scheduler.is_current() {
                // Nothing can wait there, or the shard has ended and left the children behind.
                bomb.explode("it has come to where nothing can wait");
            }
            let reason = Reason {
                kind: WaitKind::Scope,
                detail: self.running.borrow().len() as u64,
                location,
            };
            let wait = match self.scheduler.begin_wait(reason) {
                Ok(wait) => wait,
                Err(Unwinding) => self.scheduler.abort_unwinding("thread::scope", location),
            };
            self.waiter.set(Some(wait.token()));
            match wait.park_or_stuck(NEVER) {
                Ok(Outcome::Woken | Outcome::TimedOut) => continue,
                Ok(Outcome::Cancelled | Outcome::Elapsed) => {}
                Err(stuck) if mask.is_some() => bomb.explode(&stuck.to_string()),
                // The wait of the OS thread's own code, during which the children wait for each
                // other.
                Err(stuck) => without_unwinding(|| {
                    log::error!("the children of the scope at {location} are cancelled: {stuck}");
                }),
            }
            // From here on only the end of the children can end this wait.
            interrupted = true;
            self.cancel();
            mask.get_or_insert_with(|| Mask::new(self.scheduler.clone(), location));
        }
        mem::forget(bomb);
        self.waiter.set(None);
        interrupted
    }
}

/// Aborts the process when dropped: the children of a scope refer to frames that would be gone.
struct AbortOnDrop(CallSite);

impl AbortOnDrop {
    fn explode(self, why: &str) -> ! {
        eprintln!("the scope at {} can never end: {why}", self.0);
        std::process::abort()
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        eprintln!("the wait of the scope at {} has panicked", self.0);
        std::process::abort();
    }
}

impl Family for Children {
    fn failed(&self, payload: Payload) {
        if let Some(first) = self.failure.replace(None) {
            self.failure.set(Some(first));
            discard(Err::<(), _>(payload), shard::label);
            return;
        }
        self.failure.set(Some(payload));
        self.cancel();
        self.scheduler.cancel_scope(self.parent, self.group);
    }

    fn elapsed(&self) {
        // The deadline inherited by the scope, which also applies to the ethread that opened the
        // scope.
        self.elapsed.set(true);
    }

    fn ended(&self) {
        let id = self.scheduler.current_id();
        self.running.borrow_mut().remove(&id);
        if !self.is_running()
            && let Some(token) = self.waiter.take()
        {
            self.scheduler.wake(token);
        }
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not borrowed while the writer runs: it is user code, which may spawn or suspend.
        let running = self.children.running.borrow().len();
        f.debug_struct("Scope")
            .field("running", &running)
            .finish_non_exhaustive()
    }
}

/// Waits for an ethread of a scope and takes its result.
///
/// If the handle is dropped, the scope waits for the ethread and raises its panic.
pub struct ScopedJoinHandle<'scope, T> {
    handle: JoinHandle<T>,
    scope: PhantomData<&'scope ()>,
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Suspends the caller until the ethread has ended, and returns its value or the payload of its
    /// panic, which the scope then does not raise. As [`JoinHandle::join`].
    ///
    /// # Errors
    ///
    /// As [`JoinHandle::join`]; [`Elapsed`](crate::time::Elapsed) if the deadline of a scope around
    /// both has ended the ethread.
    ///
    /// # Panics
    ///
    /// As [`JoinHandle::join`].
    ///
    /// # Cancellation
    ///
    /// A cancelled caller unwinds; the scope still waits for the ethread.
    #[inline(always)]
    #[track_caller]
    pub fn join(self) -> super::Result<T> {
        self.handle.join()
    }

    /// Whether the ethread has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    pub(crate) fn handle(&self) -> &JoinHandle<T> {
        &self.handle
    }

    /// Returns the ethread's own handle.
    #[must_use]
    pub fn thread(&self) -> &Thread {
        self.handle.thread()
    }

    /// Makes the ethread unwind. As [`JoinHandle::cancel`].
    pub fn cancel(&self) {
        self.handle.cancel();
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedJoinHandle")
            .field("thread", self.thread())
            .finish_non_exhaustive()
    }
}
