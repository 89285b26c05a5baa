//! Helpers of the tests of single sentences of RFC 9112 and RFC 9110: tables of requests in bytes,
//! with the answer to each and the end or persistence of its connection. `tests/rfc` lists the
//! sentences.

use std::thread;

use ethreads::http::{Request, Result};

use crate::http::util::{Answer, Client, Site, on_a_shard, settle};

/// An unambiguous request, and the answer of [`tell`] to it.
///
/// Its fields are those of many requests in the tables. So these fields are tested both as new ones
/// and as repetitions, which the server may recognise.
pub(crate) const NEXT: &str = "GET /next HTTP/1.1\r\nhost: a\r\n\r\n";
pub(crate) const NEXT_TOLD: &str = "GET /next for a: \"\"";

/// A handler that answers with what it understood.
pub(crate) fn tell(request: &mut Request) -> Result<String> {
    let body = request.bytes()?;
    Ok(format!(
        "{} {} for {}: \"{}\"",
        request.method(),
        request.target(),
        request.host().unwrap_or_default(),
        body.escape_ascii()
    ))
}

/// A head with these lines, the request line first.
pub(crate) fn head(lines: &[&str]) -> String {
    lines.join("\r\n") + "\r\n\r\n"
}

/// A POST with these field lines besides its host, and this body.
pub(crate) fn post(fields: &[&str], body: &str) -> String {
    head(&[&["POST / HTTP/1.1", "host: a"], fields].concat()) + body
}

/// A GET with these field lines besides its host.
pub(crate) fn get(fields: &[&str]) -> String {
    head(&[&["GET / HTTP/1.1", "host: a"], fields].concat())
}

/// Prints the row of a table if the test fails in that row.
struct Row<'a>(&'a [u8]);

impl Drop for Row<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let start = &self.0[..self.0.len().min(200)];
            eprintln!("in the row \"{}\"", start.escape_ascii());
        }
    }
}

type Bytes = Vec<u8>;

/// Runs `check` for each row, on connections of its own to one server.
fn each<T: Send + 'static>(
    rows: impl IntoIterator<Item = (impl AsRef<[u8]>, T)>,
    check: impl Fn(&Site, &[u8], &T) + Send + 'static,
) {
    let rows: Vec<(Bytes, T)> = rows
        .into_iter()
        .map(|(input, expected)| (input.as_ref().to_vec(), expected))
        .collect();
    assert!(!rows.is_empty());
    on_a_shard(move || {
        let site = Site::new(tell);
        for (input, expected) in &rows {
            let _row = Row(input);
            check(&site, input, expected);
        }
        site.end();
    });
}

/// Checks what every answer by which the server itself refuses a request must have.
#[track_caller]
pub(crate) fn assert_refusal(client: &mut Client, status: u16) -> Answer {
    let answer = client.last_answer(status);
    // RFC 9110 section 6.6.1.
    assert!(answer.header("date").is_some(), "{answer:?}");
    // RFC 9110 sections 8.3, 15.5 and 15.6: an explanation, and its content type.
    let kind = answer.header("content-type");
    assert_eq!(kind, Some("text/plain; charset=utf-8"), "{answer:?}");
    assert!(!answer.body.is_empty());
    answer
}

/// Checks that each input is refused with its status, that the connection ends, and that what
/// follows is not taken for a request. A good request before the input is answered all the same.
pub(crate) fn refused(rows: impl IntoIterator<Item = (impl AsRef<[u8]>, u16)>) {
    each(rows, |site, input, &status| {
        let mut client = site.connect();
        client.send([input, NEXT.as_bytes()].concat());
        assert_refusal(&mut client, status);
        let mut client = site.connect();
        client.send([NEXT.as_bytes(), input, NEXT.as_bytes()].concat());
        assert_eq!(client.answer().text(), NEXT_TOLD);
        assert_refusal(&mut client, status);
        let mut client = site.connect();
        send_in_two(&mut client, input);
        client.send(NEXT);
        assert_refusal(&mut client, status);
    });
}

/// Sends a request so that the server sees its first half alone.
fn send_in_two(client: &mut Client, input: &[u8]) {
    let (first, second) = input.split_at(input.len() / 2);
    client.send(first);
    settle();
    client.send(second);
}

/// Checks that each input is one request with the given answer of [`tell`], and that the connection
/// goes on.
pub(crate) fn served(rows: impl IntoIterator<Item = (impl AsRef<[u8]>, &'static str)>) {
    each(rows, |site, input, &told| {
        let mut client = site.connect();
        client.send([input, NEXT.as_bytes()].concat());
        let answer = client.answer();
        assert_eq!((answer.status, answer.text()), (200, told));
        assert_eq!(client.answer().text(), NEXT_TOLD);
        send_in_two(&mut client, input);
        client.send(NEXT);
        assert_eq!(client.answer().text(), told);
        assert_eq!(client.answer().text(), NEXT_TOLD);
    });
}

/// Checks that each input is one request with the given answer of [`tell`], and that the connection
/// then ends with notice.
pub(crate) fn served_last(rows: impl IntoIterator<Item = (impl AsRef<[u8]>, &'static str)>) {
    each(rows, |site, input, &told| {
        let mut client = site.connect();
        client.send([input, NEXT.as_bytes()].concat());
        assert_eq!(client.last_answer(200).text(), told);
    });
}
