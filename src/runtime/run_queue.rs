//! Who runs next.

use std::collections::VecDeque;

/// The ethreads that are ready, by their place in the slab.
///
/// First in, first out: whoever yields goes behind everybody who is ready, new ones included. A
/// driver with seeded order picks any of the ready ones instead; see [`RunQueue::pop_any`].
#[derive(Debug, Default)]
pub(crate) struct RunQueue {
    ready: VecDeque<u32>,
}

impl RunQueue {
    #[inline]
    pub(crate) fn push(&mut self, index: u32) {
        self.ready.push_back(index);
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<u32> {
        self.ready.pop_front()
    }

    /// Takes the one that `choose` picks of `len` ready ones, and keeps the others in order.
    pub(crate) fn pop_any(&mut self, choose: impl FnOnce(usize) -> usize) -> Option<u32> {
        match self.ready.len() {
            0 => None,
            len => self.ready.remove(choose(len)),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.ready.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_first_in_first_out(
            pushes in prop::collection::vec(prop::option::of(0u32..99), 0..99),
        ) {
            let mut queue = RunQueue::default();
            let mut model = Vec::new();
            for push in pushes {
                match push {
                    Some(index) => { queue.push(index); model.push(index); }
                    None if model.is_empty() => prop_assert_eq!(queue.pop(), None),
                    None => prop_assert_eq!(queue.pop(), Some(model.remove(0))),
                }
                prop_assert_eq!(queue.len(), model.len());
            }
        }

        #[test]
        fn a_chosen_one_leaves_the_others_in_order(
            len in 1usize..50,
            pick in any::<prop::sample::Index>(),
        ) {
            let mut queue = RunQueue::default();
            let mut model: Vec<u32> = (0..len as u32).collect();
            model.iter().for_each(|&index| queue.push(index));
            let chosen = model.remove(pick.index(len));
            prop_assert_eq!(queue.pop_any(|n| pick.index(n)), Some(chosen));
            let rest: Vec<u32> = std::iter::from_fn(|| queue.pop()).collect();
            prop_assert_eq!(rest, model);
        }
    }
}
