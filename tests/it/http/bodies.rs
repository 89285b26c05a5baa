//! Request bodies: how handlers read them, and what happens to bodies that no handler reads.

use std::io::{BufRead, BufReader, Read};

use ethreads::http::{HeaderName, Limits, Request, Result};

use crate::http::util::{Client, Site, on_a_shard, settle};

/// Bytes in which every mistake of order shows.
fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

fn chunked(body: &[u8], sizes: impl Iterator<Item = usize>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = body;
    for size in sizes {
        if rest.is_empty() {
            break;
        }
        let (chunk, after) = rest.split_at(size.min(rest.len()));
        out.extend(format!("{:X}\r\n", chunk.len()).bytes());
        out.extend(chunk);
        out.extend(b"\r\n");
        rest = after;
    }
    assert!(rest.is_empty());
    out.extend(b"0\r\nx-checksum: 1\r\n\r\n");
    out
}

fn post(client: &mut Client, fields: &str, body: &[u8]) {
    client.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n"));
    let mut stream = client.stream.try_clone().unwrap();
    let body = body.to_vec();
    ethreads::spawn(move || std::io::Write::write_all(&mut stream, &body));
}

/// Sends bodies of many sizes in both framings to `handler`, which must echo them, over one
/// connection.
fn check_echo(handler: fn(&mut Request) -> Result<Vec<u8>>) {
    on_a_shard(move || {
        let site = Site::new(handler);
        let mut client = site.connect();
        for len in [0, 1, 100, 8000, 8192, 8193, 20_000, 300_000] {
            let body = pattern(len);
            post(&mut client, &format!("content-length: {len}"), &body);
            assert!(client.answer().body == body, "{len} bytes by length");
            for size in [1, 7, 1000, 8192, 50_000] {
                if len / size > 30_000 {
                    continue;
                }
                let framed = chunked(&body, std::iter::repeat(size));
                post(&mut client, "transfer-encoding: chunked", &framed);
                assert!(
                    client.answer().body == body,
                    "{len} bytes in chunks of {size}"
                );
            }
        }
        site.end();
    });
}

#[test]
fn whole() {
    check_echo(|request| Ok(request.bytes()?));
}

#[test]
fn by_small_reads() {
    check_echo(|request| {
        let mut body = Vec::new();
        let mut buffer = [0; 7];
        loop {
            match request.body().read(&mut buffer)? {
                0 => return Ok(body),
                got => body.extend_from_slice(&buffer[..got]),
            }
        }
    });
}

#[test]
fn by_reads_of_many_sizes() {
    check_echo(|request| {
        let mut body = Vec::new();
        for size in (0..).map(|n: usize| n * 37 % 9000) {
            let mut buffer = vec![0; size];
            match request.body().read(&mut buffer)? {
                0 if size > 0 => break,
                got => body.extend_from_slice(&buffer[..got]),
            }
        }
        // A read after the end returns 0 again.
        assert_eq!(request.body().read(&mut [0; 9])?, 0);
        Ok(body)
    });
}

#[test]
fn one_part_as_a_stream_and_the_rest_whole() {
    check_echo(|request| {
        let mut body = vec![0; 50];
        let got = request.body().read(&mut body)?;
        body.truncate(got);
        body.extend(request.bytes()?);
        Ok(body)
    });
}

#[test]
fn with_what_reads_lines() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| -> Result<String> {
            let lines: Vec<_> = BufReader::new(request.body())
                .lines()
                .collect::<std::io::Result<_>>()?;
            Ok(lines.join("|"))
        });
        let mut client = site.connect();
        let body = chunked(b"one\ntwo\nthree", [2, 5, 100].into_iter());
        post(&mut client, "transfer-encoding: chunked", &body);
        assert_eq!(client.answer().text(), "one|two|three");
        site.end();
    });
}

#[test]
fn a_stream_is_handed_over_as_it_comes() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| -> Result<String> {
            let mut sizes = String::new();
            loop {
                match request.body().read(&mut [0; 100])? {
                    0 => return Ok(sizes),
                    got => sizes += &format!("{got} "),
                }
            }
        });
        let mut client = site.connect();
        client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
        for chunk in ["1\r\na\r\n", "2\r\nbc\r\n", "3\r\ndef\r\n", "0\r\n\r\n"] {
            settle();
            client.send(chunk);
        }
        assert_eq!(client.answer().text(), "1 2 3 ");
        site.end();
    });
}

#[test]
fn trailers_can_be_read_after_the_body() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| -> Result<String> {
            assert!(request.trailers().is_empty());
            let body = request.text()?;
            let trailers = request.trailers();
            let name = HeaderName::from_static("x-sum");
            let sums = trailers.get_all(&name);
            let sums: Vec<_> = sums.map(|sum| sum.to_str().unwrap()).collect();
            Ok(format!("{body} {sums:?} of {}", trailers.len()))
        });
        let mut client = site.connect();
        let with = "1\r\na\r\n0\r\nX-Sum: one\r\nhost: evil\r\nother:\r\nx-sum:  two \r\n\r\n";
        for (body, expected) in [
            (with, r#"a ["one", "two"] of 3"#),
            // The trailers of one request do not appear in the next request.
            ("1\r\nb\r\n0\r\n\r\n", "b [] of 0"),
            ("0\r\nx-sum:1\r\n\r\n", r#" ["1"] of 1"#),
        ] {
            post(&mut client, "transfer-encoding: chunked", body.as_bytes());
            assert_eq!(client.answer().text(), expected);
        }
        post(&mut client, "content-length: 1", b"c");
        assert_eq!(client.answer().text(), "c [] of 0");
        site.end();
    });
}

#[test]
fn trailers_are_limited() {
    on_a_shard(|| {
        let mut limits = Limits::default();
        limits.trailer_bytes = 5;
        let site = Site::with(
            |server| server.limits(limits),
            |request: &mut Request| -> Result<String> {
                request.bytes()?;
                Ok(request.trailers().len().to_string())
            },
        );
        let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        let mut client = site.connect();
        client.send(format!("{head}0\r\na:b\r\n\r\n{head}0\r\na:bc\r\n\r\n"));
        assert_eq!(client.answer().text(), "1");
        client.last_answer(431);
        site.end();
    });
}

#[test]
fn a_small_body_that_was_not_read_is_skipped() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| {
            if request.path() == "/half" {
                request.body().read_exact(&mut [0; 3]).unwrap();
            }
            request.path().to_owned()
        });
        let mut client = site.connect();
        let body = pattern(60_000);
        let framed = chunked(&body, std::iter::repeat(999));
        for path in ["/none", "/half"] {
            for (fields, bytes) in [
                ("content-length: 60000", &body),
                ("transfer-encoding: chunked", &framed),
            ] {
                client.send(format!(
                    "POST {path} HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n"
                ));
                client.send(bytes);
                assert_eq!(client.answer().text(), path);
            }
        }
        assert_eq!(client.get("/next").text(), "/next");
        site.end();
    });
}

#[test]
fn over_a_large_one_the_connection_ends() {
    on_a_shard(|| {
        let site = Site::new(|_: &mut Request| "not read");
        let body = pattern(500_000);

        let mut client = site.connect();
        post(&mut client, "content-length: 500000", &body);
        assert_eq!(client.last_answer(200).text(), "not read");

        // The length of a chunked body is not known beforehand.
        let mut client = site.connect();
        let framed = chunked(&body, std::iter::repeat(9999));
        post(&mut client, "transfer-encoding: chunked", &framed);
        assert_eq!(client.answer().text(), "not read");
        client.end();
        client.finish();
        site.end();
    });
}

#[test]
fn a_body_that_breaks_off_is_answered_with_400() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| request.text().map_err(http_error));
        for rest in [
            "content-length: 5\r\n\r\nab",
            "transfer-encoding: chunked\r\n\r\n2\r\nab\r\n",
        ] {
            let mut client = site.connect();
            client.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{rest}"));
            client.finish();
            client.last_answer(400);
        }
        site.end();
    });
}

fn http_error(error: ethreads::http::Error) -> ethreads::http::HandlerError {
    error.into()
}

#[test]
fn text_that_is_none_is_answered_with_400_and_the_connection_lives_on() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| -> Result<String> { Ok(request.text()?) });
        let mut client = site.connect();
        client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n\xff\xfe");
        assert_eq!(client.answer().status, 400);
        assert_eq!(client.get("/").status, 200);
        site.end();
    });
}

#[test]
fn the_declared_length_is_known_beforehand() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| format!("{:?}", request.content_length()));
        let mut client = site.connect();
        assert_eq!(client.get("/").text(), "Some(0)");
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nab");
        assert_eq!(client.answer().text(), "Some(2)");
        client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n");
        assert_eq!(client.answer().text(), "None");
        assert_eq!(client.get("/").text(), "Some(0)");
        site.end();
    });
}

#[test]
fn the_head_stays_while_the_body_is_read() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| -> Result<String> {
            let length = request.bytes()?.len();
            let fields: Vec<_> = request.headers().iter().map(|(name, _)| name).collect();
            let path = request.path();
            Ok(format!(
                "{path} {length} {fields:?} {:?}",
                request.header("x")
            ))
        });
        let body = chunked(&pattern(50_000), std::iter::repeat(777));
        let mut client = site.connect();
        for _ in 0..2 {
            client.send(
                "PUT /there HTTP/1.1\r\nHost: a\r\nX: y\r\ntransfer-encoding: chunked\r\n\r\n",
            );
            // The pieces end within framing and within data.
            for piece in body.chunks(1000) {
                client.send(piece);
                settle();
            }
            let expected = r#"/there 50000 ["Host", "X", "transfer-encoding"] Some("y")"#;
            assert_eq!(client.answer().text(), expected);
        }
        site.end();
    });
}
