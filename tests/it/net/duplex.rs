//! Streams in memory.

use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;

use ethreads::io::duplex;
use ethreads::time::{self, Elapsed};
use ethreads::{RunError, spawn, thread};

use crate::support::fresh;

/// Bytes that differ from their neighbours at every distance below 251.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % 251) as u8).collect()
}

#[test]
fn both_directions_carry_more_than_they_hold_at_once() {
    fresh(|| {
        for capacity in [1, 7, 4096] {
            let (near, far) = duplex(capacity);
            let (near, far) = (Rc::new(near), Rc::new(far));
            let data = pattern(20_000);
            let ends = [(near.clone(), far.clone()), (far, near)].map(|(from, to)| {
                let sent = data.clone();
                let sender = spawn(move || {
                    (&*from).write_all(&sent)?;
                    from.shutdown(Shutdown::Write);
                    io::Result::Ok(())
                });
                let receiver = spawn(move || {
                    let mut received = Vec::new();
                    (&*to).read_to_end(&mut received).map(|_| received)
                });
                (sender, receiver)
            });
            for (sender, receiver) in ends {
                assert_eq!(receiver.join().unwrap().unwrap(), data, "{capacity}");
                sender.join().unwrap().unwrap();
            }
        }
    });
}

#[test]
fn after_a_drop_the_peer_reads_what_is_left_and_cannot_write() {
    fresh(|| {
        let (mut near, mut far) = duplex(8);
        assert_eq!(near.write(b"last words").unwrap(), 8, "there is room for 8");
        assert_eq!(far.write(b"unread").unwrap(), 6);
        drop(near);
        let mut left = String::new();
        far.read_to_string(&mut left).unwrap();
        assert_eq!(left, "last wor");
        assert_eq!(far.read(&mut [0; 8]).unwrap(), 0);
        assert_eq!(far.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(far.write(b"").unwrap(), 0);
    });
}

#[test]
fn a_shutdown_wakes_the_waiters_of_its_half_only() {
    fresh(|| {
        let (near, far) = duplex(1);
        let (near, far) = (Rc::new(near), Rc::new(far));
        (&*near).write_all(b"x").unwrap();
        let writer = near.clone();
        let writes = spawn(move || (&*writer).write(b"y"));
        let reader = near.clone();
        let reads = spawn(move || (&*reader).read(&mut [0; 1]));
        thread::yield_now();
        assert!(!writes.is_finished() && !reads.is_finished());
        far.shutdown(Shutdown::Read);
        assert_eq!(
            writes.join().unwrap().unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );
        thread::yield_now();
        assert!(!reads.is_finished(), "the other direction goes on");
        (&*far).write_all(b"z").unwrap();
        assert_eq!(reads.join().unwrap().unwrap(), 1);
        assert_eq!((&*far).read(&mut [0; 1]).unwrap(), 0, "it was refused");
        near.shutdown(Shutdown::Both);
        assert_eq!((&*near).read(&mut [0; 1]).unwrap(), 0);
    });
}

#[test]
fn timeouts_and_scopes_end_a_wait() {
    fresh(|| {
        let (near, mut far) = duplex(1);
        assert_eq!(
            near.set_read_timeout(Some(Duration::ZERO))
                .unwrap_err()
                .kind(),
            ErrorKind::InvalidInput
        );
        near.set_read_timeout(Some(Duration::from_millis(1)))
            .unwrap();
        near.set_write_timeout(Some(Duration::from_millis(1)))
            .unwrap();
        assert_eq!(
            (&near).read(&mut [0; 1]).unwrap_err().kind(),
            ErrorKind::TimedOut
        );
        (&near).write_all(b"x").unwrap();
        assert_eq!((&near).write(b"y").unwrap_err().kind(), ErrorKind::TimedOut);
        far.read_exact(&mut [0; 1]).unwrap();
        // A scope's deadline is an ordinary error of the call.
        let late = time::timeout(Duration::from_millis(1), || {
            let error = far.read(&mut [0; 1]).unwrap_err();
            assert!(error.get_ref().unwrap().is::<Elapsed>(), "{error}");
            error.kind()
        });
        assert!(matches!(late, Ok(ErrorKind::TimedOut) | Err(_)), "{late:?}");
        // No timed-out waiter takes what comes later.
        (&near).write_all(b"z").unwrap();
        assert_eq!(far.read(&mut [0; 4]).unwrap(), 1);
    });
}

#[test]
fn a_cancelled_reader_does_not_keep_the_next_one_waiting() {
    fresh(|| {
        let (near, far) = duplex(4);
        let far = Rc::new(far);
        let readers = [(), ()].map(|()| {
            let far = far.clone();
            spawn(move || (&*far).read(&mut [0; 4]))
        });
        thread::yield_now();
        let [first, second] = readers;
        first.cancel();
        (&near).write_all(b"abc").unwrap();
        assert!(
            first
                .join()
                .unwrap_err()
                .is::<ethreads::thread::Cancelled>()
        );
        assert_eq!(second.join().unwrap().unwrap(), 3);
    });
}

#[test]
fn several_readers_share_what_comes() {
    fresh(|| {
        let (near, far) = duplex(64);
        let far = Rc::new(far);
        let readers: Vec<_> = (0..5)
            .map(|_| {
                let far = far.clone();
                spawn(move || {
                    let mut sum = 0;
                    let mut byte = [0];
                    while (&*far).read(&mut byte).unwrap() == 1 {
                        sum += u64::from(byte[0]);
                    }
                    sum
                })
            })
            .collect();
        let data = pattern(1000);
        (&near).write_all(&data).unwrap();
        drop(near);
        let sums = readers.into_iter().map(|reader| reader.join().unwrap());
        let expected = data.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        assert_eq!(sums.sum::<u64>(), expected);
    });
}

#[test]
fn a_stream_that_is_always_ready_lets_the_others_run() {
    fresh(|| {
        let seen = Rc::new(Cell::new(false));
        let theirs = seen.clone();
        let other = spawn(move || theirs.set(true));
        let busy = spawn(move || {
            let (mut near, mut far) = duplex(1);
            while !seen.get() {
                near.write_all(b"x").unwrap();
                far.read_exact(&mut [0; 1]).unwrap();
            }
        });
        busy.join().unwrap();
        other.join().unwrap();
    });
}

#[test]
fn a_wait_that_nothing_can_end_is_a_deadlock() {
    fresh(|| {
        let (mut near, mut far) = duplex(1);
        far.write_all(b"x").unwrap();
        let reads = spawn(move || near.read_exact(&mut [0; 2]).map(|()| drop(near)));
        let writes = spawn(move || thread::park());
        let Err(RunError::Deadlock(deadlock)) = ethreads::run() else {
            panic!("nothing ends these waits");
        };
        assert_eq!(
            deadlock.parked()[0].waits_for,
            "input of a stream in memory"
        );
        deadlock.cancel_all();
        ethreads::run().unwrap();
        assert!(reads.join().is_err() && writes.join().is_err());
        drop(far);
    });
}

#[test]
#[should_panic(expected = "room for at least one byte")]
fn without_room_it_is_refused() {
    drop(duplex(0));
}

#[test]
fn what_an_ended_shard_has_left_waiting_does_not_disturb_the_next_one() {
    fresh(|| {
        let (near, far) = duplex(2);
        let (near, far) = (Rc::new(near), Rc::new(far));
        let left = far.clone();
        let run = ethreads::Runtime::builder()
            .grace(Duration::from_millis(1))
            .run(move || {
                drop(spawn(move || {
                    thread::uncancellable(|| (&*left).read(&mut [0; 1])).map(drop)
                }));
                thread::yield_now();
            });
        run.unwrap();
        (&*near).write_all(b"ab").unwrap();
        assert_eq!((&*far).read(&mut [0; 2]).unwrap(), 2);
    });
}
