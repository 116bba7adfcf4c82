//! Ranges of files that the machine seals in the driver's buffer before they go.

use super::Node;
use super::turn::room;
use crate::env::Env;
use distrishare::machine::{ConnId, Fault, FileId, SEAL_HEAD, SEAL_TAIL};

/// A range that is sealed again and again for nothing. A node may well be asked for the same range more than once.
const SAME_MAX: u32 = 64;

/// [`distrishare::machine::Transmit::Seal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sealing {
    pub(super) file: FileId,
    pub(super) offset: u64,
    pub(super) len: usize,
}

impl Node {
    /// Reads, has it sealed, and sends what the kernel takes of that.
    pub(super) fn seal(&mut self, env: &mut Env, id: ConnId, sealing: Sealing) -> bool {
        let Sealing { file, offset, len } = sealing;
        let open = self.known_file(file, "Transmit::Seal");
        let Some(inode) = open.state.readable() else {
            panic!("{id:?} seals {file:?}, which is {:?}", open.state);
        };
        let bytes = match self.disk.read(inode, offset, len) {
            Ok(bytes) if bytes.len() < len => {
                // A driver reads until it has all: the next read tells why there is no more.
                let next = self.disk.read(inode, offset + bytes.len() as u64, len - bytes.len());
                return self.unreadable(env, id, file, next.err().unwrap_or(Fault::Shrunk));
            }
            Ok(bytes) => bytes,
            Err(fault) => return self.unreadable(env, id, file, fault),
        };
        // The buffer was used before, and has more room than it must have.
        let head = SEAL_HEAD + self.rng.size(0, 16);
        let payload = head..head + bytes.len();
        let size = payload.end + SEAL_TAIL + self.rng.size(0, 16);
        let old = self.rng.next().to_le_bytes();
        let mut buffer: Vec<u8> = old.iter().copied().cycle().take(size).collect();
        buffer[payload.clone()].copy_from_slice(&bytes);
        env.trace.words(env.now, self.owner().who(), "read", offset, bytes.len() as u64);
        let now = self.local(env);
        let (Some(conn), Some(machine)) = (self.conns.get_mut(&id), self.machine.as_mut()) else {
            return false;
        };
        let times = conn.seals.filter(|(last, _)| *last == sealing).map_or(0, |(_, times)| times + 1);
        conn.seals = Some((sealing, times));
        assert!(times < SAME_MAX, "{id:?} seals {sealing:?} again and again");
        let range = machine.handle_read(now, id, &mut buffer, payload);
        assert!(
            range.start <= range.end && range.end <= size,
            "{id:?}: the record {range:?} lies outside of the {size} bytes"
        );
        conn.sealed.push(&buffer[range.clone()]);
        self.uploaded += if range.is_empty() { 0 } else { bytes.len() as u64 };
        self.drain(env);
        assert!(
            !range.is_empty() || !self.conns.contains_key(&id) || self.dying(),
            "{id:?} makes no record of {} bytes and goes on",
            bytes.len()
        );
        self.send_sealed(env, id);
        true
    }

    /// What was sealed goes before anything else of its connection.
    pub(super) fn send_sealed(&mut self, env: &mut Env, id: ConnId) -> bool {
        let Some(conn) = self.conns.get(&id) else { return false };
        let bytes = conn.sealed.all();
        let bytes = bytes[..bytes.len().min(room(env, conn.kind))].to_vec();
        let n = self.send(env, id, &bytes);
        self.conns.get_mut(&id).into_iter().for_each(|conn| conn.sealed.consume(n));
        n > 0
    }
}
