//! The simulator: the second driver of the contract in `src/machine.rs`. Thousands of nodes on one virtual clock, with
//! a network, disks, operators and accidents drawn from a seed, so that every run can be had again by its number.
//!
//! ```text
//! harness   runs a scenario for many seeds, each twice; prints how to repeat a failure
//! world     what a scenario builds and drives: hosts, nodes, actors, time;  chaos: accidents;  faults: which, how often
//! shared    what other programs do in a node's shared folder
//! node      the driver of one machine: outputs, turns, files, and the checks of every step
//! net       TCP;  multicast: groups;  topology: hosts, interfaces, partitions;  disk, content: files
//! actor     processes that are no machines: scripted adversaries;  original: models of the original's programs
//! adversary relays that record, change and repeat what passes, speakers, floods of connections that never get on
//! trace     the running hash and the last lines;  queue, rng, ids, bytes, env: the small parts
//! member    a node of version 2 made by hand, that says whatever it is given
//! liar      members made by hand, who say what a scene wants
//! scenes    the nodes themselves, in worlds that are kind to them and in others
//! toys, smith, keeper, selftests  machines and tests that show that the simulator works and can fail
//! ```
#![allow(dead_code)] // The scenarios of the nodes, which grow with them, use what the simulator's own tests do not.

mod actor;
mod adversary;
mod bytes;
mod chaos;
mod content;
mod disk;
mod env;
mod faults;
mod harness;
mod ids;
mod keeper;
mod liar;
mod member;
mod multicast;
mod net;
mod node;
mod original;
mod queue;
mod rng;
mod scenes;
mod selftests;
mod shared;
mod smith;
mod topology;
mod toys;
mod trace;
mod world;
