//! Calls that wait for a signal of the process.

use ethreads::signal::{Signal, Signals};
use signal_hook::low_level::raise;

use super::calls::outcome;
use super::{Case, Row, SITUATIONS, Unwinding, When};
use crate::support::{in_child, stderr};

/// A call that receives SIGUSR1.
fn receives(when: When, call: fn(&Signals) -> std::io::Result<Signal>) -> Case {
    let signals = Signals::new([Signal::USER1]).unwrap();
    let send = || raise(Signal::USER1.as_raw()).unwrap();
    if when == When::Ready {
        send();
    }
    let receive = move || {
        outcome(call(&signals).map(|signal| {
            assert_eq!(signal, Signal::USER1);
            1
        }))
    };
    Case::new(receive, move |_| send())
}

fn row(name: &'static str, case: fn(When) -> Case) -> Row {
    Row {
        name,
        case,
        result: "1",
        always_suspends: false,
        unwinding: Unwinding::WouldPark,
    }
}

pub(super) fn signals() -> Vec<Row> {
    vec![
        row("signal::Signals::recv", |when| {
            receives(when, Signals::recv)
        }),
        row("signal::Signals::iter", |when| {
            receives(when, |signals| signals.iter().next().unwrap())
        }),
    ]
}

#[test]
fn in_every_situation() {
    // All receivers of a signal get it, whichever test they belong to.
    let name = "suspends::signals::in_every_situation";
    if let Some(output) = in_child(name) {
        return assert!(output.status.success(), "{}", stderr(&output));
    }
    for situation in SITUATIONS {
        signals().into_iter().for_each(situation);
    }
}
