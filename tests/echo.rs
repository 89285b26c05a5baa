//! An echo of 1 GiB over one connection: both directions at once, in bounded memory.
//!
//! In a process of its own, so that the memory is that of the echo.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ethreads::http::{Body, Request, Server};

const LENGTH: usize = 1 << 30;

/// Repeated, the bytes that are echoed. A prime length: what is shifted by a buffer does not match.
const PERIOD: usize = 65_521;

fn pattern() -> Vec<u8> {
    let mut state = 1_u32;
    let byte = |_| {
        // Any generator without a short period will do.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..PERIOD).map(byte).collect()
}

/// The most memory that this process has had, in KiB.
fn peak() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn send(stream: &mut TcpStream, pattern: &[u8], length: usize) {
    let mut left = length;
    while left > 0 {
        let piece = &pattern[..left.min(PERIOD)];
        stream.write_all(piece).unwrap();
        left -= piece.len();
    }
}

/// Reads a head, and returns it.
fn head(stream: &mut impl BufRead) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).unwrap(), 0, "{head}");
    }
    head
}

/// Reads a body in chunks, compares it with the pattern, and returns its length.
fn compare(stream: &mut impl BufRead, pattern: &[u8]) -> usize {
    let (mut at, mut data) = (0, vec![0; PERIOD]);
    loop {
        let mut size = String::new();
        stream.read_line(&mut size).unwrap();
        let mut left = usize::from_str_radix(size.trim_end(), 16).unwrap();
        let is_last = left == 0;
        while left > 0 {
            let from = at % PERIOD;
            let piece = &mut data[..left.min(PERIOD - from)];
            stream.read_exact(piece).unwrap();
            assert!(piece == &pattern[from..][..piece.len()], "at {at}");
            at += piece.len();
            left -= piece.len();
        }
        stream.read_exact(&mut [0; 2]).unwrap();
        if is_last {
            return at;
        }
    }
}

fn echo(request: &mut Request) -> Body {
    Body::reader(request.take_body())
}

#[test]
fn a_gibibyte_is_echoed_in_bounded_memory() {
    let (addr_of, addr) = mpsc::channel::<(SocketAddr, ethreads::http::ServerHandle)>();
    let served = thread::spawn(move || {
        let server = Server::bind("127.0.0.1:0").unwrap();
        let told = (server.local_addr().unwrap(), server.handle());
        addr_of.send(told).unwrap();
        server.serve(echo).unwrap();
    });
    let (addr, handle) = addr.recv().unwrap();
    let stream = TcpStream::connect(addr).unwrap();
    let mut answers = BufReader::with_capacity(PERIOD, stream.try_clone().unwrap());
    let pattern = pattern();
    // Twice over the same connection: the first one is for what is allocated once.
    let mut before = None;
    for length in [LENGTH / 64, LENGTH] {
        before = peak();
        let (mut stream, bytes) = (stream.try_clone().unwrap(), pattern.clone());
        let upload = thread::spawn(move || {
            write!(
                stream,
                "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n"
            )
            .unwrap();
            // Far more than all buffers hold: the response must begin before the upload ends.
            send(&mut stream, &bytes, length);
        });
        assert!(head(&mut answers).starts_with("HTTP/1.1 200 "));
        assert_eq!(compare(&mut answers, &pattern), length);
        upload.join().unwrap();
    }
    if let (Some(before), Some(after)) = (before, peak()) {
        assert!(after - before < 4096, "{before} KiB, then {after} KiB");
    }
    handle.drain(Duration::ZERO);
    served.join().unwrap();
}
