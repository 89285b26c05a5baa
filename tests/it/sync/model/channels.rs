//! `watch` and `broadcast`, against a list of all that was ever sent.

use std::cell::Cell;

use ethreads::sync::{broadcast, watch};

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Send,
    /// Waits for the next message.
    Next,
    /// Takes what is there, without a wait.
    Now,
    /// For `watch` only: waits until so many messages were sent.
    Until(usize),
    /// Begins anew with a receiver of the sender or, for `watch`, of this other ethread.
    Subscribe(Option<usize>),
    Drop,
    Close,
    Sleep(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        20 => Just(Op::Send),
        20 => Just(Op::Next),
        8 => Just(Op::Now),
        6 => (0usize..12).prop_map(Op::Until),
        6 => prop::option::of(0usize..6).prop_map(Op::Subscribe),
        3 => Just(Op::Drop),
        1 => Just(Op::Close),
        12 => (0u64..4).prop_map(Op::Sleep),
    ]
}

/// The receivers of the ethreads, each with the number of messages that it has seen or passed.
struct Receivers<R>(RefCell<Vec<Option<(R, usize)>>>);

impl<R> Receivers<R> {
    /// Calls `f` with the receiver of the ethread, and puts the receiver back however `f` ends.
    fn with<T>(&self, id: usize, f: impl FnOnce(&mut R, &Cell<usize>) -> T) -> Option<T> {
        let (receiver, seen) = self.0.borrow_mut()[id].take()?;
        let (receiver, seen) = (RefCell::new(Some(receiver)), Cell::new(seen));
        let _back = at_end(|| {
            let receiver = receiver.take().map(|receiver| (receiver, seen.get()));
            self.0.borrow_mut()[id] = receiver;
        });
        let mut own = Own(&receiver, receiver.take());
        let own = own.1.as_mut()?;
        Some(f(own, &seen))
    }

    fn set(&self, id: usize, receiver: Option<(R, usize)>) {
        // Dropped while nothing is borrowed, as the drop may run user code.
        let old = std::mem::replace(&mut self.0.borrow_mut()[id], receiver);
        drop(old);
    }
}

/// Puts back what was taken out of a cell.
struct Own<'a, R>(&'a RefCell<Option<R>>, Option<R>);

impl<R> Drop for Own<'_, R> {
    fn drop(&mut self) {
        *self.0.borrow_mut() = self.1.take();
    }
}

const MOST: usize = 6;

struct Watch {
    sender: RefCell<Option<watch::Sender<usize>>>,
    receivers: Receivers<watch::Receiver<usize>>,
    /// The number of receivers, including the receivers of ethreads that wait.
    count: Cell<usize>,
    /// The number of values sent, which is also the value.
    sent: Cell<usize>,
    queue: WaitQueue<(), ()>,
}

impl Watch {
    fn is_closed(&self) -> bool {
        self.sender.borrow().is_none()
    }

    /// Waits for a value that the receiver has not seen.
    fn waits(&self, id: usize, seen: &Cell<usize>, wait: impl FnOnce() -> bool) {
        let must_wait = seen.get() == self.sent.get() && !self.is_closed();
        let waiter = must_wait.then(|| self.queue.enter(id, ()));
        let changed = wait();
        if let Some(waiter) = waiter {
            waiter.goes_on();
        }
        assert_eq!(changed, seen.get() != self.sent.get());
        assert!(changed || self.is_closed());
        seen.set(self.sent.get());
    }
}

impl World for Watch {
    type Op = Op;

    fn new(known: &Rc<Ethreads>) -> Self {
        let (sender, receiver) = watch::channel(0);
        let receivers = (0..MOST).map(|_| Some((receiver.clone(), 0))).collect();
        Self {
            sender: RefCell::new(Some(sender)),
            receivers: Receivers(RefCell::new(receivers)),
            count: Cell::new(MOST),
            sent: Cell::default(),
            queue: WaitQueue::new(known),
        }
    }

    fn act(&self, id: usize, op: &Op) {
        match *op {
            Op::Send => {
                if let Some(sender) = &*self.sender.borrow() {
                    let value = self.sent.get() + 1;
                    let sent = sender.send(value).is_ok();
                    assert_eq!(sent, self.count.get() > 0);
                    if sent {
                        self.sent.set(value);
                        self.queue.wake_all(());
                    }
                }
            }
            Op::Next => {
                self.receivers.with(id, |receiver, seen| {
                    self.waits(id, seen, || receiver.changed().is_ok());
                });
            }
            Op::Now => {
                self.receivers.with(id, |receiver, seen| {
                    let changed = seen.get() != self.sent.get();
                    let expected = if changed || !self.is_closed() {
                        Ok(changed)
                    } else {
                        Err(std::sync::mpsc::RecvError)
                    };
                    assert_eq!(receiver.has_changed(), expected);
                    assert_eq!(*receiver.get_and_update(), self.sent.get());
                    seen.set(self.sent.get());
                });
            }
            Op::Until(count) => {
                self.receivers.with(id, |receiver, seen| {
                    // `wait_for` looks at the current value, whether or not it was seen.
                    let got = receiver.wait_for(|value| {
                        seen.set(*value);
                        *value >= count
                    });
                    match got {
                        Ok(value) => assert!(*value == self.sent.get() && *value >= count),
                        Err(_) => assert!(self.is_closed() && self.sent.get() < count),
                    }
                });
            }
            Op::Subscribe(whose) => {
                let receiver = match whose {
                    Some(other) => {
                        let receivers = self.receivers.0.borrow();
                        receivers[other]
                            .as_ref()
                            .map(|(r, seen)| (r.clone(), *seen))
                    }
                    None => {
                        let sender = self.sender.borrow();
                        sender
                            .as_ref()
                            .map(|sender| (sender.subscribe(), self.sent.get()))
                    }
                };
                if receiver.is_some() {
                    let had = self.receivers.0.borrow()[id].is_some();
                    self.count.set(self.count.get() + usize::from(!had));
                    self.receivers.set(id, receiver);
                }
            }
            Op::Drop => {
                let had = self.receivers.0.borrow()[id].is_some();
                self.count.set(self.count.get() - usize::from(had));
                self.receivers.set(id, None);
            }
            Op::Close => {
                self.queue.wake_all(());
                drop(self.sender.take());
            }
            Op::Sleep(millis) => thread::sleep(ms(millis)),
        }
    }

    fn audit(&self) {
        self.queue.audit("a watch");
        if let Some(sender) = &*self.sender.borrow() {
            assert_eq!(sender.receiver_count(), self.count.get());
            assert_eq!(*sender.get(), self.sent.get());
        } else {
            assert!(self.queue.is_empty(), "nothing comes any more");
        }
    }
}

const CAPACITY: usize = 3;

/// A message, which is counted as long as it exists.
struct Message {
    number: usize,
    _counted: Rc<()>,
}

struct Broadcast {
    sender: RefCell<Option<broadcast::Sender<Rc<Message>>>>,
    receivers: Receivers<broadcast::Receiver<Rc<Message>>>,
    /// The number of messages sent, and the next message of each receiver.
    sent: Cell<usize>,
    next: RefCell<Vec<Option<usize>>>,
    messages: Rc<()>,
    queue: WaitQueue<(), ()>,
}

impl Broadcast {
    fn oldest(&self) -> usize {
        self.sent.get().saturating_sub(CAPACITY)
    }

    /// What a receiver gets that has come as far as `next`.
    fn gets(&self, next: &Cell<usize>) -> Result<usize, broadcast::TryRecvError> {
        if next.get() < self.oldest() {
            let missed = self.oldest() - next.get();
            next.set(self.oldest());
            return Err(broadcast::TryRecvError::Lagged(missed as u64));
        }
        if next.get() < self.sent.get() {
            next.set(next.get() + 1);
            return Ok(next.get());
        }
        let closed = self.sender.borrow().is_none();
        Err(match closed {
            true => broadcast::TryRecvError::Closed,
            false => broadcast::TryRecvError::Empty,
        })
    }

    fn with(&self, id: usize, f: impl FnOnce(&mut broadcast::Receiver<Rc<Message>>, &Cell<usize>)) {
        self.receivers.with(id, |receiver, next| {
            f(receiver, next);
            self.next.borrow_mut()[id] = Some(next.get());
        });
    }
}

impl World for Broadcast {
    type Op = Op;

    fn new(known: &Rc<Ethreads>) -> Self {
        let (sender, receiver) = broadcast::channel(CAPACITY);
        let receivers = (0..MOST)
            .map(|_| Some((receiver.resubscribe(), 0)))
            .collect();
        Self {
            sender: RefCell::new(Some(sender)),
            receivers: Receivers(RefCell::new(receivers)),
            sent: Cell::default(),
            next: RefCell::new(vec![Some(0); MOST]),
            messages: Rc::default(),
            queue: WaitQueue::new(known),
        }
    }

    fn act(&self, id: usize, op: &Op) {
        match *op {
            Op::Send => {
                if let Some(sender) = &*self.sender.borrow() {
                    let there = self.next.borrow().iter().flatten().count();
                    let message = Message {
                        number: self.sent.get() + 1,
                        _counted: self.messages.clone(),
                    };
                    let sent = sender.send(Rc::new(message)).ok();
                    assert_eq!(sent, Some(there).filter(|there| *there > 0));
                    if sent.is_some() {
                        self.sent.set(self.sent.get() + 1);
                        self.queue.wake_all(());
                    }
                }
            }
            Op::Next | Op::Until(_) => self.with(id, |receiver, next| {
                let must_wait = next.get() == self.sent.get() && self.sender.borrow().is_some();
                let waiter = must_wait.then(|| self.queue.enter(id, ()));
                let got = receiver.recv().map(|message| message.number);
                if let Some(waiter) = waiter {
                    waiter.goes_on();
                }
                let expected = self.gets(next).map_err(|error| match error {
                    broadcast::TryRecvError::Lagged(missed) => broadcast::RecvError::Lagged(missed),
                    _ => broadcast::RecvError::Closed,
                });
                assert_eq!(got, expected);
                assert!(got != Err(broadcast::RecvError::Closed) || self.sender.borrow().is_none());
            }),
            Op::Now => self.with(id, |receiver, next| {
                assert_eq!(receiver.len(), (self.sent.get() - next.get()) as u64);
                let got = receiver.try_recv().map(|message| message.number);
                assert_eq!(got, self.gets(next));
            }),
            Op::Subscribe(_) => {
                let receiver = self
                    .sender
                    .borrow()
                    .as_ref()
                    .map(broadcast::Sender::subscribe);
                if let Some(receiver) = receiver {
                    self.receivers.set(id, Some((receiver, self.sent.get())));
                    self.next.borrow_mut()[id] = Some(self.sent.get());
                }
            }
            Op::Drop => {
                self.receivers.set(id, None);
                self.next.borrow_mut()[id] = None;
            }
            Op::Close => {
                self.queue.wake_all(());
                drop(self.sender.take());
            }
            Op::Sleep(millis) => thread::sleep(ms(millis)),
        }
    }

    fn audit(&self) {
        self.queue.audit("a broadcast");
        // Messages that a receiver has yet to get are kept, as far as there is room, and no others.
        let next = self.next.borrow();
        let first = next.iter().flatten().min();
        let kept = first.map_or(0, |first| self.sent.get() - self.oldest().max(*first));
        assert_eq!(Rc::strong_count(&self.messages) - 1, kept);
        if let Some(sender) = &*self.sender.borrow() {
            assert_eq!(sender.len(), kept);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_watch_does_what_its_account_says(scripts in scripts(op()), seed in any::<u64>()) {
        play::<Watch>(scripts, seed);
    }

    #[test]
    fn a_broadcast_does_what_its_account_says(scripts in scripts(op()), seed in any::<u64>()) {
        play::<Broadcast>(scripts, seed);
    }
}
