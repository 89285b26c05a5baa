//! The protocol of an inbox: many senders, one taker, and one ring of the bell for all letters
//! until the taker looks.
//!
//! The taker asks [`is_pending`](Mailbox::is_pending), which is one load, and waits for the bell
//! only when that said no after it had looked at everything else. Nothing is lost: a letter is put
//! in before the flag is set, and the flag is cleared before the letters are taken, so who finds
//! the flag set knows that its letter is among those that will be taken.
#![forbid(unsafe_code)]

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::primitives::{AtomicBool, AtomicUsize, Mutex, MutexGuard};

#[derive(Debug)]
pub(super) struct Mailbox<M> {
    letters: Mutex<Letters<M>>,
    /// Set by the first letter after a look, which then rings; the others need not.
    pending: AtomicBool,
    /// Those who can still send something that is waited for.
    handles: AtomicUsize,
    /// As in `letters`, for those who only want to know.
    closed: AtomicBool,
}

#[derive(Debug)]
struct Letters<M> {
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

impl<M> Mailbox<M> {
    pub(super) fn new() -> Self {
        Self {
            letters: Mutex::new(Letters {
                queue: Vec::new(),
                state: State::Open,
            }),
            pending: AtomicBool::new(false),
            handles: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        }
    }

    fn letters(&self) -> MutexGuard<'_, Letters<M>> {
        // No code of a user's runs under it.
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a letter in, and rings once for all letters until the taker looks.
    ///
    /// # Errors
    ///
    /// The letter, once the mailbox is closed.
    pub(super) fn send(&self, letter: M, bell: impl FnOnce()) -> Result<(), M> {
        self.send_if(letter, |state| state != State::Closed, bell)
    }

    /// As [`send`](Self::send), with something that the taker is to begin.
    ///
    /// # Errors
    ///
    /// The letter, if the taker wants to end, or the mailbox is closed.
    pub(super) fn send_new(&self, letter: M, bell: impl FnOnce()) -> Result<(), M> {
        self.send_if(letter, |state| state == State::Open, bell)
    }

    fn send_if(
        &self,
        letter: M,
        accepts: impl FnOnce(State) -> bool,
        bell: impl FnOnce(),
    ) -> Result<(), M> {
        {
            let mut letters = self.letters();
            if !accepts(letters.state) {
                return Err(letter);
            }
            letters.queue.push(letter);
        }
        self.ring(bell);
        Ok(())
    }

    /// Says whether the taker wants to end, and so begins nothing new.
    pub(super) fn set_ending(&self, ending: bool) {
        let mut letters = self.letters();
        if letters.state != State::Closed {
            letters.state = if ending { State::Ending } else { State::Open };
        }
    }

    /// Lets the taker look, though there may be no letter.
    pub(super) fn ring(&self, bell: impl FnOnce()) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            bell();
        }
    }

    /// Whether there may be something to take. One load: the taker asks often.
    pub(super) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Acquire)
    }

    /// Takes all letters, in exchange for `room`, which is empty.
    pub(super) fn take(&self, room: &mut Vec<M>) {
        debug_assert!(room.is_empty());
        // In this order: a letter that comes after the swap rings again. A swap, as with a mere
        // store the end of a handle that did not ring, finding the flag set, might not be seen
        // after it.
        self.pending.swap(false, Ordering::AcqRel);
        std::mem::swap(&mut self.letters().queue, room);
    }

    pub(super) fn add_handle(&self) {
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    /// A handle goes. It has sent what it had to before, and the last one lets the taker look, who
    /// may have waited for nobody else.
    pub(super) fn remove_handle(&self, bell: impl FnOnce()) {
        if self.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.ring(bell);
        }
    }

    /// Whether there are handles. Who finds none asks [`is_pending`](Self::is_pending) after that.
    pub(super) fn has_handles(&self) -> bool {
        self.handles.load(Ordering::Acquire) > 0
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Ends it, and gives what nobody has taken. Each letter that comes later goes back.
    pub(super) fn close(&self) -> Vec<M> {
        self.closed.store(true, Ordering::Release);
        let mut letters = self.letters();
        letters.state = State::Closed;
        std::mem::take(&mut letters.queue)
    }
}

#[cfg(all(test, not(ethreads_loom)))]
mod tests;

/// Exhaustive checks of all interleavings.
#[cfg(all(test, ethreads_loom))]
mod loom_tests;
