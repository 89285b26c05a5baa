//! Requests by their bytes: which are refused and how, and that the places where the input is cut
//! make no difference.

use std::io::Write;

use ethreads::http::{Request, Result};

use crate::http::util::{SHORT, Site, on_a_shard, settle, timeouts, without_dates};

fn tell(request: &mut Request) -> Result<String> {
    let body = request.text()?;
    Ok(format!(
        "{} {} {body:?}\n",
        request.method(),
        request.target()
    ))
}

/// Sends `input`, from a peer that stays and goes on sending after the answer.
#[track_caller]
fn check(input: impl AsRef<[u8]>, status: u16) {
    let input = input.as_ref().to_vec();
    let caller = std::panic::Location::caller();
    on_a_shard(move || {
        let site = Site::new(tell);
        let mut client = site.connect();
        client.send(&input);
        let answer = client.answer();
        assert_eq!(answer.status, status, "{caller}");
        assert_eq!(answer.header("connection"), Some("close"), "{caller}");
        assert!(answer.header("date").is_some(), "{caller}");
        // The data sent from here on loses neither the answer nor the end of the stream.
        for _ in 0..16 {
            client.send([b'x'; 4096]);
            settle();
        }
        client.end();
        client.finish();
        site.end();
    });
}

#[test]
fn malformed_heads_are_answered_with_400() {
    check("GET /\r\n\r\n", 400);
    check("G ET / HTTP/1.1\r\nhost: a\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nhost : a\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nhost: a\r\n b: c\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nhost: a\r\nb: \0\r\n\r\n", 400);
    check("GET /\u{e9} HTTP/1.1\r\nhost: a\r\n\r\n", 400);
    check(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", 400);
}

#[test]
fn ambiguous_lengths_are_answered_with_400() {
    let post = |fields: &str| format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n");
    check(post("content-length: 1\r\ntransfer-encoding: chunked"), 400);
    check(post("content-length: 1\r\ncontent-length: 1"), 400);
    check(post("content-length: +1"), 400);
    check(post("transfer-encoding: gzip"), 400);
    check(post("transfer-encoding: chunked, chunked"), 400);
    check("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", 400);
}

#[test]
fn what_is_not_done_has_its_own_status() {
    check("GET / HTTP/2.0\r\nhost: a\r\n\r\n", 505);
    check("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n", 501);
    check(
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        501,
    );
    check("GET / HTTP/1.1\r\nhost: a\r\nexpect: 200-ok\r\n\r\n", 417);
}

#[test]
fn malformed_chunks_are_answered_with_400() {
    let post = |body: &str| {
        format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{body}")
    };
    check(post("g\r\n"), 400);
    check(post("1\nx\r\n0\r\n\r\n"), 400);
    check(post("1\r\nxy\r\n"), 400);
    check(post("0\r\nno field\r\n\r\n"), 400);
    check(post("10000000000000000\r\n"), 400);
}

const PIPELINED: &str = "POST /one HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
                         3;a=\"b\"\r\nabc\r\n2\r\nde\r\n0\r\nchecksum: 1\r\n\r\n\
                         POST /two HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nfg\
                         GET /three?x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

#[test]
fn every_split_of_pipelined_requests_gives_the_same_answers() {
    on_a_shard(|| {
        let site = Site::new(tell);
        let whole = without_dates(&site.exchange(PIPELINED));
        for text in [
            "POST /one \"abcde\"\n",
            "POST /two \"fg\"\n",
            "GET /three?x \"\"\n",
        ] {
            assert!(whole.contains(text), "{whole}");
        }
        for at in 1..PIPELINED.len() {
            let mut client = site.connect();
            client.send(&PIPELINED[..at]);
            settle();
            client.send(&PIPELINED[at..]);
            assert_eq!(without_dates(&client.rest()), whole, "split at {at}");
        }
        site.end();
    });
}

#[test]
fn single_bytes_give_the_same_answers() {
    on_a_shard(|| {
        let site = Site::new(tell);
        let whole = without_dates(&site.exchange(PIPELINED));
        let mut client = site.connect();
        for byte in PIPELINED.as_bytes() {
            client.send([*byte]);
            settle();
        }
        assert_eq!(without_dates(&client.rest()), whole);
        site.end();
    });
}

#[test]
fn good_requests_before_a_bad_one_are_answered() {
    on_a_shard(|| {
        let site = Site::new(tell);
        let mut client = site.connect();
        let good = |n: u32| format!("GET /{n} HTTP/1.1\r\nhost: a\r\n\r\n");
        client.send(good(1) + &good(2) + "nonsense\r\n\r\n" + &good(3));
        assert_eq!(client.answer().text(), "GET /1 \"\"\n");
        assert_eq!(client.answer().text(), "GET /2 \"\"\n");
        client.last_answer(400);
        site.end();
    });
}

#[test]
fn a_bad_chunk_ends_the_connection_whoever_reads_it() {
    on_a_shard(|| {
        // The handler catches the error and answers; the bytes that follow are no request all the
        // same.
        let site = Site::new(|request: &mut Request| match request.bytes() {
            Ok(_) => "read".to_owned(),
            Err(error) => format!("peer: {}", error.is_peer()),
        });
        let mut client = site.connect();
        client.send(
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nz\r\n\
             GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        );
        assert_eq!(client.last_answer(200).text(), "peer: true");
        site.end();
    });
}

#[test]
fn a_bad_chunk_that_nobody_reads_does_not_lose_the_answer() {
    on_a_shard(|| {
        let site = Site::new(|_: &mut Request| "unread");
        let mut client = site.connect();
        client.send(
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nz\r\n\
             GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        );
        settle();
        client.send([b'x'; 4096]);
        assert_eq!(client.answer().text(), "unread");
        client.end();
        client.finish();
        site.end();
    });
}

#[test]
fn empty_lines_before_a_request_are_skipped() {
    on_a_shard(|| {
        let site = Site::new(tell);
        let mut client = site.connect();
        client.send("\r\n");
        settle();
        client.send("\r\nGET /a HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(client.answer().text(), "GET /a \"\"\n");
        // curl and old browsers send an empty line after the body of a POST.
        client.send("POST /b HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nb\r\n");
        assert_eq!(client.answer().text(), "POST /b \"b\"\n");
        assert_eq!(client.get("/c").text(), "GET /c \"\"\n");
        site.end();
    });
}

#[test]
fn a_peer_that_floods_after_its_bad_request_is_let_go() {
    on_a_shard(|| {
        let site = Site::with(
            |server| server.timeouts(timeouts(|t| t.linger_total = SHORT)),
            tell,
        );
        let mut client = site.connect();
        client.send("nonsense\r\n\r\n");
        assert_eq!(client.answer().status, 400);
        // The server closes however much the peer sends, although the peer is never silent.
        while client.stream.write_all(&[b'x'; 64 * 1024]).is_ok() {}
        assert_eq!(site.handle.counts().lingering, 0);
        site.end();
    });
}
