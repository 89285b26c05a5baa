//! Descriptors: passed, duplicated, reused, exhausted, and those of terminals.

// Test helpers may panic like tests.
#![allow(clippy::unwrap_used)]
// `openpty` has no safe form among the dependencies.
#![allow(unsafe_code)]

use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use ethreads::io::Eport;
use ethreads::net::{TcpListener, TcpStream, UnixStream};
use ethreads::{spawn, thread};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::net::support::{
    assert_success, in_child, is_child, on_each_driver, tcp_pair, until_true, until_waiting,
};
use crate::support::output;

fn send_fd(socket: &std::os::unix::net::UnixStream, fd: &OwnedFd) {
    let fds = [fd.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    sendmsg(
        socket,
        &[IoSlice::new(b"fd")],
        &mut control,
        SendFlags::empty(),
    )
    .unwrap();
}

fn receive_fd(port: &Eport<UnixStream>) -> OwnedFd {
    port.read_with(|socket| {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut text = [0; 8];
        let mut bufs = [IoSliceMut::new(&mut text)];
        let message = recvmsg(socket, &mut bufs, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        assert_eq!(
            (message.bytes, message.flags & ReturnFlags::CTRUNC),
            (2, ReturnFlags::empty())
        );
        let fds = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        Ok(fds.expect("a descriptor came along"))
    })
    .unwrap()
}

#[test]
fn a_descriptor_that_was_passed_is_waited_on() {
    on_each_driver(|| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let port = Eport::new(theirs).unwrap();
        let receiving = spawn(move || {
            let mut pipe = Eport::new(receive_fd(&port)).unwrap();
            let mut text = String::new();
            pipe.read_to_string(&mut text).unwrap();
            text
        });
        until_waiting(1);
        let (reader, mut writer) = std::io::pipe().unwrap();
        let reader = OwnedFd::from(reader);
        send_fd(&std::os::unix::net::UnixStream::from(ours), &reader);
        // The sender and the message both have the descriptor now. The sender closes its own while
        // the other one is open.
        drop(reader);
        writer.write_all(b"through a passed pipe").unwrap();
        drop(writer);
        assert_eq!(receiving.join().unwrap(), "through a passed pipe");
    });
}

fn openpty() -> (OwnedFd, OwnedFd) {
    let (mut master, mut slave) = (-1, -1);
    let null = std::ptr::null_mut();
    // SAFETY: the two numbers are valid to write to; name, modes and size may be null.
    let result = unsafe {
        libc::openpty(
            &mut master,
            &mut slave,
            null,
            null.cast::<libc::termios>(),
            null.cast(),
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: openpty has succeeded, so both descriptors are open, and nothing else owns them.
    unsafe { (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) }
}

#[test]
fn a_terminal_gives_line_after_line() {
    on_each_driver(|| {
        let (master, slave) = openpty();
        let mut terminal = Eport::new(master).unwrap();
        let port = Eport::new_shared(slave).unwrap();
        let reading = spawn(move || {
            let mut lines = Vec::new();
            let mut buf = [0; 64];
            // A terminal returns one line at a time, however many there are, so a short read does
            // not prove that the terminal is empty.
            for _ in 0..3 {
                let n = (&port).read(&mut buf).unwrap();
                lines.push(String::from_utf8_lossy(&buf[..n]).into_owned());
            }
            (&port).write_all(b"done").unwrap();
            (lines, port)
        });
        until_waiting(1);
        terminal.write_all(b"one\ntwo\nthree\n").unwrap();
        let (lines, port) = reading.join().unwrap();
        assert_eq!(lines, ["one\n", "two\n", "three\n"]);
        let mut screen = Vec::new();
        let mut buf = [0; 64];
        while !screen.ends_with(b"done") {
            let n = terminal.read(&mut buf).unwrap();
            screen.extend_from_slice(&buf[..n]);
        }
        // The other side of the terminal is closed: on Linux that is an error, which wakes the
        // waiters.
        let reading = spawn(move || {
            terminal
                .read(&mut buf)
                .map_err(|error| error.raw_os_error())
        });
        until_waiting(1);
        drop(port);
        assert_eq!(reading.join().unwrap(), Err(Some(libc::EIO)));
    });
}

#[test]
fn a_reused_number_has_nothing_of_its_last_owner() {
    const TEST: &str = "net::descriptors::a_reused_number_has_nothing_of_its_last_owner";
    if !is_child(TEST) {
        return assert_success(&output(&mut in_child(TEST)).unwrap());
    }
    on_each_driver(|| {
        let (mut old_peer, old) = tcp_pair();
        let (mut new_peer, new) = tcp_pair();
        let number = old.as_raw_fd();
        let reader = spawn(move || {
            (&old).read_exact(&mut [0]).unwrap();
            old
        });
        until_waiting(1);
        old_peer.write_all(b"x").unwrap();
        let old = reader.join().unwrap();
        // The duplicate keeps the old connection open. It also keeps the old number's registration
        // with epoll, if that was not removed.
        let duplicate = old.as_fd().try_clone_to_owned().unwrap();
        drop(old);
        let new = TcpStream::from(rustix::io::fcntl_dupfd_cloexec(&new, number).unwrap());
        assert_eq!(new.as_raw_fd(), number);
        let done = std::rc::Rc::new(std::cell::Cell::new(false));
        let flag = done.clone();
        let reader = spawn(move || {
            let mut buf = [0; 8];
            let n = (&new).read(&mut buf).unwrap();
            flag.set(true);
            buf[..n].to_vec()
        });
        until_waiting(1);
        old_peer.write_all(b"old").unwrap();
        for _ in 0..1000 {
            thread::yield_now();
        }
        assert!(!done.get());
        new_peer.write_all(b"new").unwrap();
        assert_eq!(reader.join().unwrap(), b"new");
        let mut old = TcpStream::from(duplicate);
        let mut buf = [0; 8];
        assert_eq!(old.read(&mut buf).unwrap(), 3);
        assert_eq!(&buf[..3], b"old");
    });
}

#[test]
fn a_listener_recovers_from_too_many_open_files() {
    const TEST: &str = "net::descriptors::a_listener_recovers_from_too_many_open_files";
    if !is_child(TEST) {
        return assert_success(&output(&mut in_child(TEST)).unwrap());
    }
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(64),
            maximum,
        },
    )
    .unwrap();
    on_each_driver(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let first = spawn(move || (listener.accept().map(drop), listener));
        until_waiting(1);
        // Nothing here lets the acceptor run before the descriptors are exhausted.
        let client = std::net::TcpStream::connect(addr).unwrap();
        let second = std::net::TcpStream::connect(addr).unwrap();
        let mut hoard = Vec::new();
        while let Ok(fd) = client.as_fd().try_clone_to_owned() {
            hoard.push(fd);
        }
        let (result, listener) = first.join().unwrap();
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EMFILE));
        let error = TcpStream::connect(addr).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        hoard.clear();
        // No new edge comes for these two connections: the readiness flag must have survived the
        // error.
        let acceptor = spawn(move || (0..2).map(|_| listener.accept().unwrap().1).collect());
        let peers: Vec<_> = acceptor.join().unwrap();
        assert_eq!(
            peers,
            [client.local_addr().unwrap(), second.local_addr().unwrap()]
        );
    });
}

#[test]
fn a_descriptor_that_cannot_be_polled_is_refused_by_the_driver_alone() {
    on_each_driver(|| {
        // The device is always ready, so no read ever has to wait.
        let mut null = Eport::new(std::fs::File::open("/dev/zero").unwrap()).unwrap();
        let mut buf = [1; 8];
        null.read_exact(&mut buf).unwrap();
        assert_eq!(buf, [0; 8]);
        let file = Eport::new(std::fs::File::open("/proc/self/exe").unwrap()).unwrap();
        let refused =
            ethreads::bridge::on_ready(&file, ethreads::bridge::Interest::Readable, None, |_| ());
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::PermissionDenied);
    });
}

#[test]
fn a_starter_waits_in_line_with_the_others() {
    on_each_driver(|| {
        let (mut client, server) = tcp_pair();
        let server = std::rc::Rc::new(server);
        let order = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let read = |name: &'static str| {
            let (server, order) = (server.clone(), order.clone());
            move || {
                (&*server).read_exact(&mut [0]).unwrap();
                order.borrow_mut().push(name);
            }
        };
        let first = spawn(read("ethread"));
        until_waiting(1);
        let then = read("starter");
        let interest = ethreads::bridge::Interest::Readable;
        let starter =
            ethreads::bridge::on_ready(&*server, interest, None, move |_| then()).unwrap();
        client.write_all(b"ab").unwrap();
        first.join().unwrap();
        starter.join().unwrap();
        until_true(|| order.borrow().len() == 2);
        assert_eq!(*order.borrow(), ["ethread", "starter"]);
    });
}
