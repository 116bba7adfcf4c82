//! The order of the turns; a connection's turn, within its budget; and the half of it that sends.

use super::Reactor;
use super::files::OpenFile;
use super::outlet::ready;
use super::sockets::HalfClose;
use crate::config::CHUNK;
use crate::machine::{ConnId, Fault, FileId, Input, Machine, Transmit};
use mio::net::TcpStream;
use rustix::event::PollFlags;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::sendfile;
use rustix::io::{Errno, pread};
use std::io::{self, Write};

/// A turn that moved as much as this makes a connection a bulk one.
const BULK: usize = 64 << 10;
/// Turns in a row without a byte moved after which a connection is closed: a node that never gets on with it.
const IDLE_TURNS_MAX: u16 = 1000;

/// What came of one attempt to send.
#[derive(Debug)]
pub(super) enum Sent {
    Bytes(usize),
    /// Of a file, and not all that was asked for.
    Part(usize),
    Nothing,
    Blocked,
    Interrupted,
    /// The file is at fault; the node decides.
    File(FileId, Fault, bool),
    Conn(Fault),
}

impl Reactor {
    /// What is small and new first; then bulk, up to the quantum after which the loop polls again.
    pub(super) fn serve_ready(&mut self, machine: &mut dyn Machine) {
        for (conn, fault) in std::mem::take(&mut self.failed) {
            self.fail(machine, conn, fault);
        }
        let mut moved = self.serve_small(machine);
        if !self.answers.is_empty() {
            // A question for which a file had to be opened is answered before bulk goes on, not after.
            self.answers_turn(machine);
            moved += self.serve_small(machine);
        }
        for _ in 0..self.bulk.len() {
            let Some(conn) = self.bulk.pop_front() else { break };
            moved += self.turn(machine, conn);
            if moved >= self.limits.bulk_quantum {
                break;
            }
        }
    }

    fn serve_small(&mut self, machine: &mut dyn Machine) -> usize {
        let mut moved = 0;
        for _ in 0..self.small.len() {
            let Some(conn) = self.small.pop_front() else { break };
            moved += self.turn(machine, conn);
        }
        moved
    }

    fn turn(&mut self, machine: &mut dyn Machine, conn: ConnId) -> usize {
        let Some(stream) = self.streams.get_mut(conn.0) else { return 0 };
        stream.queued = false;
        if !self.establish(machine, conn) {
            return 0;
        }
        let both = self.streams.get(conn.0).is_some_and(|s| s.readable && !s.paused && s.sends());
        let share = if both { 2 } else { 1 };
        // Nobody else is ready: nobody waits for a shorter turn.
        let alone = self.small.is_empty() && self.bulk.is_empty();
        let bytes = if alone { self.limits.lone_bytes } else { self.limits.turn_bytes };
        let budget = (bytes / share, self.limits.turn_ops.div_ceil(share));
        let mut moved = self.receive(machine, conn, budget);
        moved += self.transmit(machine, conn, budget);
        self.finish_half_close(conn);
        let Some(stream) = self.streams.get_mut(conn.0) else { return moved };
        stream.bulk = moved >= BULK;
        stream.idle_turns = if moved > 0 { 0 } else { stream.idle_turns.saturating_add(1) };
        if stream.idle_turns > IDLE_TURNS_MAX {
            // hostile: 195
            log::error!("internal error: a connection that never gets on was closed");
            self.fail(machine, conn, Fault::Os(0));
        } else {
            self.enqueue(conn);
        }
        moved
    }

    fn transmit(&mut self, machine: &mut dyn Machine, conn: ConnId, (bytes, ops): (usize, usize)) -> usize {
        let mut moved = 0;
        for _ in 0..ops {
            let Some(stream) = self.streams.get(conn.0) else { break };
            if !stream.writable || !stream.sends() || moved >= bytes {
                break;
            }
            let sent = self.send(machine, conn, bytes - moved);
            let Some(stream) = self.streams.get_mut(conn.0) else { break };
            match sent {
                Sent::Bytes(n) | Sent::Part(n) => {
                    moved += n;
                    // Full, most likely. A poll finds out cheaper than another call, has the kernel tell when there is
                    // room, and waits for a good part of it where that call would fill a few bytes.
                    if matches!(sent, Sent::Part(_)) && !ready(stream.io.as_fd(), PollFlags::OUT) {
                        stream.writable = false;
                    }
                    self.stats.bytes_sent += n as u64;
                    machine.handle_sent(self.clock.now(), conn, n);
                    self.drain(machine);
                }
                Sent::Nothing => stream.wake = false,
                Sent::Blocked => stream.writable = false,
                Sent::Interrupted => {}
                Sent::File(file, fault, fatal) => {
                    // The node wakes us again if it has something else to send. Until it asks once more, no FIN:
                    // the peer would take what it got for the whole.
                    stream.wake = false;
                    stream.half_close = HalfClose::Open;
                    let failed = Input::FileFailed { file, fault, fatal };
                    machine.handle_input(self.clock.now(), failed);
                    self.drain(machine);
                }
                Sent::Conn(fault) => self.fail(machine, conn, fault),
            }
        }
        moved
    }

    /// One attempt: what is left of a record first, then what the node names. `budget`: bytes of a file at most.
    fn send(&mut self, machine: &mut dyn Machine, conn: ConnId, budget: usize) -> Sent {
        let Some(stream) = self.streams.get_mut(conn.0) else { return Sent::Nothing };
        if !stream.carry.is_empty() {
            return stream.send_carried();
        }
        let record = match machine.poll_transmit(conn) {
            None
            | Some(Transmit::Bytes([]) | Transmit::File { len: 0, .. } | Transmit::Seal { len: 0, .. }) => {
                return Sent::Nothing;
            }
            Some(Transmit::Bytes(bytes)) => {
                return stream.io.write(bytes).map_or_else(|error| of_error(&error), Sent::Bytes);
            }
            Some(Transmit::File { file, offset, len: rest }) => {
                let len = usize::try_from(rest).unwrap_or(usize::MAX).min(budget);
                let len = len.min(self.limits.send_chunks * CHUNK);
                let Some(fd) = self.files.get(file.0).and_then(OpenFile::reading) else {
                    return Sent::File(file, Fault::NotFound, true);
                };
                let sent = send_file(&mut stream.io, fd, offset, len, self.buffer.whole(), file);
                if matches!(sent, Sent::Bytes(n) | Sent::Part(n) if rest > n as u64) {
                    stream.arm();
                }
                return sent;
            }
            Some(Transmit::Seal { file, offset, len }) => (file, offset, len),
        };
        self.send_sealed(machine, conn, record)
    }
}

pub(super) fn of_error(error: &io::Error) -> Sent {
    match error.kind() {
        io::ErrorKind::WouldBlock => Sent::Blocked,
        io::ErrorKind::Interrupted => Sent::Interrupted,
        _ => Sent::Conn(Fault::of(error)),
    }
}

fn send_file(
    io: &mut TcpStream,
    fd: BorrowedFd<'_>,
    offset: u64,
    len: usize,
    buffer: &mut [u8],
    file: FileId,
) -> Sent {
    let mut at = offset;
    let in_memory = len.min(buffer.len());
    let errno = match sendfile(&*io, fd, Some(&mut at), len) {
        // hostile: 63
        Ok(0) => return Sent::File(file, Fault::Shrunk, false),
        Ok(n) if n < len => return Sent::Part(n),
        Ok(n) => return Sent::Bytes(n),
        Err(errno) => errno,
    };
    match errno {
        // A file system that cannot give pages away.
        Errno::INVAL | Errno::NOSYS => match pread(fd, &mut buffer[..in_memory], offset) {
            Ok(0) => Sent::File(file, Fault::Shrunk, false),
            Ok(n) => match io.write(&buffer[..n]) {
                Ok(n) => Sent::Bytes(n),
                Err(error) => of_error(&error),
            },
            Err(errno) => Sent::File(file, Fault::of(&errno.into()), false),
        },
        errno => match of_error(&errno.into()) {
            // hostile: 64. What no connection says is the file's: a bad disk, a lost server. The node ends it with a
            // reset; as the connection's error it would end with a FIN, and look whole.
            Sent::Conn(fault) if !is_of_network(fault) => Sent::File(file, fault, false),
            sent => sent,
        },
    }
}

fn is_of_network(fault: Fault) -> bool {
    matches!(fault, Fault::Reset | Fault::TimedOut | Fault::Unreachable | Fault::Refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Id;
    use std::fs::File;

    #[test]
    fn what_the_file_is_at_fault_for_is_not_the_connections_error() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listens");
        let mut io = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        let (_peer, _) = listener.accept().expect("accepted");
        let id = FileId(Id { index: 0, generation: 0 });
        let temp = tempfile::tempdir().expect("a temporary folder");
        // Not open for reading: an error that neither the disk nor the network is known for.
        let file = File::create(temp.path().join("file")).expect("a file");
        let sent = send_file(&mut io, file.as_fd(), 0, 100, &mut [0; 100], id);
        assert!(matches!(sent, Sent::File(file, Fault::Os(9), false) if file == id), "{sent:?}");
    }
}
