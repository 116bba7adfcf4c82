//! Bytes to messages and back, and what their meaning alone decides. Pure: no sockets, no files, no clock.
//!
//! * [`json`] finds the end of one JSON object in a stream, with linear work and a hard bound;
//! * [`v1`] is the original's file port, [`registry`] its bootstrap, [`announce`] its multicast (WIRE_V1.md);
//! * [`registry_file`] is what a registry keeps over restarts;
//! * [`index_log`] keeps the roots of shared files, [`part_journal`] what of an unfinished download is right;
//! * [`address`] decides which addresses may be used, [`name`] which file names;
//! * [`escape`] makes foreign text fit for a terminal and a log;
//! * [`query`] is the language of search, [`fold`] the text it compares, [`results`] what many nodes answered to one;
//! * [`command`] is the console's grammar and its help.

pub mod address;
pub mod announce;
pub mod command;
pub mod content;
pub mod control;
pub mod entropy;
pub mod escape;
pub mod fold;
pub mod group;
pub mod index_log;
pub mod json;
pub mod name;
pub mod part_journal;
pub mod query;
pub mod registry;
pub mod registry_file;
pub mod results;
pub mod v1;
pub mod v2;
