//! A result of a search, as it is shown.

use super::Place;
use serde::Serialize;

/// A content, whoever has it.
#[derive(Debug, Serialize)]
pub(crate) struct FoundRow<'a> {
    pub(crate) number: usize,
    pub(crate) name: &'a str,
    pub(crate) size: Option<u64>,
    pub(crate) root: Option<String>,
    pub(crate) sources: Vec<Place>,
    /// Other names that fit what was searched for.
    pub(crate) names: Vec<&'a str>,
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
