//! The routes in pull style: a loop that reads requests, and answers them when it likes.

use std::io;

use ethreads::http::pull::{Client, Request, WebServer};
use ethreads::thread;

use crate::routes;

/// Answers until the server has ended.
pub(crate) fn serve(server: &WebServer) -> io::Result<()> {
    while let Some((client, request)) = server.read()? {
        if request.path() == "/slow" {
            // It waits, and nobody is to wait for it: neither this loop nor those behind it.
            thread::spawn(move || answer(client, request));
        } else {
            answer(client, request);
        }
    }
    Ok(())
}

fn answer(client: Client, mut request: Request) {
    if let Err(error) = client.write(routes::answer(&mut request)) {
        log::warn!("no answer to {request:?}: {error}");
    }
}
