//! The hook of user code that sees each switch.
#![forbid(unsafe_code)]

use std::fmt;
use std::panic::RefUnwindSafe;

use crate::runtime::state::control_block::ThreadId;

/// Sees which ethread runs on an OS thread. Set by
/// [`Builder::switch_hook`](crate::runtime::Builder::switch_hook).
///
/// For what belongs to an OS thread in libraries that do not know of ethreads: entered spans of
/// tracing, the name that a profiler shows, CPU time.
///
/// The calls come from the shard's OS thread, in pairs: `enter` before each run of an ethread,
/// `leave` with the same id after it, and nothing of another ethread in between. The first run is
/// included, and so are ethreads of the library. An ethread that yields may be resumed at once, in
/// a further pair, to see whether it was cancelled. The shard's own OS thread is no ethread: its
/// code is outside of all pairs.
///
/// # In the hook
///
/// The hook runs on the scheduler's side, as the closure given to
/// [`suspend`](crate::bridge::suspend) does:
///
/// * Nothing can wait there: a call that would have to panics.
/// * It may spawn, unpark, cancel and send what does not have to wait.
/// * [`thread::current`](crate::thread::current) is the OS thread, and there are no values of
///   [`thread::Local`](crate::thread::Local) keys.
/// * A panic is caught and logged, and the switch goes on: an observer must not end a server.
/// * Its time counts as that of the ethread for the watchdog. It runs at every switch, so it must
///   be short.
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
    /// The ethread is about to run.
    fn enter(&self, ethread: ThreadId);

    /// The ethread has left its stack: it has parked, yielded or ended.
    fn leave(&self, ethread: ThreadId);

    /// The ethread has ended; it has left before. For hooks that keep something for each ethread.
    /// An ethread that is leaked, as its shard ends before it, does not end.
    fn end(&self, ethread: ThreadId) {
        let _ = ethread;
    }
}

impl fmt::Debug for dyn SwitchHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SwitchHook")
    }
}
