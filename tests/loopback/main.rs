//! Real processes on the loopback, for what only they can show: streams, signals, terminals, kills, many at once.

// Tests live in the world: they have clocks, threads and an environment.
#![allow(clippy::disallowed_methods)]

mod changes;
mod control;
mod families;
mod folders;
mod group;
mod identity;
mod idle;
mod members;
mod names;
mod place;
mod sessions;
mod signals;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod swarm;
mod swarm_kills;
mod swarm_steering;
mod terminal;
mod transfers;
