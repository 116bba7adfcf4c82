//! Names that the operator has before his eyes: those of the last search, of the last `browse`, of downloads under way. A
//! line that could be read otherwise means one of them.

use crate::proto::command::{is_plain, is_shown_as};

/// Bytes of names that are remembered of a `browse`, beside those that are read well without.
const BYTES_MAX: usize = 1 << 20;

/// What the last `browse` showed, as far as it must be known for reading a name.
#[derive(Debug, Default)]
pub(crate) struct Browsed {
    names: Vec<String>,
    bytes: usize,
}

impl Browsed {
    /// The names, as far as they were remembered.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.names.iter()
    }

    pub(crate) fn clear(&mut self) {
        *self = Browsed::default();
    }

    pub(crate) fn add(&mut self, name: &str) {
        if self.bytes + name.len() <= BYTES_MAX && !is_plain(name) {
            self.bytes += name.len() + size_of::<String>();
            self.names.push(name.to_owned());
        }
    }
}

/// The one of these names that is meant by `typed`: the one that it fits best, of equals the first.
pub(crate) fn meant<'a>(names: impl Iterator<Item = &'a String>, typed: &str) -> Option<String> {
    let fits = names.filter_map(|name| Some((is_shown_as(name, typed)?, name)));
    fits.min_by_key(|(fit, _)| *fit).map(|(_, name)| name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_fits_best_is_meant() {
        let names = ["cafe\u{301}", "a\u{1b}b", "caf\u{e9}", "a\\u{1b}b"].map(str::to_owned);
        let of = |typed: &str| meant(names.iter(), typed);
        assert_eq!(of("caf\u{e9}").as_ref(), Some(&names[2]), "as it is, before another spelling");
        assert_eq!(of("a\\u{1b}b").as_ref(), Some(&names[3]), "as it is, before how it is shown");
        assert_eq!(meant(names[..2].iter(), "a\\u{1b}b").as_ref(), Some(&names[1]));
        assert_eq!(meant(names[..2].iter(), "caf\u{e9}").as_ref(), Some(&names[0]));
        assert_eq!(of("tea"), None);
    }

    #[test]
    fn what_a_browse_showed_is_remembered_within_bounds() {
        let mut browsed = Browsed::default();
        browsed.add("plain.txt");
        assert_eq!(browsed.names().count(), 0, "it is read well without");
        browsed.add("Season 1 Episode 2.mkv");
        assert_eq!(browsed.names().count(), 1);
        for i in 0..20_000 {
            browsed.add(&format!("{i} {}", "x".repeat(100)));
        }
        let bytes: usize = browsed.names().map(|name| name.len() + size_of::<String>()).sum();
        assert!(browsed.names().count() < 20_000 && bytes <= BYTES_MAX + 200);
        browsed.clear();
        assert_eq!(browsed.names().count(), 0);
    }
}
