//! Suspended ethreads whose handles other OS threads hold.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread as os;

use ethreads::Runtime;
use ethreads::bridge::{self, RemoteSuspended, Suspended};
use ethreads::thread::{self, Cancelled, JoinHandle};

use crate::bridge::support::{OsThread, until_asleep};
use crate::support::{deadlock, fresh, text};

/// Runs `test` as the root ethread of a runtime of its own.
fn run<T: 'static>(test: impl FnOnce() -> T + 'static) -> T {
    Runtime::builder().run(test).unwrap()
}

/// Spawns an ethread that waits for a value from another OS thread. Returns its handle and the
/// means to resume it.
fn waiter<T: Send + 'static>() -> (JoinHandle<T>, RemoteSuspended<T>) {
    let slot = Rc::new(RefCell::new(None));
    let theirs = slot.clone();
    let handle = thread::spawn(move || {
        bridge::suspend(|me: Suspended<T>| *theirs.borrow_mut() = Some(me.into_remote()))
    });
    thread::yield_now();
    (handle, slot.take().expect("it has run"))
}

#[test]
fn a_handle_goes_anywhere() {
    fn is_send_and_sync<T: Send + Sync + 'static>() {}
    is_send_and_sync::<RemoteSuspended<Cell<u8>>>();
}

#[test]
fn resumed_before_the_shard_waits() {
    run(|| {
        let value = bridge::suspend(|me| {
            let me = me.into_remote();
            os::spawn(move || me.resume(7)).join().unwrap();
        });
        assert_eq!(value, 7);
    });
}

#[test]
fn resumed_while_the_shard_waits() {
    run(|| {
        let shard = OsThread::current();
        let value = bridge::suspend(|me| {
            let me = me.into_remote();
            os::spawn(move || {
                until_asleep(&shard);
                me.resume(8);
            });
        });
        assert_eq!(value, 8);
    });
}

#[test]
fn resumed_while_the_shard_is_busy() {
    run(|| {
        let (caller, me) = waiter();
        os::spawn(move || me.resume(9)).join().unwrap();
        while !caller.is_finished() {
            thread::yield_now();
        }
        assert_eq!(caller.join().unwrap(), 9);
    });
}

#[test]
fn a_closure_is_carried_to_the_ethread_and_runs_there() {
    run(|| {
        let (caller, me) = waiter();
        let elsewhere = os::spawn(move || {
            me.resume_with(|| (os::current().id(), thread::current().id()));
            os::current().id()
        });
        let id = caller.thread().id();
        let given = caller.join().unwrap();
        assert_ne!(elsewhere.join().unwrap(), given.0);
        assert_eq!(given, (os::current().id(), id));
    });
}

#[test]
fn a_panic_of_that_closure_is_the_ethreads_own() {
    run(|| {
        let (caller, me) = waiter::<()>();
        let elsewhere = os::spawn(move || me.resume_with(|| panic!("sent over")));
        assert_eq!(text(&*caller.join().unwrap_err()), "sent over");
        elsewhere.join().unwrap();
    });
}

#[test]
fn dropping_the_handle_elsewhere_unwinds_the_ethread() {
    run(|| {
        let (caller, me) = waiter::<()>();
        os::spawn(move || drop(me)).join().unwrap();
        assert!(caller.join().unwrap_err().is::<Cancelled>());

        let masked = thread::spawn(|| {
            thread::uncancellable(|| bridge::suspend(|me: Suspended<()>| drop(me.into_remote())))
        });
        let payload = masked.join().unwrap_err();
        assert!(text(&*payload).contains("cannot be cancelled"));
    });
}

#[test]
fn an_os_thread_that_ends_takes_the_handles_in_its_locals_with_it() {
    thread_local! {
        static KEPT: RefCell<Option<RemoteSuspended<u8>>> = const { RefCell::new(None) };
    }
    run(|| {
        let (caller, me) = waiter();
        os::spawn(move || KEPT.set(Some(me))).join().unwrap();
        assert!(caller.join().unwrap_err().is::<Cancelled>());
    });
}

#[test]
fn while_a_handle_lives_nothing_is_a_deadlock() {
    fresh(|| {
        let (caller, me) = waiter::<()>();
        let stuck = thread::Builder::new()
            .name("bystander")
            .spawn(|| thread::park())
            .unwrap();
        let shard = OsThread::current();
        let elsewhere = os::spawn(move || {
            // The shard sleeps now, and has not reported a deadlock.
            until_asleep(&shard);
            drop(me);
        });
        // Without the handle nothing can wake the other ethread.
        let report = deadlock(ethreads::run());
        elsewhere.join().unwrap();
        let [parked] = report.parked() else {
            panic!("{report}")
        };
        assert_eq!(parked.name.as_deref(), Some("bystander"));
        assert!(caller.join().unwrap_err().is::<Cancelled>());
        stuck.thread().unpark();
        ethreads::run().unwrap();
    });
}

#[test]
fn a_cancel_that_came_first_leaves_the_handle_harmless() {
    run(|| {
        let (caller, me) = waiter();
        caller.cancel();
        assert!(caller.join().unwrap_err().is::<Cancelled>());
        // The next ethread takes the same slot, and waits for something of its own.
        let next = thread::spawn(|| thread::park());
        thread::yield_now();
        os::spawn(move || me.resume(1)).join().unwrap();
        thread::yield_now();
        thread::yield_now();
        assert!(!next.is_finished());
        next.thread().unpark();
        next.join().unwrap();
    });
}

#[test]
fn a_handle_outlives_its_shard() {
    let me = fresh(|| {
        let (sender, receiver) = mpsc::channel();
        Runtime::builder()
            .run(move || {
                let (caller, me) = waiter();
                drop(caller);
                sender.send(me).unwrap();
            })
            .unwrap();
        receiver.recv().unwrap()
    });
    me.resume("to no peer");
}

#[test]
fn many_are_resumed_from_many_os_threads() {
    const OS_THREADS: usize = 4;
    const EACH: usize = 250;
    run(|| {
        let (callers, handles): (Vec<_>, Vec<_>) = (0..OS_THREADS * EACH)
            .map(|n| {
                let (caller, me) = waiter();
                ((n, caller), (n, me))
            })
            .unzip();
        let mut handles = handles.into_iter();
        let resumers: Vec<_> = (0..OS_THREADS)
            .map(|_| {
                let mine: Vec<_> = handles.by_ref().take(EACH).collect();
                os::spawn(move || mine.into_iter().for_each(|(n, me)| me.resume(n)))
            })
            .collect();
        for (n, caller) in callers {
            assert_eq!(caller.join().unwrap(), n);
        }
        resumers.into_iter().for_each(|os| os.join().unwrap());
    });
}
