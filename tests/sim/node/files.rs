//! A node's files: what it asked of the disk, and when and how the disk answers.

use super::{Happening, Node};
use crate::disk::{Change, Found, Inode};
use crate::env::Env;
use distrishare::config::IMPORT_PREFIX;
use distrishare::machine::{Dir, Fault, FileId, Input, Kept, ListEnd, RequestId, Slot};
use std::path::PathBuf;

/// A disk operation that takes effect when its time has come.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    Open {
        file: FileId,
        dir: Dir,
        name: String,
    },
    Create {
        file: FileId,
        name: String,
    },
    Commit {
        file: FileId,
        name: String,
    },
    Import {
        file: FileId,
        source: PathBuf,
        name: String,
    },
    /// One slice of an import is copied: `step` of [`IMPORT_STEPS`].
    Copy {
        file: FileId,
        name: String,
        step: u64,
    },
    List {
        request: RequestId,
        dir: Dir,
        folder: String,
        deep: bool,
        max: usize,
    },
    Read {
        file: FileId,
        offset: u64,
        len: usize,
    },
    OpenLog {
        file: FileId,
        fresh: bool,
    },
    /// Nothing brings the log back any more that a fresh one replaced.
    SettleLog,
    Changed(Change),
    Load {
        kept: Kept,
        slot: Slot,
        max: usize,
    },
    Save,
}

const IMPORT_STEPS: u64 = 3;

/// A file the node knows by a [`FileId`].
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) state: FileState,
    /// Counted by the node as created.
    pub(super) grows: bool,
    /// The log by its name, or soon.
    pub(super) log: bool,
    /// `ReadFile` was asked and not answered.
    pub(super) asked: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FileState {
    /// Asked for.
    Opening,
    Reading(Inode),
    /// The log, or a fresh one that has not its name.
    Log {
        inode: Inode,
        fresh: bool,
    },
    Growing(Inode, String),
    /// Under way from the temporary name to the final one.
    Committing {
        part: String,
        name: String,
    },
    Importing {
        temp: String,
        inode: Inode,
    },
}

impl Node {
    pub(super) fn ask_file(&mut self, env: &mut Env, file: FileId, deed: Deed) {
        self.check_new(true, file.0);
        let grows = !matches!(deed, Deed::Open { .. } | Deed::OpenLog { .. });
        let log = matches!(deed, Deed::OpenLog { fresh: false, .. });
        let open = OpenFile { state: FileState::Opening, grows, log, asked: false };
        let before = self.files.insert(file, open);
        assert!(before.is_none(), "{file:?} is in use");
        self.files_touched = true;
        let after = self.disk.delay();
        self.answer(env, after, Happening::Deed(deed));
    }

    pub(super) fn commit_file(&mut self, env: &mut Env, file: FileId, name: String) {
        let open = self.known_file(file, "CommitFile");
        let FileState::Growing(_, part) = &open.state else {
            panic!("CommitFile for {file:?}, which is {:?}", open.state);
        };
        open.state = FileState::Committing { part: part.clone(), name: name.clone() };
        let after = self.disk.delay();
        self.answer(env, after, Happening::Deed(Deed::Commit { file, name }));
    }

    /// The node lets go of a file.
    pub(super) fn end_file(&mut self, file: FileId, discard: bool) {
        let what = if discard { "DiscardFile" } else { "CloseFile" };
        let grows = self.known_file(file, what).grows;
        assert_eq!(grows, discard, "{what} for {file:?}");
        self.remove_file(file);
    }

    /// The id is free and anything temporary is gone.
    fn remove_file(&mut self, file: FileId) {
        self.files_touched = true;
        match self.files.remove(&file).map(|open| open.state) {
            Some(FileState::Growing(_, part) | FileState::Committing { part, .. }) => {
                self.disk.remove(Dir::Parts, &part);
            }
            Some(FileState::Importing { temp, .. }) => self.disk.remove(Dir::Shared, &temp),
            _ => {}
        }
    }

    pub(super) fn fail_file(&mut self, env: &mut Env, file: FileId, fault: Fault) {
        self.remove_file(file);
        self.input(env, Input::FileFailed { file, fault, fatal: true });
    }

    /// Reads and saves of the state happen one after another.
    pub(super) fn state_deed(&mut self, env: &mut Env, deed: Deed) {
        let at = (env.now + self.disk.delay()).max(self.state_clock + 1);
        self.state_clock = at;
        self.answer(env, at - env.now, Happening::Deed(deed));
    }

    /// The disk did it, or failed to.
    pub(super) fn finish_deed(&mut self, env: &mut Env, deed: Deed) {
        self.disk.now = env.now;
        match deed {
            Deed::List { request, dir, folder, deep, max } => {
                let found = self.disk.list(dir, &folder, deep, max);
                self.list(env, request, found);
            }
            Deed::Read { file, offset, len } => self.finish_read(env, file, offset, len),
            Deed::SettleLog => self.disk.log_settled(),
            Deed::Changed(change) => self.tell_change(env, change),
            Deed::Load { kept, slot, max } => {
                let found = self.disk.state.get(&(kept, slot)).cloned();
                let too_large = found.as_ref().is_some_and(|content| content.len() > max);
                let content = if too_large { Err(Fault::TooLarge) } else { Ok(found) };
                self.input(env, Input::StateLoaded { kept, slot, content });
            }
            Deed::Save => {
                let (kept, result) = self.disk.saved();
                self.input(env, Input::StateSaved { kept, result });
            }
            Deed::Open { file, .. }
            | Deed::OpenLog { file, .. }
            | Deed::Create { file, .. }
            | Deed::Commit { file, .. }
            | Deed::Import { file, .. }
            | Deed::Copy { file, .. }
                if !self.files.contains_key(&file) =>
            {
                // The node gave up meanwhile. The contract lets a late answer through; nodes ignore it.
                if self.draw().flip() {
                    self.input(env, Input::FileFailed { file, fault: Fault::NotFound, fatal: true });
                }
            }
            Deed::Open { file, dir, name } => match self.disk.open(dir, &name) {
                Ok((inode, _)) => {
                    self.opened(file, FileState::Reading(inode));
                    let meta = self.disk.meta(inode);
                    self.input(env, Input::FileOpened { file, meta });
                }
                Err(fault) => self.fail_file(env, file, fault),
            },
            Deed::OpenLog { file, fresh } => match self.disk.open_log(fresh) {
                Ok(inode) => {
                    self.opened(file, FileState::Log { inode, fresh });
                    let meta = self.disk.meta(inode);
                    self.input(env, Input::FileOpened { file, meta });
                }
                Err(fault) => self.fail_file(env, file, fault),
            },
            Deed::Create { file, name } => match self.disk.create(&name) {
                Ok(inode) => {
                    self.opened(file, FileState::Growing(inode, name));
                    let room = self.disk.room();
                    self.input(env, Input::FileCreated { file, room });
                }
                Err(fault) => self.fail_file(env, file, fault),
            },
            Deed::Commit { file, name } => self.committed(env, file, &name),
            Deed::Import { file, source, name } => self.import(env, file, &source, name),
            Deed::Copy { file, name, step } => self.copy_slice(env, file, name, step),
        }
    }

    fn opened(&mut self, file: FileId, state: FileState) {
        self.known_file(file, "FileOpened").state = state;
        self.files_touched = true;
    }

    fn committed(&mut self, env: &mut Env, file: FileId, name: &str) {
        let Some(FileState::Committing { part, .. }) = self.files.get(&file).map(|f| f.state.clone()) else {
            return;
        };
        match self.disk.commit(&part, name) {
            Ok((got, size)) => {
                let content = self.disk.content(Dir::Downloads, &got).expect("just committed");
                env.truth.committed(self.id.0, name, &got, content);
                self.files.remove(&file);
                self.files_touched = true;
                self.input(env, Input::FileCommitted { file, name: got, size });
            }
            Err(fault) => self.fail_file(env, file, fault),
        }
    }

    fn import(&mut self, env: &mut Env, file: FileId, source: &std::path::Path, name: String) {
        match self.disk.import(source, &name) {
            Ok(content) => {
                let temp = format!("{IMPORT_PREFIX}{:016x}", u64::from(file.0.index));
                let inode = self.disk.put(Dir::Shared, &temp, content);
                self.known_file(file, "import").state = FileState::Importing { temp, inode };
                self.copy_slice(env, file, name, 1);
            }
            Err(fault) => self.fail_file(env, file, fault),
        }
    }

    fn copy_slice(&mut self, env: &mut Env, file: FileId, name: String, step: u64) {
        let Some(FileState::Importing { temp, inode }) = self.files.get(&file).map(|f| f.state.clone())
        else {
            return;
        };
        let size = self.disk.len(inode);
        if step < IMPORT_STEPS {
            let after = self.disk.delay();
            self.answer(env, after, Happening::Deed(Deed::Copy { file, name, step: step + 1 }));
            let bytes = size / IMPORT_STEPS * step;
            return self.input(env, Input::FileProgress { file, bytes, size });
        }
        if self.disk.content(Dir::Shared, &name).is_some() {
            return self.fail_file(env, file, Fault::Exists);
        }
        let content = self.disk.content(Dir::Shared, &temp).cloned().expect("the copy");
        env.truth.add(&name, &content);
        self.disk.remove(Dir::Shared, &temp);
        self.disk.put(Dir::Shared, &name, content);
        self.files.remove(&file);
        self.files_touched = true;
        self.input(env, Input::FileCommitted { file, name, size });
    }

    /// A listing comes whole or in parts.
    fn list(&mut self, env: &mut Env, request: RequestId, found: Result<Found, Fault>) {
        let Found { entries, truncated } = match found {
            Ok(found) => found,
            Err(fault) => {
                let end = ListEnd::Failed(fault);
                return self.input(env, Input::Listed { request, entries: Vec::new(), end });
            }
        };
        let size = self.draw().size(1, 256);
        let mut parts = entries.chunks(size).peekable();
        while let Some(part) = parts.next().filter(|_| parts.peek().is_some()) {
            let entries = part.to_vec();
            self.input(env, Input::Listed { request, entries, end: ListEnd::More });
        }
        let last = entries.chunks(size).next_back().map(<[_]>::to_vec).unwrap_or_default();
        let end = if truncated { ListEnd::Truncated } else { ListEnd::Done { skipped: 0 } };
        self.input(env, Input::Listed { request, entries: last, end });
    }

    /// The process died: a commit under way is done or not, temporary files stay for the next start to sweep.
    pub(super) fn crash_files(&mut self) {
        for open in self.files.values() {
            if let FileState::Committing { part, name } = &open.state {
                if self.rng.flip() {
                    let faults = std::mem::take(&mut self.disk.faults);
                    // A power cut may leave the new name; what it names was made durable before.
                    let _ = self.disk.commit(part, name);
                    self.disk.faults = faults;
                }
            }
        }
        self.disk.crash();
    }
}
