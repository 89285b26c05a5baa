//! Bodies that are written to something else than their connection.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::bridge;
use crate::http::error::Error;
use crate::http::message::{Body, BodyWriter, Content};
use crate::runtime::driver::file::read_cached;

/// How many bytes are read at a time.
const PIECE: usize = 64 * 1024;

impl Body {
    /// Writes the body to `out`: the bytes that a connection would send. Suspends the caller while
    /// the reader or the writer of the body waits, while the pool reads the file, and while `out`
    /// takes no more.
    ///
    /// A middleware can so change any body: it takes the body out of the response, and puts a
    /// [`writer`](Self::writer) in its place, which writes the old body through something else.
    /// [`Response::map_body`](crate::http::Response::map_body) keeps the rest of the
    /// response, and its [guards](crate::http::Response::hold) until the new body has
    /// been sent.
    ///
    /// A [`flush`](Write::flush) of a body's writer is one of `out`. What a reader returns is
    /// flushed, as it may wait before it returns more. Bytes and files are not.
    ///
    /// # Errors
    ///
    /// Those of `out`, and of the reader, writer or file of the body. If the body does not have the
    /// length that it declares, as if a connection had sent it: the part that was written must not
    /// be taken for the whole. `InvalidInput` for the response of an
    /// [upgrade](crate::http::Response::upgrade), which has no body.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here.
    ///
    /// # Examples
    ///
    /// A middleware that writes each body in upper case:
    ///
    /// ```
    /// use std::io::{self, Write};
    /// use ethreads::http::{App, Body, Request};
    ///
    /// struct Upper<W>(W);
    ///
    /// impl<W: Write> Write for Upper<W> {
    ///     fn write(&mut self, data: &[u8]) -> io::Result<usize> {
    ///         self.0.write(&data.to_ascii_uppercase())
    ///     }
    ///
    ///     fn flush(&mut self) -> io::Result<()> {
    ///         self.0.flush()
    ///     }
    /// }
    ///
    /// let app = App::new()
    ///     .get("/", || Body::writer(|out| out.write_all(b"hello\n")))
    ///     .around(|request, next| {
    ///         next.run(request)
    ///             .map_body(|old| Body::writer(|out| old.write_to(&mut Upper(out))))
    ///     });
    ///
    /// let (_, _, body) = app.call(Request::get("/")).into_parts();
    /// let mut sent = Vec::new();
    /// body.write_to(&mut sent)?;
    /// assert_eq!(sent, b"HELLO\n");
    /// # Ok::<(), io::Error>(())
    /// ```
    pub fn write_to<W: Write + ?Sized>(self, mut out: &mut W) -> io::Result<()> {
        self.write_counted(&mut out)
    }

    fn write_counted(self, out: &mut dyn Write) -> io::Result<()> {
        let declared = self.len();
        let mut out = Counting {
            out,
            declared,
            written: 0,
        };
        match self.into_content() {
            Content::Empty => {}
            Content::Static(bytes) => out.write_all(bytes)?,
            Content::Bytes(bytes) => out.write_all(&bytes)?,
            Content::File { file, offset, len } => write_file(file, offset, len, &mut out)?,
            Content::Reader { reader, len } => match len {
                Some(len) => copy(&mut reader.take(len), &mut out)?,
                None => copy(&mut { reader }, &mut out)?,
            },
            Content::Writer { write, .. } => write(&mut BodyWriter::new(&mut out))?,
            Content::TakeOver(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "an upgrade of the connection has no body",
                ));
            }
        }
        match declared {
            Some(declared) if out.written < declared => {
                Err(Error::response_too_short(declared, out.written).into())
            }
            _ => Ok(()),
        }
    }
}

/// Holds a body to its length.
struct Counting<'a> {
    out: &'a mut dyn Write,
    declared: Option<u64>,
    written: u64,
}

impl Write for Counting<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if let Some(declared) = self.declared
            && data.len() as u64 > declared - self.written
        {
            return Err(Error::response_too_long(declared).into());
        }
        let written = self.out.write(data)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn copy(reader: &mut dyn Read, out: &mut dyn Write) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(got) => {
                out.write_all(&buffer[..got])?;
                out.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes a part of a file. What is not in memory is read on the pool.
fn write_file(file: Arc<File>, mut at: u64, len: u64, out: &mut dyn Write) -> io::Result<()> {
    let end = at.saturating_add(len);
    let mut buffer = Vec::new();
    while at < end {
        buffer.resize((end - at).min(PIECE as u64) as usize, 0);
        let got = match read_cached(file.as_fd(), &mut buffer, at)? {
            Some(got) => got,
            None => {
                let read;
                (read, buffer) = read_on_pool(&file, buffer, at);
                read?
            }
        };
        if got == 0 {
            break;
        }
        out.write_all(&buffer[..got])?;
        at += got as u64;
    }
    Ok(())
}

/// Reads from a file on the pool, and returns the buffer, too.
pub(in crate::http) fn read_on_pool(
    file: &Arc<File>,
    mut buffer: Vec<u8>,
    at: u64,
) -> (io::Result<usize>, Vec<u8>) {
    let file = file.clone();
    bridge::blocking(move || (read_at(&file, &mut buffer, at), buffer))
}

fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sink that takes few bytes at a time, and notes each flush.
    #[derive(Default)]
    struct Sink(Vec<u8>);

    impl Write for Sink {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            let taken = data.len().min(3);
            self.0.extend_from_slice(&data[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            self.0.push(b'|');
            Ok(())
        }
    }

    #[track_caller]
    fn check(body: Body, expected: &str) {
        let mut sink = Sink::default();
        body.write_to(&mut sink).unwrap();
        assert_eq!(String::from_utf8(sink.0).unwrap(), expected);
    }

    #[track_caller]
    fn check_fails(body: Body, written: &str, expected: &str) {
        let mut sink = Sink::default();
        let error = body.write_to(&mut sink).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(String::from_utf8(sink.0).unwrap(), written);
    }

    #[test]
    fn bodies_of_every_kind_are_written() {
        check(Body::empty(), "");
        check(Body::from("hello"), "hello");
        check(Body::from(vec![b'a'; 4]), "aaaa");
        check(Body::reader(&b"hello"[..]), "hello|");
        check(Body::reader(b"he".chain(&b"llo"[..])), "he|llo|");
        check(Body::sized_reader(io::repeat(b'a'), 4), "aaaa|");
        check(Body::writer(|out| out.write_all(b"hello")), "hello");
        let flushes = Body::sized_writer(5, |out| {
            out.write_all(b"he")?;
            out.flush()?;
            out.write_all(b"llo")
        });
        check(flushes, "he|llo");
    }

    #[test]
    fn a_part_of_a_file_is_written() {
        let path = std::env::temp_dir().join(format!("ethreads-write-to-{}", std::process::id()));
        let text: String = (0..40_000).map(|n| format!("{n} ")).collect();
        std::fs::write(&path, &text).unwrap();
        let file = Arc::new(File::open(&path).unwrap());
        std::fs::remove_file(path).unwrap();
        assert!(text.len() > 3 * PIECE);
        let len = text.len() as u64;
        check(Body::file_range(file.clone(), 0, len), &text);
        check(
            Body::file_range(file.clone(), 3, len - 5),
            &text[3..text.len() - 2],
        );
        let (read, buffer) = read_on_pool(&file, vec![0; 8], 2);
        assert_eq!(&buffer[..read.unwrap()], &text.as_bytes()[2..10]);
        let end = &text[text.len() - 4..];
        let error = "expected a response body of 9 bytes, got 4";
        check_fails(Body::file_range(file, len - 4, 9), end, error);
    }

    #[test]
    fn a_wrong_length_is_an_error() {
        let short = "expected a response body of 3 bytes, got 2";
        check_fails(Body::sized_reader(&b"ab"[..], 3), "ab|", short);
        check_fails(
            Body::sized_writer(3, |out| out.write_all(b"ab")),
            "ab",
            short,
        );
        let long = "expected a response body of 3 bytes, got more";
        check_fails(
            Body::sized_writer(3, |out| out.write_all(b"abcd")),
            "",
            long,
        );
    }

    #[test]
    fn errors_of_the_source_and_an_upgrade_are_returned() {
        let failed = Body::writer(|out| {
            out.write_all(b"ab")?;
            Err(io::Error::other("broken"))
        });
        check_fails(failed, "ab", "broken");
        let upgrade = Body::taking_over(Box::new(()));
        check_fails(upgrade, "", "an upgrade of the connection has no body");
    }
}
