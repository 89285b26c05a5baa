//! Signals by name and number.
#![forbid(unsafe_code)]

use std::ffi::c_int;
use std::fmt;

use signal_hook::consts::{self, FORBIDDEN};
use signal_hook::low_level::signal_name;

/// A signal, such as SIGTERM. See signal(7) for what sends each signal, and what it does if it is
/// not received.
///
/// # Examples
///
/// ```
/// use ethreads::signal::Signal;
///
/// assert_eq!(Signal::TERMINATE.to_string(), "SIGTERM");
/// assert_eq!(Signal::from_raw(15), Some(Signal::TERMINATE));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signal(c_int);

impl Signal {
    /// SIGALRM: the time of alarm(2) is over.
    pub const ALARM: Self = Self(consts::SIGALRM);
    /// SIGCHLD: a child process has ended, stopped or gone on.
    pub const CHILD: Self = Self(consts::SIGCHLD);
    /// SIGCONT: a process that was stopped goes on.
    pub const CONTINUE: Self = Self(consts::SIGCONT);
    /// SIGHUP: the terminal is gone; daemons read their settings again.
    pub const HANGUP: Self = Self(consts::SIGHUP);
    /// SIGINT: Ctrl-C at the terminal.
    pub const INTERRUPT: Self = Self(consts::SIGINT);
    /// SIGPIPE: a write to a pipe or socket without a reader. Rust programs ignore it from their
    /// start on, and get `BrokenPipe` from the write, also while it is received here.
    pub const PIPE: Self = Self(consts::SIGPIPE);
    /// SIGQUIT: Ctrl-\ at the terminal.
    pub const QUIT: Self = Self(consts::SIGQUIT);
    /// SIGTERM: a request that the process ends.
    pub const TERMINATE: Self = Self(consts::SIGTERM);
    /// SIGTSTP: Ctrl-Z at the terminal.
    pub const TERMINAL_STOP: Self = Self(consts::SIGTSTP);
    /// SIGUSR1: its meaning is the program's choice.
    pub const USER1: Self = Self(consts::SIGUSR1);
    /// SIGUSR2: likewise.
    pub const USER2: Self = Self(consts::SIGUSR2);
    /// SIGWINCH: the terminal has another size.
    pub const WINDOW_CHANGE: Self = Self(consts::SIGWINCH);

    /// Returns the signal with this number on this system; `None` if there is none with a name.
    /// Real-time signals have none.
    pub fn from_raw(raw: i32) -> Option<Self> {
        signal_name(raw).map(|_| Self(raw))
    }

    /// Returns the number of the signal on this system.
    pub const fn as_raw(self) -> i32 {
        self.0
    }

    /// Whether the signal may be an event: it can be caught, and the program can go on after it.
    /// SIGBUS reports a fault as SIGSEGV does, on some systems a stack overflow.
    pub(super) fn can_be_received(self) -> bool {
        !FORBIDDEN.contains(&self.0) && self.0 != consts::SIGBUS
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(signal_name(self.0).expect("each signal was made of one with a name"))
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_the_name_and_the_number_of_the_system() {
        let table = [
            (Signal::ALARM, consts::SIGALRM, "SIGALRM"),
            (Signal::CHILD, consts::SIGCHLD, "SIGCHLD"),
            (Signal::CONTINUE, consts::SIGCONT, "SIGCONT"),
            (Signal::HANGUP, consts::SIGHUP, "SIGHUP"),
            (Signal::INTERRUPT, consts::SIGINT, "SIGINT"),
            (Signal::PIPE, consts::SIGPIPE, "SIGPIPE"),
            (Signal::QUIT, consts::SIGQUIT, "SIGQUIT"),
            (Signal::TERMINATE, consts::SIGTERM, "SIGTERM"),
            (Signal::TERMINAL_STOP, consts::SIGTSTP, "SIGTSTP"),
            (Signal::USER1, consts::SIGUSR1, "SIGUSR1"),
            (Signal::USER2, consts::SIGUSR2, "SIGUSR2"),
            (Signal::WINDOW_CHANGE, consts::SIGWINCH, "SIGWINCH"),
        ];
        for (signal, raw, name) in table {
            assert_eq!(signal.as_raw(), raw);
            assert_eq!(Signal::from_raw(raw), Some(signal));
            assert_eq!(
                (signal.to_string(), format!("{signal:?}")),
                (name.into(), name.into())
            );
            assert!(signal.can_be_received(), "{name}");
        }
    }

    #[test]
    fn what_has_no_name_is_no_signal() {
        // 40 is a real-time signal.
        for raw in [i32::MIN, -1, 0, 40, 65, i32::MAX] {
            assert_eq!(Signal::from_raw(raw), None, "{raw}");
        }
    }
}
