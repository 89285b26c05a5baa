//! Response bodies.
#![forbid(unsafe_code)]

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

use bytes::Bytes;

/// The body of a response: bytes, a file, a reader that is copied out, or a writer that is called.
///
/// Values that convert `Into<Body>` are bytes: `&'static str`, `String`, `Vec<u8>`, [`Bytes`] and
/// the like. Their length is sent as `Content-Length`. Streams of unknown length are sent in
/// chunks.
///
/// # Examples
///
/// ```
/// use std::io::Write;
/// use ethreads::http::Body;
///
/// let events = Body::writer(|out| {
///     for n in 0..3 {
///         writeln!(out, "data: {n}\n")?;
///         out.flush()?;
///     }
///     Ok(())
/// });
/// assert_eq!(events.len(), None);
/// assert_eq!(Body::from("hello").len(), Some(5));
/// ```
#[derive(Default)]
pub struct Body(Content);

/// The closure of [`Body::writer`].
pub(crate) type WriteBody = Box<dyn FnOnce(&mut BodyWriter<'_>) -> io::Result<()>>;

/// What a [`Body`] consists of, for the connection that sends it.
#[derive(Default)]
pub(crate) enum Content {
    #[default]
    Empty,
    Static(&'static [u8]),
    Bytes(Bytes),
    File {
        // Shared with the pool while that reads it.
        file: Arc<File>,
        offset: u64,
        len: u64,
    },
    Reader {
        reader: Box<dyn Read>,
        len: Option<u64>,
    },
    Writer {
        write: WriteBody,
        len: Option<u64>,
    },
    /// No body, but the receiver of the connection after a 101, of a type that only the connection
    /// knows.
    TakeOver(Box<dyn Any>),
}

impl Body {
    /// Makes a body of no bytes.
    pub const fn empty() -> Self {
        Self(Content::Empty)
    }

    /// Makes a body of a whole regular file, from its beginning, sent under a `Content-Length`.
    ///
    /// On Linux the kernel sends the part of the file that is in memory (sendfile(2)). The
    /// [pool](crate::bridge::blocking) reads the part that has to come from the disk, so that no
    /// other ethread waits for it. The file must not become shorter meanwhile: then the connection
    /// is closed, so that the peer sees an incomplete response.
    ///
    /// Opening a file and asking for its length, as this does, also access the disk if the system
    /// does not have the data in memory. Where that matters, call both in
    /// [`blocking`](crate::bridge::blocking).
    ///
    /// # Errors
    ///
    /// The errors of fstat(2); `InvalidInput` if it is no regular file, such as a pipe, which
    /// [`Body::reader`] takes.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::fs::File;
    /// use ethreads::http::{Body, IntoResponse, Request, Response, Result};
    ///
    /// fn page(_: &mut Request) -> Result<Response> {
    ///     let body = Body::file(File::open("index.html")?)?;
    ///     Ok(([("content-type", "text/html")], body.into_response()).into_response())
    /// }
    /// ```
    pub fn file(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a body can be made of a regular file only; of others, use `Body::reader`",
            ));
        }
        Ok(Self::file_range(file, 0, metadata.len()))
    }

    /// Makes a body of `len` bytes of a file, from `offset` on: as [`Body::file`], for a part.
    ///
    /// If the file ends earlier, the connection is closed, so that the peer sees an incomplete
    /// response.
    pub fn file_range(file: impl Into<Arc<File>>, offset: u64, len: u64) -> Self {
        Self(Content::File {
            file: file.into(),
            offset,
            len,
        })
    }

    /// Makes a body of what `reader` yields until its end, sent in chunks as it comes.
    ///
    /// The reader is called in the ethread of the connection, after the head was sent; an error
    /// from it cuts the response short and closes the connection.
    pub fn reader(reader: impl Read + 'static) -> Self {
        Self(Content::Reader {
            reader: Box::new(reader),
            len: None,
        })
    }

    /// Makes a body of `len` bytes read from `reader`, sent under a `Content-Length`.
    ///
    /// Data beyond `len` is not read. If the reader ends earlier, the connection is closed, so that
    /// the peer sees an incomplete response.
    pub fn sized_reader(reader: impl Read + 'static, len: u64) -> Self {
        Self(Content::Reader {
            reader: Box::new(reader),
            len: Some(len),
        })
    }

    /// Makes a body of what `write` produces, sent in chunks.
    ///
    /// The closure runs in the ethread of the connection, after the head was sent. What it writes
    /// is buffered until the buffer is full, it calls [`flush`](Write::flush), or it returns. An
    /// error from it cuts the response short and closes the connection.
    pub fn writer(write: impl FnOnce(&mut BodyWriter<'_>) -> io::Result<()> + 'static) -> Self {
        Self(Content::Writer {
            write: Box::new(write),
            len: None,
        })
    }

    /// Makes a body of `len` bytes that `write` produces, sent under a `Content-Length`.
    ///
    /// Writing more than `len` bytes is an error; writing fewer closes the connection, so that the
    /// peer sees an incomplete response.
    pub fn sized_writer(
        len: u64,
        write: impl FnOnce(&mut BodyWriter<'_>) -> io::Result<()> + 'static,
    ) -> Self {
        Self(Content::Writer {
            write: Box::new(write),
            len: Some(len),
        })
    }

    pub(crate) fn taking_over(take_over: Box<dyn Any>) -> Self {
        Self(Content::TakeOver(take_over))
    }

    /// Whether the connection is to be handed over to a receiver of this type.
    pub(crate) fn takes_over_as<T: Any>(&self) -> bool {
        matches!(&self.0, Content::TakeOver(receiver) if receiver.is::<T>())
    }

    /// Whether the connection is to be handed over.
    pub(crate) fn takes_over(&self) -> bool {
        matches!(self.0, Content::TakeOver(_))
    }

    /// Returns the length in bytes where it is known.
    #[inline]
    pub fn len(&self) -> Option<u64> {
        match &self.0 {
            Content::Empty | Content::TakeOver(_) => Some(0),
            Content::Static(bytes) => Some(bytes.len() as u64),
            Content::Bytes(bytes) => Some(bytes.len() as u64),
            Content::File { len, .. } => Some(*len),
            Content::Reader { len, .. } | Content::Writer { len, .. } => *len,
        }
    }

    /// Whether the body is known to have no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Returns the bytes of a body that is not a stream.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match &self.0 {
            Content::Empty | Content::TakeOver(_) => Some(&[]),
            Content::Static(bytes) => Some(bytes),
            Content::Bytes(bytes) => Some(bytes),
            Content::File { .. } | Content::Reader { .. } | Content::Writer { .. } => None,
        }
    }

    #[inline]
    pub(crate) fn into_content(self) -> Content {
        self.0
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, len) = match &self.0 {
            Content::Empty => return f.write_str("Body::Empty"),
            Content::TakeOver(_) => return f.write_str("Body::TakeOver"),
            Content::Static(_) | Content::Bytes(_) => ("Bytes", self.len()),
            Content::File { len, .. } => ("File", Some(*len)),
            Content::Reader { len, .. } => ("Reader", *len),
            Content::Writer { len, .. } => ("Writer", *len),
        };
        write!(f, "Body::{kind}(")?;
        match len {
            Some(len) => write!(f, "{len} bytes)"),
            None => f.write_str("length unknown)"),
        }
    }
}

impl From<()> for Body {
    fn from((): ()) -> Self {
        Self::empty()
    }
}

impl From<&'static [u8]> for Body {
    fn from(bytes: &'static [u8]) -> Self {
        Self(Content::Static(bytes))
    }
}

impl<const N: usize> From<&'static [u8; N]> for Body {
    fn from(bytes: &'static [u8; N]) -> Self {
        Self::from(bytes.as_slice())
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::from(text.as_bytes())
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(Content::Bytes(bytes))
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from(Bytes::from(bytes))
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::from(text.into_bytes())
    }
}

impl From<Cow<'static, str>> for Body {
    fn from(text: Cow<'static, str>) -> Self {
        match text {
            Cow::Borrowed(text) => Self::from(text),
            Cow::Owned(text) => Self::from(text),
        }
    }
}

/// Where the closure of [`Body::writer`] writes to.
///
/// [`flush`](Write::flush) sends what was written so far to the peer at once; without it small
/// writes are collected. A write suspends the ethread while the peer takes no more.
pub struct BodyWriter<'a> {
    sink: &'a mut dyn Write,
}

impl<'a> BodyWriter<'a> {
    pub(crate) fn new(sink: &'a mut dyn Write) -> Self {
        Self { sink }
    }
}

impl Write for BodyWriter<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.sink.write(data)
    }

    fn write_vectored(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        self.sink.write_vectored(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

impl fmt::Debug for BodyWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyWriter").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: impl Into<Body>, expected: &[u8]) {
        let body = body.into();
        assert_eq!(body.as_bytes(), Some(expected));
        assert_eq!(body.len(), Some(expected.len() as u64));
        assert_eq!(body.is_empty(), expected.is_empty());
    }

    #[test]
    fn bytes_of_every_kind_convert() {
        check((), b"");
        check("a", b"a");
        check(b"a", b"a");
        check(b"a".as_slice(), b"a");
        check(String::from("a"), b"a");
        check(vec![b'a'], b"a");
        check(Bytes::from_static(b"a"), b"a");
        check(Cow::Borrowed("a"), b"a");
        check(Cow::<'static, str>::Owned("a".into()), b"a");
    }

    #[test]
    fn streams_know_a_length_only_when_told() {
        assert_eq!(Body::reader(io::empty()).len(), None);
        assert_eq!(Body::sized_reader(io::repeat(0), 7).len(), Some(7));
        assert_eq!(Body::writer(|_| Ok(())).len(), None);
        assert_eq!(Body::sized_writer(7, |_| Ok(())).len(), Some(7));
        assert!(Body::reader(io::empty()).as_bytes().is_none());
        assert!(!Body::reader(io::empty()).is_empty());
    }

    #[test]
    fn a_writer_reaches_its_sink() {
        let body = Body::writer(|out| {
            out.write_all(b"ab")?;
            out.write_all(b"c")?;
            out.flush()
        });
        let Content::Writer { write, .. } = body.into_content() else {
            panic!("not a writer")
        };
        let mut sink = Vec::new();
        write(&mut BodyWriter::new(&mut sink)).unwrap();
        assert_eq!(sink, b"abc");
    }

    #[test]
    fn debug_tells_kind_and_length() {
        assert_eq!(format!("{:?}", Body::empty()), "Body::Empty");
        assert_eq!(format!("{:?}", Body::from("abc")), "Body::Bytes(3 bytes)");
        assert_eq!(
            format!("{:?}", Body::reader(io::empty())),
            "Body::Reader(length unknown)"
        );
    }
}
