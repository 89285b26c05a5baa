//! A descriptor with its registrations, and the order in which they end.

use std::io;
use std::mem;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{self, AssertUnwindSafe};
use std::thread;

use crate::runtime::driver::socket;
use crate::runtime::io::operation::{Left, Operation};
use crate::runtime::io::registration::Registration;
#[cfg(feature = "http")]
use crate::runtime::state::slots::Direction;

/// The base of [`Eport`](super::Eport) and of the sockets of `net`. Dropping it deregisters the
/// descriptor from every shard before its owner closes it.
#[derive(Debug)]
pub(crate) struct Watched<T: AsFd> {
    /// `None` only while [`Watched::into_inner`] takes it out.
    io: Option<T>,
    registration: Registration,
}

impl<T: AsFd> Watched<T> {
    pub(crate) fn new(io: T) -> Self {
        Self {
            io: Some(io),
            registration: Registration::default(),
        }
    }

    #[inline]
    pub(crate) fn get(&self) -> &T {
        self.io
            .as_ref()
            .expect("only what consumes the source takes its owner")
    }

    #[inline]
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.get().as_fd()
    }

    pub(crate) fn registration(&self) -> &Registration {
        &self.registration
    }

    /// Tries, parks and tries again; see [`Registration::perform`].
    #[inline]
    pub(crate) fn perform<R>(
        &self,
        operation: Operation,
        left: impl Fn(&R) -> Left,
        mut try_once: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        let io = self.get();
        self.registration
            .perform(io.as_fd(), operation, left, || try_once(io))
    }

    /// Tries once; see [`Registration::try_now`].
    #[inline]
    #[cfg(feature = "http")]
    pub(crate) fn try_now<R>(
        &self,
        direction: Direction,
        location: &'static panic::Location<'static>,
        left: impl Fn(&R) -> Left,
        try_once: impl FnOnce(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        let io = self.get();
        self.registration
            .try_now(direction, location, left, || try_once(io))
    }

    /// Waits until the descriptor may be ready, without trying; see [`Registration::wait`].
    #[cfg(feature = "http")]
    pub(crate) fn wait(&self, operation: Operation) -> io::Result<bool> {
        self.registration.wait(self.fd(), operation)
    }

    /// Parks without a stack until the descriptor may be ready; see
    /// [`Registration::park_stackless`].
    #[inline(always)]
    #[cfg(feature = "http")]
    pub(crate) fn park_stackless(&self, operation: Operation) -> io::Result<bool> {
        self.registration.park_stackless(self.fd(), operation)
    }

    /// Runs `f` until the peer is gone; see [`Registration::while_connected`].
    #[cfg(feature = "http")]
    pub(crate) fn while_connected<R>(
        &self,
        location: &'static panic::Location<'static>,
        f: impl FnOnce() -> R,
    ) -> Option<R> {
        self.registration.while_connected(self.fd(), location, f)
    }

    /// Ends the operations under way and all later ones, without closing the descriptor.
    pub(crate) fn close(&self) {
        self.registration.close();
        // Only after that, so that all waiters that this wakes find the source closed: OS threads
        // without ethreads, which wait in poll(2), and the peer. A descriptor that is no socket, or
        // is not connected, has nothing to shut down.
        let _ = socket::shutdown(self.fd(), Shutdown::Both);
    }

    /// Deregisters the descriptor and gives it back.
    pub(crate) fn into_inner(mut self) -> T {
        self.deregister();
        self.io
            .take()
            .expect("only what consumes the source takes its owner")
    }

    /// Calls the owner's `as_fd` only if a driver knows the descriptor.
    fn deregister(&self) {
        if self.registration.is_known() {
            self.registration.deregister(self.fd());
        }
    }
}

impl<T: AsFd> Drop for Watched<T> {
    fn drop(&mut self) {
        if self.io.is_none() {
            return;
        }
        // The owner in an `Eport` is of a user type, whose `as_fd` may unwind.
        if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| self.deregister())) {
            // A descriptor must not be closed before it is deregistered, so this one is leaked.
            self.registration.abandon();
            mem::forget(self.io.take());
            if thread::panicking() {
                mem::forget(payload);
            } else {
                panic::resume_unwind(payload);
            }
        }
    }
}
