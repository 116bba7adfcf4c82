//! Randomness as an argument: keys and nonces from one seed of 32 bytes.
