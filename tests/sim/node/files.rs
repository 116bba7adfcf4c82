//! A node's files: what it asked of the disk, and when and how the disk answers.

use super::{Happening, Node};
use crate::disk::{Change, Disk, Found, Inode, TempName, temp_name};
use crate::env::Env;
use distrishare::config::IMPORT_PREFIX;
use distrishare::machine::{
    Dir, Fault, FileId, ImportedFolder, Input, Kept, LeftOut, ListEnd, Log, RequestId, Slot,
};
use std::collections::BTreeSet;
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
        reserve: u64,
    },
    OpenPart {
        file: FileId,
        name: String,
    },
    /// `pages`: those that were not on the medium when it was asked for.
    Sync {
        file: FileId,
        pages: BTreeSet<u64>,
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
        log: Log,
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
    /// Its name in the folder of unfinished downloads, and whether it is made for it.
    pub(super) temp: Option<String>,
    pub(super) made: bool,
    /// When its last operation is done: they come one after another.
    pub(super) clock: u64,
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
    Journal(Inode),
    /// Under way from the temporary name to the final one.
    Committing {
        inode: Inode,
        part: String,
        name: String,
    },
    /// Each copy's temporary name and the final one.
    Importing {
        copies: Vec<(String, String)>,
    },
}

impl Node {
    pub(super) fn ask_file(&mut self, env: &mut Env, file: FileId, deed: Deed) {
        self.check_new(true, file.0);
        let grows = !matches!(deed, Deed::Open { .. } | Deed::OpenLog { .. });
        let log = matches!(deed, Deed::OpenLog { log: Log::Index, .. });
        let temp = match &deed {
            Deed::Create { name, .. }
            | Deed::OpenPart { name, .. }
            | Deed::OpenLog { log: Log::Journal(name), .. } => Some(name.clone()),
            _ => None,
        };
        let twice = temp.is_some() && self.files.values().any(|open| open.temp == temp);
        assert!(!twice, "{file:?}: {temp:?} is open already");
        let made = matches!(deed, Deed::Create { .. });
        let state = FileState::Opening;
        let open = OpenFile { state, grows, log, asked: false, temp, made, clock: 0 };
        let before = self.files.insert(file, open);
        assert!(before.is_none(), "{file:?} is in use");
        self.files_touched = true;
        self.file_deed(env, file, deed);
    }

    /// The operations on one file are done in order.
    pub(super) fn file_deed(&mut self, env: &mut Env, file: FileId, deed: Deed) {
        let after = self.disk.delay();
        let Some(open) = self.files.get_mut(&file) else { return };
        let at = (env.now + after).max(open.clock + 1);
        open.clock = at;
        self.answer(env, at - env.now, Happening::Deed(deed));
    }

    pub(super) fn commit_file(&mut self, env: &mut Env, file: FileId, name: String) {
        let open = self.known_file(file, "CommitFile");
        let FileState::Growing(inode, part) = &open.state else {
            panic!("CommitFile for {file:?}, which is {:?}", open.state);
        };
        open.state = FileState::Committing { inode: *inode, part: part.clone(), name: name.clone() };
        self.file_deed(env, file, Deed::Commit { file, name });
    }

    pub(super) fn ask_sync(&mut self, env: &mut Env, file: FileId) {
        let open = self.known_file(file, "SyncFile");
        let inode = match open.state {
            FileState::Growing(inode, _) | FileState::Journal(inode) | FileState::Log { inode, .. } => inode,
            ref state => panic!("SyncFile for {file:?}, which is {state:?}"),
        };
        let pages = self.disk.unwritten(inode);
        self.file_deed(env, file, Deed::Sync { file, pages });
    }

    fn finish_sync(&mut self, env: &mut Env, file: FileId, pages: &BTreeSet<u64>) {
        let Some(open) = self.files.get(&file) else { return };
        let (inode, result) = match open.state {
            FileState::Log { inode, .. } => (inode, self.disk.sync_log(inode)),
            FileState::Growing(inode, _) => {
                let synced = self.disk.sync_file(inode, pages);
                (inode, synced.and_then(|()| self.disk.unchanged(inode)))
            }
            FileState::Journal(inode) => (inode, self.disk.sync_file(inode, pages)),
            FileState::Committing { inode, .. } => (inode, self.disk.sync_file(inode, pages)),
            _ => return,
        };
        self.check_claims(env);
        let input = match result {
            Ok(()) => Input::FileSynced { file, meta: self.disk.meta(inode) },
            Err(fault) => Input::FileFailed { file, fault, fatal: false },
        };
        self.input(env, input);
    }

    /// The node lets go of a file.
    pub(super) fn end_file(&mut self, file: FileId, discard: bool) {
        let what = if discard { "DiscardFile" } else { "CloseFile" };
        let open = self.known_file(file, what);
        let (temp, grows, opening) = (open.temp.clone(), open.grows, open.state == FileState::Opening);
        let made = open.made && opening;
        let committing = matches!(open.state, FileState::Committing { .. });
        let fits = if discard { grows || temp.is_some() } else { !grows || (temp.is_some() && !committing) };
        assert!(fits, "{what} for {file:?}, which is {:?}", open.state);
        let Some(temp) = temp else { return self.remove_file(file) };
        let once = temp_name(&temp) == Some(TempName::Once);
        assert!(discard || !once, "CloseFile for {file:?}: nobody would ever open {temp:?} again");
        if discard && opening && !made {
            self.disk.remove(Dir::Parts, &temp);
        } else if discard {
            return self.remove_file(file);
        } else if made && self.rng.flip() {
            // It was made when that was asked for, or never.
            let _ = self.disk.create(&temp, 0);
        }
        self.files_touched = true;
        self.files.remove(&file);
    }

    /// The id is free and anything temporary is gone.
    fn remove_file(&mut self, file: FileId) {
        self.files_touched = true;
        let Some(OpenFile { state, temp, .. }) = self.files.remove(&file) else { return };
        match (state, temp) {
            (FileState::Growing(..) | FileState::Journal(_) | FileState::Committing { .. }, Some(temp)) => {
                self.disk.remove(Dir::Parts, &temp);
            }
            (FileState::Importing { copies }, _) => {
                copies.iter().for_each(|(temp, _)| self.disk.remove(Dir::Shared, temp));
            }
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
            | Deed::OpenPart { file, .. }
            | Deed::Sync { file, .. }
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
            Deed::Open { file, dir, name } => {
                let found = self.disk.open(dir, &name);
                self.was_opened(env, file, found.map(|(inode, _)| (inode, FileState::Reading(inode))));
            }
            Deed::OpenLog { file, log: Log::Journal(name) } => {
                let journal = self.disk.open_journal(&name);
                self.was_opened(env, file, journal.map(|inode| (inode, FileState::Journal(inode))));
            }
            Deed::OpenLog { file, log } => {
                let fresh = log == Log::FreshIndex;
                let log = self.disk.open_log(fresh);
                self.was_opened(env, file, log.map(|inode| (inode, FileState::Log { inode, fresh })));
            }
            Deed::OpenPart { file, name } => {
                let part = self.disk.open_part(&name);
                self.was_opened(env, file, part.map(|inode| (inode, FileState::Growing(inode, name))));
            }
            Deed::Sync { file, pages } => self.finish_sync(env, file, &pages),
            Deed::Create { file, name, reserve } => {
                let room = self.disk.room();
                match self.disk.create(&name, reserve) {
                    Ok(inode) => {
                        self.opened(file, FileState::Growing(inode, name));
                        self.input(env, Input::FileCreated { file, room });
                    }
                    Err(fault) => self.fail_file(env, file, fault),
                }
            }
            Deed::Commit { file, name } => self.committed(env, file, &name),
            Deed::Import { file, source, name } => self.import(env, file, &source, name),
            Deed::Copy { file, name, step } => self.copy_slice(env, file, name, step),
        }
    }

    fn was_opened(&mut self, env: &mut Env, file: FileId, result: Result<(Inode, FileState), Fault>) {
        match result {
            Ok((inode, state)) => {
                self.opened(file, state);
                let meta = self.disk.meta(inode);
                self.input(env, Input::FileOpened { file, meta });
            }
            Err(fault) => self.fail_file(env, file, fault),
        }
    }

    fn opened(&mut self, file: FileId, state: FileState) {
        self.known_file(file, "FileOpened").state = state;
        self.files_touched = true;
    }

    fn committed(&mut self, env: &mut Env, file: FileId, name: &str) {
        let Some(open) = self.files.get_mut(&file) else { return };
        let FileState::Committing { inode, part, .. } = open.state.clone() else { return };
        match self.disk.commit(&part, name) {
            Ok((got, confirmed)) => {
                self.finished(env, name, &got, confirmed);
                self.files.remove(&file);
                self.files_touched = true;
                let meta = self.disk.meta(inode);
                self.input(env, Input::FileCommitted { file, name: got, meta, confirmed });
            }
            Err(fault) => {
                // It stays what it was.
                open.state = FileState::Growing(inode, part);
                self.input(env, Input::FileFailed { file, fault, fatal: false });
            }
        }
    }

    fn import(&mut self, env: &mut Env, file: FileId, source: &std::path::Path, name: String) {
        match self.disk.import(source, &name) {
            Ok(contents) => {
                let temp = format!("{IMPORT_PREFIX}{:016x}", u64::from(file.0.index));
                let mut copies = Vec::new();
                for (copy, content) in contents {
                    let temp = format!("{temp}{}", &copy[name.len()..]);
                    self.disk.put(Dir::Shared, &temp, content);
                    copies.push((temp, copy));
                }
                self.known_file(file, "import").state = FileState::Importing { copies };
                self.copy_slice(env, file, name, 1);
            }
            Err(fault) => self.fail_file(env, file, fault),
        }
    }

    fn copy_slice(&mut self, env: &mut Env, file: FileId, name: String, step: u64) {
        let Some(FileState::Importing { copies }) = self.files.get(&file).map(|f| f.state.clone()) else {
            return;
        };
        let content = |disk: &Disk, temp: &str| disk.content(Dir::Shared, temp).cloned().expect("the copy");
        let size = copies.iter().map(|(temp, _)| content(&self.disk, temp).len()).sum::<u64>();
        if step < IMPORT_STEPS {
            let after = self.disk.delay();
            self.answer(env, after, Happening::Deed(Deed::Copy { file, name, step: step + 1 }));
            let bytes = size / IMPORT_STEPS * step;
            return self.input(env, Input::FileProgress { file, bytes, size });
        }
        if self.disk.is_taken(&name) {
            return self.fail_file(env, file, Fault::Exists);
        }
        for (temp, copy) in &copies {
            let content = content(&self.disk, temp);
            env.truth.add(copy, &content);
            self.disk.remove(Dir::Shared, temp);
            self.disk.put(Dir::Shared, copy, content);
        }
        self.files.remove(&file);
        self.files_touched = true;
        let last = copies.last().and_then(|(_, copy)| copy.strip_prefix(&format!("{name}/")));
        let folder = last.map(|last| ImportedFolder {
            files: copies.len(),
            last: last.to_owned(),
            left_out: LeftOut::default(),
        });
        self.input(env, Input::Imported { file, name, bytes: size, folder });
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
        let end = if truncated { ListEnd::Truncated } else { ListEnd::Done(LeftOut::default()) };
        self.input(env, Input::Listed { request, entries: last, end });
    }

    /// The process died: a commit under way came to any of its steps, temporary files stay for the next start to sweep.
    pub(super) fn crash_files(&mut self, env: &mut Env) {
        self.note_told();
        let faults = std::mem::take(&mut self.disk.faults);
        let committing: Vec<_> = self.files.values().map(|open| open.state.clone()).collect();
        for state in committing {
            let FileState::Committing { inode, part, name } = state else { continue };
            let step = self.rng.below(4);
            let pages = self.disk.unwritten(inode);
            if step == 0 || self.disk.sync_file(inode, &pages).is_err() {
                continue;
            }
            let renamed = match step {
                1 => continue,
                2 => self.disk.rename_part(&part, &name).map(|got| (got, false)),
                _ => self.disk.commit(&part, &name),
            };
            if let Ok((got, _)) = renamed {
                // Nobody was told, so a power cut may take the name back.
                self.finished(env, &name, &got, false);
            }
        }
        self.disk.faults = faults;
    }
}
