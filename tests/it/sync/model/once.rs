//! `OnceCell`: one maker at a time, in the order in which the makers arrived.

use std::cell::Cell;

use ethreads::sync::OnceCell;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Made {
    Value,
    Error,
    Panic,
}

/// What is done to one of the cells.
#[derive(Clone, Debug)]
enum Op {
    Init(u64, Made),
    Set,
    Wait,
}

const CELLS: usize = 2;

fn op() -> impl Strategy<Value = (usize, Op)> {
    let made = prop_oneof![
        1 => Just(Made::Value),
        3 => Just(Made::Error),
        1 => Just(Made::Panic),
    ];
    let op = prop_oneof![
        8 => (0u64..4, made).prop_map(|(takes, made)| Op::Init(takes, made)),
        1 => Just(Op::Set),
        2 => Just(Op::Wait),
    ];
    (0..CELLS, op)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Turn {
    Make,
    Value(u32),
}

struct Account {
    cell: OnceCell<u32>,
    value: Cell<Option<u32>>,
    being_made: Cell<bool>,
    makers: WaitQueue<(), Turn>,
    waiters: WaitQueue<(), Turn>,
}

impl Account {
    fn has(&self, value: u32) {
        self.value.set(Some(value));
        self.makers.wake_all(Turn::Value(value));
        self.waiters.wake_all(Turn::Value(value));
    }

    /// An attempt has ended, in whatever way.
    fn attempted(&self) {
        let goes_on = self.value.get().is_none() && self.makers.wake_one(Turn::Make);
        self.being_made.set(goes_on);
    }

    fn init(&self, id: usize, takes: u64, made: Made, new: u32) {
        let waits = self.value.get().is_none() && self.being_made.get();
        let waiter = Cell::new(waits.then(|| self.makers.enter(id, ())));
        let tried = Cell::new(false);
        // Declared last, so that the attempt has really ended when it ends in the account.
        let ends = Cell::new(None);
        let got = self.cell.get_or_try_init(|| {
            tried.set(true);
            match waiter.take() {
                Some(waiter) => assert_eq!(waiter.goes_on(), Turn::Make),
                None => assert!(!self.being_made.replace(true) && self.value.get().is_none()),
            }
            ends.set(Some(at_end(|| self.attempted())));
            thread::sleep(ms(takes));
            match made {
                Made::Value => {
                    self.has(new);
                    Ok(new)
                }
                Made::Error => Err(()),
                Made::Panic => std::panic::resume_unwind(Box::new("on purpose")),
            }
        });
        let got = got.copied();
        if tried.get() {
            assert_eq!(got.is_ok(), matches!(made, Made::Value));
        } else if let Some(waiter) = waiter.take() {
            assert_eq!(waiter.goes_on(), Turn::Value(got.unwrap()));
        }
        assert_eq!(got.ok(), self.value.get().filter(|_| got.is_ok()));
    }
}

struct Cells {
    accounts: [Account; CELLS],
    values: Counter,
}

impl World for Cells {
    type Op = (usize, Op);

    fn new(known: &Rc<Ethreads>) -> Self {
        let account = |()| Account {
            cell: OnceCell::new(),
            value: Cell::default(),
            being_made: Cell::default(),
            makers: WaitQueue::new(known),
            waiters: WaitQueue::new(known),
        };
        Self {
            accounts: [(); CELLS].map(account),
            values: Counter::default(),
        }
    }

    fn act(&self, id: usize, (which, op): &(usize, Op)) {
        let account = &self.accounts[*which];
        let new = self.values.next();
        match *op {
            Op::Init(takes, made) => {
                let init = std::panic::AssertUnwindSafe(|| account.init(id, takes, made, new));
                if let Err(payload) = thread::catch_panic(init)
                    && payload.downcast_ref() != Some(&"on purpose")
                {
                    std::panic::resume_unwind(payload);
                }
            }
            Op::Set => {
                let free = account.value.get().is_none() && !account.being_made.get();
                assert_eq!(account.cell.set(new).is_ok(), free);
                if free {
                    account.has(new);
                }
            }
            Op::Wait => {
                let waits = account.value.get().is_none();
                let waiter = waits.then(|| account.waiters.enter(id, ()));
                let value = *account.cell.wait();
                // A cancelled waiter may have been woken by an earlier failure, and then find the
                // value.
                let _ = waiter.and_then(Waiter::ends);
                assert_eq!(Some(value), account.value.get());
            }
        }
    }

    fn audit(&self) {
        for account in &self.accounts {
            account.makers.audit("a cell");
            account.waiters.audit("a cell");
            assert_eq!(account.cell.get().copied(), account.value.get());
            assert!(account.being_made.get() || account.makers.is_empty());
            assert!(account.value.get().is_none() || account.waiters.is_empty());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_once_cell_does_what_its_account_says(scripts in scripts(op()), seed in any::<u64>()) {
        play::<Cells>(scripts, seed);
    }
}
