//! Peers that reset the connection at every point of an exchange, and peers that end one side.

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;

use ethreads::http::{Body, Error, IntoResponse, Request, Response, Result};
use socket2::SockRef;

use crate::http::util::{Client, Site, on_a_shard, settle};
use crate::net::support::{until, until_true};

const BIG: usize = 8 << 20;

fn answer(request: &mut Request) -> Result<Response> {
    Ok(match request.path() {
        "/big" => "x".repeat(BIG).into_response(),
        "/stream" => Body::writer(|out| {
            loop {
                out.write_all(&[b'x'; 1000])?;
                out.flush()?;
            }
        })
        .into_response(),
        "/reader" => Body::reader(io::repeat(b'x')).into_response(),
        "/file" => {
            let file = std::fs::File::open(std::env::current_exe()?)?;
            Body::file(file)?.into_response()
        }
        "/wait" => {
            settle();
            settle();
            "x".repeat(BIG).into_response()
        }
        "/unread" => "".into_response(),
        "/upgrade" => Response::upgrade("echo", |stream| {
            let end = io::copy(&mut &stream, &mut &stream);
            log::debug!("{end:?}");
        }),
        _ => request.bytes()?.into_response(),
    })
}

/// Sends `input`; receives a head and some of the body if `reads`.
struct Stage {
    name: &'static str,
    input: &'static str,
    reads: bool,
}

const fn stage(name: &'static str, input: &'static str, reads: bool) -> Stage {
    Stage { name, input, reads }
}

/// The points of an exchange at which a peer can be.
const STAGES: &[Stage] = &[
    stage("connect", "", false),
    stage("a part of the request line", "GET /bi", false),
    stage("the request line", "GET /big HTTP/1.1\r\n", false),
    stage(
        "a part of the fields",
        "GET /big HTTP/1.1\r\nhost: a\r\nx",
        false,
    ),
    stage("the head", "GET /big HTTP/1.1\r\nhost: a\r\n\r\n", false),
    stage(
        "the head of a body",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n",
        false,
    ),
    stage(
        "the head of a body that is announced",
        "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n",
        false,
    ),
    stage(
        "the interim answer",
        "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n",
        true,
    ),
    stage(
        "a part of the body",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc",
        false,
    ),
    stage(
        "a part of a chunk",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n9\r\nabc",
        false,
    ),
    stage(
        "a part of a chunk's size",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n9\r",
        false,
    ),
    stage(
        "the body",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc",
        false,
    ),
    stage(
        "a part of a body that is not read",
        "POST /unread HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc",
        true,
    ),
    stage(
        "a handler that waits",
        "GET /wait HTTP/1.1\r\nhost: a\r\n\r\n",
        false,
    ),
    stage(
        "an answer of bytes",
        "GET /big HTTP/1.1\r\nhost: a\r\n\r\n",
        true,
    ),
    stage(
        "an answer by a writer",
        "GET /stream HTTP/1.1\r\nhost: a\r\n\r\n",
        true,
    ),
    stage(
        "an answer by a reader",
        "GET /reader HTTP/1.1\r\nhost: a\r\n\r\n",
        true,
    ),
    stage(
        "an answer from a file",
        "GET /file HTTP/1.1\r\nhost: a\r\n\r\n",
        true,
    ),
    stage(
        "between two requests",
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        true,
    ),
    stage(
        "two requests at once",
        "GET /wait HTTP/1.1\r\nhost: a\r\n\r\nGET /big HTTP/1.1\r\nhost: a\r\n\r\n",
        false,
    ),
    stage(
        "the last answer",
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        true,
    ),
    stage("a refusal", "GET / HTTP/1.1\r\n\r\n", true),
    stage(
        "another protocol",
        "GET /upgrade HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n",
        true,
    ),
];

/// Closes with a reset, whatever is unread or unsent.
fn reset(client: Client) {
    SockRef::from(&client.stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

#[test]
fn a_reset_at_any_point_leaves_nothing_behind_and_does_no_harm() {
    on_a_shard(|| {
        let site = Site::new(answer);
        assert_eq!(site.connect().get("/").status, 200);
        // Only the listener is left.
        until(|stats| stats.sources == 1);
        for stage in STAGES {
            // The server has either seen the input and waits, or meets the input and the reset at
            // once.
            for settles in [true, false] {
                let mut client = site.connect();
                client.send(stage.input);
                if stage.reads {
                    client.head();
                }
                if settles {
                    settle();
                }
                reset(client);
                let answer = site.connect().get("/");
                assert_eq!(answer.status, 200, "after a reset at: {}", stage.name);
            }
        }
        // No drain and no time limit was needed: each connection has ended by itself.
        until(|stats| stats.sources == 1);
        site.end();
    });
}

#[test]
fn a_client_that_ends_its_side_after_any_request_gets_the_answer() {
    on_a_shard(|| {
        let site = Site::new(answer);
        for (input, expected) in [
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", 0),
            ("GET / HTTP/1.0\r\n\r\n", 0),
            (
                "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc",
                3,
            ),
            (
                "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
                 3\r\nabc\r\n0\r\n\r\n",
                3,
            ),
            (
                "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n\
                 content-length: 3\r\n\r\nabc",
                3,
            ),
            ("GET /wait HTTP/1.1\r\nhost: a\r\n\r\n", BIG),
            ("GET /big HTTP/1.1\r\nhost: a\r\n\r\n", BIG),
        ] {
            let mut client = site.connect();
            client.send(input);
            client.finish();
            let answer = client.answer();
            assert_eq!(
                (answer.status, answer.body.len()),
                (200, expected),
                "{input}"
            );
            client.end();
        }
        site.end();
    });
}

#[test]
fn a_client_that_ends_its_side_too_early_is_told_so() {
    on_a_shard(|| {
        let site = Site::new(answer);
        for input in [
            "GET / HTTP/1.1\r\nhost: a\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n9\r\nabc",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        ] {
            let mut client = site.connect();
            client.send(input);
            client.finish();
            client.last_answer(400);
        }
        site.end();
    });
}

#[test]
fn a_handler_can_ask_whether_its_peer_has_left() {
    on_a_shard(|| {
        let seen = Rc::new(Cell::new(0));
        let count = seen.clone();
        let site = Site::new(move |request: &mut Request| {
            let before = request.peer_gone();
            // Pipelined input does not count as the end of the stream.
            assert_eq!(request.header("gone").is_some(), before);
            if request.path() == "/until" {
                until_true(|| request.peer_gone());
                count.set(count.get() + 1);
            }
            "told"
        });
        let until = "GET /until HTTP/1.1\r\nhost: a\r\n\r\n";
        let mut client = site.connect();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(2) + until);
        for _ in 0..2 {
            assert_eq!(client.answer().text(), "told");
        }
        // A peer that is half closed still gets its answer.
        client.finish();
        assert_eq!(client.answer().text(), "told");

        let mut client = site.connect();
        client.send(until);
        settle();
        drop(client);
        let mut client = site.connect();
        client.send(until);
        settle();
        reset(client);

        let mut client = site.connect();
        client.send("GET / HTTP/1.1\r\nhost: a\r\ngone: yes\r\n\r\n");
        client.finish();
        assert_eq!(client.answer().text(), "told");
        site.end();
        assert_eq!(seen.get(), 3);
    });
}

#[test]
fn a_handler_whose_peer_has_left_finds_out_by_its_next_read_or_write() {
    on_a_shard(|| {
        let errors = Rc::new(RefCell::new(Vec::new()));
        let seen = errors.clone();
        let site = Site::new(move |request: &mut Request| {
            let seen = seen.clone();
            if request.path() == "/read" {
                let error = request.bytes().unwrap_err();
                seen.borrow_mut()
                    .push(("read", error.is_peer() || error.is_io()));
                return Body::empty();
            }
            Body::writer(move |out| {
                loop {
                    if let Err(error) = out.write_all(&[b'x'; 1000]).and_then(|()| out.flush()) {
                        seen.borrow_mut()
                            .push(("write", Error::from(error).is_io()));
                        return Ok(());
                    }
                }
            })
        });
        for input in [
            "POST /read HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc",
            "GET /write HTTP/1.1\r\nhost: a\r\n\r\n",
        ] {
            let mut client = site.connect();
            client.send(input);
            settle();
            reset(client);
            until(|stats| stats.sources == 1);
        }
        site.end();
        assert_eq!(*errors.borrow(), [("read", true), ("write", true)]);
    });
}

#[test]
fn an_answer_that_crosses_the_rest_of_a_request_is_not_lost() {
    on_a_shard(|| {
        let site = Site::new(answer);
        let mut client = site.connect();
        // The server refuses the request while most of the input is unread and more arrives. A
        // close at this point would reset the connection, and so destroy the answer (RFC 9112
        // section 9.6).
        client.send("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n");
        client.send(vec![b'x'; 200_000]);
        settle();
        client.send(vec![b'x'; 200_000]);
        let mut received = String::new();
        client.stream.shutdown(Shutdown::Write).unwrap();
        client.stream.read_to_string(&mut received).unwrap();
        assert!(received.starts_with("HTTP/1.1 400 "), "{received}");
        site.end();
    });
}
