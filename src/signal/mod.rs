//! Signals of the process, as events that ethreads wait for.
//!
//! From [`Signals::new`] on, the signals named there do not do what they did before. Instead,
//! [`recv`](Signals::recv) returns them, from each `Signals` that wants them. It does not matter
//! which OS thread the system has interrupted.
//!
//! # What to know
//!
//! * *Given back.* When the last `Signals` that watches a signal is dropped, the signal does again
//!   what it did before, unless another handler was installed over this crate's meanwhile.
//! * *Merged.* A signal that comes again before it was received is reported once, as the system
//!   itself does with signals that are pending. Different signals are all reported, in no
//!   particular order.
//! * *Handlers* that were installed before are called as well. So `http::Server::run` and a
//!   `Signals` can watch the same SIGTERM: the server drains, the `Signals` reports the signal, and
//!   a second SIGTERM ends the process as long as the server runs.
//! * *Stacks.* A signal is handled on the alternate stack of the OS thread (sigaltstack(2)), which
//!   each OS thread with ethreads has; elsewhere it takes some KiB of the stack in use.
//! * *Children* begin with the default actions when they execute another program. Between fork(2)
//!   and exec(2) a signal does what it did before the first `Signals`.
//! * *Simulation:* under the simulation driver there are no signals (`Unsupported`).
//!
//! # Examples
//!
//! Waiting for a signal or something else:
//!
//! ```
//! use std::time::Duration;
//! use ethreads::signal::{Signal, Signals};
//! use ethreads::{select, sync::select::{after, readable}};
//!
//! # use signal_hook::low_level::raise;
//! ethreads::run_main(|| {
//!     let signals = Signals::new([Signal::HANGUP, Signal::TERMINATE])?;
//!     let mut rounds = 0;
//!     let ended_by = loop {
//!         select! {
//!             ready = readable(&signals) => {
//!                 ready?;
//!                 if let Some(signal) = signals.try_recv() {
//!                     break signal;
//!                 }
//!             }
//!             () = after(Duration::from_millis(1)) => {
//!                 rounds += 1;
//! #               raise(Signal::TERMINATE.as_raw())?;
//!             }
//!         }
//!     };
//!     assert_eq!((ended_by, rounds), (Signal::TERMINATE, 1));
//!     std::io::Result::Ok(())
//! })??;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod kind;

use std::fmt;
use std::io;
use std::iter::FusedIterator;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::io::Eport;
use crate::runtime::driver::ops;
use crate::runtime::driver::signal::Watch;
use crate::runtime::io::registration::Registration;
use crate::runtime::io::source::Source;

pub use kind::Signal;

/// Signals of the process that are received as events, as long as this value lives.
///
/// It is `Send + Sync`. Any number of `Signals` may want the same signal, in any shards, and each
/// of them receives it. If several ethreads or OS threads wait for one `Signals`, one of them
/// receives the signal. A `Signals` takes the two descriptors of a pipe.
///
/// # Examples
///
/// ```
/// use ethreads::signal::{Signal, Signals};
///
/// # use signal_hook::low_level::raise;
/// ethreads::run_main(|| {
///     let signals = Signals::new([Signal::HANGUP, Signal::TERMINATE])?;
///     # ethreads::spawn(|| {
///     #     raise(Signal::HANGUP.as_raw())?;
///     #     ethreads::thread::yield_now();
///     #     raise(Signal::TERMINATE.as_raw())
///     # });
///     loop {
///         match signals.recv()? {
///             Signal::HANGUP => println!("reading the settings again"),
///             _ => break,
///         }
///     }
///     std::io::Result::Ok(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Signals {
    wanted: Vec<Signal>,
    /// Dropped before the reader: once that is closed, a write of the handler would raise SIGPIPE.
    watch: Watch,
    /// The index to look at first. It rotates, so that no signal precedes another for ever.
    first: AtomicUsize,
    /// Has input as long as a signal that came was not taken; see [`Signals::take`].
    reader: Eport<OwnedFd>,
}

impl Signals {
    /// Makes these signals events from now on, instead of what they did before. A signal that is
    /// named twice counts once.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if there are no signals, or one that cannot be received: SIGKILL and SIGSTOP
    /// cannot be caught, and SIGSEGV, SIGBUS, SIGFPE and SIGILL report faults, after which the
    /// program cannot go on. Those of pipe(2), for example when there are too many open files;
    /// `Other` if 256 `Signals` and running servers watch signals already; `Unsupported` under the
    /// simulation driver. After an error the signals do what they did before.
    pub fn new(signals: impl IntoIterator<Item = Signal>) -> io::Result<Self> {
        let mut wanted: Vec<Signal> = Vec::new();
        for signal in signals {
            if !signal.can_be_received() {
                return Err(invalid(format!(
                    "{signal} cannot be received: it cannot be caught, or tells of a fault"
                )));
            }
            if !wanted.contains(&signal) {
                wanted.push(signal);
            }
        }
        if wanted.is_empty() {
            return Err(invalid("no signals to receive"));
        }
        let (reader, writer) = ops::pipe()?;
        let reader = Eport::new(reader)?;
        Ok(Self {
            watch: Watch::new(wanted.iter().map(|signal| signal.as_raw()), writer)?,
            wanted,
            first: AtomicUsize::new(0),
            reader,
        })
    }

    /// Receives a signal; suspends the ethread until one has come. On an OS thread without ethreads
    /// it blocks that OS thread.
    ///
    /// # Errors
    ///
    /// `TimedOut` at the deadline of a scope; those of registering a descriptor with the driver.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, and no signal is lost.
    ///
    /// # Examples
    ///
    /// ```
    /// use ethreads::signal::{Signal, Signals};
    ///
    /// # use signal_hook::low_level::raise;
    /// ethreads::run_main(|| {
    ///     let signals = Signals::new([Signal::USER1])?;
    ///     # raise(Signal::USER1.as_raw())?;
    ///     assert_eq!(signals.recv()?, Signal::USER1);
    ///     std::io::Result::Ok(())
    /// })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn recv(&self) -> io::Result<Signal> {
        self.reader
            .read_with(|_| self.take().ok_or(io::ErrorKind::WouldBlock.into()))
    }

    /// Receives a signal if one has come; does not wait.
    pub fn try_recv(&self) -> Option<Signal> {
        self.take()
    }

    /// Returns an iterator of [`recv`](Self::recv)eived signals, which never ends. Each step
    /// suspends the ethread like a `recv`.
    pub fn iter(&self) -> Iter<'_> {
        Iter { signals: self }
    }

    /// Takes one of the signals that have come.
    ///
    /// The signal handler sets a bit and then writes a byte. This function empties the pipe first,
    /// and then looks at the bits. So a bit that is not seen here was set after the pipe was
    /// emptied, and its byte is still to be read. The invariant: the pipe is empty only if no bit
    /// is set, or if a thread is about to look at all bits. To keep it so, a call that leaves a bit
    /// set writes a byte itself, for another shard, or for a waiter until the pipe is readable.
    ///
    /// A byte may be spurious, if its bit was seen before it was written.
    fn take(&self) -> Option<Signal> {
        self.empty_pipe();
        let count = self.wanted.len();
        let first = self.first.load(Ordering::Relaxed);
        let came = |at: &usize| self.watch.take(self.wanted[*at].as_raw());
        let taken = (first..count).chain(0..first).find(came)?;
        self.first.store((taken + 1) % count, Ordering::Relaxed);
        if self.watch.has_more() {
            // A full pipe has input anyway.
            let _ = self.watch.write();
        }
        Some(self.wanted[taken])
    }

    /// Reads until nothing is left: while a byte is left, a full pipe reports no further ones.
    fn empty_pipe(&self) {
        let mut bytes = [0; 256];
        // The pipe belongs to this value and its writing end is open, so the only error is
        // `WouldBlock`.
        while ops::read(self.reader.as_fd(), &mut bytes).is_ok() {}
    }
}

impl AsFd for Signals {
    /// A descriptor that is readable while there may be a signal to receive. Do not use it for
    /// anything else.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

impl Source for Signals {
    fn registration(&self) -> &Registration {
        self.reader.registration()
    }
}

impl<'a> IntoIterator for &'a Signals {
    type Item = io::Result<Signal>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signals ")?;
        f.debug_set().entries(&self.wanted).finish()
    }
}

/// The signals that are received. Made by [`Signals::iter`].
#[derive(Clone, Debug)]
#[must_use = "nothing is received before the iterator is asked"]
pub struct Iter<'a> {
    signals: &'a Signals,
}

impl Iterator for Iter<'_> {
    type Item = io::Result<Signal>;

    #[track_caller]
    fn next(&mut self) -> Option<Self::Item> {
        Some(self.signals.recv())
    }
}

impl FusedIterator for Iter<'_> {}

/// Suspends the ethread until Ctrl-C is pressed, or SIGINT comes in another way.
///
/// A SIGINT before or after the call has its former effect, by default the end of the process; see
/// the [module](self). To receive more than one, or to wait for it from the start on, make a
/// [`Signals`].
///
/// # Errors
///
/// As [`Signals::new`] and [`Signals::recv`].
///
/// # Cancellation
///
/// A cancelled ethread unwinds from here.
///
/// # Examples
///
/// ```no_run
/// ethreads::run_main(|| {
///     ethreads::spawn(|| println!("working"));
///     ethreads::signal::ctrl_c()
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[track_caller]
pub fn ctrl_c() -> io::Result<()> {
    Signals::new([Signal::INTERRUPT])?.recv().map(drop)
}

fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message.into())
}
