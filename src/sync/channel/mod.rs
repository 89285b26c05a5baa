//! Messages from many senders to many receivers.
//!
//! [`unbounded`] keeps any number of messages, [`bounded`] so many, and `bounded(0)` none: a sender
//! and a receiver meet. Both ends can be cloned; each message goes to one receiver. Senders and
//! receivers that have to wait are served in the order in which they came, and messages keep
//! theirs.
//!
//! A channel ends as std's do. When the last [`Sender`] is dropped, receivers get what is left and
//! then an error; when the last [`Receiver`] is dropped, what is left is dropped too, and senders
//! get their messages back. The errors are those of [`std::sync::mpsc`].
//!
//! It stays on its OS thread.
//!
//! # While unwinding
//!
//! An ethread that unwinds cannot wait: what is possible at once is done, and for what is not the
//! calls return their errors: [`recv`](Receiver::recv) as if the channel had ended,
//! [`send`](Sender::send) with the message.
//!
//! # When an end unwinds
//!
//! A panic or a cancel drops the ends that an ethread has, which is all that the others notice.
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
//!             sender.send(line)?; // the third one waits for room
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
mod operation;
mod receiver;
mod sender;

use std::rc::Rc;

use self::core::Core;

pub use error::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};
pub use operation::{Receiving, Sending};
pub use receiver::{IntoIter, Iter, Receiver, TryIter};
pub use sender::Sender;

/// Creates a channel that keeps any number of messages. Sending never waits for room; but as other
/// operations it yields now and then.
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
    (Sender::new(core.clone()), Receiver::new(core))
}
