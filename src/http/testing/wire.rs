//! HTTP/1.1 as a client speaks it: a request as bytes, and the head of a response as values.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, StatusCode, Version};

use crate::http::exchange::body::RequestBody;
use crate::http::exchange::builder::RequestBuilder;
use crate::http::message::Headers;
use crate::http::proto::chunked::ChunkedDecoder;
use crate::http::proto::encode::{LAST_CHUNK, write_chunk};
use crate::http::proto::limits::Limits;
use crate::io::Duplex;

/// A request on its way to the server.
pub(super) struct Outgoing {
    head: Vec<u8>,
    body: RequestBody,
    /// The length of the body; `None` if only its reader knows it.
    body_len: Option<usize>,
    chunked: bool,
}

impl Outgoing {
    pub(super) fn new(request: RequestBuilder) -> Self {
        let (head, body, body_len, chunked) = request.into_message();
        Self {
            head,
            body,
            body_len,
            chunked,
        }
    }

    /// The length of the whole message in bytes, if it is known.
    pub(super) fn len(&self) -> Option<usize> {
        Some(self.head.len() + self.body_len?)
    }

    /// Sends all of it; waits while the stream takes no more.
    pub(super) fn send(mut self, mut stream: &Duplex) -> io::Result<()> {
        stream.write_all(&self.head)?;
        let mut buffer = vec![0; 16 * 1024];
        let mut chunk = Vec::new();
        loop {
            let got = match self.body.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                got => got?,
            };
            if got == 0 {
                break;
            }
            if self.chunked {
                write_chunk(&mut chunk, &buffer[..got]);
                stream.write_all(&chunk)?;
                chunk.clear();
            } else {
                stream.write_all(&buffer[..got])?;
            }
        }
        if self.chunked {
            stream.write_all(LAST_CHUNK)?;
        }
        Ok(())
    }
}

/// What ends the body of a response (RFC 9112 section 6.3).
pub(super) enum Framing {
    /// So many bytes are left.
    Length(u64),
    Chunked(Box<ChunkedDecoder>),
    /// The end of the connection.
    Close,
}

/// The head of a response.
pub(super) struct Head {
    pub(super) version: Version,
    pub(super) status: StatusCode,
    pub(super) headers: Headers,
}

impl Head {
    /// Reads a head, without the empty line behind it; `None` if it is malformed.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let mut lines = text.split(|&byte| byte == b'\n').map(|line| {
            let end = line.strip_suffix(b"\r");
            end.unwrap_or(line)
        });
        let mut parts = lines.next()?.splitn(3, |&byte| byte == b' ');
        let version = match parts.next()? {
            b"HTTP/1.1" => Version::HTTP_11,
            b"HTTP/1.0" => Version::HTTP_10,
            _ => return None,
        };
        let status = StatusCode::from_bytes(parts.next()?).ok()?;
        let mut headers = Headers::new();
        for line in lines {
            let colon = line.iter().position(|&byte| byte == b':')?;
            let name = HeaderName::from_bytes(&line[..colon]).ok()?;
            let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
            headers.append(name, value);
        }
        Some(Self {
            version,
            status,
            headers,
        })
    }

    /// What ends the body; `None` if the length that is announced is malformed.
    pub(super) fn framing(&self, is_head: bool) -> Option<Framing> {
        let status = self.status;
        let has_none = is_head
            || status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        if has_none {
            return Some(Framing::Length(0));
        }
        if self.headers.contains(&TRANSFER_ENCODING) {
            let decoder = ChunkedDecoder::new(&Limits::default());
            return Some(Framing::Chunked(Box::new(decoder)));
        }
        match self.headers.get(&CONTENT_LENGTH) {
            Some(length) => Some(Framing::Length(length.to_str().ok()?.parse().ok()?)),
            None => Some(Framing::Close),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_and_broken_ones_are_not() {
        let text = b"HTTP/1.1 404 Not Found\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nx:\r\n";
        let head = Head::parse(text.strip_suffix(b"\r\n").unwrap()).unwrap();
        assert_eq!(
            (head.version, head.status),
            (Version::HTTP_11, StatusCode::NOT_FOUND)
        );
        let cookies = head.headers.get_all(&http::header::SET_COOKIE);
        assert_eq!(cookies.collect::<Vec<_>>(), ["a=1", "b=2"]);
        assert_eq!(head.headers.len(), 3);
        for broken in [
            "",
            "HTTP/2 200",
            "HTTP/1.1",
            "HTTP/1.1 20",
            "HTTP/1.1 200\r\nx",
        ] {
            assert!(Head::parse(broken.as_bytes()).is_none(), "{broken}");
        }
    }

    #[test]
    fn the_framing_follows_from_request_status_and_fields() {
        let framing = |status: &str, field: &str, is_head| {
            let head = Head::parse(format!("HTTP/1.1 {status}\r\n{field}").as_bytes()).unwrap();
            match head.framing(is_head) {
                Some(Framing::Length(length)) => length.to_string(),
                Some(Framing::Chunked(_)) => "chunked".to_owned(),
                Some(Framing::Close) => "close".to_owned(),
                None => "malformed".to_owned(),
            }
        };
        assert_eq!(framing("200", "content-length: 7", false), "7");
        assert_eq!(framing("200", "content-length: 7", true), "0");
        assert_eq!(framing("304", "content-length: 7", false), "0");
        assert_eq!(framing("204", "x: y", false), "0");
        assert_eq!(framing("103", "x: y", false), "0");
        assert_eq!(
            framing("200", "transfer-encoding: chunked", false),
            "chunked"
        );
        assert_eq!(framing("200", "x: y", false), "close");
        assert_eq!(framing("200", "content-length: seven", false), "malformed");
    }
}
