//! Operations on the paths of files, directories and links.
#![forbid(unsafe_code)]

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::path::{Path, PathBuf};

use super::offload::offload;

/// Returns the metadata of a file, following links, as [`std::fs::metadata`]; suspends the ethread
/// meanwhile.
///
/// # Errors
///
/// Those of std, such as `NotFound`.
#[track_caller]
pub fn metadata<P: AsRef<Path>>(path: P) -> io::Result<Metadata> {
    let path = path.as_ref().to_owned();
    offload(|| fs::metadata(path))
}

/// Returns the metadata of a file, or of a link itself, as [`std::fs::symlink_metadata`]; suspends
/// the ethread meanwhile.
///
/// # Errors
///
/// Those of std, such as `NotFound`.
#[track_caller]
pub fn symlink_metadata<P: AsRef<Path>>(path: P) -> io::Result<Metadata> {
    let path = path.as_ref().to_owned();
    offload(|| fs::symlink_metadata(path))
}

/// Returns whether a path leads to an existing file, as [`std::fs::exists`]; suspends the ethread
/// meanwhile.
///
/// # Errors
///
/// Those of std: `PermissionDenied` and so on, when the answer cannot be known.
#[track_caller]
pub fn exists<P: AsRef<Path>>(path: P) -> io::Result<bool> {
    let path = path.as_ref().to_owned();
    offload(|| fs::exists(path))
}

/// Returns the absolute path without links and dots, as [`std::fs::canonicalize`]; suspends the
/// ethread meanwhile.
///
/// # Errors
///
/// Those of std: `NotFound`, `NotADirectory` and so on.
#[track_caller]
pub fn canonicalize<P: AsRef<Path>>(path: P) -> io::Result<PathBuf> {
    let path = path.as_ref().to_owned();
    offload(|| fs::canonicalize(path))
}

/// Returns the target of a symbolic link, as [`std::fs::read_link`]; suspends the ethread
/// meanwhile.
///
/// # Errors
///
/// `InvalidInput` if it is no link, and the others of std.
#[track_caller]
pub fn read_link<P: AsRef<Path>>(path: P) -> io::Result<PathBuf> {
    let path = path.as_ref().to_owned();
    offload(|| fs::read_link(path))
}

/// Makes a hard link to a file, as [`std::fs::hard_link`]; suspends the ethread meanwhile.
///
/// # Errors
///
/// Those of std: `NotFound`, `AlreadyExists`, `CrossesDevices` and so on.
#[track_caller]
pub fn hard_link<P: AsRef<Path>, Q: AsRef<Path>>(original: P, link: Q) -> io::Result<()> {
    let (original, link) = (original.as_ref().to_owned(), link.as_ref().to_owned());
    offload(|| fs::hard_link(original, link))
}

/// Renames a file or a directory, replacing what has the new name, as [`std::fs::rename`]; suspends
/// the ethread meanwhile.
///
/// # Errors
///
/// Those of std: `NotFound`, `CrossesDevices` and so on.
#[track_caller]
pub fn rename<P: AsRef<Path>, Q: AsRef<Path>>(from: P, to: Q) -> io::Result<()> {
    let (from, to) = (from.as_ref().to_owned(), to.as_ref().to_owned());
    offload(|| fs::rename(from, to))
}

/// Removes a file, as [`std::fs::remove_file`]; suspends the ethread meanwhile.
///
/// # Errors
///
/// Those of std, such as `NotFound`.
#[track_caller]
pub fn remove_file<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref().to_owned();
    offload(|| fs::remove_file(path))
}

/// Changes the permissions of a file, as [`std::fs::set_permissions`]; suspends the ethread
/// meanwhile.
///
/// # Errors
///
/// `PermissionDenied` if the file belongs to another user, and the others of std.
#[track_caller]
pub fn set_permissions<P: AsRef<Path>>(path: P, perm: Permissions) -> io::Result<()> {
    let path = path.as_ref().to_owned();
    offload(|| fs::set_permissions(path, perm))
}

/// Makes a directory, as [`std::fs::create_dir`]; suspends the ethread meanwhile.
///
/// # Errors
///
/// `AlreadyExists`, `NotFound` for the directory above, and the others of std.
#[track_caller]
pub fn create_dir<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref().to_owned();
    offload(|| fs::create_dir(path))
}

/// Makes a directory, and those above it that are missing, as [`std::fs::create_dir_all`]; suspends
/// the ethread meanwhile.
///
/// # Errors
///
/// Those of std: `NotADirectory`, `PermissionDenied` and so on.
#[track_caller]
pub fn create_dir_all<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref().to_owned();
    offload(|| fs::create_dir_all(path))
}

/// Removes an empty directory, as [`std::fs::remove_dir`]; suspends the ethread meanwhile.
///
/// # Errors
///
/// `DirectoryNotEmpty`, and the others of std.
#[track_caller]
pub fn remove_dir<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref().to_owned();
    offload(|| fs::remove_dir(path))
}

/// Removes a directory with its contents, as [`std::fs::remove_dir_all`]; suspends the ethread
/// meanwhile.
///
/// # Errors
///
/// Those of std. What was removed before the error is gone.
///
/// # Cancellation
///
/// The call goes on in the pool to its end.
#[track_caller]
pub fn remove_dir_all<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref().to_owned();
    offload(|| fs::remove_dir_all(path))
}
