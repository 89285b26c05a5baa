//! A body that is compressed while it is made.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::rc::Rc;

use super::codecs::{Codecs, Taken, Work};
use crate::http::proto::accept_encoding::Coding;
use crate::thread;

/// How many bytes are compressed before other ethreads get their turn.
const TURN: usize = 64 * 1024;

/// Compresses what is written to it, and writes that to a sink.
pub(super) struct Encoder<'a> {
    taken: Taken,
    sink: &'a mut dyn Write,
    /// Something was written since the last flush, or nothing yet: the first flush puts out the
    /// head of the coding, which some decoders wait for.
    has_unflushed: bool,
    /// Bytes that were compressed since the ethread has yielded.
    in_turn: usize,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(
        codecs: &Rc<Codecs>,
        coding: Coding,
        sink: &'a mut dyn Write,
    ) -> io::Result<Self> {
        Ok(Self {
            taken: codecs.take(coding)?,
            sink,
            has_unflushed: true,
            in_turn: 0,
        })
    }

    /// Writes the end.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let Work { codec, out } = &mut *self.taken;
        codec.finish(&[], out)?;
        self.pass_on()
    }

    /// Writes to the sink what the encoder has put out.
    fn pass_on(&mut self) -> io::Result<()> {
        let out = &mut self.taken.out;
        if !out.is_empty() {
            self.sink.write_all(out)?;
            out.clear();
        }
        Ok(())
    }
}

impl Write for Encoder<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let part = &data[..data.len().min(TURN)];
        let Work { codec, out } = &mut *self.taken;
        codec.write(part, out)?;
        self.has_unflushed |= !part.is_empty();
        self.pass_on()?;
        self.in_turn += part.len();
        if self.in_turn >= TURN {
            self.in_turn = 0;
            thread::yield_now();
        }
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.has_unflushed {
            let Work { codec, out } = &mut *self.taken;
            codec.flush(out)?;
            self.has_unflushed = false;
            self.pass_on()?;
        }
        self.sink.flush()
    }
}
