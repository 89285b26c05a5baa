//! The beginning of a drain, for handlers.
#![forbid(unsafe_code)]

use std::cell::{Cell, OnceCell};
use std::convert::Infallible;
use std::fmt;
use std::rc::Rc;

use crate::sync::select::Operation;
use crate::sync::{Promise, Resolver};

/// Tells that the server drains, so that an answer without an end can end. From
/// [`Request::draining`](crate::http::Request::draining).
///
/// A clone may be moved to another ethread of the shard, and outlives the request. It also tells
/// that the server has ended in another way. For other OS threads there is
/// [`ServerHandle::draining`](crate::http::ServerHandle::draining).
///
/// # Examples
///
/// A long poll that ends early with an answer, instead of being cut at the drain's deadline:
///
/// ```
/// use std::rc::Rc;
/// use std::time::Duration;
/// use ethreads::http::{Request, State, StatusCode};
/// use ethreads::select;
/// use ethreads::sync::{Signal, select::after};
///
/// fn poll(news: State<Signal<String>>, request: &mut Request) -> (StatusCode, String) {
///     let draining = request.draining();
///     select! {
///         text = news.waiting() => (StatusCode::OK, text),
///         () = draining.waiting() => (StatusCode::SERVICE_UNAVAILABLE, "ask again\n".into()),
///         () = after(Duration::from_secs(30)) => (StatusCode::NO_CONTENT, String::new()),
///     }
/// }
/// # let _ = poll;
/// ```
#[derive(Clone)]
pub struct Draining {
    state: Rc<State>,
}

struct State {
    begun: Promise<(), Infallible>,
    /// `None` once the drain has begun.
    begin: Cell<Option<Resolver<(), Infallible>>>,
}

impl Draining {
    pub(in crate::http) fn new() -> Self {
        let (begun, begin) = Promise::new();
        Self {
            state: Rc::new(State {
                begun,
                begin: Cell::new(Some(begin)),
            }),
        }
    }

    /// Wakes all that wait for the drain.
    pub(in crate::http) fn begin(&self) {
        if let Some(begin) = self.state.begin.take() {
            begin.resolve(());
        }
    }

    /// Whether the server drains.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.state.begun.is_settled()
    }

    /// Suspends the caller until the server drains.
    ///
    /// While the caller unwinds, the process aborts with a report.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here.
    #[track_caller]
    pub fn wait(&self) {
        // Never broken, as its resolver is beside it.
        let _ = self.state.begun.wait();
    }

    /// Returns an operation that happens when the server drains, for [`select!`](crate::select).
    pub fn waiting(&self) -> impl Operation<Output = ()> {
        self.state.begun.settling().map(drop)
    }
}

/// A place in a response, where the connection that sends it leaves its [`Draining`]. It stays with
/// the response when a middleware puts another body around that of the response.
#[derive(Clone, Default)]
pub(in crate::http) struct DrainSlot(Rc<OnceCell<Draining>>);

impl DrainSlot {
    pub(in crate::http) fn fill(&self, draining: &Draining) {
        // A response is sent once.
        let _ = self.0.set(draining.clone());
    }

    /// What was left there; without a connection no drain begins.
    pub(in crate::http) fn get(&self) -> Draining {
        self.0.get().cloned().unwrap_or_else(Draining::new)
    }
}

impl fmt::Debug for Draining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draining")
            .field("has_begun", &self.has_begun())
            .finish()
    }
}
