//! What a file is to others: its BLAKE3 root, its pieces, and the lists of values between them.
