//! The operations on descriptors: each is one bounded system call, and says `WouldBlock` instead
//! of waiting.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvFlags, SendFlags, SocketAddrAny};
use rustix::time::Timespec;

use super::monotonic_now;

/// Signals are for processes; a broken pipe is an error of the call.
const SEND: SendFlags = SendFlags::NOSIGNAL;

pub(crate) fn read(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    Ok(rustix::io::read(fd, buf)?)
}

pub(crate) fn read_vectored(fd: BorrowedFd<'_>, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    Ok(rustix::io::readv(fd, bufs)?)
}

pub(crate) fn write(fd: BorrowedFd<'_>, buf: &[u8]) -> io::Result<usize> {
    Ok(rustix::io::write(fd, buf)?)
}

pub(crate) fn write_vectored(fd: BorrowedFd<'_>, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    Ok(rustix::io::writev(fd, bufs)?)
}

/// Receives from a connected socket; with `peek` the data stays there.
pub(crate) fn recv(fd: BorrowedFd<'_>, buf: &mut [u8], peek: bool) -> io::Result<usize> {
    let flags = if peek {
        RecvFlags::PEEK
    } else {
        RecvFlags::empty()
    };
    // The second number is the length before truncation; std tells the truncated one.
    let (received, _) = rustix::net::recv(fd, buf, flags)?;
    Ok(received)
}

/// Receives a datagram and its sender's address.
pub(crate) fn recv_from(
    fd: BorrowedFd<'_>,
    buf: &mut [u8],
    peek: bool,
) -> io::Result<(usize, Option<SocketAddrAny>)> {
    let flags = if peek {
        RecvFlags::PEEK
    } else {
        RecvFlags::empty()
    };
    let (received, _, from) = rustix::net::recvfrom(fd, buf, flags)?;
    Ok((received, from))
}

pub(crate) fn send(fd: BorrowedFd<'_>, buf: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(fd, buf, SEND)?)
}

pub(crate) fn send_vectored(fd: BorrowedFd<'_>, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    let mut control = rustix::net::SendAncillaryBuffer::default();
    Ok(rustix::net::sendmsg(fd, bufs, &mut control, SEND)?)
}

/// Accepts a connection; its descriptor is non-blocking and closed on exec.
pub(crate) fn accept(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, Option<SocketAddrAny>)> {
    #[cfg(any(target_os = "linux", target_os = "freebsd"))]
    {
        use rustix::net::SocketFlags;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        Ok(rustix::net::acceptfrom_with(fd, flags)?)
    }
    #[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
    {
        use std::os::fd::AsFd;
        let (accepted, from) = rustix::net::acceptfrom(fd)?;
        rustix::io::fcntl_setfd(&accepted, rustix::io::FdFlags::CLOEXEC)?;
        set_nonblocking(accepted.as_fd(), true)?;
        Ok((accepted, from))
    }
}

/// Waits in poll(2), for an OS thread without ethreads; false once `deadline` has passed.
pub(crate) fn wait_ready(
    fd: BorrowedFd<'_>,
    read: bool,
    deadline: Option<u64>,
) -> io::Result<bool> {
    let interest = if read {
        PollFlags::IN | PollFlags::PRI
    } else {
        PollFlags::OUT
    };
    loop {
        let timeout = match deadline {
            None => None,
            Some(deadline) => match deadline.saturating_sub(monotonic_now()) {
                0 => return Ok(false),
                left => Some(Timespec {
                    tv_sec: (left / 1_000_000_000) as _,
                    tv_nsec: (left % 1_000_000_000) as _,
                }),
            },
        };
        match poll(&mut [PollFd::new(&fd, interest)], timeout.as_ref()) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether a call in this direction would return at once. For descriptors whose blocking mode is
/// shared with other processes and so cannot be changed.
pub(crate) fn is_ready(fd: BorrowedFd<'_>, read: bool) -> io::Result<bool> {
    let interest = if read { PollFlags::IN } else { PollFlags::OUT };
    let zero = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    match poll(&mut [PollFd::new(&fd, interest)], Some(&zero)) {
        Ok(n) => Ok(n > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>, nonblocking: bool) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(fd, nonblocking)?)
}

/// Whether the descriptor is a regular file or a directory, which no driver can watch and every
/// read and write of which may block.
pub(crate) fn is_file(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mode = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode);
    Ok(matches!(
        mode,
        rustix::fs::FileType::RegularFile | rustix::fs::FileType::Directory
    ))
}

/// A pipe, non-blocking and closed on exec: the reading and the writing end.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    #[cfg(any(target_os = "linux", target_os = "freebsd"))]
    {
        use rustix::pipe::PipeFlags;
        Ok(rustix::pipe::pipe_with(
            PipeFlags::NONBLOCK | PipeFlags::CLOEXEC,
        )?)
    }
    #[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
    {
        use std::os::fd::AsFd;
        let (reader, writer) = rustix::pipe::pipe()?;
        for fd in [&reader, &writer] {
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC)?;
            set_nonblocking(fd.as_fd(), true)?;
        }
        Ok((reader, writer))
    }
}
