//! Listing directories.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, FileType, Metadata};
use std::io;
use std::mem;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::vec;

use super::offload::offload;
use crate::runtime::base::debug::opaque_debug;

/// How many entries one trip to the pool reads. A trip costs about as much as reading ten entries.
/// A larger batch is out of date sooner, and wasted if the program stops iterating.
const BATCH: usize = 64;

/// Lists a directory, as [`std::fs::read_dir`]; suspends the ethread until it is open and the
/// first 64 entries are read.
///
/// # Errors
///
/// Those of std: `NotFound`, `NotADirectory` and so on.
///
/// # Examples
///
/// ```
/// use ethreads::fs;
///
/// ethreads::run_main(|| {
///     let mut names = Vec::new();
///     for entry in fs::read_dir("/")? {
///         let entry = entry?;
///         if entry.file_type()?.is_dir() {
///             names.push(entry.file_name());
///         }
///     }
///     assert!(names.contains(&"tmp".into()));
///     std::io::Result::Ok(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[track_caller]
pub fn read_dir<P: AsRef<Path>>(path: P) -> io::Result<ReadDir> {
    let path = path.as_ref().to_owned();
    offload(|| {
        let mut listing = Listing {
            dir: fs::read_dir(path)?,
            batch: Vec::new(),
            ended: false,
        };
        listing.fill();
        Ok(ReadDir {
            batch: mem::take(&mut listing.batch).into_iter(),
            ended: listing.ended,
            listing: Arc::new(Mutex::new(listing)),
        })
    })
}

/// The entries of a directory, as [`std::fs::ReadDir`]. One trip to the pool of OS threads reads 64
/// of them; the ethread is suspended meanwhile.
///
/// Made by [`read_dir`].
pub struct ReadDir {
    /// The entries that come next.
    batch: vec::IntoIter<io::Result<DirEntry>>,
    /// Nothing comes after the batch.
    ended: bool,
    /// Shared with the calls that are under way. No ethread that holds the lock suspends, and no
    /// job that holds it waits for an ethread.
    listing: Arc<Mutex<Listing>>,
}

/// The part of a listing that the pool works on.
struct Listing {
    dir: fs::ReadDir,
    /// Entries that were read and not yet fetched. So no entry is lost with a call that has failed
    /// with `TimedOut`: the next call finds the entries here.
    batch: Vec<io::Result<DirEntry>>,
    ended: bool,
}

impl Listing {
    /// Reads the next batch, unless there is one.
    fn fill(&mut self) {
        if !self.batch.is_empty() || self.ended {
            return;
        }
        let entries = self.dir.by_ref().take(BATCH);
        self.batch = entries.map(|entry| entry.map(DirEntry::new)).collect();
        self.ended = self.batch.len() < BATCH;
    }
}

impl Iterator for ReadDir {
    type Item = io::Result<DirEntry>;

    /// Returns the next entry, in no particular order; suspends the ethread for one entry in 64,
    /// until the next ones are read.
    ///
    /// An item is an error if an entry cannot be read, if the deadline of a scope has passed, or if
    /// no OS thread can be started. After the latter two, and after a cancel, the iterator goes on
    /// where it was.
    #[track_caller]
    fn next(&mut self) -> Option<Self::Item> {
        if self.batch.as_slice().is_empty() && !self.ended {
            let listing = self.listing.clone();
            let filled = offload(move || {
                listing
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .fill();
                Ok(())
            });
            if let Err(error) = filled {
                return Some(Err(error));
            }
            let mut listing = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
            self.batch = mem::take(&mut listing.batch).into_iter();
            self.ended = listing.ended;
        }
        self.batch.next()
    }
}

opaque_debug!(impl for ReadDir);

/// An entry of a directory, as [`std::fs::DirEntry`].
///
/// [`DirEntryExt`] is there too: `ino`. An entry keeps its directory open, as std's does.
pub struct DirEntry {
    /// Shared with the calls that are under way.
    entry: Arc<fs::DirEntry>,
    file_type: Result<FileType, io::ErrorKind>,
}

impl DirEntry {
    /// Asks for the type too. Most file systems return it with the name; others are asked, which
    /// may wait.
    fn new(entry: fs::DirEntry) -> Self {
        Self {
            file_type: entry.file_type().map_err(|error| error.kind()),
            entry: Arc::new(entry),
        }
    }

    /// Returns the path of the directory, as it was given to [`read_dir`], with the name.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.entry.path()
    }

    /// Returns the name alone.
    #[must_use]
    pub fn file_name(&self) -> OsString {
        self.entry.file_name()
    }

    /// Returns the type of the file at the time when the directory was read, without waiting. A
    /// link is reported as a link.
    ///
    /// # Errors
    ///
    /// `NotFound` and the like, if the file system had to be asked and the file was gone.
    pub fn file_type(&self) -> io::Result<FileType> {
        self.file_type.map_err(io::Error::from)
    }

    /// Returns the metadata of the file, or of a link itself, as [`std::fs::DirEntry::metadata`];
    /// suspends the ethread meanwhile.
    ///
    /// # Errors
    ///
    /// Those of std, such as `NotFound`.
    #[track_caller]
    pub fn metadata(&self) -> io::Result<Metadata> {
        let entry = self.entry.clone();
        offload(move || entry.metadata())
    }
}

impl DirEntryExt for DirEntry {
    fn ino(&self) -> u64 {
        self.entry.ino()
    }
}

impl fmt::Debug for DirEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entry.fmt(f)
    }
}
