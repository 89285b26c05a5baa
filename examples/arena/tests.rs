//! What each case answers, over sockets.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use ethreads::http::Server;
use ethreads::net::TcpStream;
use ethreads::thread;
use serde_json::{Value, json};

use super::app::app;

/// Data as that of `make_data.py`, but less of it.
struct Data(PathBuf);

impl Data {
    fn new(name: &str) -> Self {
        let folder = format!("ethreads-arena-{name}-{}", std::process::id());
        let this = Self(std::env::temp_dir().join(folder));
        fs::create_dir_all(this.0.join("static")).unwrap();
        fs::write(this.0.join("dataset.json"), items(0).to_string()).unwrap();
        for (name, text) in [
            ("a.css", "plain css"),
            ("a.css.gz", "as gzip"),
            ("a.css.br", "as brotli"),
            ("a.webp", "webp"),
        ] {
            fs::write(this.0.join("static").join(name), text).unwrap();
        }
        this
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Twelve items, with their totals if `factor` is not zero.
fn items(factor: i64) -> Value {
    let item = |id: i64| {
        let mut item = json!({
            "id": id,
            "name": format!("lamp {id}"),
            "category": "office",
            "price": 10 * id,
            "quantity": 7,
            "active": id != 2,
            "tags": ["new", "small"],
            "rating": { "score": 40 + id, "count": 3 },
        });
        if factor != 0 {
            item["total"] = (10 * id * 7 * factor).into();
        }
        item
    };
    (1..13).map(item).collect()
}

/// Sends `pieces`, one after the other, to a server of the app; returns all that it answers.
/// The last request has to end the connection.
fn exchange(name: &'static str, pieces: &'static [&'static str]) -> Vec<u8> {
    let exchange = move || {
        let data = Data::new(name);
        let server = Server::bind("127.0.0.1:0").unwrap();
        let (address, handle) = (server.local_addr().unwrap(), server.handle());
        let app = app(&data.0).unwrap();
        let serving = thread::spawn(move || server.serve(app));
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        for piece in pieces {
            stream.write_all(piece.as_bytes()).unwrap();
            // Lets the server take what has arrived.
            thread::yield_now();
        }
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        handle.drain(Duration::ZERO);
        serving.join().unwrap().unwrap();
        answer
    };
    ethreads::run_main(exchange).unwrap()
}

/// The heads, in lower case, and the bodies of responses whose bodies all have a length.
fn responses(mut answer: &[u8]) -> Vec<(String, &[u8])> {
    let mut responses = Vec::new();
    while !answer.is_empty() {
        let end = answer.windows(4).position(|end| end == b"\r\n\r\n");
        let (head, rest) = answer.split_at(end.unwrap() + 4);
        let head = String::from_utf8_lossy(head).to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap();
        let length: usize = length.lines().next().unwrap().parse().unwrap();
        let (body, rest) = rest.split_at(length);
        responses.push((head, body));
        answer = rest;
    }
    responses
}

/// Checks the statuses, types and bodies of the answers to `pieces`.
#[track_caller]
fn check(
    name: &'static str,
    pieces: &'static [&'static str],
    expected: &[(u16, &str, &str)],
) -> Vec<String> {
    let answer = exchange(name, pieces);
    let responses = responses(&answer);
    assert_eq!(responses.len(), expected.len(), "{responses:?}");
    for ((head, body), (status, content_type, text)) in responses.iter().zip(expected) {
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{head}");
        assert!(
            head.contains(&format!("\r\ncontent-type: {content_type}")),
            "{head}"
        );
        assert_eq!(*body, text.as_bytes(), "{head}");
    }
    responses.into_iter().map(|(head, _)| head).collect()
}

#[test]
fn baseline_adds_the_query_and_the_body() {
    const PIECES: &[&str] = &[
        "GET /baseline11?a=13&b=42 HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST /baseline11?a=13&b=42 HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n20",
        "POST /baseline11?b=-2&a=1 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
        "1\r\n2\r\n1;x=y\r\n0\r\n0\r\n\r\n",
        "POST /baseline11?a=1&b=2 HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx",
        "GET /baseline11?a=1 HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST /baseline11?a=9223372036854775807&b=0 HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n",
        "connection: close\r\n\r\n1",
    ];
    let text = "text/plain";
    let expected = [
        (200, text, "55"),
        (200, text, "75"),
        (200, text, "19"),
        (400, text, "no number"),
        (400, text, "query: missing field `b`\n"),
        (400, text, "too large a sum"),
    ];
    check("baseline", PIECES, &expected);
}

#[test]
fn baseline_takes_requests_in_pieces() {
    let pieces = &[
        "POST /baseli",
        "ne11?a=13&b=42 HTTP/1.1\r\n",
        "host: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\n",
        "2",
        "0",
    ];
    check("pieces", pieces, &[(200, "text/plain", "75")]);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let pieces = &[concat!(
        "GET /pipeline HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /baseline11?a=1&b=2 HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /pipeline HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    )];
    let text = "text/plain";
    let expected = [(200, text, "ok"), (200, text, "3"), (200, text, "ok")];
    check("pipelined", pieces, &expected);
}

#[test]
fn json_has_the_first_items_with_their_totals() {
    let pieces = &[concat!(
        "GET /json/2?m=3 HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /json/50?m=1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    )];
    let answer = exchange("json", pieces);
    for ((head, body), (count, factor)) in responses(&answer).iter().zip([(2, 3), (12, 1)]) {
        assert!(head.contains("\r\ncontent-type: application/json\r\n"));
        assert!(!head.contains("content-encoding"));
        let mut items = items(factor);
        items.as_array_mut().unwrap().truncate(count);
        let body: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(body, json!({ "items": items, "count": count }));
    }
}

#[test]
fn json_is_compressed_where_the_client_takes_it() {
    let pieces = &[concat!(
        "GET /json/12?m=2 HTTP/1.1\r\nhost: a\r\naccept-encoding: gzip, br\r\n\r\n",
        "GET /json/12?m=2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    )];
    let answer = exchange("json-comp", pieces);
    let responses = responses(&answer);
    let [(head, compressed), (plain_head, plain)] = &responses[..] else {
        panic!("{responses:?}");
    };
    assert!(head.contains("\r\ncontent-encoding: gzip\r\n"), "{head}");
    assert!(!plain_head.contains("content-encoding"), "{plain_head}");
    assert!(compressed.len() < plain.len() / 2);
    let mut text = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(*compressed);
    decoder.read_to_end(&mut text).unwrap();
    assert_eq!(text, *plain);
}

#[test]
fn upload_counts_bodies_of_both_framings() {
    let pieces = &[
        "POST /upload HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
        "POST /upload HTTP/1.1\r\nhost: a\r\ncontent-length: 12\r\n\r\nhello ",
        "world!",
        "POST /upload HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n",
        "connection: close\r\n\r\n5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n",
    ];
    let text = "text/plain";
    let expected = [(200, text, "0"), (200, text, "12"), (200, text, "8")];
    check("upload", pieces, &expected);
}

#[test]
fn static_files_come_in_the_coding_that_the_client_wants() {
    let pieces = &[concat!(
        "GET /static/a.css HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /static/a.css HTTP/1.1\r\nhost: a\r\naccept-encoding: br;q=1, gzip;q=0.8\r\n\r\n",
        "GET /static/a.css HTTP/1.1\r\nhost: a\r\naccept-encoding: gzip\r\n\r\n",
        "GET /static/a.webp HTTP/1.1\r\nhost: a\r\naccept-encoding: br\r\n\r\n",
        "GET /static/none.txt HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    )];
    let css = "text/css";
    let expected = [
        (200, css, "plain css"),
        (200, css, "as brotli"),
        (200, css, "as gzip"),
        (200, "image/webp", "webp"),
        (404, "text/plain", "not found\n"),
    ];
    let heads = check("static", pieces, &expected);
    let codings = [None, Some("br"), Some("gzip"), None, None];
    for (head, coding) in heads.iter().zip(codings) {
        let found = head.split("\r\ncontent-encoding: ").nth(1);
        assert_eq!(found.and_then(|rest| rest.lines().next()), coding, "{head}");
    }
}
