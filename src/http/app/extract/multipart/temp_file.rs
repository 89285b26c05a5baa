//! Files that are removed when they are no longer used.
#![forbid(unsafe_code)]

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::mem;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::bridge;
use crate::fs::{self, File};
use crate::runtime::driver::random::unforeseen;
use crate::thread;

/// A file that is removed when this value is dropped. Made by
/// [`MultipartField::to_temp_file`](super::MultipartField::to_temp_file).
///
/// Dropped at the end of the handler, it is removed before the response is sent.
/// [`Request::insert`](crate::http::Request::insert) keeps it until the request has been answered,
/// and [`Response::hold`](crate::http::Response::hold) until the body has been sent. Dropping it
/// suspends the caller while the [pool](crate::bridge::blocking) removes the file.
#[derive(Debug)]
pub struct TempFile {
    file: File,
    len: u64,
    place: Place,
}

/// The path of a file, which is removed with this.
#[derive(Debug)]
struct Place(PathBuf);

impl TempFile {
    /// Makes a file that only the user of this process may read.
    pub(super) fn new() -> io::Result<Self> {
        Self::make(&std::env::temp_dir(), 0o600)
    }

    /// Makes a file in `folder` that can become a permanent one.
    pub(super) fn beside(folder: &Path) -> io::Result<Self> {
        Self::make(folder, 0o666)
    }

    fn make(folder: &Path, mode: u32) -> io::Result<Self> {
        let name = format!(".upload-{:016x}", unforeseen());
        let path = folder.join(name);
        // If this ethread is cancelled meanwhile, the place is dropped on the pool.
        let made = bridge::blocking(move || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create_new(true).mode(mode);
            options.open(&path).map(|file| (file, Place(path)))
        });
        let (file, place) = made?;
        Ok(Self {
            file: file.into(),
            len: 0,
            place,
        })
    }

    /// Adds to the file.
    pub(super) fn append(&mut self, data: &[u8]) -> io::Result<()> {
        self.file.write_all(data)?;
        self.len += data.len() as u64;
        Ok(())
    }

    /// Waits until all that was added has been written.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.place.0
    }

    /// Returns the length of the file, in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the file has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Opens the file for reading, from its beginning; suspends the caller meanwhile.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here.
    pub fn open(&self) -> io::Result<File> {
        File::open(self.path())
    }

    /// Makes the file permanent, under the name `path`, in place of a file that has it; suspends
    /// the caller meanwhile. Both must be on the same file system.
    ///
    /// # Errors
    ///
    /// If the file cannot be renamed. It is removed then.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here.
    pub fn persist(mut self, path: impl AsRef<Path>) -> io::Result<()> {
        fs::rename(self.path(), path)?;
        // There is nothing left to be removed.
        self.place.0 = PathBuf::new();
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let path = mem::take(&mut self.0);
        if path.as_os_str().is_empty() {
            return;
        }
        // Neither a cancel nor a deadline may leave the file behind.
        let removed = thread::uncancellable(|| {
            let path = path.clone();
            bridge::blocking(move || std::fs::remove_file(path))
        });
        if let Err(error) = removed {
            log::warn!(
                "the temporary file {} was not removed: {error}",
                path.display()
            );
        }
    }
}
