//! Each value sent over the bridge is dropped exactly once, whichever path it takes.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::thread as os;

use ethreads::bridge::{self, Exit, RemoteSuspended, Suspended};
use ethreads::thread::{self, JoinHandle};
use ethreads::{RunError, Runtime};

use crate::bridge::support::{Counted, Tally};
use crate::support::fresh;

/// The name of a path for values, and a function that sends counted values along it.
type Path = (&'static str, fn(&Tally));

/// Runs each path in a runtime of its own, and checks the counts when the runtime has ended.
fn each_drops_once(paths: &[Path]) {
    for &(name, path) in paths {
        let tally = Tally::default();
        let theirs = tally.clone();
        fresh(move || {
            let run = Runtime::builder().run(move || path(&theirs));
            run.unwrap_or_else(|error| panic!("{name}: {error}"));
        });
        let (made, dropped) = tally.counts();
        assert!(made > 0, "{name}");
        assert_eq!(dropped, made, "{name}");
    }
}

/// Spawns an ethread that waits for a value. Returns its handle and the means to resume it.
fn waiter() -> (JoinHandle<Counted>, Suspended<Counted>) {
    let slot = Rc::new(RefCell::new(None));
    let theirs = slot.clone();
    let handle = thread::spawn(move || bridge::suspend(|me| *theirs.borrow_mut() = Some(me)));
    thread::yield_now();
    (handle, slot.take().expect("it has run"))
}

fn remote_waiter() -> (JoinHandle<Counted>, RemoteSuspended<Counted>) {
    let (caller, me) = waiter();
    (caller, me.into_remote())
}

#[test]
fn from_the_same_shard() {
    each_drops_once(&[
        ("resumed and joined", |tally| {
            let (caller, me) = waiter();
            assert!(me.resume(tally.value()).is_ok());
            drop(caller.join().unwrap());
        }),
        ("resumed and detached", |tally| {
            let (caller, me) = waiter();
            assert!(me.resume(tally.value()).is_ok());
            drop(caller);
            thread::yield_now();
            assert_eq!(tally.counts(), (1, 1));
        }),
        ("resumed and then cancelled", |tally| {
            let (caller, me) = waiter();
            assert!(me.resume(tally.value()).is_ok());
            caller.cancel();
            // The ethread ends without another suspension point.
            drop(caller.join().unwrap());
        }),
        ("resumed and not run before the end", |tally| {
            let (_caller, me) = waiter();
            assert!(me.resume(tally.value()).is_ok());
        }),
        ("too late", |tally| {
            let (caller, me) = waiter();
            caller.cancel();
            let back = me.resume(tally.value()).unwrap_err();
            assert_eq!(tally.counts(), (1, 0));
            drop(back);
        }),
        ("captured by a closure", |tally| {
            let (caller, me) = waiter();
            let (captured, theirs) = (tally.value(), tally.clone());
            let resumed = me.resume_with(move || {
                drop(captured);
                theirs.value()
            });
            assert!(resumed.is_ok());
            drop(caller.join().unwrap());
        }),
        ("captured by a closure that panics", |tally| {
            let (caller, me) = waiter();
            let captured = tally.value();
            let resumed = me.resume_with(move || {
                let _captured = captured;
                panic!("with it in hand")
            });
            assert!(resumed.is_ok());
            assert!(caller.join().is_err());
        }),
        ("captured by a closure that comes too late", |tally| {
            let (caller, me) = waiter();
            caller.cancel();
            let captured = tally.value();
            assert!(me.resume_with(move || captured).is_err());
            assert_eq!(tally.counts(), (1, 1));
        }),
        ("captured by an abandoned ethread", |tally| {
            let captured = tally.value();
            let caller = thread::spawn(move || {
                let _captured = captured;
                bridge::suspend(|_: Suspended<()>| ());
            });
            assert!(caller.join().is_err());
            assert_eq!(tally.counts(), (1, 1));
        }),
        ("captured by the closure of suspend", |tally| {
            let captured = tally.value();
            bridge::suspend(move |me| {
                let _captured = captured;
                assert!(me.resume(()).is_ok());
            });
            assert_eq!(tally.counts(), (1, 1));
        }),
        ("the payload of the closure of suspend", |tally| {
            let payload = tally.value();
            let caller = thread::spawn(move || {
                bridge::suspend(|_: Suspended<()>| panic::panic_any(payload));
            });
            assert!(caller.join().unwrap_err().is::<Counted>());
        }),
    ]);
}

#[test]
fn from_another_os_thread() {
    each_drops_once(&[
        ("resumed", |tally| {
            let (caller, me) = remote_waiter();
            let value = tally.value();
            os::spawn(move || me.resume(value)).join().unwrap();
            drop(caller.join().unwrap());
        }),
        ("resumed, and cancelled before the shard looks", |tally| {
            let (caller, me) = remote_waiter();
            let value = tally.value();
            os::spawn(move || me.resume(value)).join().unwrap();
            caller.cancel();
            assert!(caller.join().is_err());
        }),
        ("resumed by a closure, and cancelled before", |tally| {
            let (caller, me) = remote_waiter();
            let value = tally.value();
            os::spawn(move || me.resume_with(|| value)).join().unwrap();
            caller.cancel();
            assert!(caller.join().is_err());
        }),
        ("too late", |tally| {
            let (caller, me) = remote_waiter();
            caller.cancel();
            assert!(caller.join().is_err());
            let value = tally.value();
            os::spawn(move || me.resume(value)).join().unwrap();
            assert_eq!(tally.counts(), (1, 1));
        }),
        ("a closure that runs", |tally| {
            let (caller, me) = remote_waiter();
            let value = tally.value();
            os::spawn(move || me.resume_with(|| value)).join().unwrap();
            drop(caller.join().unwrap());
        }),
    ]);
}

#[test]
fn after_the_end_of_the_shard() {
    let tally = Tally::default();
    fresh(|| {
        let kept = Rc::new(RefCell::new(Vec::new()));
        let theirs = kept.clone();
        Runtime::builder()
            .run(move || {
                let mut all = Vec::new();
                for _ in 0..2 {
                    let (caller, me) = remote_waiter();
                    drop(caller);
                    all.push(me);
                }
                *theirs.borrow_mut() = all;
            })
            .unwrap();
        let [first, second] = kept.take().try_into().unwrap();
        first.resume(tally.value());
        let value = tally.value();
        second.resume_with(|| value);
        assert_eq!(tally.counts(), (2, 2));
    });
}

#[test]
fn what_a_run_until_is_finished_with() {
    let tally = Tally::default();
    let values = tally.clone();
    fresh(move || {
        drop(bridge::run_until(|exit| exit.finish(values.value())).unwrap());
        assert_eq!(values.counts(), (1, 1));

        // The exit of a failed run drops its value.
        let kept: Rc<RefCell<Option<Exit<Counted>>>> = Rc::default();
        let failed = bridge::run_until(|exit| *kept.borrow_mut() = Some(exit));
        assert!(matches!(failed, Err(RunError::Deadlock(_))));
        kept.take().unwrap().finish(values.value());
        assert_eq!(values.counts(), (2, 2));

        // So does the exit of a run whose closure panics.
        let begins = AssertUnwindSafe(|| {
            bridge::run_until(|exit: Exit<Counted>| {
                exit.finish(values.value());
                panic!("after it was finished");
            })
        });
        assert!(panic::catch_unwind(begins).is_err());
        assert_eq!(values.counts(), (3, 3));
    });
    assert_eq!(tally.counts(), (3, 3));
}

#[test]
fn what_a_wait_without_a_stack_captures() {
    use bridge::Interest::Readable;
    use ethreads::net::UnixStream;
    use ethreads::time::Instant;

    each_drops_once(&[
        ("it began", |tally| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let value = tally.value();
            let waits = bridge::on_ready(&ours, Readable, None, |_| drop(value)).unwrap();
            drop(theirs);
            waits.join().unwrap();
        }),
        ("it returned it", |tally| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let value = tally.value();
            let waits = bridge::on_ready(&ours, Readable, None, |_| value).unwrap();
            drop(theirs);
            drop(waits.join().unwrap());
        }),
        ("it timed out", |tally| {
            let (ours, _theirs) = UnixStream::pair().unwrap();
            let value = tally.value();
            let now = Some(Instant::now());
            let waits = bridge::on_ready(&ours, Readable, now, |_| drop(value)).unwrap();
            waits.join().unwrap();
        }),
        ("it was cancelled", |tally| {
            let (ours, _theirs) = UnixStream::pair().unwrap();
            let value = tally.value();
            let waits = bridge::on_ready(&ours, Readable, None, |_| drop(value)).unwrap();
            waits.cancel();
            assert_eq!(tally.counts(), (1, 0), "on its own stack, at its turn");
            assert!(waits.join().is_err());
        }),
        ("it was left behind", |tally| {
            let (ours, _theirs) = UnixStream::pair().unwrap();
            let value = tally.value();
            drop(bridge::on_ready(&ours, Readable, None, |_| drop(value)).unwrap());
        }),
        ("it was refused", |tally| {
            let (ours, _theirs) = UnixStream::pair().unwrap();
            let port = ethreads::io::Eport::new(std::os::fd::OwnedFd::from(ours)).unwrap();
            port.close();
            let value = tally.value();
            assert!(bridge::on_ready(&port, Readable, None, |_| drop(value)).is_err());
            assert_eq!(tally.counts(), (1, 1));
        }),
    ]);
}
