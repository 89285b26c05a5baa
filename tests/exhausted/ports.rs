//! No port, no place in a queue, no room in a buffer.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;

use ethreads::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};
use ethreads::{spawn, thread, time};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::limits::{goes_on, is_root, isolated, skipped, without_spinning};
use crate::support::fresh;

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

fn temporary(name: &str) -> std::path::PathBuf {
    let name = format!("ethreads-ports-{}-{name}", std::process::id());
    std::env::temp_dir().join(name)
}

#[test]
fn an_address_in_use_is_an_error_until_it_is_free() {
    let run = fresh(|| {
        ethreads::run_main(|| {
            let listener = TcpListener::bind(ANY).unwrap();
            let addr = listener.local_addr().unwrap();
            let udp = UdpSocket::bind(ANY).unwrap();
            let udp_addr = udp.local_addr().unwrap();
            let path = temporary("in-use");
            let unix = UnixListener::bind(&path).unwrap();
            let bound = UnixDatagram::bind(temporary("bound")).unwrap();
            let kinds = || {
                [
                    TcpListener::bind(addr).err(),
                    UdpSocket::bind(udp_addr).err(),
                    UnixListener::bind(&path).err(),
                    UnixDatagram::bind(temporary("bound")).err(),
                ]
                .map(|error| error.map(|error| error.kind()))
            };
            assert_eq!(kinds(), [Some(ErrorKind::AddrInUse); 4]);
            goes_on();
            drop((listener, udp, unix, bound));
            for path in [&path, &temporary("bound")] {
                std::fs::remove_file(path).unwrap();
            }
            assert_eq!(kinds(), [None; 4]);
            for path in [&path, &temporary("bound")] {
                std::fs::remove_file(path).unwrap();
            }
        })
    });
    run.unwrap();
}

/// Gives this OS thread a network of its own, with so many ports to connect from.
fn network_with_ports(first: u16, last: u16) -> bool {
    if !is_root() {
        skipped("only root can make a network, for net.ipv4.ip_local_port_range");
        return false;
    }
    // SAFETY: a plain call, in a process of its own.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        let error = std::io::Error::last_os_error();
        skipped(&format!("no network can be made here: {error}"));
        return false;
    }
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    // SAFETY: a zeroed request is valid, and the call reads it and writes to it only.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[..2].copy_from_slice(&[b'l' as _, b'o' as _]);
        request.ifr_ifru.ifru_flags = libc::IFF_UP as _;
        assert_eq!(
            libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request),
            0
        );
    }
    // This file shows the network of the OS thread that opens it.
    let range = "/proc/thread-self/../../sys/net/ipv4/ip_local_port_range";
    let range = if std::path::Path::new(range).exists() {
        range
    } else {
        "/proc/sys/net/ipv4/ip_local_port_range"
    };
    std::fs::write(range, format!("{first} {last}")).unwrap();
    true
}

#[test]
fn without_a_port_to_connect_from_it_is_an_error_and_no_wait() {
    const NAME: &str = "ports::without_a_port_to_connect_from_it_is_an_error_and_no_wait";
    isolated(NAME, || {
        fresh(|| {
            if !network_with_ports(40_000, 40_003) {
                return;
            }
            let run = ethreads::run_main(|| {
                let listener = TcpListener::bind("127.0.0.1:50000").unwrap();
                let addr = listener.local_addr().unwrap();
                let mut streams = Vec::new();
                let error = loop {
                    match TcpStream::connect(addr) {
                        Ok(stream) => streams.push((stream, listener.accept().unwrap().0)),
                        Err(error) => break error,
                    }
                };
                assert_eq!(streams.len(), 4);
                assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
                let calls: [fn(SocketAddr) -> std::io::Result<TcpStream>; 2] = [
                    |addr| TcpStream::connect(&[addr, addr][..]),
                    |addr| TcpStream::connect_timeout(&addr, Duration::from_secs(60)),
                ];
                for connect in calls {
                    let error = connect(addr).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
                }
                // UDP has ports of its own, and as few.
                let udp = std::iter::from_fn(|| UdpSocket::bind(ANY).ok());
                let udp: Vec<_> = udp.take(100).collect();
                assert_eq!(udp.len(), 4);
                let error = UdpSocket::bind(ANY).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::AddrInUse);
                goes_on();
                drop(udp);
                UdpSocket::bind(ANY).unwrap();
                // The side that ends first keeps the pair of addresses for a while: here that is
                // the peer.
                let (mut ours, theirs) = streams.pop().unwrap();
                drop(theirs);
                assert_eq!(ours.read(&mut [0]).unwrap(), 0);
                drop(ours);
                drop(TcpStream::connect(addr).unwrap());
            });
            run.unwrap();
        });
    });
}

#[test]
fn a_full_queue_of_a_unix_listener_is_waited_for() {
    const NAME: &str = "ports::a_full_queue_of_a_unix_listener_is_waited_for";
    isolated(NAME, || {
        let run = ethreads::run_main(|| {
            let path = temporary("full");
            let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
            listener.listen(0).unwrap();
            listener.set_nonblocking(true).unwrap();
            let queued = UnixStream::connect(&path).unwrap();
            let late = without_spinning(|| {
                time::timeout_io(Duration::from_millis(200), || UnixStream::connect(&path))
            });
            assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut);
            let connecting = {
                let path = path.clone();
                spawn(move || UnixStream::connect(path))
            };
            without_spinning(|| thread::sleep(Duration::from_millis(200)));
            assert!(!connecting.is_finished());
            drop(listener.accept().unwrap());
            let stream = connecting.join().unwrap().unwrap();
            std::fs::remove_file(&path).unwrap();
            drop((stream, queued));
        });
        run.unwrap();
    });
}

#[test]
fn a_full_queue_of_a_tcp_listener_is_waited_for() {
    isolated(
        "ports::a_full_queue_of_a_tcp_listener_is_waited_for",
        || {
            let run = ethreads::run_main(|| {
                let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
                let (listener, queued) = (socket(), socket());
                listener.bind(&SocketAddr::from(ANY).into()).unwrap();
                listener.listen(0).unwrap();
                let addr = listener.local_addr().unwrap();
                queued.connect(&addr).unwrap();
                let addr = addr.as_socket().unwrap();
                let late = without_spinning(|| {
                    TcpStream::connect_timeout(&addr, Duration::from_millis(200))
                });
                assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut);
                let connecting = spawn(move || TcpStream::connect(addr));
                without_spinning(|| thread::sleep(Duration::from_millis(100)));
                assert!(!connecting.is_finished());
                drop(listener.accept().unwrap());
                connecting.join().unwrap().unwrap();
            });
            run.unwrap();
        },
    );
}

#[test]
fn a_full_buffer_is_waited_for_and_nothing_is_lost() {
    isolated(
        "ports::a_full_buffer_is_waited_for_and_nothing_is_lost",
        || {
            const SIZE: usize = 8 << 20;
            let run = ethreads::run_main(|| {
                let listener = TcpListener::bind(ANY).unwrap();
                let tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let (tcp_end, _) = listener.accept().unwrap();
                let (unix, unix_end) = UnixStream::pair().unwrap();
                let (pipe_end, pipe) = ethreads::io::pipe().unwrap();
                type Ends = (Box<dyn Write>, Box<dyn Read>);
                let streams: [Ends; 3] = [
                    (Box::new(tcp), Box::new(tcp_end)),
                    (Box::new(unix), Box::new(unix_end)),
                    (Box::new(pipe), Box::new(pipe_end)),
                ];
                for (mut writer, mut reader) in streams {
                    let writing = spawn(move || writer.write_all(&vec![b'x'; SIZE]));
                    without_spinning(|| thread::sleep(Duration::from_millis(100)));
                    assert!(!writing.is_finished());
                    goes_on();
                    let mut all = Vec::new();
                    reader.read_to_end(&mut all).unwrap();
                    assert_eq!(all.len(), SIZE);
                    writing.join().unwrap().unwrap();
                }
            });
            run.unwrap();
        },
    );
}

/// The queue of a datagram socket belongs to the receiver: no event of the sender reports room in
/// it.
#[test]
fn a_full_queue_of_datagrams_is_waited_for_and_none_is_lost() {
    const NAME: &str = "ports::a_full_queue_of_datagrams_is_waited_for_and_none_is_lost";
    isolated(NAME, || {
        let run = ethreads::run_main(|| {
            let (sender, receiver) = UnixDatagram::pair().unwrap();
            let path = temporary("datagrams");
            let named = UnixDatagram::bind(&path).unwrap();
            let unbound = UnixDatagram::unbound().unwrap();
            const MANY: u32 = 2000;
            let target = path.clone();
            let connected = spawn(move || {
                for n in 0..MANY {
                    sender.send(&n.to_ne_bytes()).unwrap();
                }
            });
            let sending = spawn(move || {
                for n in 0..MANY {
                    unbound.send_to(&n.to_ne_bytes(), &target).unwrap();
                }
            });
            without_spinning(|| thread::sleep(Duration::from_millis(200)));
            assert!(!connected.is_finished() && !sending.is_finished());
            goes_on();
            for receiver in [receiver, named] {
                for n in 0..MANY {
                    let mut bytes = [0; 4];
                    assert_eq!(receiver.recv(&mut bytes).unwrap(), 4);
                    assert_eq!(u32::from_ne_bytes(bytes), n);
                }
            }
            connected.join().unwrap();
            sending.join().unwrap();
            std::fs::remove_file(&path).unwrap();
        });
        run.unwrap();
    });
}
