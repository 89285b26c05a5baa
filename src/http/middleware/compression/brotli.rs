//! brotli (RFC 7932).
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::mem;

use ::brotli::CompressorWriter;
use ::brotli::enc::BrotliEncoderParams;

use super::codec::Codec;

/// The binary logarithm of the window. The default of the crate, 22, takes many megabytes for each
/// response.
const WINDOW: i32 = 18;

/// The size of the encoder's own output buffer.
const BUFFER: usize = 4096;

pub(super) struct Brotli {
    quality: u32,
    /// `None` before the first byte and after the last one.
    writer: Option<CompressorWriter<Vec<u8>>>,
}

impl Brotli {
    pub(super) fn new(quality: u32) -> Self {
        Self {
            quality,
            writer: None,
        }
    }

    /// The encoder, which is made for a body of about `expected` bytes; 0 if that is unknown.
    fn writer(&mut self, expected: usize) -> &mut CompressorWriter<Vec<u8>> {
        let quality = self.quality as i32;
        self.writer.get_or_insert_with(|| {
            let params = BrotliEncoderParams {
                quality,
                lgwin: WINDOW,
                size_hint: expected,
                ..BrotliEncoderParams::default()
            };
            CompressorWriter::with_params(Vec::new(), BUFFER, &params)
        })
    }

    /// Moves to `out` what the encoder has put out.
    fn pass_on(&mut self, out: &mut Vec<u8>) {
        if let Some(writer) = &mut self.writer {
            out.append(writer.get_mut());
        }
    }
}

impl Codec for Brotli {
    fn write(&mut self, data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.writer(0).write_all(data)?;
        self.pass_on(out);
        Ok(())
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.writer(0).flush()?;
        self.pass_on(out);
        Ok(())
    }

    fn finish(&mut self, data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.writer(data.len()).write_all(data)?;
        if let Some(mut writer) = self.writer.take() {
            // The encoder writes the end behind what is there.
            let written = mem::take(writer.get_mut());
            out.extend_from_slice(&written);
            out.extend_from_slice(&writer.into_inner());
        }
        Ok(())
    }

    /// The crate cannot use an encoder again, so the next response makes one.
    fn restart(&mut self) -> bool {
        self.writer = None;
        true
    }
}
