//! `Resource`: one instance at a time, for all callers, as long as it is in use.

use std::cell::Cell;

use ethreads::sync::Resource;
use ethreads::sync::resource::{Lease, StartError, State};

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Get(u64),
    TryGet(u64),
    Stop,
    Restart(u64),
    Sleep(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0u64..8).prop_map(Op::Get),
        2 => (0u64..8).prop_map(Op::TryGet),
        2 => Just(Op::Stop),
        1 => (0u64..5).prop_map(Op::Restart),
        3 => (0u64..12).prop_map(Op::Sleep),
    ]
}

const STARTS: Duration = ms(3);
const STOPS: Duration = ms(2);
const IDLE: Duration = ms(6);
const GRACE: Duration = ms(4);

/// What is known of the instances, which are numbered.
#[derive(Default)]
struct Account {
    starts: Cell<u32>,
    /// The instance that starts, runs or stops.
    now: Cell<Option<u32>>,
    starting: Cell<bool>,
    stopping: Cell<bool>,
    /// How many starts have failed, and how many values were made and stopped.
    failed: Cell<u32>,
    made: Cell<u32>,
    stopped: Cell<u32>,
    /// How often a stop was requested, and since when a stop has been pending.
    asked: Cell<u32>,
    asked_at: Cell<Option<Instant>>,
    /// The uses, by the number of the instance, and since when there has been none.
    uses: RefCell<Vec<u32>>,
    idle_since: Cell<Option<Instant>>,
}

impl Account {
    fn uses(&self, number: u32) -> usize {
        self.uses
            .borrow()
            .iter()
            .filter(|used| **used == number)
            .count()
    }

    fn start(&self) -> Result<u32, u32> {
        let number = self.starts.get() + 1;
        self.starts.set(number);
        assert_eq!(self.now.replace(Some(number)), None, "there is one already");
        self.starting.set(true);
        // An instance that was to stop before its start has never begun.
        self.asked_at.set(None);
        let ends = at_end(|| {
            // The start has failed, in whatever way.
            self.failed.set(self.failed.get() + 1);
            self.starting.set(false);
            self.now.set(None);
            self.asked_at.set(None);
        });
        // Some starts cannot be interrupted.
        if number.is_multiple_of(3) {
            thread::uncancellable(|| thread::sleep(STARTS));
        } else {
            thread::sleep(STARTS);
        }
        if number.is_multiple_of(4) {
            return Err(number);
        }
        if number.is_multiple_of(5) {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
        std::mem::forget(ends);
        self.starting.set(false);
        self.made.set(self.made.get() + 1);
        self.idle_since.set(Some(Instant::now()));
        Ok(number)
    }

    fn stop(&self, number: u32, grace: bool) {
        assert_eq!(self.now.get(), Some(number));
        assert!(!self.stopping.replace(true), "twice");
        let now = Instant::now();
        let asked = self.asked_at.get();
        let idle = self.idle_since.get().unwrap();
        if self.uses(number) > 0 {
            let over = asked.is_some_and(|asked| asked + GRACE <= now);
            assert!(grace && over, "it is in use");
        } else if asked.is_none() {
            assert_eq!(now, idle + IDLE, "it was idle for exactly so long");
        }
        thread::sleep(STOPS);
        self.stopped.set(self.stopped.get() + 1);
        self.stopping.set(false);
        self.now.set(None);
        self.asked_at.set(None);
    }
}

struct World<const WITH_GRACE: bool> {
    resource: Resource<u32, u32>,
    account: Rc<Account>,
    /// How many callers wait for an instance, and how many for its end.
    wants: Cell<usize>,
    wants_end: Cell<usize>,
}

impl<const WITH_GRACE: bool> World<WITH_GRACE> {
    fn ask_to_stop(&self) {
        let account = &self.account;
        account.asked.set(account.asked.get() + 1);
        if account.asked_at.get().is_none() && self.resource.state() != State::Stopped {
            account.asked_at.set(Some(Instant::now()));
        }
    }

    fn uses(&self, lease: Lease<u32>, hold: u64) {
        let account = &self.account;
        let number = *lease;
        account.uses.borrow_mut().push(number);
        let lease = Cell::new(Some(lease));
        let _ends = at_end(|| {
            drop(lease.take());
            let mut uses = account.uses.borrow_mut();
            let place = uses.iter().position(|used| *used == number).unwrap();
            uses.remove(place);
            drop(uses);
            if account.uses(number) == 0 && account.now.get() == Some(number) {
                account.idle_since.set(Some(Instant::now()));
            }
        });
        assert_eq!(
            account.now.get(),
            Some(number),
            "it has the one that is there"
        );
        assert!(!account.starting.get());
        assert!(WITH_GRACE || !account.stopping.get());
        thread::sleep(ms(hold));
    }

    fn got(&self, got: Result<Lease<u32>, StartError<u32>>, hold: u64, before: (u32, u32)) {
        let (failed, asked) = before;
        match got {
            Ok(lease) => self.uses(lease, hold),
            Err(StartError::Stopped) => assert!(self.account.asked.get() > asked),
            Err(error) => {
                assert!(self.account.failed.get() > failed, "{error}");
                let number = match error {
                    StartError::Failed(number) => *number,
                    _ => 5,
                };
                assert!(number.is_multiple_of(4) || number.is_multiple_of(5));
            }
        }
    }

    fn before(&self) -> (u32, u32) {
        (self.account.failed.get(), self.account.asked.get())
    }
}

impl<const WITH_GRACE: bool> super::World for World<WITH_GRACE> {
    type Op = Op;

    fn new(_: &Rc<Ethreads>) -> Self {
        let account = Rc::new(Account::default());
        let (starts, stops) = (account.clone(), account.clone());
        let builder = Resource::builder(move || starts.start())
            .stop(move |number: &u32| stops.stop(*number, WITH_GRACE))
            .idle_timeout(IDLE);
        let builder = if WITH_GRACE {
            builder.grace(GRACE)
        } else {
            builder
        };
        Self {
            resource: builder.build(),
            account,
            wants: Cell::default(),
            wants_end: Cell::default(),
        }
    }

    fn act(&self, _: usize, op: &Op) {
        let more = |count: &Cell<usize>| count.set(count.get() + 1);
        let less = |count: &Cell<usize>| count.set(count.get() - 1);
        match *op {
            Op::Get(hold) => {
                let runs = self.resource.state() == State::Running;
                let (before, begun) = (self.before(), Instant::now());
                more(&self.wants);
                let wants = at_end(|| less(&self.wants));
                let got = self.resource.get();
                drop(wants);
                assert!(!runs || (got.is_ok() && begun.elapsed().is_zero()));
                self.got(got, hold, before);
            }
            Op::TryGet(hold) => {
                let got = self.resource.try_get();
                assert_eq!(got.is_some(), self.resource.state() == State::Running);
                if let Some(lease) = got {
                    self.uses(lease, hold);
                }
            }
            Op::Stop => {
                self.ask_to_stop();
                more(&self.wants_end);
                let _wants = at_end(|| less(&self.wants_end));
                self.resource.stop();
            }
            Op::Restart(hold) => {
                self.ask_to_stop();
                let before = self.before();
                let got = self.resource.restart();
                self.got(got, hold, before);
            }
            Op::Sleep(millis) => thread::sleep(ms(millis)),
        }
    }

    fn audit(&self) {
        let (account, state) = (&self.account, self.resource.state());
        let there = account.now.get();
        match state {
            State::Stopped => assert_eq!(there, None),
            State::Starting => assert!(account.starting.get() && account.asked_at.get().is_none()),
            State::Running => assert!(there.is_some() && !account.starting.get()),
            _ => assert!(there.is_some()),
        }
        let running = there.filter(|_| state == State::Running);
        assert!(running.is_none() || self.wants.get() == 0, "it can be had");
        assert!(state != State::Stopped || self.wants.get() + self.wants_end.get() == 0);
        assert!(state == State::Stopping || self.wants_end.get() == 0);
        if let Some(number) = running {
            assert_eq!(self.resource.in_use(), account.uses(number));
            assert!(!account.stopping.get() && account.asked_at.get().is_none());
        }
    }

    fn finish(&self) {
        self.ask_to_stop();
        self.resource.stop();
        assert_eq!(self.resource.state(), State::Stopped);
        assert_eq!(self.account.made.get(), self.account.stopped.get());
        assert_eq!(self.account.now.get(), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_resource_does_what_its_account_says(scripts in scripts(op()), seed in any::<u64>()) {
        play::<World<false>>(scripts, seed);
    }

    #[test]
    fn a_resource_with_a_grace_does_what_its_account_says(
        scripts in scripts(op()),
        seed in any::<u64>(),
    ) {
        play::<World<true>>(scripts, seed);
    }
}
