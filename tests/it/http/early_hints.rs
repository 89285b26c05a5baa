//! Fields ahead of the response: 103 (RFC 8297).

use ethreads::http::{App, HeaderName, HeaderValue, IntoResponse, Request, Response, Result};
use ethreads::sync::channel;

use crate::http::util::{Site, on_a_shard};

fn link(path: &'static str) -> (HeaderName, HeaderValue) {
    let name = HeaderName::from_static("link");
    (name, HeaderValue::from_static(path))
}

#[test]
fn hints_arrive_before_the_response_is_made() {
    on_a_shard(|| {
        let (sender, receiver) = channel::unbounded();
        let page = move |request: &mut Request| -> Result<Response> {
            request.early_hints([link("</a.css>"), link("</b.css>")])?;
            receiver.recv().unwrap();
            request.early_hints([])?;
            Ok("page".into_response())
        };
        // A middleware may send some, too.
        let app = App::new().get("/", page).around(|request, next| {
            request.early_hints([link("</all.css>")])?;
            Ok::<_, ethreads::http::HandlerError>(next.run(request))
        });
        let site = Site::new(app);
        let mut client = site.connect();
        for _ in 0..2 {
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
            let hints = client.until("\r\n\r\n");
            assert_eq!(
                hints,
                "HTTP/1.1 103 Early Hints\r\nlink: </all.css>\r\n\r\n"
            );
            let hints = client.until("\r\n\r\n");
            let lines = "link: </a.css>\r\nlink: </b.css>\r\n\r\n";
            assert_eq!(hints, format!("HTTP/1.1 103 Early Hints\r\n{lines}"));
            sender.send(()).unwrap();
            assert_eq!(client.head().status, 103);
            let answer = client.answer();
            assert_eq!((answer.status, answer.text()), (200, "page"));
        }
        drop(client);
        site.end();
    });
}

#[test]
fn an_old_client_gets_no_hints() {
    on_a_shard(|| {
        let page = |request: &mut Request| -> Result<&str> {
            request.early_hints([link("</a.css>")])?;
            Ok("page")
        };
        let site = Site::new(App::new().get("/", page));
        let output = site.exchange("GET / HTTP/1.0\r\n\r\n");
        assert!(output.starts_with("HTTP/1.1 200 OK\r\n"), "{output}");
        assert!(!output.contains("103"), "{output}");
        site.end();
    });
}

#[test]
fn hints_come_in_the_order_of_the_responses() {
    on_a_shard(|| {
        let page = |request: &mut Request| -> Result<String> {
            if request.method() == "POST" {
                request.early_hints([link("</a.css>")])?;
            }
            Ok(request.text()?)
        };
        let site = Site::new(page);
        let mut client = site.connect();
        // Behind the response to an earlier request, and beside a 100.
        client.send(
            "GET / HTTP/1.1\r\nhost: a\r\n\r\n\
             POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n",
        );
        assert_eq!(client.answer().status, 200);
        assert_eq!(client.head().status, 103);
        assert_eq!(client.head().status, 100);
        client.send("ok");
        let answer = client.answer();
        assert_eq!((answer.status, answer.text()), (200, "ok"));
        drop(client);
        site.end();
    });
}

#[test]
fn fields_of_a_body_and_of_the_connection_are_left_out() {
    on_a_shard(|| {
        let page = |request: &mut Request| -> Result<&str> {
            let names = [
                "connection",
                "content-length",
                "date",
                "keep-alive",
                "te",
                "trailer",
                "transfer-encoding",
                "upgrade",
                "x-other",
            ];
            let one = || HeaderValue::from_static("1");
            request.early_hints(names.map(|name| (HeaderName::from_static(name), one())))?;
            Ok("page")
        };
        let site = Site::new(page);
        let mut client = site.connect();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let hints = client.until("\r\n\r\n");
        assert_eq!(hints, "HTTP/1.1 103 Early Hints\r\nx-other: 1\r\n\r\n");
        assert_eq!(client.answer().text(), "page");
        drop(client);
        site.end();
    });
}
