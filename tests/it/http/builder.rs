//! Requests without a connection.

use std::io::Read;

use ethreads::http::{App, Error, Method, Request, StatusCode, Version};

#[track_caller]
fn refused(request: Result<Request, Error>) {
    let error = request.unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::BAD_REQUEST), "{error}");
}

#[test]
fn it_has_what_it_was_given() {
    let (peer, local) = ("1.2.3.4:5".parse().unwrap(), "[::1]:6".parse().unwrap());
    let mut request = Request::builder()
        .method(Method::PUT)
        .target("/a%20b?x=1&y=2")
        .header("X-One", "1")
        .header("x-one", "2")
        .peer_addr(peer)
        .local_addr(local)
        .body("four")
        .build()
        .unwrap();
    assert_eq!(request.method(), Method::PUT);
    assert_eq!(request.target(), "/a%20b?x=1&y=2");
    assert_eq!(request.path(), "/a%20b");
    assert_eq!(request.query_pairs().count(), 2);
    assert_eq!(request.version(), Version::HTTP_11);
    assert_eq!(request.header("x-one"), Some("1"));
    assert_eq!(request.header("host"), Some("localhost"));
    assert_eq!(request.header("content-length"), Some("4"));
    assert_eq!(request.content_length(), Some(4));
    assert_eq!(request.peer_addr(), Some(peer));
    assert_eq!(request.local_addr(), Some(local));
    assert!(!request.peer_gone());
    let mut two = [0; 2];
    request.body().read_exact(&mut two).unwrap();
    assert_eq!(&two, b"fo");
    assert_eq!(request.text().unwrap(), "ur");
    assert_eq!(request.text().unwrap(), "");
}

#[test]
fn the_default_is_a_get_of_the_root() {
    let mut request = Request::builder().build().unwrap();
    assert_eq!((request.method(), request.target()), (&Method::GET, "/"));
    assert_eq!(request.content_length(), Some(0));
    assert_eq!(request.header("content-length"), None);
    assert_eq!(request.bytes().unwrap(), b"");
    let old = Request::builder()
        .version(Version::HTTP_10)
        .build()
        .unwrap();
    assert_eq!(old.version(), Version::HTTP_10);
    assert_eq!(old.header("host"), None);
}

#[test]
fn a_reader_is_a_body_of_unknown_length() {
    let mut request = Request::builder()
        .method(Method::POST)
        .body_reader(&b"streamed"[..])
        .build()
        .unwrap();
    assert_eq!(request.content_length(), None);
    assert_eq!(request.text().unwrap(), "streamed");
    let mut request = Request::builder()
        .method(Method::POST)
        .body_reader(std::io::repeat(7).take(3 << 20))
        .build()
        .unwrap();
    let error = request.bytes().unwrap_err();
    assert!(error.is_limit(), "{error}");
    let mut request = Request::builder()
        .method(Method::POST)
        .body_reader(std::io::repeat(7).take(3 << 20))
        .build()
        .unwrap();
    let copied = std::io::copy(&mut request.take_body(), &mut std::io::sink());
    assert_eq!(copied.unwrap(), 3 << 20);
}

#[test]
fn what_a_server_would_refuse_is_refused() {
    refused(Request::builder().target("no-slash").build());
    refused(Request::builder().target("/a b").build());
    refused(Request::builder().target("").build());
    let smuggled = "/ HTTP/1.1\r\nx: y\r\n\r\n";
    refused(Request::builder().target(smuggled).build());
    refused(Request::builder().header("content-length", "x").build());
    refused(Request::builder().header("host", "a b").build());
    let both = Request::builder()
        .header("content-length", "1")
        .header("transfer-encoding", "chunked");
    refused(both.build());
}

#[test]
#[should_panic(expected = "header of a request")]
fn a_malformed_header_panics() {
    let _ = Request::builder().header("x", "a\nb");
}

#[test]
fn a_handler_answers_it() {
    let handler = |request: &mut Request| request.text().map(|text| text.to_uppercase()).unwrap();
    let response = App::new()
        .get("/", handler)
        .call(Request::builder().body("hello"));
    assert_eq!(response.body().as_bytes(), Some(&b"HELLO"[..]));
}
