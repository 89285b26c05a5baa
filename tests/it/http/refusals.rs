//! What becomes of the connection of a refused request. `rfc` has which requests are refused, and
//! `splits` that the places where the input is cut make no difference.

use std::io::Write;

use ethreads::http::{Request, Result};

use crate::http::util::{SHORT, Site, on_a_shard, settle, timeouts};

#[test]
fn the_answer_is_not_lost_to_what_the_peer_still_sends() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| -> Result<String> { Ok(request.text()?) });
        for (input, status) in [
            ("nonsense\r\n\r\n", 400),
            ("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n", 501),
            ("GET / HTTP/2.0\r\nhost: a\r\n\r\n", 505),
            ("GET / HTTP/1.1\r\nhost: a\r\nexpect: 200-ok\r\n\r\n", 417),
            (
                "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\ng\r\n",
                400,
            ),
        ] {
            let mut client = site.connect();
            client.send(input);
            let answer = client.answer();
            assert_eq!(answer.status, status, "{input:?}");
            assert_eq!(answer.header("connection"), Some("close"), "{input:?}");
            // The data sent from here on does not lose the end of the stream.
            for _ in 0..16 {
                client.send([b'x'; 4096]);
                settle();
            }
            client.end();
            client.finish();
        }
        site.end();
    });
}

#[test]
fn a_bad_chunk_ends_the_connection_whichever_call_reads_it() {
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
fn a_bad_chunk_that_is_not_read_does_not_lose_the_answer() {
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
fn a_peer_that_floods_after_its_bad_request_is_let_go() {
    on_a_shard(|| {
        let site = Site::with(
            |server| server.timeouts(timeouts(|t| t.linger_total = SHORT)),
            |_: &mut Request| "x",
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
