//! What there is and is not named.

use std::fmt;

/// What a listing did not name, although it is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LeftOut {
    /// Files whose names are not valid UTF-8, or not safe on every system.
    pub names: u64,
    /// Files and folders that this process may not read.
    pub unreadable: u64,
    /// Folders that lie deeper than listings go.
    pub deep: u64,
    /// The first of all these, as far as they are text, those of folders with a slash at their end.
    pub some: Vec<String>,
    /// Files and folders that could not be looked at for now, folders with a slash at their end: what has such a name, or one
    /// that begins so, may still be there. An empty one: anything may.
    pub interrupted: Vec<String>,
}

impl LeftOut {
    /// Names in [`LeftOut::some`].
    pub const SOME: usize = 8;
    /// Names in [`LeftOut::interrupted`]: with more of them the disk as a whole is in trouble.
    const INTERRUPTED: usize = 64;

    /// Files and folders in all.
    pub fn count(&self) -> u64 {
        self.names + self.unreadable + self.deep
    }

    /// Keeps the name of one that was counted, if there is room.
    pub fn note(&mut self, name: impl FnOnce() -> String) {
        if self.some.len() < LeftOut::SOME {
            self.some.push(name());
        }
    }

    /// One that could not be looked at for now.
    pub fn interrupt(&mut self, name: String) {
        if self.interrupted.len() < LeftOut::INTERRUPTED {
            self.interrupted.push(name);
        } else {
            self.interrupted = vec![String::new()];
        }
    }

    /// What another part of the same listing left out, or another check of what it named.
    pub fn add(&mut self, other: &LeftOut) {
        self.names += other.names;
        self.unreadable += other.unreadable;
        self.deep += other.deep;
        other.some.iter().for_each(|name| self.note(|| name.clone()));
        other.interrupted.iter().for_each(|name| self.interrupt(name.clone()));
    }
}

/// How many, of each kind, and the names of some.
impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            (self.unreadable, "that may not be read here"),
            (self.names, "whose names are not safe on every system"),
            (self.deep, "in too many folders"),
        ];
        let kinds = kinds.iter().filter(|(count, _)| *count > 0);
        let kinds: Vec<String> = kinds.map(|(count, why)| format!("{count} {why}")).collect();
        if kinds.len() > 1 {
            write!(f, "{} in all, ", self.count())?;
        }
        f.write_str(&kinds.join(", "))?;
        for (n, name) in self.some.iter().enumerate() {
            write!(f, "{}{name:?}", if n == 0 { ": " } else { ", " })?;
        }
        let more = self.count().saturating_sub(self.some.len() as u64);
        if more > 0 { write!(f, " and {more} more") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_in_trouble_is_told_as_a_whole() {
        let mut left_out = LeftOut::default();
        for i in 0..1000 {
            left_out.interrupt(format!("{i}/"));
            let all = left_out.interrupted.contains(&String::new());
            assert!(left_out.interrupted.len() <= LeftOut::INTERRUPTED && all == (i >= LeftOut::INTERRUPTED));
        }
    }

    #[test]
    fn it_is_told_by_number_and_name() {
        let mut left_out = LeftOut { names: 9, ..LeftOut::default() };
        (0..9).for_each(|i| left_out.note(|| format!("{i}\x1b")));
        let mut all = LeftOut { unreadable: 1, some: vec!["secret/".into()], ..LeftOut::default() };
        assert_eq!(all.to_string(), r#"1 that may not be read here: "secret/""#);
        all.add(&left_out);
        assert_eq!((all.count(), all.some.len()), (10, 8));
        let text = all.to_string();
        assert!(text.starts_with(
            "10 in all, 1 that may not be read here, 9 whose names are not safe on every system: "
        ));
        assert!(text.contains(r#""0\u{1b}""#) && text.ends_with(" and 2 more"), "{text}");
    }
}
