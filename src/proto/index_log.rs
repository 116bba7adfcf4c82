//! The log that keeps the roots of shared files over restarts.
