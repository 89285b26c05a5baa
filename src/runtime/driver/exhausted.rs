//! Errors of exhausted system resources. They name the limit that was reached and what raises it.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;
use std::io;

/// An error of the system, the call that failed, and the limit to raise. The system's error is the
/// source.
#[derive(Debug)]
struct Exhausted {
    failed: &'static str,
    error: io::Error,
    raise: &'static str,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): raise {}", self.failed, self.error, self.raise)
    }
}

impl Error for Exhausted {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

/// Names the limit of descriptors in the error of a call that opens one; other errors stay as they
/// are.
pub(crate) fn descriptors(failed: &'static str, error: io::Error) -> io::Error {
    let raise = match error.raw_os_error() {
        Some(libc::EMFILE) => "RLIMIT_NOFILE (ulimit -n)",
        Some(libc::ENFILE) => "fs.file-max",
        _ => return error,
    };
    explained(error.kind(), failed, error, raise)
}

/// Names the limit of watched descriptors. A bare `ENOSPC` would read as a full disk.
pub(crate) fn watches(error: io::Error) -> io::Error {
    if error.raw_os_error() != Some(libc::ENOSPC) {
        return error;
    }
    let (failed, raise) = ("cannot watch a descriptor", "fs.epoll.max_user_watches");
    explained(io::ErrorKind::QuotaExceeded, failed, error, raise)
}

/// Names the limits of OS threads. A bare `EAGAIN` is `WouldBlock`, and would be taken for a wait.
pub(crate) fn os_threads(failed: &'static str, error: io::Error) -> io::Error {
    // pthread_create(3) has no other error for a stack that cannot be mapped.
    if !matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOMEM)) {
        return error;
    }
    let raise = "RLIMIT_NPROC (ulimit -u), kernel.threads-max or the pids limit of the cgroup, or, \
                 for the stack, RLIMIT_AS (ulimit -v), vm.max_map_count or the memory limit of the \
                 cgroup";
    explained(io::ErrorKind::QuotaExceeded, failed, error, raise)
}

/// Names the limits of mappings.
pub(crate) fn mappings(failed: &'static str, error: io::Error) -> io::Error {
    if error.raw_os_error() != Some(libc::ENOMEM) {
        return error;
    }
    let raise = "RLIMIT_AS (ulimit -v), vm.max_map_count or the memory limit of the cgroup";
    explained(io::ErrorKind::OutOfMemory, failed, error, raise)
}

#[cold]
fn explained(
    kind: io::ErrorKind,
    failed: &'static str,
    error: io::Error,
    raise: &'static str,
) -> io::Error {
    let exhausted = Exhausted {
        failed,
        error,
        raise,
    };
    io::Error::new(kind, exhausted)
}
