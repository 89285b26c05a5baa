//! The order in which routes match, beside a search through all patterns.

use proptest::prelude::*;

use super::*;

fn router(patterns: &[&str]) -> Router {
    let mut router = Router::default();
    for (number, text) in patterns.iter().enumerate() {
        router.add(&Pattern::expect(text), Some(Method::GET), number);
    }
    router
}

/// All routes that match, in their order.
fn all(router: &Router, path: &str) -> Vec<usize> {
    (0..)
        .map_while(|skip| router.find(path, &Method::GET, skip))
        .collect()
}

#[test]
fn text_comes_before_a_parameter_before_the_rest() {
    let router = router(&["/users/{id}", "/users/{*rest}", "/users/me", "/{*all}"]);
    assert_eq!(all(&router, "/users/me"), [2, 0, 1, 3]);
    assert_eq!(all(&router, "/users/7"), [0, 1, 3]);
    assert_eq!(all(&router, "/users/7/x"), [1, 3]);
    assert_eq!(
        all(&router, "/users/"),
        [1, 3],
        "a rest may be empty, a parameter not"
    );
    assert_eq!(
        all(&router, "/users"),
        [3],
        "a trailing slash is significant"
    );
    assert_eq!(all(&router, "/"), [3]);
}

#[test]
fn a_search_comes_back_from_a_dead_end() {
    let router = router(&["/a/b/c", "/{x}/b/d", "/a/{y}/{z}"]);
    assert_eq!(all(&router, "/a/b/d"), [2, 1]);
    assert_eq!(all(&router, "/a/b/c"), [0, 2]);
    assert_eq!(all(&router, "/a/b/e"), [2]);
    assert_eq!(all(&router, "/b/b/e"), [0; 0]);
}

#[test]
fn each_of_many_texts_is_found() {
    let texts = [
        "a", "b", "ab", "ba", "abc", "abd", "bcd", "abcd", "bbbb", "aaaaa",
    ];
    for many in 0..=texts.len() {
        // With a parameter behind it, so that the search goes through the tree.
        let patterns: Vec<String> = texts[..many]
            .iter()
            .map(|t| format!("/{t}/{{x}}"))
            .collect();
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
        let router = router(&patterns);
        for (number, text) in texts.iter().enumerate() {
            let expected = (number < many).then_some(number);
            let found = router.find(&format!("/{text}/1"), &Method::GET, 0);
            assert_eq!(found, expected, "{text} of {many}");
        }
        assert_eq!(router.find("/bbb/1", &Method::GET, 0), None);
        assert_eq!(router.find("//1", &Method::GET, 0), None);
    }
}

#[test]
fn segments_are_split_before_they_are_decoded() {
    let router = router(&["/a b", "/a/b", "/{x}", "/caf%C3%A9", "/50%25"]);
    assert_eq!(all(&router, "/a%20b"), [0, 2]);
    assert_eq!(all(&router, "/a%2Fb"), [2]);
    assert_eq!(all(&router, "/%61/b"), [1]);
    assert_eq!(all(&router, "/caf%c3%a9"), [3, 2]);
    assert_eq!(all(&router, "/50%25"), [4, 2]);
    assert_eq!(
        all(&router, "/%ff"),
        [2],
        "the parameter's extractor refuses it"
    );
}

#[test]
fn methods_are_chosen_at_each_pattern() {
    let mut router = Router::default();
    let mut add = |pattern, method, route| router.add(&Pattern::expect(pattern), method, route);
    add("/a", Some(Method::POST), 0);
    add("/a", None, 1);
    add("/{x}", Some(Method::GET), 2);
    add("/b", Some(Method::POST), 3);
    assert_eq!(router.find("/a", &Method::POST, 0), Some(0));
    assert_eq!(router.find("/a", &Method::PUT, 0), Some(1));
    assert_eq!(router.find("/a", &Method::HEAD, 1), Some(2), "by its GET");
    assert_eq!(router.find("/b", &Method::GET, 0), Some(2));
    assert_eq!(router.find("/b", &Method::PUT, 0), None);
    let allowed = router.allowed("/b").unwrap();
    assert_eq!(
        (allowed.methods, allowed.any),
        (vec![Method::POST, Method::GET], false)
    );
    assert!(router.allowed("/a").unwrap().any);
    assert_eq!(router.allowed("/a/b"), None);
}

/// Whether a pattern matches, and how specific it is in each segment.
fn rank(pattern: &str, path: &str) -> Option<Vec<u8>> {
    let mut path = path[1..].split('/');
    let mut rank = Vec::new();
    for segment in Pattern::expect(pattern).segments() {
        match segment {
            Segment::Rest(_) => {
                path.next()?;
                rank.push(2);
                return Some(rank);
            }
            Segment::Param(_) => {
                path.next().filter(|part| !part.is_empty())?;
                rank.push(1);
            }
            Segment::Static(text) => {
                let part = path.next()?;
                decode_path(part).ok().filter(|part| **part == *text)?;
                rank.push(0);
            }
        }
    }
    path.next().is_none().then_some(rank)
}

const PATTERNS: &str = "(/(a|b|ab|\\{x\\}|)){1,3}(/\\{\\*r\\})?";

proptest! {
    #[test]
    fn agrees_with_a_search_through_all_patterns(
        patterns in proptest::collection::btree_set(PATTERNS, 1..12),
        path in "(/(a|b|ab|%61|%2F|)){1,4}",
    ) {
        // Names do not matter, but must differ in a pattern.
        let named = |pattern: &String| {
            let mut parts = pattern.split("{x}");
            let first = parts.next().unwrap_or_default().to_owned();
            parts.enumerate().fold(first, |text, (n, part)| format!("{text}{{x{n}}}{part}"))
        };
        let patterns: Vec<String> = patterns.iter().map(named).collect();
        let texts: Vec<&str> = patterns.iter().map(String::as_str).collect();
        let mut expected: Vec<(Vec<u8>, usize)> = texts
            .iter()
            .enumerate()
            .filter_map(|(number, pattern)| Some((rank(pattern, &path)?, number)))
            .collect();
        expected.sort();
        let expected: Vec<usize> = expected.into_iter().map(|(_, number)| number).collect();
        prop_assert_eq!(all(&router(&texts), &path), expected);
    }
}
