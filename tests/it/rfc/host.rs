//! RFC 9112 section 3.2 and RFC 9110 section 7.2: the Host field.

use crate::rfc::support::{get, head, refused, served, served_last};

fn with_host(value: &str) -> String {
    head(&["GET / HTTP/1.1", &format!("host: {value}")])
}

/// RFC 9112 section 3.2: a request of HTTP/1.1 without a Host field must be answered with 400.
#[test]
fn without_one_a_request_is_refused() {
    refused([
        (head(&["GET / HTTP/1.1"]), 400),
        (head(&["GET / HTTP/1.1", "x-host: a"]), 400),
        (head(&["GET / HTTP/1.1", "hosts: a"]), 400),
        (head(&["OPTIONS * HTTP/1.1"]), 400),
        (head(&["get / HTTP/1.1"]), 400),
    ]);
    // HTTP/1.0 had no Host field.
    served_last([(head(&["GET / HTTP/1.0"]), "GET / for : \"\"")]);
}

/// RFC 9112 section 3.2: a request with more than one Host field line must be answered with 400.
#[test]
fn more_than_one_is_refused() {
    refused([
        (get(&["host: a"]), 400),
        (get(&["host: b"]), 400),
        (get(&["HOST:"]), 400),
        (get(&["b: c", "Host: a"]), 400),
        (head(&["GET / HTTP/1.1", "host:", "host:"]), 400),
        (head(&["GET / HTTP/1.0", "host: a", "host: a"]), 400),
    ]);
}

/// RFC 9110 section 7.2: `uri-host [ ":" port ]`, which may be empty by RFC 9112 section 3.2.
#[test]
fn valid_ones_are_told() {
    served([
        (with_host("a"), "GET / for a: \"\""),
        (
            with_host("A.example:8080"),
            "GET / for A.example:8080: \"\"",
        ),
        (with_host("a:"), "GET / for a:: \"\""),
        (with_host("a."), "GET / for a.: \"\""),
        (with_host("a_b-c~d"), "GET / for a_b-c~d: \"\""),
        (with_host("127.0.0.1:80"), "GET / for 127.0.0.1:80: \"\""),
        (with_host("[::1]"), "GET / for [::1]: \"\""),
        (
            with_host("[2001:db8::a:1]:443"),
            "GET / for [2001:db8::a:1]:443: \"\"",
        ),
        (with_host("[::1]:"), "GET / for [::1]:: \"\""),
        (with_host("[v1.a:b]"), "GET / for [v1.a:b]: \"\""),
        (with_host("%61%2e"), "GET / for %61%2e: \"\""),
        (with_host("a!$&'()*+,;="), "GET / for a!$&'()*+,;=: \"\""),
        (with_host(""), "GET / for : \"\""),
        (with_host(" \ta \t"), "GET / for a: \"\""),
    ]);
}

/// RFC 9112 section 3.2: a request with an invalid Host field must be answered with 400.
#[test]
fn invalid_ones_are_refused() {
    let values = [
        "a b",
        "a, b",
        "a/",
        "a/b",
        "/",
        "a?b",
        "a#b",
        "a\\b",
        "u@a",
        "u:p@a",
        "http://a",
        "a:b",
        "a:80:80",
        "a:80x",
        "a:-1",
        "a:+1",
        "a: 80",
        "a :80",
        "a:65536",
        "a:99999999999999999999",
        ":80",
        ":",
        "::1",
        "[",
        "[]",
        "[::1",
        "::1]",
        "[::1]a",
        "[::1]:x",
        "[::g]",
        "[1.2.3.4]",
        "[fe80::1%eth0]",
        "[fe80::1%25eth0]",
        "[v1]",
        "[v1.]",
        "[vg.a]",
        "a[::1]",
        "%",
        "%6",
        "%zz",
        "a%",
        "<a>",
        "\"a\"",
        "a|b",
        "a^b",
        "a`b",
        "{a}",
        "\u{e9}",
        "a\u{7f}b",
    ];
    refused(values.map(|value| (with_host(value), 400)));
    refused([(head(&["GET / HTTP/1.0", "host: a/b"]), 400)]);
}
