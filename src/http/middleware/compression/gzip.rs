//! gzip (RFC 1952).
#![forbid(unsafe_code)]

use std::io;

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use super::codec::Codec;

/// The output buffer grows by at least this much.
const ROOM: usize = 4096;

pub(super) struct Gzip {
    deflate: Compress,
    /// Of the bytes so far, with their number.
    crc: Crc,
    is_fastest: bool,
    has_begun: bool,
}

impl Gzip {
    pub(super) fn new(level: u32) -> Self {
        Self {
            deflate: Compress::new(Compression::new(level), false),
            crc: Crc::new(),
            is_fastest: level == 1,
            has_begun: false,
        }
    }

    fn run(&mut self, data: &[u8], mode: FlushCompress, out: &mut Vec<u8>) -> io::Result<()> {
        if !self.has_begun {
            self.has_begun = true;
            // RFC 1952 section 2.3: deflate, no flags, no time, whether by the fastest algorithm,
            // an unknown system.
            let extra = if self.is_fastest { 4 } else { 0 };
            out.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, extra, 255]);
        }
        self.crc.update(data);
        let mut rest = data;
        loop {
            if out.capacity() - out.len() < ROOM {
                out.reserve(ROOM);
            }
            let before = self.deflate.total_in();
            let status = self.deflate.compress_vec(rest, out, mode);
            let status = status.map_err(io::Error::other)?;
            let taken = self.deflate.total_in() - before;
            rest = rest.get(taken as usize..).unwrap_or_default();
            // With room left, everything has been put out.
            let is_full = out.len() == out.capacity();
            if status == Status::StreamEnd || rest.is_empty() && !is_full {
                return Ok(());
            }
        }
    }
}

impl Codec for Gzip {
    fn write(&mut self, data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.run(data, FlushCompress::None, out)
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.run(&[], FlushCompress::Sync, out)
    }

    fn finish(&mut self, data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.run(data, FlushCompress::Finish, out)?;
        out.extend_from_slice(&self.crc.sum().to_le_bytes());
        out.extend_from_slice(&self.crc.amount().to_le_bytes());
        Ok(())
    }

    fn restart(&mut self) -> bool {
        self.deflate.reset();
        self.crc.reset();
        self.has_begun = false;
        true
    }
}
