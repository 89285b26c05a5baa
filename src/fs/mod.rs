//! Files and directories with the names, signatures and errors of [`std::fs`]: where those block
//! the OS thread, these suspend the ethread.
//!
//! No system reports when a file is ready, so each call is one trip to the pool of OS threads of
//! [`blocking`](crate::bridge::blocking), and the other ethreads run meanwhile. On an OS thread
//! without ethreads, and in a destructor while the ethread unwinds, a call runs on the calling OS
//! thread.
//!
//! # What a call costs
//!
//! A trip takes some 20 µs, much more than a small read from memory. So read and write in large
//! pieces, put std's [`BufReader`](std::io::BufReader) and [`BufWriter`](std::io::BufWriter) around
//! a [`File`], with some 64 KiB each, and prefer functions that take one trip, such as [`read`],
//! [`write`](write()) and [`copy`]. [`std::io::copy`] moves 8 KiB a trip.
//!
//! # What differs from std
//!
//! * *Reads and writes* move 256 KiB at most: a `read` may return less than was asked for, also of
//!   a regular file, and a larger append may be split. A job on another OS thread cannot borrow
//!   from an ethread that may be unwound meanwhile, so it has a buffer of its own, which the
//!   [`File`] keeps for the next job.
//! * *Cancellation:* a cancelled ethread unwinds at once from the call in which it waits, and in a
//!   [`timeout`](crate::time::timeout) whose deadline passes the call fails with `TimedOut`. In
//!   both cases a job that has begun goes on in the pool: afterwards it is unknown whether a file
//!   was removed, or is about to be. The result of the job, such as an open file, is dropped there.
//!   But reads, writes and seeks of a [`File`] belong to the file, and lose nothing. A call that is
//!   made after a cancel or a deadline does not begin.
//! * *Without OS threads:* if the pool cannot start an OS thread, a call fails, on Linux with
//!   `QuotaExceeded`; see [`blocking`](crate::bridge::blocking).
//! * *Conversions* to std's types may fail; see [`File::into_std`].
//! * *Pipes and terminals* can be opened, but a read that waits for a peer holds an OS thread of
//!   the pool until the peer sends, even if its ethread has ended. Open them here with
//!   `O_NONBLOCK`, which does not wait, and read them as an [`Eport`](crate::io::Eport).
//! * *Simulation:* the files are the real ones, and a run waits for them in real time.
//!
//! In a closure given to [`suspend`](crate::bridge::suspend), which runs on the scheduler's side,
//! the calls panic.
//!
//! # Examples
//!
//! ```
//! use ethreads::fs;
//!
//! ethreads::run_main(|| {
//!     let dir = std::env::temp_dir().join(format!("ethreads-fs-{}", std::process::id()));
//!     fs::create_dir_all(dir.join("in"))?;
//!     fs::write(dir.join("in/greeting"), "hello")?;
//!     for entry in fs::read_dir(dir.join("in"))? {
//!         assert_eq!(fs::read_to_string(entry?.path())?, "hello");
//!     }
//!     fs::remove_dir_all(&dir)
//! })??;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod dir_builder;
mod file;
mod offload;
mod paths;
mod read_dir;
mod whole;

pub use dir_builder::DirBuilder;
pub use file::{File, OpenOptions};
pub use paths::{
    canonicalize, create_dir, create_dir_all, exists, hard_link, metadata, read_link, remove_dir,
    remove_dir_all, remove_file, rename, set_permissions, symlink_metadata,
};
pub use read_dir::{DirEntry, ReadDir, read_dir};
pub use whole::{copy, read, read_to_string, write};

/// Plain values, the same as in [`std::fs`].
pub use std::fs::{FileTimes, FileType, Metadata, Permissions};

#[cfg(test)]
mod tests {
    use super::{DirEntry, File, OpenOptions, ReadDir};

    #[test]
    fn other_threads_may_have_them_and_share_them() {
        fn assert_send_sync<T: Send + Sync>() {}
        assert_send_sync::<File>();
        assert_send_sync::<OpenOptions>();
        assert_send_sync::<ReadDir>();
        assert_send_sync::<DirEntry>();
    }
}
