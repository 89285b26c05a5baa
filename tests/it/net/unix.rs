//! Unix sockets.

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ethreads::net::{UnixDatagram, UnixListener, UnixStream};
use ethreads::{spawn, thread};

use crate::net::support::{on_each_driver, until_waiting};
use crate::support::no_child_begins;

/// A path of its own for each caller, removed on drop.
struct Socket(PathBuf);

impl Socket {
    fn path() -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let n = LAST.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("ethreads-it-{}-{n}.sock", std::process::id())))
    }
}

impl AsRef<Path> for Socket {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn streams_connect_by_path() {
    let _at_once = no_child_begins();
    on_each_driver(|| {
        let path = Socket::path();
        assert_eq!(
            UnixStream::connect(&path).unwrap_err().kind(),
            ErrorKind::NotFound
        );
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(
            UnixListener::bind(&path).unwrap_err().kind(),
            ErrorKind::AddrInUse
        );
        assert_eq!(
            listener.local_addr().unwrap().as_pathname(),
            Some(path.as_ref())
        );
        let server = spawn(move || {
            let (mut stream, from) = listener.accept().unwrap();
            assert!(from.is_unnamed());
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            stream.write_all(text.to_uppercase().as_bytes()).unwrap();
            listener
        });
        until_waiting(1);
        let mut stream = UnixStream::connect(&path).unwrap();
        assert_eq!(
            stream.peer_addr().unwrap().as_pathname(),
            Some(path.as_ref())
        );
        stream.write_all(b"hello").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert_eq!(text, "HELLO");
        drop(server.join().unwrap());
        assert_eq!(
            UnixStream::connect(&path).unwrap_err().kind(),
            ErrorKind::ConnectionRefused
        );
    });
}

#[test]
fn a_full_queue_makes_connect_wait() {
    on_each_driver(|| {
        let path = Socket::path();
        let addr = SocketAddr::from_pathname(&path).unwrap();
        // A queue of one. The builder of TCP listeners has no counterpart for Unix sockets.
        let listener =
            socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        listener
            .bind(&socket2::SockAddr::unix(&path).unwrap())
            .unwrap();
        listener.listen(0).unwrap();
        let listener = UnixListener::from(std::os::fd::OwnedFd::from(listener));
        let connected = Rc::new(Cell::new(0));
        let clients: Vec<_> = (0..5)
            .map(|_| {
                let (addr, connected) = (addr.clone(), connected.clone());
                spawn(move || {
                    let stream = UnixStream::connect_addr(&addr).unwrap();
                    connected.set(connected.get() + 1);
                    stream
                })
            })
            .collect();
        thread::yield_now();
        assert!(
            (1..5).contains(&connected.get()),
            "{} connected",
            connected.get()
        );
        let _streams: Vec<_> = listener
            .incoming()
            .take(5)
            .collect::<Result<_, _>>()
            .unwrap();
        for client in clients {
            client.join().unwrap();
        }
    });
}

#[test]
fn datagrams_tell_where_they_come_from() {
    on_each_driver(|| {
        let (path, other) = (Socket::path(), Socket::path());
        let receiver = UnixDatagram::bind(&path).unwrap();
        let named = UnixDatagram::bind(&other).unwrap();
        let name = format!("ethreads-it-{:?}", std::thread::current().id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let hidden = UnixDatagram::bind_addr(&address).unwrap();
        let nameless = UnixDatagram::unbound().unwrap();
        for (socket, text) in [(&named, "a"), (&hidden, "bc"), (&nameless, "def")] {
            assert_eq!(socket.send_to(text.as_bytes(), &path).unwrap(), text.len());
        }
        let mut buf = [0; 16];
        let (n, from) = receiver.recv_from(&mut buf).unwrap();
        assert_eq!((n, from.as_pathname()), (1, Some(other.as_ref())));
        let (n, from) = receiver.recv_from(&mut buf).unwrap();
        assert_eq!((n, from.as_abstract_name()), (2, Some(name.as_bytes())));
        receiver.send_to_addr(b"answer", &from).unwrap();
        assert_eq!(hidden.recv(&mut buf).unwrap(), 6);
        let (n, from) = receiver.recv_from(&mut buf).unwrap();
        assert_eq!((n, from.is_unnamed()), (3, true));
        nameless.connect(&path).unwrap();
        nameless.send(b"connected").unwrap();
        assert_eq!(receiver.recv(&mut buf).unwrap(), 9);
    });
}

#[test]
fn senders_wait_for_a_full_receiver() {
    on_each_driver(|| {
        for connected in [false, true] {
            let path = Socket::path();
            let receiver = UnixDatagram::bind(&path).unwrap();
            let sender = UnixDatagram::unbound().unwrap();
            if connected {
                sender.connect(&path).unwrap();
            }
            // More than net.unix.max_dgram_qlen, which is 10 or 512.
            let count = 2000;
            let sent = Rc::new(Cell::new(0));
            let counter = sent.clone();
            let target = path.0.clone();
            let sending = spawn(move || {
                for n in 0..count {
                    let text = n.to_string();
                    let result = match connected {
                        true => sender.send(text.as_bytes()),
                        false => sender.send_to(text.as_bytes(), &target),
                    };
                    assert_eq!(result.unwrap(), text.len());
                    counter.set(n);
                }
                sender
            });
            thread::yield_now();
            assert!(sent.get() < count - 1, "the queue takes everything");
            let mut buf = [0; 16];
            for n in 0..count {
                let len = receiver.recv(&mut buf).unwrap();
                assert_eq!(buf[..len], *n.to_string().as_bytes());
            }
            let sender = sending.join().unwrap();
            sender
                .set_write_timeout(Some(Duration::from_millis(5)))
                .unwrap();
            let error = loop {
                let result = match connected {
                    true => sender.send(b"x"),
                    false => sender.send_to(b"x", &path),
                };
                if let Err(error) = result {
                    break error;
                }
            };
            assert_eq!(error.kind(), ErrorKind::TimedOut);
        }
    });
}

#[test]
fn pairs_time_out_clone_and_convert() {
    on_each_driver(|| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        assert!(ours.local_addr().unwrap().is_unnamed());
        assert!(ours.peer_addr().unwrap().is_unnamed());
        let clone = ours.try_clone().unwrap();
        ours.set_read_timeout(Some(Duration::from_millis(10)))
            .unwrap();
        assert_eq!(
            (&clone).read(&mut [0; 8]).unwrap_err().kind(),
            ErrorKind::TimedOut
        );
        theirs.write_all(b"12").unwrap();
        (&clone).read_exact(&mut [0; 1]).unwrap();
        drop(clone);
        let std = std::os::unix::net::UnixStream::from(ours);
        (&std).read_exact(&mut [0; 1]).unwrap();
        let ours = UnixStream::from(std);
        let reader = spawn(move || (&ours).read(&mut [0; 8]).unwrap());
        until_waiting(1);
        drop(theirs);
        assert_eq!(reader.join().unwrap(), 0);
        let (a, b) = UnixDatagram::pair().unwrap();
        a.set_nonblocking(true).unwrap();
        assert_eq!(
            a.recv(&mut [0; 8]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        b.send(b"x").unwrap();
        assert_eq!(a.recv(&mut [0; 8]).unwrap(), 1);
    });
}

#[test]
fn half_a_message_proves_nothing_on_a_unix_stream() {
    on_each_driver(|| {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let reader = spawn(move || {
            let mut buf = [0; 64];
            let mut all = Vec::new();
            while all.len() < 6 {
                let n = theirs.read(&mut buf).unwrap();
                all.extend_from_slice(&buf[..n]);
            }
            all
        });
        until_waiting(1);
        // Each write may need a read of its own, although all data came with one edge.
        for text in ["ab", "cd", "ef"] {
            ours.write_all(text.as_bytes()).unwrap();
        }
        assert_eq!(reader.join().unwrap(), b"abcdef");
    });
}

#[test]
fn a_peer_with_the_longest_path_is_accepted() {
    on_each_driver(|| {
        let path = Socket::path();
        let listener = UnixListener::bind(&path).unwrap();
        // 108 bytes without a terminator, which std refuses and Linux takes.
        let mut long = Socket::path();
        let missing = 108 - long.0.as_os_str().len();
        long.0.as_mut_os_string().push("x".repeat(missing));
        let peer =
            socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        let address = rustix::net::SocketAddrUnix::new(&long.0).unwrap();
        rustix::net::bind(&peer, &address).unwrap();
        peer.connect(&socket2::SockAddr::unix(&path).unwrap())
            .unwrap();
        let (stream, from) = listener.accept().unwrap();
        assert_eq!(from.as_pathname(), None);
        assert!(stream.peer_addr().is_ok());
    });
}
