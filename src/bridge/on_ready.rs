//! Waiting for a descriptor without a stack.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::panic::Location;
use std::rc::Rc;

use crate::runtime::base::wait::{NEVER, Outcome, Reason, WaitKind};
use crate::runtime::io::operation::{Limit, Operation};
use crate::runtime::io::registration::Registration;
use crate::runtime::io::source::Source;
use crate::runtime::scheduler::clock::Instant;
use crate::runtime::scheduler::current;
use crate::runtime::state::slots::Direction;
use crate::runtime::task::join::JoinHandle;
use crate::runtime::task::thread::Thread;
use crate::runtime::task::work::{Once, Task, Work};

/// The condition that is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Input, a connection to accept, or the end of the stream.
    Readable,
    /// Room for output.
    Writable,
}

/// How a wait without a stack ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wakeup {
    /// The source may be ready. As with every readiness report, a try may still block.
    Ready,
    /// The deadline has passed.
    TimedOut,
}

/// Waits until `source` may be ready or `deadline` has passed, and then begins an ethread that runs
/// `f`.
///
/// Until then the wait holds no stack: it is a control block of a few hundred bytes and a boxed
/// closure. If the source is ready already, the ethread begins at once, even if the source was
/// never used before. The ethread exists from the start: it has an id, reports list it, and the
/// handle cancels it; `f` is then dropped without having run. Waiters that queued earlier at the
/// same source are served first.
///
/// Dropping or closing the source begins `f` too, with [`Wakeup::Ready`].
///
/// # Errors
///
/// If the source cannot be watched (a regular file, or any source under the simulation driver), or
/// is closed; if the OS thread has no scheduler and none can be made.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use ethreads::{bridge::{self, Interest}, net::UnixStream};
///
/// ethreads::run_main(|| {
///     let (mut ours, mut theirs) = UnixStream::pair()?;
///     let reader = ours.try_clone()?;
///     let answer = bridge::on_ready(&reader, Interest::Readable, None, move |_| {
///         let mut text = String::new();
///         ours.read_to_string(&mut text).map(|_| text)
///     })?;
///     assert_eq!(ethreads::runtime::stats().map(|stats| stats.stacks.live), Some(1)); // our own
///     theirs.write_all(b"hello")?;
///     drop(theirs);
///     assert_eq!(answer.join().expect("no panic")?, "hello");
///     std::io::Result::Ok(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[track_caller]
pub fn on_ready<S, F, T>(
    source: &S,
    interest: Interest,
    deadline: Option<Instant>,
    f: F,
) -> io::Result<JoinHandle<T>>
where
    S: Source + ?Sized,
    F: FnOnce(Wakeup) -> T + 'static,
    T: 'static,
{
    let (direction, kind) = match interest {
        Interest::Readable => (Direction::Read, WaitKind::Read),
        Interest::Writable => (Direction::Write, WaitKind::Write),
    };
    let operation = Operation {
        direction,
        kind,
        limit: Limit::At(deadline.map_or(NEVER, Instant::as_nanos)),
        location: Location::caller(),
    };
    let (registration, fd) = (source.registration(), source.as_fd());
    spawn_parked(registration, fd, operation, None, |key| {
        let pass_on = PassOn { key, direction };
        Once::new(move |outcome| {
            let _pass_on = pass_on;
            match outcome {
                Outcome::TimedOut => f(Wakeup::TimedOut),
                _ => f(Wakeup::Ready),
            }
        })
    })
}

/// Makes an ethread that begins with a rest, as if it had run before: it holds no stack until the
/// rest ends. It inherits no locals, so no user code runs here. `work` receives the key of the
/// source.
///
/// # Errors
///
/// As [`on_ready`].
pub(crate) fn spawn_parked<W, T>(
    registration: &Registration,
    fd: BorrowedFd<'_>,
    operation: Operation,
    name: Option<&str>,
    work: impl FnOnce(u64) -> W,
) -> io::Result<JoinHandle<T>>
where
    W: Work<T> + 'static,
    T: 'static,
{
    let scheduler = current::get_or_install()?;
    let reason = Reason {
        kind: operation.kind,
        detail: fd.as_raw_fd() as u64,
        location: operation.location,
    };
    let direction = operation.direction;
    let deadline = operation.limit.deadline(|| scheduler.clock());
    let key = registration.watch(&scheduler, fd, direction)?;
    let task = Task::new(work(key));
    let name: Option<Rc<str>> = name.map(Rc::from);
    let (index, id, token) = scheduler.starter(task.clone(), name.clone(), deadline, reason)?;
    let thread = Thread::new(scheduler.clone(), index, id, name);
    task.packet().owner().set(thread);
    let handle = JoinHandle::new(task);
    if let Err(error) = scheduler.wait_without_stack(fd, key, direction, token) {
        handle.cancel();
        return Err(error);
    }
    Ok(handle)
}

/// Passes the wake-up on to the next waiter when the closure has ended or is dropped: the closure
/// may have met "would block", or not even tried.
struct PassOn {
    key: u64,
    direction: Direction,
}

impl Drop for PassOn {
    fn drop(&mut self) {
        current::with(|scheduler| scheduler.map(|s| s.pass_on(self.key, self.direction)));
    }
}
