//! The calls of `sync` that suspend.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ethreads::sync::{Barrier, Condvar, Lazy, Mutex, OnceCell, RwLock, Semaphore, WaitGroup};
use ethreads::thread;

use super::Unwinding::{Aborts, Returns};
use super::{Case, Row, When};

const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn rows() -> Vec<Row> {
    let row = |name, case, unwinding| Row {
        name,
        case,
        result: "()",
        always_suspends: false,
        unwinding,
    };
    let notified = |name, case| Row {
        always_suspends: true,
        ..row(name, case, Returns("()"))
    };
    vec![
        row("sync::Mutex::lock", locks, Aborts),
        row("sync::Semaphore::acquire", |when| acquires(when, 1), Aborts),
        row(
            "sync::Semaphore::acquire_many",
            |when| acquires(when, 2),
            Aborts,
        ),
        row("sync::RwLock::read", reads, Aborts),
        row("sync::RwLock::write", writes, Aborts),
        row(
            "sync::OnceCell::get_or_init",
            |when| makes(when, |cell| cell.get_or_init(|| ())),
            Aborts,
        ),
        row(
            "sync::OnceCell::get_or_try_init",
            |when| {
                makes(when, |cell| {
                    cell.get_or_try_init(|| Ok::<_, ()>(())).unwrap()
                })
            },
            Aborts,
        ),
        row(
            "sync::OnceCell::wait",
            |when| makes(when, OnceCell::wait),
            Aborts,
        ),
        row("sync::Lazy::force", forces, Aborts),
        row("sync::WaitGroup::wait", groups, Aborts),
        row("sync::Barrier::wait", meets, Returns("()")),
        notified("sync::Condvar::wait", |when| {
            notified_of(when, |condvar, mutex| {
                drop(condvar.wait(mutex.lock().unwrap()).unwrap());
            })
        }),
        notified("sync::Condvar::wait_timeout", |when| {
            notified_of(when, |condvar, mutex| {
                drop(condvar.wait_timeout(mutex.lock().unwrap(), HOUR).unwrap());
            })
        }),
        row(
            "sync::Condvar::wait_while",
            |when| {
                let ready = when == When::Ready;
                notified_of(when, move |condvar, mutex| {
                    let guard = mutex.lock().unwrap();
                    drop(condvar.wait_while(guard, |done| !*done && !ready).unwrap());
                })
            },
            Returns("()"),
        ),
    ]
}

/// A call that waits until `held` is dropped, if there is a holder.
fn until_dropped<T: 'static>(held: Option<T>, call: impl FnOnce() + 'static) -> Case {
    let held = Rc::new(RefCell::new(held));
    let call = move || {
        call();
        "()".to_owned()
    };
    Case::new(call, move |_| drop(held.take()))
}

/// An ethread that holds a lock, or permits, until this is dropped.
struct Holder(Rc<RefCell<bool>>, thread::Thread);

impl Drop for Holder {
    fn drop(&mut self) {
        *self.0.borrow_mut() = true;
        self.1.unpark();
    }
}

/// Lets an ethread take something with `hold`, which calls its argument while it holds that.
fn hold(when: When, hold: impl FnOnce(&dyn Fn()) + 'static) -> Option<Holder> {
    if when == When::Ready {
        return None;
    }
    let done = Rc::new(RefCell::new(false));
    let theirs = done.clone();
    let holder = thread::spawn(move || {
        hold(&|| {
            while !*theirs.borrow() {
                thread::park();
            }
        });
    });
    thread::yield_now();
    Some(Holder(done, holder.thread().clone()))
}

fn locks(when: When) -> Case {
    let mutex = Rc::new(Mutex::new(()));
    let theirs = mutex.clone();
    let held = hold(when, move |wait| {
        let _guard = theirs.lock().unwrap();
        wait();
    });
    until_dropped(held, move || drop(mutex.lock().unwrap()))
}

fn acquires(when: When, count: usize) -> Case {
    let semaphore = Rc::new(Semaphore::new(2));
    let theirs = semaphore.clone();
    let held = hold(when, move |wait| {
        let _permits = theirs.acquire_many(2);
        wait();
    });
    until_dropped(held, move || drop(semaphore.acquire_many(count)))
}

fn reads(when: When) -> Case {
    let lock = Rc::new(RwLock::new(()));
    let theirs = lock.clone();
    let held = hold(when, move |wait| {
        let _guard = theirs.write().unwrap();
        wait();
    });
    until_dropped(held, move || drop(lock.read().unwrap()))
}

fn writes(when: When) -> Case {
    let lock = Rc::new(RwLock::new(()));
    let theirs = lock.clone();
    let held = hold(when, move |wait| {
        let _guard = theirs.read().unwrap();
        wait();
    });
    until_dropped(held, move || drop(lock.write().unwrap()))
}

fn makes(when: When, call: fn(&OnceCell<()>) -> &()) -> Case {
    let cell = Rc::new(OnceCell::new());
    let theirs = cell.clone();
    let held = hold(when, move |wait| {
        theirs.get_or_init(wait);
    });
    if when == When::Ready {
        cell.set(()).unwrap();
    }
    until_dropped(held, move || *call(&cell))
}

fn forces(when: When) -> Case {
    let (done, is_ready) = (Rc::new(RefCell::new(false)), when == When::Ready);
    let theirs = done.clone();
    let lazy = Rc::new(Lazy::new(move || {
        while !*theirs.borrow() && !is_ready {
            thread::park();
        }
    }));
    let first = lazy.clone();
    let maker = thread::spawn(move || *Lazy::force(&first));
    thread::yield_now();
    let held = Holder(done, maker.thread().clone());
    until_dropped(Some(held), move || *Lazy::force(&lazy))
}

fn groups(when: When) -> Case {
    let group = WaitGroup::new();
    let member = (when != When::Ready).then(|| group.join());
    until_dropped(member, move || group.wait())
}

fn meets(when: When) -> Case {
    let size = if when == When::Ready { 1 } else { 2 };
    let barrier = Rc::new(Barrier::new(size));
    let theirs = barrier.clone();
    let call = move || {
        barrier.wait();
        "()".to_owned()
    };
    Case::new(call, move |_| {
        assert!(theirs.wait().is_leader());
    })
}

type Shared = Rc<(Condvar, Mutex<bool>)>;

fn notified_of(when: When, call: impl FnOnce(&Condvar, &Mutex<bool>) + 'static) -> Case {
    let shared: Shared = Rc::default();
    let theirs = shared.clone();
    let notify = move |shared: &Shared| {
        *shared.1.lock().unwrap() = true;
        shared.0.notify_one();
    };
    if when == When::Ready {
        let shared = shared.clone();
        // A notification is never there before the wait, but it can come soon.
        drop(thread::spawn(move || notify(&shared)));
    }
    let call = move || {
        call(&shared.0, &shared.1);
        "()".to_owned()
    };
    Case::new(call, move |_| notify(&theirs))
}
