use ethreads::http::App;

async fn hello() -> &'static str {
    "hello"
}

fn main() {
    let _ = App::new().get("/", hello);
}
