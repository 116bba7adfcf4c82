//! The watchman: what must hold for every machine after every call, whatever the world does (HOSTILE.md 6.3). A breach
//! panics, and the harness says in which run and step.

use super::files::OpenFile;
use super::{Conn, Kind, Node};
use crate::disk::{TempName, temp_name};
use crate::env::Env;
use distrishare::machine::{Census, ConnId, Dir, FileId, Id};

/// So many timeouts at one instant are a loop without end. 10,000 timers that are due after a long sleep, served 64 at
/// a time, are 157.
const ROUNDS_MAX: u32 = 20_000;

impl Node {
    pub(super) fn check(&mut self, env: &Env) {
        let Some(machine) = self.machine.as_mut() else { return };
        let node = self.id.0;
        let census = machine.census();
        if let Some(rules) = self.rules.as_ref() {
            rules.census(node, census);
        }
        let Census {
            conns,
            files,
            files_created,
            files_committed,
            files_discarded,
            files_kept,
            files_growing,
            ..
        } = census;
        let drivers = self.conns.len();
        assert_eq!(conns, drivers, "node {node} counts {conns} connections, its driver {drivers}");
        let drivers = self.files.len();
        assert_eq!(files, drivers, "node {node} counts {files} files, its driver {drivers}");
        assert_eq!(
            files_created,
            files_committed + files_discarded + files_kept + files_growing,
            "node {node}: files created = committed + discarded + kept + growing"
        );
        if self.conns.values().any(|conn| matches!(conn.kind, Kind::Tcp(_))) {
            let deadline = machine.poll_timeout();
            assert!(deadline.is_some(), "node {node} has connections and no deadline at all");
        }
        if std::mem::take(&mut self.files_touched) {
            let growing = self.files.values().filter(|open| open.grows).count() as u64;
            assert_eq!(files_growing, growing, "node {node} counts growing files wrongly");
            self.check_parts();
        }
        debug_assert!(env.now >= self.epoch);
    }

    /// Names in the folder of parts are ours; those that nobody goes on with belong to files that are still growing.
    fn check_parts(&self) {
        let names = self.disk.names(Dir::Parts);
        let ours = names.iter().all(|name| temp_name(name).is_some());
        assert!(ours, "node {}: among the unfinished downloads {names:?}", self.id.0);
        let once = |name: &String| temp_name(name) == Some(TempName::Once);
        let parts = names.iter().filter(|name| once(name)).count();
        let growing = self.files.values().filter(|open| open.holds_part()).count();
        assert_eq!(parts, growing, "node {}: temporary files {names:?}", self.id.0);
    }

    /// Before the process ends in order, nothing half-done is left but what another one can go on with (6.3, 20).
    pub(super) fn check_exit(&self) {
        let node = self.id.0;
        let growing = self.files.values().filter(|open| open.grows).count();
        assert_eq!(growing, 0, "node {node} ends and leaves {growing} files growing");
        self.check_parts();
        for name in self.disk.names(Dir::Parts) {
            let Some(inode) = self.disk.inode_of(Dir::Parts, &name) else { continue };
            // The bytes of a part beyond what is claimed of it are nobody's promise.
            let journal = temp_name(&name) == Some(TempName::Journal);
            let kept = !journal || self.disk.is_durable(inode) || self.disk.sync_failed(inode);
            // A slow one may take longer than the process has at its end.
            let excused = self.disk.faults.any() || self.disk.faults.slow > 0;
            assert!(kept || excused, "node {node} ends and {name} is not synced");
        }
    }

    /// An id is new: its slot fits into a poll token and was not last given out with the same generation.
    pub(super) fn check_new(&mut self, file: bool, id: Id) {
        assert!(id.index < 1 << 20, "{id:?}: the index needs more than 20 bits");
        let last = self.used.insert((file, id.index), id.generation);
        assert_ne!(last, Some(id.generation), "{id:?} was given out twice");
        let slot_taken = if file {
            self.files.keys().any(|known| known.0.index == id.index)
        } else {
            self.conns
                .range(ConnId(Id { index: id.index, generation: 0 })..)
                .next()
                .is_some_and(|(known, _)| known.0.index == id.index)
        };
        assert!(!slot_taken, "the slot of {id:?} is in use");
    }

    pub(super) fn known_conn(&mut self, id: ConnId, what: &str) -> &mut Conn {
        let node = self.id.0;
        self.conns.get_mut(&id).unwrap_or_else(|| panic!("node {node}: {what} for {id:?}, which has ended"))
    }

    pub(super) fn known_file(&mut self, id: FileId, what: &str) -> &mut OpenFile {
        let node = self.id.0;
        self.files.get_mut(&id).unwrap_or_else(|| panic!("node {node}: {what} for {id:?}, which has ended"))
    }

    /// A deadline that is due again and again without time passing.
    pub(super) fn guard_busy_loop(&mut self, env: &Env, reason: &str) {
        let (at, rounds) = self.same_instant;
        self.same_instant = (env.now, if at == env.now { rounds + 1 } else { 0 });
        assert!(rounds < ROUNDS_MAX, "node {}: `{reason}` is due for ever at one instant", self.id.0);
    }
}

impl OpenFile {
    fn holds_part(&self) -> bool {
        use super::files::FileState::{Committing, Growing};
        let once = self.temp.as_deref().is_some_and(|name| temp_name(name) == Some(TempName::Once));
        once && matches!(self.state, Growing(..) | Committing { .. })
    }
}
