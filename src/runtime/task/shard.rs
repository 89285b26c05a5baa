//! A shard as other OS threads see it: how to spawn ethreads there and learn their outcomes.
#![forbid(unsafe_code)]

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread;

use super::oneshot::{AbandonOnDrop, Abandoned, Oneshot, WaitError};
use super::thread::Thread;
use super::work::{Once, Task, discard_elsewhere};
use crate::runtime::base::error::{Cancelled, WouldPark};
use crate::runtime::base::panic::without_unwinding;
use crate::runtime::base::wait::{CallSite, Outcome};
use crate::runtime::scheduler::current;
use crate::runtime::scheduler::event_loop::Scheduler;
use crate::runtime::scheduler::inbox::{Awaited, Begin, Handle, Inbox, Message};
use crate::runtime::scheduler::unwind::as_io;
use crate::runtime::stack::coroutine::{Ending, Run};
use crate::runtime::stack::{Arena, Class};
use crate::runtime::state::control_block::{SpawnParams, ThreadId};
use crate::runtime::state::metrics::Stats;

/// A shard, for other OS threads: ethreads spawned through this handle run on the shard.
///
/// The handle keeps no shard alive, and no shard waiting: a run that has nothing to do ends, or
/// reports a deadlock, unless the shard belongs to a [`ShardGroup`](crate::runtime::ShardGroup) or
/// was built with [`serve_inbox`](crate::runtime::Builder::serve_inbox). If an OS thread has called
/// [`run`](crate::run) or [`run_main`](crate::run_main), its shard exists until the OS thread ends,
/// and ethreads spawned there between two runs begin with the next run.
///
/// # Examples
///
/// ```
/// use ethreads::runtime::Shard;
/// use ethreads::sync::remote;
///
/// ethreads::run_main(|| {
///     let here = Shard::current();
///     let (done, is_done) = remote::bounded(1);
///     std::thread::spawn(move || {
///         let answer = here.spawn(|| 6 * 7).expect("the shard lives").join();
///         done.send(answer.ok())
///     });
///     assert_eq!(is_done.recv(), Ok(Some(42)));
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
#[derive(Clone)]
pub struct Shard {
    inbox: Arc<Inbox>,
    name: Arc<str>,
}

impl Shard {
    /// Returns the shard of this OS thread.
    ///
    /// # Panics
    ///
    /// If the OS thread has no scheduler yet and none can be made.
    #[must_use]
    pub fn current() -> Self {
        Self::of(&current::expect_for("shard here"))
    }

    pub(in crate::runtime) fn of(scheduler: &Scheduler) -> Self {
        Self {
            inbox: scheduler.inbox.clone(),
            name: thread::current().name().unwrap_or("unnamed").into(),
        }
    }

    /// Returns the name of the shard's OS thread; `unnamed` if it has none.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the shard has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.inbox.queue.is_closed()
    }

    /// Makes an ethread that runs `f` on this shard, as [`thread::spawn`](crate::thread::spawn)
    /// does on the caller's shard, and returns a handle to it. Dropping the handle detaches the
    /// ethread.
    ///
    /// Not a suspension point. Where no stack can be had, the ethread waits for one. The number of
    /// spawned ethreads that have not begun is unbounded: a program that may spawn faster than the
    /// shard runs can use a [`remote::Semaphore`](crate::sync::remote::Semaphore) as a limit.
    /// [`thread::Builder::spawn_on`](crate::thread::Builder::spawn_on) sets a name and more.
    ///
    /// # Errors
    ///
    /// An error that contains `f`, if the shard is ending or has ended.
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> Result<RemoteJoinHandle<T>, SpawnError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn_as(SpawnOptions::default(), f, Location::caller())
    }

    pub(crate) fn spawn_as<F, T>(
        &self,
        options: SpawnOptions,
        f: F,
        location: CallSite,
    ) -> Result<RemoteJoinHandle<T>, SpawnError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let class = match options.stack_size.map(Arena::class_of).transpose() {
            Ok(class) => class,
            Err(error) => return Err(SpawnError { f, error }),
        };
        let join = Arc::new(RemoteJoin {
            oneshot: Oneshot::new(),
            state: Mutex::new(SpawnState::Pending { cancelled: false }),
        });
        let task = RemoteTask {
            f,
            join: join.clone(),
            name: options.name,
            class,
            daemon: options.daemon,
            location,
        };
        match self.inbox.send_new(Message::Spawn(Box::new(task))) {
            Ok(()) => Ok(RemoteJoinHandle {
                join,
                shard: Handle::new(&self.inbox),
            }),
            Err(message) => Err(SpawnError::of_ended(message)),
        }
    }

    /// Returns a snapshot of the shard's counters. Suspends the caller until the shard has made it;
    /// blocks an OS thread without ethreads; on the shard itself, returns at once, as
    /// [`stats`](crate::runtime::stats) does.
    ///
    /// The shard makes the snapshot when it takes its messages next: a shard that sleeps is woken,
    /// and an ethread that holds it delays the snapshot. Between two runs of an OS thread, the
    /// caller waits for the next run, or for the end of the OS thread. The request keeps no shard
    /// alive.
    ///
    /// # Errors
    ///
    /// Kind `NotConnected` if the shard has ended, or ends before it has made the snapshot;
    /// `TimedOut` in a scope whose deadline has passed;
    /// [`WouldPark`](crate::runtime::WouldPark) if the caller unwinds and would have to wait.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`, for another shard.
    ///
    /// # Cancellation
    ///
    /// A cancelled caller unwinds.
    ///
    /// # Examples
    ///
    /// ```
    /// use ethreads::Runtime;
    ///
    /// let shards = Runtime::builder().shards(2).start()?;
    /// shards.shards()[1].spawn(|| ())?.join().expect("it does not panic");
    /// let spawned = shards.shards().iter().map(|shard| Ok(shard.stats()?.spawned));
    /// assert_eq!(spawned.collect::<std::io::Result<Vec<_>>>()?, [0, 1]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn stats(&self) -> io::Result<Stats> {
        let location = Location::caller();
        let own = current::with(|scheduler| {
            let scheduler = scheduler.filter(|scheduler| scheduler.is_of(&self.inbox));
            scheduler.map(Scheduler::stats)
        });
        if let Some(own) = own {
            return Ok(own);
        }
        let answer = Arc::new(Oneshot::new());
        let request = AbandonOnDrop(answer.clone());
        // A message that comes back ends the wait. The caller may have left before the answer.
        let give = move |stats| drop(request.0.put(stats));
        drop(self.inbox.try_send(Message::Stats(Box::new(give))));
        as_io(|| {
            answer.wait(location).map_err(|error| match error {
                WaitError::Abandoned => ended(),
                WaitError::Unwinding => io::Error::other(WouldPark { location }),
            })
        })
    }

    /// Ends the shard, if it is one of a group.
    pub(in crate::runtime) fn stop(&self) {
        self.inbox.send(Message::Stop);
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard")
            .field("name", &self.name())
            .field("has_ended", &self.has_ended())
            .finish_non_exhaustive()
    }
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the shard is shutting down")
}

/// The settings of an ethread that is spawned on another shard.
#[derive(Debug, Default)]
pub(crate) struct SpawnOptions {
    pub(crate) name: Option<Box<str>>,
    pub(crate) stack_size: Option<usize>,
    pub(crate) daemon: bool,
}

/// The ethread could not be spawned. Made by [`Shard::spawn`] and
/// [`thread::Builder::spawn_on`](crate::thread::Builder::spawn_on).
pub struct SpawnError<F> {
    f: F,
    error: io::Error,
}

impl<F: 'static> SpawnError<F> {
    /// The error for a message that was returned unsent.
    fn of_ended<T: Send + 'static>(message: Message) -> Self
    where
        F: FnOnce() -> T + Send,
    {
        let Message::Spawn(spawn) = message else {
            unreachable!("what was sent comes back")
        };
        let task = (spawn as Box<dyn Any>).downcast::<RemoteTask<F, T>>();
        Self {
            f: task.expect("what was sent comes back").f,
            error: ended(),
        }
    }
}

impl<F> SpawnError<F> {
    /// Returns the closure that was not run.
    pub fn into_inner(self) -> F {
        self.f
    }

    /// Returns the kind: `NotConnected` if the shard is ending or has ended, `InvalidInput` for a
    /// stack size that no ethread can have.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.error.kind()
    }
}

impl<F> fmt::Debug for SpawnError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SpawnError").field(&self.error).finish()
    }
}

impl<F> fmt::Display for SpawnError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot spawn an ethread there: {}", self.error)
    }
}

impl<F> std::error::Error for SpawnError<F> {}

impl<F> From<SpawnError<F>> for io::Error {
    fn from(error: SpawnError<F>) -> Self {
        error.error
    }
}

/// The payload of an ethread whose shard has ended first: the ethread did not begin, or was left
/// behind. Given by [`RemoteJoinHandle::join`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardEnded;

impl fmt::Display for ShardEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the shard has ended before the ethread")
    }
}

impl std::error::Error for ShardEnded {}

/// The state shared by the two sides of a remote spawn.
struct RemoteJoin<T> {
    oneshot: Oneshot<thread::Result<T>>,
    state: Mutex<SpawnState>,
}

/// Whether the shard has begun the ethread.
#[derive(Clone, Copy, Debug)]
enum SpawnState {
    Pending { cancelled: bool },
    Started { index: u32, id: ThreadId },
}

impl<T> RemoteJoin<T> {
    fn state(&self) -> MutexGuard<'_, SpawnState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the ethread is there; returns whether it was cancelled before.
    fn set_started(&self, index: u32, id: ThreadId) -> bool {
        let before = std::mem::replace(&mut *self.state(), SpawnState::Started { index, id });
        matches!(before, SpawnState::Pending { cancelled: true })
    }
}

impl<T> Awaited for RemoteJoin<T> {
    fn abandon(&self) {
        self.oneshot.mark_abandoned();
    }

    fn wake(&self) {
        self.oneshot.wake_abandoned();
    }
}

struct RemoteTask<F, T> {
    f: F,
    join: Arc<RemoteJoin<T>>,
    name: Option<Box<str>>,
    class: Option<Class>,
    daemon: bool,
    location: CallSite,
}

impl<F, T> Begin for RemoteTask<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    fn begin(self: Box<Self>) {
        let Self { f, join, .. } = *self;
        let scheduler = current::get().expect("a shard takes its messages itself");
        let task = Task::new(Once::new(move |_| f()));
        let run = Rc::new(RemoteRun {
            task: task.clone(),
            join: join.clone(),
        });
        let name: Option<Rc<str>> = self.name.map(Rc::from);
        let class = self.class.unwrap_or(scheduler.class);
        let params = SpawnParams {
            name: name.clone(),
            daemon: self.daemon,
            start: Some(run),
            ..SpawnParams::new(class, self.location)
        };
        let (index, id) = scheduler.spawn_for(params, join.clone());
        let cancelled = join.set_started(index, id);
        if cancelled {
            scheduler.cancel(index, id);
        }
        task.packet()
            .owner()
            .set(Thread::new(scheduler, index, id, name));
    }

    fn abandon(&self) {
        self.join.oneshot.mark_abandoned();
    }

    fn drop_unbegun(self: Box<Self>) {
        let Self { f, join, .. } = *self;
        without_unwinding(|| drop(f));
        join.oneshot.wake_abandoned();
    }
}

/// Runs a task and hands its result to another OS thread.
struct RemoteRun<S, T> {
    task: Rc<Task<S, T>>,
    join: Arc<RemoteJoin<T>>,
}

impl<S, T> Run for RemoteRun<S, T>
where
    Task<S, T>: Run,
{
    fn run(&self, outcome: Outcome) -> Ending {
        let ending = self.task.run(outcome);
        debug_assert_eq!(ending, Ending::Over, "a closure does not rest");
        let packet = self.task.packet();
        packet.hand_over(|result| self.join.oneshot.put(result));
        current::with(|scheduler| scheduler.map(Scheduler::settle_awaited));
        ending
    }
}

/// Waits for an ethread of another shard and takes its result. Made by [`Shard::spawn`].
///
/// The handle may be sent and waited on anywhere: in an ethread of any shard, on an OS thread
/// without ethreads, or as a [`Future`]. Dropping it detaches the ethread, which goes on. A wait on
/// the handle is not reported as a deadlock by the waiter's shard, as the wake-up comes from
/// another shard; nor does the ethread's own shard report one, as the handle can cancel the
/// ethread.
///
/// # Examples
///
/// ```
/// use ethreads::{Runtime, thread};
///
/// let shards = Runtime::builder().shards(2).start()?;
/// let sleeper = shards.spawn(|| thread::sleep(std::time::Duration::from_secs(3600)))?;
/// sleeper.cancel();
/// assert!(sleeper.join().is_err_and(|payload| payload.is::<thread::Cancelled>()));
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "dropping it detaches the ethread"]
pub struct RemoteJoinHandle<T> {
    join: Arc<RemoteJoin<T>>,
    /// The handle of the ethread's shard, through which the ethread can be cancelled.
    shard: Handle,
}

impl<T> RemoteJoinHandle<T> {
    /// Suspends the caller until the ethread has ended, or blocks an OS thread without ethreads,
    /// and returns the ethread's value or the payload of its panic.
    ///
    /// # Errors
    ///
    /// The payload of the panic that ended the ethread; [`Cancelled`] if it was cancelled;
    /// [`ShardEnded`] if its shard has ended before the ethread could begin, or has left it behind;
    /// [`WouldPark`](crate::runtime::WouldPark) if the caller unwinds and the ethread has not
    /// ended.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`, if the ethread has not ended.
    ///
    /// # Cancellation
    ///
    /// A cancelled caller unwinds, unless the result has come; the ethread that it waited for goes
    /// on, detached.
    #[track_caller]
    pub fn join(self) -> thread::Result<T> {
        let location = Location::caller();
        match self.join.oneshot.wait(location) {
            Ok(result) => result,
            Err(WaitError::Abandoned) => Err(Box::new(ShardEnded)),
            Err(WaitError::Unwinding) => Err(Box::new(WouldPark { location })),
        }
    }

    /// Whether the ethread has ended, or can never end because its shard has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.join.oneshot.has_come()
    }

    /// As [`JoinHandle::cancel`](crate::thread::JoinHandle::cancel). Takes effect when the
    /// ethread's shard takes its messages.
    pub fn cancel(&self) {
        let mut state = self.join.state();
        match *state {
            SpawnState::Pending { .. } => *state = SpawnState::Pending { cancelled: true },
            SpawnState::Started { index, id } => self.shard.send(Message::Cancel { index, id }),
        }
    }
}

impl<T> Future for RemoteJoinHandle<T> {
    type Output = thread::Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.join.oneshot.poll(cx.waker());
        polled.map(|come| come.unwrap_or_else(|Abandoned| Err(Box::new(ShardEnded))))
    }
}

impl<T> Drop for RemoteJoinHandle<T> {
    fn drop(&mut self) {
        match self.join.oneshot.detach() {
            // A cancel is a requested end; it is not logged.
            Some(Err(payload)) if payload.is::<Cancelled>() => {}
            Some(result) => {
                if result.is_err() {
                    self.shard.inbox.count_late_panic();
                }
                discard_elsewhere(result, || "of another shard".to_owned());
            }
            None => {}
        }
    }
}

impl<T> fmt::Debug for RemoteJoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteJoinHandle")
            .field("is_finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}
