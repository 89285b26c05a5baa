//! A hook of user code that is called at each switch.
#![forbid(unsafe_code)]

use std::fmt;
use std::panic::RefUnwindSafe;

use crate::runtime::state::control_block::ThreadId;

/// A hook that is called when an ethread begins to run on its OS thread, and when it leaves its
/// stack. Set by [`Builder::switch_hook`](crate::runtime::Builder::switch_hook).
///
/// Use it for data that other libraries keep per OS thread, and that should follow the ethread:
/// entered spans of tracing, the name that a profiler shows, CPU time.
///
/// The shard's OS thread makes the calls, in pairs: `enter` before each run of an ethread, `leave`
/// with the same id after it, and no call for another ethread in between. The pairs include the
/// first run of each ethread, and ethreads of the library. An ethread that yields may be resumed at
/// once, in a further pair, to check for a cancel. Code on the OS thread that is not in an ethread
/// runs outside of all pairs.
///
/// # In the hook
///
/// The hook runs on the scheduler's side, as the closure given to
/// [`suspend`](crate::bridge::suspend) does:
///
/// * A call that would have to wait panics.
/// * Calls that return at once are allowed: spawn, unpark, cancel, sends that need not wait.
/// * [`thread::current`](crate::thread::current) returns the OS thread, and
///   [`thread::Local`](crate::thread::Local) keys have no values.
/// * A panic of the hook is caught and logged, and the switch continues.
/// * The watchdog counts the time of the hook as time of the ethread. The hook runs at every
///   switch, so it must be short.
///
/// # Examples
///
/// The CPU time of each ethread:
///
/// ```
/// use std::cell::{Cell, RefCell};
/// use std::collections::HashMap;
/// use std::time::{Duration, Instant};
/// use ethreads::runtime::SwitchHook;
/// use ethreads::thread::{self, ThreadId};
/// use ethreads::Runtime;
///
/// thread_local! {
///     static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
///     static TIMES: RefCell<HashMap<ThreadId, Duration>> = RefCell::default();
/// }
///
/// struct CpuTime;
///
/// impl SwitchHook for CpuTime {
///     fn enter(&self, _: ThreadId) {
///         BEGAN.set(Some(Instant::now()));
///     }
///
///     fn leave(&self, ethread: ThreadId) {
///         let ran = BEGAN.take().map(|began| began.elapsed());
///         TIMES.with_borrow_mut(|times| {
///             *times.entry(ethread).or_default() += ran.unwrap_or_default();
///         });
///     }
/// }
///
/// let times = Runtime::builder().switch_hook(&CpuTime).run(|| {
///     let busy = thread::spawn(|| {
///         let begun = Instant::now();
///         while begun.elapsed() < Duration::from_millis(2) {}
///     });
///     let sleeper = thread::spawn(|| thread::sleep(Duration::from_millis(2)));
///     let ids = [busy.thread().id(), sleeper.thread().id()];
///     busy.join().expect("it does not panic");
///     sleeper.join().expect("it does not panic");
///     TIMES.with_borrow(|times| ids.map(|id| times[&id]))
/// })?;
/// assert!(times[0] >= Duration::from_millis(2));
/// # Ok::<(), ethreads::RunError>(())
/// ```
pub trait SwitchHook: Sync + RefUnwindSafe {
    /// Called before a run of the ethread.
    fn enter(&self, ethread: ThreadId);

    /// Called after a run of the ethread, which has parked, yielded or ended.
    fn leave(&self, ethread: ThreadId);

    /// Called after the last `leave` of an ethread that has ended, for hooks that keep data of each
    /// ethread. Not called for an ethread that is leaked, as its shard ends first.
    fn end(&self, ethread: ThreadId) {
        let _ = ethread;
    }
}

impl fmt::Debug for dyn SwitchHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SwitchHook")
    }
}
