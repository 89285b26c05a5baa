//! Finds the routes that match a path, the most specific first.
//!
//! Segment by segment, text comes before a parameter, and a parameter before the rest of the path.
//! A path is split at its slashes before it is decoded, so `%2F` stays inside a segment.
#![forbid(unsafe_code)]

use std::cmp::Ordering;

use http::Method;

use super::pattern::{Pattern, Segment};
use crate::http::exchange::route::split_segment;
use crate::http::message::decode_path;

/// A route at the end of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Leaf {
    /// `None` is any method.
    method: Option<Method>,
    route: usize,
}

/// As many texts are searched one by one.
const FEW: usize = 8;

/// A node of the tree of segments.
#[derive(Debug, Default)]
struct Node {
    /// Sorted by [`by_len`].
    texts: Vec<(Box<str>, Self)>,
    param: Option<Box<Self>>,
    /// Routes that match whatever follows.
    rest: Vec<Leaf>,
    /// Routes that end here.
    here: Vec<Leaf>,
}

/// The routes of an app.
#[derive(Debug, Default)]
pub(super) struct Router {
    root: Node,
    /// The patterns without parameters: of each length those of that length, sorted. They come
    /// first in the tree, too.
    texts: Vec<Vec<(Box<str>, Vec<Leaf>)>>,
}

/// The methods of the routes that match a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Allowed {
    pub(super) methods: Vec<Method>,
    /// A route takes any method.
    pub(super) any: bool,
}

/// The route for `method`: a route of that method, before one of any, before the GET of a HEAD.
#[inline]
fn choose(leaves: &[Leaf], method: &Method) -> Option<usize> {
    let find = |wanted: Option<&Method>| {
        let found = leaves.iter().find(|leaf| leaf.method.as_ref() == wanted);
        found.map(|leaf| leaf.route)
    };
    // Most paths have one route.
    if let [only] = leaves
        && only.method.as_ref() == Some(method)
    {
        return Some(only.route);
    }
    let as_get = || (*method == Method::HEAD).then(|| find(Some(&Method::GET)));
    find(Some(method))
        .or_else(|| as_get().flatten())
        .or_else(|| find(None))
}

impl Router {
    /// Adds a route.
    pub(super) fn add(&mut self, pattern: &Pattern, method: Option<Method>, route: usize) {
        let leaf = Leaf { method, route };
        let mut node = &mut self.root;
        let mut text = Some(String::new());
        for segment in pattern.segments() {
            node = match segment {
                Segment::Static(part) => {
                    text = match text {
                        Some(text) if !part.contains(['%', '/']) => Some(text + "/" + &part),
                        _ => None,
                    };
                    let found = node.texts.binary_search_by(|(have, _)| by_len(have, &part));
                    let at = found.unwrap_or_else(|at| {
                        node.texts.insert(at, (part, Node::default()));
                        at
                    });
                    &mut node.texts[at].1
                }
                Segment::Param(_) => {
                    text = None;
                    node.param.get_or_insert_default()
                }
                Segment::Rest(_) => {
                    node.rest.push(leaf);
                    return;
                }
            };
        }
        node.here.push(leaf.clone());
        // A path is compared as it was sent. An escaped one takes the way through the tree.
        if let Some(text) = text {
            if self.texts.len() <= text.len() {
                self.texts.resize_with(text.len() + 1, Vec::new);
            }
            let texts = &mut self.texts[text.len()];
            match texts.binary_search_by(|(have, _)| (**have).cmp(&text)) {
                Ok(at) => texts[at].1.push(leaf),
                Err(at) => texts.insert(at, (text.into(), vec![leaf])),
            }
        }
    }

    /// The routes of a pattern without parameters.
    #[inline]
    fn text(&self, path: &str) -> Option<&[Leaf]> {
        let texts = self.texts.get(path.len())?;
        let found = match &**texts {
            [] => return None,
            [only] => (&*only.0 == path).then_some(only),
            texts => {
                let found = texts.binary_search_by(|(have, _)| (**have).cmp(path));
                found.ok().map(|at| &texts[at])
            }
        };
        found.map(|(_, leaves)| &**leaves)
    }

    /// Returns the route that matches, after `skip` others that match, too.
    #[inline]
    pub(super) fn find(&self, path: &str, method: &Method, skip: usize) -> Option<usize> {
        if skip == 0
            && let Some(leaves) = self.text(path)
            && let Some(route) = choose(leaves, method)
        {
            return Some(route);
        }
        self.find_in_tree(path, method, skip)
    }

    fn find_in_tree(&self, path: &str, method: &Method, mut skip: usize) -> Option<usize> {
        self.visit(path, |leaves| {
            let route = choose(leaves, method)?;
            match skip.checked_sub(1) {
                None => Some(route),
                Some(less) => {
                    skip = less;
                    None
                }
            }
        })
    }

    /// Returns the methods of all routes that match the path; `None` if no route does.
    pub(super) fn allowed(&self, path: &str) -> Option<Allowed> {
        let mut allowed = None;
        let visit = |leaves: &[Leaf]| {
            for leaf in leaves {
                let allowed: &mut Allowed = allowed.get_or_insert_default();
                match &leaf.method {
                    Some(method) if allowed.methods.contains(method) => {}
                    Some(method) => allowed.methods.push(method.clone()),
                    None => allowed.any = true,
                }
            }
            None::<()>
        };
        self.visit(path, visit);
        allowed
    }

    /// Calls `visit` with the routes of each pattern that matches, until it returns a value.
    #[inline]
    fn visit<T>(&self, path: &str, mut visit: impl FnMut(&[Leaf]) -> Option<T>) -> Option<T> {
        self.root.visit(Some(path.strip_prefix('/')?), &mut visit)
    }
}

impl Node {
    /// `rest` is what follows the slash behind this node; `None` at the end of the path.
    fn visit<T>(
        &self,
        mut rest: Option<&str>,
        visit: &mut impl FnMut(&[Leaf]) -> Option<T>,
    ) -> Option<T> {
        let mut node = self;
        loop {
            let Some(path) = rest else {
                return visit_all(&node.here, visit);
            };
            let (segment, behind) = split_segment(path);
            let text = match node.texts.is_empty() {
                true => None,
                false => node.text(segment),
            };
            let param = node.param.as_deref().filter(|_| !segment.is_empty());
            // Only where there is more than one way is there one to come back to.
            node = match (text, param) {
                (Some(only), None) | (None, Some(only)) if node.rest.is_empty() => only,
                (None, None) => return visit_all(&node.rest, visit),
                (text, param) => {
                    let mut ways = text.into_iter().chain(param);
                    return ways
                        .find_map(|way| way.visit(behind, visit))
                        .or_else(|| visit_all(&node.rest, visit));
                }
            };
            rest = behind;
        }
    }

    #[inline]
    fn text(&self, segment: &str) -> Option<&Self> {
        let decoded;
        let segment = match segment.bytes().any(|byte| byte == b'%') {
            false => segment,
            true => {
                decoded = decode_path(segment).ok()?;
                &*decoded
            }
        };
        // A few are compared faster one by one.
        if self.texts.len() <= FEW {
            let mut texts = self.texts.iter();
            return texts
                .find(|(have, _)| **have == *segment)
                .map(|(_, next)| next);
        }
        let texts = &self.texts;
        let found = texts.binary_search_by(|(have, _)| by_len(have, segment));
        found.ok().map(|at| &texts[at].1)
    }
}

/// Calls `visit` unless there are no routes.
fn visit_all<T>(leaves: &[Leaf], visit: &mut impl FnMut(&[Leaf]) -> Option<T>) -> Option<T> {
    (!leaves.is_empty()).then(|| visit(leaves)).flatten()
}

/// An order in which most texts are told apart by their lengths.
#[inline]
fn by_len(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests;
