//! The state folder: files that are replaced as a whole, each with the one before it, and the log that grows. What a
//! crash leaves of them, and rot.

use super::{Disk, Inode};
use crate::content::Content;
use distrishare::machine::{Dir, Fault, Kept, Slot};
use std::collections::{BTreeMap, VecDeque};

/// Changes of a log after which the kernel has written the oldest by itself.
const UNWRITTEN_MAX: usize = 256;

/// The log, the fresh ones beside it, and what of each a crash cannot take any more.
#[derive(Default)]
pub(super) struct Logs {
    /// What has the log's name.
    named: Option<Inode>,
    /// What had it before, as long as a crash may bring that back.
    before: Option<Option<Inode>>,
    histories: BTreeMap<Inode, History>,
}

#[derive(Default)]
struct History {
    durable: Vec<u8>,
    since: VecDeque<Edit>,
}

enum Edit {
    Append(Vec<u8>),
    Cut(usize),
}

impl Edit {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Edit::Append(bytes) => to.extend_from_slice(bytes),
            Edit::Cut(len) => to.truncate(*len),
        }
    }
}

impl Disk {
    /// The confirmed end of a save: what was current is previous.
    pub(crate) fn saved(&mut self) -> (Kept, Result<(), Fault>) {
        // own state: the driver puts a content there for every save it answers.
        let (kept, content) = self.saving.pop_front().expect("something is being saved");
        let faults = [Fault::NoSpace, Fault::ReadOnly, Fault::Os(5)];
        let result = self.may_fail("disk.commit", self.faults.commit, &faults);
        if result.is_ok() {
            if let Some(old) = self.state.insert((kept, Slot::Current), content) {
                self.state.insert((kept, Slot::Previous), old);
            }
        }
        (kept, result)
    }

    pub(crate) fn quarantine(&mut self, kept: Kept, slot: Slot) {
        let Some(bad) = self.state.remove(&(kept, slot)) else { return };
        self.quarantined.push((kept, bad));
        if self.quarantined.iter().filter(|(of, _)| *of == kept).count() > 3 {
            let oldest = self.quarantined.iter().position(|(of, _)| *of == kept);
            oldest.into_iter().for_each(|at| drop(self.quarantined.remove(at)));
        }
    }

    /// The log, made if it is not there, or a fresh one without its name.
    pub(crate) fn open_log(&mut self, fresh: bool) -> Result<Inode, Fault> {
        let faults = [Fault::TooManyOpen, Fault::Denied, Fault::ReadOnly, Fault::NoSpace];
        self.may_fail("disk.open", self.faults.open, &faults)?;
        let inode = match self.logs.named.filter(|_| !fresh) {
            Some(inode) => inode,
            None => self.make(Content::Bytes(Vec::new())),
        };
        if !fresh {
            self.logs.named = Some(inode);
        }
        // What an earlier life appended may still be unwritten.
        let durable = self.whole(inode);
        self.logs.histories.entry(inode).or_insert(History { durable, since: VecDeque::new() });
        Ok(inode)
    }

    /// Writes behind what the log holds, all of it or what comes before the fault.
    pub(crate) fn append_log(&mut self, inode: Inode, bytes: &[u8]) -> Result<(), Fault> {
        let mut n = bytes.len();
        let mut fault = None;
        for (class, ppm, with) in
            [("disk.write", self.faults.write, Fault::Os(5)), ("disk.full", self.faults.full, Fault::NoSpace)]
        {
            if self.dice.falls(class, ppm) {
                n = self.dice.of(class).below(n as u64) as usize;
                fault = Some(with);
            }
        }
        if self.room() < n as u64 {
            n = self.room() as usize;
            fault = Some(Fault::NoSpace);
        }
        if self.is_part(inode) {
            self.store(inode, self.len(inode), &bytes[..n], &[]);
        } else {
            self.edit_log(inode, Edit::Append(bytes[..n].to_vec()));
        }
        fault.map_or(Ok(()), Err)
    }

    pub(crate) fn truncate_log(&mut self, inode: Inode, len: u64) -> Result<(), Fault> {
        self.may_fail("disk.write", self.faults.write, &[Fault::Os(5), Fault::ReadOnly])?;
        if self.is_part(inode) {
            self.cut(inode, len);
        } else {
            self.edit_log(inode, Edit::Cut(len as usize));
        }
        Ok(())
    }

    /// Everything in the log is durable.
    pub(crate) fn sync_log(&mut self, inode: Inode) -> Result<(), Fault> {
        self.may_fail("disk.sync", self.faults.sync, &[Fault::Os(5)])?;
        let durable = self.whole(inode);
        self.logs.histories.insert(inode, History { durable, since: VecDeque::new() });
        Ok(())
    }

    fn edit_log(&mut self, inode: Inode, edit: Edit) {
        self.touch(inode);
        let Some(Content::Bytes(whole)) = self.files.get_mut(&inode) else { return };
        edit.apply(whole);
        let history = self.logs.histories.entry(inode).or_default();
        history.since.push_back(edit);
        if history.since.len() > UNWRITTEN_MAX {
            let oldest = history.since.pop_front();
            oldest.into_iter().for_each(|edit| edit.apply(&mut history.durable));
        }
    }

    /// The fresh log is synced and has the name; until [`Disk::log_settled`] a crash may take the name away again.
    pub(crate) fn commit_log(&mut self, inode: Inode) -> Result<(), Fault> {
        let faults = [Fault::Os(5), Fault::NoSpace, Fault::ReadOnly];
        self.may_fail("disk.commit", self.faults.commit, &faults)?;
        let durable = self.whole(inode);
        self.logs.histories.insert(inode, History { durable, since: VecDeque::new() });
        self.logs.before = Some(self.logs.named.replace(inode));
        Ok(())
    }

    pub(crate) fn log_settled(&mut self) {
        self.logs.before = None;
    }

    /// What the log holds, for scenes.
    pub(crate) fn log(&self) -> Option<Vec<u8>> {
        self.logs.named.map(|inode| self.whole(inode))
    }

    /// Damages the log as a scene wants it.
    pub(crate) fn set_log(&mut self, content: &[u8]) {
        let inode = self.make(Content::from(content));
        self.logs.named = Some(inode);
    }

    fn whole(&self, inode: Inode) -> Vec<u8> {
        self.files.get(&inode).map(|content| content.read(0, content.len() as usize)).unwrap_or_default()
    }

    /// The process is gone in the middle of what was under way: any step of a save may be the last. Whatever it left
    /// may rot while it is down.
    pub(crate) fn crash(&mut self) {
        let step = self.dice.of("disk.crash").below(4);
        if let Some((kept, new)) = std::mem::take(&mut self.saving).pop_front() {
            let old = self.state.get(&(kept, Slot::Current)).cloned();
            if let (1.., Some(old)) = (step, old) {
                self.state.insert((kept, Slot::Previous), old);
            }
            match step {
                // Between two renames, on a file system without hard links.
                2 => drop(self.state.remove(&(kept, Slot::Current))),
                3 => drop(self.state.insert((kept, Slot::Current), new)),
                _ => {}
            }
        }
        if self.dice.falls("disk.rot", self.faults.rot) {
            self.rot();
        }
    }

    /// The power is gone: any number of the last changes of the log are lost, and the first of those may be there in
    /// part; the same for the renaming of a fresh one.
    pub(super) fn crash_log(&mut self) {
        if let Some(before) = self.logs.before.take() {
            if self.dice.of("disk.log").flip() {
                self.logs.named = before;
            }
        }
        let mut histories = std::mem::take(&mut self.logs.histories);
        let Some(inode) = self.logs.named else { return };
        let Some(History { durable: mut left, since }) = histories.remove(&inode) else { return };
        if since.is_empty() {
            return;
        }
        let rng = self.dice.of("disk.log");
        let survive = rng.size(0, since.len());
        since.iter().take(survive).for_each(|edit| edit.apply(&mut left));
        if let Some(Edit::Append(bytes)) = since.get(survive) {
            let torn = rng.size(0, bytes.len());
            match rng.below(4) {
                // The length got there and the bytes did not.
                0 => left.resize(left.len() + torn, 0),
                1 => {}
                _ => left.extend_from_slice(&bytes[..torn]),
            }
        }
        self.files.insert(inode, Content::Bytes(left));
    }

    /// One bit of something kept, or its end.
    fn rot(&mut self) {
        let parts = self.names(Dir::Parts);
        let log = self.logs.named.and_then(|inode| match self.files.get_mut(&inode) {
            Some(Content::Bytes(bytes)) => Some(bytes),
            _ => None,
        });
        let current = self.state.iter_mut().filter(|((_, slot), _)| *slot == Slot::Current);
        let mut all: Vec<&mut Vec<u8>> = current.map(|(_, content)| content).chain(log).collect();
        all.retain(|content| !content.is_empty());
        let rng = self.dice.of("disk.rot");
        let chosen = rng.below((all.len() + parts.len()) as u64) as usize;
        let Some(content) = all.get_mut(chosen) else {
            if let Some(name) = parts.get(chosen.wrapping_sub(all.len())) {
                let (place, bit, cut) = (rng.next(), rng.below(8) as u8, rng.below(4) == 0);
                self.tamper(Dir::Parts, name, true, |content| {
                    let place = place % content.len().max(1);
                    if cut { content.truncate(place) } else { content.flip(place, bit) }
                });
            }
            return;
        };
        let place = rng.below(content.len() as u64) as usize;
        if rng.flip() {
            content.truncate(place);
        } else {
            content[place] ^= 1 << rng.below(8);
        }
    }
}
