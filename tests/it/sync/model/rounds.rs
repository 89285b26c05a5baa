//! `Barrier` and `WaitGroup`: waits that end for all waiters at once.

use std::cell::Cell;

use ethreads::sync::{Barrier, WaitGroup};

use super::*;

const SIZE: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    Meet,
    /// Is a member of the group for so long.
    Join(u64),
    WaitForAll,
    Sleep(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => Just(Op::Meet),
        2 => (0u64..5).prop_map(Op::Join),
        2 => Just(Op::WaitForAll),
        1 => (0u64..3).prop_map(Op::Sleep),
    ]
}

struct Rounds {
    barrier: Barrier,
    here: WaitQueue<(), ()>,
    group: WaitGroup,
    members: Cell<usize>,
    waits: WaitQueue<(), ()>,
}

impl World for Rounds {
    type Op = Op;

    fn new(known: &Rc<Ethreads>) -> Self {
        Self {
            barrier: Barrier::new(SIZE),
            here: WaitQueue::new(known),
            group: WaitGroup::new(),
            members: Cell::default(),
            waits: WaitQueue::new(known),
        }
    }

    fn act(&self, id: usize, op: &Op) {
        match *op {
            Op::Meet if self.here.len() + 1 == SIZE => {
                self.here.wake_all(());
                assert!(self.barrier.wait().is_leader());
            }
            Op::Meet => {
                let waiter = self.here.enter(id, ());
                assert!(!self.barrier.wait().is_leader());
                waiter.goes_on();
            }
            Op::Join(hold) => {
                self.members.set(self.members.get() + 1);
                let member = Cell::new(Some(self.group.join()));
                let _leaves = at_end(|| {
                    drop(member.take());
                    self.members.set(self.members.get() - 1);
                    if self.members.get() == 0 {
                        self.waits.wake_all(());
                    }
                });
                thread::sleep(ms(hold));
            }
            Op::WaitForAll if self.members.get() == 0 => self.group.wait(),
            Op::WaitForAll => {
                let waiter = self.waits.enter(id, ());
                self.group.wait();
                waiter.goes_on();
            }
            Op::Sleep(millis) => thread::sleep(ms(millis)),
        }
    }

    fn audit(&self) {
        self.here.audit("a barrier");
        self.waits.audit("a group");
        assert!(self.here.len() < SIZE);
        assert_eq!(self.group.members(), self.members.get());
        assert!(self.members.get() > 0 || self.waits.is_empty());
    }

    fn finish(&self) {
        let here = format!("{:?}", self.barrier);
        assert!(self.here.is_empty() && here.contains("here: 0"), "{here}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn barriers_and_groups_do_what_their_accounts_say(
        scripts in scripts(op()),
        seed in any::<u64>(),
    ) {
        play::<Rounds>(scripts, seed);
    }
}
