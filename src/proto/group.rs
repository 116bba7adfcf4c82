//! A group: its key, the keys derived from it, the line that carries it to another box.
