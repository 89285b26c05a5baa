//! `Expect: 100-continue`.

use ethreads::http::{Request, Result};
use http::StatusCode;

use crate::http::util::{Site, on_a_shard, settle};

fn handler(request: &mut Request) -> Result<(StatusCode, String)> {
    if request.path() == "/refused" {
        return Ok((StatusCode::FORBIDDEN, "no".to_owned()));
    }
    Ok((StatusCode::OK, request.text()?))
}

const HEAD: &str =
    "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nexpect: 100-Continue\r\n\r\n";

#[test]
fn the_body_is_asked_for_when_it_is_read() {
    on_a_shard(|| {
        let site = Site::new(handler);
        let mut client = site.connect();
        client.send(HEAD);
        assert_eq!(client.answer().head, "HTTP/1.1 100 Continue\r\n\r\n");
        client.send("bo");
        settle();
        client.send("dy");
        assert_eq!(client.answer().text(), "body");
        // A body gets only one `100 Continue`.
        assert_eq!(client.get("/").status, 200);
        site.end();
    });
}

#[test]
fn chunks_are_asked_for_too() {
    on_a_shard(|| {
        let site = Site::new(handler);
        let mut client = site.connect();
        client.send(
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\
             expect: 100-continue\r\n\r\n",
        );
        assert_eq!(client.answer().status, 100);
        client.send("4\r\nbody\r\n0\r\n\r\n");
        assert_eq!(client.answer().text(), "body");
        site.end();
    });
}

#[test]
fn a_handler_that_does_not_want_the_body_answers_at_once() {
    on_a_shard(|| {
        let site = Site::new(handler);
        let mut client = site.connect();
        client.send(HEAD.replace("/ ", "/refused "));
        // The server cannot know whether the body follows, so no other request can come after it.
        assert_eq!(client.last_answer(403).text(), "no");

        // The same with a peer that sends the body all the same, with a request behind it.
        let mut client = site.connect();
        client.send(HEAD.replace("/ ", "/refused "));
        settle();
        client.send("bodyGET / HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(client.last_answer(403).text(), "no");
        site.end();
    });
}

#[test]
fn a_peer_that_does_not_wait_is_not_asked() {
    on_a_shard(|| {
        let site = Site::new(handler);
        let mut client = site.connect();
        client.send(HEAD.to_owned() + "body");
        assert_eq!(client.answer().text(), "body");
        client.send(HEAD.replace("/ ", "/refused ") + "body");
        assert_eq!(client.answer().status, 403);
        assert_eq!(client.get("/").status, 200);
        site.end();
    });
}

#[test]
fn without_a_body_or_with_http_1_0_there_is_nothing_to_ask_for() {
    on_a_shard(|| {
        let site = Site::new(handler);
        let mut client = site.connect();
        client.send("GET / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n\r\n");
        assert_eq!(client.answer().status, 200);
        client.send("POST / HTTP/1.0\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n");
        settle();
        client.send("body");
        assert_eq!(client.last_answer(200).text(), "body");
        site.end();
    });
}

#[test]
fn the_answers_before_it_come_first() {
    on_a_shard(|| {
        let site = Site::new(handler);
        let mut client = site.connect();
        client.send("GET /1 HTTP/1.1\r\nhost: a\r\n\r\n".to_owned() + HEAD);
        assert_eq!(client.answer().status, 200);
        assert_eq!(client.answer().status, 100);
        client.send("body");
        assert_eq!(client.answer().text(), "body");
        site.end();
    });
}
