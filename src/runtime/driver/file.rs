//! Sends files to sockets, and reads the parts of files that need no disk access.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::BorrowedFd;

use super::sigaction;

/// Sends up to `count` bytes of `file`, from `offset` on, to a socket, without copying them
/// through this process (sendfile(2)). Zero is the end of the file.
///
/// This may wait for the disk; [`read_cached`] tells beforehand whether it would.
///
/// # Errors
///
/// `Unsupported` if sendfile(2) does not work with this file and this socket; else the error of the
/// system call.
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
        // sendfile(2): not supported by the file, or refused by a sandbox.
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

/// Reads the part of a file that is already in memory. `None` if the data may have to come from the
/// disk.
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
            // AGAIN means that the data is not in memory; the others, that the file system cannot
            // tell.
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

/// Whether SIGPIPE would end this process. sendfile(2) has no flag that suppresses it, unlike
/// send(2). Rust programs ignore SIGPIPE from their start, but the library may be part of other
/// programs.
pub(crate) fn sigpipe_is_fatal() -> bool {
    let action = sigaction::current(libc::SIGPIPE);
    action.is_ok_and(|action| action.sa_sigaction == libc::SIG_DFL)
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
        // `None` is valid, too: some file systems cannot tell.
        if let Some(got) = read_cached(file.as_fd(), &mut buf, 8).unwrap() {
            assert_eq!((got, &buf[..2]), (2, &b"89"[..]));
            assert_eq!(read_cached(file.as_fd(), &mut buf, 10).unwrap(), Some(0));
        }
        std::fs::remove_file(path).unwrap();
    }
}
