//! The page that lists a directory.
#![forbid(unsafe_code)]

use super::path::encode_segment;
use crate::runtime::driver::beneath::Entry;

/// Makes the page of the directory `path`, which is relative to the root.
pub(super) fn page(path: &str, mut entries: Vec<Entry>, hidden: bool) -> String {
    entries.retain(|entry| hidden || !entry.name.starts_with('.'));
    entries.sort_by(|a, b| (!a.is_dir, &a.name).cmp(&(!b.is_dir, &b.name)));
    let mut title = String::from("/");
    if !path.is_empty() {
        escape(path, &mut title);
        title.push('/');
    }
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <title>{title}</title>\n<h1>{title}</h1>\n<ul>\n"
    );
    if !path.is_empty() {
        page.push_str("<li><a href=\"../\">../</a>\n");
    }
    for entry in &entries {
        let slash = if entry.is_dir { "/" } else { "" };
        page.push_str("<li><a href=\"./");
        encode_segment(&entry.name, &mut page);
        page.push_str(slash);
        page.push_str("\">");
        escape(&entry.name, &mut page);
        page.push_str(slash);
        page.push_str("</a>\n");
    }
    page.push_str("</ul>\n</html>\n");
    page
}

fn escape(text: &str, into: &mut String) {
    for c in text.chars() {
        match c {
            '&' => into.push_str("&amp;"),
            '<' => into.push_str("&lt;"),
            '>' => into.push_str("&gt;"),
            '"' => into.push_str("&quot;"),
            '\'' => into.push_str("&#39;"),
            c => into.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, is_dir: bool) -> Entry {
        Entry {
            name: name.to_owned(),
            is_dir,
        }
    }

    #[test]
    fn directories_come_first_and_names_are_escaped() {
        let entries = || {
            vec![
                entry("<b>\"&.txt", false),
                entry("a:b", false),
                entry(".env", false),
                entry("z", true),
            ]
        };
        let page_of = |hidden| page("x<y", entries(), hidden);
        let expected = "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
                        <title>/x&lt;y/</title>\n<h1>/x&lt;y/</h1>\n<ul>\n\
                        <li><a href=\"../\">../</a>\n\
                        <li><a href=\"./z/\">z/</a>\n\
                        <li><a href=\"./%3Cb%3E%22%26.txt\">&lt;b&gt;&quot;&amp;.txt</a>\n\
                        <li><a href=\"./a%3Ab\">a:b</a>\n\
                        </ul>\n</html>\n";
        assert_eq!(page_of(false), expected);
        assert!(page_of(true).contains("./.env"));
    }

    #[test]
    fn the_root_has_no_parent() {
        assert!(!page("", Vec::new(), false).contains("../"));
    }
}
