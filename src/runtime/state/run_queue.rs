//! The run queue: which ethread runs next.

use super::control_block::{Blocks, ControlBlock, END_OF_QUEUE};

/// The ethreads that are ready: a list linked through their control blocks, which every push and
/// pop has at hand.
///
/// First in, first out: an ethread that yields goes behind all ready ethreads, new ones included. A
/// driver with seeded order picks any ready ethread instead; see [`RunQueue::pop_any`].
#[derive(Debug, Default)]
pub(crate) struct RunQueue {
    /// [`END_OF_QUEUE`] if the queue is empty.
    first: u32,
    /// Valid only if the queue is not empty.
    last: u32,
}

/// An ethread whose turn it is.
pub(in crate::runtime) struct Ready<'a> {
    pub(in crate::runtime) index: u32,
    pub(in crate::runtime) block: &'a mut ControlBlock,
}

impl RunQueue {
    /// Puts an ethread that is not in the queue at its end.
    #[inline]
    pub(in crate::runtime) fn push(&mut self, blocks: &mut Blocks, index: u32) {
        debug_assert_eq!(blocks.get(index).next_ready, END_OF_QUEUE);
        debug_assert!(self.first == END_OF_QUEUE || self.last != index);
        if self.first == END_OF_QUEUE {
            self.first = index;
        } else {
            blocks.get_mut(self.last).next_ready = index;
        }
        self.last = index;
    }

    #[inline]
    pub(in crate::runtime) fn pop<'b>(&mut self, blocks: &'b mut Blocks) -> Option<Ready<'b>> {
        let index = self.first;
        if index == END_OF_QUEUE {
            return None;
        }
        let block = blocks.get_mut(index);
        self.first = block.next_ready;
        block.next_ready = END_OF_QUEUE;
        Some(Ready { index, block })
    }

    /// Takes the ready ethread that `choose` picks, and keeps the others in order. `choose` is
    /// given the number of ready ethreads.
    #[cold]
    pub(in crate::runtime) fn pop_any<'b>(
        &mut self,
        blocks: &'b mut Blocks,
        choose: impl FnOnce(usize) -> usize,
    ) -> Option<Ready<'b>> {
        if self.is_empty() {
            return None;
        }
        let mut before = END_OF_QUEUE;
        let mut index = self.first;
        for _ in 0..choose(self.iter(blocks).count()) {
            before = index;
            index = blocks.get(index).next_ready;
        }
        if before == END_OF_QUEUE {
            return self.pop(blocks);
        }
        let next = std::mem::replace(&mut blocks.get_mut(index).next_ready, END_OF_QUEUE);
        blocks.get_mut(before).next_ready = next;
        if next == END_OF_QUEUE {
            self.last = before;
        }
        let block = blocks.get_mut(index);
        Some(Ready { index, block })
    }

    /// All ready ethreads, from the first on. Their number is not stored, as every switch would
    /// have to update it.
    pub(in crate::runtime) fn iter<'b>(
        &self,
        blocks: &'b Blocks,
    ) -> impl Iterator<Item = u32> + use<'b> {
        let some = |index: u32| (index != END_OF_QUEUE).then_some(index);
        std::iter::successors(some(self.first), move |&index| {
            some(blocks.get(index).next_ready)
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first == END_OF_QUEUE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::state::control_block::tests::blocks;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push,
        Pop,
        PopAny(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Push),
            2 => Just(Step::Pop),
            2 => any::<prop::sample::Index>().prop_map(Step::PopAny),
        ]
    }

    proptest! {
        #[test]
        fn is_first_in_first_out_but_for_those_that_are_picked(
            steps in prop::collection::vec(step(), 0..99),
        ) {
            let mut blocks = blocks(99);
            let mut queue = RunQueue::default();
            let mut model = Vec::new();
            let mut outside: Vec<u32> = (1..100).rev().collect();
            for step in steps {
                let popped = match step {
                    Step::Push => {
                        let index = outside.pop().expect("there are as many as steps");
                        queue.push(&mut blocks, index);
                        model.push(index);
                        None
                    }
                    Step::Pop => {
                        let popped = queue.pop(&mut blocks).map(|ready| ready.index);
                        prop_assert_eq!(popped, model.first().copied());
                        popped
                    }
                    Step::PopAny(pick) => {
                        let expected = (!model.is_empty()).then(|| *pick.get(&model));
                        let popped = queue.pop_any(&mut blocks, |n| pick.index(n));
                        let popped = popped.map(|ready| ready.index);
                        prop_assert_eq!(popped, expected);
                        popped
                    }
                };
                if let Some(index) = popped {
                    model.retain(|&other| other != index);
                    outside.push(index);
                }
                prop_assert_eq!(queue.iter(&blocks).collect::<Vec<_>>(), model.clone());
                prop_assert_eq!(queue.is_empty(), model.is_empty());
            }
        }
    }
}
