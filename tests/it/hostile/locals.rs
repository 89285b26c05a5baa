//! Ethread-local values.

use std::cell::{Cell, RefCell};

use ethreads::thread::{self, Local};

use super::kit::{Hostile, Kit};
use super::{Play, Row, row};

static VALUE: Local<Hostile> = Local::new(Hostile::default);
static INHERITED: Local<Hostile> = Local::inherited(Hostile::default, Hostile::clone);
static CELL: Local<Cell<Option<Hostile>>> = Local::new(|| Cell::new(None));
static LIST: Local<RefCell<Vec<Hostile>>> = Local::new(|| RefCell::new(Vec::new()));
static NUMBER: Local<Cell<u32>> = Local::new(|| Cell::new(0));

/// Checks that the next ethread in the same slot finds no value of the last one.
fn check() {
    for _ in 0..3 {
        let found = thread::spawn(|| {
            let number = NUMBER.get();
            (number, LIST.with_borrow(Vec::len), CELL.take().is_none())
        });
        assert_eq!(found.join().unwrap(), (0, 0, true));
    }
}

/// Makes a re-entrant value set `NUMBER`, and checks the locals at the end.
fn play(kit: &Kit, call: impl FnOnce(Kit) + 'static) -> Play {
    kit.again(|| NUMBER.set(7));
    let kit = kit.clone();
    Play::new(move || call(kit), |_| check())
}

fn settle() {
    (0..20).for_each(|_| thread::yield_now());
}

pub(super) fn rows() -> Vec<Row> {
    vec![
        row("thread::Local::with", "Fn", |kit| {
            play(kit, |kit| VALUE.with(|_| kit.call()))
        }),
        row("thread::Local::with", "Default", |kit| {
            play(kit, |_| {
                let found = std::panic::catch_unwind(|| VALUE.with(|value| format!("{value:?}")));
                if let Err(payload) = found {
                    // The next access makes the value.
                    VALUE.with(|value| drop(format!("{value:?}")));
                    std::panic::resume_unwind(payload);
                }
            })
        }),
        row("thread::Local::with", "Drop", |kit| {
            play(kit, |_| {
                let ends = thread::spawn(|| VALUE.with(|_| NUMBER.set(1)));
                ends.join().unwrap();
            })
        }),
        row("thread::Local::inherited", "Clone", |kit| {
            play(kit, |_| {
                INHERITED.with(|_| ());
                let child = thread::spawn(|| INHERITED.with(|_| NUMBER.get()));
                child.join().unwrap();
            })
        }),
        row("thread::Local::inherited", "Drop", |kit| {
            // The dropped values are those of a child that does not begin, and of a child that
            // does.
            play(kit, |_| {
                INHERITED.with(|_| ());
                let child = thread::spawn(|| NUMBER.set(1));
                child.cancel();
                std::mem::forget(child.join());
                thread::spawn(|| NUMBER.set(1)).join().unwrap();
            })
        }),
        row("thread::Local::inherited", "Clone", |kit| {
            // The clone is made while a scope spawns a child.
            play(kit, |_| {
                let words = vec![7; 1000];
                INHERITED.with(|_| ());
                thread::scope(|scope| {
                    scope.spawn(|| {
                        settle();
                        assert_eq!(words[999], 7);
                    });
                    scope.spawn(|| assert_eq!(words[998], 7));
                });
            })
        }),
        row("thread::Local::set", "Drop", |kit| {
            play(kit, |kit| {
                CELL.set(Some(kit.value()));
                CELL.set(Some(kit.value()));
                drop(CELL.take());
            })
        }),
        row("thread::Local::replace", "Drop", |kit| {
            play(kit, |kit| drop(CELL.replace(Some(kit.value()))))
        }),
        row("thread::Local::take", "Drop", |kit| {
            play(kit, |kit| {
                CELL.set(Some(kit.value()));
                drop(CELL.take());
            })
        }),
        row("thread::Local::take", "Default", |kit| {
            static DEFAULT: Local<Cell<Hostile>> = Local::new(|| Cell::new(Hostile::default()));
            // `Default` runs once for the first value, and once for the value that `take` leaves.
            play(kit, |_| drop(DEFAULT.take()))
        })
        .times(2),
        row("thread::Local::with_borrow", "Fn", |kit| {
            play(kit, |kit| LIST.with_borrow(|_| kit.call()))
        }),
        row("thread::Local::with_borrow_mut", "Fn", |kit| {
            play(kit, |kit| {
                LIST.with_borrow_mut(|list| {
                    list.push(kit.value());
                    kit.call();
                });
            })
        }),
        row("thread::Local::with", "Drop", |kit| {
            // The dropped value is a result that is not joined, after the locals are dropped.
            play(kit, |kit| {
                let value = kit.value();
                drop(thread::spawn(move || {
                    NUMBER.set(1);
                    value
                }));
                settle();
                check();
            })
        })
        .called("after the end"),
        row("thread::Local::with", "Drop", |kit| {
            // Dropping a result that is not joined makes a local value, whose own drop waits.
            kit.again(|| VALUE.with(|_| ()));
            let kit = kit.clone();
            Play::new(
                move || {
                    let value = kit.value();
                    drop(thread::spawn(move || value));
                    settle();
                },
                |_| check(),
            )
        })
        .called("after the end"),
    ]
}

#[test]
fn locals_stay_apart() {
    super::run_all(rows());
}
