//! The index in a small world.

mod changes;
mod keeping;
pub(crate) mod searching;
mod world;
