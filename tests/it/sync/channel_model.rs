//! Random programs on two channels, compared step by step with a naive model.
//!
//! Virtual time makes the model exact: a waiter that has met its deadline or a cancel does not wait
//! any more from that moment on, even if it has not run since. So the model knows which waiter must
//! be woken.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use ethreads::sim;
use ethreads::sync::channel::{
    self, Receiver, RecvTimeoutError, SendTimeoutError, Sender, TryRecvError, TrySendError,
};
use ethreads::sync::select::{Either, Operation, after, any};
use ethreads::thread::{self, Cancelled};
use ethreads::time::{self, Instant};
use proptest::prelude::*;

const CHANNELS: usize = 2;

/// An operation that a call may perform.
#[derive(Clone, Copy, Debug)]
enum Thing {
    /// The channel, and the number of the message once there is one.
    Send(usize, usize),
    Receive(usize),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Call,
    Select,
    SelectInOrder,
}

#[derive(Clone, Debug)]
enum Step {
    Act {
        /// A plain call performs the first operation whose end the ethread has. A select offers all
        /// such operations.
        things: Vec<Thing>,
        how: How,
        /// The call does not wait.
        tries: bool,
        /// In milliseconds, at least 1.
        limit: Option<u64>,
        /// The limit is that of a timeout scope around the call.
        scoped: bool,
    },
    Sleep(u64),
    DropSender(usize),
    DropReceiver(usize),
}

#[derive(Clone, Debug)]
struct Program {
    steps: Vec<Step>,
    /// Which ends the ethread has.
    senders: [bool; CHANNELS],
    receivers: [bool; CHANNELS],
    cancelled_at: Option<u64>,
}

fn thing() -> impl Strategy<Value = Thing> {
    let of_channel =
        |channel| prop_oneof![Just(Thing::Send(channel, 0)), Just(Thing::Receive(channel))];
    (0..CHANNELS).prop_flat_map(of_channel)
}

fn step() -> impl Strategy<Value = Step> {
    let how = prop_oneof![
        3 => Just(How::Call),
        2 => Just(How::Select),
        1 => Just(How::SelectInOrder),
    ];
    let act = (
        prop::collection::vec(thing(), 1..4),
        how,
        prop::bool::weighted(0.2),
        prop::option::weighted(0.5, 1u64..6),
        any_bool(),
    );
    let act = act.prop_map(|(things, how, tries, limit, scoped)| Step::Act {
        things,
        how,
        tries,
        limit,
        scoped,
    });
    prop_oneof![
        12 => act,
        3 => (0u64..5).prop_map(Step::Sleep),
        1 => (0..CHANNELS).prop_map(Step::DropSender),
        1 => (0..CHANNELS).prop_map(Step::DropReceiver),
    ]
}

fn any_bool() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.4)
}

fn program() -> impl Strategy<Value = Program> {
    let end = || prop::bool::weighted(0.8);
    let steps = prop::collection::vec(step(), 1..9);
    let ends = ([end(), end()], [end(), end()]);
    (steps, ends, prop::option::weighted(0.3, 0u64..20)).prop_map(
        |(steps, (senders, receivers), cancelled_at)| Program {
            steps,
            senders,
            receivers,
            cancelled_at,
        },
    )
}

fn capacity() -> impl Strategy<Value = Option<usize>> {
    prop::sample::select(vec![Some(0), Some(1), Some(2), None])
}

/// The outcome of an operation.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Done {
    Sent(usize),
    Unsent(usize),
    Got(usize),
    End,
}

struct Waiter {
    ethread: usize,
    deadline: u64,
    /// The index of the operation that has happened, and its outcome.
    done: Option<(usize, Done)>,
}

#[derive(Default)]
struct ChannelModel {
    capacity: Option<usize>,
    messages: VecDeque<usize>,
    /// The waiter, the index of its operation, and the message.
    senders: Vec<(usize, usize, usize)>,
    receivers: Vec<(usize, usize)>,
    sender_count: usize,
    receiver_count: usize,
}

#[derive(Default)]
struct Model {
    start: Option<Instant>,
    channels: [ChannelModel; CHANNELS],
    waiters: Vec<Waiter>,
    cancelled: Vec<bool>,
    /// How often each message was dropped.
    drops: Vec<u32>,
    /// Errors found where nothing can panic.
    complaints: Vec<String>,
}

impl Model {
    fn now(&self) -> u64 {
        u64::try_from(self.start.unwrap().elapsed().as_millis()).unwrap()
    }

    fn waits(&self, waiter: usize) -> bool {
        let waiter = &self.waiters[waiter];
        waiter.done.is_none() && waiter.deadline > self.now() && !self.cancelled[waiter.ethread]
    }

    fn first_sender(&self, channel: usize) -> Option<(usize, usize, usize)> {
        let mut senders = self.channels[channel].senders.iter();
        senders.find(|(waiter, ..)| self.waits(*waiter)).copied()
    }

    fn first_receiver(&self, channel: usize) -> Option<(usize, usize)> {
        let mut receivers = self.channels[channel].receivers.iter();
        receivers.find(|(waiter, _)| self.waits(*waiter)).copied()
    }

    fn is_possible(&self, thing: Thing) -> bool {
        match thing {
            Thing::Send(channel, _) => {
                let model = &self.channels[channel];
                let has_room = model
                    .capacity
                    .is_none_or(|most| model.messages.len() < most);
                model.receiver_count == 0 || has_room || self.first_receiver(channel).is_some()
            }
            Thing::Receive(channel) => {
                let model = &self.channels[channel];
                let is_sent = !model.messages.is_empty() || self.first_sender(channel).is_some();
                model.sender_count == 0 || is_sent
            }
        }
    }

    fn apply(&mut self, thing: Thing) -> Done {
        match thing {
            Thing::Send(channel, message) => {
                if self.channels[channel].receiver_count == 0 {
                    return Done::Unsent(message);
                }
                match self.first_receiver(channel) {
                    Some((waiter, of)) => {
                        self.waiters[waiter].done = Some((of, Done::Got(message)));
                    }
                    None => self.channels[channel].messages.push_back(message),
                }
                Done::Sent(message)
            }
            Thing::Receive(channel) => {
                if let Some((waiter, of, message)) = self.first_sender(channel) {
                    self.waiters[waiter].done = Some((of, Done::Sent(message)));
                    self.channels[channel].messages.push_back(message);
                }
                let message = self.channels[channel].messages.pop_front();
                message.map_or(Done::End, Done::Got)
            }
        }
    }

    fn enter(&mut self, ethread: usize, things: &[Thing], deadline: u64) -> usize {
        let waiter = self.waiters.len();
        self.waiters.push(Waiter {
            ethread,
            deadline,
            done: None,
        });
        for (of, thing) in things.iter().enumerate() {
            match *thing {
                Thing::Send(channel, message) => {
                    self.channels[channel].senders.push((waiter, of, message));
                }
                Thing::Receive(channel) => self.channels[channel].receivers.push((waiter, of)),
            }
        }
        waiter
    }

    fn leave(&mut self, waiter: usize) {
        for channel in &mut self.channels {
            channel.senders.retain(|(other, ..)| *other != waiter);
            channel.receivers.retain(|(other, _)| *other != waiter);
        }
    }

    fn drop_sender(&mut self, channel: usize) {
        self.channels[channel].sender_count -= 1;
        if self.channels[channel].sender_count == 0 {
            while let Some((waiter, of)) = self.first_receiver(channel) {
                self.waiters[waiter].done = Some((of, Done::End));
            }
        }
    }

    fn drop_receiver(&mut self, channel: usize) {
        self.channels[channel].receiver_count -= 1;
        if self.channels[channel].receiver_count == 0 {
            while let Some((waiter, of, message)) = self.first_sender(channel) {
                self.waiters[waiter].done = Some((of, Done::Unsent(message)));
            }
            self.channels[channel].messages.clear();
        }
    }
}

type Shared = Rc<RefCell<Model>>;

#[derive(Debug)]
struct Message(usize, Drops);

#[derive(Clone)]
struct Drops(Shared);

impl std::fmt::Debug for Drops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Drops")
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        self.1.0.borrow_mut().drops[self.0] += 1;
    }
}

impl Message {
    fn new(number: usize, model: &Shared) -> Self {
        Self(number, Drops(model.clone()))
    }
}

/// The ends that an ethread has. Each drop of an end is reported to the model.
struct Ends {
    senders: [Option<Sender<Message>>; CHANNELS],
    receivers: [Option<Receiver<Message>>; CHANNELS],
    model: Shared,
}

impl Ends {
    fn drop_sender(&mut self, channel: usize) {
        if let Some(sender) = self.senders[channel].take() {
            self.model.borrow_mut().drop_sender(channel);
            drop(sender);
        }
    }

    fn drop_receiver(&mut self, channel: usize) {
        if let Some(receiver) = self.receivers[channel].take() {
            self.model.borrow_mut().drop_receiver(channel);
            drop(receiver);
        }
    }

    fn share(&self, senders: [bool; CHANNELS], receivers: [bool; CHANNELS]) -> Self {
        let mut model = self.model.borrow_mut();
        for channel in 0..CHANNELS {
            model.channels[channel].sender_count += usize::from(senders[channel]);
            model.channels[channel].receiver_count += usize::from(receivers[channel]);
        }
        let share = [0, 1].map(|n| self.senders[n].clone().filter(|_| senders[n]));
        Self {
            senders: share,
            receivers: [0, 1].map(|n| self.receivers[n].clone().filter(|_| receivers[n])),
            model: self.model.clone(),
        }
    }

    fn has(&self, thing: &Thing) -> bool {
        match *thing {
            Thing::Send(channel, _) => self.senders[channel].is_some(),
            Thing::Receive(channel) => self.receivers[channel].is_some(),
        }
    }

    fn compare_lengths(&self) {
        let model = self.model.borrow();
        for (index, channel) in model.channels.iter().enumerate() {
            let ours = self.receivers[index].as_ref().map(Receiver::len);
            let length = ours.or(self.senders[index].as_ref().map(Sender::len));
            assert_eq!(
                length.unwrap_or(channel.messages.len()),
                channel.messages.len()
            );
        }
    }

    /// Numbers the messages, and returns the operations in the order in which they are tried.
    fn prepare(&self, things: &[Thing], how: How) -> Vec<Thing> {
        let mut things: Vec<_> = things
            .iter()
            .filter(|thing| self.has(thing))
            .copied()
            .collect();
        if how == How::Call {
            things.truncate(1);
        }
        things.sort_by_key(|thing| matches!(thing, Thing::Receive(_)));
        for thing in &mut things {
            if let Thing::Send(_, message) = thing {
                let drops = &mut self.model.borrow_mut().drops;
                *message = drops.len();
                drops.push(0);
            }
        }
        things
    }

    /// Makes a call, and compares its outcome with the model's.
    fn act(&self, me: usize, things: &[Thing], how: How, tries: bool, limit: Limit) {
        let things = self.prepare(things, how);
        if things.is_empty() {
            return;
        }
        let mut model = self.model.borrow_mut();
        let possible: Vec<_> = (0..things.len())
            .filter(|of| model.is_possible(things[*of]))
            .collect();
        let deadline = limit.millis().map_or(u64::MAX, |limit| model.now() + limit);
        let waiter = (possible.is_empty() && !tries).then(|| model.enter(me, &things, deadline));
        drop(model);
        let leaves = waiter.map(|waiter| Leaves(self.model.clone(), waiter));
        let done = match limit {
            Limit::Scope(limit) if !tries => {
                let all = || self.really(&things, how, tries, None);
                time::timeout(Duration::from_millis(limit), all).unwrap_or(None)
            }
            limit => self.really(&things, how, tries, limit.millis()),
        };
        let mut model = self.model.borrow_mut();
        match (waiter, done) {
            (Some(waiter), done) => {
                assert_eq!(done, model.waiters[waiter].done, "of {things:?}");
                assert!(
                    done.is_some() || model.now() >= deadline,
                    "early: {things:?}"
                );
            }
            (None, Some((of, done))) => {
                assert!(possible.contains(&of), "{of} of {things:?}");
                let in_order = how != How::Select;
                assert!(
                    !in_order || possible[0] == of,
                    "{of} is not first of {things:?}"
                );
                assert_eq!(done, model.apply(things[of]));
            }
            (None, None) => assert!(possible.is_empty(), "{possible:?} of {things:?}"),
        }
        drop(model);
        drop(leaves);
        self.compare_lengths();
    }

    fn really(
        &self,
        things: &[Thing],
        how: How,
        tries: bool,
        limit: Option<u64>,
    ) -> Option<(usize, Done)> {
        if how == How::Call {
            return self.call(things[0], tries, limit).map(|done| (0, done));
        }
        let sends = things.iter().filter_map(|thing| match *thing {
            Thing::Send(channel, number) => {
                let sender = self.senders[channel].as_ref()?;
                let sending = sender.sending(Message::new(number, &self.model));
                Some(sending.map(move |sent| match sent {
                    Ok(()) => Done::Sent(number),
                    Err(error) => Done::Unsent(error.0.0),
                }))
            }
            Thing::Receive(_) => None,
        });
        let receives = things.iter().filter_map(|thing| match *thing {
            Thing::Receive(channel) => self.receivers[channel].as_ref(),
            Thing::Send(..) => None,
        });
        let receives = receives.map(|receiver| {
            let receiving = receiver.receiving();
            receiving.map(|got| got.map_or(Done::End, |message| Done::Got(message.0)))
        });
        let sends = any(sends);
        let first_receive = things
            .iter()
            .position(|thing| matches!(thing, Thing::Receive(_)));
        let timer = any(limit.map(|limit| after(Duration::from_millis(limit))));
        let all = sends.or(any(receives)).or(timer);
        let done = match (tries, how) {
            (true, How::Select) => all.try_perform()?,
            (true, _) => all.try_perform_in_order()?,
            (false, How::Select) => all.perform(),
            (false, _) => all.perform_in_order(),
        };
        match done {
            Either::First(Either::First(sent)) => Some(sent),
            Either::First(Either::Second((of, got))) => Some((first_receive? + of, got)),
            Either::Second(_) => None,
        }
    }

    fn call(&self, thing: Thing, tries: bool, limit: Option<u64>) -> Option<Done> {
        let limit = limit.map(Duration::from_millis);
        match thing {
            Thing::Send(channel, number) => {
                let sender = self.senders[channel].as_ref().unwrap();
                let message = Message::new(number, &self.model);
                let sent = match limit {
                    _ if tries => sender.try_send(message).map_err(|error| match error {
                        TrySendError::Full(message) => SendTimeoutError::Timeout(message),
                        TrySendError::Disconnected(message) => {
                            SendTimeoutError::Disconnected(message)
                        }
                    }),
                    Some(limit) => sender.send_timeout(message, limit),
                    None => sender.send(message).map_err(SendTimeoutError::from),
                };
                match sent {
                    Ok(()) => Some(Done::Sent(number)),
                    Err(SendTimeoutError::Disconnected(message)) => Some(Done::Unsent(message.0)),
                    Err(SendTimeoutError::Timeout(message)) => {
                        assert_eq!(message.0, number);
                        None
                    }
                }
            }
            Thing::Receive(channel) => {
                let receiver = self.receivers[channel].as_ref().unwrap();
                let got = match limit {
                    _ if tries => receiver.try_recv().map_err(|error| match error {
                        TryRecvError::Empty => RecvTimeoutError::Timeout,
                        TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
                    }),
                    Some(limit) => receiver.recv_timeout(limit),
                    None => receiver.recv().map_err(RecvTimeoutError::from),
                };
                match got {
                    Ok(message) => Some(Done::Got(message.0)),
                    Err(RecvTimeoutError::Disconnected) => Some(Done::End),
                    Err(RecvTimeoutError::Timeout) => None,
                }
            }
        }
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        for channel in 0..CHANNELS {
            self.drop_sender(channel);
            self.drop_receiver(channel);
        }
    }
}

#[derive(Clone, Copy)]
enum Limit {
    None,
    Call(u64),
    Scope(u64),
}

impl Limit {
    fn millis(self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Call(limit) | Self::Scope(limit) => Some(limit),
        }
    }
}

/// Removes a waiter from the model, however its wait ends.
struct Leaves(Shared, usize);

impl Drop for Leaves {
    fn drop(&mut self) {
        let mut model = self.0.borrow_mut();
        if std::thread::panicking()
            && let Some(done) = model.waiters[self.1].done
        {
            model.complaints.push(format!("unwinds, and had {done:?}"));
        }
        model.leave(self.1);
    }
}

fn run_program(me: usize, steps: Vec<Step>, mut ends: Ends) {
    for step in steps {
        match step {
            Step::Act {
                things,
                how,
                tries,
                limit,
                scoped,
            } => {
                let limit = match limit {
                    None => Limit::None,
                    Some(limit) if scoped => Limit::Scope(limit),
                    Some(limit) => Limit::Call(limit),
                };
                ends.act(me, &things, how, tries, limit);
            }
            Step::Sleep(0) => thread::yield_now(),
            Step::Sleep(time) => thread::sleep(Duration::from_millis(time)),
            Step::DropSender(channel) => ends.drop_sender(channel),
            Step::DropReceiver(channel) => ends.drop_receiver(channel),
        }
    }
}

fn run(programs: Vec<Program>, capacities: [Option<usize>; CHANNELS]) {
    let model = Shared::default();
    model.borrow_mut().start = Some(Instant::now());
    model.borrow_mut().cancelled = vec![false; programs.len()];
    for (channel, capacity) in model.borrow_mut().channels.iter_mut().zip(capacities) {
        (
            channel.capacity,
            channel.sender_count,
            channel.receiver_count,
        ) = (capacity, 1, 1);
    }
    let channels =
        capacities.map(|capacity| capacity.map_or_else(channel::unbounded, channel::bounded));
    let [(a, from_a), (b, from_b)] = channels;
    let ends = Ends {
        senders: [Some(a), Some(b)],
        receivers: [Some(from_a), Some(from_b)],
        model: model.clone(),
    };
    let mut cancellers = Vec::new();
    let mut ethreads = Vec::new();
    for (me, program) in programs.into_iter().enumerate() {
        let ends = ends.share(program.senders, program.receivers);
        let steps = program.steps;
        let ethread = Rc::new(thread::spawn(move || run_program(me, steps, ends)));
        ethreads.push(ethread.clone());
        if let Some(at) = program.cancelled_at {
            let model = model.clone();
            cancellers.push(thread::spawn(move || {
                thread::sleep(Duration::from_millis(at));
                model.borrow_mut().cancelled[me] = true;
                ethread.cancel();
            }));
        }
    }
    drop(ends);
    // Later than any limit.
    thread::sleep(Duration::from_secs(1000));
    for canceller in cancellers {
        canceller.join().unwrap();
    }
    // An ethread that still waits could not go on, according to the model.
    for (me, ethread) in ethreads
        .iter()
        .enumerate()
        .filter(|(_, e)| !e.is_finished())
    {
        let model = model.borrow();
        let waits =
            (0..model.waiters.len()).any(|n| model.waiters[n].ethread == me && model.waits(n));
        assert!(waits, "ethread {me} is stuck");
        drop(model);
        ethread.cancel();
    }
    model.borrow_mut().cancelled.fill(true);
    for ethread in ethreads {
        if let Err(payload) = Rc::into_inner(ethread).unwrap().join()
            && !payload.is::<Cancelled>()
        {
            std::panic::resume_unwind(payload);
        }
    }
    let model = model.borrow();
    assert!(model.complaints.is_empty(), "{:?}", model.complaints);
    assert!(
        model.drops.iter().all(|drops| *drops == 1),
        "{:?}",
        model.drops
    );
    let stats = ethreads::runtime::stats().unwrap();
    assert_eq!((stats.ethreads, stats.scopes, stats.io_waits), (1, 0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn channels_and_choices_do_what_a_naive_model_does(
        programs in prop::collection::vec(program(), 1..7),
        capacities in [capacity(), capacity()],
        seed in proptest::num::u64::ANY,
    ) {
        sim::run(seed, move || run(programs, capacities)).unwrap();
    }
}
