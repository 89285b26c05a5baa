//! The routes as an app.

use std::collections::BTreeMap;
use std::io;

use ethreads::http::middleware::health;
use ethreads::http::{App, Files, Form, Json, Path, Request, ServerHandle, State};
use serde::Serialize;

use crate::more;
use crate::routes::{self, BIG, INDEX};

/// The folder of `/static/`, unless another one is named.
const STATIC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/http_server/static");

/// The app of one shard, with the files of `folder`.
pub(crate) fn app(server: ServerHandle, folder: Option<&str>) -> io::Result<App> {
    let files = match folder {
        Some(folder) => Some(Files::new(folder).map_err(|error| {
            io::Error::new(error.kind(), format!("--static {folder}: {error}"))
        })?),
        // The program may run where its sources are not.
        None => Files::new(STATIC).ok(),
    };
    let app = App::new()
        .with(server)
        .get("/", || routes::html(INDEX))
        .post("/", |request: &mut Request| routes::echo(request))
        .get("/plaintext", || "Hello, World!")
        .get("/json", || routes::json(routes::JSON))
        .post("/json/echo", |Json(value): Json<serde_json::Value>| {
            Json(value)
        })
        .post("/echo", |request: &mut Request| routes::echo(request))
        .post("/form", form)
        .get("/users/{id}", |Path(id): Path<u64>| Json(User { id }))
        .get("/big", || BIG.clone())
        .get("/headers", |request: &mut Request| routes::headers(request))
        .get("/client", client)
        .get("/slow", |request: &mut Request| routes::slow(request))
        .get("/stream", routes::stream)
        .get("/baseline11", |request: &mut Request| routes::sum(request))
        .post("/baseline11", |request: &mut Request| routes::sum(request))
        .get("/pipeline", || "ok")
        .get("/status/{*code}", |Path(code): Path<String>| {
            routes::status(&code)
        })
        .get("/stats", |server: State<ServerHandle>| {
            routes::stats(&server)
        });
    let app = app.apply(more::routes).apply(health());
    Ok(match files {
        Some(files) => app.get("/static/{*path}", files.precompressed()),
        None => app,
    })
}

#[derive(Serialize)]
struct User {
    id: u64,
}

/// The address of the client, or of its last proxy that is not trusted.
fn client(request: &mut Request) -> String {
    match request.client_addr() {
        Some(address) => format!("{address} by {}\n", request.scheme()),
        None => format!("unknown by {}\n", request.scheme()),
    }
}

/// The fields of a form, as JSON; of a repeated one the last.
fn form(Form(fields): Form<Vec<(String, String)>>) -> Json<BTreeMap<String, String>> {
    Json(fields.into_iter().collect())
}
