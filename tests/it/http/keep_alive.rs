//! Whether a connection stays open, and how it ends.

use std::cell::Cell;
use std::io::Write;
use std::rc::Rc;

use ethreads::http::{Body, IntoResponse, Request, Response};
use http::StatusCode;

use crate::http::util::{Client, SHORT, Site, on_a_shard, settle, timeouts};

fn path(request: &mut Request) -> String {
    request.path().to_owned()
}

#[test]
fn a_connection_serves_one_request_after_the_other() {
    on_a_shard(|| {
        let site = Site::new(path);
        let mut client = site.connect();
        for n in 0..300 {
            let answer = client.get(&format!("/{n}"));
            assert_eq!((answer.status, answer.text()), (200, &*format!("/{n}")));
            assert_eq!(answer.header("connection"), None);
        }
        client.finish();
        client.end();
        site.end();
    });
}

#[test]
fn http_1_0_ends_unless_it_asks_otherwise() {
    on_a_shard(|| {
        let site = Site::new(path);
        let mut client = site.connect();
        client.send("GET /a HTTP/1.0\r\n\r\n");
        client.last_answer(200);

        let mut client = site.connect();
        client.send("GET /a HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
        assert_eq!(client.answer().header("connection"), Some("keep-alive"));
        client.send("GET /b HTTP/1.0\r\n\r\n");
        assert_eq!(client.last_answer(200).text(), "/b");
        site.end();
    });
}

#[test]
fn either_side_may_close() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| {
            let close = request.path() == "/close";
            let response = "x".into_response();
            if close {
                response.with_header("connection", "close")
            } else {
                response
            }
        });
        let mut client = site.connect();
        client.send("GET / HTTP/1.1\r\nhost: a\r\nConnection: foo, Close\r\n\r\n");
        client.last_answer(200);

        let mut client = site.connect();
        client.send("GET /close HTTP/1.1\r\nhost: a\r\n\r\n");
        client.last_answer(200);
        site.end();
    });
}

#[test]
fn a_request_that_crosses_the_close_does_not_lose_the_answer() {
    on_a_shard(|| {
        let site =
            Site::new(|_: &mut Request| "x".into_response().with_header("connection", "close"));
        let mut client = site.connect();
        client.send("GET /1 HTTP/1.1\r\nhost: a\r\n\r\n");
        settle();
        // The client has not read the answer yet, and sends more requests over the same connection.
        for _ in 0..2 {
            client.send("GET /2 HTTP/1.1\r\nhost: a\r\n\r\n");
            settle();
        }
        client.last_answer(200);
        site.end();
    });
}

#[test]
fn head_gets_the_head_of_get() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| match request.path() {
            "/bytes" => "twelve bytes".into_response(),
            "/stream" => Body::writer(|_| panic!("is not called")).into_response(),
            path => panic!("{path}"),
        });
        let mut client = site.connect();
        client.send("HEAD /bytes HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(client.head().header("content-length"), Some("12"));
        client.send("HEAD /stream HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(client.head().header("transfer-encoding"), Some("chunked"));
        // Had a body followed, this would not be a response head.
        assert_eq!(client.get("/bytes").text(), "twelve bytes");
        site.end();
    });
}

#[test]
fn statuses_without_a_body_have_none() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| -> Response {
            let status = StatusCode::from_bytes(&request.path().as_bytes()[1..]).unwrap();
            (status, "a body that may not be sent").into_response()
        });
        let mut client = site.connect();
        for (path, length) in [("/204", None), ("/304", None), ("/205", Some("0"))] {
            let answer = client.get(path);
            assert_eq!(answer.status.to_string(), path[1..]);
            assert_eq!(answer.header("content-length"), length, "{answer:?}");
            assert_eq!(answer.header("transfer-encoding"), None);
        }
        assert_eq!(client.get("/404").text(), "a body that may not be sent");
        site.end();
    });
}

#[test]
fn a_request_that_comes_with_the_end_of_the_stream_is_answered() {
    on_a_shard(|| {
        let site = Site::new(path);
        // The connection is accepted only after the whole input has arrived.
        let answers = site.exchange("GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
        assert!(answers.ends_with("\r\n\r\n/a"), "{answers}");

        let mut client = site.connect();
        settle();
        client.send("GET /b HTTP/1.1\r\nhost: a\r\n\r\n");
        client.finish();
        assert!(client.rest().ends_with("\r\n\r\n/b"));
        site.end();
    });
}

#[test]
fn a_peer_that_has_closed_its_side_gets_its_answer_later() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| {
            settle();
            request.text().unwrap()
        });
        let mut client = site.connect();
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nab");
        settle();
        client.send("cd");
        client.finish();
        assert_eq!(client.answer().text(), "abcd");
        client.end();
        site.end();
    });
}

#[test]
fn a_head_that_breaks_off_is_answered_with_400() {
    on_a_shard(|| {
        let site = Site::new(path);
        let mut client = site.connect();
        client.send("GET / HTTP/1.1\r\nhost:");
        client.finish();
        client.last_answer(400);
        site.end();
    });
}

#[test]
fn an_idle_connection_ends_without_a_word() {
    on_a_shard(|| {
        let site = Site::with(|server| server.timeouts(timeouts(|t| t.idle = SHORT)), path);
        let mut fresh = site.connect();
        let mut used = Client::with_input(site.addr, "GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(used.answer().text(), "/a");
        fresh.end();
        used.end();
        site.end();
    });
}

#[test]
fn peers_that_vanish_leave_nothing_behind() {
    on_a_shard(|| {
        let calls = Rc::new(Cell::new(0));
        let count = calls.clone();
        let site = Site::new(move |_: &mut Request| {
            count.set(count.get() + 1);
            "x".repeat(100_000)
        });
        let input = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        for len in 0..=input.len() {
            let mut client = site.connect();
            client.send(&input[..len]);
            if len % 2 == 0 {
                settle();
            }
            reset(client);
        }
        // The drain waits for the end of every connection, and so of all these.
        site.end();
        assert!(calls.get() <= 1);
    });
}

/// Closes with a reset instead of a FIN, whatever data is unread or unsent.
fn reset(client: Client) {
    let socket = socket2::SockRef::from(&client.stream);
    socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
}

#[test]
fn a_peer_that_is_gone_when_the_answer_comes_hurts_nobody() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| {
            settle();
            if request.path() == "/stream" {
                Body::writer(|out| {
                    loop {
                        out.write_all(&[b'x'; 1000])?;
                        out.flush()?;
                    }
                })
                .into_response()
            } else {
                "x".repeat(1 << 20).into_response()
            }
        });
        for path in ["/", "/stream"] {
            let mut client = site.connect();
            client.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
            reset(client);
        }
        assert_eq!(site.connect().get("/").body.len(), 1 << 20);
        site.end();
    });
}
