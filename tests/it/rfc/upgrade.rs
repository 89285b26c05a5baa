//! RFC 9110 section 7.8: Upgrade, and 101.

use ethreads::http::{IntoResponse, Request, Response, Result, StatusCode};

use crate::http::util::{Site, on_a_shard};
use crate::rfc::support::{get, head, post, served, served_last};

/// A handler that answers 101 with the protocol of the path, if there is one.
fn switch(request: &mut Request) -> Response {
    match request.path().trim_start_matches('/') {
        "" => StatusCode::SWITCHING_PROTOCOLS.into_response(),
        protocol => Response::upgrade(protocol, |_| ()),
    }
}

/// RFC 9110 section 7.8: Upgrade may be ignored. It is ignored where the handler does not support
/// it.
#[test]
fn upgrades_that_are_not_offered_are_ignored() {
    served([
        (
            get(&["connection: upgrade", "upgrade: websocket"]),
            "GET / for a: \"\"",
        ),
        (
            get(&[
                "connection: upgrade, http2-settings",
                "upgrade: h2c",
                "http2-settings: a",
            ]),
            "GET / for a: \"\"",
        ),
        (
            post(
                &["connection: upgrade", "upgrade: b", "content-length: 2"],
                "ab",
            ),
            "POST / for a: \"ab\"",
        ),
        (get(&["upgrade: HTTP/2.0, b"]), "GET / for a: \"\""),
    ]);
    served_last([(
        head(&[
            "GET / HTTP/1.0",
            "host: a",
            "connection: upgrade",
            "upgrade: b",
        ]),
        "GET / for a: \"\"",
    )]);
}

/// RFC 9110 sections 7.8 and 15.2.2: a 101 names in Upgrade, and in Connection, what the client has
/// named there. Names are case-insensitive.
#[test]
fn protocols_are_switched_to_what_was_asked_for() {
    on_a_shard(|| {
        let site = Site::new(switch);
        for upgrade in ["a", "A", "x/1, a", "a, a/2", ",\ta ,"] {
            let mut client = site.connect();
            let field = format!("upgrade: {upgrade}");
            client.send(head(&[
                "GET /a HTTP/1.1",
                "host: a",
                "connection: upgrade",
                &field,
            ]));
            let answer = client.head();
            assert_eq!(answer.status, 101, "{upgrade}");
            assert_eq!(answer.header("upgrade"), Some("a"));
            assert_eq!(answer.header("connection"), Some("upgrade"));
            // RFC 9112 section 6.1 and RFC 9110 section 8.6: no content, so no length.
            assert_eq!(answer.header("content-length"), None);
            assert_eq!(answer.header("transfer-encoding"), None);
            client.end();
            client.finish();
        }
        site.end();
    });
}

/// RFC 9110 section 7.8: a server must not switch to what the client has not named, and must ignore
/// an Upgrade in HTTP/1.0; section 15.2: nor may it answer HTTP/1.0 with 1xx.
#[test]
fn protocols_that_were_not_asked_for_are_not_switched_to() {
    on_a_shard(|| {
        let site = Site::new(switch);
        for lines in [
            &["GET /a HTTP/1.1", "host: a"][..],
            &["GET /a HTTP/1.1", "host: a", "connection: upgrade"],
            &["GET /a HTTP/1.1", "host: a", "upgrade: a"],
            &[
                "GET /a HTTP/1.1",
                "host: a",
                "connection: upgrade",
                "upgrade: b",
            ],
            &[
                "GET /a HTTP/1.1",
                "host: a",
                "connection: upgrade",
                "upgrade: ab, b",
            ],
            &[
                "GET / HTTP/1.1",
                "host: a",
                "connection: upgrade",
                "upgrade: a",
            ],
            &[
                "GET /a HTTP/1.0",
                "host: a",
                "connection: upgrade",
                "upgrade: a",
            ],
            &[
                "GET /a HTTP/1.0",
                "connection: upgrade, keep-alive",
                "upgrade: a",
            ],
        ] {
            let mut client = site.connect();
            client.send(head(lines));
            let answer = client.answer();
            // RFC 9110 section 15.5.22: the 426 names the acceptable protocol.
            let expected = match lines[0] {
                "GET / HTTP/1.1" => (500, None),
                _ => (426, Some("a")),
            };
            let got = (answer.status, answer.header("upgrade"));
            assert_eq!(got, expected, "{lines:?}");
        }
        site.end();
    });
}

/// RFC 9110 section 7.8: with both an Upgrade and an Expect, a 100 must come before the 101.
#[test]
fn a_100_comes_before_a_101() {
    on_a_shard(|| {
        let site = Site::new(switch);
        let mut client = site.connect();
        client.send(head(&[
            "POST /a HTTP/1.1",
            "host: a",
            "connection: upgrade",
            "upgrade: a",
            "expect: 100-continue",
            "content-length: 2",
        ]));
        assert_eq!(client.head().head, "HTTP/1.1 100 Continue\r\n\r\n");
        // RFC 9110 section 7.8: the new protocol begins after the whole request.
        client.send("ab");
        assert_eq!(client.head().status, 101);
        client.finish();
        site.end();
    });
}

/// RFC 9110 section 7.8: a sender of Upgrade must name it in Connection, in a 426 and elsewhere.
#[test]
fn an_upgrade_is_a_connection_option() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| -> Result<Response> {
            let response = StatusCode::UPGRADE_REQUIRED.into_response();
            let response = response.with_header("upgrade", "HTTP/3.0");
            Ok(match request.path() {
                "/named" => response.with_header("connection", "Upgrade"),
                "/close" => response.with_header("connection", "close"),
                _ => response,
            })
        });
        let mut client = site.connect();
        for path in ["/", "/named"] {
            let answer = client.get(path);
            assert_eq!(answer.status, 426);
            assert_eq!(answer.header("upgrade"), Some("HTTP/3.0"));
            assert_eq!(answer.header("connection"), Some("upgrade"));
        }
        client.send(head(&["GET / HTTP/1.0", "connection: keep-alive"]));
        assert_eq!(
            client.answer().header("connection"),
            Some("keep-alive, upgrade")
        );
        let answer = client.get("/close");
        assert_eq!(answer.header("connection"), Some("close, upgrade"));
        client.end();
        client.finish();
        site.end();
    });
}
