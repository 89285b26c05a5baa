//! Several requests sent before the first answer.

use std::cell::RefCell;
use std::rc::Rc;

use ethreads::http::{Body, IntoResponse, Request, Response};
use ethreads::thread;

use crate::http_util::{Site, on_a_shard};

fn get(path: impl std::fmt::Display) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")
}

#[test]
fn answers_come_in_the_order_of_the_requests() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| request.path().to_owned());
        let mut client = site.connect();
        // More than fits into a read buffer, so that heads are cut by its end.
        let burst: String = (0..2000).map(|n| get(format_args!("/{n}"))).collect();
        let mut stream = client.stream.try_clone().unwrap();
        let sender =
            thread::spawn(move || std::io::Write::write_all(&mut stream, burst.as_bytes()));
        for n in 0..2000 {
            assert_eq!(client.answer().text(), format!("/{n}"));
        }
        sender.join().unwrap().unwrap();
        site.end();
    });
}

#[test]
fn large_and_small_answers_keep_their_order() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| {
            let size: usize = request.path()[1..].parse().unwrap();
            vec![b'x'; size]
        });
        let sizes = [1, 100_000, 0, 16_000, 16_384, 16_385, 300, 1_000_000, 2];
        let mut client = site.connect();
        client.send(
            sizes
                .iter()
                .map(|size| get(format_args!("/{size}")))
                .collect::<String>(),
        );
        for size in sizes {
            assert_eq!(client.answer().body.len(), size);
        }
        site.end();
    });
}

#[test]
fn bodies_and_streams_in_a_burst() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| -> Response {
            let body = request.text().unwrap();
            match request.path() {
                "/stream" => Body::reader(std::io::Cursor::new(body)).into_response(),
                "/none" => http::StatusCode::NO_CONTENT.into_response(),
                _ => body.into_response(),
            }
        });
        let post = |path, body: &str| {
            let len = body.len();
            format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {len}\r\n\r\n{body}")
        };
        let mut client = site.connect();
        client.send(
            post("/stream", "one") + &post("/", "two") + &post("/none", "x") + &post("/stream", ""),
        );
        assert_eq!(client.answer().text(), "one");
        assert_eq!(client.answer().text(), "two");
        assert_eq!(client.answer().status, 204);
        assert_eq!(client.answer().text(), "");
        assert_eq!(client.get("/").text(), "");
        site.end();
    });
}

#[test]
fn a_request_that_wants_the_end_is_the_last_one() {
    on_a_shard(|| {
        let paths = Rc::new(RefCell::new(Vec::new()));
        let seen = paths.clone();
        let site = Site::new(move |request: &mut Request| {
            seen.borrow_mut().push(request.path().to_owned());
            "ok"
        });
        let mut client = site.connect();
        client.send(
            get("/1") + "GET /2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n" + &get("/3"),
        );
        assert_eq!(client.answer().header("connection"), None);
        client.last_answer(200);
        site.end();
        assert_eq!(*paths.borrow(), ["/1", "/2"]);
    });
}
