//! Bodies that are read while the response is sent.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;

use ethreads::http::{App, Body, IntoResponse, Request, RequestBody, Response};
use ethreads::net::TcpStream;
use ethreads::thread;

use crate::http::util::{Client, LONG, Site, on_a_shard, settle};
use crate::support::{collect_log, logged};

/// More than is drained from a body that was not read.
const MUCH: usize = 1 << 20;

/// A body that a handler has left to the test.
type Left = Rc<RefCell<Option<RequestBody>>>;

/// A site that leaves the body of each request in the returned place, and answers at once.
fn leaving() -> (Site, Left) {
    let left = Left::default();
    let theirs = left.clone();
    let site = Site::new(move |request: &mut Request| {
        *theirs.borrow_mut() = Some(request.take_body());
        request.path().to_owned()
    });
    (site, left)
}

#[track_caller]
fn is_revoked(left: &Left) {
    let mut body = left.borrow_mut().take().unwrap();
    let error = body.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted, "{error}");
    assert!(format!("{error}").contains("connection failed"), "{error}");
}

fn post(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n")
}

#[test]
fn it_is_read_to_its_end_in_any_framing() {
    on_a_shard(|| {
        let site = Site::new(
            |request: &mut Request| -> ethreads::http::Result<Response> {
                let mut body = request.take_body();
                assert_eq!(request.body().read(&mut [0; 8]).unwrap(), 0);
                assert_eq!(request.take_body().read(&mut [0; 8]).unwrap(), 0);
                let mut text = String::new();
                body.read_to_string(&mut text)?;
                assert_eq!(body.read(&mut [0; 8]).unwrap(), 0);
                let sum = body.trailers().get(&"x-sum".parse().unwrap()).is_some();
                let length = request.content_length();
                Ok(format!("{text} {sum} {length:?}").into_response())
            },
        );
        let mut client = site.connect();
        client.send(post("/", 5) + "hello");
        assert_eq!(client.answer().text(), "hello false Some(5)");
        // In pieces, so that the framing of chunks arrives after the body was taken.
        client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
        for piece in [
            "3",
            "\r\nhel",
            "\r\n2\r\n",
            "lo\r",
            "\n0\r\nx-sum: 1\r\n",
            "\r\n",
        ] {
            settle();
            client.send(piece);
        }
        assert_eq!(client.answer().text(), "hello true None");
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(client.answer().text(), " false Some(0)");
        client.finish();
        client.end();
        site.end();
    });
}

#[test]
fn the_response_begins_before_the_upload_ends() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| Body::reader(request.take_body()));
        let mut client = site.connect();
        client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
        assert_eq!(client.head().status, 200);
        for word in ["one", "two", "three"] {
            client.send(format!("{:x}\r\n{word}\r\n", word.len()));
            client.until(&format!("{:X}\r\n{word}\r\n", word.len()));
        }
        client.send("0\r\n\r\n");
        client.until("0\r\n\r\n");
        // The connection goes on.
        client.send(post("/", 2) + "ok");
        assert_eq!(client.answer().text(), "ok");
        site.end();
    });
}

#[test]
fn an_app_streams_in_both_directions_at_once() {
    on_a_shard(|| {
        let upper = |mut body: RequestBody| {
            Body::writer(move |out| {
                let mut buffer = [0; 100];
                loop {
                    let got = body.read(&mut buffer)?;
                    if got == 0 {
                        return Ok(());
                    }
                    out.write_all(&buffer[..got].to_ascii_uppercase())?;
                    out.flush()?;
                }
            })
        };
        let app = App::new()
            .post("/reader", |request: &mut Request| {
                Body::reader(request.take_body())
            })
            .post("/writer", upper)
            // Through a middleware that does the same with the body of the response.
            .around(|request, next| {
                next.run(request)
                    .map_body(|old| Body::writer(|out| old.write_to(out)))
            });
        let site = Site::new(app);
        for (path, first) in [("/reader", "one"), ("/writer", "ONE")] {
            let mut client = site.connect();
            client.send(format!(
                "POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
            ));
            assert_eq!(client.head().status, 200);
            client.send("3\r\none\r\n");
            assert_eq!(client.chunk(), first.as_bytes());
            // Both directions are full at once: neither side may wait for the other.
            let mut sender = client.stream.try_clone().unwrap();
            let upload = thread::spawn(move || {
                for _ in 0..100 {
                    write!(sender, "{:x}\r\n", 40_000).unwrap();
                    sender.write_all(&[b'x'; 40_000]).unwrap();
                    sender.write_all(b"\r\n").unwrap();
                }
                sender.write_all(b"0\r\n\r\n").unwrap();
            });
            let mut got = 0;
            loop {
                match client.chunk().len() {
                    0 => break,
                    len => got += len,
                }
            }
            assert_eq!(got, 4_000_000, "{path}");
            upload.join().unwrap();
            // The connection goes on.
            client.send(post(path, 2) + "ok");
            assert!(client.answer().text().eq_ignore_ascii_case("ok"));
        }
        site.end();
    });
}

#[test]
fn another_ethread_reads_it_while_the_response_is_sent() {
    on_a_shard(|| {
        let sum = Rc::new(RefCell::new(0));
        let theirs = sum.clone();
        let site = Site::new(move |request: &mut Request| {
            let (mut body, sum) = (request.take_body(), theirs.clone());
            let upload = thread::spawn(move || {
                *sum.borrow_mut() = io::copy(&mut body, &mut io::sink()).unwrap();
            });
            Body::writer(move |out| {
                out.write_all(&vec![b'x'; MUCH])?;
                upload.join().unwrap();
                Ok(())
            })
        });
        let mut client = site.connect();
        client.send(post("/", MUCH));
        assert_eq!(client.head().status, 200);
        // The whole response can be taken although nothing of the body has been sent.
        client.until("x\r\n");
        client.send(vec![b'y'; MUCH]);
        client.until("0\r\n\r\n");
        assert_eq!(*sum.borrow(), MUCH as u64);
        assert_eq!(
            {
                client.send(post("/", 0));
                client.answer().body.len()
            },
            MUCH
        );
        site.end();
    });
}

#[test]
fn what_follows_its_end_is_the_next_request() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| {
            let path = request.path().to_owned();
            let mut text = String::new();
            request.take_body().read_to_string(&mut text).unwrap();
            format!("{path} {text}")
        });
        let mut client = site.connect();
        let chunked = "POST /2 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
                       3\r\ntwo\r\n0\r\n\r\n";
        client.send([&*post("/1", 3), "one", chunked, &*post("/3", 5), "three"].concat());
        for expected in ["/1 one", "/2 two", "/3 three"] {
            assert_eq!(client.answer().text(), expected);
        }
        site.end();
    });
}

#[test]
fn it_ends_with_its_request() {
    on_a_shard(|| {
        let (site, left) = leaving();
        let mut client = site.connect();
        // A short rest is discarded, and the connection goes on.
        client.send(post("/short", 5) + "hello");
        assert_eq!(client.answer().text(), "/short");
        client.send("GET /next HTTP/1.1\r\nhost: a\r\n\r\n");
        // Held by the test, the body was revoked before the next request was read.
        let short = left.borrow_mut().take();
        assert_eq!(client.answer().text(), "/next");
        left.replace(short);
        is_revoked(&left);
        // Behind a long one it ends.
        client.send(post("/long", MUCH));
        assert_eq!(client.answer().text(), "/long");
        client.send(vec![b'x'; MUCH]);
        client.end();
        is_revoked(&left);
        site.end();
    });
}

#[test]
fn a_read_that_waits_fails_when_the_response_is_out() {
    on_a_shard(|| {
        let (failed, error) = (Rc::new(RefCell::new(None)), Rc::default());
        let theirs: Rc<RefCell<Option<io::Error>>> = error;
        let site = {
            let (failed, error) = (failed.clone(), theirs.clone());
            Site::new(move |request: &mut Request| {
                let (mut body, error) = (request.take_body(), error.clone());
                if request.path() == "/" {
                    *failed.borrow_mut() = Some(thread::spawn(move || {
                        *error.borrow_mut() = body.read(&mut [0; 8]).err();
                    }));
                    thread::yield_now();
                }
                request.path().to_owned()
            })
        };
        let mut client = site.connect();
        client.send(post("/", 5));
        assert_eq!(client.answer().text(), "/");
        let reader: thread::JoinHandle<()> = failed.borrow_mut().take().unwrap();
        reader.join().unwrap();
        let error = theirs.borrow_mut().take().unwrap();
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted, "{error}");
        // It has taken nothing of what came later.
        client.send("hello");
        assert_eq!(client.get("/next").text(), "/next");
        site.end();
    });
}

#[test]
fn its_end_is_read_after_the_response_too() {
    on_a_shard(|| {
        let reader = Rc::new(RefCell::new(None));
        let theirs = reader.clone();
        let site = Site::new(move |request: &mut Request| {
            let mut body = request.take_body();
            *theirs.borrow_mut() = Some(thread::spawn(move || {
                let mut whole = [0; 5];
                body.read_exact(&mut whole).unwrap();
                thread::park();
                body.read(&mut whole)
            }));
            settle();
            "accepted"
        });
        let mut client = site.connect();
        client.send(post("/", 5) + "hello");
        assert_eq!(client.answer().text(), "accepted");
        settle();
        let reader: thread::JoinHandle<_> = reader.take().unwrap();
        reader.thread().unpark();
        assert_eq!(reader.join().unwrap().unwrap(), 0);
        site.end();
    });
}

#[test]
fn a_reader_that_is_cancelled_loses_nothing() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| {
            let body = Rc::new(RefCell::new(request.take_body()));
            let theirs = body.clone();
            let reader = thread::spawn(move || {
                let _ = theirs.borrow_mut().read(&mut [0; 8]);
            });
            thread::yield_now();
            reader.cancel();
            assert!(reader.join().is_err());
            let mut text = String::new();
            body.borrow_mut().read_to_string(&mut text).unwrap();
            text
        });
        let mut client = site.connect();
        client.send(post("/", 5));
        settle();
        client.send("hello");
        assert_eq!(client.answer().text(), "hello");
        site.end();
    });
}

#[test]
fn a_100_goes_out_before_the_response_and_never_within_it() {
    on_a_shard(|| {
        const EXPECT: &str =
            "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
        let site = Site::new(|request: &mut Request| Body::reader(request.take_body()));
        let mut client = site.connect();
        client.send(EXPECT);
        assert_eq!(client.head().status, 100);
        assert_eq!(client.head().status, 200);
        client.send("hello");
        client.until("5\r\nhello\r\n0\r\n\r\n");
        site.end();
        // Also while the handler waits, and if the body is dropped unread.
        let site = Site::new(|request: &mut Request| {
            let mut body = request.take_body();
            let mut text = String::new();
            thread::spawn(move || body.read_to_string(&mut text).map(|_| text).unwrap())
                .join()
                .unwrap()
        });
        let mut client = site.connect();
        client.send(EXPECT);
        assert_eq!(client.head().status, 100);
        client.send("hello");
        assert_eq!(client.answer().text(), "hello");
        site.end();
        let site = Site::new(|request: &mut Request| drop(request.take_body()));
        let mut client = site.connect();
        client.send(EXPECT);
        assert_eq!(client.head().status, 100);
        client.send("hello");
        assert_eq!(client.answer().status, 200);
        client.get("/");
        site.end();
    });
}

#[test]
fn a_panic_of_the_handler_ends_it() {
    on_a_shard(|| {
        let left = Left::default();
        let theirs = left.clone();
        let site = Site::new(move |request: &mut Request| -> &str {
            *theirs.borrow_mut() = Some(request.take_body());
            panic!("with the body taken")
        });
        let mut client = site.connect();
        client.send(post("/", 5) + "hello");
        client.last_answer(500);
        is_revoked(&left);
        site.end();
    });
}

#[test]
fn it_does_not_keep_its_connection_open() {
    on_a_shard(|| {
        let (site, left) = leaving();
        let mut client = site.connect();
        client.send(post("/", 5) + "hello");
        assert_eq!(client.answer().text(), "/");
        client.finish();
        client.end();
        assert!(left.borrow().is_some());
        site.end();
        is_revoked(&left);
    });
}

#[test]
fn a_cancel_of_the_connection_ends_it() {
    on_a_shard(|| {
        let left = Left::default();
        let theirs = left.clone();
        let site = Site::new(move |request: &mut Request| {
            *theirs.borrow_mut() = Some(request.take_body());
            thread::sleep(LONG);
        });
        let mut client = site.connect();
        client.send(post("/", 5));
        settle();
        site.handle.drain(std::time::Duration::ZERO);
        site.served.join().unwrap().unwrap();
        client.end();
        is_revoked(&left);
    });
}

#[test]
fn a_body_that_ends_early_is_an_error_of_its_reader() {
    on_a_shard(|| {
        let errors = Rc::new(RefCell::new(Vec::new()));
        let theirs = errors.clone();
        let site = Site::new(move |request: &mut Request| {
            let mut body = request.take_body();
            for _ in 0..2 {
                let error = body.read_to_end(&mut Vec::new()).unwrap_err();
                theirs.borrow_mut().push(error.kind());
            }
        });
        let mut client = site.connect();
        client.send(post("/", 6) + "hello");
        client.finish();
        client.last_answer(200);
        assert_eq!(*errors.borrow(), [ErrorKind::UnexpectedEof; 2]);
        site.end();
    });
}

#[test]
fn an_upgrade_ends_it() {
    on_a_shard(|| {
        let left = Left::default();
        let theirs = left.clone();
        let site = Site::new(move |request: &mut Request| {
            *theirs.borrow_mut() = Some(request.take_body());
            Response::upgrade("echo", |stream| {
                io::copy(&mut &stream, &mut &stream).unwrap();
            })
        });
        let mut client = site.connect();
        client.send(
            "POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\
             content-length: 5\r\n\r\nhellobehind it",
        );
        assert_eq!(client.head().status, 101);
        assert_eq!(client.until("behind it"), "behind it");
        is_revoked(&left);
        client.finish();
        client.end();
        site.end();
    });
}

/// A request may be moved out of its place. Its connection then ends, and answers nothing wrong.
#[test]
fn a_request_that_is_replaced_ends_its_connection() {
    collect_log();
    on_a_shard(|| {
        let kept = Rc::new(RefCell::new(None));
        let theirs = kept.clone();
        let site = Site::new(move |request: &mut Request| {
            let other = Request::builder().build().unwrap();
            *theirs.borrow_mut() = Some(std::mem::replace(request, other));
            "answer"
        });
        let mut client = site.connect();
        let name = format!("http-client {}", client.stream.local_addr().unwrap());
        client.send(post("/first", 5) + "hello" + &post("/second", 0));
        client.end();
        let mut request = kept.borrow_mut().take().unwrap();
        assert_eq!(request.path(), "/first");
        assert!(request.bytes().is_err());
        let mut lines = logged(&name);
        lines.retain(|line| line.contains("its handler has replaced the request"));
        assert_eq!(lines.len(), 1);
        site.end();
    });
}

/// The other request may get the memory of the first one.
#[test]
fn a_request_that_is_replaced_twice_ends_its_connection() {
    collect_log();
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| {
            let build = || Request::builder().target("/built").build().unwrap();
            drop(std::mem::replace(request, build()));
            *request = build();
            let spare = std::mem::replace(request, build());
            drop(std::mem::replace(request, spare));
            request.path().to_owned()
        });
        let mut client = site.connect();
        client.send(post("/first", 5) + "hello" + &post("/second", 0));
        client.end();
        site.end();
    });
}

#[test]
fn a_request_that_is_put_back_is_served() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| {
            let mut other = Request::builder().target("/other").build().unwrap();
            std::mem::swap(request, &mut other);
            std::mem::swap(request, &mut other);
            // Put back, it is served as if nothing had happened.
            request.path().to_owned()
        });
        let mut client: Client = TcpStream::connect(site.addr).unwrap().into();
        assert_eq!(client.get("/1").text(), "/1");
        assert_eq!(client.get("/2").text(), "/2");
        site.end();
    });
}
