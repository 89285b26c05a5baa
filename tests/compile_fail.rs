//! What the compiler says about handlers and apps that are wrong.
//!
//! `TRYBUILD=overwrite cargo test --test compile_fail` writes the texts anew.

// Unwrapping is how a test fails.
#![allow(clippy::unwrap_used)]

use std::env;
use std::process::Command;

/// The compiler whose texts are in the files.
const RUSTC: &str = "rustc 1.95.";

#[test]
fn messages_lead_to_the_mistake() {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc)
        .arg("--version")
        .output()
        .unwrap()
        .stdout;
    let version = String::from_utf8(version).unwrap();
    let is_stable = !version.contains("nightly") && !version.contains("beta");
    if !version.starts_with(RUSTC) || !is_stable {
        println!("skipped: the texts are those of {RUSTC}, and this is {version}");
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
