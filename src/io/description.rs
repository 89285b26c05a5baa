//! The state that all handles of one open file share: its position, and the operation under way.
//!
//! An operation on a file is a job of the pool, which goes on when its ethread is cancelled or
//! meets a deadline. So the operation belongs to the file, and not to the ethread. It holds a
//! *turn*, which ends when its result has been taken, or is dropped because the ethread is gone.
//! The bytes of a dropped read stay here for the next read; so does the error of a write. Calls
//! wait for their turns in the order in which they come, on any OS thread.
//!
//! Files with a position (regular files, directories, disks) have one wait queue for all calls that
//! use it. Streams (pipes, terminals, devices) have no position, and a wait queue for each
//! direction: a read that waits for a peer must not hold up a write to that peer.
#![forbid(unsafe_code)]

use std::borrow::Borrow;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::mem;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::runtime::base::debug::opaque_debug;
use crate::runtime::base::error::WouldPark;
use crate::runtime::base::wait::CallSite;
use crate::runtime::driver::ops::{self, FdKind};
use crate::runtime::scheduler::current;
use crate::runtime::scheduler::unwind::as_io;
use crate::runtime::task::pool;
use crate::sync::remote::Semaphore;

/// The most bytes that one trip to the pool moves. A trip takes some 20 µs, as long as copying 128
/// KiB twice. With this size, a file that is in memory is read at three quarters of the rate of a
/// size eight times as large, at which the trip no longer shows.
pub(crate) const MOST: usize = 256 * 1024;

/// The state that all handles of one open file share.
pub(crate) struct Description {
    is_stream: bool,
    /// The turn of operations that use the position; in a stream, of reads.
    reading: Semaphore,
    /// The turn of writes to a stream.
    writing: Semaphore,
    left: Mutex<Left>,
    /// The buffer of the next operation. An operation takes it out, so a second one at the same
    /// time makes its own.
    buffer: Mutex<Vec<u8>>,
}

/// What operations have left behind. Locked for moments only, never during a system call.
#[derive(Default)]
struct Left {
    /// The result of a read, not yet taken. Only the holder of the turn to read changes it.
    read: Option<Unread>,
    /// The error of a write that no call has returned.
    error: Option<io::Error>,
}

struct Unread {
    buffer: Vec<u8>,
    /// The bytes that are left; an empty range is the end of a stream.
    result: io::Result<Range<usize>>,
    /// `write_at` or `set_len` has changed the file since.
    is_outdated: bool,
}

/// The right to use the position, or one direction of a stream.
struct OperationTurn {
    of: Arc<Description>,
    writes: bool,
}

impl Drop for OperationTurn {
    fn drop(&mut self) {
        self.of.semaphore(self.writes).add_permits(1);
    }
}

/// The error of an operation. Dropped without [`take`](Self::take), it stays with the file.
pub(crate) struct Unreported {
    of: Arc<Description>,
    error: Option<io::Error>,
}

impl Unreported {
    pub(crate) fn new(of: &Arc<Description>, error: io::Error) -> Self {
        Self {
            of: of.clone(),
            error: Some(error),
        }
    }

    pub(crate) fn take(mut self) -> io::Error {
        self.error.take().expect("it is taken once")
    }
}

impl Drop for Unreported {
    fn drop(&mut self) {
        if let Some(error) = self.error.take() {
            self.of.keep(error);
        }
    }
}

impl Description {
    pub(crate) fn new(fd: BorrowedFd<'_>) -> Arc<Self> {
        Arc::new(Self {
            // A descriptor that is not even open fails in its first operation.
            is_stream: matches!(ops::kind(fd), Ok(FdKind::Socket | FdKind::Other)),
            reading: Semaphore::new(1),
            writing: Semaphore::new(1),
            left: Mutex::default(),
            buffer: Mutex::default(),
        })
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn semaphore(&self, writes: bool) -> &Semaphore {
        match self.is_stream && writes {
            true => &self.writing,
            false => &self.reading,
        }
    }

    /// Waits for the turn of a call at `location`.
    fn turn(self: &Arc<Self>, writes: bool, location: CallSite) -> io::Result<OperationTurn> {
        let semaphore = self.semaphore(writes);
        let permit = match semaphore.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                check_interrupts()?;
                let would_park = || io::Error::other(WouldPark { location });
                as_io(|| semaphore.acquire_at(location).ok_or_else(would_park))?
            }
        };
        permit.forget();
        let of = self.clone();
        Ok(OperationTurn { of, writes })
    }

    fn take_buffer(&self, len: usize) -> Vec<u8> {
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let buffer = mem::take(&mut *buffer);
        match buffer.len() < len {
            // Not `resize`: the memory of a new buffer is zero without being written to.
            true => vec![0; len],
            false => buffer,
        }
    }

    fn put_back(&self, buffer: Vec<u8>) {
        let mut place = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let before = mem::replace(&mut *place, buffer);
        drop(place);
        drop(before);
    }

    /// Keeps an error for the next call that writes or flushes. An earlier error is not replaced.
    fn keep(&self, error: io::Error) {
        self.left().error.get_or_insert(error);
    }

    fn take_error(&self) -> io::Result<()> {
        self.left().error.take().map_or(Ok(()), Err)
    }

    /// How many bytes the position is ahead of what calls have returned.
    fn ahead(&self) -> i64 {
        let left = self.left();
        let bytes = left
            .read
            .as_ref()
            .and_then(|read| read.result.as_ref().ok());
        // A buffer is never longer than that.
        bytes.map_or(0, |bytes| bytes.len() as i64)
    }

    fn drop_unread(&self) {
        let unread = self.left().read.take();
        if let Some(unread) = unread {
            self.put_back(unread.buffer);
        }
    }

    /// Moves the position back to where calls have got, for the holder of the turn.
    fn rewind_unread(&self, mut file: &File) -> io::Result<()> {
        match self.ahead() {
            0 => {}
            ahead => drop(file.seek(SeekFrom::Current(-ahead))?),
        }
        self.drop_unread();
        Ok(())
    }

    fn seek_now(&self, mut file: &File, pos: SeekFrom) -> io::Result<u64> {
        let pos = match pos {
            // The error that the system has for a position before the beginning.
            SeekFrom::Current(by) => SeekFrom::Current(
                by.checked_sub(self.ahead())
                    .ok_or(io::ErrorKind::InvalidInput)?,
            ),
            pos => pos,
        };
        let at = file.seek(pos)?;
        self.drop_unread();
        Ok(at)
    }

    /// Reads into a buffer, which stays here until the bytes are taken.
    fn read_now(&self, mut file: &File, len: usize) {
        let mut buffer = self.take_buffer(len);
        // A result that is still here is out of date.
        let result = self
            .rewind_unread(file)
            .and_then(|()| file.read(&mut buffer[..len]));
        let result = match result {
            // The end is not kept: a file may grow until the next read, and a read of zero bytes
            // says nothing of the end.
            Ok(0) if len == 0 || !self.is_stream => return self.put_back(buffer),
            result => result.map(|got| 0..got),
        };
        let is_outdated = false;
        self.left().read = Some(Unread {
            buffer,
            result,
            is_outdated,
        });
    }

    /// Whether there is a result to give that is not out of date.
    fn has_unread(&self) -> bool {
        let left = self.left();
        left.read.as_ref().is_some_and(|read| !read.is_outdated)
    }

    /// The contents have changed: bytes that were read before are to be read again.
    fn outdate(&self) {
        if let Some(read) = &mut self.left().read
            && !self.is_stream
        {
            read.is_outdated = true;
        }
    }

    /// Gives at most `asked` of the bytes that were read, for the holder of the turn.
    fn give(&self, asked: usize, give: impl FnOnce(&[u8])) -> Option<io::Result<usize>> {
        let mut read = self.left().read.take()?;
        let unread = match read.result {
            Ok(unread) => unread,
            Err(error) => {
                self.put_back(read.buffer);
                return Some(Err(error));
            }
        };
        let given = unread.len().min(asked);
        give(&read.buffer[unread.start..][..given]);
        if asked > 0 && given == unread.len() {
            self.put_back(read.buffer);
        } else {
            read.result = Ok(unread.start + given..unread.end);
            self.left().read = Some(read);
        }
        Some(Ok(given))
    }

    /// Reads at most `asked` bytes, and no more than [`MOST`].
    pub(crate) fn read<F: Borrow<File> + Send + 'static>(
        self: &Arc<Self>,
        file: F,
        asked: usize,
        location: CallSite,
        give: impl FnOnce(&[u8]),
    ) -> io::Result<usize> {
        let turn = self.turn(false, location)?;
        if self.has_unread() {
            return self.give(asked, give).unwrap_or(Ok(0));
        }
        let len = asked.min(MOST);
        let read = move |of: &Arc<Self>| of.read_now(file.borrow(), len);
        let ((), _turn) = operate(turn, location, read)?;
        self.give(asked, give).unwrap_or(Ok(0))
    }

    /// Writes at most [`MOST`] of `asked` bytes, which `fill` puts into the buffer.
    pub(crate) fn write<F: Borrow<File> + Send + 'static>(
        self: &Arc<Self>,
        file: F,
        asked: usize,
        location: CallSite,
        fill: impl FnOnce(&mut [u8]),
    ) -> io::Result<usize> {
        let turn = self.turn(true, location)?;
        self.take_error()?;
        let len = asked.min(MOST);
        let mut buffer = self.take_buffer(len);
        fill(&mut buffer[..len]);
        let write = move |of: &Arc<Self>| {
            let mut file = file.borrow();
            // In a stream, bytes that were read are still what the next read gets.
            let ready = match of.is_stream {
                true => Ok(()),
                false => match of.rewind_unread(file) {
                    // Some of the kernel's files have the type of a file, and cannot seek.
                    Err(error) if error.kind() == io::ErrorKind::NotSeekable => Ok(()),
                    rewound => rewound,
                },
            };
            let (written, error) = match ready {
                Ok(()) => write_whole(&buffer[..len], |bytes, _| file.write(bytes)),
                Err(error) => (0, Some(error)),
            };
            of.put_back(buffer);
            error.into_iter().for_each(|error| of.keep(error));
            written
        };
        let (written, _turn) = operate(turn, location, write)?;
        // An error after the first bytes is returned by the next call.
        match written {
            0 => self.take_error().map(|()| 0),
            written => Ok(written),
        }
    }

    /// Moves the position.
    pub(crate) fn seek<F: Borrow<File> + Send + 'static>(
        self: &Arc<Self>,
        file: F,
        pos: SeekFrom,
        location: CallSite,
    ) -> io::Result<u64> {
        let turn = self.turn(false, location)?;
        let seek = move |of: &Arc<Self>| of.seek_now(file.borrow(), pos);
        operate(turn, location, seek)?.0
    }

    /// Changes the length, after the writes that are under way.
    pub(crate) fn set_len<F: Borrow<File> + Send + 'static>(
        self: &Arc<Self>,
        file: F,
        size: u64,
        location: CallSite,
    ) -> io::Result<()> {
        let turn = self.turn(true, location)?;
        let set = move |of: &Arc<Self>| {
            let set = file.borrow().set_len(size);
            of.outdate();
            set.map_err(|error| Unreported::new(of, error))
        };
        operate(turn, location, set)?.0.map_err(Unreported::take)
    }

    /// Waits for writes under way, and returns the error that a write has left.
    pub(crate) fn flush(self: &Arc<Self>, location: CallSite) -> io::Result<()> {
        let _turn = self.turn(true, location)?;
        self.take_error()
    }

    /// Reads from `offset` on, without a turn.
    pub(crate) fn read_at<F: Borrow<File> + Send + 'static>(
        self: &Arc<Self>,
        file: F,
        asked: usize,
        offset: u64,
        location: CallSite,
        give: impl FnOnce(&[u8]),
    ) -> io::Result<usize> {
        let len = asked.min(MOST);
        let mut buffer = self.take_buffer(len);
        let read = move || {
            let got = file.borrow().read_at(&mut buffer[..len], offset);
            (got, buffer)
        };
        let (got, buffer) = pool::run_io(read, location)?;
        if let Ok(got) = got {
            give(&buffer[..got]);
        }
        self.put_back(buffer);
        got
    }

    /// Writes from `offset` on, without a turn.
    pub(crate) fn write_at<F: Borrow<File> + Send + 'static>(
        self: &Arc<Self>,
        file: F,
        asked: usize,
        offset: u64,
        location: CallSite,
        fill: impl FnOnce(&mut [u8]),
    ) -> io::Result<usize> {
        let len = asked.min(MOST);
        let mut buffer = self.take_buffer(len);
        fill(&mut buffer[..len]);
        let of = self.clone();
        let write = move || {
            let file = file.borrow();
            let (written, error) = write_whole(&buffer[..len], |bytes, done| {
                file.write_at(bytes, offset.saturating_add(done as u64))
            });
            of.outdate();
            of.put_back(buffer);
            (written, error.map(|error| Unreported::new(&of, error)))
        };
        match pool::run_io(write, location)? {
            (0, Some(error)) => Err(error.take()),
            // The caller continues after these bytes, and meets the error again.
            (written, error) => {
                drop(error.map(Unreported::take));
                Ok(written)
            }
        }
    }

    /// Waits until nothing is under way, and moves the position to where calls have got.
    pub(crate) fn settle(self: &Arc<Self>, file: &File, location: CallSite) -> io::Result<()> {
        let _reads = self.turn(false, location)?;
        let _writes = match self.is_stream {
            true => Some(self.turn(true, location)?),
            false => None,
        };
        self.take_error()?;
        match self.ahead() {
            ahead if ahead > 0 && self.is_stream => Err(cannot_go_back(ahead)),
            _ => self.rewind_unread(file),
        }
    }

    /// As [`settle`](Self::settle), as far as that is possible without waiting.
    pub(crate) fn settle_now(&self, file: &File) {
        if let Ok(_reads) = self.reading.try_acquire() {
            // A stream has no position.
            let _ = self.rewind_unread(file);
        }
    }
}

opaque_debug!(impl for Description);

/// Unwinds if the ethread is cancelled, and fails if a deadline has passed, before a wait begins.
fn check_interrupts() -> io::Result<()> {
    current::with(|scheduler| match scheduler {
        Some(scheduler) if scheduler.can_leave() => {
            scheduler.raise_if_cancelled();
            match scheduler.has_elapsed() {
                true => Err(scheduler.elapsed_error()),
                false => Ok(()),
            }
        }
        _ => Ok(()),
    })
}

#[cold]
fn cannot_go_back(bytes: i64) -> io::Error {
    let text = format!("{bytes} bytes were read by a call that has left, and cannot be put back");
    io::Error::new(io::ErrorKind::NotSeekable, text)
}

/// Writes all bytes, unless a write fails: an ethread that has left would not write the rest.
/// Returns how many bytes were written.
fn write_whole(
    bytes: &[u8],
    mut write: impl FnMut(&[u8], usize) -> io::Result<usize>,
) -> (usize, Option<io::Error>) {
    let mut written = 0;
    loop {
        match write(&bytes[written..], written) {
            Ok(0) if !bytes.is_empty() => return (written, Some(io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return (written, Some(error)),
        }
        if written == bytes.len() {
            return (written, None);
        }
    }
}

/// Runs an operation on the pool. It holds the turn until it has ended.
fn operate<R: Send + 'static>(
    turn: OperationTurn,
    location: CallSite,
    call: impl FnOnce(&Arc<Description>) -> R + Send + 'static,
) -> io::Result<(R, OperationTurn)> {
    // In this order: if no ethread takes them, the result is left behind before the turn ends.
    pool::run_io(move || (call(&turn.of), turn), location)
}

/// Gives a read's bytes to a buffer of one piece.
pub(crate) fn copy_to(buf: &mut [u8]) -> impl FnOnce(&[u8]) {
    |bytes| buf[..bytes.len()].copy_from_slice(bytes)
}

/// Fills the room for a write from a buffer of one piece.
pub(crate) fn copy_from(buf: &[u8]) -> impl FnOnce(&mut [u8]) {
    |room| room.copy_from_slice(&buf[..room.len()])
}
