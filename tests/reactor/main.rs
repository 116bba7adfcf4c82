//! The reactor against real sockets, files, pipes and terminals, driven by toy machines.
#![allow(clippy::disallowed_methods)] // tests have threads, clocks and an environment
#![allow(unreachable_pub)] // a test target has no outside

mod children;
mod console;
mod discovery;
mod fairness;
mod files;
mod logs;
mod loop_habits;
mod parts;
mod reading;
mod sealing;
mod toys;
mod transfer;
mod watching;
