//! What `share` is given: a path, or a `file:` address as file managers hand it out.

/// The path that an address of a file on this host means; `None`: it is no such address, but a path.
///
/// # Errors
/// What is wrong with it.
pub(super) fn path_of(text: &str) -> Option<Result<String, String>> {
    let (scheme, rest) = text.split_at_checked("file://".len())?;
    if !scheme.eq_ignore_ascii_case("file://") {
        return None;
    }
    let Some(slash) = rest.find('/') else { return Some(Err(format!("`{text}` names no file"))) };
    let (host, path) = rest.split_at(slash);
    if !host.is_empty() && !host.eq_ignore_ascii_case("localhost") {
        return Some(Err(format!("`{text}` is a file of another host")));
    }
    Some(
        decoded(path)
            .ok_or_else(|| format!("`{text}` is no address: a % is not followed by what it stands for")),
    )
}

/// Without percent signs. None: one of them is followed by no number, or the whole is not text.
fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let value = u8::try_from(digit()? * 16 + digit()?).ok().filter(|value| *value != 0)?;
        bytes.push(value);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_of_file_managers_are_paths() {
        for (text, path) in [
            ("file:///home/a/with%20blank.txt", "/home/a/with blank.txt"),
            ("FILE:///a%2fb%C3%A9", "/a/bé"),
            ("file://localhost/a+b#c?d", "/a+b#c?d"),
        ] {
            assert_eq!(path_of(text), Some(Ok(path.to_owned())), "{text}");
        }
        for text in ["a.txt", "/file://a", "file:/", "file:a", "files:///a", "~/a", "", "é"] {
            assert_eq!(path_of(text), None, "{text}");
        }
        for text in [
            "file://",
            "file://other/a",
            "file:///%",
            "file:///%2",
            "file:///%zz",
            "file:///%00",
            "file:///%ff",
            "file:///%+1",
        ] {
            assert!(path_of(text).is_some_and(|path| path.is_err()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_path_comes_back(path in "/[^\0]{0,20}") {
            let encoded: String = path.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(path_of(&format!("file:///{encoded}")), Some(Ok(format!("/{path}"))));
        }
    }
}
