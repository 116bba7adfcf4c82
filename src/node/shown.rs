//! Names that the operator has before his eyes: those of searches, of `browse`, of downloads under way. A line that could
//! be read otherwise means one of them.

use crate::proto::command::is_shown_as;

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
}
