//! Ends a server by SIGINT and SIGTERM.
//!
//! The first signal drains the server, the second one ends the process as if nobody had ever
//! looked after it: in the signal's handler, so that it works even if the shard is stuck. When no
//! server watches any more, the signals do what they did before.
#![forbid(unsafe_code)]

use std::io::{self, Read};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::{pipe, unregister};
use signal_hook::{SigId, flag};

use super::handle::ServerHandle;
use crate::net::UnixStream;
use crate::runtime::driver::signal::has_default_action;
use crate::thread::{self, JoinHandle};

/// What a process is told that is to end.
const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];

/// One entry for each of [`SIGNALS`] that was ever watched. Signals are the process's.
static ACTIONS: Mutex<Vec<Action>> = Mutex::new(Vec::new());

/// What a signal does besides telling the servers that watch it.
struct Action {
    signal: i32,
    /// The next one ends the process.
    armed: Arc<AtomicBool>,
    /// It would have ended the process before there was anybody to watch.
    was_default: bool,
    /// Arms itself while somebody watches.
    arming: Option<SigId>,
    watches: usize,
}

impl Action {
    fn of(actions: &mut Vec<Self>, signal: i32) -> io::Result<&mut Self> {
        let place = match actions.iter().position(|action| action.signal == signal) {
            Some(place) => place,
            None => {
                let armed = Arc::new(AtomicBool::new(false));
                let was_default = has_default_action(signal);
                // Stays for good: the handler itself does, and with it the default action is gone
                // unless somebody takes its part.
                flag::register_conditional_default(signal, armed.clone())?;
                armed.store(was_default, Ordering::SeqCst);
                actions.push(Self {
                    signal,
                    armed,
                    was_default,
                    arming: None,
                    watches: 0,
                });
                actions.len() - 1
            }
        };
        Ok(&mut actions[place])
    }

    fn begin_watch(&mut self) -> io::Result<()> {
        if self.watches == 0 {
            // Called after the other one, which ends the process only if this was called before.
            self.arming = Some(flag::register(self.signal, self.armed.clone())?);
            self.armed.store(false, Ordering::SeqCst);
        }
        self.watches += 1;
        Ok(())
    }

    fn end_watch(&mut self) {
        self.watches -= 1;
        if self.watches == 0 {
            self.arming.take().map(unregister);
            self.armed.store(self.was_default, Ordering::SeqCst);
        }
    }
}

/// Watches for the signals that end a server, until it is dropped.
pub(super) struct Signals {
    watches: Vec<Watch>,
    /// `None` once it is waited for.
    drainer: Option<JoinHandle<()>>,
}

impl Signals {
    /// Drains `server` within `grace` at the first signal.
    pub(super) fn drain(server: ServerHandle, grace: Duration) -> io::Result<Self> {
        let (receiver, sender) = StdUnixStream::pair()?;
        let mut receiver = UnixStream::from(receiver);
        let mut watches = Vec::new();
        for signal in SIGNALS {
            watches.push(Watch::new(signal, sender.try_clone()?)?);
        }
        let drainer = thread::Builder::new()
            .name("http-signals")
            .daemon(true)
            .spawn(move || match receiver.read(&mut [0]) {
                // Nobody watches any more.
                Ok(0) => {}
                Ok(_) => {
                    log::info!("a signal: draining for at most {grace:?}");
                    server.drain(grace);
                }
                Err(error) => log::error!("signals are not seen any more: {error}"),
            })?;
        Ok(Self {
            watches,
            drainer: Some(drainer),
        })
    }

    /// Ends it, suspending the caller until nothing of it is left on the shard.
    pub(super) fn end(mut self) {
        self.watches.clear();
        if let Some(drainer) = self.drainer.take() {
            drainer.cancel();
            // It has ended, or was cancelled: either is its end.
            let _ = drainer.join();
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        if let Some(drainer) = &self.drainer {
            drainer.cancel();
        }
    }
}

/// One signal, written to a socket as it arrives.
struct Watch {
    signal: i32,
    pipe: Option<SigId>,
}

impl Watch {
    fn new(signal: i32, sender: StdUnixStream) -> io::Result<Self> {
        with_actions(|actions| Action::of(actions, signal)?.begin_watch())?;
        let mut watch = Self { signal, pipe: None };
        watch.pipe = Some(pipe::register(signal, sender)?);
        Ok(watch)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.pipe.take().map(unregister);
        with_actions(|actions| {
            if let Some(action) = actions.iter_mut().find(|it| it.signal == self.signal) {
                action.end_watch();
            }
        });
    }
}

fn with_actions<R>(f: impl FnOnce(&mut Vec<Action>) -> R) -> R {
    f(&mut ACTIONS.lock().unwrap_or_else(PoisonError::into_inner))
}
