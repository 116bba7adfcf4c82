//! The index in a small world.

mod changes;
mod keeping;
mod searching;
mod world;
