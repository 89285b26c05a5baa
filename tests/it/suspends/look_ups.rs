//! Calls that wait for nothing but the look-up of a name, on a pool that is busy.

use std::io;
use std::sync::mpsc;

use ethreads::net::{TcpListener, ToSocketAddrs, UdpSocket};
use ethreads::{bridge, thread};

use super::calls::outcome;
use super::{Case, Row, SITUATIONS, Unwinding, When};
use crate::net::support::{assert_success, in_child, is_child};

/// A call on the pool; it waits while another call has the only OS thread of the pool.
pub(super) fn busy(when: When, call: impl FnOnce() -> io::Result<usize> + 'static) -> Case {
    let mut taken = (when != When::Ready).then(|| {
        let (open, gate) = mpsc::channel::<()>();
        drop(thread::spawn(move || {
            // The call ends when the other side of the channel is dropped.
            bridge::blocking(move || gate.recv().is_ok())
        }));
        thread::yield_now();
        open
    });
    Case::new(move || outcome(call()), move |_| drop(taken.take()))
}

pub(super) fn row(name: &'static str, case: fn(When) -> Case) -> Row {
    Row {
        name,
        case,
        result: "1",
        always_suspends: true,
        unwinding: Unwinding::InPlace,
    }
}

pub(super) fn look_ups() -> Vec<Row> {
    const NAME: (&str, u16) = ("localhost", 0);
    vec![
        row("net::ToSocketAddrs::to_socket_addrs", |when| {
            busy(when, || Ok(NAME.to_socket_addrs()?.count().min(1)))
        }),
        row("net::TcpListener::bind", |when| {
            busy(when, || TcpListener::bind(NAME).map(|_| 1))
        }),
        row("net::ListenOptions::bind", |when| {
            busy(when, || TcpListener::builder().bind(NAME).map(|_| 1))
        }),
        row("net::UdpSocket::bind", |when| {
            busy(when, || UdpSocket::bind(NAME).map(|_| 1))
        }),
        row("net::UdpSocket::connect", |when| {
            busy(when, || {
                let socket = UdpSocket::bind("127.0.0.1:0")?;
                socket.connect(("localhost", 9)).map(|()| 1)
            })
        }),
        #[cfg(feature = "http")]
        row("http::Server::bind", |when| {
            busy(when, || ethreads::http::Server::bind(NAME).map(|_| 1))
        }),
        #[cfg(feature = "http")]
        row("http::Server::bind_shared", |when| {
            busy(when, || {
                ethreads::http::Server::bind_shared(NAME).map(|_| 1)
            })
        }),
        #[cfg(feature = "http")]
        row("http::WebServer::bind", |when| {
            busy(when, || ethreads::http::WebServer::bind(NAME).map(|_| 1))
        }),
    ]
}

/// Runs `test`, whose full name is `name`, in a process whose pool has one OS thread.
pub(super) fn assert_success_in_child(name: &str, test: fn()) {
    // The pool belongs to the whole process, and so does the number of its OS threads.
    if is_child(name) {
        bridge::set_blocking_limit(1);
        return test();
    }
    assert_success(&in_child(name).output().unwrap());
}

#[test]
fn in_every_situation() {
    assert_success_in_child("suspends::look_ups::in_every_situation", || {
        for situation in SITUATIONS {
            look_ups().into_iter().for_each(situation);
        }
    });
}
