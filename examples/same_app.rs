//! The same app on several shards, one OS thread each: one port for all of them, or a port each.
//!
//! The app is set up before the start and shared. It cannot be changed after that: it is moved into
//! the server. State that several OS threads share is behind an `Arc`.
//!
//! Run with:
//!
//! ```text
//! cargo run --release --example same_app -- 127.0.0.1:8000 4
//! curl http://127.0.0.1:8000/about
//! ```
//!
//! Ask several times: the system divides the connections, so the answers come from different
//! shards. With `ports` at the end each shard has a port of its own, 8000 to 8003 here, for a proxy
//! in front that divides them.

use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use ethreads::Runtime;
use ethreads::http::{Handler, IntoResponse, Request, Response, Server, StatusCode};

/// Read-only once it serves.
struct App {
    pages: HashMap<&'static str, &'static str>,
}

impl App {
    fn set_up() -> Self {
        let pages = [("/", "hello"), ("/about", "the same app, several times")];
        Self {
            pages: pages.into(),
        }
    }

    fn page(&self, path: &str) -> Option<String> {
        let shard = std::thread::current().name().unwrap_or_default().to_owned();
        let page = self.pages.get(path)?;
        Some(format!("{page}, says {shard}\n"))
    }
}

impl Handler for App {
    fn handle(&self, request: &mut Request) -> Response {
        match self.page(request.path()) {
            Some(page) => page.into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let address: SocketAddr = args.next().map_or("127.0.0.1:8000".into(), |a| a).parse()?;
    let shards = Runtime::builder().shards(args.next().map_or(Ok(4), |n| n.parse())?);
    let app = App::set_up();
    if args.next().as_deref() != Some("ports") {
        let server = Server::bind_shared(address)?.on_shards(shards)?;
        println!("listening on {server}");
        return Ok(server.run(app)?);
    }
    let app = Arc::new(app);
    let ends = shards.run(move |shard| {
        let mut address = address;
        // Port 0 lets the system choose one for each.
        if address.port() != 0 {
            address.set_port(address.port() + shard as u16);
        }
        let (server, app) = (Server::bind(address)?, app.clone());
        println!("listening on {server}");
        server.run(move |request: &mut Request| app.handle(request))
    });
    for end in ends {
        end??;
    }
    Ok(())
}
