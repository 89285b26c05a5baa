//! The waiters of a wait queue, in order of arrival.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use crate::runtime::base::wait::Token;

/// A waiter: it waits, or has had its turn and has not run since.
pub(super) struct Waiter<D> {
    /// Greater than the numbers of all earlier waiters.
    pub(super) number: u64,
    pub(super) token: Token,
    pub(super) turn: Turn,
    pub(super) data: D,
}

/// What has become of a waiter's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Awaited,
    /// The waiter was woken for its turn.
    Had,
    /// The waiter was gone when its turn came.
    Missed,
}

/// Most wait queues have one waiter at a time, so the first waiter is stored apart: it is added and
/// removed without a search, and without heap memory.
pub(super) struct Waiters<D> {
    first: Option<Waiter<D>>,
    /// Empty if there is no first waiter.
    rest: VecDeque<Waiter<D>>,
}

impl<D> Waiters<D> {
    pub(super) const fn new() -> Self {
        Self {
            first: None,
            rest: VecDeque::new(),
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    #[inline]
    pub(super) fn push(&mut self, waiter: Waiter<D>) {
        if self.first.is_none() {
            self.first = Some(waiter);
        } else {
            self.rest.push_back(waiter);
        }
    }

    #[inline]
    pub(super) fn get(&self, place: usize) -> Option<&Waiter<D>> {
        match place {
            0 => self.first.as_ref(),
            _ => self.rest.get(place - 1),
        }
    }

    /// The first of the last `waiting` waiters. `waiting` is not zero.
    #[inline(always)]
    pub(super) fn next(&mut self, waiting: usize) -> Option<&mut Waiter<D>> {
        if self.rest.is_empty() {
            self.first.as_mut()
        } else {
            self.next_of_many(waiting)
        }
    }

    #[inline(never)]
    fn next_of_many(&mut self, waiting: usize) -> Option<&mut Waiter<D>> {
        match self.len() - waiting {
            0 => self.first.as_mut(),
            place => self.rest.get_mut(place - 1),
        }
    }

    /// Takes out the waiter with this number, if it is there; returns the state of its turn and its
    /// data.
    #[inline(always)]
    pub(super) fn take(&mut self, number: u64) -> Option<(Turn, D)> {
        if !self.rest.is_empty() || self.first.as_ref()?.number != number {
            return self.take_of_many(number);
        }
        self.first.take().map(|first| (first.turn, first.data))
    }

    #[inline(never)]
    fn take_of_many(&mut self, number: u64) -> Option<(Turn, D)> {
        let taken = if self.first.as_ref()?.number == number {
            std::mem::replace(&mut self.first, self.rest.pop_front())
        } else {
            let place = self.rest.binary_search_by_key(&number, |w| w.number);
            self.rest.remove(place.ok()?)
        };
        taken.map(|taken| (taken.turn, taken.data))
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
            let mut waiters = Waiters::new();
            let mut model = Vec::new();
            for (step, number) in steps.into_iter().zip(1u64..) {
                match step {
                    None => {
                        let token = Token::of_test(number);
                        let turn = Turn::Awaited;
                        waiters.push(Waiter { number, token, turn, data: number });
                        model.push(number);
                    }
                    Some(taken) => {
                        let place = model.iter().position(|&number| number == taken);
                        let expected = place.map(|place| model.remove(place));
                        prop_assert_eq!(waiters.take(taken).map(|(_, data)| data), expected);
                    }
                }
                prop_assert_eq!(waiters.len(), model.len());
                for place in 0..=model.len() {
                    let number = model.get(place).copied();
                    prop_assert_eq!(waiters.get(place).map(|w| w.number), number);
                    if number.is_some() {
                        let waiting = model.len() - place;
                        prop_assert_eq!(waiters.next(waiting).map(|w| w.data), number);
                    }
                }
            }
        }
    }
}
