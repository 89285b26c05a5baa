//! `time::timeout` and related calls: what happens at a deadline, before it and after it.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Read, Write};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::time::Duration;

use ethreads::net::UnixStream;
use ethreads::thread::{self, Cancelled};
use ethreads::time::{self, Elapsed};
use ethreads::{bridge, runtime};

use crate::support::{collect_log, fresh, leaving_nothing as check, logged, text};

const HOUR: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(2);

fn elapsed_of(error: &io::Error) -> Option<Elapsed> {
    let source = error.get_ref()?.downcast_ref::<Elapsed>()?;
    Some(*source)
}

#[test]
fn a_scope_that_ends_in_time_leaves_nothing_behind() {
    check(|| {
        assert_eq!(time::timeout(HOUR, || 1), Ok(1));
        let slept = time::timeout(HOUR, || thread::sleep(SOON));
        assert_eq!(slept, Ok(()));
        // The deadline of a scope that has ended has no effect.
        let _ = time::timeout(Duration::ZERO, || ());
        thread::yield_now();
    });
}

#[test]
fn the_error_names_the_line_of_the_scope() {
    check(|| {
        let line = line!() + 1;
        let elapsed = time::timeout(SOON, || thread::sleep(HOUR)).unwrap_err();
        assert_eq!(
            (elapsed.scope.file(), elapsed.scope.line()),
            (file!(), line)
        );
        let text = elapsed.to_string();
        assert!(
            text.starts_with("the deadline of the scope at tests/it/runtime/timeouts.rs:"),
            "{text}"
        );
    });
}

#[test]
fn the_earliest_deadline_counts_whichever_scope_set_it() {
    check(|| {
        // The inner deadline is earlier, and the outer scope goes on.
        let inner = time::timeout(HOUR, || time::timeout(SOON, || thread::sleep(HOUR)));
        assert!(matches!(inner, Ok(Err(_))));
        // The outer deadline is earlier, and the unwinding passes the inner scope.
        let outer = time::timeout(SOON, || {
            let _ = time::timeout(HOUR, || thread::sleep(HOUR));
            unreachable!("it is the outer scope that ends");
        });
        assert!(outer.is_err());
        // The limit of the wait itself is earlier than the deadline.
        let own = time::timeout(HOUR, || thread::park_timeout(SOON));
        assert_eq!(own, Ok(()));
    });
}

#[test]
fn a_timeout_of_the_operation_is_not_taken_for_the_scopes() {
    check(|| {
        let (mut socket, _silent) = UnixStream::pair().unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let error = time::timeout(HOUR, || socket.read(&mut [0]).unwrap_err()).unwrap();
        assert_eq!(
            (error.kind(), elapsed_of(&error)),
            (ErrorKind::TimedOut, None)
        );
    });
}

#[test]
fn libraries_in_between_see_an_io_error() {
    check(|| {
        let (socket, mut peer) = UnixStream::pair().unwrap();
        peer.write_all(b"half a li").unwrap();
        let mut reader = io::BufReader::new(socket);
        let mut line = String::new();
        let read = time::timeout(SOON, || io::BufRead::read_line(&mut reader, &mut line));
        let error = read.expect("it is an error of the call").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(elapsed_of(&error).is_some());
    });
}

#[test]
fn timeout_io_makes_one_error_of_the_two() {
    check(|| {
        let (mut socket, mut peer) = UnixStream::pair().unwrap();
        let read = time::timeout_io(SOON, || socket.read(&mut [0]));
        let slept = time::timeout_io(SOON, || {
            thread::sleep(HOUR);
            Ok(0)
        });
        for error in [read.unwrap_err(), slept.unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert!(elapsed_of(&error).is_some());
        }
        let own = time::timeout_io(HOUR, || Err::<(), _>(ErrorKind::NotFound.into()));
        assert_eq!(own.unwrap_err().kind(), ErrorKind::NotFound);
        peer.write_all(b"x").unwrap();
        assert_eq!(time::timeout_io(HOUR, || socket.read(&mut [0])).unwrap(), 1);
    });
}

#[test]
fn a_retry_loop_lets_others_run_and_is_unwound() {
    check(|| {
        let turns = Rc::new(Cell::new(0));
        let counter = turns.clone();
        let other = thread::spawn(move || {
            loop {
                counter.set(counter.get() + 1);
                thread::yield_now();
            }
        });
        let (mut socket, _silent) = UnixStream::pair().unwrap();
        let tries = RefCell::new(Vec::new());
        let result = time::timeout(Duration::ZERO, || {
            loop {
                let error = socket.read(&mut [0]).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                tries.borrow_mut().push(turns.get());
            }
        });
        assert!(result.is_err());
        let tries = tries.take();
        assert_eq!(tries.len(), 15);
        assert!(tries.windows(2).all(|two| two[0] < two[1]), "{tries:?}");
        other.cancel();
        drop(other.join());
    });
}

#[test]
fn a_peer_that_is_always_ready_cannot_outrun_it() {
    check(|| {
        let (mut socket, peer) = UnixStream::pair().unwrap();
        let reader = thread::spawn(move || io::copy(&mut &peer, &mut io::sink()));
        let mut written = 0u64;
        let result = time::timeout_io(SOON, || {
            loop {
                written += socket.write(&[0; 16])? as u64;
            }
        });
        let error: io::Error = result
            .map(|never: std::convert::Infallible| never)
            .unwrap_err();
        assert!(elapsed_of(&error).is_some());
        drop(socket);
        assert_eq!(reader.join().unwrap().unwrap(), written);
    });
}

#[test]
fn code_that_catches_it_meets_it_again() {
    collect_log();
    check(|| {
        let caught = Rc::new(Cell::new(0));
        let counter = caught.clone();
        let stubborn = thread::Builder::new().name("stubborn beyond its deadline");
        let stubborn = stubborn.spawn(move || {
            time::timeout(Duration::ZERO, || {
                while counter.get() < 17 {
                    let result = panic::catch_unwind(AssertUnwindSafe(|| thread::sleep(HOUR)));
                    assert!(result.is_err());
                    counter.set(counter.get() + 1);
                }
            })
        });
        // The ethread ends by itself, and late.
        assert_eq!(stubborn.unwrap().join().unwrap(), Ok(()));
        assert_eq!(caught.get(), 17);
        let told = logged("'stubborn beyond its deadline'");
        assert_eq!(told.len(), 1);
        assert!(told[0].contains("caught it 16 times"), "{told:?}");
        // `catch_panic` lets the unwinding of a deadline through.
        let caught = Cell::new(false);
        let result = time::timeout(Duration::ZERO, || {
            caught.set(thread::catch_panic(|| thread::sleep(HOUR)).is_err());
        });
        assert_eq!((result.is_err(), caught.get()), (true, false));
    });
}

#[test]
fn a_cancel_passes_and_a_panic_too() {
    check(|| {
        let cancelled = thread::spawn(|| time::timeout(HOUR, || thread::sleep(HOUR)));
        thread::yield_now();
        cancelled.cancel();
        assert!(cancelled.join().unwrap_err().is::<Cancelled>());
        let panicked = thread::spawn(|| time::timeout(HOUR, || panic!("its own")));
        assert_eq!(text(&*panicked.join().unwrap_err()), "its own");
        // Both at once: the cancel concerns the whole ethread.
        let both = thread::spawn(|| time::timeout(Duration::ZERO, || thread::sleep(HOUR)));
        both.thread().unpark();
        thread::yield_now();
        both.cancel();
        drop(both.join());
    });
}

#[test]
fn a_payload_that_is_carried_elsewhere_is_a_panic() {
    check(|| {
        let (sender, receiver) = (Rc::new(Cell::new(None)), Rc::new(Cell::new(None)));
        receiver.set(None::<()>);
        let slot = sender.clone();
        let result = time::timeout(Duration::ZERO, move || {
            let payload = panic::catch_unwind(|| thread::sleep(HOUR)).unwrap_err();
            slot.set(Some(payload));
        });
        assert_eq!(result, Ok(()));
        let payload = sender.take().unwrap();
        // The payload's scope is gone, so another scope of the same ethread takes it for a panic.
        let raised = panic::catch_unwind(AssertUnwindSafe(|| {
            time::timeout(HOUR, || panic::resume_unwind(payload))
        }));
        let payload = raised.unwrap_err();
        // Another ethread does so too, and its root passes the payload to the joiner.
        let payload = AssertUnwindSafe(payload);
        let other = thread::spawn(move || {
            let payload = payload;
            panic::resume_unwind(payload.0)
        });
        let joined: Result<(), _> = other.join();
        assert!(!joined.unwrap_err().is::<Elapsed>());
    });
}

#[test]
fn spawned_ethreads_are_not_in_the_scope() {
    check(|| {
        let free = time::timeout(Duration::ZERO, || {
            thread::spawn(|| {
                thread::sleep(SOON);
                7
            })
        });
        assert_eq!(free.unwrap().join().unwrap(), 7);
    });
}

#[test]
fn suspended_ethreads_time_out_and_their_handles_say_so() {
    check(|| {
        let kept = Rc::new(Cell::new(None));
        let slot = kept.clone();
        let result = time::timeout(SOON, || {
            bridge::suspend(|me: bridge::Suspended<i32>| slot.set(Some(me)))
        });
        assert!(result.is_err());
        assert_eq!(kept.take().unwrap().resume(7), Err(7));
    });
}

#[test]
fn destructors_may_open_scopes_while_they_unwind() {
    check(|| {
        let unwinds = thread::spawn(|| {
            let _destructor = crate::support::OnDrop(|| {
                let (mut socket, _silent) = UnixStream::pair().unwrap();
                let read = time::timeout(Duration::ZERO, || socket.read(&mut [0]));
                let error = read.unwrap().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Other);
                assert_eq!(
                    time::timeout(Duration::ZERO, || thread::sleep(HOUR)),
                    Ok(())
                );
            });
            panic!("on the way");
        });
        assert_eq!(text(&*unwinds.join().unwrap_err()), "on the way");
    });
}

#[test]
fn on_the_os_threads_own_side_waits_are_bounded_too() {
    fresh(|| {
        let forever = thread::spawn(|| thread::sleep(HOUR));
        assert!(time::timeout(SOON, || thread::sleep(HOUR)).is_err());
        let joined = time::timeout(SOON, || forever.join().is_ok());
        assert!(joined.is_err());
        let (mut socket, _silent) = UnixStream::pair().unwrap();
        let error = time::timeout_io(SOON, || socket.read(&mut [0])).unwrap_err();
        assert!(elapsed_of(&error).is_some());
        assert_eq!(runtime::stats().unwrap().scopes, 0);
    });
}

#[test]
fn a_payload_whose_scope_is_gone_is_a_panic_at_the_root_too() {
    let result = fresh(|| {
        ethreads::run_main(|| {
            drop(thread::spawn(|| {
                let mut kept = None;
                let _ = time::timeout(Duration::ZERO, || {
                    kept = panic::catch_unwind(|| thread::sleep(HOUR)).err();
                });
                panic::resume_unwind(kept.unwrap());
            }));
            thread::sleep(SOON);
        })
    });
    assert!(matches!(result, Err(runtime::RunError::Panicked(1))));
}

#[test]
fn on_the_os_threads_own_side_nothing_outruns_a_deadline() {
    fresh(|| {
        let mut turns = 0u64;
        let yields = time::timeout(SOON, || {
            while turns < 100_000_000 {
                turns += 1;
                thread::yield_now();
            }
        });
        assert!(yields.is_err());
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let result = time::timeout_io(SOON, || {
            for _ in 0..100_000_000u64 {
                ours.write_all(b"x")?;
                theirs.read_exact(&mut [0])?;
            }
            Ok(())
        });
        assert!(elapsed_of(&result.unwrap_err()).is_some());
    });
}

#[test]
fn what_has_arrived_in_time_is_read_though_it_is_reported_late() {
    check(|| {
        // More descriptors than a driver reports at once.
        let mut peers = Vec::new();
        let readers: Vec<_> = (0..200)
            .map(|_| {
                let (mut ours, theirs) = UnixStream::pair().unwrap();
                peers.push(theirs);
                thread::spawn(move || time::timeout_io(10 * SOON, || ours.read(&mut [0])).is_ok())
            })
            .collect();
        thread::yield_now();
        for peer in &mut peers {
            peer.write_all(b"x").unwrap();
        }
        // All deadlines pass while no other ethread can run.
        let end = std::time::Instant::now() + 20 * SOON;
        while std::time::Instant::now() < end {}
        for reader in readers {
            assert!(reader.join().unwrap());
        }
    });
}

#[test]
fn errors_are_not_taken_for_unwindings_that_were_caught() {
    collect_log();
    check(|| {
        let cleaner = thread::Builder::new().name("cleans up beyond its deadline");
        let cleaner = cleaner.spawn(|| {
            let (mut socket, _silent) = UnixStream::pair().unwrap();
            for _ in 0..2 {
                let result = time::timeout(Duration::ZERO, || {
                    (0..15).for_each(|_| assert!(socket.read(&mut [0]).is_err()));
                    thread::sleep(HOUR);
                });
                assert!(result.is_err());
                let result = time::timeout(Duration::ZERO, || {
                    loop {
                        assert!(socket.read(&mut [0]).is_err());
                    }
                });
                assert!(result.is_err());
            }
        });
        cleaner.unwrap().join().unwrap();
        assert_eq!(logged("'cleans up beyond its deadline'").len(), 0);
    });
}

#[test]
fn files_on_the_pool_fail_like_other_io() {
    check(|| {
        for _ in 0..30 {
            let file = std::fs::File::open("/proc/self/maps").unwrap();
            let file = ethreads::io::Eport::new(file).unwrap();
            // The read may be done in time.
            let read = time::timeout(Duration::ZERO, || (&file).read(&mut [0; 100]));
            if let Err(error) = read.expect("an io::Result does not unwind") {
                assert!(elapsed_of(&error).is_some());
            }
        }
    });
}

#[test]
fn calls_with_an_io_result_never_unwind_before_they_have_failed() {
    check(|| {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        for n in 0..2000u64 {
            let limit = Duration::from_nanos(20_000 + n * 7919 % 600_000);
            let result = time::timeout(limit, || -> io::Result<()> {
                loop {
                    ours.write_all(b"x")?;
                    theirs.read_exact(&mut [0])?;
                }
            });
            let error = result.expect("it has not failed before").unwrap_err();
            assert!(elapsed_of(&error).is_some());
            // A byte may be left in the socket.
            theirs.set_nonblocking(true).unwrap();
            let _ = theirs.read(&mut [0]);
            theirs.set_nonblocking(false).unwrap();
        }
    });
}

#[cfg(feature = "sim")]
mod on_the_virtual_clock {
    use ethreads::sim;
    use ethreads::time::{Instant, MissedTick};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn deadlines_are_met_exactly() {
        sim::run(1, || {
            let start = Instant::now();
            let result = time::deadline(start + 5 * SECOND, || thread::sleep(HOUR));
            assert!(result.is_err());
            assert_eq!(start.elapsed(), 5 * SECOND);
            // The deadline comes at the same time as the end of the wait: the deadline counts.
            let result = time::timeout(SECOND, || thread::sleep(SECOND));
            assert!(result.is_err());
            let just = time::timeout(SECOND + Duration::from_nanos(1), || thread::sleep(SECOND));
            assert_eq!(just, Ok(()));
        })
        .unwrap();
    }

    /// When each tick is due and when it is given, in halves of a period. The third tick is waited
    /// for 3.5 periods late.
    fn ticks(missed: MissedTick) -> Vec<(u128, u128)> {
        sim::run(1, move || {
            let start = Instant::now();
            let halves = |at: Instant| at.duration_since(start).as_millis() / 500;
            let mut interval = time::interval(SECOND).missed_tick(missed);
            assert_eq!(interval.period(), SECOND);
            let mut seen = Vec::new();
            for n in 0..8 {
                let due = interval.tick();
                seen.push((halves(due), halves(Instant::now())));
                if n == 1 {
                    thread::sleep(Duration::from_millis(4500));
                }
            }
            seen
        })
        .unwrap()
    }

    #[test]
    fn ticks_may_be_for_ever_apart() {
        sim::run(1, || {
            for missed in [MissedTick::Burst, MissedTick::Delay, MissedTick::Skip] {
                let mut interval = time::interval(Duration::MAX).missed_tick(missed);
                interval.tick();
                assert!(time::timeout(HOUR, || interval.tick()).is_err());
                interval.reset();
            }
        })
        .unwrap();
    }

    #[test]
    fn an_unpark_during_the_pause_of_a_stubborn_one_is_not_lost() {
        sim::run(1, || {
            let stubborn = thread::spawn(|| {
                let _ = time::timeout(Duration::ZERO, || {
                    for _ in 0..16 {
                        let _ = panic::catch_unwind(|| thread::park());
                    }
                });
                time::timeout(HOUR, || thread::park()).is_ok()
            });
            // The stubborn ethread is in its pause.
            thread::sleep(Duration::from_millis(50));
            stubborn.thread().unpark();
            assert!(stubborn.join().unwrap());
        })
        .unwrap();
    }

    #[test]
    fn missed_ticks_come_as_one_likes() {
        let burst = [
            (0, 0),
            (2, 2),
            (4, 11),
            (6, 11),
            (8, 11),
            (10, 11),
            (12, 12),
            (14, 14),
        ];
        assert_eq!(ticks(MissedTick::Burst), burst);
        let delay = [
            (0, 0),
            (2, 2),
            (4, 11),
            (13, 13),
            (15, 15),
            (17, 17),
            (19, 19),
            (21, 21),
        ];
        assert_eq!(ticks(MissedTick::Delay), delay);
        let skip = [
            (0, 0),
            (2, 2),
            (4, 11),
            (12, 12),
            (14, 14),
            (16, 16),
            (18, 18),
            (20, 20),
        ];
        assert_eq!(ticks(MissedTick::Skip), skip);
    }

    #[test]
    fn a_tick_that_is_cut_short_is_the_next_one() {
        sim::run(1, || {
            let start = Instant::now();
            let mut interval = time::interval_at(start + SECOND, SECOND);
            assert!(time::timeout(SECOND / 2, || interval.tick()).is_err());
            assert_eq!(interval.tick(), start + SECOND);
            interval.reset();
            thread::sleep(SECOND / 4);
            assert_eq!(interval.tick(), start + 2 * SECOND);
        })
        .unwrap();
    }

    #[test]
    #[should_panic(expected = "the period of an interval must not be zero")]
    fn a_period_of_zero_is_refused() {
        let _ = time::interval(Duration::ZERO);
    }
}
