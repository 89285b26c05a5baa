use ethreads::Runtime;
use ethreads::http::{App, Server};

fn main() -> std::io::Result<()> {
    let shards = Runtime::builder().shards(2);
    let server = Server::bind_shared("127.0.0.1:0")?.on_shards(shards)?;
    server.serve(App::new())
}
