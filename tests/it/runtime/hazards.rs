//! Operations that kill or corrupt a process with naive coroutines, but not with ethreads.

use std::cell::{Cell, RefCell};
use std::os::unix::process::ExitStatusExt;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::time::Duration;

use ethreads::runtime::WouldPark;
use ethreads::{Runtime, bridge, thread};

use crate::support::{OnDrop, PANICS, collect_log, in_child, stderr, text};

const HOUR: Duration = Duration::from_secs(3600);

/// The two ways to unwind: a panic, and a cancel.
const UNWINDINGS: [fn(); 2] = [|| panic!("unwinding"), || thread::park()];

/// Runs `destructor` in an ethread that unwinds, once in each way. Before and after it another
/// ethread gets its turns, and checks that std does not report it as panicking. While `destructor`
/// runs, the other ethread gets no turn.
fn while_unwinding(destructor: fn()) {
    for unwind in UNWINDINGS {
        let run = Runtime::builder().run(move || {
            let looks = Rc::new(Cell::new(0));
            let looker = looks.clone();
            let bystander = thread::spawn(move || {
                loop {
                    assert!(
                        !std::thread::panicking(),
                        "another ethread's unwinding is seen"
                    );
                    looker.set(looker.get() + 1);
                    thread::yield_now();
                }
            });
            let ran = Rc::new(Cell::new(false));
            let (flag, seen) = (ran.clone(), looks.clone());
            let unwinds = thread::spawn(move || {
                let _destructor = OnDrop(move || {
                    let before = seen.get();
                    destructor();
                    assert_eq!(seen.get(), before, "no other ethread ran meanwhile");
                    flag.set(true);
                });
                unwind();
            });
            thread::yield_now();
            unwinds.cancel();
            unwinds.join().unwrap_err();
            assert!(ran.get());
            thread::yield_now();
            assert!(!bystander.is_finished() && looks.get() > 1);
            bystander.cancel();
            bystander.join().unwrap_err();
        });
        run.unwrap();
    }
}

#[test]
fn a_destructor_that_sleeps_does_not() {
    while_unwinding(|| {
        thread::sleep(HOUR);
        thread::sleep_until(ethreads::time::Instant::now() + HOUR);
    });
}

#[test]
fn a_destructor_that_parks_or_yields_does_not() {
    while_unwinding(|| {
        thread::park();
        thread::park_timeout(HOUR);
        thread::yield_now();
    });
}

#[test]
fn a_destructor_that_catches_its_own_panic_still_unwinds() {
    while_unwinding(|| {
        let caught = panic::catch_unwind(|| {
            thread::yield_now();
            panic!("inside the destructor")
        });
        assert_eq!(text(&*caught.unwrap_err()), "inside the destructor");
        thread::sleep(HOUR);
    });
}

#[test]
fn a_destructor_joins_only_an_ended_ethread() {
    while_unwinding(|| {
        let unborn = thread::spawn(|| ());
        let payload = unborn.join().unwrap_err();
        let refusal = payload.downcast::<WouldPark>().unwrap();
        assert_eq!(refusal.location.file(), file!());
        assert!(
            refusal.to_string().contains("while its ethread unwinds"),
            "{refusal}"
        );
    });
    let value = Runtime::builder().run(|| {
        let ended = thread::spawn(|| 5);
        thread::yield_now();
        let slot = Rc::new(Cell::new(0));
        let theirs = slot.clone();
        let mut ended = Some(ended);
        let unwinds = thread::spawn(move || {
            let _destructor = OnDrop(|| theirs.set(ended.take().unwrap().join().unwrap()));
            panic!("on the way");
        });
        unwinds.join().unwrap_err();
        slot.get()
    });
    assert_eq!(value.unwrap(), 5);
}

#[test]
fn a_destructor_that_blocks_does_so_in_place() {
    while_unwinding(|| {
        let here = std::thread::current().id();
        assert_eq!(bridge::blocking(|| std::thread::current().id()), here);
    });
}

thread_local! {
    static CLEANED: Cell<usize> = const { Cell::new(0) };
}

#[test]
fn a_destructor_may_spawn() {
    CLEANED.set(0);
    while_unwinding(|| {
        drop(thread::spawn(|| {
            thread::yield_now();
            assert!(!std::thread::panicking());
            CLEANED.set(CLEANED.get() + 1);
        }));
    });
    assert_eq!(CLEANED.get(), UNWINDINGS.len());
}

#[test]
fn many_unwind_at_once_without_being_mixed_up() {
    let run = Runtime::builder().run(|| {
        let trace = Rc::new(RefCell::new(Vec::new()));
        let handles: Vec<_> = (0..50)
            .map(|n| {
                let trace = trace.clone();
                thread::spawn(move || {
                    let _outer = OnDrop(|| trace.borrow_mut().push((n, "outer")));
                    let caught = panic::catch_unwind(AssertUnwindSafe(|| {
                        let _inner = OnDrop(|| trace.borrow_mut().push((n, "inner")));
                        thread::yield_now();
                        panic!("{n}");
                    }));
                    // The panic is caught, and its payload not dropped: holding a payload is not
                    // unwinding.
                    thread::yield_now();
                    panic::resume_unwind(caught.unwrap_err())
                })
            })
            .collect();
        for (n, handle) in handles.into_iter().enumerate() {
            let payload = handle.join().unwrap_err();
            assert_eq!(text(&*payload), n.to_string());
        }
        trace.take()
    });
    let trace = run.unwrap();
    let expected = |part| (0..50).map(move |n| (n, part));
    assert_eq!(
        trace,
        expected("inner")
            .chain(expected("outer"))
            .collect::<Vec<_>>()
    );
}

#[test]
fn a_suspend_while_unwinding_ends_the_process_with_a_report() {
    let name = "runtime::hazards::a_suspend_while_unwinding_ends_the_process_with_a_report";
    let Some(output) = in_child(name) else {
        let run = Runtime::builder().run(|| {
            let doomed = thread::Builder::new().name("doomed").spawn(|| {
                let _destructor = OnDrop(|| bridge::suspend(|_: bridge::Suspended<()>| ()));
                panic!("on the way");
            });
            drop(doomed.unwrap().join());
        });
        return run.unwrap();
    };
    assert_eq!(output.status.signal(), Some(libc::SIGABRT));
    let printed = stderr(&output);
    assert!(printed.contains("ethread 'doomed' (#"), "{printed}");
    assert!(
        printed.contains("called `suspend` at tests/it/runtime/hazards.rs:"),
        "{printed}"
    );
}

#[test]
fn that_report_does_not_depend_on_the_logger() {
    let name = "runtime::hazards::that_report_does_not_depend_on_the_logger";
    let Some(output) = in_child(name) else {
        collect_log();
        let run = Runtime::builder().run(|| {
            let doomed = thread::Builder::new().name(PANICS).spawn(|| {
                let _destructor = OnDrop(|| bridge::suspend(|_: bridge::Suspended<()>| ()));
                panic!("on the way");
            });
            drop(doomed.unwrap().join());
        });
        return run.unwrap();
    };
    assert_eq!(output.status.signal(), Some(libc::SIGABRT));
    let printed = stderr(&output);
    assert!(printed.contains("called `suspend` at"), "{printed}");
}

/// Calls a callback as a C library does.
extern "C" fn through_c(callback: extern "C-unwind" fn()) {
    callback();
}

extern "C-unwind" fn wait_shortly() {
    thread::park_timeout(Duration::from_millis(1));
}

extern "C-unwind" fn wait_forever() {
    thread::park();
}

#[test]
fn a_cancel_through_c_frames_aborts_unless_it_is_held_back() {
    let name = "runtime::hazards::a_cancel_through_c_frames_aborts_unless_it_is_held_back";
    let held_back = Runtime::builder().run(|| {
        let handle = thread::spawn(|| {
            thread::uncancellable(|| through_c(wait_shortly));
            thread::yield_now();
            unreachable!("the cancel has taken effect");
        });
        thread::yield_now();
        handle.cancel();
        handle.join().unwrap_err().is::<thread::Cancelled>()
    });
    assert!(held_back.unwrap());

    let Some(output) = in_child(name) else {
        let run = Runtime::builder().run(|| {
            let handle = thread::spawn(|| through_c(wait_forever));
            thread::yield_now();
            handle.cancel();
            drop(handle.join());
        });
        return run.unwrap();
    };
    assert_eq!(output.status.signal(), Some(libc::SIGABRT));
    assert!(
        stderr(&output).contains("cannot unwind"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_panic_on_the_schedulers_side_is_raised_from_the_call() {
    let run = Runtime::builder().run(|| {
        let handle = thread::spawn(|| {
            bridge::suspend(|_: bridge::Suspended<()>| panic!("between the ethreads"));
        });
        text(&*handle.join().unwrap_err()).to_owned()
    });
    assert_eq!(run.unwrap(), "between the ethreads");
}

#[test]
fn a_hook_may_ask_which_ethread_panics() {
    // The hook is process-wide, so the test runs in a child process.
    let name = "runtime::hazards::a_hook_may_ask_which_ethread_panics";
    let Some(output) = in_child(name) else {
        panic::set_hook(Box::new(|info| {
            let current = thread::current();
            thread::yield_now();
            eprintln!(
                "{:?} at {}",
                current.name(),
                info.location().unwrap().file()
            );
        }));
        let run = Runtime::builder().run(|| {
            let named =
                |name: &str, body: fn()| thread::Builder::new().name(name).spawn(body).unwrap();
            named("plain", || panic!("plain")).join().unwrap_err();
            // The library may hold a borrow where its own panics are raised.
            named("dropper", || {
                thread::uncancellable(|| bridge::suspend(|me: bridge::Suspended<()>| drop(me)));
            })
            .join()
            .unwrap_err();
            named("nester", || drop(ethreads::run()))
                .join()
                .unwrap_err();
            named("scheduler-side", || {
                bridge::suspend(|_: bridge::Suspended<()>| thread::yield_now());
            })
            .join()
            .unwrap_err();
        });
        return run.unwrap();
    };
    let printed = stderr(&output);
    assert!(output.status.success(), "{printed}");
    for name in ["plain", "dropper", "nester"] {
        assert!(
            printed.contains(&format!("Some(\"{name}\") at ")),
            "{printed}"
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn stacks_are_kept_out_of_huge_pages() {
    let run = Runtime::builder().run(|| {
        let local = 0u8;
        let address = std::ptr::from_ref(&local).addr();
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in maps.lines() {
            if let Some((start, end)) = line.split(' ').next().unwrap().split_once('-') {
                let parse = |hex| usize::from_str_radix(hex, 16).unwrap();
                inside = (parse(start)..parse(end)).contains(&address);
            } else if inside && let Some(flags) = line.strip_prefix("VmFlags:") {
                return flags.split_whitespace().any(|flag| flag == "nh");
            }
        }
        panic!("{address:x} is in no mapping");
    });
    assert!(run.unwrap());
}
