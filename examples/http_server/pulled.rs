//! The routes in pull style: a loop that reads requests, and answers them at any time.

use std::io::{self, Read};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::rc::Rc;

use ethreads::http::pull::{Client, Request, WebServer};
use ethreads::http::{Server, ServerHandle};
use ethreads::{net::UnixStream, thread};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::routes::Routes;

/// Answers until the server has ended.
pub(crate) fn serve(server: Server, routes: Routes) -> io::Result<()> {
    let routes = Rc::new(routes);
    drain_on_signals(server.handle())?;
    let server = WebServer::from(server);
    while let Some((client, request)) = server.read()? {
        if request.path() == "/slow" {
            // This request waits, and must not hold up this loop or the requests behind it.
            let routes = routes.clone();
            thread::spawn(move || answer(&routes, client, request));
        } else {
            answer(&routes, client, request);
        }
    }
    Ok(())
}

fn answer(routes: &Routes, client: Client, mut request: Request) {
    if let Err(error) = client.write(routes.answer(&mut request)) {
        log::warn!("no answer to {request:?}: {error}");
    }
}

/// Does what `Server::run` does by itself: an ethread waits for SIGINT or SIGTERM, which arrives as
/// a byte in a socket pair.
fn drain_on_signals(server: ServerHandle) -> io::Result<()> {
    let (receiver, sender) = StdUnixStream::pair()?;
    signal_hook::low_level::pipe::register(SIGINT, sender.try_clone()?)?;
    signal_hook::low_level::pipe::register(SIGTERM, sender)?;
    let mut receiver = UnixStream::from(receiver);
    thread::Builder::new()
        .name("signals")
        .spawn(move || -> io::Result<()> {
            receiver.read_exact(&mut [0])?;
            log::info!("draining for at most {:?}", Server::DRAIN_GRACE);
            server.drain(Server::DRAIN_GRACE);
            receiver.read_exact(&mut [0])?;
            log::info!("a second signal: exiting");
            std::process::exit(1)
        })?;
    Ok(())
}
