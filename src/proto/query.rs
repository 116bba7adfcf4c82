//! What a search asks for, whether a file answers it, and how well.
