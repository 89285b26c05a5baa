//! Whole files, each in one trip to the pool.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::Path;

use super::offload::offload;

/// Reads a whole file, as [`std::fs::read`]; suspends the ethread meanwhile.
///
/// # Errors
///
/// Those of std: `NotFound`, `IsADirectory` and so on.
///
/// # Cancellation
///
/// The file is read to its end on the pool, and what was read is dropped there.
#[track_caller]
pub fn read<P: AsRef<Path>>(path: P) -> io::Result<Vec<u8>> {
    let path = path.as_ref().to_owned();
    offload(|| fs::read(path))
}

/// Reads a whole file that is text, as [`std::fs::read_to_string`]; suspends the ethread
/// meanwhile.
///
/// # Errors
///
/// `InvalidData` if it is not UTF-8, and the others of std.
///
/// # Cancellation
///
/// The file is read to its end on the pool, and what was read is dropped there.
#[track_caller]
pub fn read_to_string<P: AsRef<Path>>(path: P) -> io::Result<String> {
    let path = path.as_ref().to_owned();
    offload(|| fs::read_to_string(path))
}

/// Writes a whole file, and makes it if there is none, as [`std::fs::write`]; suspends the ethread
/// meanwhile.
///
/// The contents are copied first. Write contents that are too large for that through a
/// [`File`](super::File), piece by piece.
///
/// # Errors
///
/// Those of std: `PermissionDenied`, `StorageFull` and so on.
///
/// # Cancellation
///
/// The file is written to its end on the pool, unless that fails.
#[track_caller]
pub fn write<P: AsRef<Path>, C: AsRef<[u8]>>(path: P, contents: C) -> io::Result<()> {
    let path = path.as_ref().to_owned();
    let contents = contents.as_ref().to_owned();
    offload(|| fs::write(path, contents))
}

/// Copies the contents and the permissions of a file, as [`std::fs::copy`], and returns its
/// length; suspends the ethread meanwhile.
///
/// # Errors
///
/// Those of std: `InvalidInput` if `from` is not a regular file, `NotFound` and so on.
///
/// # Cancellation
///
/// The file is copied to its end on the pool, unless that fails.
#[track_caller]
pub fn copy<P: AsRef<Path>, Q: AsRef<Path>>(from: P, to: Q) -> io::Result<u64> {
    let (from, to) = (from.as_ref().to_owned(), to.as_ref().to_owned());
    offload(|| fs::copy(from, to))
}
