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
    line: Line<(), u32>,
    values: Counter,
}

impl World for Signals {
    type Op = Op;

    fn new(people: &Rc<People>) -> Self {
        Self {
            signal: Signal::new(),
            line: Line::new(people),
            values: Counter::default(),
        }
    }

    fn act(&self, who: usize, op: &Op) {
        match *op {
            Op::Wait => {
                let place = self.line.enter(who, ());
                let value = self.signal.wait();
                assert_eq!(place.goes_on(), value);
            }
            Op::WaitTimeout(limit) => {
                let place = self.line.enter_until(who, (), Some(ms(limit)));
                let value = self.signal.wait_timeout(ms(limit));
                assert_eq!(place.ends(), value);
            }
            Op::Signal => {
                let value = self.values.next();
                let expected = self.line.serve(value).then_some(()).ok_or(value);
                assert_eq!(self.signal.signal(value), expected);
            }
            Op::Broadcast => {
                let value = self.values.next();
                assert_eq!(self.signal.broadcast(value), self.line.serve_all(value));
            }
            Op::Sleep(millis) => thread::sleep(ms(millis)),
        }
    }

    fn audit(&self) {
        self.line.audit("a signal");
        assert_eq!(self.signal.waiters(), self.line.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_signal_does_what_its_account_says(scripts in scripts(op()), seed in any::<u64>()) {
        play::<Signals>(scripts, seed);
    }
}
