//! The body of a service's response, as a body of this server.
#![forbid(unsafe_code)]

use std::error::Error as StdError;
use std::future::poll_fn;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::Poll;

use bytes::Buf;
use http_body::Body as HttpBody;

use crate::bridge::future::block_on;
use crate::http::message::Body;

/// Any error, as services return it.
pub(super) type BoxError = Box<dyn StdError + Send + Sync>;

/// Converts a body. One whose only piece is there is bytes; any other is read while it is sent.
pub(super) fn convert<B>(mut body: Pin<Box<B>>) -> Body
where
    B: HttpBody<Data: Buf, Error: Into<BoxError>> + 'static,
{
    let exact = body.size_hint().exact();
    if exact == Some(0) || body.is_end_stream() {
        return Body::empty();
    }
    // Asked once, without a wait. What comes is the first piece.
    let asked = block_on(poll_fn(|context| {
        Poll::Ready(body.as_mut().poll_frame(context))
    }));
    let mut reader = FrameReader {
        body,
        piece: None,
        failure: None,
    };
    match asked {
        Poll::Ready(None) => return Body::empty(),
        Poll::Ready(Some(Ok(frame))) => {
            if let Ok(mut data) = frame.into_data() {
                if exact == Some(data.remaining() as u64) || reader.body.is_end_stream() {
                    return Body::from(data.copy_to_bytes(data.remaining()));
                }
                reader.piece = Some(data);
            }
        }
        Poll::Ready(Some(Err(error))) => reader.failure = Some(error.into()),
        Poll::Pending => {}
    }
    match exact {
        Some(length) => Body::sized_reader(reader, length),
        None => Body::reader(reader),
    }
}

/// Reads the pieces of a body, waiting for them. Trailers are left out.
struct FrameReader<B: HttpBody> {
    body: Pin<Box<B>>,
    piece: Option<B::Data>,
    failure: Option<BoxError>,
}

impl<B: HttpBody<Data: Buf, Error: Into<BoxError>>> Read for FrameReader<B> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(error) = self.failure.take() {
                return Err(io::Error::other(error));
            }
            if let Some(piece) = &mut self.piece
                && piece.has_remaining()
            {
                let taken = piece.remaining().min(buf.len());
                piece.copy_to_slice(&mut buf[..taken]);
                return Ok(taken);
            }
            self.piece = None;
            match block_on(poll_fn(|context| self.body.as_mut().poll_frame(context))) {
                None => return Ok(0),
                Some(Ok(frame)) => self.piece = frame.into_data().ok(),
                Some(Err(error)) => self.failure = Some(error.into()),
            }
        }
    }
}
