//! Services that need a runtime of tokio around them.
#![forbid(unsafe_code)]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use tokio::runtime::Handle;
use tower_service::Service;

/// Methods of services of tower.
pub trait ServiceExt: Sized {
    /// Enters a runtime of tokio around each poll of the service, its futures and its bodies, and
    /// leaves it before the ethread waits: for a service that uses tokio's timers, sockets or
    /// `spawn`, and that panics with "there is no reactor running" otherwise.
    ///
    /// The runtime must be driven by another OS thread, as a multi-threaded one is. Within a poll
    /// the service must not call what suspends an ethread: other ethreads would find themselves in
    /// the runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use axum::{Router, routing::get};
    /// use ethreads::http::{App, ServiceExt, testing::Client};
    ///
    /// let mut builder = tokio::runtime::Builder::new_multi_thread();
    /// let runtime = builder.worker_threads(1).enable_time().build()?;
    /// let slow = async || {
    ///     tokio::time::sleep(Duration::from_millis(1)).await;
    ///     "slept"
    /// };
    /// let router: Router = Router::new().route("/slow", get(slow));
    /// let app = App::new().nest_service("/", router.tokio(runtime.handle().clone()));
    /// assert_eq!(Client::new(app).get("/slow").send().text(), "slept");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn tokio(self, handle: Handle) -> InTokio<Self> {
        InTokio {
            inner: self,
            handle,
        }
    }
}

impl<S> ServiceExt for S {}

/// A service, or what it makes, in a runtime of tokio. Made by [`ServiceExt::tokio`].
#[derive(Clone, Debug)]
pub struct InTokio<T> {
    inner: T,
    handle: Handle,
}

impl<S, R, B> Service<R> for InTokio<S>
where
    S: Service<R, Response = http::Response<B>>,
{
    type Response = http::Response<InTokio<Pin<Box<B>>>>;
    type Error = S::Error;
    type Future = InTokio<Pin<Box<S::Future>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let _entered = self.handle.enter();
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let _entered = self.handle.enter();
        InTokio {
            inner: Box::pin(self.inner.call(request)),
            handle: self.handle.clone(),
        }
    }
}

impl<F, B, E> Future for InTokio<Pin<Box<F>>>
where
    F: Future<Output = Result<http::Response<B>, E>>,
{
    type Output = Result<http::Response<InTokio<Pin<Box<B>>>>, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let _entered = this.handle.enter();
        let wrap = |body| InTokio {
            inner: Box::pin(body),
            handle: this.handle.clone(),
        };
        let polled = this.inner.as_mut().poll(context);
        polled.map_ok(|response| response.map(wrap))
    }
}

impl<B: Body> Body for InTokio<Pin<Box<B>>> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = &mut *self;
        let _entered = this.handle.enter();
        this.inner.as_mut().poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
