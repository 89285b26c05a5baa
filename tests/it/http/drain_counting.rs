//! Clients that count their answers while a server drains.

use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::TcpStream as StdTcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ethreads::http::{Request, Taskmaster};
use ethreads::thread;

use crate::http::util::{LONG, Site, on_a_shard, settle, timeouts};

/// Clients that count, each on an OS thread of its own. A client that connected before the drain
/// began gets an answer to its request, and no client gets half an answer.
#[test]
fn no_answer_is_lost() {
    const CLIENTS: usize = 8;
    on_a_shard(|| {
        for (persistent, threads) in [(false, 1000), (false, 3), (true, 1000), (true, 3)] {
            let taskmaster = Taskmaster::with_limits(threads, 2000).unwrap();
            let site = Site::with(
                |server| {
                    server
                        .timeouts(timeouts(|times| times.in_flight = LONG))
                        .taskmaster(taskmaster.queue_timeout(LONG))
                },
                |request: &mut Request| {
                    thread::yield_now();
                    request.path().to_owned()
                },
            );
            let is_draining = Arc::new(AtomicBool::new(false));
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    let (addr, is_draining) = (site.addr, is_draining.clone());
                    std::thread::spawn(move || count(addr, persistent, &is_draining))
                })
                .collect();
            let enough = if persistent {
                threads.min(CLIENTS)
            } else {
                4 * CLIENTS
            };
            while site.handle.counts().served < enough as u64 {
                thread::yield_now();
            }
            settle();
            is_draining.store(true, Ordering::SeqCst);
            site.handle.drain(LONG);
            site.served.join().unwrap().unwrap();
            for client in clients {
                client.join().unwrap();
            }
            let report = site.handle.drained().unwrap();
            assert_eq!((report.cut.len(), report.refused), (0, 0));
        }
    });
}

/// Sends requests until the server ends.
fn count(addr: std::net::SocketAddr, persistent: bool, is_draining: &AtomicBool) {
    loop {
        let Ok(stream) = StdTcpStream::connect(addr) else {
            assert!(
                is_draining.load(Ordering::SeqCst),
                "refused without a drain"
            );
            return;
        };
        // A connection that was made before the drain began gets an answer.
        let was_before = !is_draining.load(Ordering::SeqCst);
        let mut client = BlockingClient(io::BufReader::new(stream));
        loop {
            match client.ask(persistent) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    assert!(!was_before, "an answer was lost: {error}");
                    return;
                }
            }
        }
        if is_draining.load(Ordering::SeqCst) {
            return;
        }
    }
}

/// A client without ethreads.
struct BlockingClient(io::BufReader<StdTcpStream>);

impl BlockingClient {
    /// Sends a request and reads the whole answer; returns whether the connection stays open.
    fn ask(&mut self, persistent: bool) -> io::Result<bool> {
        let option = if persistent { "keep-alive" } else { "close" };
        let request = format!("GET /asked HTTP/1.1\r\nhost: a\r\nconnection: {option}\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes())?;
        let mut goes_on = true;
        let mut line = String::new();
        loop {
            line.clear();
            if self.0.read_line(&mut line)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            match line.trim_end() {
                "" => break,
                "connection: close" => goes_on = false,
                _ => {}
            }
        }
        let mut body = [0; 6];
        self.0.read_exact(&mut body)?;
        assert_eq!(&body, b"/asked");
        Ok(goes_on)
    }
}
