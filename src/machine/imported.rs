//! What became of a copy into the shared folder.

use super::LeftOut;

/// What was copied of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ImportedFolder {
    /// How many files.
    pub files: usize,
    /// The last of them in the order of names, relative to the folder.
    pub last: String,
    /// What was not copied.
    pub left_out: LeftOut,
}
