//! The scenes: real nodes in simulated worlds, one file a subject. `common` has the words they are written in.

mod chaos;
pub(crate) mod common;
mod console;
mod discovery;
mod fetch;
mod find;
mod groups;
mod index;
mod limits;
mod meet;
mod members;
mod original;
mod pull;
mod registry;
mod search;
mod serve;
mod sessions;
mod strangers;
mod tampering;
mod ways;
