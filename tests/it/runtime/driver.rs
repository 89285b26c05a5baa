//! The driver that this run of the suite uses.

use ethreads::{DriverKind, Runtime, runtime};

use crate::support::fresh;

fn expected() -> DriverKind {
    match std::env::var("ETHREADS_DRIVER").as_deref() {
        Ok("polling") => DriverKind::Polling,
        Ok("epoll") => DriverKind::Epoll,
        _ if cfg!(target_os = "linux") => DriverKind::Epoll,
        _ => DriverKind::Polling,
    }
}

fn in_use() -> DriverKind {
    runtime::stats().expect("an ethread has a shard").driver
}

#[test]
fn driver_in_use() {
    let built = Runtime::builder().run(in_use).unwrap();
    let plain = fresh(|| ethreads::run_main(in_use).unwrap());
    println!("driver: {built}");
    assert_eq!((built, plain), (expected(), expected()));
}

#[test]
fn the_builder_wins_over_the_environment() {
    for kind in [DriverKind::Polling, expected()] {
        let built = Runtime::builder().driver(kind).run(in_use).unwrap();
        assert_eq!(built, kind);
    }
}
