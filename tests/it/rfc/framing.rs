//! RFC 9112 section 6 and RFC 9110 section 8.6: where the body of a request ends.

use crate::http::util::{Site, on_a_shard};
use crate::rfc::support::{NEXT, NEXT_TOLD, get, head, post, refused, served, served_last, tell};

/// RFC 9112 section 6.3: without Content-Length and Transfer-Encoding there is no body, whatever
/// the method; with one of them there is, whatever the method.
#[test]
fn framing_does_not_depend_on_the_method() {
    served([
        (head(&["POST / HTTP/1.1", "host: a"]), "POST / for a: \"\""),
        (
            head(&["PUT / HTTP/1.1", "host: a", "content-type: b"]),
            "PUT / for a: \"\"",
        ),
        (
            head(&["GET / HTTP/1.1", "host: a", "content-length: 2"]) + "ab",
            "GET / for a: \"ab\"",
        ),
        (
            head(&["DELETE / HTTP/1.1", "host: a", "transfer-encoding: chunked"])
                + "2\r\nab\r\n0\r\n\r\n",
            "DELETE / for a: \"ab\"",
        ),
        (
            head(&["OPTIONS * HTTP/1.1", "host: a", "content-length: 1"]) + "a",
            "OPTIONS * for a: \"a\"",
        ),
        // A body that looks like a request is not a request.
        (
            post(&[&format!("content-length: {}", NEXT.len())], NEXT),
            "POST / for a: \"GET /next HTTP/1.1\\r\\nhost: a\\r\\n\\r\\n\"",
        ),
    ]);
}

/// RFC 9110 section 8.6: `Content-Length = 1*DIGIT`.
#[test]
fn content_lengths() {
    served([
        (post(&["content-length: 0"], ""), "POST / for a: \"\""),
        (post(&["content-length: 2"], "ab"), "POST / for a: \"ab\""),
        (post(&["content-length:2"], "ab"), "POST / for a: \"ab\""),
        (
            post(&["content-length: \t2\t "], "ab"),
            "POST / for a: \"ab\"",
        ),
        (
            post(&["content-length: 0002"], "ab"),
            "POST / for a: \"ab\"",
        ),
        (
            post(&[&format!("content-length: {}2", "0".repeat(100))], "ab"),
            "POST / for a: \"ab\"",
        ),
    ]);
}

/// RFC 9112 section 6.3, item 5: an invalid length is an unrecoverable error. The answer is 400,
/// and the connection ends. Lists that repeat one value may be refused (RFC 9110 section 8.6).
#[test]
fn invalid_content_lengths_are_refused() {
    let values = [
        "", "+2", "-2", "-0", "2.0", "2.", "0x2", "2a", "a", "2 2", "2\t2", "2;", "2;a=b", "\"2\"",
        "'2'", "1e1", "2_0", "٢", "²", "２", "2,", ",2", "2,2", "2, 2", "2, 3", "2,,2", "0, 2",
        "\u{b}2", "2\u{c}", "\u{a0}2", "(2)", "null", "chunked",
    ];
    refused(values.map(|value| (post(&[&format!("content-length: {value}")], "ab"), 400)));
    refused([
        (post(&["content-length: 2", "content-length: 2"], "ab"), 400),
        (post(&["content-length: 2", "Content-Length: 3"], "ab"), 400),
        (post(&["content-length: 0", "content-length: 2"], "ab"), 400),
        (post(&["content-length:", "content-length: 2"], "ab"), 400),
        (
            head(&["POST / HTTP/1.0", "content-length: 2", "content-length: 2"]) + "ab",
            400,
        ),
        (head(&["POST / HTTP/1.0", "content-length: x"]) + "ab", 400),
    ]);
}

/// RFC 9110 section 8.6: large numerals must be anticipated, and neither overflow nor lose digits.
#[test]
fn large_content_lengths_do_not_overflow() {
    // Larger than any integer: 2^64, 2^64 + 2, 2^128 + 2, and a hundred digits.
    let numbers = [
        "18446744073709551616".to_owned(),
        "18446744073709551618".to_owned(),
        "340282366920938463463374607431768211458".to_owned(),
        "9".repeat(100),
    ];
    refused(numbers.map(|number| (post(&[&format!("content-length: {number}")], "ab"), 400)));
    // These numbers fit, so they only exceed the limit of a body.
    let numbers = [
        "18446744073709551615",
        "9223372036854775808",
        "4294967298",
        "4294967296",
    ];
    refused(numbers.map(|number| (post(&[&format!("content-length: {number}")], "ab"), 413)));
}

/// RFC 9112 section 6.1: the chunked coding must be understood. Section 7: coding names are
/// case-insensitive. RFC 9110 section 5.6.1.2: empty list elements must be skipped.
#[test]
fn chunked_is_understood() {
    let codings = [
        "transfer-encoding: chunked",
        "transfer-encoding:chunked",
        "Transfer-Encoding: CHUNKED",
        "transfer-encoding: Chunked \t",
        "transfer-encoding: ,chunked",
        "transfer-encoding: chunked,",
        "transfer-encoding: , ,\t, chunked , ,",
        "transfer-encoding:\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: ,",
    ];
    served(codings.map(|field| {
        (
            post(&[field], "2\r\nab\r\n0\r\n\r\n"),
            "POST / for a: \"ab\"",
        )
    }));
}

/// RFC 9112 section 6.3, item 4: if chunked is not the final coding, the length cannot be
/// determined. The answer is 400, and the connection ends. Section 6.1: chunked may not be applied
/// twice.
#[test]
fn codings_that_do_not_end_in_chunked_are_refused() {
    let values = [
        "",
        ",",
        " , ,",
        "gzip",
        "identity",
        "chunked, gzip",
        "chunked, identity",
        "chunked,gzip,",
        "chunked, chunked",
        "chunked,,chunked",
        "gzip, chunked, chunked",
        "xchunked",
        "chunkedx",
        "chunk",
        "cow",
        "a;b=c",
        "gzip;q=1",
    ];
    refused(values.map(|value| {
        let input = post(
            &[&format!("transfer-encoding: {value}")],
            "2\r\nab\r\n0\r\n\r\n",
        );
        (input, 400)
    }));
    refused([
        (
            post(
                &["transfer-encoding: chunked", "transfer-encoding: gzip"],
                "0\r\n\r\n",
            ),
            400,
        ),
        (
            post(
                &["transfer-encoding: chunked", "transfer-encoding: chunked"],
                "0\r\n\r\n",
            ),
            400,
        ),
        (
            post(
                &["transfer-encoding: chunked", "transfer-encoding: identity"],
                "0\r\n\r\n",
            ),
            400,
        ),
    ]);
}

/// RFC 9112 section 6.1: a transfer coding that is not understood should be answered with 501.
#[test]
fn codings_that_are_not_understood_are_not_implemented() {
    let values = [
        "gzip, chunked",
        "chunked, gzip, chunked",
        "gzip,chunked",
        "identity, chunked",
        "x-gzip , chunked",
        "a, b, chunked",
        "gzip;q=0.5, chunked",
        "a;b=\"c, chunked\", chunked",
        "a ; b = c, chunked",
        ",gzip,,chunked",
    ];
    refused(values.map(|value| {
        let input = post(
            &[&format!("transfer-encoding: {value}")],
            "2\r\nab\r\n0\r\n\r\n",
        );
        (input, 501)
    }));
    refused([(
        post(
            &["transfer-encoding: gzip", "transfer-encoding: chunked"],
            "0\r\n\r\n",
        ),
        501,
    )]);
}

/// RFC 9112 section 6.1: a value that is not a list of codings is refused. Section 7.1: parameters
/// of chunked should be treated as an error.
#[test]
fn malformed_codings_are_refused() {
    let values = [
        "chunked;",
        "chunked;a",
        "chunked;a=b",
        "chunked; a=\"b\"",
        "chunked;q=1",
        "\"chunked\"",
        "'chunked'",
        "chunked chunked",
        "chunked\tchunked",
        "chunked;,",
        "chunked=1",
        "chunked/1.1",
        "(a) chunked",
        "[chunked]",
        "\u{b}chunked",
        "chunked\u{c}",
        "\u{a0}chunked",
        "chunke\u{e9}d",
        "a;b=\"c, chunked",
        "gzip chunked",
        "@, chunked",
        "=, chunked",
    ];
    refused(values.map(|value| {
        let input = post(
            &[&format!("transfer-encoding: {value}")],
            "2\r\nab\r\n0\r\n\r\n",
        );
        (input, 400)
    }));
}

/// RFC 9112 section 6.1: a request with both Content-Length and Transfer-Encoding may be refused,
/// and must not leave the connection open.
#[test]
fn both_lengths_are_refused() {
    let body = "2\r\nab\r\n0\r\n\r\n";
    refused([
        (
            post(&["content-length: 12", "transfer-encoding: chunked"], body),
            400,
        ),
        (
            post(&["transfer-encoding: chunked", "content-length: 12"], body),
            400,
        ),
        (
            post(&["transfer-encoding: chunked", "content-length: 0"], body),
            400,
        ),
        (
            post(
                &["content-length: 0", "transfer-encoding: gzip, chunked"],
                body,
            ),
            400,
        ),
        (
            post(&["content-length: 2", "transfer-encoding: identity"], "ab"),
            400,
        ),
        (
            post(&["content-length: 2", "transfer-encoding:"], "ab"),
            400,
        ),
        (
            post(&["content-length: x", "transfer-encoding: chunked"], body),
            400,
        ),
        (
            post(&["transfer-encoding: chunked", "content-length: x"], body),
            400,
        ),
        (
            post(
                &["content-length: 12", "b: c", "TRANSFER-ENCODING: CHUNKED"],
                body,
            ),
            400,
        ),
    ]);
}

/// RFC 9112 section 6.1: the framing of a message of HTTP/1.0 with Transfer-Encoding is faulty,
/// even with a Content-Length, and its connection must be closed.
#[test]
fn codings_of_http_1_0_are_refused() {
    let body = "2\r\nab\r\n0\r\n\r\n";
    let post = |fields: &[&str]| head(&[&["POST / HTTP/1.0"], fields].concat()) + body;
    refused([
        (post(&["transfer-encoding: chunked"]), 400),
        (
            post(&["transfer-encoding: chunked", "connection: keep-alive"]),
            400,
        ),
        (
            post(&["transfer-encoding: chunked", "content-length: 12"]),
            400,
        ),
        (
            post(&["content-length: 12", "transfer-encoding: identity"]),
            400,
        ),
        (post(&["transfer-encoding: gzip, chunked"]), 400),
        (post(&["transfer-encoding:"]), 400),
    ]);
}

/// RFC 9112 section 6.3, item 6: a body that ends before its length is incomplete, which must not
/// be taken for a request, and ends the connection.
#[test]
fn incomplete_bodies_are_refused() {
    on_a_shard(|| {
        let site = Site::new(tell);
        for input in [
            post(&["content-length: 3"], "ab"),
            post(&["content-length: 3"], ""),
            post(&["transfer-encoding: chunked"], "2\r\nab\r\n"),
            post(&["transfer-encoding: chunked"], "2\r\na"),
            post(&["transfer-encoding: chunked"], "0\r\n"),
            post(&["transfer-encoding: chunked"], "0\r\nb: c\r\n"),
            post(&["transfer-encoding: chunked"], ""),
        ] {
            let mut client = site.connect();
            client.send(NEXT.to_owned() + &input);
            client.finish();
            assert_eq!(client.answer().text(), NEXT_TOLD);
            client.last_answer(400);
        }
        site.end();
    });
}

/// RFC 9112 section 11.2: fields that only resemble those of framing.
#[test]
fn what_only_looks_like_framing_is_not() {
    served([
        (get(&["x-content-length: 2"]), "GET / for a: \"\""),
        (get(&["content-length-x: 2"]), "GET / for a: \"\""),
        (get(&["transfer_encoding: chunked"]), "GET / for a: \"\""),
        (get(&["x: content-length: 2"]), "GET / for a: \"\""),
        (get(&["te: chunked"]), "GET / for a: \"\""),
        (get(&["trailer: content-length"]), "GET / for a: \"\""),
        (
            get(&["upgrade: h2c", "http2-settings: a"]),
            "GET / for a: \"\"",
        ),
    ]);
    served_last([(
        get(&["connection: close, content-length"]),
        "GET / for a: \"\"",
    )]);
    // A connection option does not affect the field of the same name.
    served([(
        post(
            &["connection: content-length, host", "content-length: 2"],
            "ab",
        ),
        "POST / for a: \"ab\"",
    )]);
}
