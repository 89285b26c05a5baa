//! Formatting goes through user code: the writer of the text. The library must not have anything
//! borrowed, locked or half changed meanwhile.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::rc::Rc;
use std::time::Duration;

use ethreads::bridge::{self, Exit, Interest, Suspended};
use ethreads::io::{self, Eport, PipeReader};
use ethreads::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};
use ethreads::runtime::{Shard, WouldPark};
use ethreads::signal::{Signal, Signals};
use ethreads::time::{self, Instant};
use ethreads::{RunError, Runtime, fs, runtime, thread};

use crate::support::fresh;

use super::kit::{Hostility, Kit};
use super::{But, Play, Row, row};

type Show<T> = fn(&T, &mut dyn fmt::Write) -> fmt::Result;

/// Formats `value` to a hostile writer, while another ethread uses the value.
pub(super) fn text<T: 'static>(kit: &Kit, value: T, show: Show<T>, other: fn(&T)) -> Play {
    let value = Rc::new(value);
    let (shown, again, used) = (value.clone(), value.clone(), value.clone());
    kit.again(move || {
        show(&again, &mut String::new()).unwrap();
        other(&again);
    });
    let mut pen = kit.pen();
    Play::new(
        move || {
            let uses = thread::spawn(move || other(&used));
            show(&shown, &mut pen).unwrap();
            assert!(!pen.text.is_empty());
            uses.join().unwrap();
        },
        move |_| {
            let mut text = String::new();
            show(&value, &mut text).unwrap();
            other(&value);
            assert!(!text.is_empty());
        },
    )
}

macro_rules! debug {
    ($name:literal, $value:expr) => {
        debug!($name, $value, |_| ())
    };
    ($name:literal, $value:expr, $other:expr) => {
        row($name, "Write", |kit| {
            text(kit, $value, |value, to| write!(to, "{value:?}"), $other)
        })
    };
}

macro_rules! both {
    ($name:literal, $value:expr) => {
        row($name, "Write", |kit| {
            text(
                kit,
                $value,
                |value, to| write!(to, "{value:?} {value}"),
                |_| (),
            )
        })
    };
}

pub(super) use {both, debug};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = of_runtime();
    rows.extend(of_io());
    rows.extend(servers());
    rows
}

fn of_runtime() -> Vec<Row> {
    vec![
        row("bridge::Exit::fmt", "Write", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let printed = fresh(move || {
                    bridge::run_until(|exit: Exit<()>| {
                        let mut pen = kit.pen();
                        write!(pen, "{exit:?}").unwrap();
                        exit.finish(());
                    })
                });
                printed.unwrap();
            })
        })
        // No ethread runs there that could be cancelled.
        .but(&[(Hostility::CancelSelf, But::Skip)]),
        row("bridge::Suspended::fmt", "Write", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let slot = Rc::new(std::cell::Cell::new(None));
                let theirs = slot.clone();
                let waits = thread::spawn(move || {
                    bridge::suspend(|me: Suspended<()>| theirs.set(Some(me)))
                });
                thread::yield_now();
                let me = slot.take().unwrap();
                let mut pen = kit.pen();
                write!(pen, "{me:?}").unwrap();
                let me = me.into_remote();
                write!(pen, "{me:?}").unwrap();
                me.resume(());
                waits.join().unwrap();
            })
        }),
        row("bridge::RemoteSuspended::fmt", "Write", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let mut pen = kit.pen();
                bridge::suspend(|me: Suspended<()>| {
                    let me = me.into_remote();
                    drop(thread::spawn(move || {
                        write!(pen, "{me:?}").unwrap();
                        me.resume(());
                    }));
                });
            })
        })
        // If the writer unwinds, the `RemoteSuspended` is dropped, which ends the suspended
        // ethread.
        .but(&[
            (Hostility::Panic, But::Ends),
            (Hostility::PanicAgain, But::Ends),
            (Hostility::PanicAndWait, But::Ends),
        ]),
        both!("runtime::Thread::fmt", thread::current()),
        both!("runtime::ThreadId::fmt", thread::current().id()),
        debug!(
            "runtime::RemoteThread::fmt",
            thread::current().into_remote()
        ),
        debug!("runtime::JoinHandle::fmt", thread::spawn(|| ()), |handle| {
            let _ = handle.is_finished();
        }),
        debug!(
            "runtime::CancelOnDrop::fmt",
            thread::spawn(|| ()).cancel_on_drop(),
            |handle| {
                handle.cancel();
            }
        ),
        debug!(
            "runtime::RemoteJoinHandle::fmt",
            Shard::current().spawn(|| ()).unwrap(),
            |handle| handle.cancel()
        ),
        debug!("runtime::Shard::fmt", Shard::current(), |shard| {
            drop(shard.spawn(|| ()).unwrap().join());
        }),
        row("runtime::ShardGroup::fmt", "Write", |kit| {
            let group = Runtime::builder().shards(1).start().unwrap();
            text(
                kit,
                group,
                |value, to| write!(to, "{value:?}"),
                |group| {
                    let _ = group.shutdown();
                },
            )
        }),
        both!("runtime::ShutdownReport::fmt", {
            Runtime::builder().shards(1).start().unwrap().shutdown()
        }),
        row("runtime::SpawnError::fmt", "Write", |kit| {
            let group = Runtime::builder().shards(1).start().unwrap();
            group.shutdown();
            let error = group.spawn(|| ()).unwrap_err();
            text(
                kit,
                error,
                |value, to| write!(to, "{value:?} {value}"),
                |_| (),
            )
        }),
        both!("runtime::Deadlock::fmt", deadlock()),
        row("runtime::Parked::fmt", "Write", |kit| {
            text(
                kit,
                deadlock(),
                |value, to| write!(to, "{:?} {}", value.parked()[0], value.parked()[0]),
                |_| (),
            )
        }),
        both!("runtime::RunError::fmt", RunError::Deadlock(deadlock())),
        both!("runtime::Cancelled::fmt", {
            let handle = thread::spawn(thread::park);
            handle.cancel();
            *handle
                .join()
                .unwrap_err()
                .downcast::<thread::Cancelled>()
                .unwrap()
        }),
        both!("runtime::Elapsed::fmt", {
            time::timeout(Duration::ZERO, thread::park).unwrap_err()
        }),
        both!("runtime::WouldPark::fmt", {
            let cell = Rc::new(std::cell::Cell::new(None));
            let theirs = cell.clone();
            let other = thread::spawn(thread::park);
            let unwinds = thread::spawn(move || {
                let mut other = Some(other);
                let _joins = crate::support::OnDrop(move || {
                    let other = other.take().unwrap();
                    other.cancel();
                    theirs.set(other.join().err());
                });
                std::panic::resume_unwind(Box::new("on the way"));
            });
            let _ = unwinds.join();
            *cell.take().unwrap().downcast::<WouldPark>().unwrap()
        }),
        debug!("runtime::Instant::fmt", Instant::now()),
        row("runtime::DriverKind::fmt", "Write", |kit| {
            let driver = runtime::stats().unwrap().driver;
            text(
                kit,
                driver,
                |value, to| write!(to, "{value:?} {value}"),
                |_| (),
            )
        }),
        row("thread::Local::fmt", "Write", |kit| {
            static LOCAL: thread::Local<u8> = thread::Local::new(|| 7);
            text(
                kit,
                (),
                |(), to| write!(to, "{LOCAL:?}"),
                |()| LOCAL.with(|_| ()),
            )
        }),
        row("thread::ScopedJoinHandle::fmt", "Write", |kit| {
            let mut pen = kit.pen();
            Play::call(move || {
                let words = vec![7; 1000];
                thread::scope(|scope| {
                    let child = scope.spawn(|| {
                        (0..100).for_each(|_| thread::yield_now());
                        assert_eq!(words[999], 7);
                    });
                    write!(pen, "{child:?}").unwrap();
                    child.join().unwrap();
                });
            })
        }),
    ]
}

/// The report of a run in which an ethread waits for what never comes.
fn deadlock() -> ethreads::Deadlock {
    let run = || {
        thread::Builder::new()
            .name("waits")
            .spawn(thread::park)
            .unwrap();
        ethreads::run()
    };
    let result = fresh(|| match run() {
        Err(RunError::Deadlock(deadlock)) => {
            deadlock.cancel_all();
            Some(deadlock)
        }
        _ => None,
    });
    result.unwrap()
}

/// A port that is registered with the driver.
pub(super) fn port() -> PipeReader {
    let (reader, mut writer) = io::pipe().unwrap();
    let reads = thread::spawn(move || {
        std::io::Read::read_exact(&mut &reader, &mut [0]).unwrap();
        reader
    });
    thread::yield_now();
    writer.write_all(b"x").unwrap();
    reads.join().unwrap()
}

/// Waits for a port, which registers it.
fn try_port(port: &impl bridge::Source) {
    let waits = bridge::on_ready(port, Interest::Readable, None, |_| ()).unwrap();
    waits.cancel();
    let _ = waits.join();
}

fn of_io() -> Vec<Row> {
    vec![
        debug!("io::PipeReader::fmt", port(), try_port),
        debug!("io::PipeReader::fmt", io::pipe().unwrap().0, |port| {
            try_port(port)
        })
        .called("unknown"),
        debug!("io::PipeWriter::fmt", io::pipe().unwrap().1, |port| {
            try_port(port)
        }),
        debug!(
            "io::Eport::fmt",
            Eport::new(std::io::pipe().unwrap().0).unwrap(),
            |port| {
                try_port(port);
            }
        ),
        debug!("io::Stdin::fmt", io::stdin()),
        debug!(
            "net::TcpListener::fmt",
            TcpListener::bind("127.0.0.1:0").unwrap(),
            |listener| {
                try_port(listener);
            }
        ),
        row("net::TcpStream::fmt", "Write", |kit| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            text(kit, stream, |value, to| write!(to, "{value:?}"), try_port)
        }),
        debug!(
            "net::UdpSocket::fmt",
            UdpSocket::bind("127.0.0.1:0").unwrap(),
            |socket| {
                try_port(socket);
            }
        ),
        debug!(
            "net::UnixDatagram::fmt",
            UnixDatagram::unbound().unwrap(),
            |socket| {
                try_port(socket);
            }
        ),
        row("net::UnixListener::fmt", "Write", |kit| {
            let path =
                std::env::temp_dir().join(format!("ethreads-fmt-{:?}", thread::current().id()));
            let _ = std::fs::remove_file(&path);
            let listener = UnixListener::bind(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            text(kit, listener, |value, to| write!(to, "{value:?}"), try_port)
        }),
        debug!(
            "net::UnixStream::fmt",
            UnixStream::pair().unwrap().0,
            try_port
        ),
        debug!(
            "fs::File::fmt",
            fs::File::open("Cargo.toml").unwrap(),
            |file| {
                let _ = file.metadata();
            }
        ),
        debug!("fs::ReadDir::fmt", fs::read_dir("tests").unwrap()),
        debug!(
            "fs::DirEntry::fmt",
            fs::read_dir("tests").unwrap().next().unwrap().unwrap()
        ),
        both!("signal::Signal::fmt", Signal::USER1),
        debug!(
            "signal::Signals::fmt",
            Signals::new([Signal::WINDOW_CHANGE]).unwrap(),
            |signals| {
                let _ = signals.try_recv();
            }
        ),
    ]
}

/// Types that share a state which is locked or borrowed.
fn servers() -> Vec<Row> {
    vec![
        row("thread::Scope::fmt", "Write", |kit| {
            // The writer spawns, or waits while a child of the scope ends.
            let mut pen = kit.pen();
            Play::call(move || {
                let words = vec![7; 1000];
                thread::scope(|scope| {
                    for _ in 0..3 {
                        scope.spawn(|| assert_eq!(words[999], 7));
                    }
                    write!(pen, "{scope:?}").unwrap();
                    scope.spawn(|| assert_eq!(words[998], 7));
                });
            })
        }),
        row("thread::Scope::fmt", "Write", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let words = vec![7; 1000];
                thread::scope(|scope| {
                    let mut pen = Spawns {
                        kit,
                        scope,
                        words: &words,
                    };
                    write!(pen, "{scope:?}").unwrap();
                });
            })
        })
        .called("spawns"),
        row("runtime::RootPanic::fmt", "Write", |kit| {
            let panicked = fresh(|| {
                let shards = Runtime::builder().shards(1);
                let ended = shards.run(|_| std::panic::resume_unwind(Box::new("root")));
                match ended.into_iter().next() {
                    Some(Err(RunError::RootPanicked(panic))) => panic,
                    _ => panic!("it has panicked"),
                }
            });
            text(
                kit,
                panicked,
                |value, to| write!(to, "{value:?} {value}"),
                |panic| {
                    drop(format!("{panic:?} {panic}"));
                },
            )
        }),
    ]
}

/// A writer that spawns into the scope that is formatted to it.
struct Spawns<'scope, 'env> {
    kit: Kit,
    scope: &'scope thread::Scope<'scope, 'env>,
    words: &'env [i32],
}

impl fmt::Write for Spawns<'_, '_> {
    fn write_str(&mut self, _: &str) -> fmt::Result {
        let words = self.words;
        self.scope.spawn(move || assert_eq!(words[997], 7));
        self.kit.strike("Write");
        Ok(())
    }
}

#[test]
fn texts_stay_sound() {
    super::run_all(rows());
}
