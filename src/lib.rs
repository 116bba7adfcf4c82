//! DistriShare: hybrid P2P file sharing on one thread and one poll loop.
//!
//! The house, from the outside in: `cli` makes a [`config`], a driver ([`reactor`], or the simulator in `tests/sim`)
//! runs a node, a [`node`] is a [`machine::Machine`] built from the pure parts in [`proto`]. The contract between node
//! and driver, with its run loop, is [`machine`]; the map of everything is ARCHITECTURE.md.

#[cfg(not(target_os = "linux"))]
compile_error!("DistriShare runs on Linux");

pub mod cli;
pub mod config;
pub mod machine;
pub mod node;
pub mod proto;
pub mod reactor;
pub mod time;
