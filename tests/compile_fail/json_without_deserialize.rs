use ethreads::http::{App, Json};

struct Note;

fn add(_: Json<Note>) -> &'static str {
    "added"
}

fn main() {
    let _ = App::new().post("/", add);
}
