//! Messages from many senders to many receivers.
//!
//! An [`unbounded`] channel keeps any number of messages, a [`bounded`] channel up to its capacity.
//! A channel of capacity 0 keeps none: each message passes directly from a sender to a receiver.
//! Both ends can be cloned; each message goes to one receiver. Senders and receivers that have to
//! wait are served in order of arrival, and messages keep their order.
//!
//! A channel closes as std's channels do. When the last [`Sender`] is dropped, receivers get the
//! remaining messages and then an error. When the last [`Receiver`] is dropped, the remaining
//! messages are dropped too, and waiting senders get their messages back. The errors are those of
//! [`std::sync::mpsc`].
//!
//! A channel stays on its OS thread.
//!
//! # While unwinding
//!
//! An ethread that unwinds cannot wait. A call that needs no wait succeeds. A call that would have
//! to wait returns its error: [`recv`](Receiver::recv) as if the channel had closed,
//! [`send`](Sender::send) with the message.
//!
//! # When an end unwinds
//!
//! A panic or a cancel drops the channel ends that the ethread owns. Other ethreads notice nothing
//! else.
//!
//! # Examples
//!
//! ```
//! use ethreads::{sync::channel, thread};
//!
//! ethreads::run_main(|| {
//!     let (sender, receiver) = channel::bounded(2);
//!     let producer = thread::spawn(move || {
//!         for line in ["a", "b", "c"] {
//!             sender.send(line)?; // the third call waits for room
//!         }
//!         Ok::<(), channel::SendError<&str>>(())
//!     });
//!     let lines: Vec<_> = receiver.iter().collect();
//!     assert_eq!(lines, ["a", "b", "c"]);
//!     assert!(producer.join().expect("no panic").is_ok());
//! })?;
//! # Ok::<(), ethreads::RunError>(())
//! ```

mod core;
mod error;
mod receiver;
mod sender;

use std::rc::Rc;

use self::core::Core;

pub use error::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};
pub use receiver::{IntoIter, Iter, Receiver, Receiving, TryIter};
pub use sender::{Sender, Sending};

pub(super) use receiver::iter_of;

/// Creates a channel that keeps any number of messages. Sending never waits for room, but yields
/// now and then, as every operation does.
#[must_use]
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    ends(None)
}

/// Creates a channel that keeps up to `capacity` messages; with 0, sending waits for a receiver to
/// take the message.
#[must_use]
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    ends(Some(capacity))
}

fn ends<T>(capacity: Option<usize>) -> (Sender<T>, Receiver<T>) {
    let core = Rc::new(Core::new(capacity));
    let sender = Sender { core: core.clone() };
    (sender, Receiver { core })
}
