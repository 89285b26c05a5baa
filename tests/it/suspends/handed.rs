//! The calls of `sync` that suspend until they are handed something.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ethreads::sync::select::Operation;
use ethreads::sync::{Promise, Resource, Signal, broadcast, channel, resource, watch};
use ethreads::thread;

use super::Unwinding::{Aborts, AlwaysWouldPark, Returns, WouldPark};
use super::{Case, Row, Unwinding, When};

const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn rows() -> Vec<Row> {
    let row = |name, case, result, unwinding| Row {
        name,
        case,
        result,
        always_suspends: false,
        unwinding,
    };
    vec![
        receives(
            "sync::channel::Receiver::recv",
            "Ok(1)",
            "Err(RecvError)",
            |when| received(when, |receiver| format!("{:?}", receiver.recv())),
        ),
        receives(
            "sync::channel::Receiver::recv_timeout",
            "Ok(1)",
            "Err(Timeout)",
            |when| {
                received(when, |receiver| {
                    format!("{:?}", receiver.recv_timeout(HOUR))
                })
            },
        ),
        receives("sync::channel::Receiver::iter", "Some(1)", "None", |when| {
            received(when, |receiver| format!("{:?}", receiver.iter().next()))
        }),
        row(
            "sync::select::Operation::perform",
            |when| {
                received(when, |receiver| {
                    format!("{:?}", receiver.receiving().perform())
                })
            },
            "Ok(1)",
            Aborts,
        ),
        row(
            "sync::select::Operation::perform_in_order",
            |when| {
                received(when, |receiver| {
                    format!("{:?}", receiver.receiving().perform_in_order())
                })
            },
            "Ok(1)",
            Aborts,
        ),
        receives(
            "sync::channel::Sender::send",
            "Ok(())",
            "Err(SendError { .. })",
            |when| sent(when, |sender| format!("{:?}", sender.send(2))),
        ),
        receives(
            "sync::channel::Sender::send_timeout",
            "Ok(())",
            "Err(Timeout(..))",
            |when| sent(when, |sender| format!("{:?}", sender.send_timeout(2, HOUR))),
        ),
        receives("sync::Promise::wait", "Ok(1)", "Err(Broken)", promises),
        receives(
            "sync::watch::Receiver::changed",
            "Ok(())",
            "Err(RecvError)",
            |when| watches(when, |receiver| format!("{:?}", receiver.changed())),
        ),
        receives(
            "sync::watch::Receiver::wait_for",
            "Ok(1)",
            "Err(RecvError)",
            |when| {
                watches(when, |receiver| {
                    format!("{:?}", receiver.wait_for(|value| *value == 1))
                })
            },
        ),
        receives(
            "sync::broadcast::Receiver::recv",
            "Ok(1)",
            "Err(Closed)",
            broadcasts,
        ),
        Row {
            always_suspends: true,
            ..row(
                "sync::Signal::wait",
                |when| signals(when, |signal| format!("{:?}", signal.wait())),
                "1",
                Aborts,
            )
        },
        Row {
            always_suspends: true,
            ..row(
                "sync::Signal::wait_timeout",
                |when| {
                    signals(when, |signal| {
                        // `None` while the ethread unwinds: there is nothing that could be ready.
                        signal.wait_timeout(HOUR);
                        "()".to_owned()
                    })
                },
                "()",
                Returns("()"),
            )
        },
        row("sync::resource::Resource::get", starts, "Ok(1)", WouldPark),
        row(
            "sync::resource::Resource::stop",
            stops,
            "Stopped",
            Returns("Stopping"),
        ),
        Row {
            always_suspends: true,
            ..row(
                "sync::resource::Resource::restart",
                restarts,
                "Ok(1)",
                AlwaysWouldPark,
            )
        },
    ]
}

fn receives(
    name: &'static str,
    result: &'static str,
    unwinding: &'static str,
    case: fn(When) -> Case,
) -> Row {
    Row {
        name,
        case,
        result,
        always_suspends: false,
        unwinding: Unwinding::Returns(unwinding),
    }
}

fn received(when: When, call: fn(&channel::Receiver<u32>) -> String) -> Case {
    let (sender, receiver) = channel::unbounded();
    if when == When::Ready {
        sender.send(1).unwrap();
    }
    Case::new(move || call(&receiver), move |_| sender.send(1).unwrap())
}

fn sent(when: When, call: fn(&channel::Sender<u32>) -> String) -> Case {
    let (sender, receiver) = channel::bounded(1);
    if when != When::Ready {
        sender.send(1).unwrap();
    }
    Case::new(
        move || call(&sender),
        move |_| {
            assert_eq!(receiver.try_recv(), Ok(1));
        },
    )
}

fn promises(when: When) -> Case {
    let (promise, resolver) = Promise::<u32, String>::new();
    let mut resolver = Some(resolver);
    let mut resolve = move || resolver.take().unwrap().resolve(1);
    if when == When::Ready {
        resolve();
    }
    Case::new(move || format!("{:?}", promise.wait()), move |_| resolve())
}

fn watches(when: When, call: fn(&mut watch::Receiver<u32>) -> String) -> Case {
    let (sender, mut receiver) = watch::channel(0);
    if when == When::Ready {
        sender.send(1).unwrap();
    }
    Case::new(
        move || call(&mut receiver),
        move |_| sender.send(1).unwrap(),
    )
}

fn broadcasts(when: When) -> Case {
    let (sender, mut receiver) = broadcast::channel(1);
    let send = move || assert_eq!(sender.send(1), Ok(1));
    if when == When::Ready {
        send();
    }
    Case::new(move || format!("{:?}", receiver.recv()), move |_| send())
}

fn signals(when: When, call: fn(&Signal<u32>) -> String) -> Case {
    let signal = Rc::new(Signal::new());
    let theirs = signal.clone();
    if when == When::Ready {
        let theirs = theirs.clone();
        // A signal is never there before the wait, but it can come soon.
        drop(thread::spawn(move || theirs.signal(1)));
    }
    Case::new(move || call(&signal), move |_| theirs.signal(1).unwrap())
}

type Shared = Resource<u32, String>;

/// A resource whose start waits for a message, and the sender of that message.
fn resource(when: When) -> (Shared, Rc<RefCell<Option<channel::Sender<()>>>>) {
    let (sender, receiver) = channel::unbounded();
    if when == When::Ready {
        (0..2).for_each(|_| sender.send(()).unwrap());
    }
    let resource = Resource::new(move || {
        receiver.recv().map_err(|error| error.to_string())?;
        Ok(1)
    });
    (resource, Rc::new(RefCell::new(Some(sender))))
}

fn given(started: Result<resource::Lease<u32>, resource::StartError<String>>) -> String {
    match started {
        Ok(lease) => format!("Ok({})", *lease),
        Err(resource::StartError::WouldPark) => "WouldPark".to_owned(),
        Err(other) => format!("{other:?}"),
    }
}

fn starts(when: When) -> Case {
    let (resource, go_on) = resource(when);
    if when == When::Ready {
        drop(resource.get().unwrap());
    }
    Case::new(
        move || given(resource.get()),
        move |_| {
            go_on.borrow().as_ref().unwrap().send(()).unwrap();
        },
    )
}

fn restarts(when: When) -> Case {
    let (resource, go_on) = resource(when);
    Case::new(
        move || given(resource.restart()),
        move |_| {
            go_on.borrow().as_ref().unwrap().send(()).unwrap();
        },
    )
}

fn stops(when: When) -> Case {
    let (resource, _go_on) = resource(When::Ready);
    let mut lease = (when != When::Ready).then(|| resource.get().unwrap());
    let call = move || {
        resource.stop();
        format!("{:?}", resource.state())
    };
    Case::new(call, move |_| drop(lease.take()))
}
