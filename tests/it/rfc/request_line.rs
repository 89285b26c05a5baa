//! RFC 9112 sections 2.2, 2.3, 3 and 3.2: the request line, its version and its target.

use std::io::Write;

use ethreads::http::{App, Response};

use crate::http::util::{Site, on_a_shard};
use crate::rfc::support::{NEXT, head, refused, served, served_last, tell};

/// A request with this request line and a host.
fn with_line(line: &str) -> String {
    head(&[line, "host: a"])
}

fn lines<T: Copy>(rows: &[(&str, T)]) -> Vec<(String, T)> {
    rows.iter()
        .map(|&(line, expected)| (with_line(line), expected))
        .collect()
}

/// RFC 9112 section 2.2: a server should ignore at least one empty line before the request line.
#[test]
fn empty_lines_before_it_are_ignored() {
    served([
        ("\r\n".to_owned() + NEXT, "GET /next for a: \"\""),
        ("\r\n\r\n".to_owned() + NEXT, "GET /next for a: \"\""),
        ("\n".to_owned() + NEXT, "GET /next for a: \"\""),
    ]);
    // Some clients send an empty line after a body.
    let body = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nab\r\n";
    served([(body, "POST / for a: \"ab\"")]);
}

/// RFC 9112 section 2.2: input that does not match the grammar should be answered with 400, and the
/// connection should end. Section 3.2: so should an invalid request line, which should not be
/// corrected.
#[test]
fn malformed_lines_are_refused() {
    refused(lines(&[
        ("GET  / HTTP/1.1", 400),
        ("GET /  HTTP/1.1", 400),
        ("GET\t/\tHTTP/1.1", 400),
        ("GET /\u{b}HTTP/1.1", 400),
        ("GET /\u{c}HTTP/1.1", 400),
        (" GET / HTTP/1.1", 400),
        ("GET / HTTP/1.1 ", 400),
        ("GET / HTTP/1.1\t", 400),
        ("GET / a HTTP/1.1", 400),
        ("G ET / HTTP/1.1", 400),
        ("GET", 400),
        ("/", 400),
        ("HTTP/1.1 200 OK", 400),
        ("G(T / HTTP/1.1", 400),
        ("G\u{e9}T / HTTP/1.1", 400),
        ("\"GET\" / HTTP/1.1", 400),
        ("GET /\0 HTTP/1.1", 400),
        ("GET /\u{7f} HTTP/1.1", 400),
        ("G\0T / HTTP/1.1", 400),
        ("\u{feff}GET / HTTP/1.1", 400),
    ]));
    refused([
        ("\0", 400),
        ("{\"json\": true}\r\n\r\n", 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ]);
    // A TLS client at the wrong port.
    refused([(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", 400)]);
}

/// RFC 9112 section 2.2: a bare CR makes its element invalid.
#[test]
fn a_bare_cr_is_refused() {
    refused([
        ("GET / HTTP/1.1\rhost: a\r\n\r\n", 400),
        ("GET /\r HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("G\rET / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\r\nhost: a\r\n\r\n", 400),
        ("\rGET / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\rhost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\r\n", 400),
    ]);
}

/// RFC 9112 section 2.2: a single LF may be taken for a line end. This server does so if all line
/// ends are single LFs.
#[test]
fn bare_lfs_are_line_ends_if_all_are() {
    served([("GET / HTTP/1.1\nhost: a\n\n", "GET / for a: \"\"")]);
    refused([
        ("GET / HTTP/1.1\nhost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\nb: c\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\n\n", 400),
    ]);
}

/// RFC 9112 section 2.2: whitespace between the start line and the first field is refused.
#[test]
fn whitespace_behind_it_is_refused() {
    refused([
        ("GET / HTTP/1.1\r\n host: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\thost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n \r\nhost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n b: c\r\nhost: a\r\n\r\n", 400),
    ]);
}

/// RFC 9112 section 2.3: `HTTP-version` is case-sensitive, and has two digits. RFC 9110 section
/// 6.2: another major version may be answered with 505; section 15.6.6: the 505 should say why.
#[test]
fn versions() {
    refused(lines(&[
        ("GET /", 400),
        ("GET / ", 400),
        ("GET / http/1.1", 400),
        ("GET / HTTP 1.1", 400),
        ("GET / HTTP/1", 400),
        ("GET / HTTP/1.", 400),
        ("GET / HTTP/.1", 400),
        ("GET / HTTP/1.10", 400),
        ("GET / HTTP/01.1", 400),
        ("GET / HTTP/1.1.1", 400),
        ("GET / HTTP/1,1", 400),
        ("GET / HTTP/a.b", 400),
        ("GET / HTTPS/1.1", 400),
        ("GET / XTTP/1.1", 400),
        ("GET / HTTP/1.1x", 400),
        ("GET / HTTP/0.9", 505),
        ("GET / HTTP/2.0", 505),
        ("GET / HTTP/3.0", 505),
        ("GET / HTTP/9.9", 505),
    ]));
    // A request of HTTP/0.9 was only this line.
    refused([("GET /\r\n", 400)]);
}

/// RFC 9110 section 6.2: a higher minor version should be processed as the highest known one.
#[test]
fn a_later_minor_version_is_the_latest_known() {
    served(lines(&[
        ("GET / HTTP/1.2", "GET / for a: \"\""),
        ("GET / HTTP/1.9", "GET / for a: \"\""),
    ]));
    served([
        (
            "\r\nGET / HTTP/1.3\nhost: a\n\n".as_bytes(),
            "GET / for a: \"\"",
        ),
        (
            b"POST / HTTP/1.2\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
              2\r\nab\r\n0\r\n\r\n",
            "POST / for a: \"ab\"",
        ),
    ]);
    refused([("GET / HTTP/1.2\r\n\r\n", 400)]);
}

/// RFC 9112 section 3: a method longer than any that is implemented should be answered with 501. A
/// target longer than any that is supported must be answered with 414.
#[test]
fn lines_that_are_too_long() {
    let long = "a".repeat(9000);
    refused([
        (with_line(&format!("{long} / HTTP/1.1")), 501),
        (with_line(&format!("GET /{long} HTTP/1.1")), 414),
        (with_line(&format!("GET http://a/{long} HTTP/1.1")), 414),
        (with_line(&format!("GET /?{long} HTTP/1.1")), 414),
        (
            with_line(&format!("{} /{long} HTTP/1.1", "a".repeat(40))),
            414,
        ),
    ]);
    // The limit is reached before the line ends.
    refused([(long.clone(), 501), (format!("GET /{long}"), 414)]);
}

/// RFC 9112 section 3: request lines of 8000 octets should be supported; RFC 9110 section 4.1: URIs
/// of 8000 octets.
#[test]
fn lines_of_eight_thousand_octets_are_served() {
    on_a_shard(|| {
        let site = Site::new(tell);
        let mut client = site.connect();
        for target in ["/".to_owned() + &"a".repeat(7999), {
            let prefix = "http://a/?";
            prefix.to_owned() + &"b".repeat(8000 - prefix.len())
        }] {
            assert_eq!(target.len(), 8000);
            client.send(with_line(&format!("OPTIONS {target} HTTP/1.1")));
            let told = format!("OPTIONS {target} for a: \"\"");
            assert_eq!(client.answer().text(), told);
        }
        site.end();
    });
}

/// RFC 9110 section 9.1: the method is a case-sensitive token, and GET and HEAD must be supported.
/// The handler decides what other methods mean.
#[test]
fn methods_are_tokens() {
    served(lines(&[
        ("GET / HTTP/1.1", "GET / for a: \"\""),
        ("get / HTTP/1.1", "get / for a: \"\""),
        ("PROPFIND / HTTP/1.1", "PROPFIND / for a: \"\""),
        ("TRACE / HTTP/1.1", "TRACE / for a: \"\""),
        (
            "!#$%&'*+-.^_`|~1a / HTTP/1.1",
            "!#$%&'*+-.^_`|~1a / for a: \"\"",
        ),
    ]));
}

/// RFC 9112 section 3.2.1: the origin-form is a path, and perhaps a query.
#[test]
fn origin_form() {
    served(lines(&[
        ("GET /a/b HTTP/1.1", "GET /a/b for a: \"\""),
        ("GET /a?b=c&d HTTP/1.1", "GET /a?b=c&d for a: \"\""),
        ("GET /? HTTP/1.1", "GET /? for a: \"\""),
        ("GET //a HTTP/1.1", "GET //a for a: \"\""),
        (
            "GET /../%2e%2E/%00 HTTP/1.1",
            "GET /../%2e%2E/%00 for a: \"\"",
        ),
        (
            "GET /-._~!$&'()*+,;=:@ HTTP/1.1",
            "GET /-._~!$&'()*+,;=:@ for a: \"\"",
        ),
        (
            "GET /?a[]=1&b={|} HTTP/1.1",
            "GET /?a[]=1&b={|} for a: \"\"",
        ),
    ]));
    refused(lines(&[
        ("GET a HTTP/1.1", 400),
        ("GET ?a HTTP/1.1", 400),
        ("GET a/b HTTP/1.1", 400),
        ("GET ../a HTTP/1.1", 400),
        ("GET \\a HTTP/1.1", 400),
        ("GET /a#b HTTP/1.1", 400),
        ("GET /a\"b HTTP/1.1", 400),
        ("GET /<a> HTTP/1.1", 400),
        ("GET /\u{e9} HTTP/1.1", 400),
    ]));
}

/// RFC 9112 section 3.2.2: a server must accept the absolute-form, and must then ignore the Host
/// field and take the host of the target. The Host field must still be there, and be valid.
#[test]
fn absolute_form() {
    served(lines(&[
        ("GET http://b/c HTTP/1.1", "GET http://b/c for b: \"\""),
        (
            "GET http://b:81/c?d HTTP/1.1",
            "GET http://b:81/c?d for b:81: \"\"",
        ),
        ("GET HTTP://B HTTP/1.1", "GET HTTP://B for B: \"\""),
        ("GET http://a/ HTTP/1.1", "GET http://a/ for a: \"\""),
        (
            "GET http://[::1]:80 HTTP/1.1",
            "GET http://[::1]:80 for [::1]:80: \"\"",
        ),
    ]));
    served([(
        head(&["GET http://b/ HTTP/1.1", "host:"]),
        "GET http://b/ for b: \"\"",
    )]);
    served_last([(
        head(&["GET http://b/ HTTP/1.0"]),
        "GET http://b/ for b: \"\"",
    )]);
    refused([
        (head(&["GET http://b/ HTTP/1.1"]), 400),
        (head(&["GET http://b/ HTTP/1.1", "host: a b"]), 400),
        (head(&["GET http://b/ HTTP/1.1", "host: b", "host: b"]), 400),
    ]);
}

/// RFC 9110 section 4.2.1: an http URI without a host must be refused as invalid; section 4.2.4:
/// user information should be treated as an error.
#[test]
fn malformed_absolute_forms_are_refused() {
    refused(lines(&[
        ("GET http:// HTTP/1.1", 400),
        ("GET http:///c HTTP/1.1", 400),
        ("GET http://:80/ HTTP/1.1", 400),
        ("GET http:/b HTTP/1.1", 400),
        ("GET http:b HTTP/1.1", 400),
        ("GET http://u@b/ HTTP/1.1", 400),
        ("GET http://u:p@b/ HTTP/1.1", 400),
        ("GET http://b:x/ HTTP/1.1", 400),
        ("GET http://b:65536/ HTTP/1.1", 400),
        ("GET http://[::1/ HTTP/1.1", 400),
        ("GET http://b/#c HTTP/1.1", 400),
        ("GET ://b/ HTTP/1.1", 400),
        ("GET https:///c HTTP/1.1", 400),
        ("GET https://:443/ HTTP/1.1", 400),
        ("GET https://u@b/ HTTP/1.1", 400),
    ]));
}

/// RFC 9110 section 7.4: a request for an https resource must be refused unless it came over TLS.
#[test]
fn what_is_for_another_scheme_is_misdirected() {
    refused(lines(&[
        ("GET https://a/ HTTP/1.1", 421),
        ("GET HTTPS://a:443/b?c HTTP/1.1", 421),
        ("GET ftp://a/ HTTP/1.1", 421),
        ("GET ws://a/ HTTP/1.1", 421),
    ]));
}

/// RFC 9110 sections 7.1 and 9.3.6: the authority-form is for CONNECT alone, which is refused with
/// 400 if the port is empty or invalid, and is not implemented otherwise.
#[test]
fn authority_form() {
    refused(lines(&[
        ("GET a:80 HTTP/1.1", 400),
        ("OPTIONS a:80 HTTP/1.1", 400),
        ("GET [::1]:80 HTTP/1.1", 400),
        ("CONNECT a:80 HTTP/1.1", 501),
        ("CONNECT [::1]:443 HTTP/1.1", 501),
        ("CONNECT a HTTP/1.1", 400),
        ("CONNECT a: HTTP/1.1", 400),
        ("CONNECT :80 HTTP/1.1", 400),
        ("CONNECT a:x HTTP/1.1", 400),
        ("CONNECT a:65536 HTTP/1.1", 400),
        ("CONNECT / HTTP/1.1", 400),
        ("CONNECT * HTTP/1.1", 400),
        ("CONNECT http://a:80/ HTTP/1.1", 400),
    ]));
}

/// RFC 9110 sections 8.6 and 9.3.6, RFC 9112 section 6.1: a 2xx to CONNECT has no Content-Length
/// and no Transfer-Encoding, whatever the handler says, and the tunnel begins behind its head. An
/// invalid port is refused also where tunnels are made.
#[test]
fn tunnels_begin_behind_the_head() {
    on_a_shard(|| {
        let tunnel = || {
            Response::tunnel(|mut stream| stream.write_all(b"tunnel").unwrap())
                .with_header("content-length", "2")
                .with_header("transfer-encoding", "chunked")
        };
        let site = Site::new(App::new().connect(tunnel));
        let answer = site.exchange(with_line("CONNECT a:80 HTTP/1.1"));
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\ntunnel"), "{answer}");
        for name in ["content-length", "transfer-encoding"] {
            assert!(!answer.contains(name), "{answer}");
        }
        for target in ["a", "a:", ":80", "a:x", "a:65536", "/", "*", "http://a:80/"] {
            let answer = site.exchange(with_line(&format!("CONNECT {target} HTTP/1.1")));
            assert!(answer.starts_with("HTTP/1.1 400 "), "{target}: {answer}");
        }
        site.end();
    });
}

/// RFC 9110 section 7.1: the asterisk-form is for OPTIONS alone.
#[test]
fn asterisk_form() {
    served(lines(&[("OPTIONS * HTTP/1.1", "OPTIONS * for a: \"\"")]));
    refused(lines(&[
        ("GET * HTTP/1.1", 400),
        ("POST * HTTP/1.1", 400),
        ("options * HTTP/1.1", 400),
        ("OPTIONS ** HTTP/1.1", 400),
        ("OPTIONS *?a HTTP/1.1", 400),
        ("OPTIONS /* HTTP/2.0", 505),
    ]));
}
