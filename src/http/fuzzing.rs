//! The bodies of the fuzz targets: properties that hold for any input.
//!
//! Compiled for the fuzzers (`cfg(fuzzing)`) and for the unit tests, which replay the inputs that
//! the fuzzers have found. Not part of the library.
#![forbid(unsafe_code)]

mod chunked;
mod head;
mod reference;
mod settings;

pub use chunked::chunked;
pub use head::head;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// Calls `target` with each file of its corpus.
    fn replay(corpus: &str, target: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/corpus")
            .join(corpus);
        let mut count = 0;
        for entry in fs::read_dir(folder).unwrap() {
            target(&fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 20, "{count} files in the corpus of {corpus}");
    }

    #[test]
    fn heads_of_the_corpus() {
        replay("head", super::head);
    }

    #[test]
    fn chunked_bodies_of_the_corpus() {
        replay("chunked", super::chunked);
    }
}
