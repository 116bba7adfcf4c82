//! Which names a shared file may have, as a rule on text alone: what it refuses never reaches a file system.

use std::fmt;
use std::path::Path;
use unicode_normalization::UnicodeNormalization as _;

/// Components of a name.
pub const COMPONENTS_MAX: usize = 8;
/// Bytes of a component.
pub const COMPONENT_MAX: usize = 255;
/// Bytes of a name.
pub const NAME_MAX: usize = 1024;

/// Names that a DOS descendant opens as devices, whatever their case and extension.
const DEVICES: [&str; 24] = [
    "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "COM1", "COM2", "COM3", "COM4", "COM5", "COM6", "COM7",
    "COM8", "COM9", "LPT1", "LPT2", "LPT3", "LPT4", "LPT5", "LPT6", "LPT7", "LPT8", "LPT9",
];

/// Why a name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Nothing, or nothing between two slashes.
    Empty,
    /// Begins at the root of the file system.
    Absolute,
    /// Contains `.` or `..` as a component.
    Dots,
    /// A component begins with a dot.
    Hidden,
    /// A component begins with `-` or `~`.
    Leading(char),
    /// A component ends with a dot or a blank.
    Ending,
    /// Contains a backslash.
    Backslash,
    /// Contains NUL or another control character.
    Control,
    /// A component is a device on some systems.
    Device,
    /// A component is longer than [`COMPONENT_MAX`].
    ComponentTooLong,
    /// More than [`COMPONENTS_MAX`] components.
    TooManyComponents,
    /// Longer than [`NAME_MAX`].
    TooLong,
    /// The path on disk is not valid UTF-8.
    NotUtf8,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Empty => f.write_str("the file name, or a part of it, is empty"),
            NameError::Absolute => f.write_str("the file name must not begin with /"),
            NameError::Dots => f.write_str("the file name must not contain . or .. as a part"),
            NameError::Hidden => f.write_str("the file name must not begin with a dot, nor may a part of it"),
            NameError::Leading(c) => write!(f, "the file name must not begin with {c}, nor may a part of it"),
            NameError::Ending => {
                f.write_str("the file name must not end with a dot or a blank, nor may a part of it")
            }
            NameError::Backslash => f.write_str("the file name must not contain a backslash"),
            NameError::Control => f.write_str("the file name must not contain control characters"),
            NameError::Device => f.write_str("the file name is the name of a device on some systems"),
            NameError::ComponentTooLong => {
                write!(f, "the file name, or a part of it, is longer than {COMPONENT_MAX} bytes")
            }
            NameError::TooManyComponents => write!(f, "the file name has more than {COMPONENTS_MAX} parts"),
            NameError::TooLong => write!(f, "the file name is longer than {NAME_MAX} bytes"),
            NameError::NotUtf8 => f.write_str("the file name is not valid UTF-8"),
        }
    }
}

impl std::error::Error for NameError {}

/// Whether `name` may name a shared file: a relative path of safe components, joined by single slashes.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.len() > NAME_MAX {
        return Err(NameError::TooLong);
    }
    if name.starts_with('/') {
        return Err(NameError::Absolute);
    }
    for (i, component) in name.split('/').enumerate() {
        if i == COMPONENTS_MAX {
            return Err(NameError::TooManyComponents);
        }
        check_component(component)?;
    }
    Ok(())
}

fn check_component(component: &str) -> Result<(), NameError> {
    if component.len() > COMPONENT_MAX {
        return Err(NameError::ComponentTooLong);
    }
    if component.contains('\\') {
        return Err(NameError::Backslash);
    }
    if component.contains(char::is_control) {
        return Err(NameError::Control);
    }
    match component.chars().next() {
        None => return Err(NameError::Empty),
        Some('.') if matches!(component, "." | "..") => return Err(NameError::Dots),
        Some('.') => return Err(NameError::Hidden),
        Some(c @ ('-' | '~')) => return Err(NameError::Leading(c)),
        Some(_) => {}
    }
    if component.ends_with(['.', ' ']) {
        return Err(NameError::Ending);
    }
    let stem = component.split('.').next().unwrap_or(component).trim_end_matches(' ');
    if DEVICES.iter().any(|device| device.eq_ignore_ascii_case(stem)) {
        return Err(NameError::Device);
    }
    Ok(())
}

/// The name under which the operator's file `path` is shared: its last component.
///
/// # Errors
/// What is wrong with that component as a shared name.
pub fn file_name_of_source(path: &Path) -> Result<String, NameError> {
    let name = path.file_name().ok_or(NameError::Empty)?.to_str().ok_or(NameError::NotUtf8)?;
    check_name(name)?;
    Ok(name.to_owned())
}

/// Whether both are the same text in one of the spellings that Unicode has for it: é is one sign or two.
pub fn is_same(one: &str, other: &str) -> bool {
    one == other || (has_spellings(one) && one.nfc().eq(other.nfc()))
}

/// Whether it can be spelled in more than one way.
pub fn has_spellings(name: &str) -> bool {
    !name.is_ascii() && (!name.nfd().eq(name.chars()) || !name.nfc().eq(name.chars()))
}

/// Whether the file `name` lies beneath a folder, however that is spelled. `prefix`: the folder's name and a slash.
pub fn is_beneath(name: &str, prefix: &str) -> bool {
    if !has_spellings(prefix) {
        return name.len() > prefix.len() && name.starts_with(prefix);
    }
    // A slash is part of no other sign, so both spellings end there.
    let slashes = prefix.matches('/').count();
    let end = name.match_indices('/').nth(slashes.saturating_sub(1)).map(|(at, _)| at + 1);
    end.is_some_and(|end| end < name.len() && is_same(&name[..end], prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spellings_of_one_name_are_the_same() {
        let (whole, parts) =
            ("Ñandú/ñu 한 ガ", "N\u{303}andu\u{301}/n\u{303}u \u{1112}\u{1161}\u{11ab} カ\u{3099}");
        assert!(
            is_same(whole, parts) && is_same(parts, whole) && has_spellings(whole) && has_spellings(parts)
        );
        assert!(!is_same("Nandu", "Ñandú") && !is_same("a", "A") && !has_spellings("a/b 日本"));
        assert!(is_beneath(parts, "Ñandú/") && is_beneath(whole, "N\u{303}andu\u{301}/"));
        assert!(is_beneath("a/b/c", "a/b/") && !is_beneath("a/b/", "a/b/") && !is_beneath("a/bc/d", "a/b/"));
        assert!(
            !is_beneath("Ñandú", "Ñandú/") && !is_beneath("Ñandú/", "Ñandú/") && !is_beneath("ñ/a", "Ñ/")
        );
    }

    #[test]
    fn each_rule_refuses_by_its_own_reason() {
        // hostile: 59
        let long = "a".repeat(256);
        let emoji = "😀".repeat(64);
        let deep = ["a"; 9].join("/");
        let total =
            ["a".repeat(255), "b".repeat(255), "c".repeat(255), "d".repeat(255), "ef".into()].join("/");
        let cases: [(&str, NameError); 40] = [
            ("", NameError::Empty),
            ("../x", NameError::Dots),
            ("a/../../b", NameError::Dots),
            ("a/./b", NameError::Dots),
            (".", NameError::Dots),
            ("..", NameError::Dots),
            ("/etc/passwd", NameError::Absolute),
            ("/", NameError::Absolute),
            ("//a", NameError::Absolute),
            ("a//b", NameError::Empty),
            ("a/", NameError::Empty),
            ("a\\b", NameError::Backslash),
            ("..\\b", NameError::Backslash),
            ("a\0b", NameError::Control),
            ("a\nb", NameError::Control),
            ("\x1b[2J", NameError::Control),
            ("a\u{85}", NameError::Control),
            ("\x7f", NameError::Control),
            (".hidden", NameError::Hidden),
            ("...", NameError::Hidden),
            ("a/.git/config", NameError::Hidden),
            (".share-0123456789abcdef", NameError::Hidden),
            ("a ", NameError::Ending),
            ("a.", NameError::Ending),
            ("a /b", NameError::Ending),
            (" ", NameError::Ending),
            ("-rf", NameError::Leading('-')),
            ("a/-rf", NameError::Leading('-')),
            ("~", NameError::Leading('~')),
            ("~root", NameError::Leading('~')),
            ("CON", NameError::Device),
            ("con.txt", NameError::Device),
            ("Nul.tar.gz", NameError::Device),
            ("a/lpt9", NameError::Device),
            ("aux .c", NameError::Device),
            ("CONIN$", NameError::Device),
            (&long, NameError::ComponentTooLong),
            (&emoji, NameError::ComponentTooLong),
            (&deep, NameError::TooManyComponents),
            (&total, NameError::TooLong),
        ];
        for (name, error) in cases {
            assert_eq!(check_name(name), Err(error), "{name:?}");
            assert!(!error.to_string().is_empty() && error.to_string().len() <= 200);
        }
    }

    #[test]
    fn ordinary_names_are_taken() {
        let longest = "a".repeat(255);
        let deepest = ["a"; 8].join("/");
        let largest =
            ["a".repeat(255), "b".repeat(255), "c".repeat(255), "d".repeat(255), "e".into()].join("/");
        assert_eq!(largest.len() - 1, NAME_MAX, "one more than fits");
        for name in [
            "a",
            "my file.txt",
            "año/día 1.pdf",
            "😀.png",
            "a..b",
            "console.log",
            "COM10",
            "x.con",
            " a",
            "a-b~c",
            "{}",
            &longest,
            &deepest,
            &largest[1..],
        ] {
            assert_eq!(check_name(name), Ok(()), "{name:?}");
        }
    }

    #[test]
    fn a_source_is_shared_under_its_last_component() {
        let name = |path: &str| file_name_of_source(Path::new(path));
        assert_eq!(name("/home/me/My File.txt"), Ok("My File.txt".into()));
        assert_eq!(name("notes.md"), Ok("notes.md".into()));
        assert_eq!(name("dir/sub/"), Ok("sub".into()));
        assert_eq!(name("/"), Err(NameError::Empty));
        assert_eq!(name("a/.."), Err(NameError::Empty));
        assert_eq!(name(""), Err(NameError::Empty));
        assert_eq!(name("/home/me/.ssh"), Err(NameError::Hidden));
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            let path = Path::new(std::ffi::OsStr::from_bytes(b"/tmp/\xff"));
            assert_eq!(file_name_of_source(path), Err(NameError::NotUtf8));
        }
    }

    proptest! {
        #[test]
        fn what_passes_stays_inside_its_folder(name in r"([a.~\-\\ ]|\.\.|/|\PC){0,12}") {
            if check_name(&name).is_ok() {
                prop_assert!(Path::new(&name).components().all(|c| matches!(c, std::path::Component::Normal(_))));
                prop_assert_eq!(Path::new(&name).components().count(), name.split('/').count());
            }
        }
    }
}
