//! Sending files to sockets, and reading of them what needs no disk.

// There is no safe way to ask what a signal does.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::BorrowedFd;

/// Sends up to `count` bytes of `file`, from `offset` on, to a socket, without copying them
/// through this process (sendfile(2)). Zero is the end of the file.
///
/// The disk may be waited for; [`read_cached`] tells beforehand.
///
/// # Errors
///
/// `Unsupported` if these two cannot be used so; whatever the socket refuses with.
#[cfg(target_os = "linux")]
pub(crate) fn send_file(
    socket: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    mut offset: u64,
    count: usize,
) -> io::Result<usize> {
    use rustix::io::Errno;
    match rustix::fs::sendfile(socket, file, Some(&mut offset), count) {
        Ok(sent) => Ok(sent),
        // sendfile(2): what the file, or a sandbox, does not offer.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            Err(io::ErrorKind::Unsupported.into())
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn send_file(
    _socket: BorrowedFd<'_>,
    _file: BorrowedFd<'_>,
    _offset: u64,
    _count: usize,
) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Reads of a file what is in memory already; `None` if it may have to come from the disk.
pub(crate) fn read_cached(
    file: BorrowedFd<'_>,
    buf: &mut [u8],
    offset: u64,
) -> io::Result<Option<usize>> {
    #[cfg(target_os = "linux")]
    {
        use rustix::io::{Errno, ReadWriteFlags};
        let bufs = &mut [io::IoSliceMut::new(buf)];
        match rustix::io::preadv2(file, bufs, offset, ReadWriteFlags::NOWAIT) {
            Ok(got) => Ok(Some(got)),
            // Not every file system can tell.
            Err(Errno::AGAIN | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (file, buf, offset);
        Ok(None)
    }
}

/// Whether SIGPIPE would end this process. sendfile(2) cannot be told to do without it, unlike
/// send(2); Rust programs ignore it from their start, but the library may be part of others.
pub(crate) fn sigpipe_is_fatal() -> bool {
    // SAFETY: a zeroed `sigaction` is a valid one; with no new action given, the call only fills
    // it in.
    let action = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGPIPE, std::ptr::null(), &mut action);
        action
    };
    action.sa_sigaction == libc::SIG_DFL
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_rust_program_ignores_sigpipe() {
        assert!(!sigpipe_is_fatal());
    }

    #[test]
    fn cached_reads_give_what_the_file_has_or_nothing() {
        let path = std::env::temp_dir().join(format!("ethreads-cached-{}", std::process::id()));
        File::create(&path)
            .unwrap()
            .write_all(b"0123456789")
            .unwrap();
        let file = File::open(&path).unwrap();
        let mut buf = [0; 4];
        // Whether the file system can tell is not ours to say.
        if let Some(got) = read_cached(file.as_fd(), &mut buf, 8).unwrap() {
            assert_eq!((got, &buf[..2]), (2, &b"89"[..]));
            assert_eq!(read_cached(file.as_fd(), &mut buf, 10).unwrap(), Some(0));
        }
        std::fs::remove_file(path).unwrap();
    }
}
