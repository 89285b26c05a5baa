//! The streams, and the outcome of each.

use ethreads::http::Limits;

/// A stream and its outcome, as [`Outcome::summary`] gives it: the statuses while the peer's side
/// is open, whether the server ended the connection, the statuses after the peer's end.
pub(super) struct Case {
    pub(super) input: &'static str,
    pub(super) expected: &'static str,
}

pub(super) const fn case(input: &'static str, expected: &'static str) -> Case {
    Case { input, expected }
}

/// Requests that are well-formed.
pub(super) const GOOD: &[Case] = &[
    case("GET / HTTP/1.1\r\nhost: a\r\n\r\n", "200 open"),
    case(
        "GET /a?b=c HTTP/1.1\r\nHost: a:80\r\nX:\t y \t\r\nEmpty:\r\n\r\n",
        "200 open",
    ),
    // RFC 9112 section 2.2: empty lines before a request, bare LF in all lines.
    case("\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", "200 open"),
    case("\nGET / HTTP/1.1\nhost: a\n\n", "200 open"),
    case("GET http://b/c HTTP/1.1\r\nhost: b\r\n\r\n", "200 open"),
    case("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", "200 open"),
    case("BREW / HTTP/1.1\r\nhost: a\r\n\r\n", "200 open"),
    case("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n", "200 open"),
    case("HEAD /stream HTTP/1.1\r\nhost: a\r\n\r\n", "200 open"),
    case("GET /nothing HTTP/1.1\r\nhost: a\r\n\r\n", "204 open"),
    case("GET /stream HTTP/1.1\r\nhost: a\r\n\r\n", "200 open"),
    // RFC 9110 section 7.8.
    case(
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        "200 open",
    ),
    // RFC 9112 section 9.3.
    case("GET / HTTP/1.0\r\n\r\n", "200 closed"),
    case(
        "GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
        "200 open",
    ),
    case(
        "GET /stream HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
        "200 closed",
    ),
    case("HEAD / HTTP/1.0\r\n\r\n", "200 closed"),
    case(
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: x, Close\r\n\r\n",
        "200 closed",
    ),
    case("GET /close HTTP/1.1\r\nhost: a\r\n\r\n", "200 closed"),
    // RFC 9112 section 6.3.
    case(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello",
        "200 open",
    ),
    case(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
        "200 open",
    ),
    case(
        "POST / HTTP/1.0\r\ncontent-length: 2\r\n\r\nhi",
        "200 closed",
    ),
    case(
        "POST /slowly HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n\r\n\r\nGET /",
        "200 open",
    ),
    case(
        "POST /unread HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nunread",
        "200 open",
    ),
    case(
        "POST /part HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\npartly",
        "200 open",
    ),
    case(
        "POST /close HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nend",
        "200 closed",
    ),
    case(
        "HEAD / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nend",
        "200 open",
    ),
    // RFC 9112 section 7.1.
    case(
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\n\r\n",
        "200 open",
    ),
    case(
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: Chunked\r\n\r\n0\r\n\r\n",
        "200 open",
    ),
    case(
        "POST /slowly HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
         00A;x=y; z = \"a;\\\"b\\r\" ;w\r\n0123456789\r\n1\r\n\n\r\n000\r\n\r\n",
        "200 open",
    ),
    case(
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
         3;a\r\nabc\r\n0;b\r\nx-sum: 1\r\nY:  \t2 \r\n\r\n",
        "200 open",
    ),
    case(
        "POST /unread HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
         3\r\nabc\r\n0\r\ntrailer: x\r\n\r\n",
        "200 open",
    ),
    case(
        "POST /part HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
         1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
        "200 open",
    ),
    // RFC 9110 section 10.1.1.
    case(
        "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\nbody",
        "200 open",
    ),
    case(
        "PUT /slowly HTTP/1.1\r\nhost: a\r\nexpect: 100-Continue\r\n\
         transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        "200 open",
    ),
    case(
        "GET / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n\r\n",
        "200 open",
    ),
    case(
        "POST / HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\nx",
        "200 closed",
    ),
    // Pipelined.
    case(
        "GET / HTTP/1.1\r\nhost: a\r\n\r\nHEAD /stream HTTP/1.1\r\nhost: b\r\n\r\n\
         GET /nothing HTTP/1.1\r\nhost: c\r\n\r\n",
        "200 200 204 open",
    ),
    case(
        "POST /unread HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc\
         POST /slowly HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n\
         \r\nGET /stream HTTP/1.1\r\nhost: a\r\n\r\n",
        "200 200 200 open",
    ),
    case(
        "POST /one HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
         3;a=\"b\"\r\nabc\r\n2\r\nde\r\n0\r\nchecksum: 1\r\n\r\n\
         POST /two HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nfg\
         GET /three?x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        "200 200 200 closed",
    ),
    case(
        "GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.0\r\n\r\n",
        "200 200 closed",
    ),
];

/// Heads that are refused.
pub(super) const BAD_HEADS: &[Case] = &[
    // RFC 9112 section 3.
    case("GET  / HTTP/1.1\r\nhost: a\r\n\r\n", "400 closed"),
    case("GET / HTTP/1.1 \r\nhost: a\r\n\r\n", "400 closed"),
    case("GET / x HTTP/1.1\r\nhost: a\r\n\r\n", "400 closed"),
    case("GET\t/ HTTP/1.1\r\nhost: a\r\n\r\n", "400 closed"),
    case("G(T / HTTP/1.1\r\nhost: a\r\n\r\n", "400 closed"),
    case("GET /#x HTTP/1.1\r\nhost: a\r\n\r\n", "400 closed"),
    case("GET x HTTP/1.1\r\nhost: a\r\n\r\n", "400 closed"),
    case("GET * HTTP/1.1\r\nhost: a\r\n\r\n", "400 closed"),
    case("GET /\r\n\r\n", "400 closed"),
    case("\r\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", "400 closed"),
    case("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n", "501 closed"),
    // RFC 9112 section 2.3.
    case("GET / HTTP/2.0\r\nhost: a\r\n\r\n", "505 closed"),
    case("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 closed"),
    case("GET / http/1.1\r\nhost: a\r\n\r\n", "400 closed"),
    case("GET / HTTP/1.10\r\nhost: a\r\n\r\n", "400 closed"),
    // RFC 9112 sections 2.2 and 5.
    case("GET / HTTP/1.1\r\nhost: a\r\nx : y\r\n\r\n", "400 closed"),
    case(
        "GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n z\r\n\r\n",
        "400 closed",
    ),
    case("GET / HTTP/1.1\r\n x: y\r\nhost: a\r\n\r\n", "400 closed"),
    case("GET / HTTP/1.1\r\nhost: a\r\n: y\r\n\r\n", "400 closed"),
    case("GET / HTTP/1.1\r\nhost: a\r\nxy\r\n\r\n", "400 closed"),
    case("GET / HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n", "400 closed"),
    case("GET / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n", "400 closed"),
    case("GET / HTTP/1.1\r\nhost: a\nx: b\r\n\r\n", "400 closed"),
    case("GET / HTTP/1.1\r\nhost: a\r\n\n", "400 closed"),
    // RFC 9112 section 3.2.
    case("GET / HTTP/1.1\r\nx: y\r\n\r\n", "400 closed"),
    case("GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", "400 closed"),
    case("GET / HTTP/1.1\r\nhost: a b\r\n\r\n", "400 closed"),
    // RFC 9112 section 6.
    case(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\nx",
        "400 closed",
    ),
    case(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: \r\n\r\nx",
        "400 closed",
    ),
    case(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 18446744073709551616\r\n\r\n",
        "400 closed",
    ),
    case(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxy",
        "400 closed",
    ),
    case(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n\
         0\r\n\r\n",
        "400 closed",
    ),
    case(
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        "501 closed",
    ),
    case(
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, gzip\r\n\r\n",
        "400 closed",
    ),
    case(
        "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "400 closed",
    ),
    case(
        "POST / HTTP/1.1\r\nhost: a\r\nexpect: 200-ok\r\n\r\n",
        "417 closed",
    ),
    // The good request before the bad one is answered.
    case(
        "GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "200 400 closed",
    ),
    case(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi\
         POST / HTTP/3.0\r\nhost: a\r\n\r\n",
        "200 505 closed",
    ),
];

/// Bodies that break the chunked coding (RFC 9112 section 7.1).
pub(super) const BAD_CHUNKS: &[&str] = &[
    "x\r\n",
    "\r\n",
    "-1\r\n",
    " 1\r\na\r\n0\r\n\r\n",
    "0x1\r\na\r\n0\r\n\r\n",
    "1 0\r\na\r\n0\r\n\r\n",
    "10000000000000000\r\n",
    "1\na\r\n0\r\n\r\n",
    "1\r\na\n0\r\n\r\n",
    "1\r\nab\r\n0\r\n\r\n",
    "1\ra\r\n0\r\n\r\n",
    "1;\r\na\r\n0\r\n\r\n",
    "1;a=\"b\r\n0\r\n\r\n",
    "1;a=\"b\x01\"\r\na\r\n0\r\n\r\n",
    "0\r\n x: y\r\n\r\n",
    "0\r\nx y: z\r\n\r\n",
    "0\r\nx: y\n\r\n",
    "0\r\nx: \x7f\r\n\r\n",
    "0\r\n\rx",
];

/// Streams that end too early; the peer then waits for an answer with its side closed.
pub(super) const TORN: &[Case] = &[
    case("", "open"),
    case("\r\n", "open 400"),
    case("GET", "open 400"),
    case("GET / HTTP/1.1\r\nhost: a\r\n", "open 400"),
    case("GET / HTTP/1.1\r\nhost: a\r\n\r", "open 400"),
    case("GET / HTTP/1.1\r\nhost: a\r\n\r\nGET", "200 open 400"),
    case(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nab",
        "open 400",
    ),
    case(
        "POST /unread HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nab",
        "200 open",
    ),
    case(
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n",
        "open 400",
    ),
];

/// Streams at and beyond each limit of [`small`].
pub(super) const BEYOND_LIMITS: &[Case] = &[
    case(
        "GET /45678901234567890 HTTP/1.1\r\nhost: a\r\n\r\n",
        "200 open",
    ),
    case(
        "GET /456789012345678901 HTTP/1.1\r\nhost: a\r\n\r\n",
        "414 closed",
    ),
    case("GET /4567890123456789012345678901234567890", "414 closed"),
    case("GET / HTTP/1.1\r\nhost: a\r\nx:\r\nx:\r\n\r\n", "200 open"),
    case(
        "GET / HTTP/1.1\r\nhost: a\r\nx:\r\nx:\r\nx:\r\n\r\n",
        "431 closed",
    ),
    case(
        "GET / HTTP/1.1\r\nhost: a\r\nx: 456789012345678901234567890123456789012345678901234\r\n\
         x: 4567890123456789012345678901234\r\n\r\n",
        "200 open",
    ),
    case(
        "GET / HTTP/1.1\r\nhost: a\r\nx: 456789012345678901234567890123456789012345678901234\r\n\
         x: 45678901234567890123456789012345\r\n\r\n",
        "431 closed",
    ),
    case(
        "GET / HTTP/1.1\r\nhost: a\r\nx: 456789012345678901234567890123456789012345678901234\r\n\
         x: 45678901234567890123456789012345678",
        "431 closed",
    ),
    case(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n123456789",
        "413 open",
    ),
    case(
        "POST /slowly HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n123456789",
        "200 open",
    ),
    case(
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
         8\r\n12345678\r\n1\r\n9\r\n0\r\n\r\n",
        "413 open",
    ),
    case(
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
         1;3456789\r\na\r\n0;3456789\r\n\r\n",
        "400 closed",
    ),
    case(
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
         0\r\na: 4567890123456789\r\n\r\n",
        "431 closed",
    ),
];

pub(super) fn small() -> Limits {
    let mut limits = Limits::default();
    limits.head_bytes = 119;
    limits.request_line_bytes = 33;
    limits.fields = 3;
    limits.body_bytes = 8;
    limits.chunk_extension_bytes = 10;
    limits.trailer_bytes = 16;
    limits
}
