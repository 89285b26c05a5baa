//! A hostile logger, and the calls that log. A process has one logger, so the test runs in a child
//! process.

use std::cell::Cell;
use std::panic;
use std::rc::Rc;

use ethreads::runtime::Shard;
use ethreads::sync::{Mutex, Resource};
use ethreads::thread::{self, Local};
use ethreads::{Runtime, run_main};

use crate::support::{fresh, in_child, stderr};

use super::kit::Kit;
use super::{Play, Row, row};

struct Hostile;

impl log::Log for Hostile {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        // Formatting the record displays its values, which may be hostile too.
        let text = record.args().to_string();
        if let Some(kit) = Kit::of_this_thread()
            && !text.is_empty()
        {
            kit.strike("Log");
        }
    }

    fn flush(&self) {}
}

/// Panics when it is dropped.
struct Explosive;

impl Drop for Explosive {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic::resume_unwind(Box::new("explosive"));
        }
    }
}

fn explode() {
    panic::resume_unwind(Box::new("on purpose"));
}

fn settle() {
    (0..200).for_each(|_| thread::yield_now());
}

fn play(kit: &Kit, call: impl FnOnce(Kit) + 'static) -> Play {
    kit.again(|| log::error!("again"));
    let kit = kit.clone();
    Play::call(move || call(kit))
}

fn rows() -> Vec<Row> {
    let mut rows = vec![
        row("thread::spawn", "Log", |kit| {
            play(kit, |_| {
                drop(thread::spawn(explode));
                settle();
            })
        }),
        row("runtime::JoinHandle::drop", "Log", |kit| {
            play(kit, |_| {
                let handle = thread::spawn(explode);
                thread::yield_now();
                drop(handle);
            })
        }),
        row("runtime::JoinHandle::drop", "Log", |kit| {
            play(kit, |_| {
                let handle = thread::spawn(|| Explosive);
                thread::yield_now();
                drop(handle);
            })
        })
        .called("the result explodes"),
        row("thread::spawn", "Log", |kit| {
            play(kit, |_| {
                drop(thread::spawn(|| Explosive));
                settle();
            })
        })
        .called("the result explodes"),
        row("thread::Scope::spawn", "Log", |kit| {
            play(kit, |_| {
                let words = vec![7; 1000];
                thread::scope(|scope| {
                    drop(scope.spawn(|| Explosive));
                    scope.spawn(|| {
                        settle();
                        assert_eq!(words[999], 7);
                    });
                });
            })
        }),
        row("runtime::Shard::spawn", "Log", |kit| {
            play(kit, |_| {
                drop(Shard::current().spawn(explode));
                settle();
            })
        }),
        row("runtime::RemoteJoinHandle::drop", "Log", |kit| {
            play(kit, |_| {
                let handle = Shard::current().spawn(explode).unwrap();
                settle();
                drop(handle);
            })
        }),
        row("thread::Local::with", "Log", |kit| {
            static VALUE: Local<Explosive> = Local::new(|| Explosive);
            static NUMBER: Local<Cell<u32>> = Local::new(|| Cell::new(0));
            kit.again(|| NUMBER.set(7));
            Play::new(
                || {
                    thread::spawn(|| VALUE.with(|_| ())).join().unwrap();
                },
                |_| assert_eq!(thread::spawn(|| NUMBER.get()).join().unwrap(), 0),
            )
        }),
        row("sync::resource::Resource::get", "Log", |kit| {
            play(kit, |_| {
                let fails = Cell::new(true);
                let thing = Resource::new(move || {
                    if fails.replace(false) {
                        explode();
                    }
                    Ok::<_, ()>(7)
                });
                assert!(thing.get().is_err());
                assert!(thing.get().is_ok());
            })
        }),
        row("sync::resource::Resource::stop", "Log", |kit| {
            play(kit, |_| {
                let thing = Resource::builder(|| Ok::<_, ()>(7))
                    .stop(|_| explode())
                    .build();
                drop(thing.get().unwrap());
                thing.stop();
                assert!(thing.get().is_ok());
            })
        }),
        row("sync::Mutex::lock", "Log", |kit| {
            // Two ethreads wait for each other. The last of them logs that.
            play(kit, |_| {
                let locks = Rc::new([Mutex::new(0), Mutex::new(1)]);
                let waits = [[0, 1], [1, 0]].map(|order| {
                    let locks = locks.clone();
                    thread::spawn(move || {
                        let _first = locks[order[0]].lock();
                        thread::yield_now();
                        let _second = locks[order[1]].lock();
                    })
                });
                settle();
                waits.iter().for_each(thread::JoinHandle::cancel);
                for wait in waits {
                    std::mem::forget(wait.join());
                }
                for lock in &*locks {
                    drop(lock.lock());
                }
            })
        }),
        row("runtime::run_main", "Log", |kit| {
            // The run ends with unjoined panics.
            play(kit, |kit| {
                fresh(move || {
                    kit.enter();
                    let result = run_main(|| {
                        drop(Shard::current().spawn(explode));
                        drop(thread::spawn(explode));
                        thread::yield_now();
                    });
                    drop(result);
                });
            })
        }),
        row("runtime::Builder::run", "Log", |kit| {
            // An ethread does not end within the grace period.
            play(kit, |kit| {
                fresh(move || {
                    kit.enter();
                    let grace = std::time::Duration::from_millis(1);
                    let result = Runtime::builder().grace(grace).run(|| {
                        drop(thread::spawn(|| thread::uncancellable(thread::park)));
                        thread::yield_now();
                    });
                    drop(result);
                });
            })
        }),
    ];
    #[cfg(feature = "http")]
    rows.extend(servers());
    rows
}

#[cfg(feature = "http")]
fn servers() -> Vec<Row> {
    use crate::http::util::{Site, timeouts};
    use ethreads::http::Request;

    fn asked(kit: Kit, site: Site) {
        let answer = site.exchange("GET /bad HTTP/1.1\r\nhost: a\r\n\r\n");
        assert!(
            answer.starts_with("HTTP/1.1") || kit.hostility().unwinds(),
            "{answer}"
        );
        let other = site.exchange("GET /good HTTP/1.1\r\nhost: a\r\n\r\n");
        assert!(other.ends_with("good"), "{other}");
        site.end();
    }

    vec![
        row("http::Server::serve", "Log", |kit| {
            play(kit, |kit| {
                let site = Site::new(|request: &mut Request| {
                    if request.path() == "/bad" {
                        explode();
                    }
                    "good"
                });
                asked(kit, site);
            })
        }),
        row("http::Server::on_response", "Log", |kit| {
            play(kit, |kit| {
                let site = Site::with(
                    |server| {
                        server.timeouts(timeouts(|_| ())).on_response(|exchange| {
                            if exchange.target() == Some("/bad") {
                                explode();
                            }
                        })
                    },
                    |_: &mut Request| "good",
                );
                asked(kit, site);
            })
        }),
        row("http::HandlerError::from", "Log", failing),
        row("http::HandlerError::from", "Display", failing),
        row("http::HandlerError::from", "Error", failing),
    ]
    .into_iter()
    .map(Row::shielded)
    .collect()
}

/// A handler that fails with a hostile error.
#[cfg(feature = "http")]
fn failing(kit: &Kit) -> Play {
    use crate::http::util::Site;
    use ethreads::http::{HandlerError, IntoResponse, Request, Response};

    play(kit, |kit| {
        let theirs = kit.clone();
        let site = Site::new(
            move |request: &mut Request| -> Result<Response, HandlerError> {
                if request.path() == "/bad" {
                    Err(theirs.value())?;
                }
                Ok("good".into_response())
            },
        );
        let answer = site.exchange("GET /bad HTTP/1.1\r\nhost: a\r\n\r\n");
        assert!(
            answer.starts_with("HTTP/1.1 500") || kit.hostility().unwinds(),
            "{answer}"
        );
        let other = site.exchange("GET /good HTTP/1.1\r\nhost: a\r\n\r\n");
        assert!(other.ends_with("good"), "{other}");
        site.end();
    })
}

#[test]
fn a_logger_may_do_anything() {
    let Some(output) = in_child("hostile::logs::a_logger_may_do_anything") else {
        log::set_logger(&Hostile).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        return super::run_all(rows());
    };
    assert!(output.status.success(), "{}", stderr(&output));
}
