//! Operations: whatever a front end asks for has a number of its own, which every event that comes of it bears.

/// What a front end asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Op {
    /// From 1 on; no other operation in the life of this process has it.
    pub(crate) number: u32,
    /// The command's name, as `done` and `error` say it; empty where the line was none.
    pub(crate) command: &'static str,
    /// The next command does not wait for it.
    pub(crate) background: bool,
}
