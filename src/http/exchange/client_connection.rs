//! State that the handlers of a connection keep from one request to the next.
#![forbid(unsafe_code)]

use std::any::{Any, TypeId};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::thread::{self, Thread};

/// The connection that a request came over: its number, its name, and values that its handlers
/// attach. The values live as long as the connection. From
/// [`Request::connection`](crate::http::Request::connection).
///
/// There is at most one value of each type. The values are dropped in the connection's ethread when
/// the last answer is out; the socket may then [linger](crate::http::Timeouts::linger).
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
    /// Few, if any, so the lookup is a linear scan.
    values: Vec<Box<dyn Any>>,
}

impl ClientConnection {
    /// Creates the connection that the current ethread begins to serve.
    pub(in crate::http) fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self {
            id: LAST.fetch_add(1, Ordering::Relaxed) + 1,
            ethread: thread::current(),
            values: Vec::new(),
        }
    }

    /// Returns the connection's number, which is unique in this process.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Returns the connection's name, as in the log and in reports: `http-client ADDRESS:PORT`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.ethread.name().unwrap_or_default()
    }

    /// Returns the value of this type.
    #[must_use]
    pub fn get<T: 'static>(&self) -> Option<&T> {
        self.values.iter().find_map(|value| value.downcast_ref())
    }

    /// Returns a mutable reference to the value of this type.
    pub fn get_mut<T: 'static>(&mut self) -> Option<&mut T> {
        self.values
            .iter_mut()
            .find_map(|value| value.downcast_mut())
    }

    /// Returns the value of this type; if there is none, calls `make` and stores the result first.
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

    /// Stores a value, and returns the previous value of its type.
    pub fn insert<T: 'static>(&mut self, value: T) -> Option<T> {
        match self.get_mut::<T>() {
            Some(old) => Some(std::mem::replace(old, value)),
            None => {
                self.values.push(Box::new(value));
                None
            }
        }
    }

    /// Removes the value of this type and returns it.
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
