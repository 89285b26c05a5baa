//! `Signal`: a value goes to the first waiter whose wait is not over, or to all such waiters.

use ethreads::sync::Signal;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Wait,
    WaitTimeout(u64),
    Signal,
    Broadcast,
    Sleep(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => Just(Op::Wait),
        2 => (1u64..5).prop_map(Op::WaitTimeout),
        3 => Just(Op::Signal),
        1 => Just(Op::Broadcast),
        2 => (0u64..4).prop_map(Op::Sleep),
    ]
}

struct Signals {
    signal: Signal<u32>,
    queue: WaitQueue<(), u32>,
    values: Counter,
}

impl World for Signals {
    type Op = Op;

    fn new(known: &Rc<Ethreads>) -> Self {
        Self {
            signal: Signal::new(),
            queue: WaitQueue::new(known),
            values: Counter::default(),
        }
    }

    fn act(&self, id: usize, op: &Op) {
        match *op {
            Op::Wait => {
                let waiter = self.queue.enter(id, ());
                let value = self.signal.wait();
                assert_eq!(waiter.goes_on(), value);
            }
            Op::WaitTimeout(limit) => {
                let waiter = self.queue.enter_until(id, (), Some(ms(limit)));
                let value = self.signal.wait_timeout(ms(limit));
                assert_eq!(waiter.ends(), value);
            }
            Op::Signal => {
                let value = self.values.next();
                let expected = self.queue.wake_one(value).then_some(()).ok_or(value);
                assert_eq!(self.signal.signal(value), expected);
            }
            Op::Broadcast => {
                let value = self.values.next();
                assert_eq!(self.signal.broadcast(value), self.queue.wake_all(value));
            }
            Op::Sleep(millis) => thread::sleep(ms(millis)),
        }
    }

    fn audit(&self) {
        self.queue.audit("a signal");
        assert_eq!(self.signal.waiters(), self.queue.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_signal_does_what_its_account_says(scripts in scripts(op()), seed in any::<u64>()) {
        play::<Signals>(scripts, seed);
    }
}
