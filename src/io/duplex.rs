//! A pair of connected streams in memory.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use crate::runtime::base::error::WouldPark;
#[cfg(feature = "http")]
use crate::runtime::base::error::is_elapsed;
#[cfg(feature = "http")]
use crate::runtime::base::on_drop::OnDrop;
use crate::runtime::base::wait::WaitKind;
use crate::runtime::io::by_value::by_value;
use crate::runtime::io::operation::Limit;
use crate::runtime::scheduler::clock::Instant;
use crate::runtime::scheduler::current;
#[cfg(feature = "http")]
use crate::runtime::scheduler::event_loop::Scheduler;
use crate::runtime::scheduler::unwind::as_io;
#[cfg(feature = "http")]
use crate::runtime::scheduler::unwind::in_scope;
#[cfg(feature = "http")]
use crate::runtime::state::scopes::ScopePlace;
use crate::sync::wait_queue::{Wait, WaitError, WaitQueue};

/// Makes two connected streams in memory, for tests and tunnels within an OS thread. What is
/// written to one is read from the other; each direction holds at most `capacity` bytes that were
/// not read yet.
///
/// tokio has the same under this name.
///
/// # Panics
///
/// If `capacity` is zero: a write could never end. A read or write on the OS thread's own side
/// panics if nothing can end its wait, as all waits there do.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::Shutdown;
/// use ethreads::io;
///
/// ethreads::run_main(|| {
///     let (client, server) = io::duplex(64);
///     ethreads::spawn(move || std::io::copy(&mut &server, &mut &server));
///     (&client).write_all(b"hello")?;
///     client.shutdown(Shutdown::Write);
///     let mut echo = String::new();
///     (&client).read_to_string(&mut echo)?;
///     assert_eq!(echo, "hello");
///     std::io::Result::Ok(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn duplex(capacity: usize) -> (Duplex, Duplex) {
    assert!(
        capacity > 0,
        "a duplex needs room for at least one byte, as a write could never end otherwise"
    );
    let (there, back) = (Direction::new(capacity), Direction::new(capacity));
    let near = Duplex::new(back.clone(), there.clone());
    (near, Duplex::new(there, back))
}

/// One of two connected streams in memory. Made by [`duplex`].
///
/// As with a socket, a reference can read and write, too, so that one ethread may read while
/// another one writes. Dropping it ends both directions: the peer reads what is left and then the
/// end, and its writes fail with `BrokenPipe`. It stays on its OS thread.
pub struct Duplex {
    input: Rc<Direction>,
    output: Rc<Direction>,
    read_limit: Cell<Limit>,
    write_limit: Cell<Limit>,
    /// Changes when the waiters have to try again.
    #[cfg(feature = "http")]
    looks_again: Cell<u32>,
}

/// The bytes that are on their way from one stream to the other.
struct Direction {
    bytes: RefCell<VecDeque<u8>>,
    capacity: usize,
    /// Nothing more is written.
    ended: Cell<bool>,
    /// Nothing more is read.
    refused: Cell<bool>,
    readers: WaitQueue,
    writers: WaitQueue,
    /// The scope of the reader that ends with the writer.
    #[cfg(feature = "http")]
    reader_scope: Cell<Option<ScopePlace>>,
}

impl Direction {
    fn new(capacity: usize) -> Rc<Self> {
        Rc::new(Self {
            bytes: RefCell::default(),
            capacity,
            ended: Cell::new(false),
            refused: Cell::new(false),
            readers: WaitQueue::new(),
            writers: WaitQueue::new(),
            #[cfg(feature = "http")]
            reader_scope: Cell::new(None),
        })
    }

    /// Whether a read need not wait.
    #[cfg(feature = "http")]
    fn has_result(&self) -> bool {
        self.refused.get() || self.ended.get() || !self.bytes.borrow().is_empty()
    }

    /// Takes what is there; `None` if a read has to wait.
    fn try_read(&self, buf: &mut [u8]) -> Option<usize> {
        if self.refused.get() {
            return Some(0);
        }
        let mut bytes = self.bytes.borrow_mut();
        if bytes.is_empty() {
            return self.ended.get().then_some(0);
        }
        let got = bytes.read(buf).expect("reading from memory does not fail");
        let has_more = !bytes.is_empty();
        drop(bytes);
        if has_more {
            self.readers.wake_one(|()| ());
        }
        self.writers.wake_one(|()| ());
        Some(got)
    }

    /// Adds what there is room for; `None` if a write has to wait.
    fn try_write(&self, data: &[u8]) -> Option<io::Result<usize>> {
        if self.refused.get() || self.ended.get() {
            return Some(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let mut bytes = self.bytes.borrow_mut();
        let room = self.capacity - bytes.len();
        if room == 0 {
            return None;
        }
        let taken = data.len().min(room);
        bytes.extend(&data[..taken]);
        drop(bytes);
        if taken < room {
            self.writers.wake_one(|()| ());
        }
        self.readers.wake_one(|()| ());
        Some(Ok(taken))
    }

    /// Nothing more is written: the reader meets the end behind what is there.
    fn end(&self) {
        self.ended.set(true);
        #[cfg(feature = "http")]
        if let Some(scope) = self.reader_scope.take() {
            current::with(|scheduler| scheduler.map(|s| s.cancel_scope_at(scope)));
        }
        self.wake_all();
    }

    /// Nothing more is read: what is there is dropped, and writes fail.
    fn refuse(&self) {
        self.refused.set(true);
        self.bytes.take();
        self.wake_all();
    }

    fn wake_all(&self) {
        self.readers.wake_all(|()| ());
        self.writers.wake_all(|()| ());
    }
}

/// Tries until `attempt` has a result, and waits in `queue` in between.
#[track_caller]
fn retry<R>(
    queue: &WaitQueue,
    kind: WaitKind,
    limit: Limit,
    mut attempt: impl FnMut() -> Option<R>,
) -> io::Result<R> {
    let location = Location::caller();
    current::with(|scheduler| match scheduler {
        Some(scheduler) => scheduler.spend_budget(location),
        None => Ok(()),
    })?;
    let mut deadline = None;
    loop {
        if let Some(result) = attempt() {
            return Ok(result);
        }
        if limit == Limit::Now {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let deadline =
            *deadline.get_or_insert_with(|| limit.deadline(|| Instant::now().as_nanos()));
        let wait = Wait::new(kind, location).until(deadline);
        match as_io(|| Ok(queue.wait(wait, ())))? {
            Ok(()) => {}
            Err(WaitError::TimedOut(())) => return Err(io::ErrorKind::TimedOut.into()),
            Err(WaitError::Unwinding(())) => return Err(io::Error::other(WouldPark { location })),
        }
    }
}

impl Duplex {
    fn new(input: Rc<Direction>, output: Rc<Direction>) -> Self {
        Self {
            input,
            output,
            read_limit: Cell::new(Limit::Never),
            write_limit: Cell::new(Limit::Never),
            #[cfg(feature = "http")]
            looks_again: Cell::new(0),
        }
    }

    /// Ends the reading half, the writing half or both. All waiters there are woken: a read returns
    /// `Ok(0)`, a write fails with `BrokenPipe`.
    pub fn shutdown(&self, how: Shutdown) {
        if matches!(how, Shutdown::Read | Shutdown::Both) {
            self.input.refuse();
        }
        if matches!(how, Shutdown::Write | Shutdown::Both) {
            self.output.end();
        }
    }

    /// Sets how long a read may wait before it fails with `TimedOut`; `None` is for ever.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        Limit::within(timeout).map(|limit| self.read_limit.set(limit))
    }

    /// Sets how long a write may wait before it fails with `TimedOut`; `None` is for ever.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        Limit::within(timeout).map(|limit| self.write_limit.set(limit))
    }
}

#[cfg(feature = "http")]
impl Duplex {
    /// Waits until a read has a result, without reading; false at the limit.
    #[track_caller]
    pub(crate) fn wait_readable(&self, limit: Limit) -> io::Result<bool> {
        let (input, looks_again) = (&*self.input, self.looks_again.get());
        let waited = retry(&input.readers, WaitKind::DuplexRead, limit, || {
            (input.has_result() || self.looks_again.get() != looks_again).then_some(())
        });
        match waited {
            Err(error) if error.kind() == io::ErrorKind::TimedOut && !is_elapsed(&error) => {
                Ok(false)
            }
            result => result.map(|()| true),
        }
    }

    /// Makes the waiters here try again.
    pub(crate) fn look_again(&self) {
        self.looks_again.set(self.looks_again.get().wrapping_add(1));
        self.input.wake_all();
        self.output.wake_all();
    }

    /// Writes what there is room for, without waiting.
    pub(crate) fn write_now(&self, data: &[u8]) -> usize {
        match self.output.try_write(data) {
            Some(Ok(taken)) => taken,
            Some(Err(_)) | None => 0,
        }
    }

    /// Whether the peer has ended its writing half, or was dropped.
    pub(crate) fn peer_gone(&self) -> bool {
        self.input.ended.get()
    }

    /// Runs `f`, which is unwound at its next suspension point when the peer has ended its writing
    /// half or was dropped. `None` if that has happened.
    #[track_caller]
    pub(crate) fn while_connected<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        let watch = |scheduler: &Rc<Scheduler>, scope| {
            self.input.reader_scope.set(Some(scope));
            if self.peer_gone() {
                scheduler.cancel_scope_at(scope);
            }
            OnDrop(|| self.input.reader_scope.set(None))
        };
        in_scope(Location::caller(), watch, f)
    }
}

impl Duplex {
    /// Reads what has arrived, within a limit. Each try calls `check` first, and an error of it
    /// ends the read.
    #[track_caller]
    pub(crate) fn read_within(
        &self,
        buf: &mut [u8],
        limit: Limit,
        check: impl Fn() -> io::Result<()>,
    ) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let input = &*self.input;
        retry(
            &input.readers,
            WaitKind::DuplexRead,
            limit,
            || match check() {
                Ok(()) => input.try_read(buf).map(Ok),
                Err(error) => Some(Err(error)),
            },
        )?
    }

    /// Writes what there is room for, within a limit.
    #[track_caller]
    pub(crate) fn write_within(&self, bufs: &[IoSlice<'_>], limit: Limit) -> io::Result<usize> {
        let Some(data) = bufs.iter().find(|buf| !buf.is_empty()) else {
            return Ok(0);
        };
        let output = &*self.output;
        retry(&output.writers, WaitKind::DuplexWrite, limit, || {
            output.try_write(data)
        })?
    }
}

impl Drop for Duplex {
    fn drop(&mut self) {
        self.shutdown(Shutdown::Both);
    }
}

impl Read for &Duplex {
    /// Reads what has arrived; suspends the ethread until there is data, or the read timeout is
    /// over (`TimedOut`). `Ok(0)` is the end.
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_within(buf, self.read_limit.get(), || Ok(()))
    }
}

impl Write for &Duplex {
    /// Writes what there is room for; suspends the ethread until there is some, or the write
    /// timeout is over (`TimedOut`).
    #[track_caller]
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.write_within(&[IoSlice::new(data)], self.write_limit.get())
    }

    /// Does nothing: what is written can be read at once.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

by_value!(impl Read for Duplex);
by_value!(impl Write for Duplex);

impl fmt::Debug for Duplex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Duplex")
            .field("capacity", &self.input.capacity)
            .finish_non_exhaustive()
    }
}
