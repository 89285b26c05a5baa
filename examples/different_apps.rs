//! Different apps on different ports, each on a shard of its own, with state that the apps do not
//! share.
//!
//! Nothing is shared, so nothing is locked: a visitor counter is a `Cell`, a notebook a `RefCell`.
//! A slow request, or a panic, of one app does not affect the other.
//!
//! Run with:
//!
//! ```text
//! cargo run --release --example different_apps -- 127.0.0.1:8000 127.0.0.1:8001
//! curl http://127.0.0.1:8000/
//! curl -d 'buy milk' http://127.0.0.1:8001/ && curl http://127.0.0.1:8001/
//! ```
//!
//! Ctrl-C ends both.

use std::cell::{Cell, RefCell};
use std::io;

use ethreads::http::{IntoResponse, Method, Request, Response, Result, Server, StatusCode};
use ethreads::{RunError, Runtime};

/// Counts its visitors.
fn counter() -> impl Fn(&mut Request) -> String {
    let visitors = Cell::new(0_u64);
    move |_| {
        visitors.set(visitors.get() + 1);
        format!("you are visitor number {}\n", visitors.get())
    }
}

/// Keeps notes.
fn notebook() -> impl Fn(&mut Request) -> Result<Response> {
    let notes = RefCell::new(String::new());
    move |request| {
        Ok(match *request.method() {
            Method::GET => notes.borrow().clone().into_response(),
            Method::POST => {
                // Reading the body may suspend, so nothing is borrowed meanwhile.
                let note = request.text()?;
                *notes.borrow_mut() += &format!("- {}\n", note.trim());
                StatusCode::CREATED.into_response()
            }
            _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
        })
    }
}

fn main() -> std::result::Result<(), RunError> {
    let mut addresses: Vec<String> = std::env::args().skip(1).collect();
    if addresses.len() != 2 {
        addresses = ["127.0.0.1:8000", "127.0.0.1:8001"]
            .map(String::from)
            .into();
    }
    let shards = Runtime::builder().shards(2).name("app");
    let ends = shards.run(move |shard| -> io::Result<()> {
        let server = Server::bind(addresses[shard].as_str())?;
        match shard {
            0 => {
                println!("counting visitors on {server}");
                server.run(counter())
            }
            _ => {
                println!("taking notes on {server}");
                server.run(notebook())
            }
        }
    });
    for end in ends {
        end??;
    }
    Ok(())
}
