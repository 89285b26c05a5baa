//! RFC 9112 sections 4 and 6 and RFC 9110 sections 6, 8.6, 9.3.2 and 15: what responses look like.

use std::io::Write;

use ethreads::http::{Body, HeaderValue, IntoResponse, Request, Response, StatusCode};
use http::HeaderName;

use crate::http::util::{Answer, Client, SHORT, Site, on_a_shard, timeouts};
use crate::rfc::support::{NEXT, NEXT_TOLD, get, head, post, tell};

/// Whether the text is an IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn is_date(text: &str) -> bool {
    let shape = |c: char| match c {
        '0'..='9' => '0',
        'A'..='Z' => 'A',
        'a'..='z' => 'a',
        other => other,
    };
    text.chars()
        .map(shape)
        .eq("Aaa, 00 Aaa 0000 00:00:00 AAA".chars())
        && text.ends_with(" GMT")
        && httpdate(text)
}

/// Whether the names of day and month are those of the calendar, and the numbers are in range.
fn httpdate(text: &str) -> bool {
    let words: Vec<&str> = text.split([' ', ':', ',']).collect();
    let days = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let number = |n: usize| words[n].parse::<u32>().unwrap();
    days.contains(&words[0])
        && (1..=31).contains(&number(2))
        && months.contains(&words[3])
        && number(5) < 24
        && number(6) < 60
        && number(7) <= 60
}

#[track_caller]
fn assert_dated(answer: &Answer) {
    let date = answer.header("date");
    assert!(date.is_some_and(is_date), "{answer:?}");
}

/// RFC 9110 section 6.6.1: every answer of 2xx, 3xx and 4xx must be dated, the server's own errors
/// too; section 5.6.7: as an IMF-fixdate.
#[test]
fn every_answer_is_dated() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| -> Response {
            let path = request.path();
            assert!(path != "/panic");
            StatusCode::from_bytes(&path.as_bytes()[1..])
                .unwrap()
                .into_response()
        });
        let mut client = site.connect();
        for status in (200..600).filter(|status| status % 100 < 20) {
            let answer = client.get(&format!("/{status}"));
            assert_eq!(answer.status, status);
            assert_dated(&answer);
        }
        assert_dated(&client.get("/panic"));
        client.finish();
        for refused in [
            head(&["GET / HTTP/1.1"]),
            head(&["GET / HTTP/2.0", "host: a"]),
            head(&["CONNECT a:1 HTTP/1.1", "host: a:1"]),
            head(&[&format!("GET /{} HTTP/1.1", "a".repeat(9000))]),
            get(&[&format!("b: {}", "c".repeat(17_000))]),
            get(&["expect: x"]),
            post(&["transfer-encoding: gzip, chunked"], ""),
        ] {
            let mut client = site.connect();
            client.send(refused);
            assert_dated(&client.answer());
            client.finish();
        }
        site.end();
    });
    on_a_shard(|| {
        let site = Site::with(
            |server| server.timeouts(timeouts(|timeouts| timeouts.head = SHORT)),
            tell,
        );
        let mut client = site.connect();
        client.send("GET");
        assert_dated(&client.last_answer(408));
        site.end();
    });
}

/// RFC 9112 section 4: the status line is `HTTP-version SP status-code SP [ reason-phrase ]`, with
/// the second space even if there is no reason. RFC 9110 section 6.2: the version is the highest of
/// the request's major version, whatever the request's minor version.
#[test]
fn status_lines() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| -> Response {
            StatusCode::from_bytes(&request.path().as_bytes()[1..])
                .unwrap()
                .into_response()
        });
        let mut client = site.connect();
        for (status, line) in [
            ("200", "HTTP/1.1 200 OK\r\n"),
            ("404", "HTTP/1.1 404 Not Found\r\n"),
            ("299", "HTTP/1.1 299 \r\n"),
            ("599", "HTTP/1.1 599 \r\n"),
        ] {
            for version in ["1.0", "1.1"] {
                let line_of_request = format!("GET /{status} HTTP/{version}");
                client.send(head(&[
                    &line_of_request,
                    "host: a",
                    "connection: keep-alive",
                ]));
                let answer = client.answer();
                assert!(answer.head.starts_with(line), "{answer:?}");
            }
        }
        site.end();
    });
}

/// RFC 9112 section 2.2 and RFC 9110 sections 2.2 and 5.6.3: a head consists of lines that end in
/// CRLF. A field line has a name, a colon, one space and a value, without folding, and without a
/// space before the first one.
#[test]
fn heads_match_the_grammar() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| match request.path() {
            "/stream" => Body::writer(|out| out.write_all(b"x")).into_response(),
            "/panic" => panic!("as asked"),
            _ => "text".into_response(),
        });
        for input in [
            get(&[]),
            get(&["connection: close"]),
            head(&["GET / HTTP/1.0", "connection: keep-alive"]),
            head(&["GET /stream HTTP/1.1", "host: a"]),
            head(&["GET /stream HTTP/1.0"]),
            head(&["GET /panic HTTP/1.1", "host: a"]),
            head(&["HEAD / HTTP/1.1", "host: a"]),
            head(&["nonsense"]),
        ] {
            let answer = site.exchange(&input);
            let (head, _) = answer.split_once("\r\n\r\n").unwrap();
            let mut lines = head.split("\r\n");
            assert!(lines.next().unwrap().starts_with("HTTP/1.1 "));
            let mut names = Vec::new();
            for line in lines {
                let (name, value) = line.split_once(": ").unwrap();
                assert!(
                    name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
                    "{line}"
                );
                assert!(value.bytes().all(|b| (b' '..0x7f).contains(&b)), "{line}");
                assert_eq!(value, value.trim());
                assert!(!value.is_empty());
                names.push(name);
            }
            // RFC 9110 section 5.3: none of these is a list.
            names.sort_unstable();
            let fields = names.len();
            names.dedup();
            assert_eq!(names.len(), fields, "{head}");
        }
        site.end();
    });
}

/// RFC 9112 sections 2.2, 5.2 and 11.1: a handler cannot put a line end into a head, whatever it
/// takes from a request.
#[test]
fn no_line_end_gets_into_a_head() {
    for value in [
        "a\rb",
        "a\nb",
        "a\r\nb: c",
        "a\r\n b",
        "a\0b",
        "\r\n\r\n",
        "a\u{7f}",
    ] {
        assert!(HeaderValue::from_str(value).is_err(), "{value:?}");
        assert!(
            Response::default().try_with_header("b", value).is_err(),
            "{value:?}"
        );
    }
    for name in ["a b", "a:", "a\r\nb", "a\n", "", " a", "\u{e9}", "a\0"] {
        assert!(HeaderName::from_bytes(name.as_bytes()).is_err(), "{name:?}");
        assert!(
            Response::default().try_with_header(name, "b").is_err(),
            "{name:?}"
        );
    }
}

/// A handler whose answer tries to set its own framing.
fn meddle(request: &mut Request) -> Response {
    let response = match request.path() {
        "/stream" => Body::writer(|out| out.write_all(b"four")).into_response(),
        path => match path[1..].parse() {
            Ok(status) => (StatusCode::from_u16(status).unwrap(), "four").into_response(),
            Err(_) => "four".into_response(),
        },
    };
    response
        .with_header("transfer-encoding", "gzip, chunked")
        .with_header("content-length", "3")
}

#[track_caller]
fn lengths(answer: &Answer) -> (Option<&str>, Option<&str>) {
    (
        answer.header("content-length"),
        answer.header("transfer-encoding"),
    )
}

/// RFC 9112 sections 6.1, 6.2 and 7.1: an answer has Content-Length or Transfer-Encoding, never
/// both; the chunked coding is applied once; a coding that is not applied is not announced. Section
/// 6.3: an answer has one of the two wherever that is possible.
#[test]
fn answers_have_one_length() {
    on_a_shard(|| {
        let site = Site::new(meddle);
        let mut client = site.connect();
        let answer = client.get("/");
        assert_eq!(lengths(&answer), (Some("4"), None));
        assert_eq!(answer.text(), "four");
        let answer = client.get("/404");
        assert_eq!(lengths(&answer), (Some("4"), None));
        client.send(head(&["GET / HTTP/1.0", "connection: keep-alive"]));
        assert_eq!(lengths(&client.answer()), (Some("4"), None));
        site.end();
    });
    on_a_shard(|| {
        // A body that is made while it is sent has no known length.
        let site = Site::new(|_: &mut Request| {
            Body::writer(|out| out.write_all(b"four"))
                .into_response()
                .with_header("transfer-encoding", "gzip, chunked")
        });
        let mut client = site.connect();
        let answer = client.get("/");
        assert_eq!(lengths(&answer), (None, Some("chunked")));
        assert_eq!(answer.text(), "four");
        // RFC 9112 section 6.1: no Transfer-Encoding in answer to a request of HTTP/1.0.
        client.send(head(&["GET / HTTP/1.0", "connection: keep-alive"]));
        let answer = client.last_answer(200);
        assert_eq!(lengths(&answer), (None, None));
        assert_eq!(answer.text(), "four");
        site.end();
    });
}

/// RFC 9112 section 7.1: chunks match the grammar to the byte; RFC 9110 section 5.6.3: without bad
/// whitespace.
#[test]
fn chunks_match_the_grammar() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| {
            let sizes: Vec<usize> = request
                .path()
                .split('/')
                .filter_map(|size| size.parse().ok())
                .collect();
            Body::writer(move |out| {
                for size in sizes {
                    out.write_all(&vec![b'x'; size])?;
                    out.flush()?;
                }
                Ok(())
            })
        });
        for (path, expected) in [
            ("/", "0\r\n\r\n"),
            ("/0/0", "0\r\n\r\n"),
            ("/1/0/2", "1\r\nx\r\n2\r\nxx\r\n0\r\n\r\n"),
            ("/10", "a\r\nxxxxxxxxxx\r\n0\r\n\r\n"),
            ("/16", "10\r\nxxxxxxxxxxxxxxxx\r\n0\r\n\r\n"),
        ] {
            let answer = site.exchange(head(&[&format!("GET {path} HTTP/1.1"), "host: a"]));
            let (_, body) = answer.split_once("\r\n\r\n").unwrap();
            assert_eq!(body, expected, "{path}");
        }
        site.end();
    });
}

/// RFC 9112 section 6.1 and RFC 9110 section 8.6: neither Content-Length nor Transfer-Encoding in
/// 1xx and 204; none in 304 unless it is that of the 200; RFC 9110 section 15.3.6: no content in
/// 205.
#[test]
fn statuses_without_content_have_none() {
    on_a_shard(|| {
        let site = Site::new(meddle);
        let mut client = site.connect();
        for status in [204, 304] {
            let answer = client.get(&format!("/{status}"));
            assert_eq!((answer.status, lengths(&answer)), (status, (None, None)));
        }
        let answer = client.get("/205");
        assert_eq!(answer.status, 205);
        assert_eq!((lengths(&answer), answer.text()), ((Some("0"), None), ""));
        // No body followed these answers.
        assert_eq!(client.get("/").text(), "four");

        client.send(head(&["GET /204 HTTP/1.0", "connection: keep-alive"]));
        assert_eq!(lengths(&client.answer()), (None, None));
        site.end();
    });
}

/// RFC 9110 section 15.2: a handler cannot answer with an interim response.
#[test]
fn an_interim_response_is_no_answer() {
    on_a_shard(|| {
        let site = Site::new(meddle);
        let mut client = site.connect();
        for path in ["/100", "/102", "/103", "/199"] {
            assert_eq!(client.get(path).status, 500, "{path}");
        }
        site.end();
    });
}

/// RFC 9110 section 9.3.2: an answer to HEAD has no content, and the fields of an answer to GET;
/// section 8.6: so its Content-Length is that of the GET.
#[test]
fn head_is_get_without_content() {
    on_a_shard(|| {
        let site = Site::new(meddle);
        let mut client = site.connect();
        for path in ["/", "/404", "/500"] {
            let of_get = client.get(path).head;
            client.send(head(&[&format!("HEAD {path} HTTP/1.1"), "host: a"]));
            let of_head = client.head().head;
            let undated = |head: &str| crate::http::util::without_dates(head);
            assert_eq!(undated(&of_head), undated(&of_get));
        }
        // No body followed these answers.
        assert_eq!(client.get("/").text(), "four");
        client.send(head(&["HEAD / HTTP/1.0"]));
        client.head();
        client.end();
        client.finish();
        site.end();
    });
}

/// RFC 9110 section 9.3.2: the refusal of a HEAD has no content either.
#[test]
fn the_refusal_of_a_head_has_no_content() {
    on_a_shard(|| {
        let site = Site::new(tell);
        for input in [
            head(&["HEAD / HTTP/1.1"]),
            head(&["HEAD / HTTP/1.1", "host: a", "b c: d"]),
            head(&["HEAD / HTTP/2.0", "host: a"]),
            head(&["HEAD / HTTP/1.1", "host: a", "expect: b"]),
            "\r\n".to_owned() + &head(&["HEAD /#a HTTP/1.1", "host: a"]),
        ] {
            let mut client = site.connect();
            client.send(NEXT.to_owned() + &input);
            assert_eq!(client.answer().text(), NEXT_TOLD);
            let answer = client.head();
            assert!(answer.status >= 400, "{answer:?}");
            assert_eq!(answer.header("connection"), Some("close"));
            client.end();
            client.finish();
        }
        site.end();
    });
}

/// Sends the input, and returns the text of its refusal.
#[track_caller]
fn refusal(client: &mut Client, input: &str, status: u16) -> String {
    client.send(input);
    client.last_answer(status).text().to_owned()
}

/// RFC 9110 section 15.5: an error of the client should be answered with an explanation; section
/// 15.6.6: a 505 should say what is supported instead.
#[test]
fn refusals_tell_why() {
    on_a_shard(|| {
        let site = Site::new(tell);
        for (input, status, word) in [
            (head(&["GET / HTTP/1.1"]), 400, "host"),
            (get(&["host: a"]), 400, "host"),
            (get(&["content-length: x"]), 400, "content-length"),
            (get(&["transfer-encoding: gzip"]), 400, "chunked"),
            (get(&["transfer-encoding: gzip, chunked"]), 501, "chunked"),
            (get(&[&"b: c\r\n".repeat(101)]), 431, "100"),
            (get(&["expect: b"]), 417, "100-continue"),
            (head(&["GET / HTTP/2.0", "host: a"]), 505, "HTTP/1.1"),
            (head(&["GET https://a/ HTTP/1.1", "host: a"]), 421, "target"),
            (
                post(&["transfer-encoding: chunked"], "x\r\n"),
                400,
                "chunk size",
            ),
            (post(&["content-length: 9999999"], ""), 413, "2097152"),
        ] {
            let text = refusal(&mut site.connect(), &input, status);
            assert!(text.contains(word), "{text:?} does not mention {word:?}");
        }
        site.end();
    });
}

/// RFC 9110 sections 10.2.4 and 10.1.5: the Server field names the product, and nothing else.
#[test]
fn the_server_field_is_one_product() {
    on_a_shard(|| {
        let site = Site::new(tell);
        let mut client = site.connect();
        let answer = client.get("/");
        let server = answer.header("server").unwrap();
        let is_token = server
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-');
        assert!(is_token && server.len() < 20, "{server:?}");
        site.end();
    });
}

/// RFC 9110 section 8.3: content has its type, as far as the type is known.
#[test]
fn content_has_a_type() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| match request.path() {
            "/text" => "text".into_response(),
            "/bytes" => vec![0_u8; 4].into_response(),
            "/set" => ([("content-type", "a/b")], "text").into_response(),
            path => (StatusCode::NOT_FOUND, path.to_owned()).into_response(),
        });
        let mut client = site.connect();
        for (path, kind) in [
            ("/text", "text/plain; charset=utf-8"),
            ("/bytes", "application/octet-stream"),
            ("/set", "a/b"),
            ("/not-found", "text/plain; charset=utf-8"),
        ] {
            assert_eq!(client.get(path).header("content-type"), Some(kind));
        }
        site.end();
    });
}
