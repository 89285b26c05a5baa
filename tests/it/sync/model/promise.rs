//! `Promise`: settled once, with all promises that were made of it before and after.

use ethreads::sync::{Promise, PromiseError, Resolver};

use super::*;

type Outcome<T> = Result<T, PromiseError<u32>>;

#[derive(Clone, Copy, Debug)]
enum How {
    Resolve,
    Reject,
    Break,
}

/// Promises are numbered; a number that is too large stands for the last promise.
#[derive(Clone, Debug)]
enum Op {
    Settle(usize, How),
    Wait(usize),
    Race(Vec<usize>),
    All(Vec<usize>),
    /// Waits for one of the `All` promises.
    WaitForAll(usize),
    Sleep(u64),
}

const AT_FIRST: usize = 4;

fn op() -> impl Strategy<Value = Op> {
    let how = prop_oneof![
        3 => Just(How::Resolve),
        1 => Just(How::Reject),
        1 => Just(How::Break),
    ];
    let several = || prop::collection::vec(0usize..8, 0..4);
    prop_oneof![
        3 => (0..AT_FIRST, how).prop_map(|(which, how)| Op::Settle(which, how)),
        4 => (0usize..8).prop_map(Op::Wait),
        1 => several().prop_map(Op::Race),
        1 => several().prop_map(Op::All),
        2 => (0usize..4).prop_map(Op::WaitForAll),
        2 => (0u64..4).prop_map(Op::Sleep),
    ]
}

/// A promise, what it is made of, and its outcome.
struct Account<T> {
    promise: Promise<T, u32>,
    of: Vec<usize>,
    outcome: RefCell<Option<Outcome<T>>>,
    queue: WaitQueue<(), Outcome<T>>,
}

impl<T: Clone + Debug + PartialEq> Account<T> {
    fn new(known: &Rc<Ethreads>, promise: Promise<T, u32>, of: Vec<usize>) -> Rc<Self> {
        Rc::new(Self {
            promise,
            of,
            outcome: RefCell::default(),
            queue: WaitQueue::new(known),
        })
    }

    fn settle(&self, outcome: Outcome<T>) {
        self.queue.wake_all(outcome.clone());
        *self.outcome.borrow_mut() = Some(outcome);
    }

    fn outcome(&self) -> Option<Outcome<T>> {
        self.outcome.borrow().clone()
    }

    fn wait(&self, id: usize) {
        if let Some(outcome) = self.outcome() {
            assert_eq!(self.promise.wait(), outcome);
            return;
        }
        let waiter = self.queue.enter(id, ());
        let got = self.promise.wait();
        assert_eq!(waiter.goes_on(), got);
    }

    fn audit(&self) {
        self.queue.audit("a promise");
        let outcome = self.outcome();
        assert_eq!(self.promise.get(), outcome.as_ref().map(Result::as_ref));
        assert!(outcome.is_none() || self.queue.is_empty());
    }
}

struct Promises {
    known: Rc<Ethreads>,
    resolvers: RefCell<Vec<Option<Resolver<u32, u32>>>>,
    /// The first promises, and races of the promises before them.
    promises: RefCell<Vec<Rc<Account<u32>>>>,
    alls: RefCell<Vec<Rc<Account<Vec<u32>>>>>,
    values: Counter,
}

impl Promises {
    fn nth(&self, which: usize) -> Rc<Account<u32>> {
        let promises = self.promises.borrow();
        promises[which.min(promises.len() - 1)].clone()
    }

    fn of(&self, which: &[usize]) -> Vec<usize> {
        let last = self.promises.borrow().len() - 1;
        which.iter().map(|which| *which.min(&last)).collect()
    }

    /// A promise has been settled, which may settle others. If several sources were settled at
    /// once, all of them have the same outcome.
    fn follow(&self) {
        let promises = self.promises.borrow().clone();
        let outcome = |n: &usize| promises[*n].outcome();
        // Each later promise is made of earlier promises.
        for race in &promises[AT_FIRST..] {
            let first = race.of.iter().find_map(outcome);
            if let (None, Some(first)) = (race.outcome(), first) {
                race.settle(first);
            }
        }
        for all in &*self.alls.borrow() {
            let outcomes: Vec<_> = all.of.iter().map(outcome).collect();
            let error = outcomes.iter().flatten().find_map(|outcome| outcome.err());
            if all.outcome().is_some() {
                continue;
            }
            if let Some(error) = error {
                all.settle(Err(error));
            } else if let Some(outcomes) = outcomes.into_iter().collect::<Option<Vec<_>>>() {
                all.settle(outcomes.into_iter().collect());
            }
        }
    }

    fn sources(&self, of: &[usize]) -> Vec<Promise<u32, u32>> {
        of.iter().map(|n| self.nth(*n).promise.clone()).collect()
    }
}

impl World for Promises {
    type Op = Op;

    fn new(known: &Rc<Ethreads>) -> Self {
        let (mut promises, mut resolvers) = (Vec::new(), Vec::new());
        for _ in 0..AT_FIRST {
            let (promise, resolver) = Promise::new();
            promises.push(Account::new(known, promise, Vec::new()));
            resolvers.push(Some(resolver));
        }
        Self {
            known: known.clone(),
            resolvers: RefCell::new(resolvers),
            promises: RefCell::new(promises),
            alls: RefCell::default(),
            values: Counter::default(),
        }
    }

    fn act(&self, id: usize, op: &Op) {
        match op {
            Op::Settle(which, how) => {
                let Some(resolver) = self.resolvers.borrow_mut()[*which].take() else {
                    return;
                };
                let value = self.values.next();
                let outcome = match how {
                    How::Resolve => Ok(value),
                    How::Reject => Err(PromiseError::Rejected(value)),
                    How::Break => Err(PromiseError::Broken),
                };
                self.nth(*which).settle(outcome);
                self.follow();
                match how {
                    How::Resolve => resolver.resolve(value),
                    How::Reject => resolver.reject(value),
                    How::Break => drop(resolver),
                }
            }
            Op::Wait(which) => self.nth(*which).wait(id),
            Op::Race(of) => {
                let of = self.of(of);
                let race = Promise::race(&self.sources(&of));
                let account = Account::new(&self.known, race, of);
                if account.of.is_empty() {
                    account.settle(Err(PromiseError::Broken));
                }
                self.promises.borrow_mut().push(account);
                self.follow();
            }
            Op::All(of) => {
                let of = self.of(of);
                let all = Promise::all(&self.sources(&of));
                let account = Account::new(&self.known, all, of);
                self.alls.borrow_mut().push(account);
                self.follow();
            }
            Op::WaitForAll(which) => {
                let all = self.alls.borrow().get(*which).cloned();
                if let Some(all) = all {
                    all.wait(id);
                }
            }
            Op::Sleep(millis) => thread::sleep(ms(*millis)),
        }
    }

    fn audit(&self) {
        self.promises
            .borrow()
            .iter()
            .for_each(|account| account.audit());
        self.alls
            .borrow()
            .iter()
            .for_each(|account| account.audit());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn promises_do_what_their_accounts_say(scripts in scripts(op()), seed in any::<u64>()) {
        play::<Promises>(scripts, seed);
    }
}
