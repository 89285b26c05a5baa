use ethreads::http::App;

fn hello() -> std::io::Error {
    std::io::Error::other("no response")
}

fn read() -> Result<String, std::io::Error> {
    std::fs::read_to_string("file")
}

fn main() {
    let _ = App::new().get("/", hello).get("/read", read);
}
