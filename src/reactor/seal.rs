//! Records: bytes of a file that the node seals in the shared buffer before they go. What the kernel does not take of a
//! record cannot be made again, so the connection carries it.

use super::Reactor;
use super::files::OpenFile;
use super::sockets::Stream;
use super::turns::{Sent, of_error};
use crate::machine::{ConnId, Fault, FileId, Machine};
use rustix::fd::BorrowedFd;
use rustix::io::{Errno, pread};
use std::io::Write;

/// Of a record, what the kernel did not take yet: at most one record, and no memory when there is nothing.
#[derive(Debug, Default)]
pub(super) struct Carry {
    bytes: Vec<u8>,
    from: usize,
}

impl Carry {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn of(bytes: &[u8]) -> Carry {
        Carry { bytes: bytes.to_vec(), from: 0 }
    }

    fn taken(&mut self, n: usize) {
        self.from += n;
        if self.from >= self.bytes.len() {
            *self = Carry::default();
        }
    }
}

impl Stream {
    /// Sends of what is carried.
    pub(super) fn send_carried(&mut self) -> Sent {
        let left = &self.carry.bytes[self.carry.from..];
        match self.io.write(left) {
            Ok(n) => {
                let sent = if n < left.len() { Sent::Part(n) } else { Sent::Bytes(n) };
                self.carry.taken(n);
                sent
            }
            Err(error) => of_error(&error),
        }
    }

    fn send_record(&mut self, record: &[u8]) -> Sent {
        let sent = match self.io.write(record) {
            Ok(n) if n < record.len() => Sent::Part(n),
            Ok(n) => Sent::Bytes(n),
            Err(error) => of_error(&error),
        };
        // The node is done with those bytes of the file, whatever the kernel took.
        match sent {
            Sent::Part(n) => self.carry = Carry::of(&record[n..]),
            Sent::Blocked | Sent::Interrupted => self.carry = Carry::of(record),
            _ => {}
        }
        sent
    }
}

impl Reactor {
    /// Reads for the next record, has it sealed, sends it.
    pub(super) fn send_sealed(
        &mut self,
        machine: &mut dyn Machine,
        conn: ConnId,
        (file, offset, len): (FileId, u64, usize),
    ) -> Sent {
        let Some(fd) = self.files.get(file.0).and_then(OpenFile::reading) else {
            return Sent::File(file, Fault::NotFound, true);
        };
        let (room, payload) = self.buffer.sealing(len);
        if let Err(fault) = read_exact(fd, &mut room[payload.clone()], offset) {
            return Sent::File(file, fault, false);
        }
        let range = machine.handle_read(self.clock.now(), conn, room, payload);
        self.drain(machine);
        // The drain may have closed it. Nothing that an output does touches the buffer.
        let Some(stream) = self.streams.get_mut(conn.0) else { return Sent::Nothing };
        match self.buffer.sealing(len).0.get(range) {
            None => {
                log::error!("internal error: a record outside of its buffer");
                Sent::Conn(Fault::Os(0))
            }
            Some([]) => Sent::Nothing,
            Some(record) => stream.send_record(record),
        }
    }
}

/// All of the range, or why not.
fn read_exact(fd: BorrowedFd<'_>, mut place: &mut [u8], mut offset: u64) -> Result<(), Fault> {
    while !place.is_empty() {
        match pread(fd, &mut *place, offset) {
            // hostile: 63
            Ok(0) => return Err(Fault::Shrunk),
            Ok(n) => {
                offset += n as u64;
                place = &mut place[n..];
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Fault::of(&errno.into())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_carried_goes_in_pieces_and_leaves_no_memory() {
        let mut carry = Carry::of(&[7; 100]);
        carry.taken(60);
        assert_eq!((carry.is_empty(), carry.bytes.len() - carry.from), (false, 40));
        carry.taken(40);
        assert_eq!((carry.is_empty(), carry.bytes.capacity()), (true, 0));
    }
}
