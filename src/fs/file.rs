//! An open file.
#![forbid(unsafe_code)]

use std::fmt;
use std::fs::{self, FileTimes, Metadata, Permissions};
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::offload;
use super::options::OpenOptions;

/// The most that is moved in one trip to the pool. A trip takes some 20 µs, as long as copying
/// 128 KiB twice. With this much a file that is in memory is read at three quarters of the rate
/// that eight times as much would give, in which the trip no longer shows.
const MOST: usize = 256 * 1024;

/// An open file, as [`std::fs::File`]: its calls run on the pool of OS threads while the calling
/// ethread is suspended.
///
/// It is `Send + Sync`, and may be used by any number of ethreads on any OS threads, with or
/// without a shard. They share its position, as with std, and calls that overlap happen in any
/// order. A file keeps a buffer of the size of the largest piece that it has moved, at most
/// 256 KiB; [`flush`](Write::flush) does nothing, as nothing stays in it.
///
/// Dropping it closes the descriptor right here, as std's does, which on some network file systems
/// waits for what was written; [`sync_all`](Self::sync_all) waits beforehand, and tells errors. If
/// the call of an ethread that has left is still under way, the descriptor closes at its end, on
/// the pool.
///
/// # Cancellation
///
/// A call that has begun, and is then cancelled or fails with `TimedOut`, goes on in the pool. So
/// the position, and what a write has written, are unknown afterwards: open the file anew, or name
/// positions with [`FileExt`]. Buffers are never torn: what was to be read into has not changed,
/// and what is written is what was given.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Seek, Write};
/// use ethreads::fs::{self, File};
///
/// ethreads::run_main(|| {
///     let path = std::env::temp_dir().join(format!("ethreads-file-{}", std::process::id()));
///     let mut file = File::options().read(true).write(true).create_new(true).open(&path)?;
///     file.write_all(b"hello")?;
///     file.rewind()?;
///     let mut text = String::new();
///     file.read_to_string(&mut text)?;
///     assert_eq!(text, "hello");
///     fs::remove_file(&path)
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct File {
    /// Shared with the calls that are under way, which end when they end.
    file: Arc<fs::File>,
    /// What the next call moves its bytes through. Taken out for that, so that a second call at
    /// the same time finds none and makes its own.
    buffer: Mutex<Vec<u8>>,
}

impl File {
    /// Opens a file to read, as [`std::fs::File::open`]; suspends the ethread meanwhile.
    ///
    /// # Errors
    ///
    /// Those of std, such as `NotFound`.
    #[track_caller]
    pub fn open<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        Self::options().read(true).open(path)
    }

    /// Opens a file to write, empty, and makes it if there is none, as [`std::fs::File::create`];
    /// suspends the ethread meanwhile.
    ///
    /// # Errors
    ///
    /// Those of std, such as `PermissionDenied`.
    #[track_caller]
    pub fn create<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        let mut options = Self::options();
        options.write(true).create(true).truncate(true).open(path)
    }

    /// Makes a file that was not there, to read and to write, as [`std::fs::File::create_new`];
    /// suspends the ethread meanwhile.
    ///
    /// # Errors
    ///
    /// `AlreadyExists`, and the others of std.
    #[track_caller]
    pub fn create_new<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        let mut options = Self::options();
        options.read(true).write(true).create_new(true).open(path)
    }

    /// Returns options to open a file with, none of them set.
    #[must_use]
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// Suspends the ethread until the file, with its metadata, is on the disk, as
    /// [`std::fs::File::sync_all`].
    ///
    /// # Errors
    ///
    /// Those of fsync(2): an earlier write may have failed only now.
    #[track_caller]
    pub fn sync_all(&self) -> io::Result<()> {
        self.ask(|file| file.sync_all())
    }

    /// Suspends the ethread until the contents of the file are on the disk, as
    /// [`std::fs::File::sync_data`].
    ///
    /// # Errors
    ///
    /// Those of fdatasync(2): an earlier write may have failed only now.
    #[track_caller]
    pub fn sync_data(&self) -> io::Result<()> {
        self.ask(|file| file.sync_data())
    }

    /// Cuts the file off at `size`, or lets it grow by zeros, as [`std::fs::File::set_len`];
    /// suspends the ethread meanwhile.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the file is not open to write, and the others of std.
    #[track_caller]
    pub fn set_len(&self, size: u64) -> io::Result<()> {
        self.ask(move |file| file.set_len(size))
    }

    /// Returns what the system knows of the file, as [`std::fs::File::metadata`]; suspends the
    /// ethread meanwhile.
    ///
    /// # Errors
    ///
    /// Those of fstat(2).
    #[track_caller]
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.ask(|file| file.metadata())
    }

    /// Changes who may do what, as [`std::fs::File::set_permissions`]; suspends the ethread
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` if the file is somebody else's, and the others of std.
    #[track_caller]
    pub fn set_permissions(&self, perm: Permissions) -> io::Result<()> {
        self.ask(|file| file.set_permissions(perm))
    }

    /// Changes the times of the file, as [`std::fs::File::set_times`]; suspends the ethread
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` if the file is somebody else's, and the others of std.
    #[track_caller]
    pub fn set_times(&self, times: FileTimes) -> io::Result<()> {
        self.ask(move |file| file.set_times(times))
    }

    /// Changes when the file was last modified, as [`std::fs::File::set_modified`]; suspends the
    /// ethread meanwhile.
    ///
    /// # Errors
    ///
    /// Those of [`set_times`](Self::set_times).
    #[track_caller]
    pub fn set_modified(&self, time: SystemTime) -> io::Result<()> {
        self.set_times(FileTimes::new().set_modified(time))
    }

    /// Returns another handle of the same open file, with the same position. It goes on at once.
    ///
    /// # Errors
    ///
    /// Those of dup(2), for example when there are too many open files.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.file.try_clone().map(Self::from)
    }

    /// Turns it into std's type, whose calls block the OS thread. It goes on at once.
    ///
    /// While a call is under way whose ethread has left, that keeps the descriptor, and this
    /// returns a duplicate of it, with the same position.
    ///
    /// # Errors
    ///
    /// Those of dup(2), where that is needed.
    pub fn into_std(self) -> io::Result<fs::File> {
        Arc::try_unwrap(self.file).or_else(|file| file.try_clone())
    }

    /// Lets the pool do something with the file.
    #[track_caller]
    fn ask<T: Send + 'static>(
        &self,
        call: impl FnOnce(&fs::File) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let file = self.file.clone();
        offload(move || call(&file))
    }

    /// Lets the pool read into the buffer, at most `asked` bytes, and gives what it has read.
    #[track_caller]
    fn fetch(
        &self,
        asked: usize,
        read: impl FnOnce(&fs::File, &mut [u8]) -> io::Result<usize> + Send + 'static,
        give: impl FnOnce(&[u8]),
    ) -> io::Result<usize> {
        let (len, mut buffer) = self.take_buffer(asked);
        let (result, buffer) = self.ask(move |file| {
            let result = read(file, &mut buffer[..len]);
            Ok((result, buffer))
        })?;
        if let Ok(got) = result {
            give(&buffer[..got]);
        }
        self.put_back(buffer);
        result
    }

    /// Lets the pool write what fits the buffer, of `asked` bytes that `fill` puts there.
    #[track_caller]
    fn send(
        &self,
        asked: usize,
        fill: impl FnOnce(&mut [u8]),
        write: impl FnOnce(&fs::File, &[u8]) -> io::Result<usize> + Send + 'static,
    ) -> io::Result<usize> {
        let (len, mut buffer) = self.take_buffer(asked);
        fill(&mut buffer[..len]);
        let (result, buffer) = self.ask(move |file| {
            let result = write(file, &buffer[..len]);
            Ok((result, buffer))
        })?;
        self.put_back(buffer);
        result
    }

    /// Returns how much of `asked` is moved at once, and a buffer that has room for it.
    fn take_buffer(&self, asked: usize) -> (usize, Vec<u8>) {
        let len = asked.min(MOST);
        let mut buffer =
            mem::take(&mut *self.buffer.lock().unwrap_or_else(PoisonError::into_inner));
        if buffer.len() < len {
            // Not `resize`: a new one is zero without being written to.
            buffer = vec![0; len];
        }
        (len, buffer)
    }

    fn put_back(&self, buffer: Vec<u8>) {
        *self.buffer.lock().unwrap_or_else(PoisonError::into_inner) = buffer;
    }
}

impl From<fs::File> for File {
    fn from(file: fs::File) -> Self {
        Self {
            file: Arc::new(file),
            buffer: Mutex::default(),
        }
    }
}

impl From<OwnedFd> for File {
    fn from(fd: OwnedFd) -> Self {
        Self::from(fs::File::from(fd))
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

impl Read for &File {
    /// Reads at most 256 KiB; suspends the ethread meanwhile. `Ok(0)` is the end.
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.fetch(
            buf.len(),
            |mut file, room| file.read(room),
            |bytes| buf[..bytes.len()].copy_from_slice(bytes),
        )
    }

    #[track_caller]
    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let asked = bufs.iter().map(|buf| buf.len()).sum();
        self.fetch(
            asked,
            |mut file, room| file.read(room),
            |mut bytes| {
                for buf in bufs {
                    let (now, later) = bytes.split_at(bytes.len().min(buf.len()));
                    buf[..now.len()].copy_from_slice(now);
                    bytes = later;
                }
            },
        )
    }

    // std's begins with 32 bytes, and goes on with 8 KiB: a trip each.
    #[track_caller]
    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        let before = buf.len();
        loop {
            let read = self.fetch(
                MOST,
                |mut file, room| file.read(room),
                |bytes| buf.extend_from_slice(bytes),
            );
            match read {
                Ok(0) => return Ok(buf.len() - before),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    #[track_caller]
    fn read_to_string(&mut self, buf: &mut String) -> io::Result<usize> {
        let mut bytes = Vec::new();
        let read = self.read_to_end(&mut bytes)?;
        let text = String::from_utf8(bytes).map_err(|_| {
            let message = "stream did not contain valid UTF-8";
            io::Error::new(io::ErrorKind::InvalidData, message)
        })?;
        buf.push_str(&text);
        Ok(read)
    }
}

impl Write for &File {
    /// Writes at most 256 KiB; suspends the ethread meanwhile.
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.send(
            buf.len(),
            |room| room.copy_from_slice(&buf[..room.len()]),
            |mut file, bytes| file.write(bytes),
        )
    }

    #[track_caller]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let asked = bufs.iter().map(|buf| buf.len()).sum();
        self.send(
            asked,
            |mut room| {
                for buf in bufs {
                    let (now, later) = room.split_at_mut(room.len().min(buf.len()));
                    now.copy_from_slice(&buf[..now.len()]);
                    room = later;
                }
            },
            |mut file, bytes| file.write(bytes),
        )
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for &File {
    /// Moves the position; suspends the ethread meanwhile, as a read that is under way elsewhere
    /// holds the position until it ends.
    #[track_caller]
    fn seek(&mut self, pos: SeekFrom) -> io::Result<u64> {
        self.ask(move |mut file| file.seek(pos))
    }
}

impl Read for File {
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    #[track_caller]
    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
    }

    #[track_caller]
    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        (&*self).read_to_end(buf)
    }

    #[track_caller]
    fn read_to_string(&mut self, buf: &mut String) -> io::Result<usize> {
        (&*self).read_to_string(buf)
    }
}

impl Write for File {
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    #[track_caller]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File {
    #[track_caller]
    fn seek(&mut self, pos: SeekFrom) -> io::Result<u64> {
        (&*self).seek(pos)
    }
}

impl FileExt for File {
    /// Reads at most 256 KiB from `offset` on, and leaves the position alone; suspends the ethread
    /// meanwhile. `Ok(0)` is the end.
    #[track_caller]
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.fetch(
            buf.len(),
            move |file, room| file.read_at(room, offset),
            |bytes| buf[..bytes.len()].copy_from_slice(bytes),
        )
    }

    /// Writes at most 256 KiB at `offset`, and leaves the position alone; suspends the ethread
    /// meanwhile.
    #[track_caller]
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.send(
            buf.len(),
            |room| room.copy_from_slice(&buf[..room.len()]),
            move |file, bytes| file.write_at(bytes, offset),
        )
    }
}
