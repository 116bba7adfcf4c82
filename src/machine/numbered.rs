//! Names of files whose own names are taken. Both sides of the contract know the rule: the driver gives them, a node looks for them.

/// Bytes of a component on the file systems in use.
const COMPONENT_MAX: usize = 255;

/// The name that a file gets where its own is taken: `folder/name (2).ext`. The stem of its last component is cut where the
/// whole would be too long.
pub fn numbered(name: &str, number: u32) -> String {
    let (folder, last) = name.split_at(name.rfind('/').map_or(0, |slash| slash + 1));
    let (stem, extension) = stem_and_extension(last);
    let tail = format!(" ({number}){extension}");
    format!("{folder}{}{tail}", cut(stem, COMPONENT_MAX.saturating_sub(tail.len())))
}

/// The name of a file or folder in `max` bytes: its stem is cut, and the extension stays if there is room for it.
pub fn shortened(name: &str, max: usize) -> String {
    let (stem, extension) = stem_and_extension(name);
    let tail = cut(extension, max);
    format!("{}{tail}", cut(stem, max - tail.len()).trim_end())
}

fn stem_and_extension(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(dot) if dot > 0 && name.len() - dot <= 16 => name.split_at(dot),
        _ => (name, ""),
    }
}

fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_keeps_its_extension_and_whole_letters() {
        assert_eq!(shortened("a long name.txt", 10), "a long.txt");
        assert_eq!(shortened("\u{f1}\u{f1}\u{f1}.txt", 9), "\u{f1}\u{f1}.txt");
        assert_eq!(shortened("a.txt", 100), "a.txt");
        assert_eq!(shortened("a b", 2), "a");
    }

    #[test]
    fn numbers_go_before_the_extension_and_the_name_stays_short_enough() {
        assert_eq!(numbered("a.txt", 2), "a (2).txt");
        assert_eq!(numbered("a", 3), "a (3)");
        assert_eq!(numbered(".hidden", 2), ".hidden (2)");
        assert_eq!(numbered("b.c/a", 2), "b.c/a (2)");
        assert_eq!(numbered("a.tar.gz", 10), "a.tar (10).gz");
        let long = numbered(&format!("{}.txt", "ñ".repeat(125)), 12);
        assert!(long.len() <= COMPONENT_MAX && long.ends_with("ñ (12).txt"), "{long}");
    }
}
