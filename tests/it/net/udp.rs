//! UDP sockets over the loopback device.

// Test helpers may panic like tests.
#![allow(clippy::unwrap_used)]

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ethreads::net::UdpSocket;
use ethreads::spawn;

use crate::net::support::{on_each_driver, until_waiting};

fn bound() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

#[test]
fn datagrams_keep_their_bounds_and_senders() {
    on_each_driver(|| {
        let ((a, a_addr), (b, b_addr)) = (bound(), bound());
        let receiver = spawn(move || {
            let mut buf = [0; 64];
            let mut got = Vec::new();
            for _ in 0..2 {
                assert_eq!(b.peek_from(&mut buf).unwrap().1, a_addr);
                let (n, from) = b.recv_from(&mut buf).unwrap();
                got.push((buf[..n].to_vec(), from));
            }
            b.send_to(b"answer", a_addr).unwrap();
            got
        });
        until_waiting(1);
        assert_eq!(a.send_to(b"first", b_addr).unwrap(), 5);
        assert_eq!(a.send_to(b"", b_addr).unwrap(), 0);
        let mut buf = [0; 3];
        assert_eq!(a.recv_from(&mut buf).unwrap(), (3, b_addr));
        assert_eq!(&buf, b"ans");
        assert_eq!(
            receiver.join().unwrap(),
            [(b"first".to_vec(), a_addr), (vec![], a_addr)]
        );
    });
}

#[test]
fn a_connected_socket_hears_its_peer_only() {
    on_each_driver(|| {
        let ((a, a_addr), (b, b_addr), (stranger, _)) = (bound(), bound(), bound());
        assert_eq!(a.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
        a.connect(b_addr).unwrap();
        assert_eq!(a.peer_addr().unwrap(), b_addr);
        stranger.send_to(b"noise", a_addr).unwrap();
        b.send_to(b"signal", a_addr).unwrap();
        let mut buf = [0; 64];
        assert_eq!(a.peek(&mut buf).unwrap(), 6);
        assert_eq!(a.recv(&mut buf).unwrap(), 6);
        assert_eq!(a.send(b"back").unwrap(), 4);
        assert_eq!(b.recv(&mut buf).unwrap(), 4);
        drop(b);
        a.send(b"to no peer").unwrap();
        assert_eq!(
            a.recv(&mut buf).unwrap_err().kind(),
            ErrorKind::ConnectionRefused
        );
    });
}

#[test]
fn timeouts_flags_and_options() {
    on_each_driver(|| {
        let (socket, addr) = bound();
        let clone = socket.try_clone().unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(10)))
            .unwrap();
        assert_eq!(
            clone.recv(&mut [0; 8]).unwrap_err().kind(),
            ErrorKind::TimedOut
        );
        let zero = socket.set_read_timeout(Some(Duration::ZERO));
        assert_eq!(zero.unwrap_err().kind(), ErrorKind::InvalidInput);
        clone.set_nonblocking(true).unwrap();
        assert_eq!(
            socket.recv(&mut [0; 8]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        let nowhere = socket.send_to(b"x", &[][..]).unwrap_err();
        assert_eq!(nowhere.kind(), ErrorKind::InvalidInput);
        assert_eq!(
            UdpSocket::bind(addr).unwrap_err().kind(),
            ErrorKind::AddrInUse
        );
        socket.set_broadcast(true).unwrap();
        assert!(socket.broadcast().unwrap());
        socket.set_ttl(7).unwrap();
        assert_eq!(socket.ttl().unwrap(), 7);
        socket.set_multicast_ttl_v4(3).unwrap();
        assert_eq!(socket.multicast_ttl_v4().unwrap(), 3);
        socket.set_multicast_loop_v4(false).unwrap();
        assert!(!socket.multicast_loop_v4().unwrap());
        let not_multicast = socket.join_multicast_v4(&Ipv4Addr::LOCALHOST, &Ipv4Addr::LOCALHOST);
        assert_eq!(not_multicast.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert!(format!("{socket:?}").starts_with("UdpSocket { addr: 127.0.0.1:"));
    });
}
