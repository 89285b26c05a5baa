//! Handlers of signals: what the library takes over, and gives back.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ethreads::signal::{Signal, Signals};

use super::signals::{in_a_child, open_descriptors, send};
use crate::support::{in_child, stderr};

#[test]
fn the_last_drop_gives_the_signal_back() {
    const NAME: &str = "runtime::signal_handlers::the_last_drop_gives_the_signal_back";
    if let Some(output) = in_child(NAME) {
        let text = stderr(&output);
        assert!(text.contains("all dropped"), "{text}");
        assert_eq!(output.status.signal(), Some(libc::SIGTERM), "{text}");
        return;
    }
    // One creation beforehand, for what the process keeps.
    drop(Signals::new([Signal::TERMINATE]).unwrap());
    let before = open_descriptors();
    let first = Signals::new([Signal::TERMINATE, Signal::CHILD]).unwrap();
    let second = Signals::new([Signal::TERMINATE]).unwrap();
    drop(first);
    send(Signal::TERMINATE);
    assert_eq!(second.recv().unwrap(), Signal::TERMINATE);
    drop(second);
    assert_eq!(open_descriptors(), before);
    // The default action of SIGCHLD is none.
    send(Signal::CHILD);
    eprintln!("all dropped");
    // The default action of SIGTERM ends the process.
    send(Signal::TERMINATE);
}

#[test]
fn a_handler_that_was_there_before_is_called_and_put_back() {
    in_a_child(
        "runtime::signal_handlers::a_handler_that_was_there_before_is_called_and_put_back",
        || {
            let told = Arc::<AtomicBool>::default();
            signal_hook::flag::register(libc::SIGUSR1, told.clone()).unwrap();
            let signals = Signals::new([Signal::USER1]).unwrap();
            send(Signal::USER1);
            assert_eq!(signals.try_recv(), Some(Signal::USER1));
            assert!(told.swap(false, Ordering::SeqCst));
            drop(signals);
            send(Signal::USER1);
            assert!(told.swap(false, Ordering::SeqCst));
        },
    );
}

#[test]
fn a_handler_that_came_after_ours_stays_on_top() {
    in_a_child(
        "runtime::signal_handlers::a_handler_that_came_after_ours_stays_on_top",
        || {
            let first = Signals::new([Signal::USER1]).unwrap();
            let told = Arc::<AtomicBool>::default();
            signal_hook::flag::register(libc::SIGUSR1, told.clone()).unwrap();
            drop(first);
            // The handler on top calls the one of the crate, which has no watch.
            send(Signal::USER1);
            assert!(told.swap(false, Ordering::SeqCst));
            let second = Signals::new([Signal::USER1]).unwrap();
            send(Signal::USER1);
            assert_eq!(second.try_recv(), Some(Signal::USER1));
            assert!(told.swap(false, Ordering::SeqCst));
        },
    );
}

/// Sets the action of a signal, behind the back of the library; returns the one before.
#[allow(unsafe_code)]
fn set_action(signal: Signal, action: &libc::sigaction) -> libc::sigaction {
    // SAFETY: all fields of this C struct may be zero; `action` sets SIG_DFL or SIG_IGN, or is what
    // an earlier call has returned.
    unsafe {
        let mut before = std::mem::zeroed();
        let set = libc::sigaction(signal.as_raw(), action, &mut before);
        assert_eq!(set, 0, "{}", io::Error::last_os_error());
        before
    }
}

/// An action without a handler.
#[allow(unsafe_code)]
fn no_handler(disposition: libc::sighandler_t) -> libc::sigaction {
    // SAFETY: all fields of this C struct may be zero.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = disposition;
    action
}

#[test]
#[allow(unsafe_code)]
fn the_signals_of_a_forked_child_are_its_own() {
    in_a_child(
        "runtime::signal_handlers::the_signals_of_a_forked_child_are_its_own",
        || {
            let ours = Signals::new([Signal::USER1]).unwrap();
            // SAFETY: the child makes a few system calls and ends by _exit(2).
            let child = unsafe { libc::fork() };
            if child == 0 {
                let own = Signals::new([Signal::USER1]).unwrap();
                send(Signal::USER1);
                let received = own.try_recv() == Some(Signal::USER1);
                drop(own);
                // SAFETY: no destructor of the parent's threads may run here.
                unsafe { libc::_exit(i32::from(!received)) };
            }
            let mut status = 0;
            // SAFETY: `status` is valid for writes.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert_eq!(status, 0, "the child has received its signal");
            // Not even a byte has come through the pipe that the child has inherited.
            let mut poll = libc::pollfd {
                fd: ours.as_fd().as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one `pollfd` that is valid for writes.
            assert_eq!(unsafe { libc::poll(&mut poll, 1, 0) }, 0);
            send(Signal::USER1);
            assert_eq!(ours.try_recv(), Some(Signal::USER1));
        },
    );
}

#[test]
fn a_signal_whose_handler_was_taken_away_is_watched_again() {
    in_a_child(
        "runtime::signal_handlers::a_signal_whose_handler_was_taken_away_is_watched_again",
        || {
            for default in [libc::SIG_DFL, libc::SIG_IGN] {
                // Taken away while a watch lives: the next one sees the signal.
                let first = Signals::new([Signal::USER1]).unwrap();
                set_action(Signal::USER1, &no_handler(default));
                let second = Signals::new([Signal::USER1]).unwrap();
                send(Signal::USER1);
                assert_eq!(first.try_recv(), Some(Signal::USER1));
                assert_eq!(second.try_recv(), Some(Signal::USER1));
                // Taken away before the last watch goes: the next one begins anew.
                set_action(Signal::USER1, &no_handler(default));
                drop((first, second));
                let third = Signals::new([Signal::USER1]).unwrap();
                send(Signal::USER1);
                assert_eq!(third.try_recv(), Some(Signal::USER1));
                set_action(Signal::USER1, &no_handler(libc::SIG_DFL));
            }
        },
    );
}

#[test]
fn a_handler_that_is_put_back_without_a_watch_acts_as_the_default() {
    const NAME: &str =
        "runtime::signal_handlers::a_handler_that_is_put_back_without_a_watch_acts_as_the_default";
    if let Some(output) = in_child(NAME) {
        let text = stderr(&output);
        assert!(text.contains("all dropped"), "{text}");
        assert_eq!(output.status.signal(), Some(libc::SIGUSR1), "{text}");
        return;
    }
    let first = Signals::new([Signal::USER1]).unwrap();
    // As system(3) does with SIGINT: saved, and restored later.
    let ours = set_action(Signal::USER1, &no_handler(libc::SIG_IGN));
    drop(first);
    set_action(Signal::USER1, &ours);
    // The handler on top is not taken for one that was there before.
    let second = Signals::new([Signal::USER1]).unwrap();
    send(Signal::USER1);
    assert_eq!(second.try_recv(), Some(Signal::USER1));
    drop(second);
    eprintln!("all dropped");
    send(Signal::USER1);
}

#[test]
fn the_number_of_watches_has_a_limit_that_its_error_names() {
    in_a_child(
        "runtime::signal_handlers::the_number_of_watches_has_a_limit_that_its_error_names",
        || {
            let mut all: Vec<_> = (0..256)
                .map(|_| Signals::new([Signal::USER1]).unwrap())
                .collect();
            let error = Signals::new([Signal::USER2]).unwrap_err();
            assert!(error.to_string().contains("256"), "{error}");
            all.pop();
            drop(Signals::new([Signal::USER2]).unwrap());
            send(Signal::USER1);
            assert!(
                all.iter()
                    .all(|signals| signals.try_recv() == Some(Signal::USER1))
            );
        },
    );
}
