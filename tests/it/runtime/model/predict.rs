//! The model: plain lists, one loop, no cleverness.

use super::{Ending, Event, Op, Outcome, Program, Step, What};

/// Which of the ready ethreads runs next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    Fifo,
    Seeded(u64),
}

impl Order {
    /// The simulation's own generator, implemented a second time.
    fn choose(&mut self, n: usize) -> usize {
        let Self::Seeded(state) = self else { return 0 };
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Running,
    Parked,
    Ended,
}

/// How the ethread goes on when it runs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Begin,
    /// The ethread was in a yield.
    Next,
    /// The ethread was parked. `join` is the ethread that it joins, if any.
    Unparked {
        join: Option<usize>,
    },
    /// A cancel that let the other ethreads run first now unwinds this ethread.
    Raise,
}

/// What the running ethread does after a step.
enum Flow {
    /// It runs the current step.
    This,
    Next,
    /// Nothing: the ethread has parked, yielded or ended.
    Left,
}

#[derive(Clone, Debug)]
struct Ethread {
    state: State,
    then: Then,
    step: usize,
    /// The ethread is parked in `park`, which `unpark` ends.
    unparkable: bool,
    deadline: Option<u64>,
    /// A cancel ended the last park, or came before the start.
    cut_short: bool,
    permit: bool,
    cancelled: bool,
    masked: bool,
    raises: u32,
    /// No join has consumed the handle of the ethread.
    has_handle: bool,
    joiner: Option<usize>,
    ending: Ending,
}

const ROOT: usize = usize::MAX;

struct Model<'a> {
    program: &'a Program,
    order: Order,
    ethreads: Vec<Ethread>,
    /// Indices of ethreads; the root is `ROOT`.
    ready: Vec<usize>,
    now: u64,
    root_parked: bool,
    trace: Vec<Event>,
}

/// Returns the trace and the outcome of a program, or `None` if two deadlines were the same.
pub(crate) fn predict(program: &Program, order: Order) -> Option<(Vec<Event>, Outcome)> {
    let mut model = Model {
        program,
        order,
        ethreads: Vec::new(),
        ready: vec![ROOT],
        now: 0,
        root_parked: false,
        trace: Vec::new(),
    };
    loop {
        while !model.ready.is_empty() {
            let pick = model.order.choose(model.ready.len());
            match model.ready.remove(pick) {
                ROOT if model.root_runs() => return Some((model.trace, Outcome::Ended)),
                ROOT => {}
                id => model.run(id),
            }
        }
        let parked = model
            .ethreads
            .iter()
            .filter(|ethread| ethread.state == State::Parked);
        let Some(deadline) = parked.filter_map(|ethread| ethread.deadline).min() else {
            let all = 0..model.ethreads.len();
            let parked = all
                .filter(|&id| model.ethreads[id].state == State::Parked)
                .collect();
            return Some((model.trace, Outcome::Deadlock(parked)));
        };
        model.now = deadline;
        let due = |ethread: &Ethread| {
            ethread.state == State::Parked && ethread.deadline == Some(deadline)
        };
        let mut due = (0..model.ethreads.len()).filter(|&id| due(&model.ethreads[id]));
        let first = due.next().unwrap();
        if due.next().is_some() {
            return None;
        }
        model.wake(first, false);
    }
}

impl Model<'_> {
    fn note(&mut self, id: usize, what: What) {
        self.trace.push((id, self.now, what));
    }

    /// The root spawns, then parks while any ethread is left. Returns true when the root has ended.
    fn root_runs(&mut self) -> bool {
        if self.ethreads.is_empty() {
            (0..self.program.at_first).for_each(|_| self.spawn());
        }
        self.root_parked = self
            .ethreads
            .iter()
            .any(|ethread| ethread.state != State::Ended);
        !self.root_parked
    }

    fn spawn(&mut self) {
        if self.ethreads.len() == self.program.scripts.len() {
            return;
        }
        self.ready.push(self.ethreads.len());
        self.ethreads.push(Ethread {
            state: State::Ready,
            then: Then::Begin,
            step: 0,
            unparkable: false,
            deadline: None,
            cut_short: false,
            permit: false,
            cancelled: false,
            masked: false,
            raises: 0,
            has_handle: true,
            joiner: None,
            ending: Ending::Value,
        });
    }

    /// Ends a park.
    fn wake(&mut self, id: usize, cut_short: bool) {
        let ethread = &mut self.ethreads[id];
        assert_eq!(ethread.state, State::Parked);
        ethread.state = State::Ready;
        ethread.cut_short = cut_short;
        self.ready.push(id);
    }

    fn run(&mut self, id: usize) {
        let ethread = &mut self.ethreads[id];
        ethread.state = State::Running;
        let cut_short = std::mem::take(&mut ethread.cut_short);
        let mut flow = match ethread.then {
            Then::Begin if cut_short => self.end(id, Ending::Cancelled),
            Then::Begin => Flow::This,
            Then::Next => Flow::Next,
            Then::Unparked { join } => match (cut_short, join) {
                (true, _) => self.raise(id),
                (false, Some(whom)) => self.joined(id, whom),
                (false, None) => Flow::Next,
            },
            Then::Raise => self.unwind(id),
        };
        loop {
            let ethread = &mut self.ethreads[id];
            match flow {
                Flow::This => {}
                Flow::Next => ethread.step += 1,
                Flow::Left => return,
            }
            let n = ethread.step;
            flow = match self.program.scripts[id].get(n) {
                Some(step) => {
                    ethread.masked = step.masked;
                    self.note(id, What::Begins(n));
                    self.perform(id, *step)
                }
                None => self.end(id, Ending::Value),
            };
            if !matches!(flow, Flow::Left) {
                self.ethreads[id].masked = false;
            }
        }
    }

    fn perform(&mut self, id: usize, step: Step) -> Flow {
        let due = self.ethreads[id].cancelled && !step.masked;
        match step.op {
            Op::Yield if due => self.raise(id),
            Op::Yield => self.requeue(id, Then::Next),
            Op::Sleep(nanos) => self.park(id, due, Some(nanos), false, None),
            Op::Park | Op::ParkTimeout(_) if std::mem::take(&mut self.ethreads[id].permit) => {
                Flow::Next
            }
            Op::Park => self.park(id, due, None, true, None),
            Op::ParkTimeout(nanos) => self.park(id, due, Some(nanos), true, None),
            Op::Unpark(whom) => self.unpark(whom),
            Op::Cancel(whom) => self.cancel(whom),
            Op::Join(whom) => match self.ethreads.get_mut(whom) {
                Some(other) if other.has_handle => {
                    other.has_handle = false;
                    if other.state == State::Ended {
                        return self.joined(id, whom);
                    }
                    other.joiner = Some(id);
                    self.park(id, due, None, false, Some(whom))
                }
                _ => Flow::Next,
            },
            Op::Spawn => {
                self.spawn();
                Flow::Next
            }
        }
    }

    fn requeue(&mut self, id: usize, then: Then) -> Flow {
        self.ethreads[id].state = State::Ready;
        self.ethreads[id].then = then;
        self.ready.push(id);
        Flow::Left
    }

    fn park(
        &mut self,
        id: usize,
        cancel_is_due: bool,
        nanos: Option<u32>,
        unparkable: bool,
        join: Option<usize>,
    ) -> Flow {
        if cancel_is_due {
            return self.raise(id);
        }
        let deadline = nanos.map(|nanos| self.now + u64::from(nanos));
        let ethread = &mut self.ethreads[id];
        ethread.state = State::Parked;
        ethread.then = Then::Unparked { join };
        ethread.unparkable = unparkable;
        ethread.deadline = deadline;
        Flow::Left
    }

    fn joined(&mut self, id: usize, whom: usize) -> Flow {
        self.note(id, What::Joined(self.ethreads[whom].ending));
        Flow::Next
    }

    fn unpark(&mut self, whom: usize) -> Flow {
        match self.ethreads.get_mut(whom) {
            Some(other) if other.state == State::Parked && other.unparkable => {
                self.wake(whom, false);
            }
            Some(other) if other.state != State::Ended => other.permit = true,
            _ => {}
        }
        Flow::Next
    }

    fn cancel(&mut self, whom: usize) -> Flow {
        match self.ethreads.get_mut(whom) {
            Some(other) if other.has_handle && other.state != State::Ended => {
                other.cancelled = true;
                if other.state == State::Parked && !other.masked {
                    self.wake(whom, true);
                } else if other.state == State::Ready && other.then == Then::Begin {
                    other.cut_short = true;
                }
            }
            _ => {}
        }
        Flow::Next
    }

    /// From the second raise on the other ethreads run first.
    fn raise(&mut self, id: usize) -> Flow {
        self.ethreads[id].raises += 1;
        if self.ethreads[id].raises > 1 {
            return self.requeue(id, Then::Raise);
        }
        self.unwind(id)
    }

    fn unwind(&mut self, id: usize) -> Flow {
        if self.program.scripts[id][self.ethreads[id].step].caught {
            self.note(id, What::Caught);
            return Flow::Next;
        }
        self.end(id, Ending::Cancelled)
    }

    fn end(&mut self, id: usize, ending: Ending) -> Flow {
        self.note(id, What::Ends);
        self.ethreads[id].state = State::Ended;
        self.ethreads[id].ending = ending;
        if self.root_parked
            && self
                .ethreads
                .iter()
                .all(|other| other.state == State::Ended)
        {
            self.root_parked = false;
            self.ready.push(ROOT);
        }
        if let Some(joiner) = self.ethreads[id].joiner
            && self.ethreads[joiner].state == State::Parked
            && self.ethreads[joiner].then == (Then::Unparked { join: Some(id) })
        {
            self.wake(joiner, false);
        }
        Flow::Left
    }
}
