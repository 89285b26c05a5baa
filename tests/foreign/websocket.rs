//! tungstenite: messages between ethreads, and the state of a connection after a limit.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;

use ethreads::net::TcpStream;
use ethreads::spawn;
use ethreads::sync::Semaphore;
use ethreads::thread::{self, Cancelled};
use tungstenite::protocol::Role;
use tungstenite::{Error, HandshakeError, Message, WebSocket};

use crate::{LIMITS, Limit, Over, SOON, bytes, check, narrow_pair, tcp_pair};

impl Over for WebSocket<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref()
    }
}

/// Returns two ends that have completed the handshake.
fn connected_over((client, server): (TcpStream, TcpStream)) -> [WebSocket<TcpStream>; 2] {
    let accepts = spawn(|| tungstenite::accept(server).unwrap());
    let (client, _) = tungstenite::client("ws://localhost/", client).unwrap();
    [client, accepts.join().unwrap()]
}

fn connected() -> [WebSocket<TcpStream>; 2] {
    connected_over(tcp_pair())
}

/// The error of the socket, if it has one.
fn io<R>(result: tungstenite::Result<R>) -> io::Result<R> {
    result.map_err(|error| match error {
        Error::Io(error) => error,
        other => panic!("expected an error of the socket: {other}"),
    })
}

fn read(socket: &mut WebSocket<TcpStream>) -> io::Result<Message> {
    io(socket.read())
}

/// Closes a connection from the first of its ends. The server always hangs up first, and the client
/// waits for that.
fn close([mut first, mut second]: [WebSocket<TcpStream>; 2]) {
    let answers = spawn(move || {
        assert_eq!(second.read().unwrap(), Message::Close(None));
        assert!(matches!(second.read(), Err(Error::ConnectionClosed)));
    });
    first.close(None).unwrap();
    assert_eq!(first.read().unwrap(), Message::Close(None));
    assert!(matches!(first.read(), Err(Error::ConnectionClosed)));
    drop(first);
    answers.join().unwrap();
}

#[test]
fn two_ethreads_talk() {
    check(|| {
        let [mut client, mut server] = connected();
        let lengths = [0, 1, 125, 126, 70_000, 500_000];
        let answers = spawn(move || {
            for length in lengths {
                let message = server.read().unwrap();
                assert_eq!(message, Message::binary(bytes(length)));
                server.send(message).unwrap();
            }
            assert_eq!(
                server.read().unwrap(),
                Message::Ping("are you there".into())
            );
            assert_eq!(server.read().unwrap(), Message::text("bye"));
            server
        });
        for length in lengths {
            client.send(Message::binary(bytes(length))).unwrap();
            assert_eq!(client.read().unwrap(), Message::binary(bytes(length)));
        }
        client.send(Message::Ping("are you there".into())).unwrap();
        assert_eq!(
            client.read().unwrap(),
            Message::Pong("are you there".into())
        );
        client.send(Message::text("bye")).unwrap();
        close([client, answers.join().unwrap()]);
    });
}

#[test]
fn a_read_that_has_timed_out_is_made_again() {
    check(|| {
        for limit in LIMITS {
            let [mut client, mut server] = connected();
            let may_speak = Rc::new(Semaphore::new(0));
            let told = may_speak.clone();
            let speaks = spawn(move || {
                for round in 1..4 {
                    told.acquire().forget();
                    server.send(Message::binary(bytes(round * 1000))).unwrap();
                    let answer = server.read().unwrap();
                    assert_eq!(answer, Message::binary(bytes(round)));
                }
                server
            });
            for round in 1..4 {
                for _ in 0..3 {
                    limit.elapses(&mut client, read);
                }
                may_speak.add_permits(1);
                assert_eq!(client.read().unwrap(), Message::binary(bytes(round * 1000)));
                client.send(Message::binary(bytes(round))).unwrap();
            }
            let mut server = speaks.join().unwrap();
            limit.elapses(&mut server, read);
            limit.elapses(&mut client, read);
            close([client, server]);
        }
    });
}

/// The examples of RFC 6455, section 5.7, and their messages.
fn frames() -> Vec<(Role, Vec<u8>, Message)> {
    let long = |head: &[u8], length| [head, &bytes(length)].concat();
    vec![
        (
            Role::Client,
            b"\x81\x05Hello".to_vec(),
            Message::text("Hello"),
        ),
        (
            Role::Server,
            b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58".to_vec(),
            Message::text("Hello"),
        ),
        (
            Role::Client,
            b"\x01\x03Hel\x80\x02lo".to_vec(),
            Message::text("Hello"),
        ),
        (
            Role::Client,
            b"\x89\x05Hello".to_vec(),
            Message::Ping("Hello".into()),
        ),
        (
            Role::Server,
            b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58".to_vec(),
            Message::Pong("Hello".into()),
        ),
        (
            Role::Client,
            long(b"\x82\x7e\x01\x00", 256),
            Message::binary(bytes(256)),
        ),
        (
            Role::Client,
            long(b"\x82\x7f\0\0\0\0\0\x01\0\0", 65_536),
            Message::binary(bytes(65_536)),
        ),
    ]
}

#[test]
fn a_frame_may_be_cut_anywhere() {
    check(|| {
        for limit in [Limit::OfTheSocket, Limit::TimeoutIo] {
            for (role, frame, message) in frames() {
                let (ours, mut theirs) = tcp_pair();
                let mut socket = WebSocket::from_raw_socket(ours, role, None);
                // In the head at every place, and at some places in the rest.
                let step = |cut: usize| if cut < 20 { 1 } else { cut.div_ceil(3) };
                let mut cut = 1;
                while cut < frame.len() {
                    theirs.write_all(&frame[..cut]).unwrap();
                    limit.elapses(&mut socket, read);
                    theirs.write_all(&frame[cut..]).unwrap();
                    assert_eq!(socket.read().unwrap(), message, "{limit:?}, cut at {cut}");
                    cut += step(cut);
                }
            }
        }
    });
}

#[test]
fn a_message_may_come_byte_by_byte() {
    check(|| {
        for limit in LIMITS {
            let (ours, mut theirs) = tcp_pair();
            let mut socket = WebSocket::from_raw_socket(ours, Role::Client, None);
            // In two parts, with a ping between them.
            let frames = b"\x01\x03Hel\x89\x02Hi\x80\x02lo";
            let mut messages = Vec::new();
            for byte in frames {
                theirs.write_all(&[*byte]).unwrap();
                match limit.within(&mut socket, read) {
                    Ok(message) => messages.push(message),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut),
                }
            }
            let expected = [Message::Ping("Hi".into()), Message::text("Hello")];
            assert_eq!(messages, expected);
            // The socket has answered the ping meanwhile.
            let mut server = WebSocket::from_raw_socket(theirs, Role::Server, None);
            assert_eq!(server.read().unwrap(), Message::Pong("Hi".into()));
            close([server, socket]);
        }
    });
}

#[test]
fn closing_takes_its_time() {
    check(|| {
        for limit in LIMITS {
            let [mut client, mut server] = connected();
            client.close(None).unwrap();
            limit.elapses(&mut client, read);
            assert_eq!(server.read().unwrap(), Message::Close(None));
            limit.elapses(&mut client, read);
            assert!(matches!(server.read(), Err(Error::ConnectionClosed)));
            assert_eq!(client.read().unwrap(), Message::Close(None));
            // The server has to hang up.
            limit.elapses(&mut client, read);
            drop(server);
            assert!(matches!(client.read(), Err(Error::ConnectionClosed)));
        }
    });
}

#[test]
fn a_write_that_has_timed_out_is_flushed_later() {
    check(|| {
        for limit in LIMITS {
            let [mut client, mut server] = connected_over(narrow_pair());
            let message = Message::binary(bytes(10_000));
            let mut sent = 0;
            let error = loop {
                sent += 1;
                assert!(sent < 1000, "the peer does not read, and it goes on");
                let send = |client: &mut WebSocket<_>| io(client.send(message.clone()));
                if let Err(error) = limit.within(&mut client, send) {
                    break error;
                }
            };
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            // The rest may go out, if it is little.
            if let Err(error) = limit.within(&mut client, |client| io(client.flush())) {
                assert_eq!(error.kind(), ErrorKind::TimedOut);
            }
            // The message whose sending has failed is kept, so it is not sent again.
            let expected = message.clone();
            let reader = spawn(move || {
                for _ in 0..sent {
                    assert_eq!(server.read().unwrap(), expected);
                }
                server
            });
            client.flush().unwrap();
            close([client, reader.join().unwrap()]);
        }
    });
}

/// tungstenite takes any error but `WouldBlock` for the end of a handshake.
#[test]
fn a_handshake_that_has_timed_out_has_failed() {
    check(|| {
        for limit in [Limit::OfTheSocket, Limit::TimeoutIo] {
            struct Raw(Option<TcpStream>, TcpStream);
            impl Over for Raw {
                fn socket(&self) -> &TcpStream {
                    &self.1
                }
            }
            let (client, mut silent) = tcp_pair();
            let clone = client.try_clone().unwrap();
            let mut client = Raw(Some(client), clone);
            let error = limit.within(&mut client, |client| {
                let stream = client.0.take().unwrap();
                match tungstenite::client("ws://localhost/", stream) {
                    Err(HandshakeError::Failure(error)) => io(Err::<(), _>(error)),
                    Err(HandshakeError::Interrupted(_)) => panic!("it could be gone on with"),
                    Ok(_) => panic!("no answer has come"),
                }
            });
            assert_eq!(error.unwrap_err().kind(), ErrorKind::TimedOut);
            // The client has sent its request, and hung up.
            drop(client);
            let mut asked = String::new();
            silent.read_to_string(&mut asked).unwrap();
            assert!(asked.starts_with("GET / HTTP/1.1\r\n"), "{asked}");
        }
    });
}

/// tungstenite's state is inconsistent during a read: after a cancel, which unwinds through the
/// read, the socket cannot be used. Between two reads the state is consistent.
#[test]
fn a_reader_that_lets_others_go_on_is_cancelled_between_its_reads() {
    check(|| {
        let (ours, mut theirs) = tcp_pair();
        let socket = WebSocket::from_raw_socket(ours, Role::Client, None);
        socket.get_ref().set_read_timeout(Some(SOON)).unwrap();
        let socket = Rc::new(RefCell::new(socket));
        for cut in 1..7 {
            let frame = b"\x81\x05Hello";
            theirs.write_all(&frame[..cut]).unwrap();
            let shared = socket.clone();
            let reader = spawn(move || {
                loop {
                    let read = thread::uncancellable(|| read(&mut shared.borrow_mut()));
                    assert_eq!(read.unwrap_err().kind(), ErrorKind::TimedOut);
                    thread::yield_now();
                }
            });
            while ethreads::runtime::stats().unwrap().io_waits == 0 {
                thread::yield_now();
            }
            reader.cancel();
            let ended: Result<(), _> = reader.join();
            assert!(ended.unwrap_err().is::<Cancelled>());
            theirs.write_all(&frame[cut..]).unwrap();
            let message = socket.borrow_mut().read().unwrap();
            assert_eq!(message, Message::text("Hello"));
        }
    });
}

#[test]
fn a_cancelled_reader_hangs_up() {
    check(|| {
        let [client, mut server] = connected();
        let reader = spawn(|| {
            let mut client = client;
            client.read().is_ok()
        });
        while ethreads::runtime::stats().unwrap().io_waits == 0 {
            thread::yield_now();
        }
        reader.cancel();
        assert!(reader.join().unwrap_err().is::<Cancelled>());
        assert!(server.read().is_err());
    });
}
