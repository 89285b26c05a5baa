//! TCP streams and listeners over the loopback device.

// Test helpers may panic like tests.
#![allow(clippy::unwrap_used)]

use std::cell::{Cell, RefCell};
use std::io::{self, BufRead, BufReader, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ethreads::net::{TcpListener, TcpStream};
use ethreads::spawn;
use ethreads::thread::Cancelled;

use crate::net::support::{fill, on_each_driver, refusing, tcp_pair, until_true, until_waiting};

const SHORT: Option<Duration> = Some(Duration::from_millis(10));

#[test]
fn a_hundred_clients_are_echoed() {
    on_each_driver(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let acceptor = spawn(move || {
            for stream in listener.incoming().take(100) {
                let stream = stream.unwrap();
                spawn(move || io::copy(&mut &stream, &mut &stream));
            }
        });
        let clients: Vec<_> = (0..100)
            .map(|n| {
                spawn(move || {
                    let mut stream = TcpStream::connect(addr).unwrap();
                    for round in 0..10 {
                        writeln!(stream, "client {n} round {round}").unwrap();
                        let mut line = String::new();
                        BufReader::new(&stream).read_line(&mut line).unwrap();
                        assert_eq!(line, format!("client {n} round {round}\n"));
                    }
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        acceptor.join().unwrap();
    });
}

#[test]
fn a_megabyte_goes_through_in_order() {
    on_each_driver(|| {
        let (mut client, mut server) = tcp_pair();
        let data: Vec<u8> = (0..1 << 20)
            .map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let sent = data.clone();
        let writer = spawn(move || client.write_all(&sent));
        let mut received = Vec::new();
        server.read_to_end(&mut received).unwrap();
        writer.join().unwrap().unwrap();
        assert!(received == data);
    });
}

#[test]
fn a_request_and_its_end_that_came_before_the_first_wait_are_both_seen() {
    on_each_driver(|| {
        let (mut client, mut server) = tcp_pair();
        client.write_all(b"request").unwrap();
        drop(client);
        let mut buf = [0; 1024];
        assert_eq!(server.read(&mut buf).unwrap(), 7);
        assert_eq!(server.read(&mut buf).unwrap(), 0);
    });
}

#[test]
fn a_request_and_its_end_that_come_at_once_are_both_seen() {
    on_each_driver(|| {
        let (mut client, mut server) = tcp_pair();
        let reader = spawn(move || {
            let mut buf = [0; 1024];
            // The second read may be skipped only if the driver reports the end in time.
            (
                server.read(&mut buf).unwrap(),
                server.read(&mut buf).unwrap(),
            )
        });
        until_waiting(1);
        client.write_all(b"request").unwrap();
        drop(client);
        assert_eq!(reader.join().unwrap(), (7, 0));
    });
}

#[test]
fn an_end_after_a_short_read_is_seen() {
    on_each_driver(|| {
        let (mut client, mut server) = tcp_pair();
        let first = Rc::new(Cell::new(0));
        let count = first.clone();
        let reader = spawn(move || {
            let mut buf = [0; 1024];
            count.set(server.read(&mut buf).unwrap());
            server.read(&mut buf).unwrap()
        });
        until_waiting(1);
        client.write_all(b"request").unwrap();
        until_true(|| first.get() == 7);
        until_waiting(1);
        drop(client);
        assert_eq!(reader.join().unwrap(), 0);
    });
}

#[test]
fn urgent_data_does_not_hide_what_follows() {
    on_each_driver(|| {
        let (client, mut server) = tcp_pair();
        let text = Rc::new(RefCell::new(Vec::new()));
        let read = text.clone();
        let reader = spawn(move || {
            let mut buf = [0; 64];
            loop {
                match server.read(&mut buf).unwrap() {
                    0 => return,
                    n => read.borrow_mut().extend_from_slice(&buf[..n]),
                }
            }
        });
        until_waiting(1);
        let socket = socket2::SockRef::from(&client);
        for all in [b"abcd".as_slice(), b"abcdabcd"] {
            (&client).write_all(b"ab").unwrap();
            socket.send_out_of_band(b"!").unwrap();
            (&client).write_all(b"cd").unwrap();
            // An urgent byte that the next urgent byte overtakes is plain data, so the reader has
            // to pass it first.
            until_true(|| *text.borrow() == all);
        }
        drop(client);
        reader.join().unwrap();
        assert_eq!(*text.borrow(), b"abcdabcd");
    });
}

#[test]
fn a_reset_reaches_reader_and_writer() {
    on_each_driver(|| {
        let (client, server) = tcp_pair();
        fill(&client);
        let client = Rc::new(client);
        let (reading, writing) = (client.clone(), client);
        let reader = spawn(move || (&*reading).read(&mut [0; 8]).map_err(|error| error.kind()));
        let writer = spawn(move || (&*writing).write(b"x").map_err(|error| error.kind()));
        until_waiting(2);
        socket2::SockRef::from(&server)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(server);
        let results = [reader.join().unwrap(), writer.join().unwrap()];
        // The kernel reports the cause once. The other call finds the stream ended.
        assert!(
            results.contains(&Err(ErrorKind::ConnectionReset)),
            "{results:?}"
        );
        let ends = [
            Err(ErrorKind::ConnectionReset),
            Err(ErrorKind::BrokenPipe),
            Ok(0),
        ];
        assert!(
            results.iter().all(|result| ends.contains(result)),
            "{results:?}"
        );
    });
}

#[test]
fn timeouts_are_timed_out_and_shared_by_clones() {
    on_each_driver(|| {
        let (client, _server) = tcp_pair();
        let clone = client.try_clone().unwrap();
        client.set_read_timeout(SHORT).unwrap();
        client.set_write_timeout(SHORT).unwrap();
        assert_eq!(clone.read_timeout().unwrap(), SHORT);
        assert_eq!(clone.write_timeout().unwrap(), SHORT);
        let error = (&clone).read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(
            client.peek(&mut [0; 8]).unwrap_err().kind(),
            ErrorKind::TimedOut
        );
        fill(&clone);
        assert_eq!(
            (&clone).write(&[0; 8]).unwrap_err().kind(),
            ErrorKind::TimedOut
        );
        for zero in [
            client.set_read_timeout(Some(Duration::ZERO)),
            client.set_write_timeout(Some(Duration::ZERO)),
        ] {
            assert_eq!(zero.unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        assert_eq!(client.read_timeout().unwrap(), SHORT);
        client.set_read_timeout(Some(Duration::MAX)).unwrap();
        assert!(clone.read_timeout().unwrap() > SHORT);
    });
}

#[test]
fn a_non_blocking_stream_tells_what_is_there_now() {
    on_each_driver(|| {
        let (mut client, mut server) = tcp_pair();
        server.set_nonblocking(true).unwrap();
        let mut buf = [0; 8];
        for _ in 0..3 {
            assert_eq!(
                server.read(&mut buf).unwrap_err().kind(),
                ErrorKind::WouldBlock
            );
            // Nothing runs in between that could have learned of the data from the driver.
            client.write_all(b"now").unwrap();
            assert_eq!(server.read(&mut buf).unwrap(), 3);
        }
        server.set_nonblocking(false).unwrap();
        let reader = spawn(move || server.read(&mut [0; 8]).unwrap());
        until_waiting(1);
        client.write_all(b"then").unwrap();
        assert_eq!(reader.join().unwrap(), 4);
    });
}

#[test]
fn peeking_takes_nothing_away() {
    on_each_driver(|| {
        let (mut client, mut server) = tcp_pair();
        let peeked = Rc::new(Cell::new(0));
        let count = peeked.clone();
        let reader = spawn(move || {
            let mut buf = [0; 64];
            // Each result is shorter than the buffer, which for a peek proves nothing.
            for _ in 0..3 {
                assert_eq!(server.peek(&mut buf).unwrap(), 6);
                count.set(count.get() + 1);
            }
            assert_eq!(server.read(&mut buf).unwrap(), 6);
            server.peek(&mut buf).unwrap()
        });
        until_waiting(1);
        client.write_all(b"peeked").unwrap();
        until_true(|| peeked.get() == 3);
        until_waiting(1);
        drop(client);
        assert_eq!(reader.join().unwrap(), 0);
    });
}

#[test]
fn vectored_calls_use_all_buffers() {
    on_each_driver(|| {
        let (mut client, mut server) = tcp_pair();
        let n = client
            .write_vectored(&[IoSlice::new(b"head "), IoSlice::new(b"and body")])
            .unwrap();
        assert_eq!(n, 13);
        let (mut first, mut second) = ([0; 5], [0; 16]);
        let mut bufs = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        assert_eq!(server.read_vectored(&mut bufs).unwrap(), 13);
        assert_eq!((&first, &second[..8]), (b"head ", &b"and body"[..]));
        drop(client);
        assert_eq!(
            server
                .read_vectored(&mut [IoSliceMut::new(&mut [0; 4])])
                .unwrap(),
            0
        );
    });
}

#[test]
fn connecting_fails_with_the_right_kind() {
    on_each_driver(|| {
        let (_socket, unused) = refusing();
        let kind = |result: io::Result<TcpStream>| result.unwrap_err().kind();
        assert_eq!(
            kind(TcpStream::connect(unused)),
            ErrorKind::ConnectionRefused
        );
        let second = Duration::from_secs(1);
        assert_eq!(
            kind(TcpStream::connect_timeout(&unused, second)),
            ErrorKind::ConnectionRefused
        );
        assert_eq!(
            kind(TcpStream::connect_timeout(&unused, Duration::ZERO)),
            ErrorKind::InvalidInput
        );
        assert_eq!(kind(TcpStream::connect(&[][..])), ErrorKind::InvalidInput);
        assert_eq!(kind(TcpStream::connect("no port")), ErrorKind::InvalidInput);
        assert_eq!(
            kind(TcpStream::connect("127.0.0.1:http")),
            ErrorKind::InvalidInput
        );
    });
}

#[test]
fn connecting_tries_all_addresses() {
    on_each_driver(|| {
        let (_socket, unused) = refusing();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let stream = TcpStream::connect(&[unused, addr][..]).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addr);
        let named = TcpStream::connect(("localhost", addr.port())).unwrap();
        assert_eq!(named.peer_addr().unwrap(), addr);
        let named = TcpStream::connect(format!("localhost:{}", addr.port())).unwrap();
        assert_eq!(named.peer_addr().unwrap(), addr);
    });
}

/// A listener with a full queue: the system drops the requests that it cannot queue.
fn full_listener() -> (TcpListener, SocketAddr, Vec<TcpStream>) {
    let listener = TcpListener::builder()
        .backlog(0)
        .bind("127.0.0.1:0")
        .unwrap();
    let addr = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(50)) {
        queued.push(stream);
        assert!(
            queued.len() < 100,
            "the queue of a backlog of 0 takes everything"
        );
    }
    (listener, addr, queued)
}

#[test]
fn connecting_times_out_and_can_be_cancelled() {
    on_each_driver(|| {
        let (_listener, addr, _queued) = full_listener();
        let connect = TcpStream::connect_timeout(&addr, Duration::from_millis(20));
        assert_eq!(connect.unwrap_err().kind(), ErrorKind::TimedOut);
        let connecting = spawn(move || TcpStream::connect(addr).map(drop));
        until_waiting(1);
        let before = ethreads::runtime::stats().unwrap().sources;
        connecting.cancel();
        assert!(connecting.join().unwrap_err().is::<Cancelled>());
        assert_eq!(ethreads::runtime::stats().unwrap().sources, before - 1);
    });
}

#[test]
fn listeners_bind_as_std_does() {
    on_each_driver(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        assert_ne!(addr.port(), 0);
        assert_eq!(
            TcpListener::bind(addr).unwrap_err().kind(),
            ErrorKind::AddrInUse
        );
        // The second of the addresses is free.
        let other = TcpListener::bind(&[addr, "127.0.0.1:0".parse().unwrap()][..]).unwrap();
        assert_ne!(other.local_addr().unwrap(), addr);
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        let _client = TcpStream::connect(addr).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        // The flag is the listener's, not the stream's.
        accepted.set_read_timeout(SHORT).unwrap();
        assert_eq!(
            (&accepted).read(&mut [0]).unwrap_err().kind(),
            ErrorKind::TimedOut
        );
    });
}

#[test]
fn a_listener_on_the_unspecified_v6_address_takes_v4_unless_told_otherwise() {
    on_each_driver(|| {
        let Ok(listener) = TcpListener::builder().only_v6(false).bind("[::]:0") else {
            return println!("this system has no IPv6");
        };
        let port = listener.local_addr().unwrap().port();
        let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (_, from) = listener.accept().unwrap();
        assert!(matches!(from, SocketAddr::V6(from) if from.ip().to_ipv4_mapped().is_some()));
        drop(listener);
        let listener = TcpListener::builder().only_v6(true).bind("[::]:0").unwrap();
        // The option is checked, not a connection: in IPv4 another test may have the port.
        assert!(socket2::SockRef::from(&listener).only_v6().unwrap());
    });
}

#[test]
fn a_stream_converts_to_std_and_back() {
    on_each_driver(|| {
        let (client, mut server) = tcp_pair();
        let reader = {
            let client = client.try_clone().unwrap();
            spawn(move || (&client).read(&mut [0; 1]).unwrap())
        };
        until_waiting(1); // registered, by the clone
        server.write_all(b"12").unwrap();
        assert_eq!(reader.join().unwrap(), 1);
        let std = std::net::TcpStream::from(client);
        let mode = rustix::fs::fcntl_getfl(&std).unwrap();
        assert!(!mode.contains(rustix::fs::OFlags::NONBLOCK));
        (&std).read_exact(&mut [0; 1]).unwrap();
        let mut back = TcpStream::from(std);
        let reader = spawn(move || back.read(&mut [0; 8]).unwrap());
        until_waiting(1);
        server.write_all(b"345").unwrap();
        assert_eq!(reader.join().unwrap(), 3);
        server.set_nonblocking(true).unwrap();
        let std = std::net::TcpStream::from(server);
        assert!(
            rustix::fs::fcntl_getfl(&std)
                .unwrap()
                .contains(rustix::fs::OFlags::NONBLOCK)
        );
    });
}

#[test]
fn a_plain_thread_has_timeouts_too() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(SHORT).unwrap();
    assert_eq!(
        (&client).read(&mut [0]).unwrap_err().kind(),
        ErrorKind::TimedOut
    );
    client.set_nonblocking(true).unwrap();
    assert_eq!(
        (&client).read(&mut [0]).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    let (_listener, addr, _queued) = full_listener();
    let connect = TcpStream::connect_timeout(&addr, Duration::from_millis(20));
    assert_eq!(connect.unwrap_err().kind(), ErrorKind::TimedOut);
}

#[test]
fn options_come_back() {
    on_each_driver(|| {
        let (client, server) = tcp_pair();
        assert!(!client.nodelay().unwrap());
        client.set_nodelay(true).unwrap();
        assert!(client.nodelay().unwrap());
        client.set_ttl(42).unwrap();
        assert_eq!(client.ttl().unwrap(), 42);
        assert!(client.take_error().unwrap().is_none());
        assert_eq!(client.peer_addr().unwrap(), server.local_addr().unwrap());
        let text = format!("{client:?}");
        assert!(text.starts_with("TcpStream { addr: 127.0.0.1:"), "{text}");
        assert!(
            text.contains(", peer: 127.0.0.1:") && text.contains(", fd: "),
            "{text}"
        );
    });
}

#[cfg(feature = "sim")]
#[test]
fn the_simulation_refuses_sockets() {
    ethreads::Runtime::builder()
        .driver(ethreads::DriverKind::Sim { seed: 1 })
        .run(|| {
            let unsupported = |error: io::Error| assert_eq!(error.kind(), ErrorKind::Unsupported);
            unsupported(TcpListener::bind("127.0.0.1:0").unwrap_err());
            unsupported(TcpStream::connect("127.0.0.1:1").unwrap_err());
            unsupported(TcpStream::connect("localhost:1").unwrap_err());
            unsupported(ethreads::net::UdpSocket::bind("127.0.0.1:0").unwrap_err());
            unsupported(ethreads::net::UnixStream::pair().unwrap_err());
            unsupported(ethreads::net::UnixDatagram::unbound().unwrap_err());
            unsupported(ethreads::io::pipe().unwrap_err());
            unsupported(ethreads::io::Eport::new(std::io::stdin()).unwrap_err());
        })
        .unwrap();
}
