//! What the tests of sockets and ports share.

// Test helpers may panic like tests.
#![allow(clippy::unwrap_used)]

use std::io;
use std::net::SocketAddr;
use std::process::{Command, Output};
use std::thread as os;

use ethreads::net::{TcpListener, TcpStream};
use ethreads::runtime::Stats;
use ethreads::{DriverKind, Runtime, runtime, thread};

/// Runs `f` as the root ethread on both readiness drivers, each on an OS thread of its own.
pub(crate) fn on_each_driver<F>(f: F)
where
    F: FnOnce() + Clone + Send + 'static,
{
    for kind in [DriverKind::Epoll, DriverKind::Polling] {
        on_driver(kind, f.clone())
            .join()
            .unwrap_or_else(|_| panic!("failed on {kind}"));
    }
}

/// Begins a shard on an OS thread of its own, with `f` as its root ethread.
pub(crate) fn on_driver<F, T>(kind: DriverKind, f: F) -> os::JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let run = move || {
        Runtime::builder()
            .driver(kind)
            .run(f)
            .expect("the run ends well")
    };
    os::Builder::new()
        .name(kind.to_string())
        .spawn(run)
        .unwrap()
}

/// Yields until `n` ethreads wait for descriptors.
pub(crate) fn until_waiting(n: usize) {
    until(|stats| stats.io_waits == n);
}

/// Yields until the shard's counters are as wanted.
pub(crate) fn until(wanted: impl Fn(&Stats) -> bool) {
    until_true(|| wanted(&runtime::stats().unwrap()));
}

/// Yields until `wanted` returns true.
pub(crate) fn until_true(wanted: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if wanted() {
            return;
        }
        thread::yield_now();
    }
    panic!("it does not come about: {:?}", runtime::stats().unwrap());
}

pub(crate) fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, peer) = listener.accept().unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    (client, server)
}

/// An address that refuses connections: the socket holds the port, so that no other test gets it,
/// and does not listen.
pub(crate) fn refusing() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, addr)
}

/// Writes until (nearly) nothing more fits before the other side reads. Returns how many bytes fit.
pub(crate) fn fill(stream: &TcpStream) -> usize {
    use std::io::Write;
    stream.set_nonblocking(true).unwrap();
    let chunk = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    loop {
        match (&mut &*stream).write(&chunk) {
            Ok(n) => sent += n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    stream.set_nonblocking(false).unwrap();
    // The rest of the peer's window is sent only after a while, and would make room.
    socket2::SockRef::from(stream)
        .set_send_buffer_size(1)
        .unwrap();
    sent
}

const CHILD: &str = "ETHREADS_TEST_CHILD";

/// Whether this process is the child that [`in_child`] started for `test`.
pub(crate) fn is_child(test: &str) -> bool {
    std::env::var(CHILD).is_ok_and(|name| name == test)
}

/// Runs one test of this binary, by its full name, in a process of its own: for what belongs to
/// the process, such as limits and numbers of descriptors.
pub(crate) fn in_child(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, test);
    command
}

pub(crate) fn assert_success(output: &Output) {
    assert!(
        output.status.success(),
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    // A wrong name would run nothing and succeed.
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}
