//! The exchanges in the corpus of the fuzzer.

use std::fs;
use std::path::Path;

use crate::http::exchange::Servers;
use crate::http::util::on_a_shard;
use crate::support::no_child_begins;

#[test]
fn exchanges_of_the_corpus() {
    let _at_once = no_child_begins();
    on_a_shard(|| {
        let servers = Servers::new();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/exchange");
        let mut count = 0;
        for entry in fs::read_dir(folder).unwrap() {
            servers.exchange(&fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 20, "{count} files in the corpus");
        servers.end();
    });
}
