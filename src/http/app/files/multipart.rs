//! Several parts of a file in one body (RFC 9110 section 14.6).
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Write};
use std::mem;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use http::HeaderValue;

use crate::bridge;
use crate::http::message::Body;
use crate::runtime::driver::file::read_cached;
use crate::runtime::driver::random::unforeseen;

/// How many bytes are read at a time.
const PIECE: u64 = 64 * 1024;

/// A body of `parts` of a file of `len` bytes, and its content type.
pub(super) fn body(
    file: File,
    len: u64,
    parts: Vec<Range<u64>>,
    content_type: &HeaderValue,
) -> (HeaderValue, Body) {
    // The file must not contain it.
    let boundary = format!("{:016x}{:016x}", unforeseen(), unforeseen());
    let content_type = content_type.to_str().unwrap_or("application/octet-stream");
    let head = |part: &Range<u64>| {
        format!(
            "\r\n--{boundary}\r\ncontent-type: {content_type}\r\n\
             content-range: bytes {}-{}/{len}\r\n\r\n",
            part.start,
            part.end - 1,
        )
    };
    let end = format!("\r\n--{boundary}--\r\n");
    let parts: Vec<_> = parts.into_iter().map(|part| (head(&part), part)).collect();
    let sizes = parts
        .iter()
        .map(|(head, part)| head.len() as u64 + part.end - part.start);
    let total = sizes.sum::<u64>() + end.len() as u64;
    let file = Arc::new(file);
    let body = Body::sized_writer(total, move |out| {
        let mut buffer = Vec::new();
        for (head, part) in &parts {
            out.write_all(head.as_bytes())?;
            copy(&file, part.clone(), &mut buffer, out)?;
        }
        out.write_all(end.as_bytes())
    });
    let content_type = HeaderValue::try_from(format!("multipart/byteranges; boundary={boundary}"));
    (
        content_type.unwrap_or(HeaderValue::from_static("multipart/byteranges")),
        body,
    )
}

/// Writes a part of a file; what is not in memory is read on the pool.
fn copy(
    file: &Arc<File>,
    part: Range<u64>,
    buffer: &mut Vec<u8>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut at = part.start;
    while at < part.end {
        buffer.resize((part.end - at).min(PIECE) as usize, 0);
        let got = match read_cached(file.as_fd(), buffer, at)? {
            Some(got) => got,
            None => {
                let (file, mut bytes) = (file.clone(), mem::take(buffer));
                let (read, bytes) = bridge::blocking(move || {
                    let read = file.read_at(&mut bytes, at);
                    (read, bytes)
                });
                *buffer = bytes;
                match read {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    read => read?,
                }
            }
        };
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        out.write_all(&buffer[..got])?;
        at += got as u64;
    }
    Ok(())
}
