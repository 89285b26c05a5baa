//! A value that is started by the first caller that needs it, and shared by all callers.
#![forbid(unsafe_code)]

mod core;
mod error;
mod keeper;
mod lease;

use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use self::core::{ResourceCore, Settings};
use self::keeper::Keeper;
use super::wait_queue::Wait;
use crate::runtime::base::wait::WaitKind;
use crate::thread;

pub use self::core::State;
pub use error::StartError;
pub use lease::Lease;

/// A value that is started by the first caller that needs it, shared by all callers, stopped when
/// it has been idle for a while, and started again on demand.
///
/// A call of [`get`](Self::get) during a start waits for that start. If the start fails, all its
/// waiters get the error, and the next call tries again. The start runs in an ethread of its own,
/// so a timeout or a cancel of one waiter does not affect the other waiters. The same ethread keeps
/// the resource afterwards, and stops it. It is a daemon, which keeps no [`run`](crate::run) going.
/// When the shard ends while the resource runs, the value is dropped without being stopped.
///
/// Looking whether the value is there, starting it if not, and then storing it, is not enough, even
/// though only one ethread runs at a time: while the start waits, the next ethread finds no value
/// either and begins another start. The example `shared_resource` shows that.
///
/// Clones are handles to the same resource. Dropping the last handle stops the resource.
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
    shared: Rc<ResourceCore<T, E>>,
}

/// The settings of a [`Resource`]. Made by [`Resource::builder`].
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
///         thread::sleep(Duration::from_millis(1)); // the resource is idle
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
    /// Creates a resource that `start` starts, and that is stopped by dropping its value. Nothing
    /// is started yet.
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

    /// Returns a lease of the resource. Starts the resource if it does not run, and suspends the
    /// caller meanwhile. A resource that is about to stop is started again after the stop.
    ///
    /// # Errors
    ///
    /// The reason for which the start that the caller has waited for has failed. `WouldPark` if the
    /// caller unwinds and would have to wait.
    ///
    /// # Panics
    ///
    /// If no ethread can be made for the start. In a closure given to `suspend`. On the OS thread's
    /// own side, if the start can never end.
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
                // A caller that cannot wait for the resource does not start it.
                State::Stopped if std::thread::panicking() => return Err(StartError::WouldPark),
                State::Stopped => {
                    let ended = shared.keeper.take();
                    if ended.is_some() {
                        // The handle may hold the payload of a panic. Dropping that runs user code,
                        // during which another ethread may start the resource.
                        drop(ended);
                        continue;
                    }
                    self.start();
                    // User code makes the values that the keeper inherits, so the start may be over
                    // by now.
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

    /// Returns a lease of the resource if it runs; does not wait.
    #[must_use]
    pub fn try_get(&self) -> Option<Lease<T>> {
        self.shared.lease()
    }

    /// Returns the state of the resource.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.state.get()
    }

    /// Returns the number of leases.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.shared.usage().count.get()
    }

    /// Stops the resource; suspends the caller until it has stopped. From now on no new lease of
    /// the running resource is given out. The stop waits for the existing leases to end, for at
    /// most the resource's [grace](Builder::grace); the caller must not hold a lease. A start is
    /// cancelled; if the start completes all the same, the value that it has made is stopped.
    ///
    /// While the caller unwinds, the call returns at once; the resource stops all the same.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`. On the OS thread's own side, if the resource can never
    /// stop.
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
            // A caller that cannot wait does not wait.
            let _ = self.shared.stopping.wait(wait, ());
        }
    }

    /// Stops the resource and starts it again; suspends the caller until that is done, and returns
    /// a lease.
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
    /// Names the ethread that starts, keeps and stops the resource.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = Some(name.into());
        self
    }

    /// Sets the closure that stops the resource. The closure may wait. The value is dropped after
    /// that, when there is no lease. If the closure panics, the panic is logged and the resource
    /// counts as stopped.
    pub fn stop<F: Fn(&T) + 'static>(mut self, stop: F) -> Self {
        self.settings.stop = Box::new(stop);
        self
    }

    /// Bounds the start: after `timeout`, each wait in the start fails or unwinds, as in
    /// [`time::timeout`](crate::time::timeout). Unbounded unless set.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.settings.start_timeout = Some(timeout);
        self
    }

    /// Stops the resource when there has been no lease for `timeout`. An idle resource keeps
    /// running unless this is set.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.settings.idle_timeout = Some(timeout);
        self
    }

    /// Sets how long [`Resource::stop`] waits for the existing leases to end. After that the
    /// resource is stopped even though leases exist. Unlimited unless set.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = Some(grace);
        self
    }

    /// Creates the resource. Nothing is started yet.
    #[must_use]
    pub fn build(self) -> Resource<T, E> {
        Resource {
            shared: Rc::new(ResourceCore::new(self.settings)),
        }
    }
}

impl<T, E> Clone for Resource<T, E> {
    /// Returns another handle to the same resource.
    fn clone(&self) -> Self {
        self.shared.handles.add();
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<T, E> Drop for Resource<T, E> {
    fn drop(&mut self) {
        if self.shared.handles.remove() {
            self.shared.ask_to_stop();
        }
    }
}

impl<T, E> fmt::Debug for Resource<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource")
            .field("state", &self.shared.state.get())
            .field("in_use", &self.shared.usage().count.get())
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
