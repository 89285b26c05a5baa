//! Streams of users that do not keep the rules of `Read` and `Write`, or break within a call.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Read, Write};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;

use ethreads::http::{Body, Request, Server, Stream};
use ethreads::io::duplex;
use ethreads::{thread, time};

use crate::http::util::{SHORT, on_a_shard, settle, timeouts};

const POST: &[u8] = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n";

/// A stream whose calls two closures answer.
struct Scripted<R, W> {
    read: RefCell<R>,
    write: RefCell<W>,
}

impl<R: FnMut(&mut [u8]) -> io::Result<usize>, W> Read for &Scripted<R, W> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (self.read.borrow_mut())(buf)
    }
}

impl<R, W: FnMut(&[u8]) -> io::Result<usize>> Write for &Scripted<R, W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (self.write.borrow_mut())(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn scripted(
    read: impl FnMut(&mut [u8]) -> io::Result<usize> + 'static,
    write: impl FnMut(&[u8]) -> io::Result<usize> + 'static,
) -> Stream {
    Stream::boxed(Scripted {
        read: read.into(),
        write: write.into(),
    })
}

/// A read closure that returns one input after the other, and then the results of `then`, which is
/// told how often it was called.
fn input(
    inputs: impl IntoIterator<Item = &'static [u8]>,
    mut then: impl FnMut(u32, &mut [u8]) -> io::Result<usize>,
) -> impl FnMut(&mut [u8]) -> io::Result<usize> {
    let (mut inputs, mut calls) = (inputs.into_iter().collect::<Vec<_>>().into_iter(), 0);
    move |buf| match inputs.next() {
        Some(input) => (&mut { input }).read(buf),
        None => {
            calls += 1;
            assert!(calls < 1000, "no time limit holds");
            then(calls, buf)
        }
    }
}

fn taking(buf: &[u8]) -> io::Result<usize> {
    Ok(buf.len())
}

fn server() -> Server {
    Server::without_listener().timeouts(timeouts(|_| ()))
}

fn answer(request: &mut Request) -> ethreads::http::Result<Vec<u8>> {
    Ok(request.bytes()?)
}

#[test]
fn a_stream_that_does_not_wait_is_an_error() {
    on_a_shard(|| {
        let would_block = || Err(ErrorKind::WouldBlock.into());
        for inputs in [
            &[] as &[&[u8]],
            &[b"GET / HT"],
            &[b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"],
        ] {
            let stream = scripted(
                input(inputs.iter().copied(), move |_, _| would_block()),
                taking,
            );
            let error = server().serve_connection(stream, answer).unwrap_err();
            assert!(error.to_string().contains("must wait"), "{error}");
        }
        let stream = scripted(input([POST, b"hello"], |_, _| Ok(0)), move |_| {
            would_block()
        });
        let error = server().serve_connection(stream, answer).unwrap_err();
        assert!(error.to_string().contains("must wait"), "{error}");
    });
}

#[test]
fn a_stream_that_never_waits_lets_others_run_and_ends_in_time() {
    on_a_shard(|| {
        let ran = Rc::new(Cell::new(false));
        let theirs = ran.clone();
        let stream = scripted(
            input([], move |_, _| match theirs.get() {
                true => Ok(0),
                false => Err(ErrorKind::Interrupted.into()),
            }),
            taking,
        );
        let other = thread::spawn(move || ran.set(true));
        server().serve_connection(stream, answer).unwrap();
        other.join().unwrap();

        let stream = scripted(|_| Err(ErrorKind::Interrupted.into()), taking);
        let server = server().timeouts(timeouts(|t| t.idle = SHORT));
        server.serve_connection(stream, answer).unwrap();
    });
}

#[test]
fn a_stream_that_counts_wrong_is_an_error() {
    on_a_shard(|| {
        let too_much = |buf: &mut [u8]| Ok(buf.len() + 1);
        for inputs in [&[] as &[&[u8]], &[b"GET / HT"], &[POST]] {
            let inputs = inputs.iter().copied();
            let stream = scripted(input(inputs, move |_, buf| too_much(buf)), taking);
            let served = panic::catch_unwind(AssertUnwindSafe(|| {
                server().serve_connection(stream, |request: &mut Request| {
                    let error = request.bytes().unwrap_err();
                    assert!(format!("{error:?}").contains("than"), "{error:?}");
                })
            }));
            assert!(served.is_ok());
        }
        let stream = scripted(input([POST, b"hello"], |_, _| Ok(0)), |buf| {
            Ok(buf.len() + 1)
        });
        let error = server().serve_connection(stream, answer).unwrap_err();
        assert!(error.to_string().contains("than"), "{error}");
    });
}

/// The bytes behind such a read may be anywhere, so they are no request.
#[test]
fn a_read_of_a_taken_body_that_unwinds_ends_the_connection() {
    fn check(breaks: fn()) {
        let written = Rc::new(RefCell::new(Vec::new()));
        let theirs = written.clone();
        let stream = scripted_apart(breaks, move |buf| theirs.borrow_mut().write(buf));
        let served = server().serve_connection(stream, |request: &mut Request| {
            let mut body = request.take_body();
            let reader = thread::spawn(move || body.read(&mut [0; 8]).map(drop));
            thread::yield_now();
            reader.cancel();
            assert!(reader.join().is_err());
            request.path().to_owned()
        });
        served.unwrap();
        let written = String::from_utf8(written.take()).unwrap();
        assert_eq!(written.matches("HTTP/1.1 ").count(), 1, "{written}");
        assert!(written.contains("connection: close\r\n"), "{written}");
    }
    on_a_shard(|| {
        check(|| panic!("within a read"));
        check(thread::park);
    });
}

/// A stream whose second read breaks, and may be followed by more.
fn scripted_apart(breaks: fn(), write: impl FnMut(&[u8]) -> io::Result<usize> + 'static) -> Stream {
    struct Breaking<W> {
        reads: Cell<u32>,
        breaks: fn(),
        write: RefCell<W>,
    }
    impl<W> Read for &Breaking<W> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.reads.set(self.reads.get() + 1);
            let mut input: &[u8] = match self.reads.get() {
                1 => POST,
                2 => {
                    (self.breaks)();
                    unreachable!("it breaks")
                }
                3 => b"helloGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
                _ => b"",
            };
            input.read(buf)
        }
    }
    impl<W: FnMut(&[u8]) -> io::Result<usize>> Write for &Breaking<W> {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            (self.write.borrow_mut())(buf)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    Stream::boxed(Breaking {
        reads: Cell::new(0),
        breaks,
        write: write.into(),
    })
}

/// A handler may go on after a write that has failed half way. Nothing may follow that write.
#[test]
fn nothing_is_sent_behind_a_write_that_has_failed() {
    fn handler(request: &mut Request) -> Body {
        if request.path() == "/waits" {
            settle();
            return "answer".into();
        }
        Body::writer(|out| {
            let cut = time::timeout_io(SHORT, || out.write_all(&[b'x'; 100_000]));
            assert_eq!(cut.unwrap_err().kind(), ErrorKind::TimedOut);
            out.write_all(b"behind")
        })
    }
    on_a_shard(|| {
        let (mut client, stream) = duplex(1024);
        let served = thread::spawn(|| server().serve_connection(stream, handler));
        for path in ["/", "/waits"] {
            write!(client, "GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        }
        thread::sleep(2 * SHORT);
        let mut received = String::new();
        client.read_to_string(&mut received).unwrap();
        assert!(received.ends_with("xxx"), "{received}");
        assert!(served.join().unwrap().is_err());
    });
}

#[test]
fn a_panic_of_the_stream_is_the_callers_and_nothing_is_left() {
    on_a_shard(|| {
        settle();
        let before = ethreads::runtime::stats().unwrap();
        for call in 0..4 {
            let stream: Stream = match call {
                0 => scripted(|_| panic!("in read"), taking),
                1 => scripted(input([POST], |_, _| panic!("in read")), taking),
                2 => scripted(input([POST, b"hello"], |_, _| Ok(0)), |_| {
                    panic!("in write")
                }),
                _ => Stream::half_duplex(PanicsOnDrop),
            };
            let served = panic::catch_unwind(AssertUnwindSafe(|| {
                server().serve_connection(stream, |request: &mut Request| {
                    request.bytes().unwrap();
                })
            }));
            // In the handler it is a panic of the handler.
            assert_eq!(served.is_ok(), call == 1, "{call}");
        }
        settle();
        let after = ethreads::runtime::stats().unwrap();
        assert_eq!(
            (after.ethreads, after.sources, after.scopes),
            (before.ethreads, before.sources, before.scopes)
        );
    });
}

struct PanicsOnDrop;

impl Read for PanicsOnDrop {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }
}

impl Write for PanicsOnDrop {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("in drop");
    }
}
