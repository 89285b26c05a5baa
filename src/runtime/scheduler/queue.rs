//! The protocol of an inbox: many senders, one taker, and one ring of the bell for all letters
//! until the taker looks.
//!
//! The taker asks [`is_pending`](Queue::is_pending), which is one load, and waits for the bell
//! only when that said no after it had looked at everything else. Nothing is lost: a letter is put
//! in before the flag is set, and the flag is cleared before the letters are taken, so who finds
//! the flag set knows that its letter is among those that will be taken.
#![forbid(unsafe_code)]

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::runtime::base::primitives::{AtomicBool, AtomicUsize, Mutex, MutexGuard};

#[derive(Debug)]
pub(in crate::runtime) struct Queue<M> {
    messages: Mutex<Messages<M>>,
    /// Set by the first letter after a look, which then rings; the others need not.
    pending: AtomicBool,
    /// Those who can still send something that is waited for.
    handles: AtomicUsize,
    /// As in `messages`, for those who only want to know.
    closed: AtomicBool,
}

#[derive(Debug)]
struct Messages<M> {
    queue: Vec<M>,
    state: State,
}

/// Under the lock, so that no letter comes after the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The taker wants to end: it takes what is about things that have begun, and nothing new.
    Ending,
    /// Nobody takes any more.
    Closed,
}

impl<M> Queue<M> {
    pub(in crate::runtime) fn new() -> Self {
        Self {
            messages: Mutex::new(Messages {
                queue: Vec::new(),
                state: State::Open,
            }),
            pending: AtomicBool::new(false),
            handles: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        }
    }

    fn messages(&self) -> MutexGuard<'_, Messages<M>> {
        // No code of a user's runs under it.
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a letter in, and rings once for all letters until the taker looks.
    ///
    /// # Errors
    ///
    /// The letter, once the mailbox is closed.
    pub(in crate::runtime) fn send(&self, message: M, notify: impl FnOnce()) -> Result<(), M> {
        self.send_if(message, |state| state != State::Closed, notify)
    }

    /// As [`send`](Self::send), with something that the taker is to begin.
    ///
    /// # Errors
    ///
    /// The letter, if the taker wants to end, or the mailbox is closed.
    pub(in crate::runtime) fn send_new(&self, message: M, notify: impl FnOnce()) -> Result<(), M> {
        self.send_if(message, |state| state == State::Open, notify)
    }

    fn send_if(
        &self,
        message: M,
        accepts: impl FnOnce(State) -> bool,
        notify: impl FnOnce(),
    ) -> Result<(), M> {
        {
            let mut messages = self.messages();
            if !accepts(messages.state) {
                return Err(message);
            }
            messages.queue.push(message);
        }
        self.notify_once(notify);
        Ok(())
    }

    /// Says whether the taker wants to end, and so begins nothing new.
    pub(in crate::runtime) fn set_ending(&self, ending: bool) {
        let mut messages = self.messages();
        if messages.state != State::Closed {
            messages.state = if ending { State::Ending } else { State::Open };
        }
    }

    /// Lets the taker look, though there may be no letter.
    pub(in crate::runtime) fn notify_once(&self, notify: impl FnOnce()) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            notify();
        }
    }

    /// Whether there may be something to take. One load: the taker asks often.
    pub(in crate::runtime) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Acquire)
    }

    /// Takes all letters, in exchange for `room`, which is empty.
    pub(in crate::runtime) fn take(&self, room: &mut Vec<M>) {
        debug_assert!(room.is_empty());
        // In this order: a letter that comes after the swap rings again. A swap, as with a mere
        // store the end of a handle that did not ring, finding the flag set, might not be seen
        // after it.
        self.pending.swap(false, Ordering::AcqRel);
        std::mem::swap(&mut self.messages().queue, room);
    }

    pub(in crate::runtime) fn add_handle(&self) {
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    /// A handle goes. It has sent what it had to before, and the last one lets the taker look, who
    /// may have waited for nobody else.
    pub(in crate::runtime) fn remove_handle(&self, notify: impl FnOnce()) {
        if self.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.notify_once(notify);
        }
    }

    /// Whether there are handles. Who finds none asks [`is_pending`](Self::is_pending) after that.
    pub(in crate::runtime) fn has_handles(&self) -> bool {
        self.handles.load(Ordering::Acquire) > 0
    }

    pub(in crate::runtime) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Ends it, and gives what nobody has taken. Each letter that comes later goes back.
    pub(in crate::runtime) fn close(&self) -> Vec<M> {
        self.closed.store(true, Ordering::Release);
        let mut messages = self.messages();
        messages.state = State::Closed;
        std::mem::take(&mut messages.queue)
    }
}

#[cfg(all(test, not(ethreads_loom)))]
mod tests;

/// Exhaustive checks of all interleavings.
#[cfg(all(test, ethreads_loom))]
mod loom_tests;
