//! Poll tokens: 20 bits of index and 12 of generation for a connection, and named ones for everything else.

use crate::machine::{ConnId, Dir, ListenerId};
use mio::Token;

const INDEX_BITS: u32 = 20;
const INDEX_MASK: u32 = (1 << INDEX_BITS) - 1;
/// The generation bits that fit into a token.
pub(super) const GENERATION_MASK: u32 = (1 << (32 - INDEX_BITS)) - 1;

/// The highest 1024 indexes are not for connections.
const FIXED: u32 = INDEX_MASK + 1 - 1024;
const LISTENERS: u32 = FIXED;
const LOOKUPS: u32 = FIXED + 512;
pub(super) const DISCOVERY: Token = Token(FIXED as usize + 256);
pub(super) const SIGNALS: Token = Token(FIXED as usize + 257);
pub(super) const STDIN: Token = Token(FIXED as usize + 258);
pub(super) const STDOUT: Token = Token(FIXED as usize + 259);
pub(super) const STDERR: Token = Token(FIXED as usize + 260);
const WATCH_SHARED: Token = Token(FIXED as usize + 261);
const WATCH_DOWNLOADS: Token = Token(FIXED as usize + 262);
const WATCH_PARTS: Token = Token(FIXED as usize + 263);

/// What a token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Listener(ListenerId),
    /// A look-up of a name, by its slot.
    Lookup(u8),
    Discovery,
    Signals,
    /// The watch of a folder.
    Watch(Dir),
    Stdin,
    Stdout,
    Stderr,
    /// A connection: its index and the low bits of its generation.
    Conn(u32, u32),
    Unknown,
}

/// The token of a connection; `None` if its index is beyond what a token holds.
pub(super) fn of_conn(conn: ConnId) -> Option<Token> {
    let id = conn.0;
    if id.index >= FIXED {
        return None;
    }
    Some(Token((id.index | (id.generation & GENERATION_MASK) << INDEX_BITS) as usize))
}

pub(super) fn of_listener(listener: ListenerId) -> Token {
    Token((LISTENERS + u32::from(listener.0)) as usize)
}

pub(super) fn of_lookup(slot: u8) -> Token {
    Token((LOOKUPS + u32::from(slot)) as usize)
}

pub(super) fn of_watch(dir: Dir) -> Token {
    match dir {
        Dir::Shared => WATCH_SHARED,
        Dir::Downloads => WATCH_DOWNLOADS,
        Dir::Parts => WATCH_PARTS,
    }
}

pub(super) fn source(token: Token) -> Source {
    match token {
        DISCOVERY => return Source::Discovery,
        SIGNALS => return Source::Signals,
        WATCH_SHARED => return Source::Watch(Dir::Shared),
        WATCH_DOWNLOADS => return Source::Watch(Dir::Downloads),
        WATCH_PARTS => return Source::Watch(Dir::Parts),
        STDIN => return Source::Stdin,
        STDOUT => return Source::Stdout,
        STDERR => return Source::Stderr,
        _ => {}
    }
    let Ok(bits) = u32::try_from(token.0) else { return Source::Unknown };
    let (index, generation) = (bits & INDEX_MASK, bits >> INDEX_BITS);
    if index < FIXED {
        return Source::Conn(index, generation);
    }
    let slot = u8::try_from((index - FIXED) % 256).unwrap_or(0);
    match (index - FIXED) / 256 * 256 + FIXED {
        LISTENERS if generation == 0 => Source::Listener(ListenerId(slot)),
        LOOKUPS if generation == 0 => Source::Lookup(slot),
        _ => Source::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Id;

    #[test]
    fn tokens_say_what_they_were_made_of() {
        for (index, generation) in [(0, 0), (1, 1), (FIXED - 1, 4095), (77, 4096), (5, u32::MAX)] {
            let token = of_conn(ConnId(Id { index, generation })).expect("in range");
            assert_eq!(source(token), Source::Conn(index, generation & GENERATION_MASK));
            assert!(u32::try_from(token.0).is_ok(), "fits a usize of 32 bits");
        }
        assert_eq!(of_conn(ConnId(Id { index: FIXED, generation: 0 })), None);
        for listener in [0, 1, 255] {
            let listener = ListenerId(listener);
            assert_eq!(source(of_listener(listener)), Source::Listener(listener));
        }
        assert_eq!(source(of_lookup(31)), Source::Lookup(31));
        assert_eq!(source(DISCOVERY), Source::Discovery);
        for dir in [Dir::Shared, Dir::Downloads, Dir::Parts] {
            assert_eq!(source(of_watch(dir)), Source::Watch(dir));
        }
        assert_eq!(source(STDERR), Source::Stderr);
        assert_eq!(source(Token(usize::MAX)), Source::Unknown);
    }
}
