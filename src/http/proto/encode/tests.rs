use http::HeaderValue;
use proptest::prelude::*;

use super::*;

const GET: AnswerTo = AnswerTo {
    version: Version::HTTP_11,
    is_head: false,
    keep_alive: true,
};
const HEAD: AnswerTo = AnswerTo {
    is_head: true,
    ..GET
};
const CLOSE: AnswerTo = AnswerTo {
    keep_alive: false,
    ..GET
};
const GET_10: AnswerTo = AnswerTo {
    version: Version::HTTP_10,
    ..GET
};
const CLOSE_10: AnswerTo = AnswerTo {
    keep_alive: false,
    ..GET_10
};
const HEAD_10: AnswerTo = AnswerTo {
    is_head: true,
    ..GET_10
};

fn headers(pairs: &[(&'static str, &str)]) -> Headers {
    let header = |&(name, value): &(&'static str, &str)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_str(value).unwrap(),
        )
    };
    pairs.iter().map(header).collect()
}

fn encode(
    answer: AnswerTo,
    status: u16,
    pairs: &[(&'static str, &str)],
    body_len: Option<u64>,
) -> (String, Plan) {
    let mut out = Vec::new();
    let status = StatusCode::from_u16(status).unwrap();
    let mut opening = HeadCache::new(0, Some(&HeaderValue::from_static("s")));
    let headers = headers(pairs);
    let plan = encode_head(&mut out, answer, status, &headers, body_len, &mut opening);
    // The opening may have kept lines of the first response; the second response must be the same.
    let mut again = Vec::new();
    let second = encode_head(&mut again, answer, status, &headers, body_len, &mut opening);
    assert_eq!((&again, second), (&out, plan));
    (String::from_utf8(out).unwrap(), plan)
}

#[test]
fn a_whole_head() {
    let (head, _) = encode(GET, 200, &[("content-type", "text/plain")], Some(13));
    assert_eq!(
        head,
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\
         date: Thu, 01 Jan 1970 00:00:00 GMT\r\nserver: s\r\ncontent-length: 13\r\n\r\n"
    );
}

/// Checks the body, whether the connection lives on, and the fields but date and server.
#[track_caller]
fn check(
    answer: AnswerTo,
    status: u16,
    pairs: &[(&'static str, &str)],
    body_len: Option<u64>,
    expected: (ResponseBody, bool, &str),
) {
    let (head, plan) = encode(answer, status, pairs, body_len);
    let ends = ["HTTP/1.1", "date:", "server:"];
    let fields = head.trim_end().split("\r\n");
    let fields: Vec<_> = fields
        .filter(|line| !ends.iter().any(|end| line.starts_with(end)))
        .collect();
    assert_eq!(
        (plan.body, plan.keep_alive, fields.join("|").as_str()),
        expected
    );
}

use ResponseBody::{Chunked, Length, None as Nothing, UntilClose};

#[test]
fn known_lengths_rfc9110_8_6() {
    check(
        GET,
        200,
        &[],
        Some(0),
        (Length(0), true, "content-length: 0"),
    );
    check(
        GET,
        404,
        &[],
        Some(12),
        (Length(12), true, "content-length: 12"),
    );
    check(
        CLOSE,
        200,
        &[],
        Some(5),
        (Length(5), false, "content-length: 5|connection: close"),
    );
    let keep_alive = "content-length: 5|connection: keep-alive";
    check(GET_10, 200, &[], Some(5), (Length(5), true, keep_alive));
    check(
        CLOSE_10,
        200,
        &[],
        Some(5),
        (Length(5), false, "content-length: 5|connection: close"),
    );
}

#[test]
fn unknown_lengths_rfc9112_6_3() {
    check(
        GET,
        200,
        &[],
        None,
        (Chunked, true, "transfer-encoding: chunked"),
    );
    check(
        CLOSE,
        200,
        &[],
        None,
        (
            Chunked,
            false,
            "transfer-encoding: chunked|connection: close",
        ),
    );
    check(
        GET_10,
        200,
        &[],
        None,
        (UntilClose, false, "connection: close"),
    );
    check(
        CLOSE_10,
        200,
        &[],
        None,
        (UntilClose, false, "connection: close"),
    );
}

#[test]
fn statuses_without_body_rfc9112_6_3_item_1() {
    for len in [Some(0), Some(5), None] {
        check(
            GET,
            204,
            &[("content-length", "5")],
            len,
            (Nothing, true, ""),
        );
        check(GET, 304, &[("etag", "x")], len, (Nothing, true, "etag: x"));
        check(GET, 205, &[], len, (Nothing, true, "content-length: 0"));
        check(CLOSE, 204, &[], len, (Nothing, false, "connection: close"));
    }
}

#[test]
fn answers_to_head_rfc9110_9_3_2() {
    check(
        HEAD,
        200,
        &[],
        Some(5),
        (Nothing, true, "content-length: 5"),
    );
    check(
        HEAD,
        200,
        &[],
        None,
        (Nothing, true, "transfer-encoding: chunked"),
    );
    check(
        HEAD_10,
        200,
        &[],
        None,
        (Nothing, true, "connection: keep-alive"),
    );
    // The handler left the body out and may know its length.
    check(HEAD, 200, &[], Some(0), (Nothing, true, ""));
    check(
        HEAD,
        200,
        &[("content-length", "7")],
        Some(0),
        (Nothing, true, "content-length: 7"),
    );
    check(
        HEAD,
        200,
        &[("content-length", "7")],
        None,
        (Nothing, true, "content-length: 7"),
    );
    check(
        HEAD,
        200,
        &[("content-length", "7")],
        Some(5),
        (Nothing, true, "content-length: 5"),
    );
    check(HEAD, 204, &[], Some(0), (Nothing, true, ""));
}

#[test]
fn a_101_has_no_framing_rfc9110_15_2_2() {
    let upgrade = [("connection", "upgrade"), ("upgrade", "websocket")];
    let expected = (Nothing, false, "upgrade: websocket|connection: upgrade");
    check(GET, 101, &upgrade, Some(5), expected);
}

#[test]
fn a_wrong_content_length_never_goes_out() {
    check(
        GET,
        200,
        &[("content-length", "7")],
        Some(5),
        (Length(5), true, "content-length: 5"),
    );
    check(
        GET,
        200,
        &[("content-length", "x")],
        Some(5),
        (Length(5), true, "content-length: 5"),
    );
    // For a stream it is a promise that the sender must keep.
    check(
        GET,
        200,
        &[("content-length", "7")],
        None,
        (Length(7), true, "content-length: 7"),
    );
    for malformed in ["", "+7", "7, 7", "-1", "18446744073709551616"] {
        let chunked = (Chunked, true, "transfer-encoding: chunked");
        check(GET, 200, &[("content-length", malformed)], None, chunked);
    }
}

#[test]
fn hop_by_hop_headers_of_the_handler_rfc9110_7_6_1() {
    let length = "content-length: 5";
    check(
        GET,
        200,
        &[("transfer-encoding", "gzip")],
        Some(5),
        (Length(5), true, length),
    );
    check(
        GET,
        200,
        &[("connection", "keep-alive")],
        Some(5),
        (Length(5), true, length),
    );
    let closed = (Length(5), false, "content-length: 5|connection: close");
    check(GET, 200, &[("connection", "CLOSE")], Some(5), closed);
    check(CLOSE, 200, &[("connection", "keep-alive")], Some(5), closed);
    // Only the handler knows the fields about the connection, except Upgrade.
    for (answer, headers, expected) in [
        (GET, &[("connection", "x, ,y z")][..], "connection: x"),
        (CLOSE, &[("connection", "x")], "connection: close, x"),
        (
            GET,
            &[("connection", "x, CLOSE"), ("connection", "y")],
            "connection: close, x, y",
        ),
        (GET, &[("upgrade", "b")], "upgrade: b|connection: upgrade"),
        (
            CLOSE,
            &[("connection", "Upgrade,x"), ("upgrade", "b")],
            "upgrade: b|connection: close, upgrade, x",
        ),
        (GET, &[("connection", "upgrade")], ""),
    ] {
        let keep_alive = !expected.contains("close");
        check(answer, 204, headers, None, (Nothing, keep_alive, expected));
    }
}

#[test]
fn date_and_server_of_the_handler_replace_ours() {
    let (head, _) = encode(
        GET,
        200,
        &[("server", "t"), ("date", "now"), ("x", "y")],
        Some(0),
    );
    assert_eq!(
        head,
        "HTTP/1.1 200 OK\r\nx: y\r\ndate: now\r\nserver: t\r\ncontent-length: 0\r\n\r\n"
    );
}

#[test]
fn other_headers_go_out_in_order_and_repeated() {
    let pairs = [("set-cookie", "a"), ("x", ""), ("set-cookie", "b")];
    let expected = "set-cookie: a|x: |set-cookie: b|content-length: 0";
    check(GET, 200, &pairs, Some(0), (Length(0), true, expected));
}

#[test]
fn status_lines_rfc9112_4() {
    for (status, line) in [
        (200, "HTTP/1.1 200 OK\r\n"),
        (404, "HTTP/1.1 404 Not Found\r\n"),
        (503, "HTTP/1.1 503 Service Unavailable\r\n"),
        (299, "HTTP/1.1 299 \r\n"),
        (999, "HTTP/1.1 999 \r\n"),
    ] {
        let (head, _) = encode(GET_10, status, &[], Some(0));
        assert!(head.starts_with(line), "{head}");
    }
}

#[test]
fn numbers() {
    for number in [
        0,
        9,
        10,
        99,
        100,
        999,
        1000,
        9999,
        10_000,
        123_456_789,
        u64::MAX,
    ] {
        let mut out = Vec::new();
        write_decimal(&mut out, number);
        assert_eq!(out, number.to_string().as_bytes());
    }
    for len in [1, 15, 16, 255, 256, 0xabcdef, u64::MAX] {
        let mut out = Vec::new();
        write_chunk_header(&mut out, len);
        assert_eq!(out, format!("{len:x}\r\n").as_bytes());
    }
}

#[test]
fn an_empty_chunk_is_not_written() {
    let mut out = Vec::new();
    write_chunk(&mut out, b"");
    write_chunk(&mut out, b"ab");
    assert_eq!(out, b"2\r\nab\r\n");
}

#[test]
#[should_panic(expected = "a chunk of size zero ends the body")]
fn a_chunk_header_of_zero_is_a_bug() {
    write_chunk_header(&mut Vec::new(), 0);
}

proptest! {
    #[test]
    fn heads_parse_back(
        status in 200..600_u16,
        fields in prop::collection::vec(("x-[a-z]{1,9}", "[!-~]([ -~]{0,9}[!-~])?"), 0..10),
        body_len in any::<Option<u64>>(),
        is_head in any::<bool>(),
        keep_alive in any::<bool>(),
        http10 in any::<bool>(),
    ) {
        let version = if http10 { Version::HTTP_10 } else { Version::HTTP_11 };
        let list: Headers = fields
            .iter()
            .map(|(n, v)| (n.parse::<HeaderName>().unwrap(), HeaderValue::from_str(v).unwrap()))
            .collect();
        let mut out = Vec::new();
        let answer = AnswerTo { version, is_head, keep_alive };
        let code = StatusCode::from_u16(status).unwrap();
        let mut cache = HeadCache::new(0, None);
        let plan = encode_head(&mut out, answer, code, &list, body_len, &mut cache);

        let mut slots = [httparse::EMPTY_HEADER; 20];
        let mut response = httparse::Response::new(&mut slots);
        let parsed = response.parse(&out).unwrap();
        prop_assert_eq!(parsed, httparse::Status::Complete(out.len()));
        prop_assert_eq!(response.code, Some(status));
        let value = |name| {
            let mut fields = response.headers.iter().filter(|field| field.name == name);
            let value = fields.next().map(|field| String::from_utf8_lossy(field.value));
            assert!(fields.next().is_none(), "{name} repeats");
            value
        };
        let length = value("content-length").map(|text| text.parse::<u64>().unwrap());
        let coding = value("transfer-encoding");
        prop_assert!(length.is_none() || coding.is_none());
        match plan.body {
            Length(len) => prop_assert_eq!(length, Some(len)),
            Chunked => prop_assert_eq!(coding.as_deref(), Some("chunked")),
            UntilClose => prop_assert!(length.is_none() && coding.is_none() && !plan.keep_alive),
            Nothing => {}
        }
        let connection = value("connection");
        match (plan.keep_alive, http10) {
            (false, _) => prop_assert_eq!(connection.as_deref(), Some("close")),
            (true, true) => prop_assert_eq!(connection.as_deref(), Some("keep-alive")),
            (true, false) => prop_assert_eq!(connection, None),
        }
        for (name, value) in &fields {
            let sent = |field: &&httparse::Header<'_>| {
                field.name == name && field.value == value.as_bytes()
            };
            prop_assert!(response.headers.iter().any(|field| sent(&field)));
        }
    }
}
