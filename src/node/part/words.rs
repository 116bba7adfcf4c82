//! What an unfinished download asks of its owner, and tells it.

use crate::machine::Fault;

/// Which of the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The temporary file of the content: `<root>.part`.
    Part,
    /// What of it is right: `<root>.jnl`.
    Journal,
}

/// What it asks of its owner. Operations on one file are carried out in order; `Close`, `Discard` and `Commit` end it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each variant's sentence speaks of its fields
pub enum Ask {
    /// Make the content's file, with room for so many bytes: [`super::Part::created`] or [`super::Part::failed`].
    Create { reserve: u64 },
    /// Open the content's file of an earlier life: [`super::Part::opened`] or [`super::Part::failed`].
    Open,
    /// Open the journal, made if it is not there: [`super::Part::opened`] or [`super::Part::failed`].
    OpenJournal,
    /// Read: [`super::Part::read`] or [`super::Part::failed`]. One at a time for each file.
    Read { which: Which, offset: u64, len: usize },
    /// Write behind what the journal holds. No answer but [`super::Part::failed`].
    Append { bytes: Vec<u8> },
    /// Cut the journal. No answer but [`super::Part::failed`].
    Truncate { len: u64 },
    /// Make durable, the file's name in its folder included: [`super::Part::synced`] or [`super::Part::failed`].
    Sync { which: Which },
    /// Close, and keep what is there. No answer, also not to what was asked of it before.
    Close { which: Which },
    /// Close and remove. No answer, also not to what was asked of it before.
    Discard { which: Which },
    /// Give the content's file its final name: [`super::Part::committed`] or [`super::Part::failed`].
    Commit,
}

/// What it tells its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each variant's sentence speaks of its fields
pub enum Told {
    /// Bytes may be stored. What earlier lives left is in [`super::Part::claims`]. Again after [`Told::Lost`].
    Open,
    /// A claimed piece was read and is right, or not. Of pieces that are taken on trust (the sample was right): right.
    Checked { piece: u64, right: bool },
    /// These pieces may not be on the disk although they were: they are to be fetched again, and stored anew. So are all
    /// bytes of pieces that were under way. Nothing may be stored before the next [`Told::Open`], and a [`super::Part::finish`] is
    /// forgotten.
    Lost { pieces: Vec<u64> },
    /// Nothing is going on any more, and both files are closed: after [`super::Part::pause`] all that was verified is kept …
    Closed,
    /// … or something failed. `fresh`: nothing was there before and nothing is left. Else what is there stays there;
    /// [`Fault::NotFound`]: somebody removed the file, and nothing is there.
    Failed { fault: Fault, fresh: bool },
    /// The disk has not the room: `size` bytes are needed, `room` are there. Nothing is left.
    NoRoom { room: u64 },
    /// It has its final name, and both files are closed; the journal is gone.
    Committed,
}
