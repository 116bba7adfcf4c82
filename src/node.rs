//! Nodes: many connections, one clock argument, no world. [`peer::Peer`] and [`bootstrap::Bootstrap`] implement
//! [`crate::machine::Machine`]; what they share stands beside them.

mod api;
mod backoff;
pub mod bootstrap;
mod buckets;
mod clones;
mod contacts;
mod cx;
mod files;
mod find;
mod flights;
mod fronts;
mod gate;
mod hit;
mod ids;
pub mod index;
mod limiter;
mod meter;
mod notices;
mod operations;
mod outgoing;
mod pace;
pub mod part;
pub mod peer;
mod registry;
mod sessions;
mod shown;
mod slots;
pub mod swarm;
mod table;
pub mod timers;
mod uploads;
mod v1;
