use ethreads::http::{App, Method, Request};

fn hello(_: &mut Request, _: Method) -> &'static str {
    "hello"
}

fn main() {
    let _ = App::new().get("/", hello);
}
