//! The tag of the null cipher: no secret, only a sum over place, head and content that is fast and notices accidents
//! and the simulator's adversaries. A change within one word of 8 bytes is noticed for certain, since every step is a
//! bijection; of others one in 2^64 is not.

use crate::config::Key;

/// Odd, so that multiplying loses nothing.
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
/// Bytes summed at once: four words, so that no multiplication waits for the one before it.
const BLOCK: usize = 32;

/// What a key gives to its sums.
pub(super) fn seed(key: &Key) -> [u64; 4] {
    words(key.reveal())
}

pub(super) fn tag(seed: &[u64; 4], counter: u64, head: &[u8], body: &[u8]) -> [u8; 16] {
    let mut lanes = *seed;
    add(&mut lanes, head);
    let mut blocks = body.chunks_exact(BLOCK);
    for block in blocks.by_ref() {
        add(&mut lanes, block);
    }
    // The head holds the length, so what fills up the last block cannot be taken for content.
    add(&mut lanes, blocks.remainder());
    let first = lanes.iter().fold(counter, |sum, &lane| mixed(sum ^ lane));
    let second = lanes.iter().rev().fold(!counter, |sum, &lane| mixed(sum ^ lane.rotate_left(32)));
    let mut tag = [0; 16];
    tag[..8].copy_from_slice(&first.to_le_bytes());
    tag[8..].copy_from_slice(&second.to_le_bytes());
    tag
}

/// One block, or less and zeros.
fn add(lanes: &mut [u64; 4], bytes: &[u8]) {
    let words = match bytes.try_into() {
        Ok(block) => words(block),
        Err(_) => {
            let mut block = [0; BLOCK];
            block.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            words(&block)
        }
    };
    for (lane, word) in lanes.iter_mut().zip(words) {
        *lane = (lane.rotate_left(23) ^ word).wrapping_mul(FACTOR);
    }
}

fn mixed(sum: u64) -> u64 {
    let product = sum.wrapping_mul(FACTOR);
    product ^ (product >> 32)
}

fn words(block: &[u8; BLOCK]) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(block.chunks_exact(8)) {
        *word = bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
    }
    words
}
