//! An open file, and the options to open one with.
#![forbid(unsafe_code)]

use std::fmt;
use std::fs::{self, FileTimes, Metadata, Permissions};
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::panic::Location;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::offload::offload;
use crate::io::description::{Description, MOST, Unreported, copy_from, copy_to};
use crate::runtime::io::by_value::by_value;

/// An open file, as [`std::fs::File`]: its calls run on the pool of OS threads while the calling
/// ethread is suspended.
///
/// A file is `Send + Sync`, and may be used by any number of ethreads on any OS threads, with or
/// without a shard. They share its position, as with std, and so do clones. Calls that use the
/// position, and [`set_len`](Self::set_len), wait in one queue, first come, first served. Pipes,
/// terminals and other devices have no position, and a wait queue for each direction. The other
/// calls, such as those of [`FileExt`], overlap with any. A file keeps a buffer of the size of the
/// largest piece that it has moved, at most 256 KiB.
///
/// A closure on the pool, by [`blocking`](crate::bridge::blocking), that uses a file waits in the
/// same queue. If it has the last OS thread that the pool may have, and a call ahead of it in the
/// queue needs one, both wait for ever. Such a closure should use a file of its own.
///
/// Dropping a file closes the descriptor on the calling OS thread, as in std. On some network file
/// systems that waits until the written data is stored; [`sync_all`](Self::sync_all) waits
/// beforehand, and returns errors. If a call whose ethread no longer waits is still under way, the
/// descriptor is closed at the end of that call, on the pool. An error that no call has returned is
/// lost with the last clone.
///
/// # Cancellation
///
/// A call that has begun, and is then cancelled or fails with `TimedOut`, goes on in the pool. It
/// belongs to the file: the next call waits for its end, and nothing that it has done is lost.
///
/// * A *read* counts as not done: the next read gets its bytes, and a seek or a write counts from
///   where they begin. Bytes of a file that [`write_at`](FileExt::write_at) or `set_len` changes
///   meanwhile are read again; a change by another open file is not noticed.
/// * A *write* has written the whole piece, at most 256 KiB, or its error is returned by the next
///   write, [`flush`](Write::flush), `sync_all`, [`sync_data`](Self::sync_data) or
///   [`into_std`](Self::into_std). The same is true of the errors of `write_at`, `set_len`,
///   `sync_all` and `sync_data`.
/// * A *seek* has moved the position, or failed.
///
/// A call that is cancelled while it waits in the queue does not begin. `read_at`, `write_at` and
/// [`metadata`](Self::metadata) do not wait for a write that is under way; `flush` does.
///
/// # While unwinding
///
/// A destructor's call on a file in use fails with the source
/// [`WouldPark`](crate::runtime::WouldPark), as it cannot wait in the queue.
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
    /// Shared with the calls under way; the descriptor stays open until they have ended.
    file: Arc<fs::File>,
    /// Shared with the clones too.
    shared: Arc<Description>,
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
    /// [`std::fs::File::sync_all`]. It waits for a write that is under way.
    ///
    /// # Errors
    ///
    /// The error of an earlier write that no call has returned, as by [`flush`](Write::flush); then
    /// those of fsync(2), which may report an earlier write too.
    #[track_caller]
    pub fn sync_all(&self) -> io::Result<()> {
        self.sync(fs::File::sync_all)
    }

    /// Suspends the ethread until the contents of the file are on the disk, as
    /// [`std::fs::File::sync_data`]. It waits for a write that is under way.
    ///
    /// # Errors
    ///
    /// Those of fdatasync(2), and as [`sync_all`](Self::sync_all).
    #[track_caller]
    pub fn sync_data(&self) -> io::Result<()> {
        self.sync(fs::File::sync_data)
    }

    /// Truncates the file to `size`, or extends it with zeros, as [`std::fs::File::set_len`];
    /// suspends the ethread meanwhile.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the file is not open to write, and the others of std.
    #[track_caller]
    pub fn set_len(&self, size: u64) -> io::Result<()> {
        self.shared
            .set_len(self.file.clone(), size, Location::caller())
    }

    /// Returns the metadata of the file, as [`std::fs::File::metadata`]; suspends the ethread
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// Those of fstat(2).
    #[track_caller]
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.ask(|file| file.metadata())
    }

    /// Changes the permissions of the file, as [`std::fs::File::set_permissions`]; suspends the
    /// ethread meanwhile.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` if the file belongs to another user, and the others of std.
    #[track_caller]
    pub fn set_permissions(&self, perm: Permissions) -> io::Result<()> {
        self.ask(|file| file.set_permissions(perm))
    }

    /// Changes the times of the file, as [`std::fs::File::set_times`]; suspends the ethread
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` if the file belongs to another user, and the others of std.
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

    /// Returns another handle of the same open file, with the same position. It does not wait;
    /// operations under way belong to both handles.
    ///
    /// # Errors
    ///
    /// Those of dup(2), for example when there are too many open files.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            file: Arc::new(self.file.try_clone()?),
            shared: self.shared.clone(),
        })
    }

    /// Converts the file into std's type, whose calls block the OS thread; suspends the ethread
    /// while another operation is under way.
    ///
    /// The position is right afterwards: bytes that a cancelled read has read, and no call has
    /// returned, are read again. A call that does not use the position, such as
    /// [`read_at`](FileExt::read_at), and that goes on without its ethread, keeps the descriptor;
    /// then this returns a duplicate of it.
    ///
    /// # Errors
    ///
    /// The error of a write that no call has returned, as by [`flush`](Write::flush); `NotSeekable`
    /// if a cancelled call has read bytes of a pipe or a terminal, which cannot be put back;
    /// `TimedOut` at the deadline of a scope; those of dup(2), where a duplicate is needed. After
    /// an error the file is closed.
    #[track_caller]
    pub fn into_std(self) -> io::Result<fs::File> {
        self.shared.settle(&self.file, Location::caller())?;
        Arc::try_unwrap(self.file).or_else(|file| file.try_clone())
    }

    /// Runs on the pool a call that changes neither the position nor the contents of the file.
    #[track_caller]
    fn ask<T: Send + 'static>(
        &self,
        call: impl FnOnce(&fs::File) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let file = self.file.clone();
        offload(move || call(&file))
    }

    /// Writes the file to the disk, on the pool. An error that no call takes stays with the file.
    #[track_caller]
    fn sync(&self, sync: fn(&fs::File) -> io::Result<()>) -> io::Result<()> {
        self.shared.flush(Location::caller())?;
        let (file, shared) = (self.file.clone(), self.shared.clone());
        let synced =
            offload(move || Ok(sync(&file).map_err(|error| Unreported::new(&shared, error))));
        synced?.map_err(Unreported::take)
    }
}

impl From<fs::File> for File {
    fn from(file: fs::File) -> Self {
        Self {
            shared: Description::new(file.as_fd()),
            file: Arc::new(file),
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
        let (file, location) = (self.file.clone(), Location::caller());
        self.shared.read(file, buf.len(), location, copy_to(buf))
    }

    #[track_caller]
    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let asked = bufs.iter().map(|buf| buf.len()).sum();
        let location = Location::caller();
        self.shared
            .read(self.file.clone(), asked, location, |mut bytes| {
                for buf in bufs {
                    let (now, later) = bytes.split_at(bytes.len().min(buf.len()));
                    buf[..now.len()].copy_from_slice(now);
                    bytes = later;
                }
            })
    }

    // std's implementation reads 32 bytes, and then 8 KiB at a time, each by a trip to the pool.
    #[track_caller]
    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        let before = buf.len();
        loop {
            let read = self
                .shared
                .read(self.file.clone(), MOST, Location::caller(), |bytes| {
                    buf.extend_from_slice(bytes);
                });
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
        let (file, location) = (self.file.clone(), Location::caller());
        self.shared.write(file, buf.len(), location, copy_from(buf))
    }

    #[track_caller]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let asked = bufs.iter().map(|buf| buf.len()).sum();
        let location = Location::caller();
        self.shared
            .write(self.file.clone(), asked, location, |mut room| {
                for buf in bufs {
                    let (now, later) = room.split_at_mut(room.len().min(buf.len()));
                    now.copy_from_slice(&buf[..now.len()]);
                    room = later;
                }
            })
    }

    /// Suspends the ethread until a write that is under way has ended, and returns the error of a
    /// write that no call has returned. Without either it does nothing: a file buffers no writes.
    #[track_caller]
    fn flush(&mut self) -> io::Result<()> {
        self.shared.flush(Location::caller())
    }
}

impl Seek for &File {
    /// Moves the position; suspends the ethread meanwhile, as a read that is under way elsewhere
    /// holds the position until it ends.
    #[track_caller]
    fn seek(&mut self, pos: SeekFrom) -> io::Result<u64> {
        self.shared.seek(self.file.clone(), pos, Location::caller())
    }
}

by_value!(impl Read for File);
by_value!(impl Write for File);

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
        let (file, location) = (self.file.clone(), Location::caller());
        self.shared
            .read_at(file, buf.len(), offset, location, copy_to(buf))
    }

    /// Writes at most 256 KiB at `offset`, and leaves the position alone; suspends the ethread
    /// meanwhile.
    #[track_caller]
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let (file, location) = (self.file.clone(), Location::caller());
        self.shared
            .write_at(file, buf.len(), offset, location, copy_from(buf))
    }
}

/// Options to open a file with, as [`std::fs::OpenOptions`].
///
/// [`OpenOptionsExt`] is there too: `mode` and `custom_flags`.
///
/// # Examples
///
/// ```
/// use std::io::Write;
/// use ethreads::fs::{self, OpenOptions};
///
/// ethreads::run_main(|| {
///     let path = std::env::temp_dir().join(format!("ethreads-log-{}", std::process::id()));
///     for line in ["one\n", "two\n"] {
///         let mut log = OpenOptions::new().append(true).create(true).open(&path)?;
///         log.write_all(line.as_bytes())?;
///     }
///     assert_eq!(fs::read_to_string(&path)?, "one\ntwo\n");
///     fs::remove_file(&path)
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct OpenOptions(fs::OpenOptions);

/// Gives the options the methods that set one of std's options.
macro_rules! settings {
    ($($(#[$docs:meta])* $name:ident)+) => {
        impl OpenOptions {$(
            $(#[$docs])*
            pub fn $name(&mut self, $name: bool) -> &mut Self {
                self.0.$name($name);
                self
            }
        )+}
    };
}

settings! {
    /// Sets whether the file can be read.
    read
    /// Sets whether the file can be written. Its contents stay, except where they are overwritten.
    write
    /// Sets whether each write goes to the end of the file, wherever that is by then.
    append
    /// Sets whether the file is emptied first.
    truncate
    /// Sets whether the file is made if there is none.
    create
    /// Sets whether the file must be created: opening fails if it exists.
    create_new
}

// As std's type, which has no `Default` either.
#[allow(clippy::new_without_default)]
impl OpenOptions {
    /// Returns options of which none is set.
    #[must_use]
    pub fn new() -> Self {
        Self(fs::OpenOptions::new())
    }

    /// Opens a file, as [`std::fs::OpenOptions::open`]; suspends the ethread meanwhile.
    ///
    /// # Errors
    ///
    /// Those of std: `InvalidInput` for options that contradict each other, `NotFound`,
    /// `AlreadyExists`, `PermissionDenied` and so on.
    ///
    /// # Cancellation
    ///
    /// The call goes on in the pool, which closes the file at once. But the file may have been
    /// created or truncated.
    #[track_caller]
    pub fn open<P: AsRef<Path>>(&self, path: P) -> io::Result<File> {
        let (options, path) = (self.0.clone(), path.as_ref().to_owned());
        offload(move || options.open(path).map(File::from))
    }
}

impl OpenOptionsExt for OpenOptions {
    fn mode(&mut self, mode: u32) -> &mut Self {
        self.0.mode(mode);
        self
    }

    fn custom_flags(&mut self, flags: i32) -> &mut Self {
        self.0.custom_flags(flags);
        self
    }
}
