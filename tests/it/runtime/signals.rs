//! Signals of the process as events. Signals belong to the process, so each test has its own
//! process.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use ethreads::DriverKind;
use ethreads::signal::{Signal, Signals, ctrl_c};
use ethreads::sync::channel;
use ethreads::sync::select::{Operation, after, readable};
use ethreads::thread::{self, Cancelled};
use ethreads::{Runtime, runtime, select, time};

use crate::net::support::{on_driver, on_each_driver, until_true, until_waiting};
use crate::support::{fresh, in_child, stderr};

const HOUR: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(2);

/// Sends a signal to this OS thread; the signal has been handled when this returns.
pub(super) fn send(signal: Signal) {
    signal_hook::low_level::raise(signal.as_raw()).unwrap();
}

#[track_caller]
fn assert_success(output: &Output) {
    assert!(output.status.success(), "{}", stderr(output));
}

/// Runs a test in a process of its own, on each driver.
#[track_caller]
pub(super) fn in_a_child(name: &str, test: fn()) {
    match in_child(name) {
        Some(output) => assert_success(&output),
        None => on_each_driver(test),
    }
}

fn user1_and_2() -> Signals {
    Signals::new([Signal::USER1, Signal::USER2]).unwrap()
}

/// All signals that can be received at once.
fn come(signals: &Signals) -> Vec<Signal> {
    std::iter::from_fn(|| signals.try_recv()).collect()
}

fn nothing_waits() {
    assert_eq!(runtime::stats().unwrap().io_waits, 0);
}

#[test]
fn a_signal_wakes_its_waiter_and_the_others_go_on_meanwhile() {
    in_a_child(
        "runtime::signals::a_signal_wakes_its_waiter_and_the_others_go_on_meanwhile",
        || {
            let signals = user1_and_2();
            let received = Rc::new(RefCell::new(Vec::new()));
            let theirs = received.clone();
            let receiver = thread::spawn(move || {
                for _ in 0..2 {
                    let signal = signals.recv().unwrap();
                    theirs.borrow_mut().push(signal);
                }
            });
            until_waiting(1);
            (0..10).for_each(|_| thread::yield_now());
            assert!(received.borrow().is_empty());
            send(Signal::USER2);
            until_true(|| received.borrow().len() == 1);
            until_waiting(1);
            assert!(!receiver.is_finished());
            send(Signal::USER1);
            receiver.join().unwrap();
            assert_eq!(*received.borrow(), [Signal::USER2, Signal::USER1]);
            nothing_waits();
        },
    );
}

/// The driver waits for the signal; nothing in this shard could wake the waiter.
#[test]
fn a_shard_that_waits_for_a_signal_only_is_no_deadlock() {
    in_a_child(
        "runtime::signals::a_shard_that_waits_for_a_signal_only_is_no_deadlock",
        || {
            let signals = user1_and_2();
            let (begin, begun) = mpsc::channel();
            let sender = std::thread::spawn(move || {
                begun.recv().unwrap();
                send(Signal::USER1);
            });
            begin.send(()).unwrap();
            assert_eq!(signals.recv().unwrap(), Signal::USER1);
            sender.join().unwrap();
        },
    );
}

#[test]
fn the_same_ones_are_one_and_different_ones_are_all_told() {
    in_a_child(
        "runtime::signals::the_same_ones_are_one_and_different_ones_are_all_told",
        || {
            let signals = Signals::new([Signal::USER1, Signal::USER2, Signal::USER1]).unwrap();
            assert_eq!(format!("{signals:?}"), "Signals {SIGUSR1, SIGUSR2}");
            assert_eq!(signals.try_recv(), None);
            for _ in 0..3 {
                send(Signal::USER1);
                send(Signal::USER2);
                send(Signal::USER1);
                let two = come(&signals);
                assert_eq!(two.len(), 2);
                let all = HashSet::from([Signal::USER1, Signal::USER2]);
                assert_eq!(HashSet::from_iter(two), all);
            }
            // The same for receives that may wait.
            send(Signal::USER1);
            send(Signal::USER2);
            let two = [signals.recv().unwrap(), signals.recv().unwrap()];
            assert_ne!(two[0], two[1]);
            assert_eq!(signals.try_recv(), None);
        },
    );
}

#[test]
fn one_that_always_comes_again_does_not_keep_another_one_back() {
    in_a_child(
        "runtime::signals::one_that_always_comes_again_does_not_keep_another_one_back",
        || {
            let signals = user1_and_2();
            send(Signal::USER2);
            send(Signal::USER1);
            let received = signals.iter().map(|signal| {
                let signal = signal.unwrap();
                send(signal);
                signal
            });
            let four: Vec<_> = received.take(4).collect();
            assert_ne!(four[0], four[1]);
            assert_eq!(four[..2], four[2..]);
        },
    );
}

#[test]
fn each_waiter_is_told_wherever_it_is() {
    in_a_child(
        "runtime::signals::each_waiter_is_told_wherever_it_is",
        || {
            let (ready, all_ready) = mpsc::channel();
            let other_shards = [DriverKind::Epoll, DriverKind::Polling].map(|kind| {
                let ready = ready.clone();
                on_driver(kind, move || {
                    let signals = user1_and_2();
                    ready.send(()).unwrap();
                    signals.recv().unwrap()
                })
            });
            // This receiver blocks its OS thread.
            let no_shard = std::thread::spawn(move || {
                let signals = user1_and_2();
                ready.send(()).unwrap();
                signals.recv().unwrap()
            });
            let here = [user1_and_2(), user1_and_2()];
            let not_this_one = Signals::new([Signal::USER2]).unwrap();
            for _ in 0..3 {
                all_ready.recv().unwrap();
            }
            send(Signal::USER1);
            for signals in here {
                assert_eq!(signals.recv().unwrap(), Signal::USER1);
            }
            for shard in other_shards {
                assert_eq!(shard.join().unwrap(), Signal::USER1);
            }
            assert_eq!(no_shard.join().unwrap(), Signal::USER1);
            assert_eq!(not_this_one.try_recv(), None);
        },
    );
}

/// Two signals may be one event for the driver, and two waiters have to be woken.
#[test]
fn each_receiver_that_shares_it_gets_one() {
    in_a_child(
        "runtime::signals::each_receiver_that_shares_it_gets_one",
        || {
            for _ in 0..100 {
                let signals = Rc::new(user1_and_2());
                let receivers = [signals.clone(), signals.clone()]
                    .map(|signals| thread::spawn(move || signals.recv().unwrap()));
                until_waiting(2);
                send(Signal::USER1);
                send(Signal::USER2);
                let both = receivers.map(|receiver| receiver.join().unwrap());
                assert_ne!(both[0], both[1]);
                assert_eq!(signals.try_recv(), None);
            }
        },
    );
}

/// The first receiver empties the pipe, perhaps before the other driver has looked at it.
#[test]
fn each_receiver_that_shares_it_between_os_threads_gets_one() {
    in_a_child(
        "runtime::signals::each_receiver_that_shares_it_between_os_threads_gets_one",
        || {
            let (sender, received) = mpsc::channel();
            let signals = Arc::new(user1_and_2());
            let (theirs, their_sender) = (signals.clone(), sender.clone());
            let shard = on_driver(DriverKind::Polling, move || {
                for _ in 0..500 {
                    their_sender.send(theirs.recv().unwrap()).unwrap();
                }
            });
            let theirs = signals.clone();
            let no_shard = std::thread::spawn(move || {
                for _ in 0..500 {
                    sender.send(theirs.recv().unwrap()).unwrap();
                }
            });
            for _ in 0..500 {
                send(Signal::USER1);
                send(Signal::USER2);
                let both = [received.recv().unwrap(), received.recv().unwrap()];
                assert_ne!(both[0], both[1]);
            }
            shard.join().unwrap();
            no_shard.join().unwrap();
            assert_eq!(signals.try_recv(), None);
        },
    );
}

/// A full pipe takes no byte, and reports nothing new until it is emptied.
#[test]
fn more_than_the_pipe_holds_is_no_harm() {
    in_a_child(
        "runtime::signals::more_than_the_pipe_holds_is_no_harm",
        || {
            let signals = Rc::new(user1_and_2());
            let theirs = signals.clone();
            let receiver = thread::spawn(move || theirs.recv().unwrap());
            until_waiting(1);
            for _ in 0..70_000 {
                send(Signal::USER1);
            }
            send(Signal::USER2);
            let first = receiver.join().unwrap();
            let second = signals.recv().unwrap();
            assert_ne!(first, second);
            let theirs = signals.clone();
            let receiver = thread::spawn(move || theirs.recv().unwrap());
            until_waiting(1);
            send(Signal::USER2);
            assert_eq!(receiver.join().unwrap(), Signal::USER2);
        },
    );
}

#[test]
fn what_cannot_be_received_is_refused_and_nothing_has_happened() {
    const NAME: &str =
        "runtime::signals::what_cannot_be_received_is_refused_and_nothing_has_happened";
    if let Some(output) = in_child(NAME) {
        assert!(
            stderr(&output).contains("all refused"),
            "{}",
            stderr(&output)
        );
        assert_eq!(output.status.signal(), Some(libc::SIGTERM));
        return;
    }
    for raw in [
        libc::SIGKILL,
        libc::SIGSTOP,
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
    ] {
        let forbidden = Signal::from_raw(raw).unwrap();
        let error = Signals::new([Signal::TERMINATE, forbidden]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(
            error.to_string().starts_with(&forbidden.to_string()),
            "{error}"
        );
    }
    let error = Signals::new([]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    eprintln!("all refused");
    // The signal does what it did before.
    send(Signal::TERMINATE);
}

pub(super) fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn without_descriptors_nothing_is_left_behind() {
    in_a_child(
        "runtime::signals::without_descriptors_nothing_is_left_behind",
        || {
            drop(user1_and_2());
            let before = open_descriptors();
            let mut room = Vec::new();
            while let Ok(file) = std::fs::File::open("/dev/null") {
                room.push(file);
            }
            // With fewer descriptors than the two of a pipe, `Signals::new` fails.
            for free in 0..2 {
                let error = Signals::new([Signal::USER1, Signal::USER2]).unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "with {free} free");
                drop(room.pop());
            }
            let signals = user1_and_2();
            send(Signal::USER1);
            assert_eq!(signals.recv().unwrap(), Signal::USER1);
            drop((room, signals));
            assert_eq!(open_descriptors(), before);
        },
    );
}

#[test]
fn a_deadline_and_a_cancel_end_the_wait_and_lose_nothing() {
    in_a_child(
        "runtime::signals::a_deadline_and_a_cancel_end_the_wait_and_lose_nothing",
        || {
            let signals = Rc::new(user1_and_2());
            let error = time::timeout_io(SOON, || signals.recv()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            nothing_waits();
            let theirs = signals.clone();
            let receiver = thread::spawn(move || theirs.recv());
            until_waiting(1);
            // The signal comes before the cancelled ethread runs.
            send(Signal::USER1);
            receiver.cancel();
            assert!(receiver.join().unwrap_err().is::<Cancelled>());
            nothing_waits();
            assert_eq!(signals.recv().unwrap(), Signal::USER1);
        },
    );
}

#[test]
fn a_signal_or_something_else_can_be_waited_for() {
    in_a_child(
        "runtime::signals::a_signal_or_something_else_can_be_waited_for",
        || {
            let signals = user1_and_2();
            let (sender, receiver) = channel::unbounded();
            let first = |limit| {
                loop {
                    select! {
                        ready = readable(&signals) => {
                            ready.unwrap();
                            if let Some(signal) = signals.try_recv() {
                                break signal.to_string();
                            }
                        }
                        text = receiver.receiving() => break String::from(text.unwrap()),
                        () = after(limit) => break String::from("nothing"),
                    }
                }
            };
            assert_eq!(first(SOON), "nothing");
            let other = thread::spawn(|| {
                until_waiting(1);
                send(Signal::USER1);
            });
            assert_eq!(first(HOUR), "SIGUSR1");
            other.join().unwrap();
            let theirs = sender.clone();
            let other = thread::spawn(move || {
                until_waiting(1);
                theirs.send("a message").unwrap();
            });
            assert_eq!(first(HOUR), "a message");
            other.join().unwrap();
            // The second of two signals is received as well, though its byte was read with the
            // first.
            send(Signal::USER1);
            send(Signal::USER2);
            assert_ne!(first(HOUR), first(HOUR));
            let ready = readable(&signals).try_perform();
            assert!(ready.is_none(), "there is nothing more");
            nothing_waits();
        },
    );
}

#[test]
fn the_iterator_goes_on() {
    in_a_child("runtime::signals::the_iterator_goes_on", || {
        let signals = user1_and_2();
        let received = Rc::new(Cell::new(0));
        let theirs = received.clone();
        let other = thread::spawn(move || {
            for n in 0..3 {
                until_true(|| theirs.get() == n);
                send(Signal::USER1);
            }
        });
        for signal in &signals {
            assert_eq!(signal.unwrap(), Signal::USER1);
            received.set(received.get() + 1);
            if received.get() == 3 {
                break;
            }
        }
        other.join().unwrap();
    });
}

#[test]
fn ctrl_c_is_waited_for() {
    in_a_child("runtime::signals::ctrl_c_is_waited_for", || {
        let waiter = thread::spawn(ctrl_c);
        until_waiting(1);
        send(Signal::INTERRUPT);
        waiter.join().unwrap().unwrap();
        let error = time::timeout_io(SOON, ctrl_c).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        nothing_waits();
    });
}

#[test]
fn other_programs_get_no_descriptor_and_the_default_action() {
    in_a_child(
        "runtime::signals::other_programs_get_no_descriptor_and_the_default_action",
        || {
            let run = |script: &str| Command::new("sh").args(["-c", script]).output().unwrap();
            let list = || run("ls /proc/self/fd").stdout;
            let before = list();
            let signals = Signals::new([Signal::TERMINATE]).unwrap();
            assert_eq!(list(), before);
            let ended = run("kill -TERM $$; echo still here");
            assert_eq!(ended.status.signal(), Some(libc::SIGTERM));
            assert!(ended.stdout.is_empty());
            assert_eq!(signals.try_recv(), None);
        },
    );
}

#[test]
fn without_ethreads_it_blocks() {
    const NAME: &str = "runtime::signals::without_ethreads_it_blocks";
    if let Some(output) = in_child(NAME) {
        return assert_success(&output);
    }
    let signals = Arc::new(user1_and_2());
    let theirs = signals.clone();
    let receiver = std::thread::spawn(move || theirs.recv().unwrap());
    send(Signal::USER1);
    assert_eq!(receiver.join().unwrap(), Signal::USER1);
    // `Signals` can be used from several OS threads, and moved into a shard.
    let moved = fresh(move || {
        let receive = move || {
            send(Signal::USER2);
            signals.recv().unwrap()
        };
        Runtime::builder().run(receive).unwrap()
    });
    assert_eq!(moved, Signal::USER2);
}

#[test]
fn its_descriptor_is_not_inherited_and_does_not_block() {
    let is_send_and_sync = |_: &(dyn Send + Sync)| ();
    // The signal is ignored by default, so that other tests do not notice.
    let signals = Signals::new([Signal::WINDOW_CHANGE]).unwrap();
    is_send_and_sync(&signals);
    let flags = flags_of(&signals).unwrap();
    assert!(flags.contains("02004000"), "CLOEXEC and NONBLOCK: {flags}");
}

/// The flags of the descriptor, as Linux reports them.
fn flags_of(signals: &Signals) -> io::Result<String> {
    use std::os::fd::AsRawFd;
    let fd = signals.as_fd().as_raw_fd();
    std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))
}

#[cfg(feature = "sim")]
#[test]
fn the_simulation_has_no_signals() {
    let error = ethreads::sim::run(1, || Signals::new([Signal::WINDOW_CHANGE]).unwrap_err());
    assert_eq!(error.unwrap().kind(), ErrorKind::Unsupported);
}

#[cfg(feature = "http")]
mod with_a_server {
    use ethreads::http::{Request, Server};

    use super::*;
    use crate::http::util::{Client, LONG, settle, timeouts};

    fn bind() -> (Server, Client) {
        let server = Server::bind("127.0.0.1:0").unwrap();
        let server = server.timeouts(timeouts(|_| ())).drain_grace(LONG);
        let client = Client::new(server.local_addr().unwrap());
        (server, client)
    }

    /// One SIGTERM drains the server and is received here.
    fn both_are_told(server_first: bool) {
        let (server, mut client) = bind();
        let early = (!server_first).then(|| Signals::new([Signal::TERMINATE]).unwrap());
        let served = thread::spawn(move || server.run(|_: &mut Request| "x"));
        assert_eq!(client.get("/").status, 200);
        let signals = early.unwrap_or_else(|| Signals::new([Signal::TERMINATE]).unwrap());
        let signals = Rc::new(signals);
        let theirs = signals.clone();
        let receiver = thread::spawn(move || theirs.recv().unwrap());
        settle();
        send(Signal::TERMINATE);
        assert_eq!(receiver.join().unwrap(), Signal::TERMINATE);
        client.end();
        served.join().unwrap().unwrap();
        // The server is gone, and the remaining receiver still gets the signal.
        send(Signal::TERMINATE);
        assert_eq!(signals.recv().unwrap(), Signal::TERMINATE);
    }

    #[test]
    fn a_server_that_runs_before_is_told_too() {
        in_a_child(
            "runtime::signals::with_a_server::a_server_that_runs_before_is_told_too",
            || both_are_told(true),
        );
    }

    #[test]
    fn a_server_that_runs_after_is_told_too() {
        in_a_child(
            "runtime::signals::with_a_server::a_server_that_runs_after_is_told_too",
            || both_are_told(false),
        );
    }

    #[test]
    fn the_second_signal_ends_the_process_all_the_same() {
        const NAME: &str =
            "runtime::signals::with_a_server::the_second_signal_ends_the_process_all_the_same";
        if let Some(output) = in_child(NAME) {
            assert!(stderr(&output).contains("told once"), "{}", stderr(&output));
            assert_eq!(output.status.signal(), Some(libc::SIGTERM));
            return;
        }
        on_each_driver(|| {
            let (server, mut client) = bind();
            let signals = Signals::new([Signal::TERMINATE]).unwrap();
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
            let run = server.run(move |_: &mut Request| -> &'static str {
                send(Signal::TERMINATE);
                assert_eq!(signals.recv().unwrap(), Signal::TERMINATE);
                eprintln!("told once");
                send(Signal::TERMINATE);
                eprintln!("told twice");
                "x"
            });
            run.unwrap();
        });
    }
}
