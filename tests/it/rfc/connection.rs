//! RFC 9112 section 9 and RFC 9110 section 7.6.1: how long a connection lives, and how it ends.

use std::cell::Cell;
use std::rc::Rc;

use ethreads::http::{Body, IntoResponse, Request, Response, StatusCode};

use crate::http::util::{Client, SHORT, Site, on_a_shard, settle, timeouts};
use crate::rfc::support::{NEXT, NEXT_TOLD, get, head, post, served, served_last, tell};

/// RFC 9112 section 9.3: `close`, the version and `keep-alive` decide, in this order. RFC 9110
/// section 7.6.1: options are a case-insensitive list; section 5.6.1.2: empty elements are skipped.
#[test]
fn persistence_follows_version_and_options() {
    let options = [
        "",
        "connection:",
        "connection: x",
        "connection: keep-alive",
        "b: close",
    ];
    served(options.map(|field| (get(&[field, "b: c"][usize::from(field.is_empty())..]), TOLD)));
    let options = [
        "connection: close",
        "connection:close",
        "Connection: CLOSE",
        "connection: \tclose\t",
        "connection: ,,close",
        "connection: , close ,\t, ",
        "connection: keep-alive, close",
        "connection: close, keep-alive",
        "connection: upgrade,close,x",
        "connection: keep-alive\r\nconnection: close",
        "connection: close\r\nconnection: keep-alive",
    ];
    served_last(options.map(|field| (get(&[field]), TOLD)));
    served(
        [
            "closed",
            "not-close",
            "close-x",
            "x=close",
            "\"close\"",
            "close;q=1",
        ]
        .map(|option| (get(&[&format!("connection: {option}")]), TOLD)),
    );

    let http_1_0 = |fields: &[&str]| head(&[&["GET / HTTP/1.0", "host: a"], fields].concat());
    served_last([
        (http_1_0(&[]), TOLD),
        (http_1_0(&["connection: x"]), TOLD),
        (http_1_0(&["keep-alive: timeout=5"]), TOLD),
        (http_1_0(&["proxy-connection: keep-alive"]), TOLD),
        (http_1_0(&["connection: keep-alive, close"]), TOLD),
    ]);
    served([
        (http_1_0(&["connection: keep-alive"]), TOLD),
        (http_1_0(&["Connection: Keep-Alive"]), TOLD),
        (http_1_0(&["connection: x, keep-alive,"]), TOLD),
    ]);
}

const TOLD: &str = "GET / for a: \"\"";

/// RFC 9112 sections 9.3 and 9.6: a connection persists unless it is closed, and an answer before
/// the close says so.
#[test]
fn each_answer_says_what_becomes_of_the_connection() {
    on_a_shard(|| {
        let site = Site::new(tell);
        let mut client = site.connect();
        client.send(get(&[]));
        assert_eq!(client.answer().header("connection"), None);
        // A connection of HTTP/1.0 ends with the answer unless the answer says otherwise.
        client.send(head(&["GET / HTTP/1.0", "connection: keep-alive"]));
        assert_eq!(client.answer().header("connection"), Some("keep-alive"));
        client.send(get(&["connection: keep-alive"]));
        client.answer();
        client.send(get(&["connection: close"]));
        client.last_answer(200);

        for before in [None, Some("connection: keep-alive")] {
            let mut client = site.connect();
            if let Some(field) = before {
                client.send(head(&["GET / HTTP/1.0", field]));
                client.answer();
            }
            client.send(head(&["GET / HTTP/1.0"]));
            client.last_answer(200);
        }
        site.end();
    });
}

/// RFC 9112 section 9.6: after a `close` from either side no further request is processed.
#[test]
fn nothing_is_processed_after_a_close() {
    on_a_shard(|| {
        let calls = Rc::new(Cell::new(0));
        let counter = calls.clone();
        let site = Site::new(move |request: &mut Request| -> Response {
            counter.set(counter.get() + 1);
            let response = request.path().to_owned().into_response();
            match request.path() {
                "/close" => response.with_header("connection", "close"),
                _ => response,
            }
        });
        let closing = [
            get(&["connection: close"]),
            head(&["GET /close HTTP/1.1", "host: a"]),
            head(&["GET / HTTP/1.0"]),
            // This request is refused before a handler is called.
            head(&["GET / HTTP/1.1"]),
        ];
        for (input, processed) in closing.iter().zip([1, 1, 1, 0]) {
            calls.set(0);
            let mut client = site.connect();
            client.send(input.to_owned() + NEXT + NEXT);
            let answer = client.answer();
            assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
            client.send(NEXT);
            settle();
            client.end();
            client.finish();
            assert_eq!(calls.get(), processed, "{input}");
        }
        site.end();
    });
}

/// RFC 9112 section 9.3: a body that the handler did not read is read by the server, or the
/// connection closed; it is never taken for a request.
#[test]
fn unread_bodies_are_not_taken_for_requests() {
    on_a_shard(|| {
        let site = Site::new(|_: &mut Request| "unread");
        let mut client = site.connect();
        client.send(post(&[&format!("content-length: {}", NEXT.len())], NEXT));
        let chunk = format!("{:x}\r\n{NEXT}\r\n0\r\n\r\n", NEXT.len());
        client.send(post(&["transfer-encoding: chunked"], &chunk));
        client.send(NEXT);
        for _ in 0..3 {
            assert_eq!(client.answer().text(), "unread");
        }
        let large = 10 * 1024 * 1024;
        client.send(post(&[&format!("content-length: {large}")], NEXT));
        client.last_answer(200);
        site.end();
    });
}

/// RFC 9112 section 9.3.2: answers come in the order of the requests.
#[test]
fn answers_come_in_order() {
    on_a_shard(|| {
        let site = Site::new(tell);
        let mut client = site.connect();
        let burst: String = (0..100)
            .map(|n| match n % 3 {
                0 => head(&[&format!("GET /{n} HTTP/1.1"), "host: a"]),
                1 => {
                    head(&[
                        &format!("PUT /{n} HTTP/1.1"),
                        "host: a",
                        "content-length: 1",
                    ]) + "x"
                }
                _ => head(&[&format!("OPTIONS /{n} HTTP/1.0"), "connection: keep-alive"]),
            })
            .collect();
        client.send(burst);
        for n in 0..100 {
            let answer = client.answer();
            let target = answer.text().split(' ').nth(1).map(str::to_owned);
            assert_eq!(target, Some(format!("/{n}")));
        }
        site.end();
    });
}

/// RFC 9112 section 9.5: a server that gives up waiting closes gracefully: what it has is sent, and
/// the stream ends without a reset.
#[test]
fn a_time_out_is_a_graceful_close() {
    on_a_shard(|| {
        let site = Site::with(
            |server| server.timeouts(timeouts(|timeouts| timeouts.idle = SHORT)),
            tell,
        );
        let mut fresh = site.connect();
        let mut used = Client::with_input(site.addr, NEXT);
        assert_eq!(used.answer().text(), NEXT_TOLD);
        fresh.end();
        used.end();
        site.end();
    });
    on_a_shard(|| {
        let site = Site::with(
            |server| server.timeouts(timeouts(|timeouts| timeouts.head = SHORT)),
            tell,
        );
        let mut client = site.connect();
        client.send(NEXT.to_owned() + "GET / HTTP/1.1\r\n");
        assert_eq!(client.answer().text(), NEXT_TOLD);
        client.last_answer(408);
        site.end();
    });
}

/// RFC 9112 section 9.5: the end of the peer's stream is noticed while a connection is idle.
#[test]
fn the_end_of_an_idle_connection_is_answered_with_the_end() {
    on_a_shard(|| {
        let site = Site::new(tell);
        let mut client = site.connect();
        client.finish();
        client.end();
        let mut client = site.connect();
        client.send(NEXT);
        client.answer();
        client.finish();
        client.end();
        site.end();
    });
}

/// RFC 9112 section 9.6: a peer that has closed its side only still gets its answers.
#[test]
fn a_half_closed_connection_is_answered() {
    on_a_shard(|| {
        let site = Site::new(tell);
        // The server accepts the connection before or after the whole input has come.
        for accepted in [false, true] {
            let mut client = site.connect();
            if accepted {
                settle();
            }
            client.send(NEXT.to_owned() + &post(&["content-length: 2"], "ab"));
            client.finish();
            assert_eq!(client.answer().text(), NEXT_TOLD);
            assert_eq!(client.answer().text(), "POST / for a: \"ab\"");
            client.end();
        }
        site.end();
    });
}

/// RFC 9112 section 9.6: a connection closes in stages, so that data which the peer still sends
/// does not destroy the answer by a reset.
#[test]
fn the_last_answer_is_not_lost_to_a_reset() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| -> Response {
            let response = match request.path() {
                "/large" => Body::from("x".repeat(100_000)).into_response(),
                _ => StatusCode::NO_CONTENT.into_response(),
            };
            response.with_header("connection", "close")
        });
        for (path, length) in [("/large", 100_000), ("/", 0)] {
            let request = head(&[&format!("GET {path} HTTP/1.1"), "host: a"]);
            let mut client = site.connect();
            client.send(request);
            settle();
            for _ in 0..50 {
                client.send([b'x'; 1024]);
                settle();
            }
            let answer = client.answer();
            assert_eq!(answer.body.len(), length);
            client.end();
            client.finish();
        }
        site.end();
    });
}
