//! Tunnels through a server: CONNECT.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use ethreads::bridge;
use ethreads::http::{
    App, Handler, HandlerError, IntoResponse, Request, Response, Result, StatusCode, Upgraded,
};
use ethreads::net::{TcpListener, TcpStream};
use ethreads::thread;

use crate::http::util::{Site, on_a_shard};
use crate::support::{collect_log, logged};

/// Copies in both directions, until both have ended.
fn relay(client: &Upgraded, server: &TcpStream) {
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = io::copy(&mut &*client, &mut &*server);
            let _ = server.shutdown(Shutdown::Write);
        });
        let _ = io::copy(&mut &*server, &mut &*client);
        let _ = client.shutdown(Shutdown::Write);
    });
}

fn tunnel(request: &mut Request) -> Result<Response> {
    if !request.target().starts_with("127.0.0.1:") {
        let text = "only to this machine\n";
        return Err(HandlerError::status(StatusCode::FORBIDDEN, text));
    }
    assert_eq!((request.path(), request.query()), ("/", None));
    assert_eq!(request.host(), Some(request.target()));
    let server = TcpStream::connect(request.target())?;
    Ok(Response::tunnel(move |client| relay(&client, &server)))
}

/// Answers what comes until the end of the input, and then "bye".
fn upper(listener: &TcpListener) -> io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    let mut buffer = [0; 100];
    loop {
        match stream.read(&mut buffer)? {
            0 => return stream.write_all(b"bye"),
            got => stream.write_all(&buffer[..got].to_ascii_uppercase())?,
        }
    }
}

#[test]
fn a_tunnel_carries_both_directions_to_their_ends() {
    on_a_shard(|| {
        let statuses = Rc::<RefCell<Vec<u16>>>::default();
        let seen = statuses.clone();
        let app = App::new()
            .get("/", || "page")
            .connect(tunnel)
            .around(move |request, next| {
                let response = next.run(request);
                seen.borrow_mut().push(response.status().as_u16());
                response.with_header("x-proxy", "1")
            });
        let site = Site::new(app);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let server = thread::spawn(move || upper(&listener));
        let mut client = site.connect();
        // After another request, with a body that is not of the tunnel, and bytes that are.
        assert_eq!(client.get("/").text(), "page");
        client.send(format!(
            "CONNECT {target} HTTP/1.1\r\nhost: {target}\r\ncontent-length: 3\r\n\r\nabcearly"
        ));
        let head = client.head();
        assert_eq!((head.status, head.header("x-proxy")), (200, Some("1")));
        for name in ["content-length", "transfer-encoding", "connection"] {
            assert_eq!(head.header(name), None, "{name}");
        }
        client.until("EARLY");
        client.send("late");
        client.until("LATE");
        client.finish();
        assert_eq!(client.rest(), "bye");
        server.join().unwrap().unwrap();
        assert_eq!(*statuses.borrow(), [200, 200]);
        site.end();
    });
}

#[test]
fn what_is_no_tunnel_ends_the_connection() {
    on_a_shard(|| {
        collect_log();
        let plain = |request: &mut Request| match request.target() {
            "plain:1" => "done".into_response(),
            "none:1" => StatusCode::NO_CONTENT.into_response(),
            _ => (StatusCode::FORBIDDEN, "no").into_response(),
        };
        let app = App::new().connect(plain);
        let site = Site::new(app.get("/tunnel", || Response::tunnel(drop)));
        let next = "GET /tunnel HTTP/1.1\r\nhost: a\r\n\r\n";
        for (target, status) in [("plain:1", 500), ("none:1", 500), ("other:1", 403)] {
            let mut client = site.connect();
            // What follows is not taken for a request.
            client.send(format!(
                "CONNECT {target} HTTP/1.1\r\nhost: a\r\n\r\n{next}"
            ));
            client.last_answer(status);
        }
        let mut client = site.connect();
        client.send(next);
        assert_eq!(client.answer().status, 500);
        for text in [
            "a handler gave a tunnel as the answer to GET",
            "a handler answered CONNECT with 200 OK, and no tunnel",
        ] {
            assert!(!logged(text).is_empty(), "{text}");
        }
        drop(client);
        site.end();
    });
}

#[test]
fn a_server_takes_connect_only_if_its_handler_does() {
    struct Proxy(bool);

    impl Handler for Proxy {
        fn handle(&self, request: &mut Request) -> Response {
            assert_eq!(request.method(), "CONNECT");
            Response::tunnel(|mut stream| stream.write_all(b"hello").unwrap())
        }

        fn takes_connect(&self) -> bool {
            self.0
        }
    }

    #[track_caller]
    fn answer(site: Site) -> String {
        let answer = site.exchange("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n");
        site.end();
        answer
    }

    on_a_shard(|| {
        let served = answer(Site::new(Proxy(true)));
        assert!(served.starts_with("HTTP/1.1 200 OK\r\n"), "{served}");
        assert!(served.ends_with("\r\n\r\nhello"), "{served}");
        for refused in [
            answer(Site::new(Proxy(false))),
            answer(Site::new(|_: &mut Request| "done")),
            answer(Site::new(App::new().any("/", || "done"))),
        ] {
            assert!(refused.starts_with("HTTP/1.1 501 "), "{refused}");
        }
    });
}

#[test]
fn routes_of_hosts_go_by_the_target() {
    let to = |name: &'static str| move || (StatusCode::FORBIDDEN, name);
    let app = App::new()
        .connect(to("any"))
        .host("b.example", App::new().connect(to("b")));
    let call = |target: &str| {
        let request = Request::builder().method(ethreads::http::Method::CONNECT);
        let response = app.call(request.target(target));
        let text = response.body().as_bytes().unwrap().to_vec();
        String::from_utf8(text).unwrap()
    };
    assert_eq!(call("a.example:443"), "any");
    assert_eq!(call("b.example:443"), "b");
    let malformed = Request::builder().method(ethreads::http::Method::CONNECT);
    assert!(malformed.target("/").build().is_err());
}

#[test]
fn a_drain_ends_tunnels() {
    on_a_shard(|| {
        let site = Site::new(App::new().connect(tunnel));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let server = thread::spawn(move || upper(&listener));
        let mut client = site.connect();
        client.send(format!(
            "CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\na"
        ));
        assert_eq!(client.head().status, 200);
        client.until("A");
        site.handle.drain(Duration::from_secs(60));
        // The proxy reads the end, and the server has the last word.
        assert_eq!(client.rest(), "bye");
        server.join().unwrap().unwrap();
        site.served.join().unwrap().unwrap();
    });
}

#[test]
fn curl_fetches_a_page_through_a_tunnel() {
    on_a_shard(|| {
        let proxy = Site::new(App::new().connect(tunnel));
        let page = Site::new(App::new().get("/page", || "through the tunnel"));
        let url = format!("http://{}/page", page.addr);
        let by = format!("http://{}", proxy.addr);
        let output = bridge::blocking(move || {
            let mut curl = Command::new("curl");
            curl.args([
                "-sS",
                "--max-time",
                "100",
                "--noproxy",
                "",
                "--proxytunnel",
                "--proxy",
            ]);
            curl.args([&by, &url]).output()
        });
        match output {
            Ok(output) => assert_eq!(
                String::from_utf8_lossy(&output.stdout),
                "through the tunnel",
                "{}",
                String::from_utf8_lossy(&output.stderr)
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                eprintln!("there is no curl");
            }
            Err(error) => panic!("curl: {error}"),
        }
        page.end();
        proxy.end();
    });
}

#[test]
fn a_proxy_refuses_other_hosts() {
    on_a_shard(|| {
        let site = Site::new(App::new().connect(tunnel));
        let mut client = site.connect();
        client.send("CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n");
        assert_eq!(client.last_answer(403).text(), "only to this machine\n");
        site.end();
    });
}
