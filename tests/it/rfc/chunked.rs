//! RFC 9112 section 7.1: the chunked transfer coding.

use ethreads::http::{Limits, Request, Result};

use crate::http::util::{Site, on_a_shard};
use crate::rfc::support::{post, refused, served};

fn chunked(body: &str) -> String {
    post(&["transfer-encoding: chunked"], body)
}

/// RFC 9112 section 7.1: the coding must be parsed and decoded.
#[test]
fn chunks_are_decoded() {
    served([
        (chunked("0\r\n\r\n"), "POST / for a: \"\""),
        (chunked("2\r\nab\r\n0\r\n\r\n"), "POST / for a: \"ab\""),
        (
            chunked("1\r\na\r\n1\r\nb\r\n0\r\n\r\n"),
            "POST / for a: \"ab\"",
        ),
        (
            chunked("a\r\n0123456789\r\n0\r\n\r\n"),
            "POST / for a: \"0123456789\"",
        ),
        (
            chunked("A\r\n0123456789\r\n0\r\n\r\n"),
            "POST / for a: \"0123456789\"",
        ),
        (
            chunked("4\r\n\r\n\r\n\r\n0\r\n\r\n"),
            "POST / for a: \"\\r\\n\\r\\n\"",
        ),
        (
            chunked("5\r\n0\r\n\r\n\r\n0\r\n\r\n"),
            "POST / for a: \"0\\r\\n\\r\\n\"",
        ),
        (chunked("02\r\nab\r\n000\r\n\r\n"), "POST / for a: \"ab\""),
        (
            chunked("00000000000000000000002\r\nab\r\n00000000000000000000\r\n\r\n"),
            "POST / for a: \"ab\"",
        ),
    ]);
}

/// RFC 9112 section 7.1: `chunk-size = 1*HEXDIG`.
#[test]
fn malformed_sizes_are_refused() {
    let sizes = [
        "", " ", "g", "-2", "+2", "0x2", "2h", "x2", "2.0", "2,", "\"2\"", " 2", "\t2", "2 2",
        "_2", "2_", "\u{b}2", "2\u{c}", "\0", "2\0", "٢", "\r", "2\r",
    ];
    refused(sizes.map(|size| (chunked(&format!("{size}\r\nab\r\n0\r\n\r\n")), 400)));
}

/// RFC 9112 section 7.1: large sizes must be anticipated, and not overflow.
#[test]
fn large_sizes_do_not_overflow() {
    let sizes = [
        "10000000000000000".to_owned(),
        "10000000000000002".to_owned(),
        "00010000000000000002".to_owned(),
        "100000000000000000000000000000002".to_owned(),
        "f".repeat(17),
        "f".repeat(1000),
        // Leading zeros are limited as extensions are.
        "0".repeat(17_000) + "2",
    ];
    refused(sizes.map(|size| (chunked(&format!("{size}\r\nab\r\n0\r\n\r\n")), 400)));
    // The largest size that fits, and sizes that wrap around in 32 or 63 bits, claim all data that
    // follows, which is more than the limit of a body.
    let rest = "a".repeat(Limits::BODY_BYTES as usize + 1);
    let sizes = ["ffffffffffffffff", "8000000000000002", "100000002"];
    refused(sizes.map(|size| (chunked(&format!("{size}\r\n{rest}")), 413)));
}

/// RFC 9112 section 7.1: lines and data end in CRLF.
#[test]
fn line_ends_are_exact() {
    let bodies = [
        "2\nab\r\n0\r\n\r\n",
        "2\r\nab\n0\r\n\r\n",
        "2\r\nab\r\n0\n\r\n",
        "2\r\nab\r\n0\r\n\n",
        "2\rab\r\n0\r\n\r\n",
        "2\r\nab\r0\r\n\r\n",
        "2\r\r\nab\r\n0\r\n\r\n",
        "2\r\nab\r\r\n0\r\n\r\n",
        "2\n\r\nab\r\n0\r\n\r\n",
        "2\r\nab0\r\n\r\n",
        "2\r\nabc\r\n0\r\n\r\n",
        "2\r\na\r\n0\r\n\r\n",
        "2\r\nab \r\n0\r\n\r\n",
        "2\r\nab\r\n\r\n0\r\n\r\n",
        "\r\n2\r\nab\r\n0\r\n\r\n",
        "2\r\nab\r\n0\r\n\r\r",
        "2\r\nab\r\n0\r\n x",
    ];
    refused(bodies.map(|body| (chunked(body), 400)));
}

/// RFC 9112 section 7.1.1: unrecognised extensions must be ignored. RFC 9110 section 5.6.3: bad
/// whitespace around them must be parsed; section 5.6.4: any character may be quoted.
#[test]
fn extensions_are_ignored() {
    let extensions = [
        ";a",
        ";a=b",
        ";a=\"b\"",
        ";a=\"\"",
        ";a;b;c",
        ";a=b;c=\"d\"",
        " ;a",
        "\t;a",
        "; a",
        ";\ta",
        ";a =b",
        ";a= b",
        ";a = b",
        ";a ; b",
        ";a=\"b\" ;c",
        ";a=\"b;c=d\"",
        ";a=\"\\\"\"",
        ";a=\"\\\\\"",
        ";a=\"\\b\"",
        ";a=\"\\\t\"",
        ";a=\"\u{e9}\"",
        ";a=\"0\"",
        ";!#$%&'*+-.^_`|~=1",
    ];
    served(extensions.map(|extension| {
        let body = format!("2{extension}\r\nab\r\n0{extension}\r\n\r\n");
        (chunked(&body), "POST / for a: \"ab\"")
    }));
}

/// RFC 9112 section 7.1.1: malformed extensions are refused, as their end would be a guess.
#[test]
fn malformed_extensions_are_refused() {
    let extensions = [
        ";",
        " ",
        "\t",
        ";;a",
        "; ;a",
        ";=",
        ";=b",
        ";a=",
        ";a==b",
        ";a=b=c",
        ";a b",
        ";a=b c",
        ";a ",
        ";a=b ",
        " a",
        ";a=\"b",
        ";a=\"b\"c",
        ";a=b\"c\"",
        ";a=\"\\",
        ";a=\"\0\"",
        ";a=\"\u{7f}\"",
        ";\u{e9}",
        ";a=\u{e9}",
        ";a\0",
        ";a=(b)",
        ";a@b",
        ",a",
        "=a",
        ";a\n",
        ";\n",
        ";a=\"\n\"",
        ";a\r",
        ";a=\"b\rc\"",
        ";a\rb",
    ];
    refused(extensions.map(|extension| {
        let body = format!("2{extension}\r\nab\r\n0\r\n\r\n");
        (chunked(&body), 400)
    }));
}

/// RFC 9112 section 7.1.1: a server ought to limit the total length of extensions, and answer
/// longer ones with 4xx.
#[test]
fn extensions_have_a_limit() {
    let long = format!("2;a={}\r\nab\r\n0\r\n\r\n", "b".repeat(17_000));
    let many = "1;a=b\r\na\r\n".repeat(5000) + "0\r\n\r\n";
    refused([(chunked(&long), 400), (chunked(&many), 400)]);
    let some = format!("2;a={}\r\nab\r\n0\r\n\r\n", "b".repeat(16_000));
    served([(chunked(&some), "POST / for a: \"ab\"")]);
}

/// RFC 9112 section 7.1.2: the trailer section consists of field lines.
#[test]
fn trailers_are_parsed() {
    let trailers = [
        "b: c\r\n",
        "b:c\r\n",
        "b:\r\n",
        "b: c\r\nd: e\r\n",
        "b: \t\"c\u{e9}\t\r\n",
        "!#$%&'*+-.^_`|~1: c\r\n",
        "checksum: 0\r\nb: 0\r\n",
    ];
    served(trailers.map(|trailer| {
        let body = format!("2\r\nab\r\n0\r\n{trailer}\r\n");
        (chunked(&body), "POST / for a: \"ab\"")
    }));
    let malformed = [
        "b\r\n",
        "b c\r\n",
        "b : c\r\n",
        "b\t: c\r\n",
        ": c\r\n",
        " b: c\r\n",
        "b: c\r\n d\r\n",
        "b: c\r\n\td: e\r\n",
        "b: c\n",
        "b: c\r",
        "b: \0\r\n",
        "b: \u{7f}\r\n",
        "b: c\rd\r\n",
        "\u{e9}: c\r\n",
        "b(c): d\r\n",
        "\n",
    ];
    refused(malformed.map(|trailer| {
        let body = format!("2\r\nab\r\n0\r\n{trailer}\r\n");
        (chunked(&body), 400)
    }));
}

/// RFC 9110 section 5.4: a trailer section that is too large must be answered with 4xx too.
#[test]
fn trailers_have_a_limit() {
    let long = format!("0\r\nb: {}\r\n\r\n", "c".repeat(9000));
    let many = format!("0\r\n{}\r\n", "b: c\r\n".repeat(2000));
    refused([(chunked(&long), 431), (chunked(&many), 431)]);
}

/// RFC 9112 section 7.1.2 and RFC 9110 section 6.5.1: trailer fields must not be merged into the
/// header section, least of all those of framing and routing.
#[test]
fn trailers_are_no_headers() {
    served([
        (
            chunked("0\r\ncontent-length: 5\r\n\r\n"),
            "POST / for a: \"\"",
        ),
        (
            chunked("0\r\ntransfer-encoding: gzip\r\n\r\n"),
            "POST / for a: \"\"",
        ),
        (
            chunked("0\r\nhost: b\r\nhost: c/d\r\n\r\n"),
            "POST / for a: \"\"",
        ),
        (
            chunked("0\r\nconnection: close\r\n\r\n"),
            "POST / for a: \"\"",
        ),
        (chunked("0\r\nexpect: b\r\n\r\n"), "POST / for a: \"\""),
    ]);
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| -> Result<String> {
            let before = request.headers().len();
            request.bytes()?;
            let authorization = request.header("authorization").unwrap_or("none");
            Ok(format!(
                "{before} {} {authorization}",
                request.headers().len()
            ))
        });
        let mut client = site.connect();
        client.send(chunked("1\r\na\r\n0\r\nauthorization: b\r\n\r\n"));
        assert_eq!(client.answer().text(), "2 2 none");
        site.end();
    });
}
