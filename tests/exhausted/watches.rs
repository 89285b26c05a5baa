//! No room for another watched descriptor: fs.epoll.max_user_watches.
//!
//! That limit belongs to the whole system, and is too high to be reached in a test. So a filter of
//! system calls refuses in place of the kernel: it refuses to watch any descriptor with a number
//! from [`REFUSED`] on.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use ethreads::bridge::{Interest, on_ready};
use ethreads::net::{TcpListener, UnixStream};
use ethreads::runtime::stats;
use ethreads::sync::select::{after, readable};
use ethreads::{DriverKind, Runtime, select, spawn, thread};
use rustix::io::fcntl_dupfd_cloexec;

use crate::limits::{Argument, goes_on, isolated, open_descriptors, refuse, without_spinning};
use crate::support::fresh;

const REFUSED: i32 = 200;

fn refuse_watches() -> bool {
    let arguments = [
        (1, Argument::Is(libc::EPOLL_CTL_ADD as u32)),
        (2, Argument::AtLeast(REFUSED as u32)),
    ];
    refuse(libc::SYS_epoll_ctl, &arguments, libc::ENOSPC)
}

/// Gives a descriptor another number, which is refused or not.
fn renumbered(stream: UnixStream, refused: bool) -> UnixStream {
    let least = if refused { REFUSED } else { 0 };
    let fd = fcntl_dupfd_cloexec(&stream, least).unwrap();
    assert_eq!(fd.as_raw_fd() >= REFUSED, refused);
    UnixStream::from(fd)
}

fn names_the_limit(error: &io::Error) {
    // Not `StorageFull`, the usual kind of `ENOSPC`.
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    let text = error.to_string();
    assert!(text.contains("raise fs.epoll.max_user_watches"), "{text}");
}

fn on_each_driver(name: &str, test: fn()) {
    isolated(name, || {
        for driver in [DriverKind::Epoll, DriverKind::Polling] {
            fresh(|| {
                if refuse_watches() {
                    Runtime::builder().driver(driver).run(test).unwrap();
                }
            });
        }
    });
}

#[test]
fn a_wait_for_one_that_cannot_be_watched_is_an_error_that_names_the_limit() {
    const NAME: &str =
        "watches::a_wait_for_one_that_cannot_be_watched_is_an_error_that_names_the_limit";
    on_each_driver(NAME, || {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut ours = renumbered(ours, true);
        let counts = || {
            let stats = stats().unwrap();
            (
                stats.sources,
                stats.io_waits,
                stats.ethreads,
                open_descriptors(),
            )
        };
        let before = counts();
        for _ in 0..1000 {
            names_the_limit(&ours.read(&mut [0]).unwrap_err());
        }
        let ready = || on_ready(&ours, Interest::Readable, None, |_| ());
        for _ in 0..1000 {
            names_the_limit(&ready().unwrap_err());
        }
        let either = || {
            select! {
                ready = readable(&ours) => ready,
                () = after(Duration::from_secs(60)) => Ok(()),
            }
        };
        names_the_limit(&either().unwrap_err());
        assert_eq!(counts(), before);
        goes_on();
        without_spinning(|| {
            for _ in 0..10 {
                assert!(ours.read(&mut [0]).is_err());
                thread::sleep(Duration::from_millis(10));
            }
        });
        // A call that need not wait needs no watch, and nothing is lost.
        theirs.write_all(b"abc").unwrap();
        let mut bytes = [0; 2];
        ours.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"ab");
        let mut ours = renumbered(ours, false);
        let reader = spawn(move || {
            let mut text = String::new();
            ours.read_to_string(&mut text).unwrap();
            text
        });
        thread::yield_now();
        theirs.write_all(b"d").unwrap();
        drop(theirs);
        assert_eq!(reader.join().unwrap(), "cd");
    });
}

#[test]
fn a_listener_that_cannot_be_watched_loses_no_connection() {
    on_each_driver(
        "watches::a_listener_that_cannot_be_watched_loses_no_connection",
        || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let addr = listener.local_addr().unwrap();
            let fd = OwnedFd::from(std::net::TcpListener::from(listener));
            let high = fcntl_dupfd_cloexec(&fd, REFUSED).unwrap();
            let listener = TcpListener::from(std::net::TcpListener::from(high));
            names_the_limit(&listener.accept().unwrap_err());
            let client = std::net::TcpStream::connect(addr).unwrap();
            let (_, peer) = listener.accept().unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
            drop(fd);
        },
    );
}

#[cfg(feature = "http")]
#[test]
fn a_server_closes_a_connection_that_cannot_be_watched_and_serves_the_others() {
    use std::fs::File;
    use std::sync::mpsc;

    use ethreads::http::{Request, Server};

    const NAME: &str =
        "watches::a_server_closes_a_connection_that_cannot_be_watched_and_serves_the_others";
    on_each_driver(NAME, || {
        let server = Server::bind("127.0.0.1:0").unwrap();
        let (addr, handle) = (server.local_addr().unwrap(), server.handle());
        let serving = spawn(move || server.serve(|_: &mut Request| "served"));
        thread::yield_now();
        let low = low_numbers();
        // Connections of a client that sends nothing yet: the server has to wait for each.
        let silent = std::net::TcpStream::connect(addr).unwrap();
        assert!(silent.as_raw_fd() >= REFUSED);
        let silent_ended = read_elsewhere(silent);
        assert_eq!(wait_for(&silent_ended), "");
        goes_on();
        drop(low);
        let mut client = std::net::TcpStream::connect(addr).unwrap();
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let answer = wait_for(&read_elsewhere(client));
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        handle.drain(Duration::from_secs(60));
        serving.join().unwrap().unwrap();
    });

    /// Takes all descriptor numbers below the refused ones.
    fn low_numbers() -> Vec<File> {
        let null = || File::open("/dev/null").unwrap();
        std::iter::repeat_with(null)
            .take_while(|file| file.as_raw_fd() < REFUSED)
            .collect()
    }

    /// Reads to the end on an OS thread of its own.
    fn read_elsewhere(mut stream: std::net::TcpStream) -> mpsc::Receiver<String> {
        let (send, receive) = mpsc::channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            // A reset is an end, too.
            let _ = stream.read_to_string(&mut text);
            send.send(text)
        });
        receive
    }

    fn wait_for(text: &mpsc::Receiver<String>) -> String {
        loop {
            if let Ok(text) = text.try_recv() {
                return text;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}
