//! The same requests to this server, to hyper, and to trillium, which shares no parser with either.
//! The test compares what the handlers were given: method, target, version, fields, body, and
//! whether the request that followed was answered too.
//!
//! Each difference between the servers needs a reason, in [`differences`].

// Unwrapping is how a test fails.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use crate::differences::{Peer, RULES};
use crate::generate::Random;
use crate::servers::Ours;

mod differences;
mod generate;
#[path = "../../src/http/fuzzing/reference.rs"]
mod reference;
mod servers;

/// Enough for each reason to occur a few times.
const CASES: u64 = 6000;

/// The request that follows each one, and is seen if the connection lives on.
const SUCCESSOR: &[u8] = b"GET /next HTTP/1.1\r\nhost: next\r\n\r\n";

/// Streams whose differences are rare.
const RARE: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: \x80, close\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\
      Content-Length: 18446744073709551615\r\n\r\n",
    b"POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: x\r\n\r\nx",
    b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://u@a/ HTTP/1.1\r\nHost: u@a\r\n\r\n",
];

#[test]
fn differences_have_reasons() {
    // Many more, where there is time: the findings depend on the number alone.
    let cases = std::env::var("ETHREADS_DIFFERENTIAL_CASES");
    let cases = cases.map_or(CASES, |cases| cases.parse().unwrap());
    ethreads::run_main(move || {
        let ours = Ours::new("differential");
        let mut tally = Tally::default();
        for input in RARE {
            tally.compare(&ours, "rare", input.to_vec());
        }
        for seed in 0..cases {
            let input = generate::request(&mut Random::new(seed));
            tally.compare(&ours, &format!("seed {seed}"), input);
        }
        ours.end();
        tally.check();
    })
    .unwrap();
}

/// The results of the comparisons.
#[derive(Default)]
struct Tally {
    same: u64,
    met: BTreeSet<&'static str>,
    unexplained: Vec<String>,
}

impl Tally {
    fn compare(&mut self, ours: &Ours, name: &str, mut input: Vec<u8>) {
        input.extend_from_slice(SUCCESSOR);
        let seen = ours.serve(&input);
        for (peer, theirs) in [
            (Peer::Hyper, servers::hyper(&input)),
            (Peer::Trillium, servers::trillium(&input)),
        ] {
            let Some(difference) = differences::first(&seen, theirs.clone(), peer, &input) else {
                self.same += 1;
                continue;
            };
            match RULES.iter().find(|rule| rule.explains(&difference)) {
                Some(rule) => drop(self.met.insert(rule.reason)),
                None => self.unexplained.push(format!(
                    "{name}, {:?} to {peer:?} after {}: {}\n  ours   {seen:?}\n  theirs {theirs:?}",
                    difference.kind,
                    difference.after,
                    input.escape_ascii(),
                )),
            }
        }
    }

    fn check(self) {
        assert!(
            self.unexplained.is_empty(),
            "{} differences without a reason:\n{}",
            self.unexplained.len(),
            self.unexplained.join("\n")
        );
        // Without agreement on most requests there would be nothing to compare.
        assert!(self.same > CASES, "{} the same", self.same);
        let unmet: Vec<_> = RULES
            .iter()
            .filter(|rule| !self.met.contains(rule.reason))
            .collect();
        let unmet: Vec<_> = unmet.iter().map(|rule| rule.reason).collect();
        assert!(
            unmet.is_empty(),
            "reasons that are none any more: {unmet:#?}"
        );
    }
}
