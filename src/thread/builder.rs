//! Making ethreads.

use std::io;
use std::panic::Location;
use std::rc::Rc;

use crate::runtime::base::wait::CallSite;
use crate::runtime::scheduler::current;
use crate::runtime::scheduler::event_loop::Scheduler;
use crate::runtime::stack::coroutine::Run;
use crate::runtime::task::join::JoinHandle;
use crate::runtime::task::shard::{RemoteJoinHandle, Shard, SpawnError, SpawnOptions};
use crate::runtime::task::thread::Thread;
use crate::runtime::task::work::{Joinable, Once, Task, TaskOwner, Work};

/// Makes an ethread that runs `f` on this OS thread, and returns a handle to it.
///
/// The ethread does not run before the scheduler's next turn, so the caller goes on first. Works
/// inside ethreads, and on any OS thread before [`run`](crate::run). Dropping the handle detaches
/// the ethread.
///
/// Not a suspension point: a destructor may spawn an ethread for cleanup that waits.
///
/// # Panics
///
/// If no stack can be had; [`Builder::spawn`] returns that error. On an OS thread that is ending.
///
/// # Examples
///
/// ```
/// use std::rc::Rc;
///
/// ethreads::run_main(|| {
///     let shared = Rc::new(20);
///     let theirs = shared.clone();
///     let thread = ethreads::spawn(move || *theirs + 1);
///     assert_eq!(thread.join().unwrap_or(0) + *shared, 41);
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
#[doc(alias("goroutine", "fiber", "green thread"))]
#[track_caller]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    match Builder::new().spawn(f) {
        Ok(handle) => handle,
        Err(error) => panic!("cannot spawn an ethread: {error}"),
    }
}

/// Settings of a new ethread.
///
/// # Examples
///
/// ```
/// use ethreads::thread;
///
/// let thread = thread::Builder::new().name("worker").stack_size(64 * 1024).spawn(|| {
///     thread::current().name().map(str::to_owned)
/// })?;
/// ethreads::run()?;
/// assert_eq!(thread.join().ok().flatten().as_deref(), Some("worker"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing before `spawn`"]
pub struct Builder {
    name: Option<Rc<str>>,
    stack_size: Option<usize>,
    daemon: bool,
    inherits_nothing: bool,
}

impl Builder {
    /// Returns the default settings: no name, the runtime's stack size.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the name in logs, reports and [`Thread::name`].
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(Rc::from(name.into()));
        self
    }

    /// Sets the usable size of the stack in bytes. Rounded up to a power of two, at least 16 KiB,
    /// at most 1 GiB; the guard comes on top.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// Sets whether [`run`](crate::run) may return before this ethread has ended: false unless set.
    /// A daemon stays parked for the next run.
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.daemon = daemon;
        self
    }

    /// Does not inherit the values of [`Local::inherited`](crate::thread::Local::inherited): for an
    /// ethread of the library that does not work for the ethread that spawns it. The spawn then
    /// runs no user code.
    #[cfg(feature = "http")]
    pub(crate) fn inherits_nothing(mut self) -> Self {
        self.inherits_nothing = true;
        self
    }

    /// Makes the ethread. See [`spawn`].
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a stack size above 1 GiB; `OutOfMemory` if the stack cannot be had, with
    /// a text that names the limit to raise; any error of making the scheduler, if this is the
    /// first call on its OS thread.
    #[track_caller]
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        self.spawn_work(Once::new(move |_| f()))
    }

    /// Makes the ethread on another shard. See [`Shard::spawn`].
    ///
    /// # Errors
    ///
    /// An error that contains `f`, if the shard is ending or has ended, and for a stack size above
    /// 1 GiB.
    ///
    /// # Examples
    ///
    /// ```
    /// use ethreads::{Runtime, thread};
    ///
    /// let shards = Runtime::builder().shards(2).start()?;
    /// let named = thread::Builder::new()
    ///     .name("far away")
    ///     .spawn_on(&shards.shards()[1], || thread::current().name().map(str::to_owned))?;
    /// assert_eq!(named.join().ok().flatten().as_deref(), Some("far away"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn spawn_on<F, T>(self, shard: &Shard, f: F) -> Result<RemoteJoinHandle<T>, SpawnError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let options = SpawnOptions {
            name: self.name.as_deref().map(Box::from),
            stack_size: self.stack_size,
            daemon: self.daemon,
        };
        shard.spawn_as(options, f, Location::caller())
    }

    /// Makes an ethread of work that may rest.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn).
    #[track_caller]
    pub(crate) fn spawn_work<W, T>(self, work: W) -> io::Result<JoinHandle<T>>
    where
        W: Work<T> + 'static,
        T: 'static,
    {
        let scheduler = current::get_or_install()?;
        let task = Task::new(work);
        self.spawn_run(scheduler, task.clone(), task, Location::caller())
    }

    /// Makes an ethread of its two sides: the side that runs and the side that is joined.
    #[inline]
    pub(super) fn spawn_run<T>(
        self,
        scheduler: Rc<Scheduler>,
        run: Rc<dyn Run>,
        joinable: Rc<Joinable<'static, T>>,
        location: CallSite,
    ) -> io::Result<JoinHandle<T>> {
        self.enroll(scheduler, run, joinable.packet().owner(), location)?;
        Ok(JoinHandle::new(joinable))
    }

    /// The part of a spawn that does not depend on the result type of the ethread; sets `owner`.
    #[inline(never)]
    fn enroll(
        self,
        scheduler: Rc<Scheduler>,
        run: Rc<dyn Run>,
        owner: &TaskOwner,
        location: CallSite,
    ) -> io::Result<()> {
        let inherited = if self.inherits_nothing {
            None
        } else {
            scheduler.inherited()
        };
        let (index, id) = scheduler.spawn(
            run,
            self.name.clone(),
            self.daemon,
            self.stack_size,
            location,
        )?;
        if let Some(inherited) = inherited {
            scheduler.give_locals(index, inherited);
        }
        owner.set(Thread::new(scheduler, index, id, self.name));
        Ok(())
    }
}
