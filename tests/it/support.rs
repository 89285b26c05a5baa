//! Shared by the tests: fresh OS threads, child processes, and a log that can be read.

use std::cell::RefCell;
use std::io;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Condvar, Mutex, Once, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use ethreads::RunError;
use ethreads::thread::JoinHandle;

/// Runs `f` on an OS thread of its own, which has no scheduler yet and ends before this returns.
pub(crate) fn fresh<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    let result = std::thread::scope(|scope| scope.spawn(f).join());
    result.unwrap_or_else(|payload| std::panic::resume_unwind(payload))
}

/// Joins ethreads that do not panic.
pub(crate) fn join_all<T>(handles: impl IntoIterator<Item = JoinHandle<T>>) -> Vec<T> {
    let joined = handles.into_iter().map(JoinHandle::join);
    joined.map(|result| result.expect("no panic")).collect()
}

/// Write-locked while a child process begins. Until exec the child has copies of all descriptors,
/// so what is closed here meanwhile is not closed for its peer.
static BEGINNING: RwLock<()> = RwLock::new(());

/// While the guard lives, what is closed is closed for its peer at once.
pub(crate) fn no_child_begins() -> RwLockReadGuard<'static, ()> {
    BEGINNING.read().unwrap_or_else(PoisonError::into_inner)
}

/// As [`Command::spawn`], which returns when the child has called exec.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    let _beginning = BEGINNING.write().unwrap_or_else(PoisonError::into_inner);
    command.spawn()
}

/// As [`Command::output`].
pub(crate) fn output(command: &mut Command) -> io::Result<Output> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    spawn(command)?.wait_with_output()
}

const CHILD: &str = "ETHREADS_TEST_CHILD";

/// Undoes what a shell does to a background command: the command ignores SIGINT, and so do all
/// processes that it starts.
#[allow(unsafe_code)]
fn heed_signals() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGQUIT] {
        // SAFETY: the default action is no handler, so no rule for handlers can be broken.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Runs the test `name` again in a child process, and returns the child's output; `None` in that
/// process.
pub(crate) fn in_child(name: &str) -> Option<Output> {
    if std::env::var(CHILD).is_ok_and(|child| child == name) {
        heed_signals();
        return None;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, name)
        .env_remove("RUST_BACKTRACE");
    let output = output(&mut command).unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        printed.contains("running 1 test"),
        "no test `{name}`: {printed}"
    );
    Some(output)
}

/// What the child wrote to standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The text of a panic.
pub(crate) fn text(payload: &(dyn std::any::Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else {
        payload.downcast_ref::<String>().expect("a text")
    }
}

/// The deadlock that a run ended with.
#[track_caller]
pub(crate) fn deadlock<T>(result: Result<T, RunError>) -> ethreads::Deadlock {
    match result {
        Err(RunError::Deadlock(deadlock)) => deadlock,
        Err(other) => panic!("expected a deadlock, got: {other}"),
        Ok(_) => panic!("expected a deadlock, but the run has ended"),
    }
}

/// Runs `f` as the root of a new shard, and checks that `f` leaves nothing in the scheduler.
pub(crate) fn leaving_nothing(f: impl FnOnce() + Send + 'static) {
    fresh(|| {
        ethreads::run_main(|| {
            f();
            let stats = ethreads::runtime::stats().unwrap();
            assert_eq!((stats.ethreads, stats.scopes, stats.io_waits), (1, 0, 0));
        })
    })
    .unwrap();
}

/// Calls a closure when it is dropped.
pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
static NEWS: Condvar = Condvar::new();

thread_local! {
    static ON_LOG: RefCell<Option<fn()>> = const { RefCell::new(None) };
}

/// A part of a line at which the logger panics, on whatever OS thread the line is logged.
pub(crate) const PANICS: &str = "the logger panics at this";

struct Collector;

impl log::Log for Collector {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{}: {}", record.level(), record.args());
        let panics = line.contains(PANICS);
        LINES
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
        NEWS.notify_all();
        assert!(!panics, "in the logger");
        // A thread-local may be gone when its OS thread's end is logged.
        let hook = ON_LOG.try_with(|hook| *hook.borrow()).ok().flatten();
        if let Some(hook) = hook {
            hook();
        }
    }

    fn flush(&self) {}
}

/// Collects what is logged from now on. All tests share one log, so look for unique names.
pub(crate) fn collect_log() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        log::set_logger(&Collector).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
    });
}

/// The lines logged so far that contain `part`, without the watchdog's lines: on a busy machine any
/// ethread may hold a shard for long.
pub(crate) fn logged(part: &str) -> Vec<String> {
    lines(|line| line.contains(part) && !is_the_watchdogs(line))
}

/// The watchdog's lines so far that contain `part`.
pub(crate) fn watchdog_said(part: &str) -> Vec<String> {
    lines(|line| line.contains(part) && is_the_watchdogs(line))
}

/// Blocks the OS thread until the watchdog's lines that contain `part` are more than `count`. Holds
/// no lock meanwhile, which the watchdog needs to log.
pub(crate) fn wait_for_watchdog(part: &str, count: usize) {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let missing = |lines: &mut Vec<String>| {
        let said = lines
            .iter()
            .filter(|line| line.contains(part) && is_the_watchdogs(line));
        said.count() <= count
    };
    let waited = NEWS.wait_while(lines, missing);
    drop(waited.unwrap_or_else(PoisonError::into_inner));
}

fn is_the_watchdogs(line: &str) -> bool {
    line.contains("has blocked its shard for more than")
}

fn lines(wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    lines.iter().filter(|line| wanted(line)).cloned().collect()
}

/// Blocks the OS thread until a line that contains `part` has been logged.
pub(crate) fn wait_for_log(part: &str) -> String {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let missing = |lines: &mut Vec<String>| !lines.iter().any(|line| line.contains(part));
    let (lines, waited) = NEWS
        .wait_timeout_while(lines, Duration::from_secs(60), missing)
        .unwrap_or_else(PoisonError::into_inner);
    assert!(!waited.timed_out(), "nothing was logged about {part}");
    lines
        .iter()
        .find(|line| line.contains(part))
        .unwrap()
        .clone()
}

/// Makes the logger call `hook` whenever this OS thread logs something.
pub(crate) fn on_log(hook: Option<fn()>) {
    ON_LOG.set(hook);
}
