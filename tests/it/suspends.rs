//! Every call that can suspend, in every situation in which it can be made: one table of calls, one
//! test per situation.

mod calls;
mod files;
mod handed;
mod locks;
mod look_ups;
mod remote;
#[cfg(feature = "http")]
mod requests;
mod signals;

use std::cell::RefCell;
use std::os::unix::process::ExitStatusExt;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::time::Duration;

use ethreads::thread::{self, Thread};
use ethreads::{Runtime, bridge, time};

use crate::support::{OnDrop, fresh, in_child, stderr, text};
use calls::rows;
use files::files;
use look_ups::look_ups;
use signals::signals;

/// Whether and how long a call has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// The call need not wait.
    Ready,
    /// The call has to wait, until `wake` is called.
    Waits,
    /// The call has to wait for longer than the test takes.
    Forever,
}

/// A call and what ends its wait.
struct Case {
    /// The call; its result as a text.
    call: Box<dyn FnOnce() -> String>,
    /// Ends the wait. Gets the handle of the caller, and holds the other end of what is waited for.
    wake: Box<dyn FnMut(&Thread)>,
}

impl Case {
    fn new(call: impl FnOnce() -> String + 'static, wake: impl FnMut(&Thread) + 'static) -> Self {
        Self {
            call: Box::new(call),
            wake: Box::new(wake),
        }
    }
}

/// What a call does if it would have to wait while its ethread unwinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unwinding {
    /// Returns at once, with this result.
    Returns(&'static str),
    /// Fails with an error that says that the call would have to wait.
    WouldPark,
    /// Fails likewise, as there is no case in which the call need not wait.
    AlwaysWouldPark,
    /// Ends the process with a report.
    Aborts,
    /// Does its work without a wait for any other ethread.
    InPlace,
}

struct Row {
    /// The name in `tests/suspends.txt`.
    name: &'static str,
    case: fn(When) -> Case,
    /// The result of the call.
    result: &'static str,
    /// The call waits for a turn even if it need not wait for anything else.
    always_suspends: bool,
    unwinding: Unwinding,
}

/// The situations in which every call is made, and what is expected of it.
const SITUATIONS: [fn(Row); 14] = [
    woken,
    still_waiting,
    ready,
    cancelled,
    left_at_the_end,
    masked,
    unwinding_and_ready,
    unwinding,
    outside_an_ethread,
    on_the_schedulers_side,
    beyond_a_deadline,
    beyond_the_deadline_of_an_outer_scope,
    masked_beyond_a_deadline,
    ready_beyond_a_deadline,
];

/// Runs `test` as the root ethread of a runtime.
fn in_a_runtime(row: Row, test: fn(&Row)) {
    let name = row.name;
    let result = Runtime::builder().run(move || test(&row));
    result.unwrap_or_else(|error| panic!("{name}: {error}"));
}

/// Makes the call in a destructor of an ethread that unwinds; returns the result of the call.
fn call_while_unwinding(case: Case) -> String {
    let given = Rc::new(RefCell::new(None));
    let slot = given.clone();
    let Case { call, wake: _keep } = case;
    let mut call = Some(call);
    let unwinds = thread::spawn(move || {
        let _destructor = OnDrop(|| *slot.borrow_mut() = call.take().map(|call| call()));
        panic!("on the way");
    });
    assert_eq!(text(&*unwinds.join().unwrap_err()), "on the way");
    given.take().expect("the destructor ran")
}

#[test]
fn the_table_is_complete() {
    let listed = include_str!("../suspends.txt").lines();
    let listed = listed.filter(|line| !line.starts_with('#') && !line.contains(" - "));
    let listed = listed.filter(|line| cfg!(feature = "http") || !line.starts_with("http::"));
    let tested = rows().into_iter().chain(look_ups());
    let tested = tested.chain(files()).chain(signals());
    let mut tested: Vec<_> = tested.map(|row| row.name).collect();
    tested.sort_unstable();
    let mut listed: Vec<_> = listed.collect();
    listed.sort_unstable();
    assert_eq!(tested, listed);
}

fn woken(row: Row) {
    in_a_runtime(row, |row| {
        let Case { call, mut wake } = (row.case)(When::Waits);
        let caller = thread::spawn(call);
        thread::yield_now();
        wake(caller.thread());
        assert_eq!(caller.join().unwrap(), row.result, "{}", row.name);
    });
}

#[test]
fn woken_it_returns() {
    rows().into_iter().for_each(woken);
}

fn still_waiting(row: Row) {
    in_a_runtime(row, |row| {
        let Case { call, wake: _keep } = (row.case)(When::Forever);
        let caller = thread::spawn(call);
        // Longer than any turn that the call may get.
        (0..10).for_each(|_| thread::yield_now());
        assert!(!caller.is_finished(), "{}", row.name);
        caller.cancel();
        assert!(caller.join().is_err());
    });
}

#[test]
fn it_waits_for_its_wake() {
    rows().into_iter().for_each(still_waiting);
}

fn ready(row: Row) {
    in_a_runtime(row, |row| {
        let Case { call, wake: _keep } = (row.case)(When::Ready);
        let others = thread::spawn(|| ());
        let given = call();
        assert_eq!(given, row.result, "{}", row.name);
        assert_eq!(others.is_finished(), row.always_suspends, "{}", row.name);
    });
}

#[test]
fn ready_it_does_not_wait() {
    rows().into_iter().for_each(ready);
}

fn cancelled(row: Row) {
    in_a_runtime(row, |row| {
        let Case { call, wake: _keep } = (row.case)(When::Forever);
        let caller = thread::spawn(call);
        thread::yield_now();
        caller.cancel();
        let payload = caller.join().unwrap_err();
        assert!(payload.is::<thread::Cancelled>(), "{}", row.name);
    });
}

#[test]
fn cancelled_it_unwinds() {
    rows().into_iter().for_each(cancelled);
}

fn left_at_the_end(row: Row) {
    let name = row.name;
    let ended = Rc::new(RefCell::new(false));
    let theirs = ended.clone();
    let result = Runtime::builder().run(move || {
        let Case { call, wake } = (row.case)(When::Forever);
        drop(thread::spawn(move || {
            let _ended = OnDrop(|| *theirs.borrow_mut() = true);
            call();
        }));
        thread::yield_now();
        // The other end outlives the shard.
        wake
    });
    let wake = result.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(*ended.borrow(), "{name} is left behind");
    drop(wake);
}

#[test]
fn left_at_the_end_of_the_run_it_unwinds() {
    rows().into_iter().for_each(left_at_the_end);
}

fn masked(row: Row) {
    in_a_runtime(row, |row| {
        let Case { call, mut wake } = (row.case)(When::Waits);
        let caller = thread::spawn(|| thread::uncancellable(call));
        thread::yield_now();
        caller.cancel();
        thread::yield_now();
        wake(caller.thread());
        assert_eq!(caller.join().unwrap(), row.result, "{}", row.name);
    });
}

#[test]
fn masked_it_waits_on() {
    rows().into_iter().for_each(masked);
}

fn unwinding_and_ready(row: Row) {
    in_a_runtime(row, |row| {
        let expected = match row.unwinding {
            Unwinding::Aborts => return,
            Unwinding::AlwaysWouldPark => "WouldPark",
            _ => row.result,
        };
        let given = call_while_unwinding((row.case)(When::Ready));
        assert_eq!(given, expected, "{}", row.name);
    });
}

#[test]
fn unwinding_and_ready_it_succeeds() {
    rows().into_iter().for_each(unwinding_and_ready);
}

fn unwinding(row: Row) {
    in_a_runtime(row, |row| {
        let expected = match row.unwinding {
            Unwinding::Returns(given) => given,
            Unwinding::WouldPark | Unwinding::AlwaysWouldPark => "WouldPark",
            Unwinding::Aborts | Unwinding::InPlace => return,
        };
        let case = (row.case)(When::Forever);
        let given = call_while_unwinding(case);
        assert_eq!(given, expected, "{}", row.name);
    });
}

#[test]
fn unwinding_it_never_switches() {
    rows().into_iter().for_each(unwinding);
}

#[test]
fn unwinding_without_a_way_to_say_no_it_aborts() {
    let name = "suspends::unwinding_without_a_way_to_say_no_it_aborts";
    let Some(output) = in_child(name) else {
        let aborts = |row: &Row| row.unwinding == Unwinding::Aborts;
        return rows().into_iter().filter(aborts).for_each(|row| {
            in_a_runtime(row, |row| {
                call_while_unwinding((row.case)(When::Forever));
            });
        });
    };
    assert_eq!(
        output.status.signal(),
        Some(libc::SIGABRT),
        "{}",
        stderr(&output)
    );
    assert!(
        stderr(&output).contains("called `suspend` at"),
        "{}",
        stderr(&output)
    );
}

fn outside_an_ethread(row: Row) {
    fresh(|| {
        let Case { call, mut wake } = (row.case)(When::Waits);
        let me = thread::current();
        let waker = thread::spawn(move || {
            wake(&me);
            wake
        });
        assert_eq!(call(), row.result, "{}", row.name);
        drop(waker.join().unwrap());
    });
}

#[test]
fn outside_an_ethread_it_drives_the_shard() {
    rows().into_iter().for_each(outside_an_ethread);
}

/// The panic message of a call that has to wait on the scheduler's side.
fn said_on_the_schedulers_side(row: &Row) -> String {
    let Case { call, wake: _keep } = (row.case)(When::Forever);
    let name = row.name;
    let outer = thread::spawn(move || {
        bridge::suspend(|me: bridge::Suspended<String>| {
            let caught = panic::catch_unwind(AssertUnwindSafe(call));
            let payload = caught
                .map(|given| panic!("{name} gave {given}"))
                .unwrap_err();
            assert!(me.resume(text(&*payload).to_owned()).is_ok());
        })
    });
    outer.join().unwrap()
}

fn on_the_schedulers_side(row: Row) {
    in_a_runtime(row, |row| {
        let said = said_on_the_schedulers_side(row);
        let name = row.name;
        assert!(said.contains("on the scheduler's side"), "{name}: {said}");
    });
}

#[test]
fn on_the_schedulers_side_it_panics_if_it_has_to_wait() {
    rows().into_iter().for_each(on_the_schedulers_side);
}

/// The duration of a deadline that passes during the call.
fn soon(row: &Row) -> Duration {
    match row.name {
        // The call goes on for some turns only.
        "thread::yield_now" => Duration::ZERO,
        _ => Duration::from_millis(2),
    }
}

const HOUR: Duration = Duration::from_secs(3600);

impl Row {
    /// Whether the call has no error that could say that a deadline has passed.
    fn unwinds(&self) -> bool {
        let groups = ["thread::", "bridge::", "runtime::", "time::", "sync::"];
        let is_io = self.name == "runtime::Shard::stats";
        !is_io && groups.iter().any(|group| self.name.starts_with(group))
    }
}

/// What a call uses of the shard. The I/O waits of a server do not count: its own ethreads wait on.
fn in_use(row: &Row) -> (usize, usize) {
    let stats = ethreads::runtime::stats().unwrap();
    let is_server = row.name.starts_with("http::");
    (stats.scopes, if is_server { 0 } else { stats.io_waits })
}

/// Makes the call within `scope`, whose deadline passes, and checks the result.
fn check_elapsed(
    row: &Row,
    case: Case,
    scope: impl FnOnce(Box<dyn FnOnce() -> String>) -> Result<String, time::Elapsed> + 'static,
) {
    let Case { call, wake: _keep } = case;
    let before = in_use(row);
    let given = scope(call);
    assert_eq!(in_use(row), before, "{} leaves something behind", row.name);
    match given {
        Ok(given) => assert_eq!(
            (&*given, row.unwinds()),
            ("TimedOut", false),
            "{}",
            row.name
        ),
        Err(_) => assert!(row.unwinds(), "{} has unwound", row.name),
    }
}

fn beyond_a_deadline(row: Row) {
    in_a_runtime(row, |row| {
        let (case, soon) = ((row.case)(When::Forever), soon(row));
        check_elapsed(row, case, move |call| time::timeout(soon, call));
    });
}

#[test]
fn beyond_a_deadline_it_fails_or_unwinds() {
    rows().into_iter().for_each(beyond_a_deadline);
}

fn beyond_the_deadline_of_an_outer_scope(row: Row) {
    in_a_runtime(row, |row| {
        let (case, soon) = ((row.case)(When::Forever), soon(row));
        check_elapsed(row, case, move |call| {
            time::timeout(soon, || {
                let inner = time::timeout(HOUR, call);
                inner.expect("the deadline is not the inner scope's")
            })
        });
    });
}

#[test]
fn beyond_the_deadline_of_an_outer_scope_it_passes_the_inner_one() {
    rows()
        .into_iter()
        .for_each(beyond_the_deadline_of_an_outer_scope);
}

fn masked_beyond_a_deadline(row: Row) {
    in_a_runtime(row, |row| {
        let Case { call, mut wake } = (row.case)(When::Waits);
        let before = in_use(row);
        let caller =
            thread::spawn(|| time::timeout(Duration::ZERO, || thread::uncancellable(call)));
        // The deadline has passed when the caller waits.
        thread::yield_now();
        thread::yield_now();
        wake(caller.thread());
        let given = caller.join().unwrap();
        assert_eq!(given.as_deref(), Ok(row.result), "{}", row.name);
        assert_eq!(in_use(row), before, "{} leaves something behind", row.name);
    });
}

#[test]
fn masked_beyond_a_deadline_it_waits_on() {
    rows().into_iter().for_each(masked_beyond_a_deadline);
}

fn ready_beyond_a_deadline(row: Row) {
    in_a_runtime(row, |row| {
        let Case { call, wake: _keep } = (row.case)(When::Ready);
        match time::timeout(Duration::ZERO, call) {
            Ok(given) if given == row.result => {}
            // The call has to wait for its turn, and that is too late.
            Ok(given) => {
                assert_eq!(
                    (&*given, row.unwinds()),
                    ("TimedOut", false),
                    "{}",
                    row.name
                );
                assert!(row.always_suspends, "{}", row.name);
            }
            Err(_) => assert!(row.unwinds() && row.always_suspends, "{}", row.name),
        }
    });
}

#[test]
fn ready_beyond_a_deadline_it_succeeds_late() {
    rows().into_iter().for_each(ready_beyond_a_deadline);
}
