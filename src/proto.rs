//! Stub.
pub mod address;
pub mod escape;
pub mod json;
pub mod registry;
pub mod registry_file;
