use ethreads::http::App;

struct Config;

fn hello(_: Config) -> &'static str {
    "hello"
}

fn main() {
    let _ = App::new().get("/", hello);
}
