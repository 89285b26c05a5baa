//! Files as response bodies.
//!
//! Cached parts of a file are sent with sendfile(2). Uncached parts would block the shard on the
//! disk, with all its ethreads, so they are read on the pool. The pool is also used on systems and
//! file systems without sendfile(2), or without a way to tell what is cached.
#![forbid(unsafe_code)]

use std::fs::File;
use std::mem;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::connection::{COLLECT, Connection};
use super::io::ConnIo;
use crate::http::error::Error;
use crate::http::exchange::write_to::read_on_pool;
use crate::runtime::driver::file::{read_cached, sigpipe_is_fatal};

/// How many bytes are sent between two checks of whether the file is cached. The kernel reads ahead
/// by 128 KiB at a time, so at most one or two pieces of a file that is read from its beginning go
/// through the pool.
const PIECE: u64 = 256 * 1024;

/// A file that is being sent to a peer.
struct Sending<'a> {
    connection: &'a Connection,
    file: Arc<File>,
    at: u64,
    end: u64,
    /// Whether cached pieces are sent with sendfile(2).
    by_kernel: bool,
    /// The buffer that the pool reads into.
    buffer: Vec<u8>,
}

/// Sends `len` bytes of `file`, from `offset` on, behind a head that announced them.
#[inline(never)]
pub(in crate::http) fn send_file(
    io: &mut ConnIo,
    file: Arc<File>,
    offset: u64,
    len: u64,
) -> Result<(), Error> {
    let mut sending = Sending {
        connection: &io.connection,
        file,
        at: offset,
        end: offset.saturating_add(len),
        by_kernel: true,
        buffer: Vec::new(),
    };
    let result = if len <= COLLECT as u64 {
        sending.small()
    } else {
        sending.large()
    };
    let sent = sending.at - offset;
    let result = result.and_then(|()| match sent < len {
        true => Err(Error::response_too_short(len, sent)),
        false => Ok(()),
    });
    io.answered.bytes = sent;
    result
}

impl Sending<'_> {
    /// Appends a small file to its head, so that one write sends both.
    fn small(&mut self) -> Result<(), Error> {
        while self.at < self.end {
            let mut output = self.connection.output.borrow_mut();
            let begin = output.len();
            output.resize(begin + (self.end - self.at) as usize, 0);
            let got = read_cached(self.file.as_fd(), &mut output[begin..], self.at);
            output.truncate(begin + got.as_ref().map_or(0, |got| got.unwrap_or(0)));
            drop(output);
            match got.map_err(Error::response_failed)? {
                Some(0) => break,
                Some(got) => self.at += got as u64,
                None => return self.large(),
            }
        }
        Ok(())
    }

    /// Sends the file in pieces, each with sendfile(2) or through the pool.
    fn large(&mut self) -> Result<(), Error> {
        self.by_kernel = !sigpipe_is_fatal();
        let mut goes_on = true;
        while goes_on && self.at < self.end {
            let piece_end = self.end.min(self.at + PIECE);
            goes_on = if self.by_kernel && self.is_cached(piece_end)? {
                self.piece_by_kernel(piece_end)?
            } else {
                self.piece_by_pool(piece_end)?
            };
        }
        Ok(())
    }

    /// Whether the next piece is cached, judged by its first and its last byte.
    fn is_cached(&self, piece_end: u64) -> Result<bool, Error> {
        for at in [self.at, piece_end - 1] {
            let cached = read_cached(self.file.as_fd(), &mut [0], at);
            if cached.map_err(Error::response_failed)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Sends a piece with sendfile(2), behind the head. Returns false at the end of the file.
    fn piece_by_kernel(&mut self, piece_end: u64) -> Result<bool, Error> {
        self.connection.flush_ahead()?;
        while self.at < piece_end {
            let count = (piece_end - self.at) as usize;
            match self.connection.send_file(&self.file, self.at, count)? {
                Some(0) => return Ok(false),
                Some(sent) => self.at += sent as u64,
                None => {
                    self.by_kernel = false;
                    break;
                }
            }
        }
        Ok(true)
    }

    /// Reads a piece on the pool, and sends it. The peer gets the head meanwhile. Returns false at
    /// the end of the file.
    fn piece_by_pool(&mut self, piece_end: u64) -> Result<bool, Error> {
        self.connection.flush()?;
        let mut buffer = mem::take(&mut self.buffer);
        buffer.resize((piece_end - self.at) as usize, 0);
        let (read, buffer) = read_on_pool(&self.file, buffer, self.at);
        let got = read.map_err(Error::response_failed)?;
        self.connection.send(&buffer[..got])?;
        self.at += got as u64;
        self.buffer = buffer;
        Ok(got > 0)
    }
}
