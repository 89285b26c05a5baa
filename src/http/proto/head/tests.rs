use http::StatusCode;
use proptest::prelude::*;

use super::*;
use crate::http::proto::framing::BodyLength;

/// The outcome of a parse, in owned form.
#[derive(Debug, PartialEq)]
enum Outcome {
    Head(Parsed),
    Refused(ProtoError),
    Incomplete,
}

#[derive(Debug, PartialEq)]
struct Parsed {
    len: usize,
    method: Method,
    target: String,
    version: Version,
    fields: Vec<(String, Vec<u8>)>,
    framing: Framing,
}

/// Feeds `input` in pieces that end at `ends`, as a connection does.
fn feed(input: &[u8], limits: &Limits, ends: impl IntoIterator<Item = usize>) -> Outcome {
    feed_into(&mut RequestHead::new(), input, limits, ends)
}

fn feed_into(
    head: &mut RequestHead,
    input: &[u8],
    limits: &Limits,
    ends: impl IntoIterator<Item = usize>,
) -> Outcome {
    for end in ends {
        let buf = &input[..end];
        match head.parse(buf, limits) {
            Ok(None) => {}
            Err(error) => return Outcome::Refused(error),
            Ok(Some(len)) => {
                let fields = head.headers(buf).iter();
                return Outcome::Head(Parsed {
                    len,
                    method: head.method().clone(),
                    target: head.target().into(),
                    version: head.version(),
                    fields: fields
                        .map(|(name, value)| (name.into(), value.into()))
                        .collect(),
                    framing: head.framing(),
                });
            }
        }
    }
    Outcome::Incomplete
}

/// Parses `input` whole, byte by byte and at every split in two; all outcomes must be the same.
#[track_caller]
fn parse_with(input: &[u8], limits: &Limits) -> Outcome {
    let whole = feed(input, limits, [input.len()]);
    assert_eq!(feed(input, limits, 0..=input.len()), whole, "byte by byte");
    for split in 0..input.len() {
        assert_eq!(
            feed(input, limits, [split, input.len()]),
            whole,
            "split at {split}"
        );
    }
    whole
}

#[track_caller]
fn accept(input: &[u8]) -> Parsed {
    match parse_with(input, &Limits::default()) {
        Outcome::Head(parsed) => parsed,
        other => panic!("{other:?}: {}", input.escape_ascii()),
    }
}

#[track_caller]
fn refuse(input: &[u8], expected: ProtoError) {
    let got = parse_with(input, &Limits::default());
    assert_eq!(got, Outcome::Refused(expected), "{}", input.escape_ascii());
}

#[test]
fn a_head_becomes_offsets() {
    let head =
        b"POST /a?b HTTP/1.1\r\nHost: h:1\r\nX:  a b \t\r\nEmpty:\r\nContent-Length: 3\r\n\r\n";
    let parsed = accept(&[head, &b"abcGET"[..]].concat());
    assert_eq!(parsed.len, head.len());
    assert_eq!(parsed.method, Method::POST);
    assert_eq!(parsed.target, "/a?b");
    assert_eq!(parsed.version, Version::HTTP_11);
    let fields: Vec<_> = parsed
        .fields
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_slice()))
        .collect();
    assert_eq!(
        fields,
        [
            ("Host", &b"h:1"[..]),
            ("X", b"a b"),
            ("Empty", b""),
            ("Content-Length", b"3")
        ]
    );
    assert_eq!(parsed.framing.body, BodyLength::Known(3));
    assert!(parsed.framing.keep_alive);
}

#[test]
fn the_smallest_heads() {
    assert_eq!(accept(b"GET / HTTP/1.0\r\n\r\n").len, 18);
    assert_eq!(accept(b"GET / HTTP/1.0\n\n").len, 16);
    assert_eq!(accept(b"GET / HTTP/1.1\r\nHost:\r\n\r\n").fields.len(), 1);
}

#[test]
fn methods_are_case_sensitive_tokens_rfc9110_9_1() {
    assert_eq!(
        accept(b"PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n")
            .method
            .as_str(),
        "PROPFIND"
    );
    assert_eq!(
        accept(b"get / HTTP/1.1\r\nHost: a\r\n\r\n").method.as_str(),
        "get"
    );
    refuse(
        b"G{T / HTTP/1.1\r\nHost: a\r\n\r\n",
        ProtoError::RequestLine,
    );
    refuse(b" / HTTP/1.1\r\nHost: a\r\n\r\n", ProtoError::RequestLine);
}

#[test]
fn request_line_rfc9112_3() {
    for malformed in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET / a HTTP/1.1",
        "GET /",
        "GET",
        "GET / http/1.1",
        "GET / HTTP/1.1 ",
        "GET / HTTP/11",
        "GET / HTTP/1.10",
        "GET  ",
        "GET / ICY/1.1",
        "GET / HTTP/a.b",
        "GET /\0 HTTP/1.1",
        "GET /\x7f HTTP/1.1",
    ] {
        let input = format!("{malformed}\r\nHost: a\r\n\r\n");
        match parse_with(input.as_bytes(), &Limits::default()) {
            Outcome::Refused(error) => assert_eq!(error.status(), 400, "{malformed:?}"),
            other => panic!("{malformed:?}: {other:?}"),
        }
    }
}

#[test]
fn versions_rfc9112_2_3() {
    for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/3.0"] {
        let input = format!("GET / {version}\r\nHost: a\r\n\r\n");
        refuse(input.as_bytes(), ProtoError::VersionUnsupported);
    }
    refuse(
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ProtoError::VersionUnsupported,
    );
    refuse(
        b"GET / HTTP/2\r\nHost: a\r\n\r\n",
        ProtoError::VersionMalformed,
    );
    refuse(
        b"GET / HTP/1.1\r\nHost: a\r\n\r\n",
        ProtoError::VersionMalformed,
    );
    refuse(b"GET / \r\nHost: a\r\n\r\n", ProtoError::VersionMalformed);
    assert_eq!(accept(b"GET / HTTP/1.0\r\n\r\n").version, Version::HTTP_10);
    assert_eq!(ProtoError::VersionUnsupported.status(), 505);
}

#[test]
fn later_minor_versions_rfc9110_6_2() {
    let parsed = accept(b"\r\nGET /a HTTP/1.9\r\nHost: a\r\nb: HTTP/1.2\r\n\r\n");
    assert_eq!(parsed.version, Version::HTTP_11);
    assert_eq!(parsed.target, "/a");
    assert_eq!(parsed.fields[1], ("b".into(), b"HTTP/1.2".into()));
    accept(b"GET / HTTP/1.2\nHost: a\n\n");
    refuse(b"GET / HTTP/1.2\r\n\r\n", ProtoError::HostMissing);
    refuse(b"GET / HTTP/1.2\r\nHost : a\r\n\r\n", ProtoError::FieldName);
    refuse(
        b"GET /HTTP/1.2 \r\nHost: a\r\n\r\n",
        ProtoError::VersionMalformed,
    );
    refuse(
        b"GET / HTTP/1.22\r\nHost: a\r\n\r\n",
        ProtoError::VersionMalformed,
    );
    refuse(
        b"GET / HTTP/1.2 \r\nHost: a\r\n\r\n",
        ProtoError::VersionMalformed,
    );
}

#[test]
fn target_forms_rfc9112_3_2() {
    let request = |line: &str| format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
    assert_eq!(
        accept(&request("GET http://b:80/c?d")).target,
        "http://b:80/c?d"
    );
    assert_eq!(accept(&request("OPTIONS *")).target, "*");
    assert_eq!(accept(&request("GET /a|b{}")).target, "/a|b{}");
    for line in [
        "GET *",
        "GET a",
        "GET /a#b",
        "GET /a\"b",
        "GET http://",
        "GET /\u{e9}",
    ] {
        refuse(&request(line), ProtoError::Target);
    }
    refuse(&request("CONNECT a:80"), ProtoError::ConnectRefused);
    assert_eq!(ProtoError::ConnectRefused.status(), 501);
    let mut head = RequestHead::new();
    head.take_connect(true);
    let text = request("CONNECT a:80");
    for _ in 0..2 {
        let len = head.parse(&text, &Limits::default());
        assert_eq!(len, Ok(Some(text.len())));
        assert_eq!((head.method(), head.target()), (&Method::CONNECT, "a:80"));
        assert!(!head.framing().keep_alive);
    }
    refuse(&request("CONNECT a"), ProtoError::Target);
    refuse(&request("CONNECT a:"), ProtoError::Target);
    refuse(&request("CONNECT /"), ProtoError::Target);
    refuse(&request("GET https://a/"), ProtoError::Misdirected);
    assert_eq!(ProtoError::Misdirected.status(), 421);
}

#[test]
fn empty_lines_before_the_request_line_are_skipped_rfc9112_2_2() {
    assert_eq!(accept(b"\r\nGET / HTTP/1.0\r\n\r\n").len, 20);
    assert_eq!(accept(b"\r\n\r\n\n\nGET / HTTP/1.0\r\n\r\n").len, 24);
    refuse(b"\rGET / HTTP/1.0\r\n\r\n", ProtoError::LineEnd);
    refuse(b"\r\r\n\r\n", ProtoError::LineEnd);
    let flood = b"\r\n".repeat(Limits::HEAD_BYTES / 2);
    let expected = ProtoError::HeadTooLarge {
        limit: Limits::HEAD_BYTES,
    };
    assert_eq!(
        feed(&flood, &Limits::default(), 0..=flood.len()),
        Outcome::Refused(expected)
    );
}

#[test]
fn line_ends_rfc9112_2_2() {
    accept(b"GET / HTTP/1.1\nHost: a\nX: b\n\n");
    for mixed in [
        &b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: a\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
        b"GET / HTTP/1.0\r\n\n",
        b"GET / HTTP/1.0\n\r\n",
    ] {
        refuse(mixed, ProtoError::LineEndsMixed);
    }
    refuse(b"GET / HTTP/1.1\rHost: a\r\n\r\n", ProtoError::LineEnd);
    refuse(b"GET / HTTP/1.1\r\nHost: a\r\n\rX\n\n", ProtoError::LineEnd);
    refuse(b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", ProtoError::LineEnd);
    refuse(
        b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
        ProtoError::FieldValue,
    );
    refuse(
        b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
        ProtoError::FieldValue,
    );
}

#[test]
fn field_syntax_rfc9112_5_1() {
    for field in [
        "X : a",
        "X\t: a",
        ": a",
        "X",
        "X Y: a",
        "X\0: a",
        "(X): a",
        "X\u{e9}: a",
        "\"X\": a",
    ] {
        let input = format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
        refuse(input.as_bytes(), ProtoError::FieldName);
    }
    refuse(
        b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        ProtoError::LineFolded,
    );
    for field in [
        "X: \0",
        "X: a\0b",
        "X: a\x01",
        "X: \x7f",
        "X: a\x0bb",
        "X:\x0c",
    ] {
        let input = format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
        refuse(input.as_bytes(), ProtoError::FieldValue);
    }
    let parsed = accept(b"GET / HTTP/1.1\r\nHost: a\r\nX:a\tb\xff\r\n\r\n");
    assert_eq!(parsed.fields[1].1, b"a\tb\xff");
}

#[test]
fn folded_fields_are_refused_rfc9112_5_2() {
    for folded in [
        "X: a\r\n b\r\n",
        "\tb\r\n",
        "X: a\r\n b: c\r\n",
        "X: a\r\n \r\nb c: d\r\n",
    ] {
        let input = format!("GET / HTTP/1.1\r\nHost: a\r\n{folded}\r\n");
        refuse(input.as_bytes(), ProtoError::LineFolded);
    }
    // The first violation is reported, whatever follows.
    refuse(
        b"GET / HTTP/1.1\r\nHost: a\r\nb c: d\r\n e\r\n\r\n",
        ProtoError::FieldName,
    );
}

#[test]
fn framing_is_decided_with_the_head_rfc9112_6_3() {
    let both =
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
    refuse(both, ProtoError::LengthAndCoding);
    refuse(b"GET / HTTP/1.1\r\n\r\n", ProtoError::HostMissing);
    refuse(
        b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
        ProtoError::HostRepeated,
    );
    refuse(b"GET http://a/ HTTP/1.1\r\n\r\n", ProtoError::HostMissing);
    let parsed = accept(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tchunked \r\n\r\n");
    assert_eq!(parsed.framing.body, BodyLength::Chunked);
}

fn small() -> Limits {
    Limits {
        head_bytes: 60,
        request_line_bytes: 20,
        fields: 3,
        ..Limits::default()
    }
}

#[track_caller]
fn check_small(input: &[u8], expected: Result<usize, ProtoError>) {
    let got = match parse_with(input, &small()) {
        Outcome::Head(parsed) => Ok(parsed.len),
        Outcome::Refused(error) => Err(error),
        Outcome::Incomplete => panic!("incomplete: {}", input.escape_ascii()),
    };
    assert_eq!(got, expected, "{}", input.escape_ascii());
}

#[test]
fn request_line_limit_rfc9112_3() {
    let too_long = Err(ProtoError::RequestLineTooLong { limit: 20 });
    check_small(b"GET /123 HTTP/1.0\r\n\r\n", Ok(21));
    check_small(b"GET /1234 HTTP/1.0\r\n\r\n", Ok(22));
    check_small(b"GET /12345 HTTP/1.0\r\n\r\n", too_long);
    check_small(b"\r\nGET /1234 HTTP/1.0\r\n\r\n", Ok(24));
    check_small(b"GET /12345678901234567890", too_long);
    check_small(b"GET /12345 HTTP/1.1\r\nX : no\r\n\r\n", too_long);
    check_small(b"GET /1234567890 HTTP/9.9\r\n\r\n", too_long);
    // A violation before the limit is reported first.
    check_small(
        b"G@T /12345678901234567890 HTTP/1.1\r\n\r\n",
        Err(ProtoError::RequestLine),
    );
    let method_too_long = Err(ProtoError::MethodTooLong { limit: 20 });
    check_small(b"12345678901234567890 / HTTP/1.1\r\n\r\n", method_too_long);
    check_small(b"12345678901234567890", method_too_long);
    check_small(b"1234567890123456789 / HTTP/1.1\r\n\r\n", too_long);
    assert_eq!(ProtoError::MethodTooLong { limit: 0 }.status(), 501);
    // A violation beyond the limit is not seen.
    check_small(b"GET /12345678901234567\x01 HTTP/1.1\r\n\r\n", too_long);
    assert_eq!(
        ProtoError::RequestLineTooLong { limit: 0 }.status(),
        StatusCode::URI_TOO_LONG
    );
}

#[test]
fn head_limits_rfc6585_5() {
    let too_large = Err(ProtoError::HeadTooLarge { limit: 60 });
    let padded = |len: usize| {
        let mut head = b"GET / HTTP/1.0\r\nX: ".to_vec();
        head.resize(len - 4, b'a');
        head.extend_from_slice(b"\r\n\r\n");
        head
    };
    check_small(&padded(60), Ok(60));
    check_small(&padded(61), too_large);
    check_small(&padded(200), too_large);
    check_small(&padded(70)[..60], too_large);
    let mut late = padded(100);
    late[90] = 0;
    check_small(&late, too_large);
    late[50] = 0;
    check_small(&late, Err(ProtoError::FieldValue));

    check_small(b"GET / HTTP/1.0\r\na:\r\nb:\r\nc:\r\n\r\n", Ok(30));
    let too_many = Err(ProtoError::TooManyFields { limit: 3 });
    check_small(b"GET / HTTP/1.0\r\na:\r\nb:\r\nc:\r\nd:\r\n\r\n", too_many);
    assert_eq!(ProtoError::TooManyFields { limit: 3 }.status(), 431);
}

#[test]
fn field_counts_around_the_inline_ones() {
    for count in [
        0,
        1,
        INLINE_FIELDS - 1,
        INLINE_FIELDS,
        INLINE_FIELDS + 1,
        Limits::FIELDS,
    ] {
        let head = format!("GET / HTTP/1.0\r\n{}\r\n", "a:b\r\n".repeat(count));
        let outcome = feed(head.as_bytes(), &Limits::default(), [head.len()]);
        let Outcome::Head(parsed) = outcome else {
            panic!("{count}: {outcome:?}")
        };
        assert_eq!((parsed.len, parsed.fields.len()), (head.len(), count));
    }
    let head = format!(
        "GET / HTTP/1.0\r\n{}\r\n",
        "a:b\r\n".repeat(Limits::FIELDS + 1)
    );
    let expected = ProtoError::TooManyFields {
        limit: Limits::FIELDS,
    };
    assert_eq!(
        feed(head.as_bytes(), &Limits::default(), [head.len()]),
        Outcome::Refused(expected)
    );
}

#[test]
fn a_head_is_used_again_for_the_next_request() {
    let limits = Limits::default();
    let mut head = RequestHead::new();
    let first = b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: y\r\n\r\n";
    assert_eq!(head.parse(&first[..30], &limits), Ok(None));
    assert_eq!(head.parse(first, &limits), Ok(Some(first.len())));
    assert!(!head.framing().keep_alive);
    let second = b"PUT /b HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(head.parse(b"", &limits), Ok(None));
    assert_eq!(head.parse(&second[..1], &limits), Ok(None));
    assert_eq!(head.parse(second, &limits), Ok(Some(second.len())));
    assert_eq!((head.method(), head.target()), (&Method::PUT, "/b"));
    assert!(head.framing().keep_alive);
    assert_eq!(head.headers(second).len(), 1);
}

/// A head in pieces may stay undecided where the whole head is refused. At the end of the stream
/// both have the same outcome.
#[test]
fn a_head_that_stays_incomplete_is_refused_like_a_whole_one() {
    let limits = Limits::default();
    for (input, expected) in [
        (
            &b"GET / HTTP/2.0\r\n"[..],
            Err(ProtoError::VersionUnsupported),
        ),
        (b"GET  / HTTP/1.1\r\nHost", Err(ProtoError::RequestLine)),
        (b"GET / HTTP/1.1\r\nHost", Ok(())),
        (b"\r\n", Ok(())),
    ] {
        let mut head = RequestHead::new();
        for end in 1..=input.len() {
            if head.parse(&input[..end], &limits).is_err() {
                break;
            }
        }
        assert_eq!(head.check_incomplete(input, &limits), expected);
        assert_eq!(
            RequestHead::new().check_incomplete(input, &limits),
            expected
        );
    }
}

/// A repetition is recognised only of the last head that was accepted.
#[test]
fn only_what_the_connection_has_just_accepted_is_known() {
    let mut head = RequestHead::new();
    let limits = Limits::default();
    let mut parse = |input: &str| {
        head.parse(input.as_bytes(), &limits)
            .map(|len| len.is_some())
    };
    let first = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(parse(first), Ok(true));
    assert_eq!(
        parse("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        Err(ProtoError::HostMalformed)
    );
    // The refused head has overwritten the state of the first.
    assert_eq!(parse(first), Ok(true));
    // A head that is too long to be kept still replaces the head before it.
    let long = format!(
        "POST /b HTTP/1.1\r\nHost: b\r\nX: {}\r\n\r\n",
        "x".repeat(2000)
    );
    assert_eq!(parse(&long), Ok(true));
    assert_eq!(parse(first), Ok(true));
    assert_eq!((head.method(), head.target()), (&Method::GET, "/"));
    assert_eq!(head.headers(first.as_bytes()).get_str("host"), Some("a"));
    assert_eq!(head.headers(first.as_bytes()).get("x"), None);
}

#[test]
/// A head from a slow peer is not parsed again for each byte: only when the search says so.
fn the_search_asks_for_a_parse_only_at_empty_lines() {
    let input = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut search = Search::default();
    let asked: Vec<_> = (1..=input.len())
        .filter(|&end| search.advance(&input[..end]))
        .collect();
    assert_eq!(asked, [input.len()]);
    let mut search = Search::default();
    assert!(search.advance(b"GET / HTTP/1.0\n\n"));
    assert!(!search.advance(b"GET / HTTP/1.0\n\nmore"));
}

/// Request lines and field sections that differ in what decides about a repetition.
fn head_of_few() -> impl Strategy<Value = Vec<u8>> {
    let lines = [
        "GET / HTTP/1.1\r\n",
        "GET /longer?q HTTP/1.1\r\n",
        "POST / HTTP/1.1\r\n",
        "GET / HTTP/1.0\r\n",
        "GET / HTTP/1.1\n",
        "\r\nGET / HTTP/1.1\r\n",
        "GET http://b/ HTTP/1.1\r\n",
        "OPTIONS * HTTP/1.1\r\n",
        "GET * HTTP/1.1\r\n",
        "GET /# HTTP/1.1\r\n",
        "GET /\r\n",
        "GET / HTTP/2.0\r\n",
        "GET /a-line-that-is-too-long-for-the-small-limits HTTP/1.1\r\n",
        "",
    ];
    let fields = [
        "Host: a\r\n\r\n",
        "Host: a\r\n\r\nGET",
        "host: a\r\nConnection: close\r\n\r\n",
        "Host: a\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\n",
        "Host: a\r\nContent-Length: 4\r\n\r\n",
        "Host: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        "Host: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
        "Host: a\n\n",
        "Host: a\r\n\n",
        "Host: a\r\n",
        "X: y\r\n\r\n",
        "\r\n",
    ];
    let line = prop::sample::select(lines.to_vec());
    let fields = prop::sample::select(fields.to_vec());
    (line, fields).prop_map(|(line, fields)| format!("{line}{fields}").into_bytes())
}

/// Bytes that get further in the parser than noise would.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "GET / HTTP/1.1\r\n",
        "POST /a?b HTTP/1.0\r\n",
        "Host: a\r\n",
        "Content-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "\r\n",
        "\n",
        "\r",
        "X: ",
        "HTTP/1.",
        " ",
        ":",
    ];
    let known = prop::sample::select(known.to_vec()).prop_map(|piece| piece.as_bytes().to_vec());
    let piece = prop_oneof![4 => known, 1 => prop::collection::vec(any::<u8>(), 0..8)];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(input in prop::collection::vec(any::<u8>(), 0..200)) {
        feed(&input, &Limits::default(), 0..=input.len());
    }

    /// Splits change nothing, also under small limits, once there is an empty line: without one a
    /// malformed head in pieces may stay undecided.
    #[test]
    fn splits_never_change_the_outcome(
        mut input in noise(),
        at in any::<prop::sample::Index>(),
        limits in prop_oneof![Just(Limits::default()), Just(small())],
    ) {
        input.extend_from_slice(b"\r\n\r\n");
        let whole = feed(&input, &limits, [input.len()]);
        let split = at.index(input.len());
        prop_assert_eq!(&feed(&input, &limits, [split, input.len()]), &whole);
        prop_assert_eq!(&feed(&input, &limits, 0..=input.len()), &whole);
    }

    /// The earlier heads of a connection change nothing for the next head.
    #[test]
    fn repetitions_are_as_if_parsed(
        heads in prop::collection::vec((head_of_few(), any::<prop::sample::Index>()), 2..8),
        limits in prop_oneof![Just(Limits::default()), Just(small())],
    ) {
        let mut head = RequestHead::new();
        for (input, split) in heads {
            let split = split.index(input.len() + 1);
            let fresh = feed(&input, &limits, [split, input.len()]);
            prop_assert_eq!(&feed_into(&mut head, &input, &limits, [split, input.len()]), &fresh);
            if matches!(fresh, Outcome::Incomplete) {
                // The connection would continue with the same head.
                head.search = Search::default();
            }
        }
    }

    /// What is accepted is inside the input, and is what was written.
    #[test]
    fn fields_round_trip(
        fields in prop::collection::vec(("x-[a-z]{1,9}", "[!-~]([ -~]{0,9}[!-~])?"), 0..50),
    ) {
        let mut input = String::from("GET /x HTTP/1.0\r\n");
        for (name, value) in &fields {
            input += &format!("{name}: {value}\r\n");
        }
        input += "\r\nrest";
        let outcome = feed(input.as_bytes(), &Limits::default(), [input.len()]);
        let Outcome::Head(parsed) = outcome else { panic!("{outcome:?}") };
        let expected: Vec<_> = fields.into_iter().map(|(n, v)| (n, v.into_bytes())).collect();
        prop_assert_eq!(parsed.fields, expected);
        prop_assert_eq!(parsed.len, input.len() - 4);
    }
}
