//! The OS threads of shards.
#![forbid(unsafe_code)]

use std::io;
use std::sync::{Arc, mpsc};
use std::thread;

use super::driver::{cpus, exhausted};
use super::scheduler::current;

/// How the OS threads of several shards are started.
#[derive(Clone, Debug)]
pub(super) struct ShardThreads {
    pub(super) count: usize,
    /// The name of the OS threads, without the shard's number, which is appended.
    pub(super) name: Arc<str>,
    /// Each OS thread stays on one CPU.
    pub(super) pinned: bool,
}

impl ShardThreads {
    /// Starts the OS thread of a shard. The OS thread calls `f` with the result of pinning it to
    /// its CPU.
    pub(super) fn spawn<R: Send + 'static>(
        &self,
        shard: usize,
        f: impl FnOnce(io::Result<()>) -> R + Send + 'static,
    ) -> io::Result<ShardThread<R>> {
        let pinned = self.pinned;
        let (sender, end) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name(format!("{} {shard}", self.name))
            .spawn(move || {
                let result = f(if pinned { cpus::pin(shard) } else { Ok(()) });
                let has_leaked = current::has_leaked();
                // This fails if the receiver is gone: a `ShardGroup` does not wait for it.
                let _ = sender.send((result, has_leaked));
                if has_leaked {
                    loop {
                        thread::park();
                    }
                }
            })
            .map_err(|error| {
                exhausted::os_threads("cannot start the OS thread of a shard", error)
            })?;
        Ok(ShardThread { thread, end })
    }
}

/// The OS thread of a shard.
///
/// The OS thread does not end if its shard has leaked ethreads. Their frames may have lent the
/// value of a thread-local to another OS thread, and its destructor would run while that OS thread
/// uses it.
pub(super) struct ShardThread<R> {
    thread: thread::JoinHandle<()>,
    /// The result of the OS thread, and whether the OS thread stays.
    end: mpsc::Receiver<(R, bool)>,
}

impl<R> ShardThread<R> {
    /// Blocks the OS thread until the shard has ended.
    pub(super) fn join(self) -> thread::Result<R> {
        match self.end.recv() {
            Ok((result, true)) => Ok(result),
            Ok((result, false)) => self.thread.join().map(|()| result),
            Err(mpsc::RecvError) => match self.thread.join() {
                Err(payload) => Err(payload),
                Ok(()) => unreachable!("it sends what it returns"),
            },
        }
    }
}
