//! Handles to ethreads.

use std::fmt;
use std::rc::Rc;
#[cfg(feature = "http")]
use std::sync::Arc;

use crate::runtime::base::owner::Peer;
use crate::runtime::scheduler::current as shard;
use crate::runtime::scheduler::event_loop::Scheduler;
#[cfg(feature = "http")]
use crate::runtime::scheduler::inbox::Inbox;
use crate::runtime::scheduler::inbox::{Handle, Message};
use crate::runtime::state::control_block::{Label, ThreadId};

/// Both handles identify the ethread in the same way.
macro_rules! identity {
    ($($Handle:ident)+) => {$(
        impl $Handle {
            /// Returns the ethread's unique number.
            #[must_use]
            pub fn id(&self) -> ThreadId {
                self.id
            }

            /// Returns the ethread's name, if it has one.
            #[must_use]
            pub fn name(&self) -> Option<&str> {
                self.name.as_deref()
            }
        }
    )+};
}

identity!(Thread RemoteThread);

/// A handle to an ethread, for [`Thread::unpark`] and to identify the ethread.
///
/// Stays on its OS thread, like the ethread; [`Thread::into_remote`] makes a handle for other OS
/// threads.
///
/// # Examples
///
/// ```
/// use ethreads::thread;
///
/// ethreads::run_main(|| {
///     let waiter = thread::spawn(|| thread::park());
///     waiter.thread().unpark();
///     waiter.join().expect("it does not panic");
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
///
/// It is not `Send`:
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// send(ethreads::thread::current());
/// ```
#[derive(Clone)]
pub struct Thread {
    scheduler: Rc<Scheduler>,
    index: u32,
    id: ThreadId,
    name: Option<Rc<str>>,
}

impl Thread {
    pub(crate) fn new(
        scheduler: Rc<Scheduler>,
        index: u32,
        id: ThreadId,
        name: Option<Rc<str>>,
    ) -> Self {
        Self {
            scheduler,
            index,
            id,
            name,
        }
    }

    /// Ends the ethread's [`park`](crate::thread::park), or makes its next `park` return at once.
    /// Several calls before that `park` count as a single one.
    pub fn unpark(&self) {
        self.scheduler.unpark(self.index, self.id);
    }

    /// Turns this into a handle that other OS threads can use. While the handle exists, the shard
    /// does not report a deadlock.
    #[must_use]
    pub fn into_remote(self) -> RemoteThread {
        RemoteThread {
            handle: self.scheduler.handle(),
            index: self.index,
            id: self.id,
            name: self.name.as_deref().map(Box::from),
        }
    }

    /// A handle for other OS threads that does not prevent the report of a deadlock.
    #[cfg(feature = "http")]
    pub(crate) fn downgrade(&self) -> WeakThread {
        WeakThread {
            inbox: self.scheduler.inbox.clone(),
            index: self.index,
            id: self.id,
        }
    }

    /// The place of the ethread's control block.
    pub(crate) fn place(&self) -> u32 {
        self.index
    }

    /// The ethread as a [`Peer`], for the ethreads that wait for it.
    pub(in crate::runtime) fn peer(&self) -> Peer {
        Peer {
            place: self.index,
            id: self.id.as_u64().get(),
        }
    }

    pub(super) fn cancel(&self) {
        self.scheduler.cancel(self.index, self.id);
    }

    /// Whether this OS thread's scheduler runs the ethread.
    pub(super) fn is_here(&self) -> bool {
        shard::with(|scheduler| scheduler.is_some_and(|s| std::ptr::eq(s, &*self.scheduler)))
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Thread")
            .field("id", &self.id)
            .field("name", &self.name)
            .finish()
    }
}

impl fmt::Display for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Label {
            id: self.id,
            name: self.name.clone(),
        }
        .fmt(f)
    }
}

/// A handle to an ethread for other OS threads. Made by [`Thread::into_remote`].
///
/// # Examples
///
/// ```
/// use ethreads::thread;
///
/// ethreads::run_main(|| {
///     let me = thread::current().into_remote();
///     std::thread::spawn(move || me.unpark());
///     thread::park();
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
#[derive(Clone)]
pub struct RemoteThread {
    handle: Handle,
    index: u32,
    id: ThreadId,
    name: Option<Box<str>>,
}

impl RemoteThread {
    /// As [`Thread::unpark`], from any OS thread and at any time.
    pub fn unpark(&self) {
        self.handle.send(Message::Unpark {
            index: self.index,
            id: self.id,
        });
    }
}

impl fmt::Debug for RemoteThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteThread")
            .field("id", &self.id)
            .field("name", &self.name)
            .finish()
    }
}

/// A handle to an ethread for other OS threads that does not prevent the report of a deadlock: the
/// ethread may be woken through it, but does not depend on it.
#[derive(Clone, Debug)]
#[cfg(feature = "http")]
pub(crate) struct WeakThread {
    inbox: Arc<Inbox>,
    index: u32,
    id: ThreadId,
}

#[cfg(feature = "http")]
impl WeakThread {
    pub(crate) fn id(&self) -> ThreadId {
        self.id
    }

    pub(crate) fn unpark(&self) {
        self.inbox.send(Message::Unpark {
            index: self.index,
            id: self.id,
        });
    }
}

/// Returns a handle to the calling ethread. Outside of ethreads, returns the shard's handle to the
/// OS thread (its name and a [`ThreadId`] of its own).
///
/// # Panics
///
/// If the OS thread has no scheduler yet and none can be made.
#[must_use]
pub fn current() -> Thread {
    let scheduler = shard::expect_for("ethread here, and no scheduler");
    let index = scheduler.current_place();
    let Label { id, name } = scheduler.label_of(index);
    Thread::new(scheduler, index, id, name)
}
