//! The routes as an app.

use std::collections::BTreeMap;

use ethreads::http::{App, Form, Json, Path, Request, ServerHandle, State};
use serde::Serialize;

use crate::routes::{self, BIG, INDEX};

/// The app of one shard.
pub(crate) fn app(server: ServerHandle) -> App {
    App::new()
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
        })
}

#[derive(Serialize)]
struct User {
    id: u64,
}

/// The fields of a form, as JSON; of a repeated one the last.
fn form(Form(fields): Form<Vec<(String, String)>>) -> Json<BTreeMap<String, String>> {
    Json(fields.into_iter().collect())
}
