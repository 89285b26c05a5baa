//! Waits on a shard's own OS thread, outside of `run`: they drive the shard meanwhile.

use std::io::{Read, Write};
use std::thread as os;

use ethreads::net::{TcpListener, TcpStream, ToSocketAddrs};
use ethreads::{bridge, spawn};

#[test]
fn a_read_on_the_threads_own_side_drives_the_shard() {
    os::spawn(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let server = spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        });
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.write_all(b"from outside").unwrap();
        drop(stream);
        assert_eq!(server.join().unwrap(), "from outside");
    })
    .join()
    .unwrap();
}

#[test]
fn a_wake_up_from_elsewhere_that_comes_before_the_shard_is_driven_counts() {
    os::spawn(|| {
        let value = bridge::suspend(|suspended| {
            let remote = suspended.into_remote();
            os::spawn(move || remote.resume(7)).join().unwrap();
        });
        assert_eq!(value, 7);
    })
    .join()
    .unwrap();
}

#[test]
fn names_are_looked_up_on_the_threads_own_side() {
    os::spawn(|| {
        let other = spawn(|| 1);
        for _ in 0..100 {
            let mut addrs = ("localhost", 80).to_socket_addrs().unwrap();
            assert!(addrs.all(|addr| addr.ip().is_loopback()));
        }
        assert_eq!(other.join().unwrap(), 1);
    })
    .join()
    .unwrap();
}
