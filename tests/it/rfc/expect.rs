//! RFC 9110 section 10.1.1: Expect.

use ethreads::http::{Request, StatusCode};

use crate::http::util::{Client, Site, on_a_shard, settle};
use crate::rfc::support::{NEXT, get, head, post, refused, served, tell};

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

/// Sends the head, expects a 100, sends the body in two parts, and returns the answer.
#[track_caller]
fn asked(client: &mut Client, head: &str, body: &str) -> String {
    client.send(head);
    assert_eq!(client.head().head, CONTINUE);
    let (first, second) = body.split_at(body.len() / 2);
    client.send(first);
    settle();
    client.send(second);
    client.answer().text().to_owned()
}

/// RFC 9110 section 10.1.1: a 100 must come before the server waits for the content, a final answer
/// must follow it, and the value is case-insensitive.
#[test]
fn the_content_is_asked_for() {
    on_a_shard(|| {
        let site = Site::new(tell);
        let mut client = site.connect();
        for field in [
            "expect: 100-continue",
            "Expect: 100-Continue",
            "expect: \t100-CONTINUE ",
            "expect: ,100-continue,",
            "expect: 100-continue, 100-continue",
            "expect: 100-continue\r\nexpect: 100-continue",
            "expect:\r\nexpect: 100-continue",
        ] {
            let head = post(&[field, "content-length: 2"], "");
            assert_eq!(asked(&mut client, &head, "ab"), "POST / for a: \"ab\"");
            let head = post(&["transfer-encoding: chunked", field], "");
            let told = asked(&mut client, &head, "2\r\nab\r\n0\r\n\r\n");
            assert_eq!(told, "POST / for a: \"ab\"");
        }
        // Even if the content is malformed, an answer follows.
        client.send(post(
            &["transfer-encoding: chunked", "expect: 100-continue"],
            "",
        ));
        assert_eq!(client.head().head, CONTINUE);
        client.send("x\r\n");
        client.last_answer(400);
        site.end();
    });
}

/// RFC 9110 section 10.1.1: an expectation in HTTP/1.0 must be ignored. Without content, or if the
/// content has come already, no 100 is needed.
#[test]
fn what_need_not_be_asked_for_is_not() {
    served([
        (get(&["expect: 100-continue"]), "GET / for a: \"\""),
        (
            post(&["expect: 100-continue", "content-length: 0"], ""),
            "POST / for a: \"\"",
        ),
        (
            post(&["expect: 100-continue", "content-length: 2"], "ab"),
            "POST / for a: \"ab\"",
        ),
        (
            post(&["expect:", "content-length: 2"], "ab"),
            "POST / for a: \"ab\"",
        ),
        (
            head(&[
                "POST / HTTP/1.0",
                "connection: keep-alive",
                "expect: b",
                "content-length: 2",
            ]) + "ab",
            "POST / for : \"ab\"",
        ),
    ]);
    on_a_shard(|| {
        let site = Site::new(tell);
        let mut client = site.connect();
        let lines = [
            "POST / HTTP/1.0",
            "expect: 100-continue",
            "content-length: 2",
        ];
        client.send(head(&lines));
        settle();
        client.send("ab");
        assert_eq!(client.last_answer(200).text(), "POST / for : \"ab\"");
        site.end();
    });
}

/// RFC 9110 section 10.1.1: unknown expectations may be answered with 417.
#[test]
fn unknown_expectations_fail() {
    let values = [
        "200-ok",
        "100",
        "100-continue; a=b",
        "100-continue=1",
        "x, 100-continue",
        "100-continue, x",
        "100-continue 100-continue",
        "\"100-continue\"",
        "x=\"100-continue\"",
    ];
    refused(values.map(|value| {
        (
            post(&[&format!("expect: {value}"), "content-length: 2"], "ab"),
            417,
        )
    }));
    refused([(get(&["expect: x"]), 417)]);
}

/// RFC 9110 section 10.1.1: a final answer before the content was read says whether the connection
/// goes on. It ends, as the server cannot know whether the content follows.
#[test]
fn a_final_answer_instead_of_100_ends_the_connection() {
    on_a_shard(|| {
        let site = Site::new(|_: &mut Request| (StatusCode::FORBIDDEN, "no"));
        let by_length = post(&["expect: 100-continue", "content-length: 2"], "");
        let mut client = site.connect();
        client.send(&by_length);
        assert_eq!(client.last_answer(403).text(), "no");
        let mut client = site.connect();
        client.send(post(
            &["expect: 100-continue", "transfer-encoding: chunked"],
            "",
        ));
        client.last_answer(403);
        // The same with a peer that sends the content all the same, with a request behind it.
        let mut client = site.connect();
        client.send(&by_length);
        settle();
        client.send("ab".to_owned() + NEXT);
        assert_eq!(client.last_answer(403).text(), "no");
        site.end();
    });
}
