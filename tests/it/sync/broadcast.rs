//! `sync::broadcast`, by what tokio documents of its own: each receiver gets each message, and a
//! receiver that is too slow learns what it has missed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ethreads::sync::broadcast::{self, RecvError, TryRecvError};
use ethreads::thread::{self, Cancelled};
use ethreads::time;

use crate::support::{OnDrop, leaving_nothing as check};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn each_receiver_gets_each_message_since_it_is_there() {
    check(|| {
        let (sender, mut first) = broadcast::channel(8);
        assert_eq!(sender.send(1).unwrap(), 1);
        let mut second = sender.subscribe();
        assert_eq!(sender.send(2).unwrap(), 2);
        let mut third = first.resubscribe();
        assert_eq!((first.len(), second.len(), third.len()), (2, 1, 0));
        assert_eq!((first.recv(), first.recv()), (Ok(1), Ok(2)));
        assert_eq!(second.recv(), Ok(2));
        for receiver in [&mut first, &mut second, &mut third] {
            assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
            assert!(receiver.is_empty());
        }
        assert_eq!((sender.receiver_count(), sender.is_empty()), (3, true));
    });
}

#[test]
fn a_slow_receiver_is_told_how_much_it_missed_and_goes_on_with_the_oldest() {
    check(|| {
        let (sender, mut slow) = broadcast::channel(2);
        let mut quick = sender.subscribe();
        for message in 1..=5 {
            sender.send(message).unwrap();
            assert_eq!(quick.try_recv(), Ok(message));
        }
        assert_eq!((slow.len(), sender.len()), (5, 2));
        assert_eq!(slow.try_recv(), Err(TryRecvError::Lagged(3)));
        assert_eq!(slow.len(), 2);
        sender.send(6).unwrap();
        // The receiver lags again, before it has gone on.
        assert_eq!(slow.recv(), Err(RecvError::Lagged(1)));
        assert_eq!((slow.recv(), slow.recv()), (Ok(5), Ok(6)));
        assert_eq!(slow.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(
            RecvError::Lagged(3).to_string(),
            "3 messages of a broadcast were missed"
        );
    });
}

#[test]
fn the_end_comes_after_the_last_message() {
    check(|| {
        let (sender, mut late) = broadcast::channel(4);
        let readers = [(); 2].map(|()| {
            let mut receiver = sender.subscribe();
            thread::spawn(move || [receiver.recv(), receiver.recv(), receiver.recv()])
        });
        thread::yield_now();
        let second = sender.clone();
        sender.send('a').unwrap();
        drop(sender);
        thread::yield_now();
        second.send('b').unwrap();
        drop(second);
        for reader in readers {
            let heard = reader.join().unwrap();
            assert_eq!(heard, [Ok('a'), Ok('b'), Err(RecvError::Closed)]);
        }
        assert_eq!((late.try_recv(), late.try_recv()), (Ok('a'), Ok('b')));
        assert_eq!(late.try_recv(), Err(TryRecvError::Closed));
        assert_eq!(late.recv(), Err(RecvError::Closed));
        assert_eq!(late.resubscribe().try_recv(), Err(TryRecvError::Closed));
    });
}

#[test]
fn without_receivers_a_message_is_given_back() {
    check(|| {
        let (sender, receiver) = broadcast::channel(4);
        sender.send(1).unwrap();
        drop(receiver);
        assert_eq!(sender.send(2).unwrap_err().0, 2);
        assert!(sender.is_empty());
        let mut receiver = sender.subscribe();
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        sender.send(3).unwrap();
        assert_eq!(receiver.recv(), Ok(3));
    });
}

#[test]
fn a_message_is_freed_when_no_receiver_is_to_get_it_any_more() {
    check(|| {
        let value = Rc::new(());
        let alive = || Rc::strong_count(&value) - 1;
        let (sender, mut first) = broadcast::channel(3);
        let mut second = sender.subscribe();
        for _ in 0..3 {
            sender.send(value.clone()).unwrap();
        }
        // The newest message pushes out the oldest.
        sender.send(value.clone()).unwrap();
        assert_eq!((alive(), sender.len()), (3, 3));
        drop((first.try_recv(), first.try_recv()));
        assert_eq!(alive(), 3, "another is to get it");
        drop((second.try_recv(), second.try_recv(), second.try_recv()));
        assert_eq!((alive(), sender.len()), (2, 2));
        // A receiver that is dropped gets no more messages.
        let third = sender.subscribe();
        sender.send(value.clone()).unwrap();
        drop(first);
        assert_eq!((alive(), sender.len()), (2, 2));
        drop((second.try_recv(), second.try_recv()));
        assert_eq!((alive(), sender.len()), (1, 1));
        drop(third);
        assert_eq!((alive(), sender.len()), (0, 0));
        sender.send(value.clone()).unwrap();
        drop(sender);
        assert_eq!(alive(), 1, "it can be got");
        drop(second);
        assert_eq!(alive(), 0);
    });
}

#[test]
fn a_receiver_that_goes_loses_nothing_for_the_others_nor_for_itself() {
    check(|| {
        let (sender, receiver) = broadcast::channel(4);
        let waits = |limit| {
            let mut receiver = receiver.resubscribe();
            thread::spawn(move || {
                let message = time::timeout(limit, || receiver.recv());
                (message.ok(), receiver)
            })
        };
        let (gone, late, stays) = (waits(HOUR), waits(Duration::from_millis(1)), waits(HOUR));
        thread::yield_now();
        gone.cancel();
        let (message, mut late) = late.join().unwrap();
        assert_eq!(message, None);
        sender.send("hi").unwrap();
        assert!(gone.join().unwrap_err().is::<Cancelled>());
        assert_eq!(late.recv(), Ok("hi"));
        assert_eq!(stays.join().unwrap().0, Some(Ok("hi")));
    });
}

#[test]
fn a_destructor_may_use_the_channel_that_its_message_was_in() {
    check(|| {
        type Message = Rc<OnDrop<Box<dyn FnMut()>>>;
        fn message(f: impl FnMut() + 'static) -> Message {
            Rc::new(OnDrop(Box::new(f)))
        }
        let (sender, mut receiver) = broadcast::channel::<Message>(1);
        let seen = Rc::new(RefCell::new(Vec::new()));
        // The next message pushes this message out. The next message is there already, and another
        // message can be sent.
        let (theirs, log) = (sender.clone(), seen.clone());
        let pushes = message(move || {
            log.borrow_mut()
                .push((theirs.len(), theirs.receiver_count()));
            theirs.send(message(|| ())).map_err(drop).unwrap();
        });
        sender.send(pushes).map_err(drop).unwrap();
        sender.send(message(|| ())).map_err(drop).unwrap();
        assert_eq!(*seen.borrow(), [(1, 1)]);
        assert_eq!(receiver.try_recv().map(drop), Err(TryRecvError::Lagged(2)));
        assert!(receiver.try_recv().is_ok());
        // The message is freed with the last receiver, so there is no receiver any more.
        let (theirs, log) = (sender.clone(), seen.clone());
        let last = message(move || {
            let refused = theirs.send(message(|| ())).is_err();
            log.borrow_mut().push((theirs.len(), usize::from(refused)));
        });
        sender.send(last).map_err(drop).unwrap();
        drop(receiver);
        assert_eq!(seen.borrow()[1..], [(0, 1)]);
    });
}

/// Sends another message, or panics, when it is cloned.
struct Busy {
    number: u32,
    sender: Option<broadcast::Sender<Self>>,
    panics: Rc<Cell<bool>>,
}

impl Clone for Busy {
    fn clone(&self) -> Self {
        assert!(!self.panics.get(), "it is too busy");
        if let Some(sender) = &self.sender {
            let more = Self {
                number: self.number + 10,
                sender: None,
                panics: self.panics.clone(),
            };
            sender.send(more).map_err(drop).unwrap();
        }
        Self {
            number: self.number,
            sender: None,
            panics: self.panics.clone(),
        }
    }
}

#[test]
fn a_clone_may_use_the_channel_or_panic() {
    check(|| {
        let (sender, mut first) = broadcast::channel(4);
        let mut second = sender.subscribe();
        let panics = Rc::new(Cell::new(false));
        let busy = |number, sender| Busy {
            number,
            sender,
            panics: panics.clone(),
        };
        let sent = sender.send(busy(1, Some(sender.clone())));
        assert!(sent.is_ok());
        let number = |got: Result<Busy, RecvError>| got.map(|busy| busy.number);
        // The clone for the first receiver sends; the second receiver gets the message itself.
        assert_eq!(number(first.recv()), Ok(1));
        assert_eq!((number(first.recv()), first.len()), (Ok(11), 0));
        assert_eq!(
            (number(second.recv()), number(second.recv())),
            (Ok(1), Ok(11))
        );
        assert!(sender.is_empty());
        // A message whose clone panics counts as received, and blocks no other message.
        assert!(sender.send(busy(2, None)).is_ok());
        assert!(sender.send(busy(3, None)).is_ok());
        panics.set(true);
        let receives = thread::spawn(move || {
            let caught = thread::catch_panic(std::panic::AssertUnwindSafe(|| first.recv()));
            (caught.is_err(), first)
        });
        let (panicked, mut first) = receives.join().unwrap();
        assert!(panicked);
        panics.set(false);
        assert_eq!(number(first.recv()), Ok(3));
        assert_eq!(
            (number(second.recv()), number(second.recv())),
            (Ok(2), Ok(3))
        );
        assert!(sender.is_empty());
    });
}

/// A message whose destructor lets other ethreads run.
struct Slow(u32);

impl Clone for Slow {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        thread::yield_now();
    }
}

#[test]
fn a_receiver_that_goes_slowly_does_not_mix_up_the_messages_of_others() {
    check(|| {
        let (sender, mut stays) = broadcast::channel(8);
        let goes = sender.subscribe();
        sender.send(Slow(4)).ok();
        assert_eq!(stays.recv().map(|message| message.0), Ok(4));
        sender.send(Slow(5)).ok();
        // This receiver is the last that has message 4 to come, and drops that message.
        let goes = thread::spawn(move || drop(goes));
        thread::yield_now();
        sender.send(Slow(6)).ok();
        let got = [stays.try_recv(), stays.try_recv()];
        assert_eq!(got.map(|got| got.map(|message| message.0)), [Ok(5), Ok(6)]);
        goes.join().unwrap();
    });
}
