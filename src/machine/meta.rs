//! What is known of a file without reading it.

/// What a file is: while all of it stays the same, so does the content, as far as can be told without reading it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Meta {
    /// Bytes.
    pub size: u64,
    /// Last change of the content: nanoseconds since 1970, may be negative. Any program may set it back.
    pub mtime: i64,
    /// Last change of the content, or of what else is said of the file, in the same unit. No program can set it.
    pub ctime: i64,
    /// A digest of what changes `ctime` and not the content: mode, owners, number of names.
    pub marks: u32,
    /// A digest of when it was made: two files that had one inode after another differ by it. Listings tell it where the file
    /// system does; else 0.
    pub born: u32,
    /// The file system it lies on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

impl Meta {
    /// Whether a file that was so, and is `now` so under the same name, still has the same content: it has if it was made
    /// executable, given away or linked to, and has not if it was written to and got its old time back. Where each look finds
    /// another inode or device, as on FUSE and after a mount, the times tell.
    pub fn is_still(&self, now: &Meta) -> bool {
        let changed = self.ctime != now.ctime;
        (self.size, self.mtime) == (now.size, now.mtime)
            && self.may_be_born_with(now)
            && (!changed || self.is_same_inode(now) && self.marks != now.marks)
    }

    /// Whether both have one inode.
    pub fn is_same_inode(&self, other: &Meta) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// Whether they were made at one time, as far as is known.
    pub fn may_be_born_with(&self, other: &Meta) -> bool {
        self.born == other.born || self.born == 0 || other.born == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_still_the_same_by_what_no_program_can_forge() {
        let was = Meta { size: 5, mtime: 7, ctime: 9, marks: 1, born: 2, device: 3, inode: 4 };
        let linked = Meta { ctime: 10, marks: 2, ..was };
        for now in [was, linked, Meta { born: 0, ..was }, Meta { device: 8, ..was }, Meta { inode: 8, ..was }]
        {
            assert!(was.is_still(&now), "{now:?}");
        }
        for now in [
            Meta { size: 6, ..was },
            Meta { mtime: 8, ctime: 10, ..was },
            // Written to, and its time set back; another one with its name, inode, size and time; a copy of it.
            Meta { ctime: 10, ..was },
            Meta { born: 3, ..linked },
            Meta { inode: 8, ..linked },
        ] {
            assert!(!was.is_still(&now), "{now:?}");
        }
    }
}
