//! A server on a Unix socket.

use std::io::{ErrorKind, Read, Write};

use ethreads::http::{Request, Server};
use ethreads::net::{UnixListener, UnixStream};
use ethreads::thread;

use crate::http::util::{LONG, on_a_shard};

#[test]
fn a_unix_socket_is_served() {
    on_a_shard(|| {
        let directory = std::env::temp_dir().join(format!("ethreads-http-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let path = directory.join("socket");
        let server = Server::from(UnixListener::bind(&path).unwrap());
        assert_eq!(
            server.local_addr().unwrap_err().kind(),
            ErrorKind::Unsupported
        );
        let handle = server.handle();
        let served = thread::spawn(move || {
            server.serve(|request: &mut Request| {
                let name = thread::current().name().unwrap_or_default().to_owned();
                let (peer, local) = (request.peer_addr(), request.local_addr());
                let length = request.bytes().unwrap().len();
                format!("{name} {peer:?} {local:?} {length}")
            })
        });
        let mut client = UnixStream::connect(&path).unwrap();
        let body = vec![b'x'; 300_000];
        write!(
            client,
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .unwrap();
        client.write_all(&body).unwrap();
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answers = String::new();
        client.read_to_string(&mut answers).unwrap();
        assert!(
            answers.contains("\r\n\r\nhttp-client unix None None 300000HTTP/1.1 "),
            "{answers}"
        );
        assert!(
            answers.ends_with("\r\n\r\nhttp-client unix None None 0"),
            "{answers}"
        );

        let mut idle = UnixStream::connect(&path).unwrap();
        handle.drain(LONG);
        served.join().unwrap().unwrap();
        assert_eq!(idle.read(&mut [0]).unwrap(), 0);
        std::fs::remove_dir_all(&directory).unwrap();
    });
}
