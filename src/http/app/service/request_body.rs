//! The body of a request, as a service takes it.
#![forbid(unsafe_code)]

use std::fmt;
use std::future::poll_fn;
use std::io::{self, Read};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::bridge::future::block_on;
use crate::http::exchange::body::RequestBody;
use crate::http::exchange::request::Request;
use crate::runtime::base::on_drop::OnDrop;
use crate::thread::Builder;

/// The length of a piece of the body, at most.
const PIECE: usize = 16 * 1024;

/// The body of a request, for a [nested service](crate::http::App::nest_service).
///
/// It may be read in another task, and on another OS thread. It ends with its request: once the
/// response has been sent, it fails.
pub struct ServiceBody {
    /// `None` for an empty body.
    slot: Option<Arc<Slot>>,
    /// What is left of a length that is known.
    left: Option<u64>,
}

/// Where the ethread that reads from the connection puts the next piece.
#[derive(Default)]
struct Slot(Mutex<State>);

#[derive(Default)]
struct State {
    piece: Piece,
    /// The body waits for a piece.
    reader: Option<Waker>,
    /// The ethread waits until a piece is wanted.
    feeder: Option<Waker>,
    /// The body was dropped.
    is_dropped: bool,
}

#[derive(Default)]
enum Piece {
    /// The service has not asked for one.
    #[default]
    Unwanted,
    Wanted,
    Here(io::Result<Frame<Bytes>>),
    /// There are no more.
    End,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a piece, or the end, and wakes the reader. A waker is foreign code, so nothing is
    /// locked then.
    fn put(&self, piece: Piece) {
        let mut state = self.lock();
        state.piece = piece;
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Waits until a piece is wanted; false if none will be.
    fn poll_wanted(&self, context: &Context<'_>) -> Poll<bool> {
        let waker = context.waker().clone();
        let mut state = self.lock();
        if state.is_dropped {
            return Poll::Ready(false);
        }
        if let Piece::Wanted = state.piece {
            return Poll::Ready(true);
        }
        let old = state.feeder.replace(waker);
        drop(state);
        drop(old);
        Poll::Pending
    }

    fn poll_piece(&self, context: &Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        // A waker is foreign code, so it is cloned, called and dropped with nothing locked.
        let waker = context.waker().clone();
        let mut state = self.lock();
        match mem::take(&mut state.piece) {
            Piece::Here(Ok(frame)) => return Poll::Ready(Some(Ok(frame))),
            Piece::Here(Err(error)) => {
                state.piece = Piece::End;
                return Poll::Ready(Some(Err(error)));
            }
            Piece::End => {
                state.piece = Piece::End;
                return Poll::Ready(None);
            }
            Piece::Wanted | Piece::Unwanted => state.piece = Piece::Wanted,
        }
        let old = state.reader.replace(waker);
        let feeder = state.feeder.take();
        drop(state);
        drop(old);
        if let Some(feeder) = feeder {
            feeder.wake();
        }
        Poll::Pending
    }
}

impl ServiceBody {
    /// Takes the body of a request. An ethread reads it, unless it is empty.
    pub(super) fn of(request: &mut Request) -> io::Result<Self> {
        let left = request.content_length();
        if left == Some(0) {
            return Ok(Self { slot: None, left });
        }
        let slot = Arc::<Slot>::default();
        let (body, feeds) = (request.take_body(), slot.clone());
        let builder = Builder::new().name("body of a tower request");
        builder.spawn(move || feed(body, &feeds))?;
        Ok(Self {
            slot: Some(slot),
            left,
        })
    }
}

/// Reads the body as far as the service asks for it.
fn feed(mut body: RequestBody, slot: &Slot) {
    // A cancel or a panic is no end of the body.
    let _end = OnDrop(|| {
        let is_open = !matches!(slot.lock().piece, Piece::Here(_) | Piece::End);
        if is_open {
            let aborted = io::ErrorKind::ConnectionAborted.into();
            slot.put(Piece::Here(Err(aborted)));
        }
    });
    let mut buffer = vec![0; PIECE];
    while block_on(poll_fn(|context| slot.poll_wanted(context))) {
        let got = loop {
            match body.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                got => break got,
            }
        };
        match got {
            Ok(0) if body.trailers().is_empty() => return slot.put(Piece::End),
            Ok(0) => {
                let trailers = HeaderMap::from(body.trailers().clone());
                slot.put(Piece::Here(Ok(Frame::trailers(trailers))));
                block_on(poll_fn(|context| slot.poll_wanted(context)));
                return slot.put(Piece::End);
            }
            Ok(got) => {
                let piece = Bytes::copy_from_slice(&buffer[..got]);
                slot.put(Piece::Here(Ok(Frame::data(piece))));
            }
            Err(error) => return slot.put(Piece::Here(Err(error))),
        }
    }
}

impl Body for ServiceBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(slot) = &self.slot else {
            return Poll::Ready(None);
        };
        let polled = slot.poll_piece(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let (Some(left), Some(data)) = (&mut self.left, frame.data_ref())
        {
            *left = left.saturating_sub(data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let is_over = |slot: &Arc<Slot>| matches!(slot.lock().piece, Piece::End);
        self.slot.as_ref().is_none_or(is_over)
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for ServiceBody {
    fn drop(&mut self) {
        let Some(slot) = &self.slot else { return };
        let mut state = slot.lock();
        state.is_dropped = true;
        let wakers = (state.feeder.take(), state.reader.take());
        drop(state);
        if let Some(feeder) = wakers.0 {
            feeder.wake();
        }
    }
}

impl fmt::Debug for ServiceBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceBody")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}
