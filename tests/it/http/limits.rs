//! What a peer may send, and how long it may take.

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::rc::Rc;

use ethreads::http::{Body, Error, Limits, Request, Result, Server, Timeouts};
use ethreads::thread;

use crate::http::util::{LONG, SHORT, Site, on_a_shard, timeouts};

fn limits(change: impl FnOnce(&mut Limits)) -> impl FnOnce(Server) -> Server {
    let mut limits = Limits::default();
    change(&mut limits);
    move |server| server.limits(limits).timeouts(timeouts(|_| ()))
}

fn times(change: impl FnOnce(&mut Timeouts)) -> impl FnOnce(Server) -> Server {
    let timeouts = timeouts(change);
    move |server| server.timeouts(timeouts)
}

fn echo(request: &mut Request) -> Result<Vec<u8>> {
    Ok(request.bytes()?)
}

#[test]
fn a_long_target_is_answered_with_414() {
    on_a_shard(|| {
        let site = Site::new(echo);
        let mut client = site.connect();
        client.send(format!(
            "GET /{} HTTP/1.1\r\nhost: a\r\n\r\n",
            "x".repeat(10_000)
        ));
        client.last_answer(414);
        // A target that is within the limit is accepted.
        let answer = site.connect().get(&format!("/{}", "x".repeat(8000)));
        assert_eq!(answer.status, 200);
        site.end();
    });
}

#[test]
fn a_large_head_is_answered_with_431() {
    on_a_shard(|| {
        let site = Site::new(echo);
        let large = format!(
            "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
            "x".repeat(20_000)
        );
        let many = format!(
            "GET / HTTP/1.1\r\nhost: a\r\n{}\r\n",
            "x: y\r\n".repeat(100)
        );
        for head in [large, many] {
            let mut client = site.connect();
            client.send(head);
            client.last_answer(431);
        }
        site.end();
    });
}

#[test]
fn a_head_may_be_as_large_as_the_limit() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| {
            let field = request.header("x").map_or(0, str::len);
            let body = request.text().unwrap();
            format!("{field} {body}")
        });
        // Heads of every size around that of the read buffer, with a chunked body behind: the
        // buffer has to grow for the head, for the framing, or for neither.
        let mut client = site.connect();
        for size in (8000..8300).chain([16_000]) {
            let x = "x".repeat(size);
            client.send(format!(
                "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nx: {x}\r\n\r\n"
            ));
            client.send("4\r\nbody\r\n0\r\n\r\n");
            assert_eq!(client.answer().text(), format!("{size} body"));
        }
        site.end();
    });
}

#[test]
fn a_body_that_is_too_large_to_collect_is_answered_with_413() {
    on_a_shard(|| {
        let site = Site::with(limits(|l| l.body_bytes = 10), echo);
        let chunked = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        let mut client = site.connect();

        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n0123456789");
        assert_eq!(client.answer().text(), "0123456789");
        client.send(format!("{chunked}5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n"));
        assert_eq!(client.answer().text(), "0123456789");

        // The body is small enough to be discarded, so the connection stays open.
        client.send(format!("{chunked}5\r\n01234\r\n6\r\n56789a\r\n0\r\n\r\n"));
        assert_eq!(client.answer().status, 413);
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\n0123456789a");
        assert_eq!(client.answer().status, 413);
        assert_eq!(client.get("/").status, 200);

        // This body is too large to be discarded, and has not even begun.
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000000\r\n\r\n");
        client.last_answer(413);
        site.end();
    });
}

#[test]
fn a_length_is_a_promise_and_costs_nothing() {
    on_a_shard(|| {
        let site = Site::with(limits(|l| l.body_bytes = u64::MAX), echo);
        let mut client = site.connect();
        client.send(format!(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\nx",
            u64::MAX
        ));
        client.finish();
        client.last_answer(400);
        site.end();
    });
}

#[test]
fn a_head_that_takes_too_long_is_answered_with_408() {
    on_a_shard(|| {
        let site = Site::with(times(|t| t.head = SHORT), echo);
        let mut client = site.connect();
        client.send("GET / HTTP/1.1\r\n");
        client.last_answer(408);
        site.end();
    });
}

#[test]
fn single_bytes_do_not_prolong_the_time_for_a_head() {
    on_a_shard(|| {
        let site = Site::with(times(|t| t.head = SHORT), echo);
        let mut client = site.connect();
        client.send("GET / HTTP/1.1\r\nx: ");
        let mut stream = client.stream.try_clone().unwrap();
        let dripping = thread::spawn(move || {
            while stream.write_all(b"x").is_ok() {
                thread::sleep(SHORT / 10);
            }
        });
        client.last_answer(408);
        // The ethread may have ended by itself: the server closes after lingering for a while.
        dripping.cancel();
        let _ = dripping.join();
        client.finish();
        site.end();
    });
}

#[test]
fn a_body_that_stops_is_answered_with_408() {
    on_a_shard(|| {
        let site = Site::with(times(|t| t.body = SHORT), echo);
        for head in [
            "content-length: 5\r\n\r\nab",
            "transfer-encoding: chunked\r\n\r\n5\r\nab",
        ] {
            let mut client = site.connect();
            client.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{head}"));
            client.last_answer(408);
        }
        site.end();
    });
}

#[test]
fn single_bytes_do_not_prolong_the_time_for_a_body() {
    on_a_shard(|| {
        let slow = |t: &mut Timeouts| (t.body_grace, t.body_rate) = (SHORT, 1_000_000);
        let site = Site::with(times(slow), echo);
        for (head, piece) in [
            ("content-length: 1000000", "x"),
            ("transfer-encoding: chunked", "1\r\nx\r\n"),
        ] {
            let mut client = site.connect();
            client.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{head}\r\n\r\n"));
            let mut stream = client.stream.try_clone().unwrap();
            let dripping = thread::spawn(move || {
                while stream.write_all(piece.as_bytes()).is_ok() {
                    thread::sleep(SHORT / 10);
                }
            });
            client.last_answer(408);
            dripping.cancel();
            let _ = dripping.join();
        }
        site.end();
    });
}

#[test]
fn bytes_earn_time_for_a_body() {
    on_a_shard(|| {
        let site = Site::with(times(|t| (t.body_grace, t.body_rate) = (SHORT, 1)), echo);
        let mut client = site.connect();
        // 60 bytes at one byte a second are a minute.
        let begin = "x".repeat(60);
        client.send(format!(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 63\r\n\r\n{begin}"
        ));
        for _ in 0..3 {
            thread::sleep(2 * SHORT);
            client.send("x");
        }
        assert_eq!(client.answer().body.len(), 63);
        site.end();
    });
}

#[test]
fn a_handler_that_takes_its_time_is_not_the_peers_fault() {
    on_a_shard(|| {
        let slow = |t: &mut Timeouts| (t.body_grace, t.body_rate) = (SHORT, 1_000_000);
        let site = Site::with(times(slow), |request: &mut Request| -> Result<String> {
            request.body().read_exact(&mut [0])?;
            // By then the rest of the body has arrived, and is waiting.
            thread::sleep(3 * SHORT);
            Ok(request.bytes()?.len().to_string())
        });
        let mut client = site.connect();
        let body = "x".repeat(20_000);
        client.send(format!(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 20000\r\n\r\n{body}"
        ));
        assert_eq!(client.answer().text(), "19999");
        site.end();
    });
}

#[test]
fn no_rate_need_be_asked_for() {
    on_a_shard(|| {
        let site = Site::with(times(|t| (t.body_grace, t.body_rate) = (SHORT, 0)), echo);
        let mut client = site.connect();
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n");
        for _ in 0..2 {
            thread::sleep(2 * SHORT);
            client.send("x");
        }
        assert_eq!(client.answer().text(), "xx");
        site.end();
    });
}

#[test]
fn a_handler_sees_whose_fault_it_was() {
    on_a_shard(|| {
        let errors = Rc::new(RefCell::new(Vec::new()));
        let seen = errors.clone();
        let site = Site::with(times(|t| t.body = SHORT), move |request: &mut Request| {
            let error = request.body().read_to_end(&mut Vec::new()).unwrap_err();
            let kind = error.kind();
            let error = Error::from(error);
            seen.borrow_mut()
                .push((kind, error.is_peer(), error.is_timeout()));
            "told"
        });
        let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nab";
        let mut client = site.connect();
        client.send(head);
        assert_eq!(client.last_answer(200).text(), "told");
        assert!(site.exchange(head).ends_with("told"));
        site.end();
        let expected = [
            (ErrorKind::TimedOut, false, true),
            (ErrorKind::UnexpectedEof, true, false),
        ];
        assert_eq!(*errors.borrow(), expected);
    });
}

/// A body without an end. Its writer goes on until it gets an error, reports that error and returns
/// `outcome` of it.
fn endless(
    outcome: fn(std::io::Error) -> std::io::Result<()>,
) -> (
    impl Fn(&mut Request) -> Body,
    Rc<RefCell<Option<ErrorKind>>>,
) {
    let met = Rc::new(RefCell::new(None));
    let report = met.clone();
    let main = Rc::new(thread::current());
    let handler = move |_: &mut Request| {
        let (report, main) = (report.clone(), main.clone());
        Body::writer(move |out| {
            loop {
                if let Err(error) = out.write_all(&[b'x'; 10_000]) {
                    *report.borrow_mut() = Some(error.kind());
                    main.unpark();
                    return outcome(error);
                }
            }
        })
    };
    (handler, met)
}

#[test]
fn a_peer_that_does_not_read_is_cut_off() {
    on_a_shard(|| {
        let (handler, met) = endless(Err);
        let site = Site::with(times(|t| t.write = SHORT), handler);
        let mut client = site.connect();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        while met.borrow().is_none() {
            thread::park_timeout(LONG);
        }
        assert_eq!(met.take(), Some(ErrorKind::TimedOut));
        site.end();
        // The server does not keep sent data that the peer has not taken.
        let mut received = Vec::new();
        let end = client.stream.read_to_end(&mut received);
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert!(received.starts_with(b"HTTP/1.1 200 OK\r\n"));
        assert!(!received.ends_with(b"\r\n0\r\n\r\n"));
    });
}

#[test]
fn nothing_is_sent_after_a_write_that_failed() {
    on_a_shard(|| {
        // The writer hides the error while a second request is waiting.
        let (handler, met) = endless(|_| Ok(()));
        let site = Site::with(
            times(|t| t.write = SHORT),
            move |request: &mut Request| match request.path() {
                "/first" => handler(request),
                _ => Body::from("second"),
            },
        );
        let mut client = site.connect();
        client.send("GET /first HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n");
        while met.borrow().is_none() {
            thread::park_timeout(LONG);
        }
        site.handle.drain(LONG);
        let mut received = Vec::new();
        let _ = client.stream.read_to_end(&mut received);
        assert!(!String::from_utf8(received).unwrap().contains("second"));
        site.served.join().unwrap().unwrap();
    });
}
