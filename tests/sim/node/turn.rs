//! One turn of the loop: every connection that may have something to do gets a share, drawn, and then the rest waits.

use super::files::FileState;
use super::seal::Sealing;
use super::{Conn, Happening, Kind, Node};
use crate::env::Env;
use crate::net::Read;
use distrishare::config::{CHUNK, RECORD_CHUNKS_MAX};
use distrishare::machine::{ConnId, Fault, FileId, Input, Received, Transmit};

/// Bytes a machine may leave unconsumed before this is taken for a hoard.
const CARRY_MAX: usize = 256 << 10;

/// What a connection sends next, copied out of the machine.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Nothing,
    Bytes(Vec<u8>),
    File { file: FileId, offset: u64, len: u64 },
    Seal(Sealing),
}

/// Bytes that the kernel takes now; at least 1, for the news that it takes none.
pub(super) fn room(env: &Env, kind: Kind) -> usize {
    match kind {
        Kind::Tcp(sock) => env.net.room(sock),
        Kind::Console | Kind::Notes | Kind::Program(_) => usize::MAX,
    }
}

impl Node {
    pub(crate) fn turn(&mut self, env: &mut Env) {
        self.turn_armed = false;
        if self.suspended || !self.running() || self.dying() {
            return;
        }
        let mut ids: Vec<ConnId> = std::mem::take(&mut self.ready).into_iter().collect();
        let start = self.rng.size(0, ids.len().saturating_sub(1));
        ids.rotate_left(start);
        for id in ids {
            let operations = self.rng.between(1, 16);
            for _ in 0..operations {
                let read = self.read(env, id);
                let written = self.write(env, id);
                if self.dying() || self.exit_wanted.is_some() || !(read || written) {
                    break;
                }
                self.ready.insert(id);
            }
            if self.dying() {
                return;
            }
        }
        let after = self.rng.between(10, 200);
        self.arm_turn(env, after);
        self.settle(env);
    }

    /// Hands over bytes, the end, or the news that it was cut. Whether there was something to do.
    fn read(&mut self, env: &mut Env, id: ConnId) -> bool {
        let max = self.rng.size(1, self.habits.read_max);
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.connected) else { return false };
        if conn.paused {
            // A reset shows itself without being asked for.
            let Kind::Tcp(sock) = conn.kind else { return false };
            let dead = env.net.dead(sock);
            dead.into_iter().for_each(|fault| self.lost(env, id, fault));
            return dead.is_some();
        }
        // What was left stands in the buffer still.
        let max = max.min(CARRY_MAX.saturating_sub(conn.carry.len()));
        let mut fresh = Vec::new();
        let found = match conn.kind {
            _ if max == 0 => Read::Empty,
            Kind::Tcp(sock) => env.net.read(env.now, &mut env.queue, sock, &mut fresh, max),
            Kind::Console => {
                let n = self.console.stdin.len().min(max);
                fresh.extend(self.console.stdin.drain(..n));
                match (n, self.console.stdin_closed) {
                    (0, false) => Read::Empty,
                    (0, true) => Read::Eof,
                    _ => Read::Bytes,
                }
            }
            Kind::Notes => Read::Empty,
            Kind::Program(no) => {
                let program = &mut self.programs[no];
                let n = program.says.len().min(max);
                fresh.extend(program.says.drain(..n));
                match (n, program.said_all) {
                    (0, false) => Read::Empty,
                    (0, true) => Read::Eof,
                    _ => Read::Bytes,
                }
            }
        };
        let again = std::mem::take(&mut conn.resumed) && !conn.carry.is_empty();
        match found {
            _ if again || !fresh.is_empty() => self.receive(env, id, &fresh),
            Read::Dead(fault) => self.lost(env, id, fault),
            Read::Eof if !conn.eof_told => {
                conn.eof_told = true;
                self.input(env, Input::Eof { conn: id });
            }
            _ => return false,
        }
        true
    }

    /// Bytes that were left are shown again at once while the machine gets on with them, one body at a time.
    fn receive(&mut self, env: &mut Env, id: ConnId, fresh: &[u8]) {
        let mut gets_on = self.receive_once(env, id, fresh);
        while gets_on && !self.dying() && self.exit_wanted.is_none() {
            gets_on = self.receive_once(env, id, &[]);
        }
    }

    /// Whether some of the bytes were consumed, others were not, and the machine wants to see those.
    fn receive_once(&mut self, env: &mut Env, id: ConnId, fresh: &[u8]) -> bool {
        let now = self.local(env);
        let (Some(conn), Some(machine)) = (self.conns.get_mut(&id), self.machine.as_mut()) else {
            return false;
        };
        let mut bytes = std::mem::take(&mut conn.carry);
        bytes.extend_from_slice(fresh);
        env.trace.words(env.now, self.id.0 as i64, "recv", id.0.index.into(), bytes.len() as u64);
        // What is carried over was counted when it came.
        env.trace.bytes(fresh);
        if let Some(rules) = self.rules.as_mut() {
            rules.received(id, fresh);
        }
        // The machine may scribble on what it consumes (it opens sealed records in place), and on nothing else.
        let mut lent = bytes.clone();
        let received = machine.handle_recv(now, id, &mut lent);
        let Received { consumed, body, pause } = received;
        assert!(consumed <= bytes.len(), "{id:?}: {consumed} of {} bytes consumed", bytes.len());
        assert!(lent[consumed..] == bytes[consumed..], "{id:?} scribbles on bytes that it did not consume");
        conn.carry = bytes.split_off(consumed);
        conn.paused = pause;
        let hoards = consumed == 0 && !pause && conn.carry.len() >= CARRY_MAX;
        assert!(!hoards, "{id:?} hoards {} bytes", conn.carry.len());
        let gets_on = consumed > 0 && !conn.carry.is_empty() && !pause;
        let Some(body) = body else {
            self.drain(env);
            return gets_on;
        };
        assert!(body.range.start <= body.range.end && body.range.end <= consumed, "{id:?}: {body:?}");
        let first = self.habits.store_first;
        if !first {
            self.drain(env);
        }
        let stored = self.store(env, body.file, body.offset, &lent[body.range.clone()], first);
        if first {
            self.drain(env);
        }
        let Some((n, fault)) = stored else { return gets_on };
        let now = self.local(env);
        if let Some(machine) = self.machine.as_mut().filter(|_| self.conns.contains_key(&id)) {
            machine.handle_written(now, id, n);
            self.drain(env);
        }
        if let Some(fault) = fault.filter(|_| self.files.contains_key(&body.file)) {
            self.input(env, Input::FileFailed { file: body.file, fault, fatal: false });
        }
        gets_on
    }

    /// `None`: the file went away between the bytes and now, which only a later store can see.
    fn store(
        &mut self,
        env: &mut Env,
        file: FileId,
        offset: u64,
        bytes: &[u8],
        must: bool,
    ) -> Option<(usize, Option<Fault>)> {
        let open = self.files.get(&file).map(|open| open.state.clone());
        let Some(FileState::Growing(inode, _)) = open else {
            assert!(!must && open.is_none(), "a body for {file:?}, which is {open:?}");
            return None;
        };
        self.disk.now = env.now;
        Some(self.disk.write(inode, offset, bytes, &env.truth.generators))
    }

    /// Sends once. Whether there was something to do and it could be done.
    fn write(&mut self, env: &mut Env, id: ConnId) -> bool {
        let Some(conn) = self.conns.get(&id).filter(|conn| conn.connected && conn.writable) else {
            return false;
        };
        if !conn.sealed.is_empty() {
            return self.send_sealed(env, id);
        }
        if !conn.wanted {
            return self.shut(env, id);
        }
        // Nothing is made that the socket cannot take.
        let room = room(env, conn.kind);
        match self.plan(id, room) {
            Plan::Nothing => {
                self.conns.get_mut(&id).into_iter().for_each(|conn| conn.wanted = false);
                self.shut(env, id)
            }
            Plan::Bytes(bytes) => self.send(env, id, &bytes) > 0,
            Plan::File { file, offset, len } => {
                let n = len.min(self.habits.run_max as u64) as usize;
                let n = n.min(room);
                let open = self.known_file(file, "Transmit::File");
                let Some(inode) = open.state.readable() else {
                    panic!("{id:?} sends {file:?}, which is {:?}", open.state);
                };
                match self.disk.read(inode, offset, n) {
                    Ok(bytes) => {
                        let n = self.send(env, id, &bytes);
                        self.uploaded += n as u64;
                        n > 0
                    }
                    Err(fault) => self.unreadable(env, id, file, fault),
                }
            }
            Plan::Seal(sealing) => self.seal(env, id, sealing),
        }
    }

    /// A file that a connection was sending cannot be read.
    pub(super) fn unreadable(&mut self, env: &mut Env, id: ConnId, file: FileId, fault: Fault) -> bool {
        // The same range would fail again at once: nothing more until the next Wake.
        self.conns.get_mut(&id).into_iter().for_each(|conn| conn.wanted = false);
        self.input(env, Input::FileFailed { file, fault, fatal: false });
        true
    }

    fn plan(&mut self, id: ConnId, room: usize) -> Plan {
        let twice = self.rng.below(8) == 0;
        let most = self.limit(|limits| limits.record_chunks).min(RECORD_CHUNKS_MAX) * CHUNK;
        let Some(machine) = self.machine.as_mut() else { return Plan::Nothing };
        let mut ask = || match machine.poll_transmit(id) {
            None => Plan::Nothing,
            Some(Transmit::Bytes(bytes)) => {
                assert!(!bytes.is_empty(), "{id:?} sends no bytes at all");
                Plan::Bytes(bytes[..bytes.len().min(room)].to_vec())
            }
            Some(Transmit::File { file, offset, len }) => {
                assert!(len > 0, "{id:?} sends nothing of {file:?}");
                Plan::File { file, offset, len }
            }
            Some(Transmit::Seal { file, offset, len }) => {
                assert!(len > 0, "{id:?} seals nothing of {file:?}");
                assert!(len <= most, "{id:?} seals {len} bytes at once, at most {most}");
                Plan::Seal(Sealing { file, offset, len })
            }
        };
        let plan = ask();
        if twice {
            assert_eq!(plan, ask(), "{id:?} changed its mind without handle_sent");
        }
        plan
    }

    /// How many of them the kernel took; 1 for the news that it takes nothing ever again.
    pub(super) fn send(&mut self, env: &mut Env, id: ConnId, bytes: &[u8]) -> usize {
        let Some(&Conn { kind, .. }) = self.conns.get(&id) else { return 0 };
        let taken = match kind {
            Kind::Tcp(sock) => env.net.write(env.now, &mut env.queue, sock, bytes),
            Kind::Console | Kind::Notes if self.console.stalled => Ok(0),
            Kind::Console => {
                let n = self.rng.size(1, bytes.len());
                self.console.stdout.extend_from_slice(&bytes[..n]);
                Ok(n)
            }
            Kind::Program(no) if self.programs[no].stalled => Ok(0),
            Kind::Program(no) => {
                let n = self.rng.size(1, bytes.len());
                self.programs[no].heard.extend_from_slice(&bytes[..n]);
                Ok(n)
            }
            Kind::Notes => {
                self.console.stderr.extend_from_slice(bytes);
                Ok(bytes.len())
            }
        };
        match taken {
            Ok(0) => {
                self.conns.get_mut(&id).into_iter().for_each(|conn| conn.writable = false);
                0
            }
            Ok(n) => {
                env.trace.words(env.now, self.who(), "sent", id.0.index.into(), n as u64);
                env.trace.bytes(&bytes[..n]);
                if let Some(rules) = self.rules.as_mut() {
                    rules.sends(env, self.host, id, &bytes[..n]);
                }
                let now = self.local(env);
                if let Some(machine) = self.machine.as_mut() {
                    machine.handle_sent(now, id, n);
                }
                self.drain(env);
                n
            }
            Err(fault) => {
                self.lost(env, id, fault);
                1
            }
        }
    }

    /// `Shutdown` was asked for and everything is sent.
    fn shut(&mut self, env: &mut Env, id: ConnId) -> bool {
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.shutdown && !conn.shut) else {
            return false;
        };
        conn.shut = true;
        if let Kind::Tcp(sock) = conn.kind {
            env.net.shutdown(env.now, &mut env.queue, sock);
        }
        true
    }

    /// At the end of the process the console gets what is still to be said, if the terminal takes it.
    pub(super) fn flush_console(&mut self, env: &mut Env) {
        let streams = self.conns.iter().filter(|(_, conn)| !matches!(conn.kind, Kind::Tcp(_)));
        let ids: Vec<ConnId> = streams.map(|(&id, _)| id).collect();
        for id in ids {
            for _ in 0..10_000 {
                let Plan::Bytes(bytes) = self.plan(id, usize::MAX) else { break };
                if self.send(env, id, &bytes) == 0 {
                    break;
                }
            }
        }
    }

    /// Whether anything waits to be told; for tests of a suspended node.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.iter().filter(|happening| !matches!(happening, Happening::WallClock)).count()
    }
}
