//! The operations on descriptors: each is one bounded system call, and fails with `WouldBlock`
//! instead of waiting.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketAddrAny};
use rustix::time::Timespec;

use super::clock::monotonic_now;

/// No SIGPIPE, which concerns the whole process: a broken pipe is an error of the call.
#[cfg(not(target_vendor = "apple"))]
pub(super) const SEND: SendFlags = SendFlags::NOSIGNAL;
/// On Apple systems a socket option does the same, which socket2 and std set.
#[cfg(target_vendor = "apple")]
pub(super) const SEND: SendFlags = SendFlags::empty();

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

/// The same, and the kernel may keep the data back for what is sent next.
#[cfg(all(feature = "http", target_os = "linux"))]
const SEND_AHEAD: SendFlags = SEND.union(SendFlags::MORE);
#[cfg(all(feature = "http", not(target_os = "linux")))]
const SEND_AHEAD: SendFlags = SEND;

/// Receives from a connected socket; with `peek` the data stays in the socket.
pub(crate) fn recv(fd: BorrowedFd<'_>, buf: &mut [u8], peek: bool) -> io::Result<usize> {
    // The second number is the length before truncation; std returns the truncated length.
    let (received, _) = rustix::net::recv(fd, buf, recv_flags(peek))?;
    Ok(received)
}

/// An address of any family; [`socket`](super::socket) converts it.
pub(crate) type PeerAddr = SocketAddrAny;

/// Receives a datagram and its sender's address.
pub(crate) fn recv_from(
    fd: BorrowedFd<'_>,
    buf: &mut [u8],
    peek: bool,
) -> io::Result<(usize, Option<PeerAddr>)> {
    let (received, _, from) = rustix::net::recvfrom(fd, buf, recv_flags(peek))?;
    Ok((received, from))
}

fn recv_flags(peek: bool) -> RecvFlags {
    match peek {
        true => RecvFlags::PEEK,
        false => RecvFlags::empty(),
    }
}

pub(crate) fn send(fd: BorrowedFd<'_>, buf: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(fd, buf, SEND)?)
}

/// Sends data that more data follows at once. TCP on Linux puts both into one packet where there is
/// room; it keeps the data back for at most 200 ms.
#[cfg(feature = "http")]
pub(crate) fn send_ahead(fd: BorrowedFd<'_>, buf: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(fd, buf, SEND_AHEAD)?)
}

pub(crate) fn send_vectored(fd: BorrowedFd<'_>, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    let mut control = rustix::net::SendAncillaryBuffer::default();
    Ok(rustix::net::sendmsg(fd, bufs, &mut control, SEND)?)
}

/// Accepts a connection; its descriptor is non-blocking and closed on exec.
pub(crate) fn accept(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, Option<PeerAddr>)> {
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
                left => Timespec::try_from(Duration::from_nanos(left)).ok(),
            },
        };
        match poll(&mut [PollFd::new(&fd, interest)], timeout.as_ref()) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether a call in this direction would return at once. For descriptors whose blocking mode is
/// shared with other processes and so cannot be changed.
pub(crate) fn is_ready(fd: BorrowedFd<'_>, read: bool) -> io::Result<bool> {
    let interest = if read { PollFlags::IN } else { PollFlags::OUT };
    Ok(!events_now(fd, interest)?.is_empty())
}

/// Which of these events, or of hangup and error, poll(2) reports now.
fn events_now(fd: BorrowedFd<'_>, interest: PollFlags) -> io::Result<PollFlags> {
    let mut fds = [PollFd::new(&fd, interest)];
    loop {
        match poll(&mut fds, Some(&Timespec::default())) {
            // poll(2) gave no answer, and the caller may take "no" as final: ask again.
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(fds[0].revents()),
        }
    }
}

/// Whether the peer of a stream has ended its side, or the connection is gone altogether.
#[cfg(feature = "http")]
pub(crate) fn is_hung_up(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let gone = PollFlags::HUP | PollFlags::ERR;
    #[cfg(target_os = "linux")]
    let gone = gone | PollFlags::RDHUP;
    if events_now(fd, gone)?.intersects(gone) {
        return Ok(true);
    }
    // Without RDHUP, the end of the stream can be seen only if no data precedes it.
    #[cfg(not(target_os = "linux"))]
    match recv(fd, &mut [0], true) {
        Ok(0) => return Ok(true),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Ok(true),
        _ => {}
    }
    Ok(false)
}

pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>, nonblocking: bool) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(fd, nonblocking)?)
}

pub(crate) fn is_nonblocking(fd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(rustix::fs::fcntl_getfl(fd)?.contains(rustix::fs::OFlags::NONBLOCK))
}

/// How reads and writes of a descriptor behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FdKind {
    /// A regular file, a directory or a disk: no driver can watch it, and every read and write of
    /// it may block.
    File,
    /// Writes to it must not raise SIGPIPE.
    Socket,
    /// A pipe, a terminal, an eventfd and so on.
    Other,
}

pub(crate) fn kind(fd: BorrowedFd<'_>) -> io::Result<FdKind> {
    use rustix::fs::FileType;
    Ok(
        match FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) {
            FileType::RegularFile | FileType::Directory | FileType::BlockDevice => FdKind::File,
            FileType::Socket => FdKind::Socket,
            _ => FdKind::Other,
        },
    )
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

/// Raises this process's limit of descriptors to its maximum, and returns the new limit; `None` is
/// no limit. If the system refuses, the limit stays what it was.
#[cfg(feature = "http")]
pub(crate) fn raise_descriptor_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        // macOS reports "unlimited" as the maximum and refuses it as a limit.
        let _ = setrlimit(Resource::Nofile, raised);
    }
    getrlimit(Resource::Nofile).current
}

/// Whether an error means that this process or the system has no descriptor left.
#[cfg(feature = "http")]
pub(crate) fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS)
    )
}

/// Whether an error of accept(2) concerns only the connection that was to be accepted: accept(2)
/// passes pending network errors on. Checks only the errors that have no [`io::ErrorKind`].
#[cfg(feature = "http")]
pub(crate) fn is_connection_error(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::PROTO | Errno::NOPROTOOPT | Errno::HOSTDOWN | Errno::OPNOTSUPP | Errno::PERM)
    )
}

#[cfg(test)]
#[cfg(feature = "http")]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    /// What the peer has received after a head was sent, and after the rest was.
    fn received_before_and_after(
        send_head: fn(BorrowedFd<'_>, &[u8]) -> io::Result<usize>,
    ) -> [usize; 2] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        peer.set_nonblocking(true).unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let received = || recv(peer.as_fd(), &mut [0; 16], true).unwrap_or(0);
        assert_eq!(send_head(stream.as_fd(), b"head").unwrap(), 4);
        let before = received();
        assert_eq!(send(stream.as_fd(), b"body").unwrap(), 4);
        [before, received()]
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn data_that_is_sent_ahead_arrives_with_what_follows() {
        assert_eq!(received_before_and_after(send), [4, 8]);
        // A test that is held up for 200 ms sees the head before the body.
        assert!((0..10).any(|_| received_before_and_after(send_ahead) == [0, 8]));
    }
}
