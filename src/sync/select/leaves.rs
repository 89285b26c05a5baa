//! Operations on the subjects of other modules: times, ethreads, descriptors.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::sealed::{Park, Parts};
use crate::bridge::Source;
use crate::runtime::base::debug::opaque_debug;
use crate::runtime::base::wait::{Token, deadline_after};
use crate::runtime::scheduler::current;
use crate::runtime::scheduler::event_loop::Scheduler;
use crate::runtime::state::slots::Direction;
use crate::thread::{JoinHandle, ScopedJoinHandle};
use crate::time::Instant;

/// A point in time; see [`after`] and [`at`].
#[derive(Clone, Copy, Debug)]
#[must_use = "an operation does nothing until it is performed"]
pub struct After {
    deadline: u64,
}

/// Returns an operation that happens when `duration` has passed, counted from now.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use ethreads::{select, sync::{Signal, select::after}};
///
/// ethreads::run_main(|| {
///     let answer = Signal::<u32>::new();
///     let answered = select! {
///         _ = answer.waiting() => true,
///         () = after(Duration::from_millis(1)) => false,
///     };
///     assert!(!answered);
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
pub fn after(duration: Duration) -> After {
    After {
        deadline: deadline_after(Instant::now().as_nanos(), duration),
    }
}

/// Returns an operation that happens at `instant`, or at once if `instant` has passed.
pub fn at(instant: Instant) -> After {
    After {
        deadline: instant.as_nanos(),
    }
}

impl Parts for After {
    type Done = ();

    fn attempt(&mut self, _: u32) -> Option<()> {
        (Instant::now().as_nanos() >= self.deadline).then_some(())
    }

    fn enlist(&mut self, _: &Park<'_>, _: u32) {}

    fn deadline(&self, first: u32) -> Option<(u64, u32)> {
        Some((self.deadline, first))
    }

    fn commit(&mut self, _: u32) {}

    fn withdraw(&mut self) {}
}

/// The end of an ethread; see [`finished`].
#[must_use = "an operation does nothing until it is performed"]
pub struct Finished<'a> {
    ethread: &'a mut dyn Ends,
    enlisted: bool,
}

/// A handle to an ethread that will end: a [`JoinHandle`] or a [`ScopedJoinHandle`]. Sealed.
pub trait Ends {
    #[doc(hidden)]
    fn has_ended(&self) -> bool;
    #[doc(hidden)]
    fn set_waiter(&self, waiter: Option<EndToken>);
}

/// The token of a wait.
#[derive(Clone, Copy, Debug)]
pub struct EndToken(Token);

impl<T> Ends for JoinHandle<T> {
    fn has_ended(&self) -> bool {
        self.is_finished()
    }

    fn set_waiter(&self, waiter: Option<EndToken>) {
        self.set_waiter(waiter.map(|token| token.0));
    }
}

impl<T> Ends for ScopedJoinHandle<'_, T> {
    fn has_ended(&self) -> bool {
        self.is_finished()
    }

    fn set_waiter(&self, waiter: Option<EndToken>) {
        self.handle().set_waiter(waiter.map(|token| token.0));
    }
}

/// Returns an operation that happens when an ethread has ended. Joining that ethread does not wait
/// then.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use ethreads::{select, sync::select::{after, finished}, thread};
///
/// ethreads::run_main(|| {
///     let mut slow = thread::spawn(|| thread::sleep(Duration::from_secs(3600)));
///     let mut quick = thread::spawn(|| 42);
///     select! {
///         () = finished(&mut slow) => unreachable!("it sleeps"),
///         () = finished(&mut quick) => assert_eq!(quick.join().ok(), Some(42)),
///     }
///     slow.cancel();
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
pub fn finished<H: Ends>(handle: &mut H) -> Finished<'_> {
    Finished {
        ethread: handle,
        enlisted: false,
    }
}

impl Parts for Finished<'_> {
    type Done = ();

    fn attempt(&mut self, _: u32) -> Option<()> {
        self.ethread.has_ended().then_some(())
    }

    fn enlist(&mut self, park: &Park<'_>, case: u32) {
        self.enlisted = true;
        self.ethread.set_waiter(Some(EndToken(park.token(case))));
    }

    fn commit(&mut self, _: u32) {
        self.withdraw();
    }

    fn withdraw(&mut self) {
        if std::mem::take(&mut self.enlisted) {
            self.ethread.set_waiter(None);
        }
    }
}

impl Drop for Finished<'_> {
    fn drop(&mut self) {
        self.withdraw();
    }
}

opaque_debug!(impl for Finished<'_>);

/// The readiness of a descriptor; see [`readable`] and [`writable`].
#[must_use = "an operation does nothing until it is performed"]
pub struct Ready<'a, S: Source + ?Sized> {
    source: &'a S,
    /// Asked for once, before any of the operations enters a wait queue: `as_fd` may be user code.
    fd: BorrowedFd<'a>,
    direction: Direction,
    /// The waiter in the wait queue.
    waiter: Option<(u64, Token)>,
    error: Option<io::Error>,
}

/// Returns an operation that happens when `source` may have input or a connection to accept, or has
/// come to its end. As with every readiness, it may be spurious.
///
/// # Errors
///
/// The result is an error if the source cannot be watched (a regular file), or is closed.
///
/// # Examples
///
/// ```
/// use std::{io::{Read, Write}, time::Duration};
/// use ethreads::{net::UnixStream, select, sync::select::{after, readable}};
///
/// ethreads::run_main(|| {
///     let (mut ours, mut theirs) = UnixStream::pair()?;
///     let mut heard = Vec::new();
///     for _ in 0..2 {
///         select! {
///             ready = readable(&ours) => {
///                 ready?;
///                 let mut text = [0; 2];
///                 ours.read_exact(&mut text)?;
///                 heard.push(text);
///             }
///             () = after(Duration::from_millis(1)) => theirs.write_all(b"hi")?,
///         }
///     }
///     assert_eq!(heard, [*b"hi"]);
///     std::io::Result::Ok(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn readable<S: Source + ?Sized>(source: &S) -> Ready<'_, S> {
    Ready::new(source, Direction::Read)
}

/// Returns an operation that happens when `source` may have room for output. As with every
/// readiness, it may be spurious.
///
/// # Errors
///
/// As [`readable`].
pub fn writable<S: Source + ?Sized>(source: &S) -> Ready<'_, S> {
    Ready::new(source, Direction::Write)
}

impl<'a, S: Source + ?Sized> Ready<'a, S> {
    fn new(source: &'a S, direction: Direction) -> Self {
        Self {
            source,
            fd: source.as_fd(),
            direction,
            waiter: None,
            error: None,
        }
    }
}

impl<S: Source + ?Sized> Parts for Ready<'_, S> {
    type Done = io::Result<()>;

    fn is_io(&self, _: u32) -> bool {
        true
    }

    fn attempt(&mut self, _: u32) -> Option<io::Result<()>> {
        let registration = self.source.registration();
        let ready = registration.ask(&super::wait_queue::scheduler(), self.fd, self.direction);
        match ready {
            Ok(ready) => ready.then_some(Ok(())),
            Err(error) => Some(Err(error)),
        }
    }

    fn enlist(&mut self, park: &Park<'_>, case: u32) {
        let (scheduler, token) = (park.scheduler, park.token(case));
        let registration = self.source.registration();
        match registration.enter_line(scheduler, self.fd, self.direction, token) {
            Ok(key) => self.waiter = Some((key, token)),
            Err(error) => {
                self.error = Some(error);
                scheduler.wake(token);
            }
        }
    }

    fn commit(&mut self, _: u32) -> io::Result<()> {
        self.withdraw();
        // A close wakes all waiters.
        self.source.registration().check_open()?;
        self.error.take().map_or(Ok(()), Err)
    }

    fn withdraw(&mut self) {
        if let Some((key, token)) = self.waiter.take() {
            let quit = |s: &Scheduler| s.quit_line(key, self.direction, token);
            current::with(|scheduler| scheduler.map(quit));
        }
    }
}

impl<S: Source + ?Sized> Drop for Ready<'_, S> {
    fn drop(&mut self) {
        self.withdraw();
    }
}

impl<S: Source + ?Sized> fmt::Debug for Ready<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready")
            .field("direction", &self.direction)
            .finish_non_exhaustive()
    }
}
