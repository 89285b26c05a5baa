//! What the closure that makes the app of a shard returns.
#![forbid(unsafe_code)]

use std::error::Error as StdError;
use std::io;
use std::marker::PhantomData;

use crate::http::exchange::handler::{Converted, Handler, IntoHandler};
use crate::http::message::IntoResponse;

/// The result of a closure that makes the app of a shard: an app or handler, or a [`Result`] of
/// one. Sealed; see [`ShardedServer::serve_each`](crate::http::ShardedServer::serve_each).
pub trait MadeHandler<M>: sealed::Sealed<M> {
    #[doc(hidden)]
    fn into_made(self) -> io::Result<Made>;
}

/// A handler that was made.
#[doc(hidden)]
pub struct Made(pub(super) Box<dyn Handler>);

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Made").finish_non_exhaustive()
    }
}

mod sealed {
    pub trait Sealed<M> {}
}

/// Marks a result that may be an error.
#[doc(hidden)]
#[derive(Debug)]
pub struct Fallible<M>(PhantomData<M>);

/// Marks a result that is a handler.
#[doc(hidden)]
#[derive(Debug)]
pub struct Infallible<M>(PhantomData<M>);

impl<M, H: IntoHandler<M, Output: IntoResponse>> sealed::Sealed<Infallible<M>> for H {}

impl<M: 'static, H: IntoHandler<M, Output: IntoResponse>> MadeHandler<Infallible<M>> for H {
    fn into_made(self) -> io::Result<Made> {
        Ok(Made(Box::new(Converted::new(self))))
    }
}

impl<M, H: MadeHandler<M>, E> sealed::Sealed<Fallible<M>> for Result<H, E> {}

impl<M, H, E> MadeHandler<Fallible<M>> for Result<H, E>
where
    H: MadeHandler<M>,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    fn into_made(self) -> io::Result<Made> {
        let error = match self {
            Ok(handler) => return handler.into_made(),
            Err(error) => error.into(),
        };
        Err(match error.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(error) => io::Error::other(error),
        })
    }
}
