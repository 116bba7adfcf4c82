//! An unfinished download against disks that fail, forget, and lose power.

mod crash;
mod disk;
mod many;
mod rules;
mod world;
