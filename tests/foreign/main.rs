//! Libraries that do not know ethreads, over this crate's sockets. They see `Read` and `Write`, and
//! an I/O error of kind `TimedOut` when a limit ended a wait; after that they go on as if nothing
//! had happened.
//!
//! Apart from `it`, a single crate that would take longer to build and link with these libraries.

// Unwrapping is how a test fails.
#![allow(clippy::unwrap_used)]

mod tls;
mod websocket;

use std::io::{self, ErrorKind};
use std::panic;
use std::time::Duration;

use ethreads::net::{TcpListener, TcpStream};
use ethreads::{DriverKind, Runtime, runtime, time};

/// How long a call waits in vain: no test is about how long that takes.
const SOON: Duration = Duration::from_millis(2);

/// Runs `f` as the root of a shard, with each driver. Nothing may remain in the scheduler.
fn check(f: impl FnOnce() + Clone + Send + 'static) {
    for kind in [DriverKind::Epoll, DriverKind::Polling] {
        let f = f.clone();
        let shard = std::thread::spawn(move || {
            Runtime::builder().driver(kind).run(|| {
                f();
                let stats = runtime::stats().unwrap();
                let left = (stats.ethreads, stats.scopes, stats.io_waits, stats.sources);
                assert_eq!(left, (1, 0, 0, 0));
            })
        });
        match shard.join() {
            Ok(result) => result.unwrap(),
            Err(payload) => {
                eprintln!("failed on {kind}");
                panic::resume_unwind(payload);
            }
        }
    }
}

/// Two ends of a connection.
fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, peer) = listener.accept().unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    // What is sent in pieces arrives in pieces.
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    (client, server)
}

/// Two ends of a connection on which a writer soon has to wait for the reader.
fn narrow_pair() -> (TcpStream, TcpStream) {
    let (client, server) = tcp_pair();
    for stream in [&client, &server] {
        let socket = socket2::SockRef::from(stream);
        socket.set_send_buffer_size(4096).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
    }
    (client, server)
}

/// Returns a byte that depends on its position in the stream.
fn byte_at(place: usize) -> u8 {
    (place % 251) as u8
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(byte_at).collect()
}

/// A library's object around a socket.
trait Over {
    fn socket(&self) -> &TcpStream;
}

/// The ways to bound a call that a library makes.
#[derive(Clone, Copy, Debug)]
enum Limit {
    /// The timeouts of the socket, as in std.
    OfTheSocket,
    /// A scope whose error is the call's error.
    TimeoutIo,
    /// A scope with an error of its own, which does not occur here.
    Timeout,
    /// A scope around a scope with a later deadline.
    OuterScope,
}

const LIMITS: [Limit; 4] = [
    Limit::OfTheSocket,
    Limit::TimeoutIo,
    Limit::Timeout,
    Limit::OuterScope,
];

impl Limit {
    /// Makes a bounded call, so that a silent peer ends it soon.
    fn within<S: Over, R>(
        self,
        stream: &mut S,
        call: impl FnOnce(&mut S) -> io::Result<R>,
    ) -> io::Result<R> {
        const HOUR: Duration = Duration::from_secs(3600);
        let set = |stream: &S, limit| {
            stream.socket().set_read_timeout(limit).unwrap();
            stream.socket().set_write_timeout(limit).unwrap();
        };
        match self {
            Self::OfTheSocket => {
                set(stream, Some(SOON));
                let result = call(stream);
                set(stream, None);
                result
            }
            Self::TimeoutIo => time::timeout_io(SOON, || call(stream)),
            Self::Timeout => time::timeout(SOON, || call(stream)).expect("the call has an error"),
            Self::OuterScope => time::timeout_io(SOON, || {
                let inner = time::timeout(HOUR, || call(stream));
                inner.expect("it is not the inner scope's deadline")
            }),
        }
    }

    /// Makes a call that waits for the peer in vain.
    #[track_caller]
    fn elapses<S: Over, R: std::fmt::Debug>(
        self,
        stream: &mut S,
        call: impl FnOnce(&mut S) -> io::Result<R>,
    ) {
        let error = self.within(stream, call).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{self:?}: {error}");
    }
}
