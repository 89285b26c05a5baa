//! The content types of files.
#![forbid(unsafe_code)]

use http::HeaderValue;

/// The type that the extension of a name stands for. Texts are declared as UTF-8.
pub(super) fn content_type(path: &str) -> HeaderValue {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    let guess = mime_guess::from_path(name).first_raw();
    match guess.unwrap_or("application/octet-stream") {
        "text/html" => HeaderValue::from_static("text/html; charset=utf-8"),
        "text/css" => HeaderValue::from_static("text/css; charset=utf-8"),
        // RFC 9239 section 6.
        "text/javascript" | "application/javascript" => {
            HeaderValue::from_static("text/javascript; charset=utf-8")
        }
        "text/plain" => HeaderValue::from_static("text/plain; charset=utf-8"),
        text if text.starts_with("text/") => {
            let text = HeaderValue::try_from(format!("{text}; charset=utf-8"));
            text.unwrap_or(HeaderValue::from_static("text/plain; charset=utf-8"))
        }
        other => HeaderValue::from_static(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_stand_for_types() {
        for (path, expected) in [
            ("index.html", "text/html; charset=utf-8"),
            ("a/b.CSS", "text/css; charset=utf-8"),
            ("a.js", "text/javascript; charset=utf-8"),
            ("a.mjs", "text/javascript; charset=utf-8"),
            ("a.csv", "text/csv; charset=utf-8"),
            ("a.json", "application/json"),
            ("a.svg", "image/svg+xml"),
            ("a.png", "image/png"),
            ("a.webp", "image/webp"),
            ("a.wasm", "application/wasm"),
            ("a.woff2", "font/woff2"),
            ("html", "application/octet-stream"),
            ("dir.html/none", "application/octet-stream"),
            ("a.nothing-known", "application/octet-stream"),
        ] {
            assert_eq!(content_type(path), expected, "{path}");
        }
    }
}
