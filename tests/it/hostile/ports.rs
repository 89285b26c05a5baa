//! Descriptors, addresses and sockets.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;

use ethreads::io::Eport;
use ethreads::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};
use ethreads::signal::{Signal, Signals};
use ethreads::thread;

use super::kit::{Kit, Port};
use super::{Play, Row, row};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = ports();
    rows.extend(sockets());
    rows
}

/// A port on the reading end of a pipe that has input, and the writing end.
fn reader(kit: &Kit) -> (Rc<Eport<Port>>, io::PipeWriter) {
    let (reader, mut writer) = io::pipe().unwrap();
    writer.write_all(b"some input").unwrap();
    let port = Rc::new(Eport::new(kit.fd(reader)).unwrap());
    let again = Rc::downgrade(&port);
    kit.again(move || {
        if let Some(port) = again.upgrade() {
            let _ = (&*port).read(&mut [0]);
        }
    });
    (port, writer)
}

fn writer(kit: &Kit) -> (Rc<Eport<Port>>, io::PipeReader) {
    let (reader, writer) = io::pipe().unwrap();
    let port = Rc::new(Eport::new(kit.fd(writer)).unwrap());
    let again = Rc::downgrade(&port);
    kit.again(move || {
        if let Some(port) = again.upgrade() {
            let _ = (&*port).write(b"x");
        }
    });
    (port, reader)
}

/// A call that reads from a port with input. More input comes later, in the check.
fn reads(kit: &Kit, read: fn(&Eport<Port>, &Kit) -> io::Result<usize>) -> Play {
    let (port, mut writer) = reader(kit);
    let (theirs, kit) = (port.clone(), kit.clone());
    Play::new(
        move || {
            // Reads what is there. Then calls the port again until a call succeeds.
            assert!(read(&theirs, &kit).unwrap() > 0);
            while theirs.read_with(ready).is_err() {}
        },
        move |_| {
            let _ = writer.write_all(b"more");
            let mut left = [0; 64];
            let mut got = 0;
            let read = (&*port).read(&mut left).unwrap();
            got += read;
            assert!(got >= 4, "{got}");
            drop(writer);
            while (&*port).read(&mut left).unwrap() > 0 {}
        },
    )
}

/// Succeeds without looking at the descriptor.
fn ready(_: &Port) -> io::Result<()> {
    Ok(())
}

fn writes(kit: &Kit, write: fn(&Eport<Port>, &Kit) -> io::Result<usize>) -> Play {
    let (port, mut reader) = writer(kit);
    let (theirs, kit) = (port.clone(), kit.clone());
    Play::new(
        move || {
            write(&theirs, &kit).unwrap();
        },
        move |_| {
            (&*port).write_all(b"end").unwrap();
            drop(port);
            let mut all = String::new();
            reader.read_to_string(&mut all).unwrap();
            assert!(all.ends_with("end"), "{all}");
        },
    )
}

/// A call that waits for input from another ethread.
fn waits(kit: &Kit, read: fn(&Eport<Port>, &Kit) -> io::Result<usize>) -> Play {
    let (reader, writer) = io::pipe().unwrap();
    let port = Eport::new(kit.fd(reader)).unwrap();
    let kit = kit.clone();
    Play::call(move || {
        let mut writer = writer;
        let writes = thread::spawn(move || {
            thread::yield_now();
            // The reading end may be gone.
            let _ = writer.write_all(b"x");
            writer
        });
        assert_eq!(read(&port, &kit).unwrap(), 1);
        drop(writes.join());
    })
}

fn ports() -> Vec<Row> {
    vec![
        row("io::Eport::new", "AsFd", |kit| {
            let (reader, _writer) = io::pipe().unwrap();
            let fd = kit.fd(reader);
            Play::call(move || drop(Eport::new(fd)))
        }),
        row("io::Eport::new_shared", "AsFd", |kit| {
            let (reader, _writer) = io::pipe().unwrap();
            let fd = kit.fd(reader);
            Play::call(move || drop(Eport::new_shared(fd)))
        }),
        row("io::Eport::drop", "Drop", |kit| {
            let (port, writer) = reader(kit);
            Play::call(move || {
                (&*port).read_exact(&mut [0; 10]).unwrap();
                drop(port);
                drop(writer);
            })
        }),
        // A descriptor is not closed if it is registered with the driver and cannot be
        // deregistered.
        row("io::Eport::drop", "AsFd", dropped).leaks(),
        row("io::Eport::into_inner", "AsFd", taken),
        row("io::Eport::into_inner", "AsFd", taken)
            .called("each time")
            .times(100),
        row("io::Eport::close", "AsFd", |kit| {
            let (port, writer) = reader(kit);
            let waits = port.clone();
            Play::new(
                move || {
                    let waits = thread::spawn(move || {
                        let mut all = Vec::new();
                        (&*waits).read_to_end(&mut all).unwrap_err()
                    });
                    thread::yield_now();
                    port.close();
                    let waited = waits.join().map(|error| error.kind());
                    if let Ok(kind) = waited {
                        assert_eq!(kind, io::ErrorKind::NotConnected);
                    } else {
                        std::mem::forget(waited);
                    }
                },
                |_| drop(writer),
            )
        }),
        row("io::Eport::as_fd", "AsFd", |kit| {
            let (port, _writer) = reader(kit);
            Play::call(move || {
                let _ = port.as_fd();
            })
        }),
        row("io::Eport::as_raw_fd", "AsFd", |kit| {
            let (port, _writer) = reader(kit);
            Play::call(move || {
                let _ = port.as_raw_fd();
            })
        }),
        row("io::Eport::read", "AsFd", |kit| {
            reads(kit, |mut port, _| port.read(&mut [0; 3]))
        }),
        row("io::Eport::read", "AsFd", |kit| {
            waits(kit, |mut port, _| port.read(&mut [0; 3]))
        })
        .called("waits")
        .times(2),
        row("io::Eport::read", "AsFd", |kit| {
            waits(kit, |mut port, _| port.read(&mut [0; 3]))
        })
        .called("waits each time")
        .times(100),
        row("io::Eport::read_vectored", "AsFd", |kit| {
            reads(kit, |mut port, _| {
                port.read_vectored(&mut [IoSliceMut::new(&mut [0; 3])])
            })
        }),
        row("io::Eport::read_with", "AsFd", |kit| {
            reads(kit, |port, _| {
                port.read_with(|io| {
                    let _ = io;
                    Ok(1)
                })
            })
        }),
        row("io::Eport::read_with", "Fn", |kit| {
            reads(kit, |port, kit| {
                port.read_with(|io| {
                    kit.call();
                    let _ = io;
                    Ok(1)
                })
            })
        }),
        row("io::Eport::read_with", "Fn", |kit| {
            // The closure is hostile before it returns `WouldBlock`.
            let (port, writer) = reader(kit);
            let (theirs, kit) = (port.clone(), kit.clone());
            Play::new(
                move || {
                    let mut tries = 0;
                    let done = theirs.read_with(|_| {
                        kit.call();
                        tries += 1;
                        if tries == 1 {
                            drop(writer.try_clone().unwrap().write_all(b"x"));
                            return Err(io::ErrorKind::WouldBlock.into());
                        }
                        Ok(())
                    });
                    done.unwrap();
                },
                move |_| drop(port),
            )
        })
        .called("would block"),
        row("io::Eport::write", "AsFd", |kit| {
            writes(kit, |mut port, _| port.write(b"abc"))
        }),
        row("io::Eport::write_vectored", "AsFd", |kit| {
            writes(kit, |mut port, _| {
                port.write_vectored(&[IoSlice::new(b"abc")])
            })
        }),
        row("io::Eport::write_with", "AsFd", |kit| {
            writes(kit, |port, _| port.write_with(|_| Ok(1)))
        }),
        row("io::Eport::write_with", "Fn", |kit| {
            writes(kit, |port, kit| {
                port.write_with(|_| {
                    kit.call();
                    Ok(1)
                })
            })
        }),
    ]
}

/// Drops a port that is registered with the driver.
fn dropped(kit: &Kit) -> Play {
    let (port, writer) = known(kit);
    Play::call(move || {
        let _writer = writer;
        drop(port);
    })
}

fn taken(kit: &Kit) -> Play {
    let (port, writer) = known(kit);
    Play::call(move || {
        let _writer = writer;
        drop(port.into_inner());
    })
}

fn known(kit: &Kit) -> (Eport<Port>, io::PipeWriter) {
    let (reader, mut writer) = io::pipe().unwrap();
    let port = Eport::new(kit.fd(reader)).unwrap();
    let writes = thread::spawn(move || {
        thread::yield_now();
        writer.write_all(b"x").unwrap();
        writer
    });
    assert_eq!((&port).read(&mut [0]).unwrap(), 1);
    (port, writes.join().unwrap())
}

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn listener() -> (std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind(ANY).unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// A free path for a socket.
fn free_path() -> std::path::PathBuf {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("ethreads-hostile-{}-{count}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let _ = std::fs::remove_file(&path);
    path
}

fn sockets() -> Vec<Row> {
    vec![
        row("net::TcpListener::bind", "ToSocketAddrs", |kit| {
            let addr = kit.addr(ANY);
            Play::call(move || drop(TcpListener::bind(addr).unwrap()))
        }),
        row("net::TcpListener::bind", "Iterator", |kit| {
            let addr = kit.addr(ANY);
            Play::call(move || drop(TcpListener::bind(addr).unwrap()))
        }),
        row("net::ListenOptions::bind", "ToSocketAddrs", |kit| {
            let addr = kit.addr(ANY);
            Play::call(move || drop(TcpListener::builder().bind(addr).unwrap()))
        }),
        row("net::TcpStream::connect", "ToSocketAddrs", |kit| {
            let (listener, addr) = listener();
            let addr = kit.addr(addr);
            Play::new(
                move || drop(TcpStream::connect(addr).unwrap()),
                |_| drop(listener),
            )
        }),
        row("net::TcpStream::connect", "Iterator", |kit| {
            let (listener, addr) = listener();
            let addr = kit.addr(addr);
            Play::new(
                move || drop(TcpStream::connect(addr).unwrap()),
                |_| drop(listener),
            )
        }),
        row("net::UdpSocket::bind", "ToSocketAddrs", |kit| {
            let addr = kit.addr(ANY);
            Play::call(move || drop(UdpSocket::bind(addr).unwrap()))
        }),
        row("net::UdpSocket::connect", "ToSocketAddrs", |kit| {
            let socket = UdpSocket::bind(ANY).unwrap();
            let addr = kit.addr(socket.local_addr().unwrap());
            Play::call(move || socket.connect(addr).unwrap())
        }),
        row("net::UdpSocket::send_to", "ToSocketAddrs", |kit| {
            let socket = UdpSocket::bind(ANY).unwrap();
            let addr = kit.addr(socket.local_addr().unwrap());
            Play::call(move || {
                socket.send_to(b"x", addr).unwrap();
            })
        }),
        row("net::UnixListener::bind", "AsRef", |kit| {
            let path = free_path();
            let name = kit.path(&path);
            Play::new(
                move || drop(UnixListener::bind(name).unwrap()),
                move |_| drop(std::fs::remove_file(path)),
            )
        }),
        row("net::UnixStream::connect", "AsRef", |kit| {
            let path = free_path();
            let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
            let name = kit.path(&path);
            Play::new(
                move || drop(UnixStream::connect(name).unwrap()),
                move |_| drop((listener, std::fs::remove_file(path))),
            )
        }),
        row("net::UnixDatagram::bind", "AsRef", |kit| {
            let path = free_path();
            let name = kit.path(&path);
            Play::new(
                move || drop(UnixDatagram::bind(name).unwrap()),
                move |_| drop(std::fs::remove_file(path)),
            )
        }),
        row("net::UnixDatagram::connect", "AsRef", |kit| {
            let path = free_path();
            let theirs = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
            let name = kit.path(&path);
            let socket = UnixDatagram::unbound().unwrap();
            Play::new(
                move || socket.connect(name).unwrap(),
                move |_| drop((theirs, std::fs::remove_file(path))),
            )
        }),
        row("net::UnixDatagram::send_to", "AsRef", |kit| {
            let path = free_path();
            let theirs = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
            let name = kit.path(&path);
            let socket = UnixDatagram::unbound().unwrap();
            Play::new(
                move || {
                    socket.send_to(b"x", name).unwrap();
                },
                move |_| drop((theirs, std::fs::remove_file(path))),
            )
        }),
        row("signal::Signals::new", "Iterator", |kit| {
            let signals = kit.each([Signal::WINDOW_CHANGE, Signal::WINDOW_CHANGE]);
            Play::call(move || drop(Signals::new(signals).unwrap()))
        }),
    ]
}

#[test]
fn ports_stay_sound() {
    super::run_all(rows());
}
