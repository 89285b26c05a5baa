//! No descriptor: RLIMIT_NOFILE.

use std::cell::RefCell;
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::panic;
use std::path::PathBuf;
use std::time::Duration;

use ethreads::io::Eport;
use ethreads::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};
use ethreads::runtime::Shard;
use ethreads::signal::{Signal, Signals};
use ethreads::{DriverKind, RunError, Runtime, spawn, sync, thread, time};
use rustix::process::Resource;
use socket2::{Domain, Socket, Type};

use crate::limits::{
    goes_on, isolated, linger, open_descriptors, os_threads, set_limit, take_descriptors,
    until_some_fail, without_spinning,
};
use crate::support::{fresh, in_child, stderr, text};

const DRIVERS: [DriverKind; 2] = [DriverKind::Epoll, DriverKind::Polling];

/// Few enough that taking all is fast.
pub(crate) fn few_descriptors() {
    set_limit(Resource::Nofile, 64);
}

/// Checks that the text names the limit, and that the error below it is the system's.
fn names_the_limit(error: &io::Error) {
    let text = error.to_string();
    assert!(text.contains("RLIMIT_NOFILE (ulimit -n)"), "{text}");
    let source = error.get_ref().and_then(Error::source);
    let source: Option<&io::Error> = source.and_then(|source| source.downcast_ref());
    assert_eq!(source.unwrap().raw_os_error(), Some(libc::EMFILE));
    assert_eq!(error.kind(), source.unwrap().kind());
}

/// Calls that make a scheduler, or need one, on an OS thread that has none.
#[test]
fn a_scheduler_that_cannot_be_made_is_an_error_or_a_panic_that_says_so() {
    const NAME: &str =
        "descriptors::a_scheduler_that_cannot_be_made_is_an_error_or_a_panic_that_says_so";
    isolated(NAME, || {
        few_descriptors();
        panic::set_hook(Box::new(|_| {}));
        let said = |f: &dyn Fn()| {
            let result = panic::catch_unwind(panic::AssertUnwindSafe(f));
            let text = text(&*result.unwrap_err()).to_owned();
            assert!(text.contains("RLIMIT_NOFILE (ulimit -n)"), "{text}");
            text
        };
        fresh(|| {
            let taken = take_descriptors();
            let io_error = |result: Result<(), RunError>| match result {
                Err(RunError::Io(error)) => names_the_limit(&error),
                other => panic!("{other:?}"),
            };
            io_error(ethreads::run_main(|| ()));
            for driver in DRIVERS {
                io_error(Runtime::builder().driver(driver).run(|| ()));
            }
            names_the_limit(&thread::Builder::new().spawn(|| ()).unwrap_err());
            let sentences = [
                (said(&|| drop(spawn(|| ()))), "cannot spawn an ethread: "),
                (said(&|| drop(Shard::current())), "there is no shard here: "),
                (
                    said(&|| time::timeout(Duration::ZERO, || ()).unwrap()),
                    "there is no ethread to bound, and no scheduler: ",
                ),
                (
                    said(&|| thread::scope(|_| ())),
                    "there is no ethread to open a scope, and no scheduler: ",
                ),
                (
                    said(&thread::park),
                    "there is no ethread to park, and no scheduler: ",
                ),
                (
                    said(&|| sync::Semaphore::new(0).acquire().forget()),
                    "there is no ethread to wait, and no scheduler: ",
                ),
            ];
            for (said, begins) in sentences {
                assert!(said.starts_with(begins), "{said}");
            }
            drop(taken);
            ethreads::run_main(goes_on).unwrap();
        });
    });
}

#[test]
fn a_scheduler_that_cannot_be_made_leaves_nothing_behind() {
    const NAME: &str = "descriptors::a_scheduler_that_cannot_be_made_leaves_nothing_behind";
    isolated(NAME, || {
        few_descriptors();
        for driver in DRIVERS {
            fresh(|| {
                let run = || Runtime::builder().driver(driver).run(|| ());
                // One run first, for descriptors that the process and the OS thread keep.
                run().unwrap();
                let before = open_descriptors();
                let mut taken = take_descriptors();
                let mut failed = 0;
                // With room for some of the descriptors that it needs, it fails at each of the
                // steps.
                while let Err(error) = run() {
                    assert!(matches!(error, RunError::Io(_)), "{error}");
                    (1..1000).for_each(|_| assert!(run().is_err()));
                    failed += 1;
                    drop(taken.pop());
                }
                assert!(failed >= 2, "{failed}");
                run().unwrap();
                drop(taken);
                assert_eq!(open_descriptors(), before);
            });
        }
    });
}

/// Leaves `free` descriptors, calls `f`, and gives the taken ones back.
pub(crate) fn with_free<R>(free: usize, f: impl FnOnce() -> R) -> R {
    let mut taken = take_descriptors();
    taken.truncate(taken.len() - free);
    f()
}

#[test]
fn shards_that_cannot_be_made_are_errors_and_the_others_run() {
    const NAME: &str = "descriptors::shards_that_cannot_be_made_are_errors_and_the_others_run";
    isolated(NAME, || {
        few_descriptors();
        let builder = Runtime::builder().driver(DriverKind::Epoll).watchdog(None);
        let shards = || builder.clone().shards(4);
        let before = open_descriptors();
        // Each shard needs three descriptors, so two shards can run at the same time.
        until_some_fail(
            || with_free(8, || shards().run(|_| linger())),
            names_the_limit,
        );
        // In a group, one shard that cannot be made ends all.
        let error = with_free(7, || shards().start().unwrap_err());
        names_the_limit(&error);
        // Besides these OS threads there is the watchdog, which keeps the time.
        while os_threads() > 3 || open_descriptors() > before {
            std::thread::yield_now();
        }
        let group = shards().start().unwrap();
        let sum = group.next().spawn(|| 1 + 1).unwrap().join().unwrap();
        assert_eq!(sum, 2);
        assert!(group.shutdown().is_clean());
    });
}

fn temporary(name: &str) -> PathBuf {
    let name = format!("ethreads-exhausted-{}-{name}", std::process::id());
    std::env::temp_dir().join(name)
}

#[test]
fn what_opens_a_descriptor_fails_as_std_does_and_works_again() {
    const NAME: &str = "descriptors::what_opens_a_descriptor_fails_as_std_does_and_works_again";
    isolated(NAME, || {
        few_descriptors();
        let run = ethreads::run_main(|| {
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let listener = TcpListener::bind(any).unwrap();
            let addr = listener.local_addr().unwrap();
            let stream = TcpStream::connect(addr).unwrap();
            let udp = UdpSocket::bind(any).unwrap();
            let unix_path = temporary("listener");
            let unix = UnixListener::bind(&unix_path).unwrap();
            let (left, _right) = UnixStream::pair().unwrap();
            let datagrams = UnixDatagram::unbound().unwrap();
            let (reader, _writer) = ethreads::io::pipe().unwrap();
            let file_path = temporary("file");
            std::fs::write(&file_path, "bytes").unwrap();
            let file = Eport::new(std::fs::File::open(&file_path).unwrap()).unwrap();
            let bound = temporary("bound");
            type Call<'a> = Box<dyn Fn() -> io::Result<()> + 'a>;
            fn call<'a, R>(f: impl Fn() -> io::Result<R> + 'a) -> Call<'a> {
                Box::new(move || f().map(drop))
            }
            let calls: [(&str, Call<'_>); 19] = [
                ("TcpListener::bind", call(|| TcpListener::bind(any))),
                ("TcpListener::try_clone", call(|| listener.try_clone())),
                ("TcpStream::connect", call(|| TcpStream::connect(addr))),
                (
                    "TcpStream::connect, to several",
                    call(|| TcpStream::connect(&[addr, addr][..])),
                ),
                (
                    "TcpStream::connect_timeout",
                    call(|| TcpStream::connect_timeout(&addr, Duration::from_secs(60))),
                ),
                ("TcpStream::try_clone", call(|| stream.try_clone())),
                ("UdpSocket::bind", call(|| UdpSocket::bind(any))),
                ("UdpSocket::try_clone", call(|| udp.try_clone())),
                (
                    "UnixListener::bind",
                    call(|| {
                        let result = UnixListener::bind(&bound);
                        // The socket's file exists only if it could be bound.
                        assert_eq!(std::fs::remove_file(&bound).is_ok(), result.is_ok());
                        result
                    }),
                ),
                ("UnixListener::try_clone", call(|| unix.try_clone())),
                (
                    "UnixStream::connect",
                    call(|| UnixStream::connect(&unix_path)),
                ),
                ("UnixStream::pair", call(UnixStream::pair)),
                ("UnixStream::try_clone", call(|| left.try_clone())),
                ("UnixDatagram::unbound", call(UnixDatagram::unbound)),
                ("UnixDatagram::pair", call(UnixDatagram::pair)),
                ("UnixDatagram::try_clone", call(|| datagrams.try_clone())),
                ("io::pipe", call(ethreads::io::pipe)),
                ("PipeReader::try_clone", call(|| reader.try_clone())),
                ("Eport::read, of a file", call(|| (&file).read(&mut [0; 3]))),
            ];
            let before = open_descriptors();
            let taken = take_descriptors();
            for (name, call) in &calls {
                let error = call().unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{name}: {error}");
            }
            goes_on();
            drop(taken);
            for (name, call) in &calls {
                call().unwrap_or_else(|error| panic!("{name}: {error}"));
            }
            std::fs::remove_file(&unix_path).unwrap();
            std::fs::remove_file(&file_path).unwrap();
            assert_eq!(open_descriptors(), before);
        });
        run.unwrap();
    });
}

#[test]
fn pairs_and_pipes_leave_no_half_behind() {
    isolated("descriptors::pairs_and_pipes_leave_no_half_behind", || {
        few_descriptors();
        let before = open_descriptors();
        with_free(1, || {
            for _ in 0..1000 {
                let errors = [
                    UnixStream::pair().unwrap_err(),
                    UnixDatagram::pair().unwrap_err(),
                    ethreads::io::pipe().unwrap_err(),
                ];
                for error in errors {
                    assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
                }
            }
        });
        assert_eq!(open_descriptors(), before);
    });
}

/// A connection that cannot be accepted stays in the queue.
#[test]
fn accepting_fails_without_spinning_and_loses_no_connection() {
    const NAME: &str = "descriptors::accepting_fails_without_spinning_and_loses_no_connection";
    isolated(NAME, || {
        few_descriptors();
        let run = ethreads::run_main(|| {
            let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let path = temporary("accept");
            let unix = UnixListener::bind(&path).unwrap();
            let mut one = std::net::TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
            let mut two = std::os::unix::net::UnixStream::connect(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            one.write_all(b"one").unwrap();
            two.write_all(b"two").unwrap();
            let accept = || tcp.accept().map(|(stream, _)| OwnedFd::from(stream));
            let accept_unix = || unix.accept().map(|(stream, _)| OwnedFd::from(stream));
            let taken = take_descriptors();
            for _ in 0..100 {
                for result in [accept(), accept_unix()] {
                    assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EMFILE));
                }
            }
            // Errors come at once, and the pauses between two tries are idle.
            without_spinning(|| {
                for _ in 0..20 {
                    assert!(accept().is_err());
                    thread::sleep(Duration::from_millis(10));
                }
            });
            goes_on();
            drop(taken);
            for (fd, bytes) in [(accept(), b"one"), (accept_unix(), b"two")] {
                let mut got = [0; 3];
                Eport::new(fd.unwrap())
                    .unwrap()
                    .read_exact(&mut got)
                    .unwrap();
                assert_eq!(&got, bytes);
            }
        });
        run.unwrap();
    });
}

/// An address that does not answer: the queue of its listener is full.
fn silent() -> (Socket, SocketAddr, Socket) {
    let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let (listener, queued) = (socket(), socket());
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    let addr = listener.local_addr().unwrap();
    queued.connect(&addr).unwrap();
    (listener, addr.as_socket().unwrap(), queued)
}

#[test]
fn a_race_goes_on_with_the_attempts_that_have_a_descriptor() {
    const NAME: &str = "descriptors::a_race_goes_on_with_the_attempts_that_have_a_descriptor";
    isolated(NAME, || {
        few_descriptors();
        let run = ethreads::run_main(|| {
            let (listener, addr, queued) = silent();
            let mut taken = take_descriptors();
            drop(taken.pop());
            let race = spawn(move || TcpStream::connect(&[addr, addr, addr][..]));
            // Longer than the time after which the next attempt begins.
            without_spinning(|| thread::sleep(Duration::from_millis(600)));
            assert!(!race.is_finished(), "the first attempt is under way");
            drop(taken);
            drop(listener.accept().unwrap());
            let stream = race.join().unwrap().unwrap();
            assert_eq!(stream.peer_addr().unwrap(), addr);
            drop(queued);
        });
        run.unwrap();
    });
}

#[test]
fn signals_that_cannot_be_received_do_what_they_did_before() {
    const NAME: &str = "descriptors::signals_that_cannot_be_received_do_what_they_did_before";
    let Some(output) = in_child(NAME) else {
        few_descriptors();
        // A `Signals` needs the two descriptors of a pipe.
        for free in 0..2 {
            let error = with_free(free, || {
                Signals::new([Signal::TERMINATE, Signal::HANGUP]).unwrap_err()
            });
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "with {free} free");
        }
        eprintln!("all refused");
        signal_hook::low_level::raise(libc::SIGTERM).unwrap();
        return;
    };
    use std::os::unix::process::ExitStatusExt;
    let printed = stderr(&output);
    assert!(printed.contains("all refused"), "{printed}");
    assert_eq!(output.status.signal(), Some(libc::SIGTERM), "{printed}");
}

/// The backtrace of an ethread is read from files, which cannot be opened here.
#[test]
fn a_deadlock_is_reported_without_descriptors() {
    isolated(
        "descriptors::a_deadlock_is_reported_without_descriptors",
        || {
            few_descriptors();
            let builder = thread::Builder::new().name("never-woken");
            let parked = builder.spawn(|| thread::park()).unwrap();
            let taken = take_descriptors();
            let Err(RunError::Deadlock(deadlock)) = ethreads::run() else {
                panic!("it has ended");
            };
            let report = deadlock.to_string();
            drop(taken);
            assert!(report.contains("never-woken"), "{report}");
            assert!(report.contains(file!()), "{report}");
            parked.thread().unpark();
            ethreads::run().unwrap();
            parked.join().unwrap();
        },
    );
}

#[test]
fn standard_streams_need_no_descriptor() {
    isolated("descriptors::standard_streams_need_no_descriptor", || {
        few_descriptors();
        let run = ethreads::run_main(|| {
            let taken = take_descriptors();
            let mut stderr = ethreads::io::stderr();
            assert_eq!(stderr.write(b"still here\n").unwrap(), 11);
            let stdin = ethreads::io::stdin();
            assert!(stdin.as_fd().try_clone_to_owned().is_err());
            goes_on();
            drop(taken);
        });
        run.unwrap();
    });
}

#[test]
fn a_descriptor_that_is_there_needs_no_other_one() {
    isolated(
        "descriptors::a_descriptor_that_is_there_needs_no_other_one",
        || {
            few_descriptors();
            let run = ethreads::run_main(|| {
                let (left, mut right) = UnixStream::pair().unwrap();
                let before = open_descriptors();
                let taken = take_descriptors();
                // The first wait registers the descriptor, which takes no other one.
                let reader = spawn(move || {
                    let mut byte = [0];
                    (&left).read_exact(&mut byte).unwrap();
                    byte[0]
                });
                thread::yield_now();
                let late = RefCell::new(Vec::new());
                right
                    .set_read_timeout(Some(Duration::from_millis(1)))
                    .unwrap();
                let error = right.read(&mut [0]).unwrap_err();
                late.borrow_mut().push(error.kind());
                right.write_all(b"x").unwrap();
                assert_eq!(reader.join().unwrap(), b'x');
                assert_eq!(*late.borrow(), [ErrorKind::TimedOut]);
                drop(taken);
                drop(right);
                assert_eq!(open_descriptors(), before - 2);
            });
            run.unwrap();
        },
    );
}
