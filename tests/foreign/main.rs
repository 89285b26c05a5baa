//! Libraries that know nothing of ethreads, over our sockets. They see `Read` and `Write`, and an
//! I/O error of kind `TimedOut` where a limit ended a wait; after that they go on as if nothing had
//! happened.
//!
//! Apart from `it`, whose one crate would take longer to build and to link with these libraries.

// Unwrapping is how a test fails.
#![allow(clippy::unwrap_used)]

mod tls;
mod websocket;

use std::io::{self, ErrorKind};
use std::panic;
use std::time::Duration;

use ethreads::net::{TcpListener, TcpStream};
use ethreads::{DriverKind, Runtime, runtime, time};

/// What a call waits for in vain: no test is about how long that takes.
const SOON: Duration = Duration::from_millis(2);

/// Runs `f` as the root of a shard, with each driver. Nothing may be left in the scheduler.
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

/// Two ends of a connection that soon has to wait for its reader.
fn narrow_pair() -> (TcpStream, TcpStream) {
    let (client, server) = tcp_pair();
    for stream in [&client, &server] {
        let socket = socket2::SockRef::from(stream);
        socket.set_send_buffer_size(4096).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
    }
    (client, server)
}

/// A byte that says where in the stream it is.
fn byte_at(place: usize) -> u8 {
    (place % 251) as u8
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(byte_at).collect()
}

/// What a library has made of a socket.
trait Over {
    fn socket(&self) -> &TcpStream;
}

/// The ways to bound a call that a library makes.
#[derive(Clone, Copy, Debug)]
enum Limit {
    /// Those of the socket, as in std.
    OfTheSocket,
    /// A scope that gives the call's error.
    TimeoutIo,
    /// A scope that has an error of its own, of which nothing comes here.
    Timeout,
    /// A scope around the one that could do with more time.
    OuterScope,
}

const LIMITS: [Limit; 4] = [
    Limit::OfTheSocket,
    Limit::TimeoutIo,
    Limit::Timeout,
    Limit::OuterScope,
];

impl Limit {
    /// Makes a call that is bounded, so that a silent peer ends it soon.
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
