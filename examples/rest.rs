//! A REST service: notes in memory, JSON in and out, errors as `application/problem+json`. Try
//! `cargo run --release --example rest`, then `curl -i http://127.0.0.1:8080/notes --json
//! '{"text": "buy milk"}'` and `curl -i http://127.0.0.1:8080/notes/1`.

use std::cell::RefCell;
use std::collections::BTreeMap;

use ethreads::http::{App, HandlerError, IntoResponse, Json, Path, Result};
use ethreads::http::{Server, State, StatusCode, error_pages};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Note {
    text: String,
}

type Notes = RefCell<BTreeMap<u64, Note>>;

fn list(notes: State<Notes>) -> Json<BTreeMap<u64, Note>> {
    Json(notes.borrow().clone())
}

fn create(notes: State<Notes>, Json(note): Json<Note>) -> impl IntoResponse {
    let mut notes = notes.borrow_mut();
    let id = notes.last_key_value().map_or(1, |(last, _)| last + 1);
    notes.insert(id, note.clone());
    let location = [("location", format!("/notes/{id}"))];
    (StatusCode::CREATED, location, Json(note))
}

fn read(Path(id): Path<u64>, notes: State<Notes>) -> Result<Json<Note>> {
    let note = notes.borrow().get(&id).cloned();
    note.map(Json).ok_or_else(|| missing(id))
}

fn delete(Path(id): Path<u64>, notes: State<Notes>) -> Result<StatusCode> {
    match notes.borrow_mut().remove(&id) {
        Some(_) => Ok(StatusCode::NO_CONTENT),
        None => Err(missing(id)),
    }
}

fn missing(id: u64) -> HandlerError {
    HandlerError::status(StatusCode::NOT_FOUND, format!("there is no note {id}"))
}

fn app() -> App {
    App::new()
        .with(Notes::default())
        .get("/notes", list)
        .post("/notes", create)
        .get("/notes/{id}", read)
        .delete("/notes/{id}", delete)
        .on_error(error_pages::problem_json)
}

fn main() -> std::io::Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:8080".into());
    let server = Server::bind(address)?;
    println!("listening on {server}");
    server.run(app())
}

#[test]
fn a_note_is_created_read_and_deleted() {
    use ethreads::http::Request;
    let note = Note { text: "hi".into() };
    let app = app();
    let created = app.call(Request::post("/notes").json(&note));
    assert_eq!(created.status(), 201);
    let read = app.call(Request::get("/notes/1"));
    assert_eq!(read.body().as_bytes(), Some(&br#"{"text":"hi"}"#[..]));
    assert_eq!(app.call(Request::delete("/notes/1")).status(), 204);
    assert_eq!(app.call(Request::get("/notes/1")).status(), 404);
    assert_eq!(app.call(Request::post("/notes").json(&[1])).status(), 422);
}
