//! The state that the handles of a resource and its keeper share.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use super::error::StartError;
use super::lease::{Lease, Usage};
use crate::sync::count::Count;
use crate::sync::wait_queue::WaitQueue;
use crate::thread::JoinHandle;

/// The state of a [`Resource`](super::Resource).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// Not running; the next [`get`](super::Resource::get) starts the resource.
    Stopped,
    /// The start is in progress.
    Starting,
    /// Running; leases are available at once.
    Running,
    /// About to stop: the start is being abandoned, the leases are being waited for, or the stop is
    /// in progress.
    Stopping,
}

/// How a resource is started, kept and stopped.
pub(super) struct Settings<T, E> {
    pub(super) name: Option<String>,
    pub(super) start: Box<dyn Fn() -> Result<T, E>>,
    pub(super) stop: Box<dyn Fn(&T)>,
    pub(super) start_timeout: Option<Duration>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) grace: Option<Duration>,
}

pub(super) struct ResourceCore<T, E> {
    pub(super) settings: Settings<T, E>,
    pub(super) state: Cell<State>,
    /// The waiters for the current start, each with a slot for its result.
    pub(super) starting: WaitQueue<Option<Result<Lease<T>, StartError<E>>>>,
    /// The waiters for the stop.
    pub(super) stopping: WaitQueue,
    /// The value, while leases are available.
    pub(super) value: RefCell<Option<Rc<T>>>,
    /// The leases of the current run, or of the last run. Each run has its own count, as a lease of
    /// an earlier run must not keep the next run going.
    pub(super) usage: RefCell<Rc<Usage>>,
    /// The ethread that starts, keeps and stops the resource.
    pub(super) keeper: RefCell<Option<JoinHandle<()>>>,
    pub(super) handles: Count,
}

impl<T, E> ResourceCore<T, E> {
    pub(super) fn new(settings: Settings<T, E>) -> Self {
        Self {
            settings,
            state: Cell::new(State::Stopped),
            starting: WaitQueue::new(),
            stopping: WaitQueue::new(),
            value: RefCell::default(),
            usage: RefCell::default(),
            keeper: RefCell::default(),
            handles: Count::new(1),
        }
    }

    pub(super) fn lease(&self) -> Option<Lease<T>> {
        let value = self.value.borrow().clone()?;
        Some(Lease::new(value, self.usage()))
    }

    pub(super) fn usage(&self) -> Rc<Usage> {
        self.usage.borrow().clone()
    }

    pub(super) fn ask_to_stop(&self) {
        match self.state.get() {
            State::Stopped | State::Stopping => {}
            State::Starting => {
                self.state.set(State::Stopping);
                if let Some(keeper) = &*self.keeper.borrow() {
                    keeper.cancel();
                }
            }
            State::Running => {
                self.state.set(State::Stopping);
                // The keeper still has the value.
                drop(self.value.take());
                self.usage().wake_keeper();
            }
        }
    }

    /// Called when the resource has stopped, or has failed to start.
    pub(super) fn stopped(&self, why: &StartError<E>) {
        self.state.set(State::Stopped);
        let value = self.value.take();
        self.starting
            .wake_all(|slot| *slot = Some(Err(why.clone())));
        self.stopping.wake_all(|()| ());
        // The drop runs user code, which may start the resource again.
        drop(value);
    }
}
