//! The protocol of the original program, as a node speaks it.

pub(crate) mod server;
mod upload_queue;
