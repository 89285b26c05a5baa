//! Response bodies that are made while they are sent.

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ethreads::http::{Body, IntoResponse, Request, Response};
use ethreads::{net::UnixStream, thread};
use http::StatusCode;

use crate::http::util::{Site, on_a_shard, settle};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

#[test]
fn what_is_flushed_is_seen_before_the_end() {
    on_a_shard(|| {
        let writer = Rc::new(RefCell::new(None));
        let announce = writer.clone();
        let site = Site::new(move |_: &mut Request| {
            *announce.borrow_mut() = Some(thread::current());
            Body::writer(|out| {
                for n in 0..3 {
                    writeln!(out, "line {n}")?;
                    out.flush()?;
                    // The writer goes on only when the client has seen the line.
                    thread::park();
                }
                Ok(())
            })
        });
        let mut client = site.connect();
        client.send(GET);
        assert_eq!(client.head().header("transfer-encoding"), Some("chunked"));
        for n in 0..3 {
            assert_eq!(client.until("\r\n"), "7\r\n");
            assert_eq!(client.until("\r\n"), format!("line {n}\n\r\n"));
            writer
                .borrow()
                .as_ref()
                .expect("the handler has run")
                .unpark();
        }
        assert_eq!(client.until("\r\n\r\n"), "0\r\n\r\n");
        site.end();
    });
}

#[test]
fn small_writes_become_one_chunk() {
    on_a_shard(|| {
        let site = Site::new(|_: &mut Request| {
            Body::writer(|out| (0..100).try_for_each(|n| write!(out, "{n},")))
        });
        let mut client = site.connect();
        client.send(GET);
        client.head();
        let text: String = (0..100).map(|n| format!("{n},")).collect();
        assert_eq!(
            client.until("0\r\n\r\n"),
            format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len())
        );
        assert_eq!(client.get("/").text(), text);
        site.end();
    });
}

#[test]
fn bodies_of_all_sizes_arrive_whole() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| {
            let (kind, size) = request.path()[1..].split_once('/').unwrap();
            let size: u64 = size.parse().unwrap();
            let bytes = move || io::repeat(b'x').take(size);
            match kind {
                "reader" => Body::reader(bytes()),
                "sized-reader" => Body::sized_reader(bytes(), size),
                "writer" => Body::writer(move |out| io::copy(&mut bytes(), out).map(drop)),
                "sized-writer" => {
                    Body::sized_writer(size, move |out| out.write_all(&vec![b'x'; size as usize]))
                }
                _ => panic!("{kind}"),
            }
        });
        let mut client = site.connect();
        for kind in ["reader", "sized-reader", "writer", "sized-writer"] {
            for size in [0, 1, 8191, 8192, 16_384, 16_385, 100_000, 3_000_000] {
                let answer = client.get(&format!("/{kind}/{size}"));
                assert_eq!(answer.body.len(), size, "{kind}");
                assert_eq!(
                    answer.header("content-length").is_some(),
                    kind.starts_with("sized")
                );
            }
        }
        site.end();
    });
}

#[test]
fn http_1_0_gets_it_until_the_end_of_the_stream() {
    on_a_shard(|| {
        let site = Site::new(|_: &mut Request| {
            Body::writer(|out| {
                out.write_all(b"one ")?;
                out.flush()?;
                out.write_all(b"two")
            })
        });
        let mut client = site.connect();
        // Only the end of the connection shows where the body ends, so the connection cannot stay
        // open.
        client.send("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
        let answer = client.last_answer(200);
        assert_eq!(answer.text(), "one two");
        assert_eq!(answer.header("transfer-encoding"), None);
        site.end();
    });
}

/// Checks a response whose stream does not deliver what it announces.
#[track_caller]
fn check_broken(response: fn() -> Response, expected: &'static str) {
    on_a_shard(move || {
        let site = Site::new(move |request: &mut Request| match request.path() {
            "/broken" => response(),
            path => path.to_owned().into_response(),
        });
        let mut client = site.connect();
        // The answer before the broken one arrives whole; the answer after it does not arrive.
        client.send(
            "GET /before HTTP/1.1\r\nhost: a\r\n\r\nGET /broken HTTP/1.1\r\nhost: a\r\n\r\n\
             GET /after HTTP/1.1\r\nhost: a\r\n\r\n",
        );
        assert_eq!(client.answer().text(), "/before");
        client.head();
        assert_eq!(client.rest(), expected);
        client.finish();
        assert_eq!(site.connect().get("/alive").text(), "/alive");
        site.end();
    });
}

#[test]
fn a_body_that_is_too_short_ends_the_connection() {
    check_broken(
        || Body::sized_writer(5, |out| out.write_all(b"abc")).into_response(),
        "abc",
    );
    check_broken(|| Body::sized_reader(&b"abc"[..], 5).into_response(), "abc");
    check_broken(
        || {
            Body::reader(&b"abc"[..])
                .into_response()
                .with_header("content-length", "5")
        },
        "abc",
    );
}

#[test]
fn a_body_that_is_too_long_ends_the_connection() {
    check_broken(
        || {
            Body::sized_writer(3, |out| {
                out.write_all(b"ab")?;
                out.flush()?;
                out.write_all(b"cd")
            })
            .into_response()
        },
        "ab",
    );
}

#[test]
fn a_stream_that_fails_breaks_off_before_the_last_chunk() {
    check_broken(
        || {
            Body::writer(|out| {
                out.write_all(b"abc")?;
                out.flush()?;
                Err(io::Error::other("on purpose"))
            })
            .into_response()
        },
        "3\r\nabc\r\n",
    );
    check_broken(
        || Body::reader((&b"abc"[..]).chain(Failing)).into_response(),
        "3\r\nabc\r\n",
    );
}

struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("on purpose"))
    }
}

#[test]
fn a_writer_that_panics_breaks_off_before_the_last_chunk() {
    check_broken(
        || {
            Body::writer(|out| {
                out.write_all(b"abc")?;
                out.flush()?;
                panic!("on purpose")
            })
            .into_response()
        },
        "3\r\nabc\r\n",
    );
}

#[test]
fn a_sized_reader_is_read_as_far_as_its_size() {
    on_a_shard(|| {
        let site = Site::new(|_: &mut Request| Body::sized_reader(io::repeat(b'x'), 20_000));
        let mut client = site.connect();
        for _ in 0..2 {
            assert_eq!(client.get("/").body.len(), 20_000);
        }
        site.end();
    });
}

#[test]
fn a_wrong_content_length_is_corrected() {
    on_a_shard(|| {
        let site =
            Site::new(|_: &mut Request| "abc".into_response().with_header("content-length", "7"));
        let mut client = site.connect();
        for _ in 0..2 {
            let answer = client.get("/");
            assert_eq!(answer.text(), "abc");
            assert_eq!(answer.header("content-length"), Some("3"));
        }
        site.end();
    });
}

#[test]
fn what_a_reader_gives_is_seen_before_the_end() {
    on_a_shard(|| {
        let (source, mut sink) = UnixStream::pair().unwrap();
        let source = Cell::new(Some(source));
        let site = Site::new(move |_: &mut Request| Body::reader(source.take().unwrap()));
        let mut client = site.connect();
        client.send(GET);
        // The source waits at the beginning, and after each piece.
        assert_eq!(client.head().status, 200);
        for piece in ["one", "two!"] {
            sink.write_all(piece.as_bytes()).unwrap();
            let chunk = format!("{}\r\n{piece}\r\n", piece.len());
            assert_eq!(client.until(&chunk), chunk);
        }
        drop(sink);
        assert_eq!(client.until("0\r\n\r\n"), "0\r\n\r\n");
        site.end();
    });
}

#[test]
fn the_head_is_seen_before_a_writer_begins() {
    on_a_shard(|| {
        let (gate, mut key) = UnixStream::pair().unwrap();
        let gate = Cell::new(Some(gate));
        let site = Site::new(move |_: &mut Request| {
            let mut gate = gate.take().unwrap();
            Body::writer(move |out| {
                gate.read_exact(&mut [0])?;
                out.write_all(b"through")
            })
        });
        let mut client = site.connect();
        client.send(GET);
        assert_eq!(client.head().status, 200);
        key.write_all(b"!").unwrap();
        assert_eq!(client.until("0\r\n\r\n"), "7\r\nthrough\r\n0\r\n\r\n");
        site.end();
    });
}

#[test]
fn a_reader_may_wait() {
    on_a_shard(|| {
        let (source, mut sink) = UnixStream::pair().unwrap();
        let source = Cell::new(Some(source));
        let site = Site::new(move |_: &mut Request| match source.take() {
            Some(source) => Body::reader(source).into_response(),
            None => StatusCode::GONE.into_response(),
        });
        let mut client = site.connect();
        client.send(GET);
        let feeder = thread::spawn(move || {
            for _ in 0..100 {
                sink.write_all(&[b'x'; 1000]).unwrap();
                thread::yield_now();
            }
        });
        assert_eq!(client.answer().body.len(), 100_000);
        feeder.join().unwrap();
        assert_eq!(client.get("/").status, 410);
        site.end();
    });
}

/// How much of a write went out is unknown once a cancel has ended the write.
#[test]
fn a_write_that_was_cut_is_not_begun_anew() {
    on_a_shard(|| {
        let site = Site::new(|_: &mut Request| {
            Body::sized_writer(64 << 20, |out| {
                let mut numbers = 0_u32..;
                loop {
                    let piece = numbers.by_ref().take(5000).flat_map(u32::to_be_bytes);
                    let piece: Vec<u8> = piece.collect();
                    let write = AssertUnwindSafe(|| out.write_all(&piece));
                    // Code that knows nothing of ethreads may do this.
                    catch_unwind(write).unwrap_or(Ok(()))?;
                }
            })
        });
        let mut client = site.connect();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        client.head();
        settle();
        site.handle.drain(Duration::ZERO);
        let received = client.rest_bytes();
        let mut expected = (0_u32..).flat_map(u32::to_be_bytes);
        assert!(received.iter().all(|&byte| Some(byte) == expected.next()));
        site.served.join().unwrap().unwrap();
    });
}

#[test]
fn a_large_answer_lets_a_small_one_pass() {
    on_a_shard(|| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let seen = order.clone();
        let site = Site::with(
            |server| {
                server.on_response(move |exchange| {
                    let path = exchange.target().unwrap_or_default().to_owned();
                    seen.lock().unwrap().push(path);
                })
            },
            // The kernel takes this answer while the peer reads none of it.
            |request: &mut Request| match request.path() {
                "/large" => Body::from(vec![b'x'; 1 << 20]),
                _ => Body::from("small"),
            },
        );
        let (mut one, mut other) = (site.connect(), site.connect());
        one.get("/first");
        other.get("/first");
        one.send("GET /large HTTP/1.1\r\nhost: a\r\n\r\n");
        other.send("GET /small HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(other.answer().text(), "small");
        assert_eq!(one.answer().text().len(), 1 << 20);
        assert_eq!(order.lock().unwrap()[2..], ["/small", "/large"]);
        site.end();
    });
}
