//! Names of files whose own names are taken. Both sides of the contract know the rule: the driver gives them, a node looks for them.

/// Bytes of a component on the file systems in use.
const COMPONENT_MAX: usize = 255;

/// The name that a file gets where its own is taken: `folder/name (2).ext`. The stem of its last component is cut where the
/// whole would be too long.
pub fn numbered(name: &str, number: u32) -> String {
    let (folder, last) = name.split_at(name.rfind('/').map_or(0, |slash| slash + 1));
    let (stem, extension) = match last.rfind('.') {
        Some(dot) if dot > 0 && last.len() - dot <= 16 => last.split_at(dot),
        _ => (last, ""),
    };
    let tail = format!(" ({number}){extension}");
    let mut end = stem.len().min(COMPONENT_MAX.saturating_sub(tail.len()));
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    format!("{folder}{}{tail}", &stem[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

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
