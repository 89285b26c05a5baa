//! Several requests sent before the first answer.

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ethreads::http::{Body, IntoResponse, Request, Response, Server};
use ethreads::io::duplex;
use ethreads::thread;

use crate::http::util::{Site, on_a_shard, settle};

fn get(path: impl std::fmt::Display) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")
}

#[test]
fn answers_come_in_the_order_of_the_requests() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| request.path().to_owned());
        let mut client = site.connect();
        // More than fits into a read buffer, so that heads are cut at its end.
        let burst: String = (0..2000).map(|n| get(format_args!("/{n}"))).collect();
        let mut stream = client.stream.try_clone().unwrap();
        let sender = thread::spawn(move || stream.write_all(burst.as_bytes()));
        for n in 0..2000 {
            assert_eq!(client.answer().text(), format!("/{n}"));
        }
        sender.join().unwrap().unwrap();
        site.end();
    });
}

#[test]
fn large_and_small_answers_keep_their_order() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| {
            let size: usize = request.path()[1..].parse().unwrap();
            vec![b'x'; size]
        });
        let sizes = [1, 100_000, 0, 16_000, 16_384, 16_385, 300, 1_000_000, 2];
        let mut client = site.connect();
        client.send(
            sizes
                .iter()
                .map(|size| get(format_args!("/{size}")))
                .collect::<String>(),
        );
        for size in sizes {
            assert_eq!(client.answer().body.len(), size);
        }
        site.end();
    });
}

#[test]
fn bodies_and_streams_in_a_burst() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| -> Response {
            let body = request.text().unwrap();
            match request.path() {
                "/stream" => Body::reader(io::Cursor::new(body)).into_response(),
                "/none" => http::StatusCode::NO_CONTENT.into_response(),
                _ => body.into_response(),
            }
        });
        let post = |path, body: &str| {
            let len = body.len();
            format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {len}\r\n\r\n{body}")
        };
        let mut client = site.connect();
        client.send(
            post("/stream", "one") + &post("/", "two") + &post("/none", "x") + &post("/stream", ""),
        );
        assert_eq!(client.answer().text(), "one");
        assert_eq!(client.answer().text(), "two");
        assert_eq!(client.answer().status, 204);
        assert_eq!(client.answer().text(), "");
        assert_eq!(client.get("/").text(), "");
        site.end();
    });
}

#[test]
fn a_request_that_wants_the_end_is_the_last_one() {
    on_a_shard(|| {
        let paths = Rc::new(RefCell::new(Vec::new()));
        let seen = paths.clone();
        let site = Site::new(move |request: &mut Request| {
            seen.borrow_mut().push(request.path().to_owned());
            "ok"
        });
        let mut client = site.connect();
        client.send(
            get("/1") + "GET /2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n" + &get("/3"),
        );
        assert_eq!(client.answer().header("connection"), None);
        client.last_answer(200);
        site.end();
        assert_eq!(*paths.borrow(), ["/1", "/2"]);
    });
}

#[test]
fn a_slow_handler_does_not_hold_up_the_answers_before_it() {
    on_a_shard(|| {
        let waiting = Rc::new(RefCell::new(None));
        let handler_waits = waiting.clone();
        let site = Site::new(move |request: &mut Request| {
            if request.path() == "/slow" {
                *handler_waits.borrow_mut() = Some(thread::current());
                thread::park();
            }
            request.path().to_owned()
        });
        let mut client = site.connect();
        client.send(get("/1") + &get("/2") + &get("/slow") + &get("/3"));
        // These answers arrive while the third handler waits.
        assert_eq!(client.answer().text(), "/1");
        assert_eq!(client.answer().text(), "/2");
        settle();
        waiting.take().expect("the handler waits").unpark();
        assert_eq!(client.answer().text(), "/slow");
        assert_eq!(client.answer().text(), "/3");
        site.end();
    });
}

#[test]
fn handlers_that_wait_now_and_then_do_not_mix_up_the_answers() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| -> Response {
            let n: usize = request.path()[1..].parse().unwrap();
            for _ in 0..n % 4 {
                thread::yield_now();
            }
            let body = request.text().unwrap();
            let text = format!("{n} {body}");
            match n % 3 {
                0 => text.into_response(),
                1 => Body::writer(move |out| {
                    for byte in text.bytes() {
                        out.write_all(&[byte])?;
                        if byte % 2 == 0 {
                            thread::yield_now();
                        }
                    }
                    out.write_all(&vec![b'.'; n % 7 * 5000])
                })
                .into_response(),
                _ => Body::reader(io::Cursor::new(text)).into_response(),
            }
        });
        let post = |n: usize| {
            let body = "x".repeat(n % 5 * 100);
            let len = body.len();
            format!("POST /{n} HTTP/1.1\r\nhost: a\r\ncontent-length: {len}\r\n\r\n{body}")
        };
        let clients: Vec<_> = (0..5)
            .map(|_| {
                let mut client = site.connect();
                let mut stream = client.stream.try_clone().unwrap();
                let burst: String = (0..200).map(post).collect();
                let sender = thread::spawn(move || stream.write_all(burst.as_bytes()));
                thread::spawn(move || {
                    for n in 0..200_usize {
                        let answer = client.answer();
                        let expected = format!("{n} {}", "x".repeat(n % 5 * 100));
                        assert_eq!(answer.text().trim_end_matches('.'), expected);
                    }
                    sender.join().unwrap().unwrap();
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        site.end();
    });
}

#[test]
fn a_peer_that_reads_late_gets_all_of_it_in_order() {
    const ROUNDS: usize = 1000;
    on_a_shard(|| {
        // Every other handler waits, so the answers before it go out early, as far as there is
        // room: 16 MB are more than the kernel buffers.
        let site = Site::new(|request: &mut Request| {
            let path = request.path().to_owned();
            if path.starts_with("/wait") {
                thread::yield_now();
                return path;
            }
            format!("{path}{}", "x".repeat(16_000))
        });
        let mut client = site.connect();
        let mut stream = client.stream.try_clone().unwrap();
        let burst: String = (0..ROUNDS)
            .map(|n| get(format_args!("/{n}")) + &get(format_args!("/wait{n}")))
            .collect();
        let sender = thread::spawn(move || stream.write_all(burst.as_bytes()));
        for _ in 0..50 {
            settle();
        }
        for n in 0..ROUNDS {
            let path = format!("/{n}");
            let answer = client.answer();
            assert_eq!(
                answer.text().strip_prefix(&path),
                Some(&*"x".repeat(16_000))
            );
            assert_eq!(client.answer().text(), format!("/wait{n}"));
        }
        sender.join().unwrap().unwrap();
        site.end();
    });
}

/// How often the value was passed on to a child ethread.
static PASSED_ON: AtomicUsize = AtomicUsize::new(0);

static IDENTITY: thread::Local<Cell<u32>> = thread::Local::inherited(
    || Cell::new(0),
    |value| {
        PASSED_ON.fetch_add(1, Ordering::Relaxed);
        value.clone()
    },
);

#[test]
fn the_ethread_that_sends_early_inherits_nothing_of_a_request() {
    on_a_shard(|| {
        let site = Site::new(|_: &mut Request| {
            IDENTITY.with(|value| value.set(1));
            "x"
        });
        let mut client = site.connect();
        client.send(get("/").repeat(3));
        for _ in 0..3 {
            assert_eq!(client.answer().text(), "x");
        }
        assert_eq!(PASSED_ON.load(Ordering::Relaxed), 0);
        // A child ethread that a handler spawns would inherit the value.
        IDENTITY.with(|value| value.set(2));
        let child = thread::spawn(|| IDENTITY.with(Cell::get));
        assert_eq!(child.join().unwrap(), 2);
        assert_eq!(PASSED_ON.load(Ordering::Relaxed), 1);
        site.end();
    });
}

/// Wherever the reader of the body stops, and in whatever pieces the body has come.
#[test]
fn the_next_request_is_found_behind_any_rest_of_a_taken_body() {
    fn check(field: &str, body: &str, (capacity, at, stop): (usize, usize, usize), apart: bool) {
        let (client, stream) = duplex(capacity);
        let served = thread::spawn(move || {
            Server::without_listener().serve_connection(stream, move |request: &mut Request| {
                let mut body = request.take_body();
                let mut read = move || body.read_exact(&mut vec![0; stop]);
                match apart {
                    // It may still wait when the response is sent.
                    true => drop(thread::spawn(read)),
                    false => drop(read()),
                }
                (0..stop).for_each(|_| thread::yield_now());
                request.path().to_owned()
            })
        });
        let post = format!("POST /1 HTTP/1.1\r\nhost: a\r\n{field}\r\n\r\n");
        let get = "GET /2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let (early, late) = (post + &body[..at], body[at..].to_owned() + get);
        let client = Rc::new(client);
        let theirs = client.clone();
        let writes = thread::spawn(move || {
            (&*theirs).write_all(early.as_bytes()).unwrap();
            (0..20).for_each(|_| thread::yield_now());
            (&*theirs).write_all(late.as_bytes()).unwrap();
        });
        let mut answers = String::new();
        (&*client).read_to_string(&mut answers).unwrap();
        writes.join().unwrap();
        served.join().unwrap().unwrap();
        let case = format!("{field}, {capacity}, {at}, {stop}, {apart}: {answers}");
        assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{case}");
        assert!(answers.contains("\r\n\r\n/1HTTP/1.1 "), "{case}");
        assert!(answers.ends_with("\r\n\r\n/2"), "{case}");
    }
    on_a_shard(|| {
        let chunked = "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nt: GET / HTTP/1.1\r\n\r\n";
        for (field, body) in [
            ("content-length: 5", "abcde"),
            ("transfer-encoding: chunked", chunked),
        ] {
            for capacity in [1, 5, 4096] {
                for (at, stop) in (0..=body.len()).flat_map(|at| (0..=6).map(move |n| (at, n))) {
                    check(field, body, (capacity, at, stop), false);
                    check(field, body, (capacity, at, stop), true);
                }
            }
        }
    });
}
