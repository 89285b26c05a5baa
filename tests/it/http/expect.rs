//! `Expect: 100-continue` among other requests and bodies; `rfc` has the rules of the protocol.

use ethreads::http::{Request, Result};
use http::StatusCode;

use crate::http::util::{Site, on_a_shard};

fn handler(request: &mut Request) -> Result<(StatusCode, String)> {
    if request.path() == "/refused" {
        return Ok((StatusCode::FORBIDDEN, "no".to_owned()));
    }
    Ok((StatusCode::OK, request.text()?))
}

const HEAD: &str =
    "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nexpect: 100-Continue\r\n\r\n";

#[test]
fn a_peer_that_does_not_wait_is_not_asked() {
    on_a_shard(|| {
        let site = Site::new(handler);
        let mut client = site.connect();
        client.send(HEAD.to_owned() + "body");
        assert_eq!(client.answer().text(), "body");
        client.send(HEAD.replace("/ ", "/refused ") + "body");
        assert_eq!(client.answer().status, 403);
        assert_eq!(client.get("/").status, 200);
        site.end();
    });
}

#[test]
fn the_answers_before_it_come_first() {
    on_a_shard(|| {
        let site = Site::new(handler);
        let mut client = site.connect();
        client.send("GET /1 HTTP/1.1\r\nhost: a\r\n\r\n".to_owned() + HEAD);
        assert_eq!(client.answer().status, 200);
        assert_eq!(client.answer().status, 100);
        client.send("body");
        assert_eq!(client.answer().text(), "body");
        site.end();
    });
}
