//! Something that is started by the first who needs it, and shared by all.
#![forbid(unsafe_code)]

mod error;
mod keeper;
mod lease;
mod shared;

use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use self::keeper::Keeper;
use self::shared::{Settings, Shared};
use super::line::Wait;
use crate::runtime::base::wait::WaitKind;
use crate::thread;

pub use error::StartError;
pub use lease::Lease;
pub use shared::State;

/// Something that is started by the first who needs it, shared by all who do, stopped when nobody
/// has needed it for a while, and started again.
///
/// Whoever calls [`get`](Self::get) while it starts waits for that very start. If it fails, all of
/// them are told why, and the next call tries again. It is an ethread of its own that starts it, so
/// a waiter that times out or is cancelled is missed by nobody. The same ethread keeps it
/// afterwards, and stops it: a daemon, which keeps no [`run`](crate::run) going. When the shard
/// ends while it runs, the value is dropped without being stopped.
///
/// To look whether it is there, start it if not, and then note that it is there, is not enough,
/// even though only one ethread runs at a time: while it starts, which waits, the next one finds
/// nothing there either, and starts another. The example `shared_resource` shows that.
///
/// Clones are the same resource. When the last one is dropped it is stopped.
///
/// # Examples
///
/// ```
/// use std::{cell::Cell, rc::Rc, time::Duration};
/// use ethreads::{sync::Resource, thread};
///
/// ethreads::run_main(|| {
///     let starts = Rc::new(Cell::new(0));
///     let count = starts.clone();
///     let database = Resource::new(move || {
///         thread::sleep(Duration::from_millis(5)); // connecting takes time
///         count.set(count.get() + 1);
///         Ok::<_, std::io::Error>(format!("connection {}", count.get()))
///     });
///     let users: Vec<_> = (0..3)
///         .map(|_| {
///             let database = database.clone();
///             thread::spawn(move || database.get().map(|connection| connection.len()))
///         })
///         .collect();
///     for user in users {
///         assert_eq!(user.join().expect("no panic").ok(), Some("connection 1".len()));
///     }
///     assert_eq!(starts.get(), 1);
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
///
/// It is not `Send`:
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// send(ethreads::sync::Resource::new(|| Ok::<u8, u8>(1)));
/// ```
pub struct Resource<T, E> {
    shared: Rc<Shared<T, E>>,
}

/// What is to be known of a [`Resource`] besides how to start it. Made by [`Resource::builder`].
///
/// # Examples
///
/// ```
/// use std::{cell::Cell, rc::Rc, time::Duration};
/// use ethreads::{sync::{Resource, resource::State}, thread};
///
/// ethreads::run_main(|| {
///     let stops = Rc::new(Cell::new(0));
///     let count = stops.clone();
///     let app = Resource::builder(|| Ok::<_, std::io::Error>("the app"))
///         .name("app")
///         .start_timeout(Duration::from_secs(30))
///         .idle_timeout(Duration::from_millis(1))
///         .stop(move |_| count.set(count.get() + 1))
///         .build();
///     drop(app.get().expect("it starts"));
///     while app.state() != State::Stopped {
///         thread::sleep(Duration::from_millis(1)); // nobody needs it
///     }
///     assert_eq!(stops.get(), 1);
///     assert_eq!(*app.get().expect("it starts again"), "the app");
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
#[must_use = "it makes nothing until `build`"]
pub struct Builder<T, E> {
    settings: Settings<T, E>,
}

impl<T: 'static, E: 'static> Resource<T, E> {
    /// Creates a resource that `start` starts, and that is dropped in order to stop it. Nothing is
    /// started yet.
    #[must_use]
    pub fn new<F>(start: F) -> Self
    where
        F: Fn() -> Result<T, E> + 'static,
    {
        Self::builder(start).build()
    }

    /// Creates the builder of a resource that `start` starts.
    pub fn builder<F>(start: F) -> Builder<T, E>
    where
        F: Fn() -> Result<T, E> + 'static,
    {
        let settings = Settings {
            name: None,
            start: Box::new(start),
            stop: Box::new(|_| ()),
            start_timeout: None,
            idle_timeout: None,
            grace: None,
        };
        Builder { settings }
    }

    /// Returns the use of the resource, which is started if it does not run; suspends the caller
    /// meanwhile. If it is about to stop, it is started anew after that.
    ///
    /// # Errors
    ///
    /// Why the start that the caller has waited for has failed. While the caller unwinds and would
    /// have to wait, `WouldPark`.
    ///
    /// # Panics
    ///
    /// If no ethread can be made to start it. In a closure given to `suspend`, and on the OS
    /// thread's own side if the start can never end.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, unless it has been handed the resource. The start
    /// goes on without it.
    #[track_caller]
    pub fn get(&self) -> Result<Lease<T>, StartError<E>> {
        let location = Location::caller();
        let shared = &self.shared;
        loop {
            if let Some(lease) = self.try_get() {
                return Ok(lease);
            }
            let wait = Wait::new(WaitKind::Resource, location);
            match shared.state.get() {
                State::Stopping => {
                    if shared.stopping.wait(wait, ()).is_err() {
                        return Err(StartError::WouldPark);
                    }
                    continue;
                }
                // Who cannot wait for it does not start it.
                State::Stopped if std::thread::panicking() => return Err(StartError::WouldPark),
                State::Stopped => {
                    let ended = shared.keeper.take();
                    if ended.is_some() {
                        // The handle may hold the payload of a panic, whose drop is the user's
                        // code: another ethread may start the resource meanwhile.
                        drop(ended);
                        continue;
                    }
                    self.start();
                    // The user's code makes the values that the keeper inherits: the start may be
                    // over by now.
                    if shared.state.get() != State::Starting {
                        continue;
                    }
                }
                State::Starting | State::Running => {}
            }
            let started = shared.starting.wait(wait, None);
            return started.ok().flatten().unwrap_or(Err(StartError::WouldPark));
        }
    }

    /// Returns the use of the resource if it runs; does not wait.
    #[must_use]
    pub fn try_get(&self) -> Option<Lease<T>> {
        self.shared.lease()
    }

    /// Returns what it does.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.state.get()
    }

    /// Returns how many have it in use.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.shared.usage().count()
    }

    /// Stops the resource; suspends the caller until it is. Nobody gets it from now on. Those who
    /// have it in use are waited for, as long as its [grace](Builder::grace) allows; the caller
    /// must not be one of them. A start is cancelled; if it comes to its end all the same, what it
    /// has started is stopped.
    ///
    /// While the caller unwinds this returns at once; the resource stops all the same.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`, and on the OS thread's own side if it can never stop.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here. The resource stops all the same.
    #[track_caller]
    pub fn stop(&self) {
        let location = Location::caller();
        self.shared.ask_to_stop();
        if self.state() != State::Stopped {
            let wait = Wait::new(WaitKind::Resource, location);
            // Who cannot wait does not.
            let _ = self.shared.stopping.wait(wait, ());
        }
    }

    /// Stops the resource and starts it again; suspends the caller until that is done, and returns
    /// the use of it.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    ///
    /// # Panics
    ///
    /// As [`stop`](Self::stop) and [`get`](Self::get).
    ///
    /// # Cancellation
    ///
    /// As [`stop`](Self::stop) and [`get`](Self::get).
    #[track_caller]
    pub fn restart(&self) -> Result<Lease<T>, StartError<E>> {
        self.stop();
        self.get()
    }

    #[track_caller]
    fn start(&self) {
        let mut ethread = thread::Builder::new().daemon(true);
        if let Some(name) = &self.shared.settings.name {
            ethread = ethread.name(name.clone());
        }
        let keeper = Keeper::new(&self.shared);
        match ethread.spawn(move || keeper.run()) {
            Ok(keeper) => drop(self.shared.keeper.replace(Some(keeper))),
            Err(error) => panic!("no ethread can be made to start a resource: {error}"),
        }
    }
}

impl<T: 'static, E: 'static> Builder<T, E> {
    /// Names the ethread that starts, keeps and stops it.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = Some(name.into());
        self
    }

    /// Sets what stops it, which may wait. The resource is dropped after that, when nobody has it
    /// in use. If it panics that is a line in the log, and the resource counts as stopped.
    pub fn stop<F: Fn(&T) + 'static>(mut self, stop: F) -> Self {
        self.settings.stop = Box::new(stop);
        self
    }

    /// Bounds the start: all that waits in it fails or unwinds after that, as in
    /// [`time::timeout`](crate::time::timeout). Not bounded unless set.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.settings.start_timeout = Some(timeout);
        self
    }

    /// Stops it when nobody has had it in use for so long. Never unless set.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.settings.idle_timeout = Some(timeout);
        self
    }

    /// Sets how long [`Resource::stop`] waits for those who have it in use; it is stopped under
    /// their hands then. As long as it takes unless set.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = Some(grace);
        self
    }

    /// Creates the resource. Nothing is started yet.
    #[must_use]
    pub fn build(self) -> Resource<T, E> {
        Resource {
            shared: Rc::new(Shared::new(self.settings)),
        }
    }
}

impl<T, E> Clone for Resource<T, E> {
    /// Returns another handle to the same resource.
    fn clone(&self) -> Self {
        self.shared.handles.set(self.shared.handles.get() + 1);
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<T, E> Drop for Resource<T, E> {
    fn drop(&mut self) {
        let left = self.shared.handles.get() - 1;
        self.shared.handles.set(left);
        if left == 0 {
            self.shared.ask_to_stop();
        }
    }
}

impl<T, E> fmt::Debug for Resource<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource")
            .field("state", &self.shared.state.get())
            .field("in_use", &self.shared.usage().count())
            .finish_non_exhaustive()
    }
}

impl<T, E> fmt::Debug for Builder<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.settings.name)
            .field("start_timeout", &self.settings.start_timeout)
            .field("idle_timeout", &self.settings.idle_timeout)
            .field("grace", &self.settings.grace)
            .finish_non_exhaustive()
    }
}
