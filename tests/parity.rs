//! The same source, compiled and run against std's sockets and files and against this crate's.
//!
//! The differences are listed here, and in the documentation of `net` and `fs`.

// `from_raw_fd` is unsafe in both.
#![allow(unsafe_code)]
// Scenarios fail like tests.
#![allow(clippy::unwrap_used)]

mod in_std {
    use std::io::{PipeReader, PipeWriter, pipe};
    use std::net::{self, ToSocketAddrs};
    use std::os::unix::net as unix;
    use std::thread;

    include!("parity/scenarios.rs");

    mod files {
        use std::fs;

        include!("parity/files.rs");
    }
}

mod in_ethreads {
    use ethreads::io::{PipeReader, PipeWriter, pipe};
    use ethreads::net::{self, ToSocketAddrs, unix};
    use ethreads::thread;

    include!("parity/scenarios.rs");

    mod files {
        use ethreads::fs;

        include!("parity/files.rs");
    }
}

use std::collections::BTreeMap;

/// What scenarios report: the place, and a value or an `ErrorKind`.
type Report = Vec<(&'static str, String)>;

/// Where this crate reports something else on purpose.
const DEVIATIONS: &[(&str, &str, &str)] = &[
    ("tcp read timeout", "WouldBlock", "TimedOut"),
    ("tcp peek timeout", "WouldBlock", "TimedOut"),
    ("tcp write timeout", "WouldBlock", "TimedOut"),
    ("udp read timeout", "WouldBlock", "TimedOut"),
    ("unix read timeout", "WouldBlock", "TimedOut"),
    ("unix write timeout", "WouldBlock", "TimedOut"),
    ("unix datagram read timeout", "WouldBlock", "TimedOut"),
];

/// An address that refuses connections: the socket holds the port and does not listen.
fn refusing() -> (socket2::Socket, std::net::SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, addr)
}

#[test]
fn ours_do_what_stds_do() {
    let expected = in_std::all("std");
    for kind in [ethreads::DriverKind::Epoll, ethreads::DriverKind::Polling] {
        let name = kind.to_string();
        let run = move || {
            let all = move || in_ethreads::all(&name);
            ethreads::Runtime::builder()
                .driver(kind)
                .run(all)
                .expect("the run ends well")
        };
        compare(
            &expected,
            &std::thread::spawn(run).join().expect("no scenario panics"),
        );
    }
    // Without ethreads, on a plain OS thread, the reports must be the same again.
    compare(&expected, &in_ethreads::all("plain"));
}

fn compare(expected: &Report, found: &Report) {
    let mut deviations: BTreeMap<_, _> = DEVIATIONS
        .iter()
        .map(|&(place, std, ours)| (place, (std, ours)))
        .collect();
    assert_eq!(expected.len(), found.len());
    for ((place, std), (same_place, ours)) in expected.iter().zip(found) {
        assert_eq!(place, same_place);
        let wanted = match deviations.remove(place) {
            Some((said, wanted)) => {
                assert_eq!(std, said, "std's {place}");
                wanted
            }
            None => std,
        };
        assert_eq!(ours, wanted, "our {place}; std says {std:?}");
    }
    assert!(
        deviations.is_empty(),
        "listed and never met: {deviations:?}"
    );
}
