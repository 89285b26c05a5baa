//! The table of the calls.

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use ethreads::bridge::{self, Suspended};
use ethreads::future::block_on;
use ethreads::io::{Eport, duplex};
use ethreads::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};
use ethreads::runtime::WouldPark;
use ethreads::thread::Thread;
use ethreads::time::{Elapsed, Instant};
use ethreads::{thread, time};
use socket2::{SockAddr, Socket};

use crate::net::support::fill;

use super::Unwinding::{Aborts, InPlace, Returns};
use super::{Case, Row, Unwinding, When};

const HOUR: Duration = Duration::from_secs(3600);

/// All calls of `tests/suspends.txt` that can be made to wait.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = waits();
    rows.extend(super::locks::rows());
    rows.extend(super::handed::rows());
    rows.extend(super::remote::rows());
    rows.extend(ports());
    rows.extend(sockets());
    rows.extend(connections());
    #[cfg(feature = "http")]
    rows.extend(super::requests::servers());
    rows
}

/// Waits without a descriptor.
fn waits() -> Vec<Row> {
    let row = |name, case, result, always_suspends, unwinding| Row {
        name,
        case,
        result,
        always_suspends,
        unwinding,
    };
    vec![
        row(
            "thread::sleep",
            |when| pause(when, thread::sleep),
            "()",
            true,
            Returns("()"),
        ),
        row(
            "thread::sleep_until",
            |when| pause(when, |nap| thread::sleep_until(Instant::now() + nap)),
            "()",
            true,
            Returns("()"),
        ),
        row("thread::yield_now", yields, "()", true, Returns("()")),
        row(
            "time::Interval::tick",
            |when| {
                pause(when, |nap| {
                    time::interval_at(Instant::now() + nap, HOUR).tick();
                })
            },
            "()",
            true,
            Returns("()"),
        ),
        row(
            "thread::park",
            |when| parks(when, thread::park),
            "()",
            false,
            Returns("()"),
        ),
        row(
            "thread::park_timeout",
            |when| parks(when, || thread::park_timeout(HOUR)),
            "()",
            false,
            Returns("()"),
        ),
        row(
            "runtime::JoinHandle::join",
            joins,
            "1",
            false,
            Returns("WouldPark"),
        ),
        row("bridge::suspend", suspends, "1", true, Aborts),
        // `it::scopes` tests the abort of a scope itself.
        row("thread::scope", scopes, "()", false, Aborts),
        row("bridge::blocking", blocks, "1", true, InPlace),
        row("bridge::block_on", polls, "1", false, Aborts),
    ]
}

fn pause(when: When, call: fn(Duration)) -> Case {
    let nap = match when {
        When::Ready => Duration::ZERO,
        When::Waits => Duration::from_millis(2),
        When::Forever => HOUR,
    };
    Case::new(
        move || {
            call(nap);
            show(())
        },
        |_| (),
    )
}

fn yields(when: When) -> Case {
    let turns = match when {
        When::Ready | When::Waits => 1,
        When::Forever => 1000,
    };
    Case::new(
        move || {
            (0..turns).for_each(|_| thread::yield_now());
            show(())
        },
        |_| (),
    )
}

fn parks(when: When, call: fn()) -> Case {
    let ready = when == When::Ready;
    let call = move || {
        if ready {
            thread::current().unpark();
        }
        call();
        show(())
    };
    Case::new(call, |caller| caller.unpark())
}

/// A scope with a child that parks, or without one.
fn scopes(when: When) -> Case {
    let child = Rc::new(RefCell::new(None));
    let parked = child.clone();
    let call = move || {
        thread::scope(|scope| {
            if when != When::Ready {
                let child = scope.spawn(|| thread::park());
                *parked.borrow_mut() = Some(child.thread().clone());
            }
        });
        show(())
    };
    Case::new(call, move |_| {
        if let Some(child) = &*child.borrow() {
            child.unpark();
        }
    })
}

fn joins(when: When) -> Case {
    let other = thread::spawn(|| {
        thread::park();
        1
    });
    let unpark = other.thread().clone();
    if when == When::Ready {
        unpark.unpark();
        while !other.is_finished() {
            thread::yield_now();
        }
    }
    let call = move || match other.join() {
        Ok(value) => show(value),
        Err(payload) if payload.is::<WouldPark>() => "WouldPark".to_owned(),
        Err(payload) => std::panic::resume_unwind(payload),
    };
    Case::new(call, move |_| unpark.unpark())
}

fn suspends(when: When) -> Case {
    let kept: Rc<RefCell<Option<Suspended<i32>>>> = Rc::default();
    let slot = kept.clone();
    let call = move || {
        show(bridge::suspend(|me| match when {
            When::Ready => assert!(me.resume(1).is_ok()),
            _ => *slot.borrow_mut() = Some(me),
        }))
    };
    // The caller may not have suspended yet.
    let wake = move |_: &thread::Thread| {
        loop {
            match kept.take() {
                Some(me) => return assert!(me.resume(1).is_ok()),
                None => thread::yield_now(),
            }
        }
    };
    Case::new(call, wake)
}

fn blocks(when: When) -> Case {
    let (sender, receiver) = mpsc::channel();
    if when == When::Ready {
        sender.send(1).unwrap();
    }
    let call = move || show(bridge::blocking(move || receiver.recv().unwrap_or(0)));
    Case::new(call, move |_| sender.send(1).unwrap())
}

fn polls(when: When) -> Case {
    let (sender, receiver) = async_channel::bounded(1);
    if when == When::Ready {
        sender.try_send(1).unwrap();
    }
    let call = move || show(block_on(receiver.recv()).unwrap_or(0));
    Case::new(call, move |_| sender.try_send(1).unwrap())
}

fn show(value: impl Debug) -> String {
    format!("{value:?}")
}

/// The result of an I/O call.
pub(super) fn outcome(result: io::Result<usize>) -> String {
    match result {
        Ok(n) => show(n),
        Err(error)
            if error
                .get_ref()
                .is_some_and(|source| source.is::<WouldPark>()) =>
        {
            assert_eq!(error.kind(), io::ErrorKind::Other);
            "WouldPark".to_owned()
        }
        Err(error) if error.get_ref().is_some_and(|source| source.is::<Elapsed>()) => {
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            "TimedOut".to_owned()
        }
        Err(error) => panic!("{error}"),
    }
}

fn io_row(name: &'static str, case: fn(When) -> Case) -> Row {
    let unwinding = Unwinding::WouldPark;
    Row {
        name,
        case,
        result: "1",
        always_suspends: false,
        unwinding,
    }
}

/// A call that takes one byte, which `give` provides.
fn takes(
    when: When,
    mut give: impl FnMut() -> io::Result<usize> + 'static,
    take: impl FnOnce() -> io::Result<usize> + 'static,
) -> Case {
    if when == When::Ready {
        assert_eq!(give().unwrap(), 1);
    }
    Case::new(|| outcome(take()), move |_| assert_eq!(give().unwrap(), 1))
}

/// A call that puts one byte where there may be no room; `drain` takes something out.
fn puts(
    mut drain: impl FnMut() -> io::Result<usize> + 'static,
    put: impl FnOnce() -> io::Result<usize> + 'static,
) -> Case {
    Case::new(|| outcome(put()), move |_| until_blocked(&mut drain))
}

/// Calls until the call would block.
fn until_blocked(mut call: impl FnMut() -> io::Result<usize>) {
    loop {
        match call() {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => panic!("{error}"),
        }
    }
}

fn port_pair() -> (Eport<StdUnixStream>, StdUnixStream) {
    let (ours, theirs) = StdUnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    (Eport::new(ours).unwrap(), theirs)
}

/// A port to read from.
fn port_to_read(when: When, take: fn(&Eport<StdUnixStream>) -> io::Result<usize>) -> Case {
    let (ours, mut theirs) = port_pair();
    takes(when, move || theirs.write(b"x"), move || take(&ours))
}

/// A port to write to.
fn port_to_write(when: When, put: fn(&Eport<StdUnixStream>) -> io::Result<usize>) -> Case {
    let (ours, mut theirs) = port_pair();
    if when != When::Ready {
        until_blocked(|| ours.get_ref().write(&[0; 4096]));
    }
    puts(move || theirs.read(&mut [0; 4096]), move || put(&ours))
}

/// A stream in memory to read from.
fn duplex_to_read(when: When) -> Case {
    let (mut ours, mut theirs) = duplex(4);
    takes(
        when,
        move || theirs.write(b"x"),
        move || ours.read(&mut [0; 8]),
    )
}

/// A stream in memory to write to.
fn duplex_to_write(when: When) -> Case {
    let (mut ours, mut theirs) = duplex(4);
    if when != When::Ready {
        assert_eq!(ours.write(&[0; 8]).unwrap(), 4);
    }
    let drain = move |_: &Thread| assert_eq!(theirs.read(&mut [0; 8]).unwrap(), 4);
    Case::new(move || outcome(ours.write(b"x")), drain)
}

fn ports() -> Vec<Row> {
    vec![
        io_row("io::Duplex::read", duplex_to_read),
        io_row("io::Duplex::write", duplex_to_write),
        io_row("io::Eport::read", |when| {
            port_to_read(when, |mut port| port.read(&mut [0; 8]))
        }),
        io_row("io::Eport::read_with", |when| {
            port_to_read(when, |port| {
                port.read_with(|mut stream| stream.read(&mut [0; 8]))
            })
        }),
        io_row("io::Eport::write", |when| {
            port_to_write(when, |mut port| port.write(b"x"))
        }),
        io_row("io::Eport::write_with", |when| {
            port_to_write(when, |port| {
                port.write_with(|mut stream| stream.write(b"x"))
            })
        }),
    ]
}

fn tcp_pair() -> (TcpStream, std::net::TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    theirs.set_nonblocking(true).unwrap();
    (listener.accept().unwrap().0, theirs)
}

fn unix_pair() -> (UnixStream, StdUnixStream) {
    let (ours, theirs) = StdUnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    (ours.into(), theirs)
}

fn tcp_to_read(when: When, take: fn(&TcpStream) -> io::Result<usize>) -> Case {
    let (ours, mut theirs) = tcp_pair();
    let case = takes(when, move || theirs.write(b"x"), move || take(&ours));
    if when == When::Ready {
        // Loopback delivers in the sender's system call.
        thread::yield_now();
    }
    case
}

fn tcp_to_write(when: When) -> Case {
    let (ours, mut theirs) = tcp_pair();
    let filled = if when == When::Ready { 0 } else { fill(&ours) };
    theirs.set_nonblocking(false).unwrap();
    Case::new(
        move || outcome((&ours).write(b"x")),
        move |_| theirs.read_exact(&mut vec![0; filled]).unwrap(),
    )
}

fn unix_to_write(when: When) -> Case {
    let (ours, mut theirs) = unix_pair();
    if when != When::Ready {
        ours.set_nonblocking(true).unwrap();
        until_blocked(|| (&ours).write(&[0; 4096]));
        ours.set_nonblocking(false).unwrap();
    }
    puts(
        move || theirs.read(&mut [0; 4096]),
        move || (&ours).write(b"x"),
    )
}

/// A listener and what connects to it.
fn tcp_to_accept(when: When, accept: fn(&TcpListener) -> io::Result<usize>) -> Case {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr: SocketAddr = listener.local_addr().unwrap();
    let kept = Cell::new(None);
    let give = move || {
        kept.set(Some(std::net::TcpStream::connect(addr)?));
        Ok(1)
    };
    takes(when, give, move || accept(&listener))
}

/// A path for a socket that nothing else uses.
fn fresh_path() -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static LAST: AtomicU32 = AtomicU32::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    let file = format!("ethreads-suspends-{}-{number}", std::process::id());
    std::env::temp_dir().join(file)
}

fn unix_to_accept(when: When, accept: fn(&UnixListener) -> io::Result<usize>) -> Case {
    let path = fresh_path();
    let listener = UnixListener::bind(&path).unwrap();
    let kept = Cell::new(None);
    let guard = Unlink(path);
    let give = move || {
        kept.set(Some(StdUnixStream::connect(&guard.0)?));
        Ok(1)
    };
    takes(when, give, move || accept(&listener))
}

struct Unlink(PathBuf);

impl Drop for Unlink {
    fn drop(&mut self) {
        // The case that made the socket is done with it.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn udp_to_read(when: When, take: fn(&UdpSocket) -> io::Result<usize>) -> Case {
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    let theirs = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    ours.connect(theirs.local_addr().unwrap()).unwrap();
    theirs.connect(ours.local_addr().unwrap()).unwrap();
    takes(when, move || theirs.send(b"x"), move || take(&ours))
}

fn datagrams_to_read(when: When, take: fn(&UnixDatagram) -> io::Result<usize>) -> Case {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    takes(when, move || theirs.send(b"x"), move || take(&ours))
}

fn datagrams_to_write(when: When) -> Case {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    if when != When::Ready {
        ours.set_nonblocking(true).unwrap();
        until_blocked(|| ours.send(b"full"));
        ours.set_nonblocking(false).unwrap();
    }
    puts(move || theirs.recv(&mut [0; 8]), move || ours.send(b"x"))
}

fn sockets() -> Vec<Row> {
    vec![
        io_row("net::TcpStream::read", |when| {
            tcp_to_read(when, |mut stream| stream.read(&mut [0; 8]))
        }),
        io_row("net::TcpStream::peek", |when| {
            tcp_to_read(when, |stream| stream.peek(&mut [0; 8]))
        }),
        io_row("net::TcpStream::write", tcp_to_write),
        io_row("net::TcpListener::accept", |when| {
            tcp_to_accept(when, |listener| listener.accept().map(|_| 1))
        }),
        io_row("net::TcpListener::incoming", |when| {
            tcp_to_accept(when, |listener| {
                listener.incoming().next().unwrap().map(|_| 1)
            })
        }),
        io_row("net::UdpSocket::recv", |when| {
            udp_to_read(when, |udp| udp.recv(&mut [0; 8]))
        }),
        io_row("net::UdpSocket::peek", |when| {
            udp_to_read(when, |udp| udp.peek(&mut [0; 8]))
        }),
        io_row("net::UdpSocket::recv_from", |when| {
            udp_to_read(when, |udp| udp.recv_from(&mut [0; 8]).map(|(n, _)| n))
        }),
        io_row("net::UdpSocket::peek_from", |when| {
            udp_to_read(when, |udp| udp.peek_from(&mut [0; 8]).map(|(n, _)| n))
        }),
        io_row("net::UnixStream::read", |when| {
            let (mut ours, mut theirs) = unix_pair();
            takes(
                when,
                move || theirs.write(b"x"),
                move || ours.read(&mut [0; 8]),
            )
        }),
        io_row("net::UnixStream::write", unix_to_write),
        io_row("net::UnixListener::accept", |when| {
            unix_to_accept(when, |listener| listener.accept().map(|_| 1))
        }),
        io_row("net::UnixListener::incoming", |when| {
            unix_to_accept(when, |listener| {
                listener.incoming().next().unwrap().map(|_| 1)
            })
        }),
        io_row("net::UnixDatagram::recv", |when| {
            datagrams_to_read(when, |socket| socket.recv(&mut [0; 8]))
        }),
        io_row("net::UnixDatagram::recv_from", |when| {
            datagrams_to_read(when, |socket| socket.recv_from(&mut [0; 8]).map(|(n, _)| n))
        }),
        io_row("net::UnixDatagram::send", datagrams_to_write),
    ]
}

/// A listener with room for one connection; the room is taken if the next connection is to wait.
fn full(when: When, address: &SockAddr) -> (Socket, Option<Socket>) {
    let socket = || Socket::new(address.domain(), socket2::Type::STREAM, None).unwrap();
    let listener = socket();
    listener.bind(address).unwrap();
    listener.listen(0).unwrap();
    let filler = (when != When::Ready).then(|| {
        let filler = socket();
        filler.connect(&listener.local_addr().unwrap()).unwrap();
        filler
    });
    (listener, filler)
}

fn tcp_to_connect(when: When, connect: fn(SocketAddr) -> io::Result<TcpStream>) -> Case {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let (listener, filler) = full(when, &any.into());
    let addr = listener.local_addr().unwrap().as_socket().unwrap();
    // Linux drops a connection request that it cannot queue, and the kernel sends another request
    // after a second.
    Case::new(
        move || outcome(connect(addr).map(|_| 1)),
        move |_| drop((&filler, listener.accept().unwrap())),
    )
}

fn unix_to_connect(when: When, connect: fn(&Path) -> io::Result<UnixStream>) -> Case {
    let guard = Unlink(fresh_path());
    let path = guard.0.clone();
    let (listener, filler) = full(when, &SockAddr::unix(&path).unwrap());
    Case::new(
        move || outcome(connect(&path).map(|_| 1)),
        move |_| drop((&guard, &filler, listener.accept().unwrap())),
    )
}

/// A datagram for a receiver whose queue may be full.
fn datagrams_to_send(when: When, send: fn(&UnixDatagram, &Path) -> io::Result<usize>) -> Case {
    let guard = Unlink(fresh_path());
    let path = guard.0.clone();
    let receiver = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    receiver.set_nonblocking(true).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    if when != When::Ready {
        sender.set_nonblocking(true).unwrap();
        until_blocked(|| sender.send_to(b"full", &path));
        sender.set_nonblocking(false).unwrap();
    }
    let drain = move || {
        let _keep = &guard;
        receiver.recv(&mut [0; 8])
    };
    puts(drain, move || send(&sender, &path))
}

/// Calls that wait for the other side to take something out of a queue.
fn connections() -> Vec<Row> {
    vec![
        Row {
            // Linux answers a connect that does not block with `EINPROGRESS`, also on loopback.
            always_suspends: true,
            unwinding: Unwinding::AlwaysWouldPark,
            ..io_row("net::TcpStream::connect", |when| {
                tcp_to_connect(when, |addr| TcpStream::connect(addr))
            })
        },
        Row {
            always_suspends: true,
            unwinding: Unwinding::AlwaysWouldPark,
            ..io_row("net::TcpStream::connect_timeout", |when| {
                tcp_to_connect(when, |addr| TcpStream::connect_timeout(&addr, HOUR))
            })
        },
        io_row("net::UnixStream::connect", |when| {
            unix_to_connect(when, |path| UnixStream::connect(path))
        }),
        io_row("net::UnixStream::connect_addr", |when| {
            unix_to_connect(when, |path| {
                UnixStream::connect_addr(&UnixAddr::from_pathname(path)?)
            })
        }),
        io_row("net::UnixDatagram::send_to", |when| {
            datagrams_to_send(when, |socket, path| socket.send_to(b"x", path))
        }),
        io_row("net::UnixDatagram::send_to_addr", |when| {
            datagrams_to_send(when, |socket, path| {
                socket.send_to_addr(b"x", &UnixAddr::from_pathname(path)?)
            })
        }),
    ]
}
