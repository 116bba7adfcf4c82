//! A result of a search, as it is shown.

use super::{Place, bytes, plural};
use crate::proto::escape::for_terminal;
use serde::Serialize;

/// A content, whoever has it.
#[derive(Debug, Serialize)]
pub(in crate::node::peer) struct FoundRow<'a> {
    pub(in crate::node::peer) number: usize,
    pub(in crate::node::peer) name: &'a str,
    pub(in crate::node::peer) size: Option<u64>,
    pub(in crate::node::peer) root: Option<String>,
    pub(in crate::node::peer) sources: Vec<Place>,
    /// Other names that fit what was searched for.
    pub(in crate::node::peer) names: Vec<&'a str>,
}

impl FoundRow<'_> {
    /// A line, and one more for each of the other names.
    pub(super) fn text(&self) -> String {
        let FoundRow { number, name, size, sources, names, .. } = self;
        let size = size.map_or("size?".to_owned(), bytes);
        let at = match sources.as_slice() {
            [place] => place.to_string(),
            sources => plural(sources.len(), "node", "nodes"),
        };
        let first = format!("{number:>3}  {size:>9}  {}  at {at}\n", for_terminal(name));
        names.iter().fold(first, |text, name| text + &format!("{:>14}  {}\n", "or", for_terminal(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_with_several_names_shows_all_of_them() {
        let at = Place(([10, 0, 0, 5], 1).into());
        let names = vec!["b/c", "d\u{1b}"];
        let row = FoundRow { number: 12, name: "a", size: Some(3), root: None, sources: vec![at], names };
        assert_eq!(
            row.text(),
            " 12        3 B  a  at 10.0.0.5:1\n            or  b/c\n            or  d\\u{1b}\n"
        );
    }
}
