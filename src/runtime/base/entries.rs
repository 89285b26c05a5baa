//! The waiters of a wait queue, in order of arrival, each with its waker and its data.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

/// A waiter that is queued, or that was woken and has not run since.
pub(crate) struct Entry<W, D> {
    /// Greater than the numbers of all earlier entries.
    pub(crate) number: u64,
    pub(crate) waker: W,
    pub(crate) state: WaiterState,
    pub(crate) data: D,
}

/// Whether a waiter was woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaiterState {
    Queued,
    /// The waiter was woken, and owns the value in its data.
    Woken,
    /// The waiter was to be woken, but its wait had ended before.
    Gone,
}

/// A list of waiters. The first one is stored inline, as most wait queues have one waiter at a
/// time: it is added and removed without a search, and without heap memory.
pub(crate) struct Entries<W, D> {
    first: Option<Entry<W, D>>,
    /// Empty if there is no first waiter.
    rest: VecDeque<Entry<W, D>>,
}

impl<W, D> Entries<W, D> {
    pub(crate) const fn new() -> Self {
        Self {
            first: None,
            rest: VecDeque::new(),
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    #[inline]
    pub(crate) fn push(&mut self, waiter: Entry<W, D>) {
        if self.first.is_none() {
            self.first = Some(waiter);
        } else {
            self.rest.push_back(waiter);
        }
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&Entry<W, D>> {
        match index {
            0 => self.first.as_ref(),
            _ => self.rest.get(index - 1),
        }
    }

    /// The first of the last `waiting` entries. `waiting` is not zero.
    #[inline(always)]
    pub(crate) fn next(&mut self, waiting: usize) -> Option<&mut Entry<W, D>> {
        if self.rest.is_empty() {
            self.first.as_mut()
        } else {
            self.next_of_many(waiting)
        }
    }

    #[inline(never)]
    fn next_of_many(&mut self, waiting: usize) -> Option<&mut Entry<W, D>> {
        match self.len() - waiting {
            0 => self.first.as_mut(),
            index => self.rest.get_mut(index - 1),
        }
    }

    /// The waiter with this number, if it is there.
    pub(crate) fn find(&self, number: u64) -> Option<&Entry<W, D>> {
        match &self.first {
            Some(first) if first.number == number => Some(first),
            _ => self.rest.get(self.search(number)?),
        }
    }

    /// Takes out the waiter with this number, if it is there; returns its state and its data.
    // Does not return the whole entry, as its move adds 3 ns to a rendezvous.
    #[inline(always)]
    pub(crate) fn take(&mut self, number: u64) -> Option<(WaiterState, D)> {
        if !self.rest.is_empty() || self.first.as_ref()?.number != number {
            return self.take_of_many(number);
        }
        self.first.take().map(|first| (first.state, first.data))
    }

    #[inline(never)]
    fn take_of_many(&mut self, number: u64) -> Option<(WaiterState, D)> {
        let taken = if self.first.as_ref()?.number == number {
            std::mem::replace(&mut self.first, self.rest.pop_front())
        } else {
            self.rest.remove(self.search(number)?)
        };
        taken.map(|taken| (taken.state, taken.data))
    }

    fn search(&self, number: u64) -> Option<usize> {
        self.rest.binary_search_by_key(&number, |w| w.number).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_a_list_from_which_any_may_be_taken(
            steps in prop::collection::vec(prop::option::of(0u64..40), 0..80),
        ) {
            let mut entries = Entries::new();
            let mut model = Vec::new();
            for (step, number) in steps.into_iter().zip(1u64..) {
                match step {
                    None => {
                        let waker = number;
                        let state = WaiterState::Queued;
                        entries.push(Entry { number, waker, state, data: number });
                        model.push(number);
                    }
                    Some(taken) => {
                        let index = model.iter().position(|&number| number == taken);
                        let expected = index.map(|index| model.remove(index));
                        prop_assert_eq!(entries.take(taken).map(|(_, data)| data), expected);
                    }
                }
                prop_assert_eq!(entries.len(), model.len());
                for number in 0..40 {
                    let found = entries.find(number).map(|w| w.number);
                    prop_assert_eq!(found, model.contains(&number).then_some(number));
                }
                for index in 0..=model.len() {
                    let number = model.get(index).copied();
                    prop_assert_eq!(entries.get(index).map(|w| w.number), number);
                    if number.is_some() {
                        let waiting = model.len() - index;
                        prop_assert_eq!(entries.next(waiting).map(|w| w.data), number);
                    }
                }
            }
        }
    }
}
