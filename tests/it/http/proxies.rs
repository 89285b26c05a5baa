//! Proxies in front of a server: the PROXY protocol, and fields that name the client.

use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use ethreads::http::testing::Client as TestClient;
use ethreads::http::{App, ForwardedField, Request, Response, Server};
use ethreads::net::{Network, ProxyHeader};
use ethreads::thread;

use crate::http::util::{SHORT, Site, on_a_shard, settle, timeouts};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// The addresses that a handler sees.
fn show(request: &mut Request) -> String {
    let text = |address: Option<SocketAddr>| address.map_or("-".into(), |addr| addr.to_string());
    format!(
        "{} {}",
        text(request.peer_addr()),
        text(request.local_addr())
    )
}

fn loopback() -> [Network; 1] {
    ["127.0.0.0/8".parse().unwrap()]
}

fn site() -> Site {
    let configure = |server: Server| server.timeouts(timeouts(|_| ())).proxy_protocol(loopback());
    Site::with(configure, show)
}

fn header() -> ProxyHeader {
    let addresses = ["192.0.2.1:4711", "192.0.2.2:443"].map(|addr| addr.parse().unwrap());
    ProxyHeader::new(addresses[0], addresses[1])
}

#[test]
fn the_addresses_are_those_of_the_header() {
    on_a_shard(|| {
        let site = site();
        for header in [header().to_v1(), header().to_v2()] {
            let mut client = site.connect();
            client.send([&header, GET.as_bytes()].concat());
            assert_eq!(client.answer().text(), "192.0.2.1:4711 192.0.2.2:443");
            // The header holds for the whole connection.
            client.send(GET);
            assert_eq!(client.answer().text(), "192.0.2.1:4711 192.0.2.2:443");
            client.finish();
            assert_eq!(client.rest(), "");
        }
        site.end();
    });
}

#[test]
fn a_header_may_arrive_in_pieces() {
    on_a_shard(|| {
        let site = site();
        for header in [header().to_v1(), header().to_v2()] {
            for cut in 1..header.len() {
                let mut client = site.connect();
                client.send(&header[..cut]);
                settle();
                client.send([&header[cut..], GET.as_bytes()].concat());
                assert_eq!(
                    client.answer().text(),
                    "192.0.2.1:4711 192.0.2.2:443",
                    "{cut}"
                );
                client.finish();
            }
            // The request after the header, on its own.
            let mut client = site.connect();
            client.send(&header);
            settle();
            client.send(GET);
            assert_eq!(client.answer().text(), "192.0.2.1:4711 192.0.2.2:443");
            client.finish();
        }
        site.end();
    });
}

#[test]
fn a_proxy_may_speak_for_itself() {
    on_a_shard(|| {
        let site = site();
        for header in [ProxyHeader::local().to_v1(), ProxyHeader::local().to_v2()] {
            let mut client = site.connect();
            let own = client.stream.local_addr().unwrap();
            client.send([&header, GET.as_bytes()].concat());
            assert_eq!(client.answer().text(), format!("{own} {}", site.addr));
            client.finish();
        }
        // A check that the port is open.
        let mut client = site.connect();
        client.finish();
        assert_eq!(client.rest(), "");
        site.end();
    });
}

#[test]
fn what_is_no_header_is_closed_without_an_answer() {
    on_a_shard(|| {
        let refusals = Arc::new(Mutex::new(Vec::new()));
        let seen = refusals.clone();
        let configure = |server: Server| {
            server
                .timeouts(timeouts(|_| ()))
                .proxy_protocol(loopback())
                .on_refusal(move |error, _| {
                    let cause = error.source().map(ToString::to_string);
                    seen.lock().unwrap().push(cause.unwrap_or_default());
                })
        };
        let site = Site::with(configure, show);
        let long = format!("PROXY UNKNOWN {}", "x".repeat(200));
        let inputs = [GET, "PROXY TCP4 1.1.1.1\r\n", "\r\n\r\n\0\r\nGUIT\n", &long];
        for input in inputs {
            assert_eq!(site.exchange(input), "", "{input:?}");
        }
        assert_eq!(site.exchange("PROXY TCP4"), "");
        let refusals = refusals.lock().unwrap();
        assert_eq!(refusals.len(), 5);
        assert!(
            refusals.iter().all(|text| text.contains("PROXY protocol")),
            "{refusals:?}"
        );
        drop(refusals);
        site.end();
    });
}

#[test]
fn a_header_has_a_deadline() {
    on_a_shard(|| {
        let configure = |server: Server| {
            let timeouts = timeouts(|timeouts| timeouts.head = SHORT);
            server.timeouts(timeouts).proxy_protocol(loopback())
        };
        let site = Site::with(configure, show);
        let mut client = site.connect();
        client.send("PROXY TCP4 ");
        assert_eq!(client.rest(), "");
        site.end();
    });
}

#[test]
fn a_peer_that_is_no_proxy_must_not_have_a_header() {
    on_a_shard(|| {
        let configure = |server: Server| {
            let other = ["127.1.0.0/16".parse().unwrap()];
            server.timeouts(timeouts(|_| ())).proxy_protocol(other)
        };
        let site = Site::with(configure, show);
        let mut client = site.connect();
        let own = client.stream.local_addr().unwrap();
        client.send(GET);
        assert_eq!(client.answer().text(), format!("{own} {}", site.addr));
        client.finish();
        let input = [&header().to_v1(), GET.as_bytes()].concat();
        assert!(site.exchange(input).starts_with("HTTP/1.1 400 "));
        site.end();
    });
}

#[test]
fn hooks_see_the_client() {
    on_a_shard(|| {
        let peers = Arc::new(Mutex::new(Vec::new()));
        let seen = peers.clone();
        let refused = peers.clone();
        let configure = |server: Server| {
            server
                .timeouts(timeouts(|_| ()))
                .proxy_protocol(loopback())
                .on_response(move |exchange| seen.lock().unwrap().push(exchange.peer()))
                .on_refusal(move |_, peer| refused.lock().unwrap().push(peer))
        };
        let site = Site::with(configure, show);
        site.exchange([&header().to_v2(), GET.as_bytes()].concat());
        site.exchange([&header().to_v2(), &b"nonsense\r\n\r\n"[..]].concat());
        let client = Some("192.0.2.1:4711".parse().unwrap());
        // Of the refused request its refusal, and its answer.
        assert_eq!(*peers.lock().unwrap(), [client, client, client]);
        site.end();
    });
}

#[test]
fn an_upgraded_connection_keeps_its_client() {
    on_a_shard(|| {
        let configure =
            |server: Server| server.timeouts(timeouts(|_| ())).proxy_protocol(loopback());
        let site = Site::with(configure, |_: &mut Request| {
            Response::upgrade("echo", |mut stream| {
                let addresses = [stream.peer_addr(), stream.local_addr()].map(Option::unwrap);
                write!(stream, "{} {}", addresses[0], addresses[1]).unwrap();
            })
        });
        let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
        let answer = site.exchange([&header().to_v2(), request.as_bytes()].concat());
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(
            answer.ends_with("\r\n\r\n192.0.2.1:4711 192.0.2.2:443"),
            "{answer}"
        );
        site.end();
    });
}

#[test]
fn streams_without_addresses_are_proxies() {
    on_a_shard(|| {
        let (near, far) = ethreads::net::UnixStream::pair().unwrap();
        let server = Server::without_listener().proxy_protocol([]);
        let served = thread::spawn(move || server.serve_connection(far, show));
        (&near).write_all(&header().to_v2()).unwrap();
        (&near).write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let answer = io::read_to_string(&near).unwrap();
        assert!(answer.ends_with("192.0.2.1:4711 192.0.2.2:443"), "{answer}");
        drop(near);
        served.join().unwrap().unwrap();
    });
}

/// The client that a handler sees.
fn client(request: &mut Request) -> String {
    let client = request.client_addr();
    let client = client.map_or("-".into(), |client| client.to_string());
    format!("{client} {}", request.scheme())
}

#[test]
fn fields_of_trusted_peers_name_the_client() {
    on_a_shard(|| {
        let app = || App::new().get("/", client);
        let fields = "x-forwarded-for: 1.1.1.1\r\nx-forwarded-proto: https\r\n";
        let request = format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
        let trusting = |networks: [Network; 1]| {
            let configure = |server: Server| {
                let field = ForwardedField::XForwardedFor;
                server
                    .timeouts(timeouts(|_| ()))
                    .trust_forwarded(field, networks)
            };
            let site = Site::with(configure, app());
            let answer = site.exchange(&request);
            site.end();
            answer
        };
        assert!(trusting(loopback()).ends_with("\r\n\r\n1.1.1.1 https"));
        let other = ["10.0.0.0/8".parse().unwrap()];
        assert!(trusting(other).ends_with("\r\n\r\n127.0.0.1 http"));
        // Without the setting no field is read.
        let site = Site::new(app());
        assert!(site.exchange(&request).ends_with("\r\n\r\n127.0.0.1 http"));
        site.end();
    });
}

#[test]
fn a_proxy_may_stand_behind_another_one() {
    on_a_shard(|| {
        // A load balancer speaks the PROXY protocol, and a proxy behind it names its client.
        let configure = |server: Server| {
            let inner = ["192.0.2.0/24".parse().unwrap()];
            server
                .timeouts(timeouts(|_| ()))
                .proxy_protocol(loopback())
                .trust_forwarded(ForwardedField::Forwarded, inner)
        };
        let site = Site::with(configure, client);
        let request = "GET / HTTP/1.1\r\nhost: a\r\nforwarded: for=1.1.1.1;proto=https\r\n\r\n";
        let answer = site.exchange([&header().to_v2(), request.as_bytes()].concat());
        assert!(answer.ends_with("\r\n\r\n1.1.1.1 https"), "{answer}");
        site.end();
    });
}

#[test]
fn a_request_without_a_connection_has_its_own_address() {
    on_a_shard(|| {
        let response = TestClient::new(client)
            .get("/")
            .header("forwarded", "for=1.1.1.1")
            .send();
        assert_eq!(response.text(), "- http");
        let built = Request::get("/")
            .peer_addr(([10, 0, 0, 1], 80).into())
            .build()
            .unwrap();
        assert_eq!(built.client_addr(), Some([10, 0, 0, 1].into()));
    });
}
