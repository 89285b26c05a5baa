//! The limits on what a peer may send.
#![forbid(unsafe_code)]

/// Size limits of HTTP messages.
///
/// Each limit bounds what one peer can make the server hold or look at; how long the peer may take
/// is bounded by the server's timeouts.
///
/// # Examples
///
/// ```
/// use ethreads::http::Limits;
///
/// let mut limits = Limits::default();
/// limits.body_bytes = 64 * 1024 * 1024;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a request head: request line, fields, the empty line, and any empty lines before
    /// it. Beyond it the answer is 431. Default: [`Limits::HEAD_BYTES`].
    pub head_bytes: usize,
    /// Bytes of the request line with its line end. Beyond it the answer is 414. Default:
    /// [`Limits::REQUEST_LINE_BYTES`].
    pub request_line_bytes: usize,
    /// Field lines in a request head. Beyond it the answer is 431. Default:
    /// [`Limits::FIELDS`].
    pub fields: usize,
    /// Bytes of a request body that is collected into memory. Beyond it the answer is 413; a
    /// body that the handler reads as a stream is not bounded by it. Default:
    /// [`Limits::BODY_BYTES`].
    pub body_bytes: u64,
    /// Bytes of all chunk extensions of one body together, and of the zeros before its chunk sizes
    /// that make them longer than any size needs. Beyond it the answer is 400. Default:
    /// [`Limits::CHUNK_EXTENSION_BYTES`].
    pub chunk_extension_bytes: u32,
    /// Bytes of the trailer section of a chunked body. Beyond it the answer is 431. Default:
    /// [`Limits::TRAILER_BYTES`].
    pub trailer_bytes: u32,
}

impl Limits {
    /// 16 KiB: twice what nginx and Apache accept in one field, and what Node and HAProxy accept
    /// for the whole head.
    pub const HEAD_BYTES: usize = 16 * 1024;

    /// 8 KiB: RFC 9112 section 3 recommends at least 8000 octets.
    pub const REQUEST_LINE_BYTES: usize = 8 * 1024;

    /// 100, as hyper and Apache: browsers send about 20, proxies add a handful.
    pub const FIELDS: usize = 100;

    /// 2 MiB: holds any form or JSON document of reasonable size, yet a thousand such bodies at
    /// once still fit into the memory of a small machine.
    pub const BODY_BYTES: u64 = 2 * 1024 * 1024;

    /// 16 KiB: extensions carry no payload, so a peer that sends more only wastes the server's
    /// time.
    pub const CHUNK_EXTENSION_BYTES: u32 = 16 * 1024;

    /// 8 KiB: trailers carry checksums and signatures.
    pub const TRAILER_BYTES: u32 = 8 * 1024;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: Self::HEAD_BYTES,
            request_line_bytes: Self::REQUEST_LINE_BYTES,
            fields: Self::FIELDS,
            body_bytes: Self::BODY_BYTES,
            chunk_extension_bytes: Self::CHUNK_EXTENSION_BYTES,
            trailer_bytes: Self::TRAILER_BYTES,
        }
    }
}
