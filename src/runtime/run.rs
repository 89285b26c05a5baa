//! Runs the ethreads of an OS thread: all of them, or a root ethread and what it spawns.

use std::cell::Cell;
use std::io;
use std::panic::{self, Location};
use std::rc::Rc;

use super::base::error::{Cancelled, WouldPark};
use super::base::on_drop::OnDrop;
use super::base::wait::CallSite;
use super::run_error::RunError;
use super::scheduler::current::{self, Uninstall};
use super::scheduler::event_loop::{Goal, Scheduler};
use super::scheduler::settings::Settings;
use super::state::metrics::Stats;
use super::task::work::{Once, Task};

/// Runs this OS thread's ethreads until all but the daemons have ended.
///
/// Returns at once if there are no ethreads. Daemons stay parked for the next run.
///
/// # Errors
///
/// [`RunError::Deadlock`] if all ethreads are parked and nothing can ever wake any of them; the
/// ethreads stay as they are. [`RunError::Panicked`] if an ethread whose handle was dropped
/// panicked; the other ethreads ran to their end. [`RunError::Io`] if the driver fails, or if
/// called in a destructor while the OS thread unwinds.
///
/// # Panics
///
/// If called inside an ethread, where the scheduler runs already: join the awaited ethread instead.
///
/// # Examples
///
/// ```
/// for name in ["tick", "tock"] {
///     ethreads::spawn(move || println!("{name}"));
/// }
/// ethreads::run()?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
#[track_caller]
pub fn run() -> Result<(), RunError> {
    refuse_nested("run")?;
    let Some(scheduler) = current::get() else {
        return Ok(());
    };
    let driven = scheduler.drive(&Goal::AllEnded);
    let result = driven.map_err(|stuck| scheduler.report(stuck));
    let panics = scheduler.take_panics();
    result?;
    if panics > 0 {
        Err(RunError::Panicked(panics))
    } else {
        Ok(())
    }
}

/// Runs `f` as the root ethread, and shuts the other ethreads down when the root has ended.
///
/// When `f` returns, the remaining ethreads are cancelled and given five seconds to unwind. After
/// that, a panic of `f` is raised again here.
///
/// # Errors
///
/// As [`run`]; after a deadlock the ethreads are shut down too.
///
/// # Panics
///
/// If called inside an ethread. A panic of `f` is raised again.
///
/// # Examples
///
/// ```
/// let sum = ethreads::run_main(|| {
///     let threads: Vec<_> = (1..=3).map(|n| ethreads::spawn(move || n * n)).collect();
///     threads.into_iter().map(|thread| thread.join().unwrap_or(0)).sum::<i32>()
/// })?;
/// assert_eq!(sum, 14);
/// # Ok::<(), ethreads::RunError>(())
/// ```
#[track_caller]
pub fn run_main<F, T>(f: F) -> Result<T, RunError>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    refuse_nested("run_main")?;
    run_root(&current::get_or_install()?, f, false, Location::caller())
}

/// Runs `f` as the root ethread of a new scheduler, which ends with the root.
pub(super) fn run_new<F, T>(settings: Settings, f: F, location: CallSite) -> Result<T, RunError>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    let scheduler = current::install(settings)?;
    let _uninstall = Uninstall(scheduler.clone());
    run_root(&scheduler, f, true, location)
}

/// Refuses to run ethreads in a destructor while the OS thread unwinds: all of them would look as
/// if they were panicking. Panics if the scheduler runs already.
#[track_caller]
pub(crate) fn refuse_nested(what: &str) -> Result<(), RunError> {
    if std::thread::panicking() {
        let location = Location::caller();
        return Err(io::Error::other(WouldPark { location }).into());
    }
    current::with(|scheduler| {
        let Some(scheduler) = scheduler else { return };
        assert!(
            !scheduler.in_ethread(),
            "`{what}` was called inside an ethread: the scheduler runs already; join the ethreads \
             that you wait for"
        );
        assert!(
            !scheduler.on_scheduler_side(),
            "`{what}` was called in a closure given to `suspend`, or in a switch hook: the \
             scheduler runs already"
        );
    });
    Ok(())
}

/// Runs `f` as the root ethread and then shuts the shard down, for the last time if `is_last`.
fn run_root<F, T>(
    scheduler: &Rc<Scheduler>,
    f: F,
    is_last: bool,
    location: CallSite,
) -> Result<T, RunError>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    let ended = Rc::new(Cell::new(false));
    let guard = {
        let ended = ended.clone();
        OnDrop(move || ended.set(true))
    };
    let root = Task::new(Once::new(move |_| {
        let _guard = guard;
        f()
    }));
    scheduler.spawn(root.clone(), Some(Rc::from("main")), false, None, location)?;
    let driven = scheduler.drive(&Goal::Flag(&ended));
    let result = driven.map_err(|stuck| scheduler.report(stuck));
    let left = scheduler.shut_down(is_last)?;
    let panics = scheduler.take_panics();
    if left > 0 {
        // The remaining ethreads are leaked, and so is the scheduler that holds them: nothing
        // resumes them any more.
        current::uninstall(scheduler);
    }
    result?;
    if !root.packet().has_ended() {
        // Not expected: the root's frames are gone, so its closure has ended, and its packet is
        // filled at once after that.
        return Err(io::Error::other("the root ethread did not end").into());
    }
    match root.packet().join(location) {
        Ok(_) if panics > 0 => Err(RunError::Panicked(panics)),
        Ok(value) => Ok(value),
        Err(payload) if payload.is::<Cancelled>() => {
            Err(io::Error::other("the root ethread was cancelled").into())
        }
        Err(payload) => panic::resume_unwind(payload),
    }
}

/// Shuts this OS thread's shard down, as [`run_main`] does when its root has ended. For the last
/// call that drives the shard from the OS thread's own side. Does nothing in an ethread, on the
/// scheduler's side, and while the OS thread unwinds.
#[cfg(feature = "http")]
pub(crate) fn shut_down_from_host() -> io::Result<()> {
    let Some(scheduler) = current::get() else {
        return Ok(());
    };
    if std::thread::panicking() || scheduler.in_ethread() || scheduler.on_scheduler_side() {
        return Ok(());
    }
    if scheduler.shut_down(false)? > 0 {
        // As in `run_root`: the remaining ethreads are leaked, and logged here.
        current::uninstall(&scheduler);
    }
    Ok(())
}

/// Counters of this OS thread's shard; `None` if it has none.
///
/// # Examples
///
/// ```
/// ethreads::spawn(|| {
///     let stats = ethreads::runtime::stats().expect("an ethread has a shard");
///     assert_eq!(stats.ethreads, 1);
///     assert_eq!(stats.stacks.live, 1);
/// });
/// ethreads::run()?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
#[must_use]
pub fn stats() -> Option<Stats> {
    current::with(|scheduler| scheduler.map(Scheduler::stats))
}
