//! Signals by name and number.
#![forbid(unsafe_code)]

use std::ffi::c_int;
use std::fmt;

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
    pub const ALARM: Self = Self(libc::SIGALRM);
    /// SIGCHLD: a child process has ended, stopped or gone on.
    pub const CHILD: Self = Self(libc::SIGCHLD);
    /// SIGCONT: a process that was stopped goes on.
    pub const CONTINUE: Self = Self(libc::SIGCONT);
    /// SIGHUP: the terminal is gone; daemons read their settings again.
    pub const HANGUP: Self = Self(libc::SIGHUP);
    /// SIGINT: Ctrl-C at the terminal.
    pub const INTERRUPT: Self = Self(libc::SIGINT);
    /// SIGPIPE: a write to a pipe or socket without a reader. Rust programs ignore it from their
    /// start on, and get `BrokenPipe` from the write, also while it is received here.
    pub const PIPE: Self = Self(libc::SIGPIPE);
    /// SIGQUIT: Ctrl-\ at the terminal.
    pub const QUIT: Self = Self(libc::SIGQUIT);
    /// SIGTERM: a request that the process ends.
    pub const TERMINATE: Self = Self(libc::SIGTERM);
    /// SIGTSTP: Ctrl-Z at the terminal.
    pub const TERMINAL_STOP: Self = Self(libc::SIGTSTP);
    /// SIGUSR1: its meaning is the program's choice.
    pub const USER1: Self = Self(libc::SIGUSR1);
    /// SIGUSR2: likewise.
    pub const USER2: Self = Self(libc::SIGUSR2);
    /// SIGWINCH: the terminal has another size.
    pub const WINDOW_CHANGE: Self = Self(libc::SIGWINCH);

    /// Returns the signal with this number on this system; `None` if there is none with a name.
    /// Real-time signals have none.
    pub fn from_raw(raw: i32) -> Option<Self> {
        name(raw).map(|_| Self(raw))
    }

    /// Returns the number of the signal on this system.
    pub const fn as_raw(self) -> i32 {
        self.0
    }

    /// Whether the signal may be an event: it can be caught, and the program can go on after it.
    /// SIGBUS reports a fault as SIGSEGV does, on some systems a stack overflow.
    pub(super) fn can_be_received(self) -> bool {
        !matches!(
            self.0,
            libc::SIGKILL
                | libc::SIGSTOP
                | libc::SIGSEGV
                | libc::SIGBUS
                | libc::SIGFPE
                | libc::SIGILL
        )
    }
}

macro_rules! names {
    ($($name:ident)+) => {
        /// The name of a signal, if it has one on every system.
        fn name(raw: c_int) -> Option<&'static str> {
            match raw {
                $(libc::$name => Some(stringify!($name)),)+
                _ => None,
            }
        }
    };
}

names! {
    SIGABRT SIGALRM SIGBUS SIGCHLD SIGCONT SIGFPE SIGHUP SIGILL SIGINT SIGIO SIGKILL SIGPIPE
    SIGPROF SIGQUIT SIGSEGV SIGSTOP SIGSYS SIGTERM SIGTRAP SIGTSTP SIGTTIN SIGTTOU SIGURG
    SIGUSR1 SIGUSR2 SIGVTALRM SIGWINCH SIGXCPU SIGXFSZ
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(name(self.0).expect("each signal was made of one with a name"))
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
            (Signal::ALARM, libc::SIGALRM, "SIGALRM"),
            (Signal::CHILD, libc::SIGCHLD, "SIGCHLD"),
            (Signal::CONTINUE, libc::SIGCONT, "SIGCONT"),
            (Signal::HANGUP, libc::SIGHUP, "SIGHUP"),
            (Signal::INTERRUPT, libc::SIGINT, "SIGINT"),
            (Signal::PIPE, libc::SIGPIPE, "SIGPIPE"),
            (Signal::QUIT, libc::SIGQUIT, "SIGQUIT"),
            (Signal::TERMINATE, libc::SIGTERM, "SIGTERM"),
            (Signal::TERMINAL_STOP, libc::SIGTSTP, "SIGTSTP"),
            (Signal::USER1, libc::SIGUSR1, "SIGUSR1"),
            (Signal::USER2, libc::SIGUSR2, "SIGUSR2"),
            (Signal::WINDOW_CHANGE, libc::SIGWINCH, "SIGWINCH"),
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
