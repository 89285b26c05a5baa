//! RFC 9112 section 5 and RFC 9110 section 5: the syntax of fields.

use ethreads::http::Request;

use crate::http::util::{Site, on_a_shard, settle};
use crate::rfc::support::{get, head, post, refused, served, tell};

/// RFC 9112 section 5.1: whitespace before the colon must be answered with 400; RFC 9110 section
/// 5.1: names are tokens.
#[test]
fn malformed_names_are_refused() {
    let fields = [
        "b : c",
        "b\t: c",
        "b\u{a0}: c",
        ": c",
        ":",
        "b",
        "b c",
        "b c: d",
        "b\0: c",
        "b\u{7f}: c",
        "b(c): d",
        "b;c: d",
        "b\"c\": d",
        "b/c: d",
        "b@c: d",
        "b[c]: d",
        "\u{e9}: c",
        "\u{b}b: c",
        "content-length : 2",
        "transfer-encoding : chunked",
        "host : a",
    ];
    refused(fields.map(|field| (head(&["GET / HTTP/1.1", field, "host: a"]), 400)));
    refused([(head(&["GET / HTTP/1.1", "host : a"]), 400)]);
}

/// RFC 9110 section 5.1: names are case-insensitive tokens, and fields that are not recognised
/// should be ignored.
#[test]
fn unknown_fields_are_ignored() {
    served([
        (get(&["b: c"]), "GET / for a: \"\""),
        (get(&["!#$%&'*+-.^_`|~1: c"]), "GET / for a: \"\""),
        (get(&["x-anything-at-all: \"(,;:=\\"]), "GET / for a: \"\""),
        (get(&["content_length: 5"]), "GET / for a: \"\""),
        (get(&["content-lengths: 5"]), "GET / for a: \"\""),
        (
            get(&["trailer: b", "te: trailers", "max-forwards: 0"]),
            "GET / for a: \"\"",
        ),
        (post(&["CONTENT-Length: 2"], "ab"), "POST / for a: \"ab\""),
        (head(&["GET / HTTP/1.1", "HoSt: a"]), "GET / for a: \"\""),
    ]);
}

/// A handler that answers with the values of the field `b`.
fn values(request: &mut Request) -> Vec<u8> {
    request
        .headers()
        .get_all("B")
        .map(|value| [b"(", value, b")"].concat())
        .collect::<Vec<_>>()
        .concat()
}

#[track_caller]
fn check_values(rows: &'static [(&'static [u8], &'static [u8])]) {
    on_a_shard(move || {
        let site = Site::new(values);
        let mut client = site.connect();
        for (fields, expected) in rows {
            client.send([b"GET / HTTP/1.1\r\nhost: a\r\n", *fields, b"\r\n\r\n"].concat());
            let answer = client.answer();
            assert_eq!(answer.status, 200, "{}", fields.escape_ascii());
            let got = answer.body.escape_ascii().to_string();
            assert_eq!(got, expected.escape_ascii().to_string());
        }
        site.end();
    });
}

/// RFC 9110 section 5.5: whitespace (SP and HTAB) around a value is not part of the value.
#[test]
fn whitespace_around_values_is_no_part_of_them() {
    check_values(&[
        (b"b:c", b"(c)"),
        (b"b: c", b"(c)"),
        (b"b:\tc", b"(c)"),
        (b"b: \t  c d \t ", b"(c d)"),
        (b"b: c\td", b"(c\td)"),
        (b"b:", b"()"),
        (b"b: ", b"()"),
        (b"b: \t", b"()"),
        (b"b: \xa0c\xa0", b"(\xa0c\xa0)"),
    ]);
}

/// RFC 9112 section 2.2: messages are parsed as octets, not as text; RFC 9110 section 5.5: octets
/// that are not ASCII should be treated as opaque.
#[test]
fn octets_above_ascii_are_opaque() {
    check_values(&[
        (b"b: \xe9", b"(\xe9)"),
        (b"b: \xff\x80", b"(\xff\x80)"),
        // Octets that look like a line end, or the end of text, to a decoder of UTF-8 or UTF-16.
        (
            b"b: \xe5\x98\x8a\xe5\x98\x8d",
            b"(\xe5\x98\x8a\xe5\x98\x8d)",
        ),
        (b"b: \xc0\x8a", b"(\xc0\x8a)"),
        (b"b: \xc3", b"(\xc3)"),
        (b"b: \xc2\x85", b"(\xc2\x85)"),
    ]);
}

/// RFC 9110 section 5.3: the values of fields with one name keep their order.
#[test]
fn repeated_fields_keep_their_order() {
    check_values(&[(b"b: 1, 2\r\nc: x\r\nB: 3\r\nb:", b"(1, 2)(3)()")]);
}

/// RFC 9110 section 5.5: CR, LF and NUL in a value are refused, as are other control characters;
/// RFC 9112 section 2.2: in particular a bare CR.
#[test]
fn control_characters_in_values_are_refused() {
    refused(
        (0..=0x1f_u8)
            .chain([0x7f])
            .filter(|byte| !b"\t\n".contains(byte))
            .map(|byte| {
                let line = [b"b: c", &[byte][..], b"d"].concat();
                let rest = [b"GET / HTTP/1.1\r\nhost: a\r\n", &line[..], b"\r\n\r\n"].concat();
                (rest, 400)
            }),
    );
    refused([
        (get(&["b:\rc"]), 400),
        (get(&["b: c\r"]), 400),
        (get(&["b: c\rd: e"]), 400),
        (get(&["b: c\n"]), 400),
        (get(&["b: c\nd: e"]), 400),
        (get(&["b: \0"]), 400),
        (head(&["GET / HTTP/1.1", "host: a\0"]), 400),
        (head(&["GET / HTTP/1.1", "host: a\rb"]), 400),
    ]);
}

/// RFC 9112 section 5.2: a folded line must be refused with 400, or unfolded.
#[test]
fn folded_lines_are_refused() {
    refused([
        (get(&["b: c", " d"]), 400),
        (get(&["b: c", "\td"]), 400),
        (get(&["b: c", "  d: e"]), 400),
        (get(&["b:", " c"]), 400),
        (get(&["b: c", " "]), 400),
        (get(&["b: c", " \t", "d: e"]), 400),
        (get(&["transfer-encoding:", " chunked"]), 400),
        (get(&["content-length: 1", " 2"]), 400),
        (get(&["b: c", " transfer-encoding: chunked"]), 400),
        ("GET / HTTP/1.1\nhost: a\nb: c\n d\n\n".into(), 400),
        (head(&["GET / HTTP/1.1", "host:", " a"]), 400),
        (head(&["GET / HTTP/1.1", "host: a", " b"]), 400),
        (head(&["GET / HTTP/1.0", "b: c", " d"]), 400),
    ]);
    on_a_shard(|| {
        let site = Site::new(tell);
        let mut client = site.connect();
        client.send(get(&["b: c", " d"]));
        let text = client.last_answer(400).text().to_owned();
        // The section prefers an answer that says what is wrong.
        assert!(text.contains("fold"), "{text}");
        site.end();
    });
}

/// RFC 9110 section 5.4: fields that are too large must be answered with 4xx.
#[test]
fn fields_that_are_too_large_are_refused() {
    let long = "b".repeat(17_000);
    let many = vec!["b: c"; 101];
    refused([
        (get(&[&format!("b: {long}")]), 431),
        (get(&[&format!("{long}: c")]), 431),
        (get(&many), 431),
        (
            post(&[&format!("content-length: {}1", "0".repeat(17_000))], "a"),
            431,
        ),
    ]);
}

/// RFC 9110 section 5.3: a request must not be applied before its whole header section has come.
#[test]
fn nothing_happens_before_the_head_is_complete() {
    on_a_shard(|| {
        let site = Site::new(|_: &mut Request| -> &str { panic!("is not called") });
        let mut client = site.connect();
        client.send("DELETE / HTTP/1.1\r\nhost: a\r\nauthorization: b\r\n");
        settle();
        // The field that would have made the request conditional is malformed.
        client.send("if-match : \"c\"\r\n\r\n");
        client.last_answer(400);

        // A head that never ends is not a request.
        let mut client = site.connect();
        client.send("DELETE / HTTP/1.1\r\nhost: a\r\n");
        settle();
        client.finish();
        client.last_answer(400);
        site.end();
    });
}

/// RFC 9110 section 3.3: the requests of one connection are independent of each other.
#[test]
fn nothing_is_kept_from_one_request_to_the_next() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| {
            let fields = request.headers().len();
            let user = request.header("authorization").unwrap_or("nobody");
            format!(
                "{user} {fields} {:?} {:?}",
                request.content_length(),
                request.host()
            )
        });
        let mut client = site.connect();
        client.send(post(&["authorization: me", "content-length: 1"], "x"));
        client.send("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
        client.send("GET / HTTP/1.1\r\nhost: b\r\n\r\n");
        assert_eq!(client.answer().text(), "me 3 Some(1) Some(\"a\")");
        assert_eq!(client.answer().text(), "nobody 1 Some(0) None");
        assert_eq!(client.answer().text(), "nobody 1 Some(0) Some(\"b\")");
        site.end();
    });
}
