//! Connections that serve many requests, and peers that end early; `rfc` has which connections stay
//! open.

use std::cell::Cell;
use std::io::Write;
use std::rc::Rc;

use ethreads::http::{Body, IntoResponse, Request};

use crate::http::util::{Client, Site, on_a_shard, settle};

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
fn a_peer_that_is_gone_when_the_answer_comes_does_no_harm() {
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
