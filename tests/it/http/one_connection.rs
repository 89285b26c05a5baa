//! Connections that the program opens itself: sockets, streams in memory, and streams of its own.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;
use std::time::Duration;

use ethreads::http::{Body, IntoHandler, IntoResponse, Request, Response, Server, Stream};
use ethreads::io::{Duplex, duplex};
use ethreads::net::{TcpListener, TcpStream, UnixStream};
use ethreads::thread::{self, JoinHandle};
use ethreads::time::Instant;

use crate::http::util::{LONG, SHORT, on_a_shard, settle, timeouts, without_dates};

fn server() -> Server {
    Server::without_listener().timeouts(timeouts(|_| ()))
}

/// Serves a stream in an ethread.
fn served<M: 'static>(
    server: Server,
    stream: impl Into<Stream> + 'static,
    handler: impl IntoHandler<M, Output: IntoResponse>,
) -> JoinHandle<io::Result<()>> {
    thread::spawn(move || server.serve_connection(stream, handler))
}

/// Calls `check` with a stream that can be tried, and with one that cannot.
fn tried_and_boxed(check: impl Fn(Duplex, Stream)) {
    let (client, stream) = duplex(1024);
    check(client, stream.into());
    let (client, stream) = duplex(1024);
    check(client, Stream::boxed(stream));
}

fn hello(request: &mut Request) -> String {
    let body = request.text().unwrap();
    format!("{} {body}", request.path())
}

#[track_caller]
fn rest_of(mut stream: impl Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Reads up to and with `end`.
#[track_caller]
fn until(mut stream: impl Read, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "no {end:?} in {text:?}");
        text.push(byte[0].into());
    }
    text
}

const TWO: &str = "POST /1 HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc\
                   GET /2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

#[track_caller]
fn check_two(answers: &str) {
    let answers = without_dates(answers);
    assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), 2);
    assert!(answers.contains("\r\n\r\n/1 abcHTTP/1.1 "), "{answers}");
    assert!(answers.ends_with("\r\n\r\n/2 "), "{answers}");
}

/// A stream that reads and writes by `&mut` only.
struct Plain(UnixStream);

impl Read for Plain {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Plain {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn every_kind_of_stream_is_served() {
    on_a_shard(|| {
        let check = |client: &mut dyn ReadWrite, stream: Stream| {
            let served = served(server(), stream, hello);
            let (first, second) = TWO.split_at(TWO.find("GET").unwrap());
            client.write_all(first.as_bytes()).unwrap();
            let answer = until(&mut *client, "/1 abc");
            client.write_all(second.as_bytes()).unwrap();
            check_two(&(answer + &rest_of(&mut *client)));
            served.join().unwrap().unwrap();
        };
        let (mut client, stream) = duplex(1024);
        check(&mut client, stream.into());
        let (mut client, stream) = duplex(1);
        check(&mut client, stream.into());
        let (mut client, stream) = UnixStream::pair().unwrap();
        check(&mut client, stream.into());
        let (mut client, stream) = UnixStream::pair().unwrap();
        check(&mut client, Stream::boxed(stream));
        let (mut client, stream) = duplex(7);
        check(&mut client, Stream::boxed(stream));
        let (mut client, stream) = UnixStream::pair().unwrap();
        check(&mut client, Stream::half_duplex(Plain(stream)));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, peer) = listener.accept().unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        check(&mut client, stream.into());
    });
}

trait ReadWrite: Read + Write {}

impl<T: Read + Write> ReadWrite for T {}

#[test]
fn it_runs_in_the_ethread_of_the_caller_and_on_no_shard_too() {
    on_a_shard(|| {
        let (mut client, stream) = duplex(1024);
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let me = thread::current().id();
        server()
            .serve_connection(stream, move |request: &mut Request| {
                assert_eq!(thread::current().id(), me);
                assert_eq!(request.peer_addr(), None);
                assert!(!request.peer_gone());
                "in memory"
            })
            .unwrap();
        assert!(rest_of(client).ends_with("in memory"));
    });
    // The OS thread's own code.
    std::thread::spawn(|| {
        let (mut client, stream) = duplex(1024);
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        server()
            .serve_connection(stream, |_: &mut Request| "from main")
            .unwrap();
        assert!(rest_of(client).ends_with("from main"));
    })
    .join()
    .unwrap();
}

#[test]
fn the_handler_is_dropped_before_it_returns() {
    on_a_shard(|| {
        for ends in [false, true] {
            let held = Rc::new(());
            let theirs = held.clone();
            let (mut client, stream) = duplex(1024);
            client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
            let server = server();
            if ends {
                server.handle().drain(LONG);
            }
            server
                .serve_connection(stream, move |_: &mut Request| {
                    let _theirs = &theirs;
                })
                .unwrap();
            assert_eq!(Rc::strong_count(&held), 1);
        }
    });
}

#[test]
fn a_server_without_a_listener_listens_nowhere() {
    on_a_shard(|| {
        let server = Server::without_listener();
        assert_eq!(server.to_string(), "a server without a listener");
        let kind = server.local_addr().unwrap_err().kind();
        assert_eq!(kind, ErrorKind::Unsupported);
        let error = server.serve(|_: &mut Request| "").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
        assert!(error.to_string().contains("has no listener"), "{error}");
    });
}

#[test]
fn earlier_answers_are_sent_while_a_handler_waits() {
    on_a_shard(|| {
        tried_and_boxed(|mut client, stream| {
            let served = served(server(), stream, |request: &mut Request| {
                if request.path() == "/slow" {
                    thread::park();
                }
                request.path().to_owned()
            });
            client
                .write_all(b"GET /fast HTTP/1.1\r\nhost: a\r\n\r\nGET /slow HTTP/1.0\r\n\r\n")
                .unwrap();
            until(&client, "/fast");
            served.thread().unpark();
            until(&client, "/slow");
            served.join().unwrap().unwrap();
        });
    });
}

#[test]
fn a_body_is_read_while_the_response_is_sent() {
    on_a_shard(|| {
        tried_and_boxed(|mut client, stream| {
            let echo = |request: &mut Request| Body::reader(request.take_body());
            let served = served(server(), stream, echo);
            client
                .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
                .unwrap();
            until(&client, "\r\n\r\n");
            client.write_all(b"3\r\none\r\n").unwrap();
            until(&client, "3\r\none\r\n");
            client.write_all(b"0\r\n\r\n").unwrap();
            until(&client, "0\r\n\r\n");
            drop(client);
            served.join().unwrap().unwrap();
        });
    });
}

#[test]
fn a_file_is_sent_by_streams_without_sendfile() {
    on_a_shard(|| {
        let path = std::env::temp_dir().join(format!("ethreads-one-{}", std::process::id()));
        let content = vec![b'f'; 300_000];
        std::fs::write(&path, &content).unwrap();
        let file = path.clone();
        let (mut client, stream) = duplex(1024);
        let served = served(server(), stream, move |_: &mut Request| {
            Body::file(std::fs::File::open(&file).unwrap()).unwrap()
        });
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let answer = rest_of(client);
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(body.as_bytes(), content);
        served.join().unwrap().unwrap();
        std::fs::remove_file(&path).unwrap();
    });
}

#[test]
fn every_kind_of_stream_can_be_upgraded() {
    on_a_shard(|| {
        tried_and_boxed(|mut client, stream| {
            let served = served(server(), stream, |_: &mut Request| {
                Response::upgrade("echo", |stream| {
                    let stream = stream.into_tcp().unwrap_err();
                    io::copy(&mut &stream, &mut &stream).unwrap();
                })
            });
            client
                .write_all(
                    b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n",
                )
                .unwrap();
            until(&client, "\r\n\r\n");
            client.write_all(b"hello").unwrap();
            until(&client, "hello");
            client.shutdown(std::net::Shutdown::Write);
            assert_eq!(rest_of(client), "");
            served.join().unwrap().unwrap();
        });
    });
}

#[test]
fn a_drain_ends_it_between_two_requests() {
    on_a_shard(|| {
        // Idle: a stream that can be tried ends at once.
        let (client, stream) = duplex(1024);
        let server = server();
        let handle = server.handle();
        let served = served(server, stream, hello);
        (&client)
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .unwrap();
        until(&client, "/ ");
        settle();
        handle.drain(LONG);
        assert_eq!(rest_of(client), "");
        served.join().unwrap().unwrap();
    });
    on_a_shard(|| {
        // A boxed stream ends after the next request.
        let (client, stream) = duplex(1024);
        let server = server();
        let handle = server.handle();
        let served = served(server, Stream::boxed(stream), hello);
        settle();
        handle.drain(LONG);
        settle();
        (&client)
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .unwrap();
        let answer = rest_of(client);
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        served.join().unwrap().unwrap();
    });
    on_a_shard(|| {
        // A drain that was requested before.
        let (client, stream) = duplex(1024);
        let server = server();
        server.handle().drain(LONG);
        (&client)
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .unwrap();
        server.serve_connection(stream, hello).unwrap();
        let answer = rest_of(client);
        assert!(answer.contains("connection: close\r\n"), "{answer}");
    });
}

#[test]
fn the_end_of_a_grace_closes_the_stream_and_cancels_nothing() {
    on_a_shard(|| {
        for boxed in [false, true] {
            let (client, stream) = duplex(1024);
            let server = server();
            let handle = server.handle();
            let outcome = Rc::new(RefCell::new(None));
            let theirs = outcome.clone();
            let stream = if boxed {
                Stream::boxed(stream)
            } else {
                stream.into()
            };
            let served = served(server, stream, move |_: &mut Request| {
                let theirs = theirs.clone();
                Body::writer(move |out| {
                    thread::park();
                    let result = out.write_all(b"late").and_then(|()| out.flush());
                    *theirs.borrow_mut() = Some(result.as_ref().map_err(io::Error::kind).copied());
                    result
                })
            });
            (&client)
                .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
                .unwrap();
            settle();
            handle.drain(Duration::ZERO);
            settle();
            served.thread().unpark();
            let error = served.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{error}");
            assert_eq!(outcome.take(), Some(Err(ErrorKind::BrokenPipe)));
        }
    });
}

#[test]
fn a_cancelled_caller_closes_the_stream() {
    on_a_shard(|| {
        let (client, stream) = duplex(1024);
        let served = served(server(), stream, hello);
        settle();
        served.cancel();
        assert!(served.join().is_err());
        assert_eq!(rest_of(client), "");
    });
}

#[test]
fn hooks_and_limits_of_the_server_hold() {
    on_a_shard(|| {
        let (client, stream) = duplex(1024);
        let around = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let (calls, errors) = (around.clone(), around.clone());
        let server = server()
            .timeouts(timeouts(|t| t.head = SHORT))
            .around_connections(move |serve| {
                calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                serve();
            })
            .on_refusal(move |error, peer| {
                assert!(error.is_timeout());
                assert_eq!(peer, None);
                errors.fetch_add(10, std::sync::atomic::Ordering::Relaxed);
            });
        let served = served(server, stream, hello);
        (&client).write_all(b"GET / HTTP/1.1\r\nho").unwrap();
        let answer = rest_of(client);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        served.join().unwrap().unwrap();
        assert_eq!(around.load(std::sync::atomic::Ordering::Relaxed), 11);
    });
}

/// In memory HTTP needs no descriptor, so it runs on the virtual clock.
/// There every timeout is exact.
#[cfg(feature = "sim")]
mod on_the_virtual_clock {
    use super::*;

    /// Serves one connection, on which the client does something; returns what it sees, and how
    /// long that took.
    fn after(boxed: bool, client: fn(&Duplex)) -> (String, Duration) {
        let result = std::thread::spawn(move || {
            ethreads::sim::run(1, move || {
                let (near, far) = duplex(64);
                let server = Server::without_listener();
                let stream = if boxed {
                    Stream::boxed(far)
                } else {
                    far.into()
                };
                let served = served(server, stream, hello);
                let began = Instant::now();
                client(&near);
                let answers = rest_of(&near);
                let took = began.elapsed();
                drop(near);
                served.join().unwrap().unwrap();
                (answers, took)
            })
        });
        result.join().unwrap().unwrap()
    }

    #[test]
    fn every_phase_has_its_limit() {
        use ethreads::http::Timeouts;
        for boxed in [false, true] {
            let (answers, took) = after(boxed, |_| ());
            assert_eq!((&*answers, took), ("", Timeouts::IDLE), "{boxed}");
            let (answers, took) = after(boxed, |mut client| {
                client.write_all(b"GET / HTTP/1.1\r\n").unwrap();
            });
            assert!(answers.starts_with("HTTP/1.1 408 "), "{answers}");
            assert_eq!(took, Timeouts::HEAD);
            let (answers, took) = after(boxed, |mut client| {
                let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n";
                client.write_all(head).unwrap();
            });
            // `hello` unwraps the error.
            assert!(answers.starts_with("HTTP/1.1 500 "), "{answers}");
            assert_eq!(took, Timeouts::BODY);
        }
    }

    #[test]
    fn a_peer_that_takes_nothing_is_left() {
        for boxed in [false, true] {
            let took = std::thread::spawn(move || {
                ethreads::sim::run(1, move || {
                    let (near, far) = duplex(64);
                    let stream = if boxed {
                        Stream::boxed(far)
                    } else {
                        far.into()
                    };
                    (&near).write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
                    let began = Instant::now();
                    let server = Server::without_listener();
                    let result = server
                        .serve_connection(stream, |_: &mut Request| {
                            Body::writer(|out| out.write_all(&[b'x'; 100_000]))
                        })
                        .unwrap_err();
                    let error = ethreads::http::Error::from(result);
                    assert!(error.is_timeout(), "{error}");
                    began.elapsed()
                })
            });
            let took = took.join().unwrap().unwrap();
            assert_eq!(took, ethreads::http::Timeouts::WRITE, "{boxed}");
        }
    }
}
