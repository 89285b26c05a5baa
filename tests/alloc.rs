//! What the HTTP server takes from the allocator: nothing for a request on a connection that has
//! served a few requests, and little for an idle connection.

// Unwrapping is how a test fails.
#![allow(clippy::unwrap_used)]
// `GlobalAlloc` is an unsafe trait.
#![allow(unsafe_code)]
#![cfg(feature = "http")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ethreads::http::{IntoResponse, Request, Response, Server, StatusCode};

thread_local! {
    /// Allocations of this OS thread.
    static CALLS: Cell<u64> = const { Cell::new(0) };
    /// Bytes that this OS thread has allocated and not freed.
    static LIVE: Cell<i64> = const { Cell::new(0) };
}

struct Counting;

fn count(calls: u64, bytes: i64) {
    // Allocations after the destructors of the thread-locals are not counted.
    let _ = CALLS.try_with(|cell| cell.set(cell.get() + calls));
    let _ = LIVE.try_with(|cell| cell.set(cell.get() + bytes));
}

// SAFETY: every call is passed on unchanged to the system's allocator; counting does not allocate,
// since the thread-locals have neither an initialiser nor a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: the caller guarantees what `System.alloc` demands.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(0, -(layout.size() as i64));
        // SAFETY: the caller guarantees what `System.dealloc` demands.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size as i64 - layout.size() as i64);
        // SAFETY: the caller guarantees what `System.realloc` demands.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Counts of its OS thread that the last handler has seen: allocations, and bytes in use.
type Seen = Arc<Mutex<(u64, i64)>>;

/// Serves on an OS thread of its own while `client` runs on this one.
fn with_server(handler: fn(&mut Request) -> Response, client: impl FnOnce(SocketAddr, &Seen)) {
    let seen = Seen::default();
    let told = seen.clone();
    let (sender, receiver) = mpsc::channel();
    let server = thread::spawn(move || {
        let server = Server::bind("127.0.0.1:0").unwrap();
        sender
            .send((server.local_addr().unwrap(), server.handle()))
            .unwrap();
        server
            .serve(move |request: &mut Request| {
                *told.lock().unwrap() = (CALLS.get(), LIVE.get());
                handler(request)
            })
            .unwrap();
    });
    let (address, handle) = receiver.recv().unwrap();
    client(address, &seen);
    handle.drain(Duration::from_secs(60));
    server.join().unwrap();
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream
}

/// Sends `requests` and receives `answers` response heads with bodies that end with `!`.
fn exchange(stream: &mut TcpStream, requests: &[u8], answers: usize) {
    stream.write_all(requests).unwrap();
    let (mut ends, mut buffer) = (0, [0; 16 * 1024]);
    while ends < answers {
        let got = stream.read(&mut buffer).unwrap();
        assert_ne!(got, 0);
        ends += buffer[..got].iter().filter(|byte| **byte == b'!').count();
    }
}

fn hello(_: &mut Request) -> Response {
    "Hello, World!".into_response()
}

/// Sends what `requests` makes, `answers` requests at a time, until all buffers have their final
/// size; then sends more, which must not allocate.
#[track_caller]
fn check_nothing_allocated(
    handler: fn(&mut Request) -> Response,
    answers: usize,
    requests: fn(u64) -> String,
) {
    with_server(handler, |address, seen| {
        let mut stream = connect(address);
        for n in 0..200 {
            exchange(&mut stream, requests(n).as_bytes(), answers);
        }
        let (before, _) = *seen.lock().unwrap();
        assert_ne!(before, 0, "the allocator counts");
        for n in 200..1200 {
            exchange(&mut stream, requests(n).as_bytes(), answers);
        }
        let (after, _) = *seen.lock().unwrap();
        assert_eq!(after - before, 0, "allocations in 1000 exchanges");
    });
}

#[test]
fn a_request_like_the_one_before() {
    check_nothing_allocated(hello, 1, |_| {
        "GET /plaintext HTTP/1.1\r\nhost: a\r\naccept: */*\r\n\r\n".into()
    });
}

#[test]
fn a_request_unlike_the_one_before() {
    check_nothing_allocated(hello, 1, |n| {
        format!(
            "GET /{:03} HTTP/1.1\r\nhost: a\r\nx-{:03}: {n:05}\r\n\r\n",
            n % 7,
            n % 13
        )
    });
}

#[test]
fn pipelined_requests() {
    check_nothing_allocated(hello, 16, |n| {
        format!("GET /{:03} HTTP/1.1\r\nhost: a\r\n\r\n", n % 7).repeat(16)
    });
}

#[test]
fn a_body_that_is_read_as_a_stream() {
    fn read(request: &mut Request) -> Response {
        let (mut buffer, mut len) = ([0; 1000], 0);
        loop {
            match request.body().read(&mut buffer) {
                Ok(0) => break,
                Ok(got) => len += got,
                Err(_) => return StatusCode::BAD_REQUEST.into_response(),
            }
        }
        if len == 20_000 { "whole!" } else { "short!" }.into_response()
    }
    check_nothing_allocated(read, 1, |n| {
        let body = "x".repeat(20_000);
        if n % 2 == 0 {
            format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 20000\r\n\r\n{body}")
        } else {
            format!(
                "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
                 4e20\r\n{body}\r\n0\r\n\r\n"
            )
        }
    });
}

#[test]
fn an_idle_connection_holds_no_buffer() {
    const CONNECTIONS: i64 = 200;
    with_server(hello, |address, seen| {
        let request = b"GET / HTTP/1.1\r\nhost: a\r\naccept: */*\r\n\r\n";
        // The connection whose handler counts is busy in both counts.
        exchange(&mut connect(address), request, 1);
        let (_, before) = *seen.lock().unwrap();
        let idle: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let mut stream = connect(address);
                exchange(&mut stream, request, 1);
                stream
            })
            .collect();
        let (_, after) = *seen.lock().unwrap();
        let each = (after - before) / CONNECTIONS;
        // A read buffer is 8 KiB; the smallest output buffer holds a head and a body.
        assert!(each < 2048, "{each} bytes for each idle connection");
        drop(idle);
    });
}
