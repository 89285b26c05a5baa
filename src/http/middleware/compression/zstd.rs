//! zstd (RFC 8878).
#![forbid(unsafe_code)]

use std::io;

use ::zstd::zstd_safe::zstd_sys::ZSTD_EndDirective;
use ::zstd::zstd_safe::{
    CCtx, CParameter, ErrorCode, InBuffer, OutBuffer, ResetDirective, get_error_name,
};

use super::codec::Codec;

/// The binary logarithm of the largest window. RFC 9659 allows 23; this one takes less memory.
const WINDOW: u32 = 18;

/// The output buffer grows by at least this much.
const ROOM: usize = 4096;

pub(super) struct Zstd(CCtx<'static>);

impl Zstd {
    pub(super) fn new(level: i32) -> io::Result<Self> {
        let mut context = CCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?;
        for parameter in [
            CParameter::CompressionLevel(level),
            CParameter::WindowLog(WINDOW),
        ] {
            context.set_parameter(parameter).map_err(error)?;
        }
        Ok(Self(context))
    }

    fn run(
        &mut self,
        data: &[u8],
        directive: ZSTD_EndDirective,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let is_write = directive == ZSTD_EndDirective::ZSTD_e_continue;
        let mut input = InBuffer::around(data);
        loop {
            if out.capacity() - out.len() < ROOM {
                out.reserve(ROOM);
            }
            let at = out.len();
            let mut output = OutBuffer::around_pos(out, at);
            let left = self.0.compress_stream2(&mut output, &mut input, directive);
            let left = left.map_err(error)?;
            let is_taken = input.pos() == data.len();
            if is_taken && (is_write || left == 0) {
                return Ok(());
            }
        }
    }
}

impl Codec for Zstd {
    fn write(&mut self, data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.run(data, ZSTD_EndDirective::ZSTD_e_continue, out)
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.run(&[], ZSTD_EndDirective::ZSTD_e_flush, out)
    }

    fn finish(&mut self, data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.run(data, ZSTD_EndDirective::ZSTD_e_end, out)
    }

    fn restart(&mut self) -> bool {
        self.0.reset(ResetDirective::SessionOnly).is_ok()
    }
}

fn error(code: ErrorCode) -> io::Error {
    io::Error::other(get_error_name(code))
}
