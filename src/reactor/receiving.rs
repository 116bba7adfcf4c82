//! The receiving half of a connection's turn: bytes come into the shared buffer, are shown to the node, bodies go from
//! there into files. Only what the node left is kept, in the connection's own memory.

use super::Reactor;
use super::sockets::Stream;
use crate::config::CHUNK;
use crate::machine::{Body, ConnId, Fault, Input, Machine, Received};
use std::io::{self, Read};

/// Received and not yet consumed. More of the same message is read behind it and shown in place, so that a message that
/// comes in small pieces is not copied again with each of them.
#[derive(Debug, Default)]
pub(super) struct Rest {
    bytes: Vec<u8>,
    len: usize,
}

impl Rest {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// `frame`: how long the whole may become.
    fn keep(left: &[u8], frame: usize) -> Rest {
        if left.is_empty() {
            return Rest::default();
        }
        let mut bytes = Vec::with_capacity(left.len().max(frame));
        bytes.extend_from_slice(left);
        Rest { bytes, len: left.len() }
    }

    /// Where the next bytes go; empty if it holds `full` bytes.
    fn room(&mut self, frame: usize, full: usize) -> &mut [u8] {
        let wanted = if frame > self.len { frame } else { (2 * self.len).max(CHUNK) };
        let wanted = wanted.min(full);
        if self.bytes.len() < wanted {
            self.bytes.reserve_exact(wanted - self.bytes.len());
            self.bytes.resize(wanted, 0);
        }
        self.bytes.get_mut(self.len..wanted).unwrap_or_default()
    }

    /// Without its first `n` bytes. Holds no memory when nothing is left.
    fn without(mut self, n: usize) -> Rest {
        if n >= self.len {
            return Rest::default();
        }
        self.bytes.copy_within(n..self.len, 0);
        self.len -= n;
        self
    }
}

/// What a connection's last bodies tell of the next ones. A guess: if it is wrong, more is left over and copied.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Habit {
    /// Where in its page the next byte of a body belongs.
    phase: usize,
    /// Bytes of a body with all that stands around it, 0 if nothing does: reads then end where one of them ends.
    frame: usize,
}

impl Habit {
    /// `shown`: the bytes that were there.
    fn learn(&mut self, received: &Received, shown: usize) {
        match &received.body {
            Some(body) if body.range.end == shown => {
                let end = (body.offset + body.range.len() as u64) % CHUNK as u64;
                *self = Habit { phase: usize::try_from(end).unwrap_or(0), frame: 0 };
            }
            Some(_) => *self = Habit { phase: 0, frame: received.consumed.min(shown) },
            None => self.phase = 0,
        }
    }
}

/// How an attempt to read ended that brought no bytes.
#[derive(Debug)]
enum Unread {
    End,
    Blocked,
    Again,
    /// The node leaves more than there is room for.
    Stuck(usize),
    Conn(Fault),
}

impl Reactor {
    pub(super) fn receive(
        &mut self,
        machine: &mut dyn Machine,
        conn: ConnId,
        (bytes, ops): (usize, usize),
    ) -> usize {
        let mut moved = 0;
        for _ in 0..ops {
            let Some(stream) = self.streams.get_mut(conn.0) else { break };
            if stream.paused || moved >= bytes {
                break;
            }
            if std::mem::take(&mut stream.refeed) {
                self.feed_rest(machine, conn);
                continue;
            }
            if !stream.readable || stream.eof {
                break;
            }
            let own = !stream.rest.is_empty();
            match self.read(conn, bytes - moved) {
                Ok(n) => {
                    moved += n;
                    if own { self.feed_rest(machine, conn) } else { self.feed_fresh(machine, conn, n) }
                }
                Err(Unread::Again) => {}
                Err(unread) => {
                    self.unread(machine, conn, &unread);
                    break;
                }
            }
        }
        moved
    }

    /// Reads behind what the connection kept, or else into the shared buffer.
    fn read(&mut self, conn: ConnId, budget: usize) -> Result<usize, Unread> {
        let Some(stream) = self.streams.get_mut(conn.0) else { return Err(Unread::Blocked) };
        let Stream { io, rest, habit, .. } = stream;
        let full = self.buffer.long().len();
        let area = match (rest.is_empty(), habit.frame) {
            (false, frame) => rest.room(frame, full),
            (true, 0) => {
                let area = self.buffer.at_phase(habit.phase);
                let len = budget.max(CHUNK).min(area.len());
                &mut area[..len]
            }
            (true, frame) => {
                let frames = budget.div_ceil(frame).min(full / frame).max(1);
                &mut self.buffer.long()[..(frames * frame).min(full)]
            }
        };
        if area.is_empty() {
            return Err(Unread::Stuck(rest.len));
        }
        match io.read(area) {
            Ok(0) => Err(Unread::End),
            Ok(n) => {
                if !rest.is_empty() {
                    rest.len += n;
                }
                Ok(n)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Unread::Blocked),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(Unread::Again),
            Err(error) => Err(Unread::Conn(Fault::of(&error))),
        }
    }

    fn unread(&mut self, machine: &mut dyn Machine, conn: ConnId, unread: &Unread) {
        let Some(stream) = self.streams.get_mut(conn.0) else { return };
        match *unread {
            Unread::End => {
                stream.eof = true;
                machine.handle_input(self.clock.now(), Input::Eof { conn });
                self.drain(machine);
            }
            Unread::Blocked => stream.readable = false,
            Unread::Again => {}
            Unread::Stuck(bytes) => {
                log::error!("internal error: a connection consumes nothing of {bytes} bytes");
                self.fail(machine, conn, Fault::Os(0));
            }
            Unread::Conn(fault) => self.fail(machine, conn, fault),
        }
    }

    /// Shows the first `n` bytes of what was read into the shared buffer.
    fn feed_fresh(&mut self, machine: &mut dyn Machine, conn: ConnId, n: usize) {
        let Some(stream) = self.streams.get_mut(conn.0) else { return };
        let Habit { phase, frame } = stream.habit;
        // Nothing that an output does needs the buffer.
        let mut buffer = std::mem::take(&mut self.buffer);
        let area = if frame == 0 { buffer.at_phase(phase) } else { buffer.long() };
        let bytes = &mut area[..n];
        let consumed = self.feed(machine, conn, bytes);
        if let Some(stream) = self.streams.get_mut(conn.0) {
            stream.rest = Rest::keep(&bytes[consumed..], stream.habit.frame);
        }
        self.buffer = buffer;
    }

    /// Shows what the connection kept.
    fn feed_rest(&mut self, machine: &mut dyn Machine, conn: ConnId) {
        let Some(stream) = self.streams.get_mut(conn.0) else { return };
        let mut rest = std::mem::take(&mut stream.rest);
        let len = rest.len;
        let consumed = self.feed(machine, conn, &mut rest.bytes[..len]);
        if let Some(stream) = self.streams.get_mut(conn.0) {
            stream.rest = rest.without(consumed);
        }
    }

    /// Shows bytes to the node, again as long as it gets on with them. Gives how many are done with.
    fn feed(&mut self, machine: &mut dyn Machine, conn: ConnId, bytes: &mut [u8]) -> usize {
        let mut start = 0;
        while start < bytes.len() {
            let shown = &mut bytes[start..];
            let received = machine.handle_recv(self.clock.now(), conn, shown);
            let consumed = received.consumed.min(shown.len());
            if let Some(stream) = self.streams.get_mut(conn.0) {
                stream.paused |= received.pause;
                stream.habit.learn(&received, shown.len());
            }
            match &received.body {
                Some(body) => self.store_body(machine, conn, body, shown),
                None => self.drain(machine),
            }
            start += consumed;
            let Some(stream) = self.streams.get_mut(conn.0) else { break };
            if consumed == 0 || stream.paused {
                // Paused and resumed within one call: the node wants to see the same bytes again.
                stream.refeed = received.pause && !stream.paused;
                break;
            }
        }
        start
    }

    fn store_body(&mut self, machine: &mut dyn Machine, conn: ConnId, body: &Body, shown: &[u8]) {
        let end = body.range.end.min(shown.len());
        let start = body.range.start.min(end);
        let stored = self.store(body.file, body.offset, &shown[start..end]);
        self.drain(machine);
        if stored.bytes > 0 {
            self.stats.bytes_stored += stored.bytes as u64;
            machine.handle_written(self.clock.now(), conn, stored.bytes);
            self.drain(machine);
        }
        if let Some(fault) = stored.fault {
            let failed = Input::FileFailed { file: body.file, fault, fatal: stored.fatal };
            machine.handle_input(self.clock.now(), failed);
            self.drain(machine);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{FileId, Id};

    #[test]
    fn what_is_left_grows_to_its_frame_and_goes_without_a_trace() {
        let mut rest = Rest::keep(&[1; 100], 70_000);
        assert_eq!(rest.room(70_000, 1 << 20).len(), 69_900);
        let place = rest.bytes.as_ptr();
        rest.len += 500;
        assert_eq!(rest.room(70_000, 1 << 20).len(), 69_400);
        assert_eq!(rest.bytes.as_ptr(), place, "read in place");
        let rest = rest.without(100);
        assert_eq!((rest.len, rest.is_empty()), (500, false));
        assert_eq!(rest.without(500).bytes.capacity(), 0);
        // Without a known frame it grows by doubling, up to what a node may leave.
        let mut rest = Rest::keep(&[1; 5000], 0);
        assert_eq!(rest.room(0, 12_000).len(), 5000);
        rest.len = 10_000;
        assert_eq!(rest.room(0, 12_000).len(), 2000);
        rest.len = 12_000;
        assert!(rest.room(0, 12_000).is_empty());
        assert!(rest.room(20_000, 12_000).is_empty());
    }

    #[test]
    fn framed_bodies_are_told_from_those_that_go_on() {
        let file = FileId(Id { index: 0, generation: 0 });
        let received = |consumed, body: Option<(u64, std::ops::Range<usize>)>| Received {
            consumed,
            body: body.map(|(offset, range)| Body { file, offset, range }),
            pause: false,
        };
        let mut habit = Habit::default();
        habit.learn(&received(1000, Some((4000, 0..1000))), 1000);
        assert_eq!((habit.phase, habit.frame), ((4000 + 1000) % CHUNK, 0));
        habit.learn(&received(65_600, Some((0, 48..65_584))), 200_000);
        assert_eq!((habit.phase, habit.frame), (0, 65_600));
        habit.learn(&received(0, None), 3200);
        assert_eq!(habit.frame, 65_600, "the next of them is on its way");
    }
}
