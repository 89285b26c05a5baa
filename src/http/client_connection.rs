//! What a connection keeps from one request to the next, for its handlers.
#![forbid(unsafe_code)]

use std::any::{Any, TypeId};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::thread::{self, Thread};

/// The connection that a request came over: a number, a name, and values of the handler's own that
/// live as long as it does. From [`Request::connection`](super::Request::connection).
///
/// There is one value of each type. They are dropped in the connection's ethread when its last
/// answer is out; the socket may then [linger](super::Timeouts::linger).
///
/// # Examples
///
/// A greeting for the first request of a connection:
///
/// ```
/// use ethreads::http::Request;
///
/// struct Greeted;
///
/// fn answer(request: &mut Request) -> &'static str {
///     match request.connection_mut().insert(Greeted) {
///         None => "pleased to meet you\n",
///         Some(Greeted) => "you again\n",
///     }
/// }
/// ```
pub struct ClientConnection {
    id: u64,
    ethread: Thread,
    /// Few, if any: searched from front to back.
    values: Vec<Box<dyn Any>>,
}

impl ClientConnection {
    /// The connection that the current ethread begins to serve.
    pub(super) fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self {
            id: LAST.fetch_add(1, Ordering::Relaxed) + 1,
            ethread: thread::current(),
            values: Vec::new(),
        }
    }

    /// Returns the connection's number, which no other one of this process has.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Returns the connection's name, as the log and reports have it: `http-client ADDRESS:PORT`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.ethread.name().unwrap_or_default()
    }

    /// Returns the value of this type.
    #[must_use]
    pub fn get<T: 'static>(&self) -> Option<&T> {
        self.values.iter().find_map(|value| value.downcast_ref())
    }

    /// Returns the value of this type for changing.
    pub fn get_mut<T: 'static>(&mut self) -> Option<&mut T> {
        self.values
            .iter_mut()
            .find_map(|value| value.downcast_mut())
    }

    /// Returns the value of this type; `make` makes it first if there is none.
    #[expect(
        clippy::missing_panics_doc,
        reason = "the value is of the type it was found by"
    )]
    pub fn get_or_insert_with<T: 'static>(&mut self, make: impl FnOnce() -> T) -> &mut T {
        let place = self.place_of::<T>().unwrap_or_else(|| {
            self.values.push(Box::new(make()));
            self.values.len() - 1
        });
        self.values[place]
            .downcast_mut()
            .expect("the value at this place is of this type")
    }

    /// Keeps a value, and returns the one of its type that it replaces.
    pub fn insert<T: 'static>(&mut self, value: T) -> Option<T> {
        match self.get_mut::<T>() {
            Some(old) => Some(std::mem::replace(old, value)),
            None => {
                self.values.push(Box::new(value));
                None
            }
        }
    }

    /// Takes the value of this type out.
    pub fn remove<T: 'static>(&mut self) -> Option<T> {
        let place = self.place_of::<T>()?;
        let value = self.values.swap_remove(place).downcast().ok()?;
        Some(*value)
    }

    fn place_of<T: 'static>(&self) -> Option<usize> {
        let is_it = |value: &Box<dyn Any>| (**value).type_id() == TypeId::of::<T>();
        self.values.iter().position(is_it)
    }
}

impl fmt::Debug for ClientConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConnection")
            .field("id", &self.id)
            .field("name", &self.name())
            .field("values", &self.values.len())
            .finish()
    }
}
