//! The scenes: real nodes in simulated worlds, one file a subject. `common` has the words they are written in.

mod chaos;
pub(crate) mod common;
mod console;
mod discovery;
mod fetch;
mod limits;
mod meet;
mod original;
mod registry;
mod search;
mod serve;
