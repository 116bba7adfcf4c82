//! Reading files for the node itself, and its log.

use super::files::{Deed, FileState};
use super::{Happening, Node};
use crate::disk::Inode;
use crate::env::Env;
use distrishare::config::{CHUNK, Limits};
use distrishare::machine::{Fault, FileId, Input, Log, Output};

impl FileState {
    /// What can be read.
    pub(super) fn readable(&self) -> Option<Inode> {
        match self {
            FileState::Reading(inode)
            | FileState::Log { inode, .. }
            | FileState::Growing(inode, _)
            | FileState::Committing { inode, .. }
            | FileState::Journal(inode) => Some(*inode),
            _ => None,
        }
    }
}

impl Node {
    pub(super) fn ask_read(&mut self, env: &mut Env, file: FileId, offset: u64, len: usize) {
        assert!(len > 0, "ReadFile of nothing of {file:?}");
        let run = self.limit(|limits| limits.run_chunks) * CHUNK;
        let open = self.known_file(file, "ReadFile");
        assert!(open.state.readable().is_some(), "ReadFile for {file:?}, which is {:?}", open.state);
        assert!(!open.asked, "ReadFile for {file:?}, which is being read already");
        open.asked = true;
        self.file_deed(env, file, Deed::Read { file, offset, len: len.min(run) });
    }

    pub(super) fn finish_read(&mut self, env: &mut Env, file: FileId, offset: u64, len: usize) {
        let Some(open) = self.files.get_mut(&file) else { return };
        open.asked = false;
        let Some(inode) = open.state.readable() else { return };
        match self.disk.read_all(inode, offset, len) {
            Ok(bytes) => {
                let meta = self.disk.meta(inode);
                self.input(env, Input::FileRead { file, offset, bytes: &bytes, meta });
            }
            Err(fault) => self.input(env, Input::FileFailed { file, fault, fatal: false }),
        }
    }

    pub(super) fn log_output(&mut self, env: &mut Env, output: Output) {
        match output {
            Output::OpenLog { file, log } => {
                let twice = log == Log::Index && self.files.values().any(|open| open.log);
                assert!(!twice, "OpenLog for {file:?}: the log is open already");
                self.ask_file(env, file, Deed::OpenLog { file, log });
            }
            Output::AppendLog { file, bytes } => {
                assert!(!bytes.is_empty(), "AppendLog of nothing to {file:?}");
                self.rules.iter().for_each(|rules| rules.keeps(&bytes));
                let (inode, _) = self.known_log(file, "AppendLog");
                let result = self.disk.append_log(inode, &bytes);
                self.check_claims(env);
                self.log_failed(env, file, result);
            }
            Output::TruncateLog { file, len } => {
                let (inode, _) = self.known_log(file, "TruncateLog");
                let size = self.disk.len(inode);
                assert!(len <= size, "TruncateLog of {file:?} to {len} bytes, which has {size}");
                let result = self.disk.truncate_log(inode, len);
                self.log_failed(env, file, result);
            }
            Output::CommitLog { file } => {
                let (inode, fresh) = self.known_log(file, "CommitLog");
                assert!(fresh, "CommitLog for {file:?}, which is not fresh");
                let result = self.disk.commit_log(inode);
                if result.is_ok() {
                    let open = self.known_file(file, "CommitLog");
                    (open.state, open.log) = (FileState::Log { inode, fresh: false }, true);
                    let after = self.disk.delay();
                    self.answer(env, after, Happening::Deed(Deed::SettleLog));
                }
                self.log_failed(env, file, result);
            }
            other => unreachable!("{other:?} has its own arm"),
        }
    }

    fn known_log(&mut self, file: FileId, what: &str) -> (Inode, bool) {
        match self.known_file(file, what).state {
            FileState::Log { inode, fresh } => (inode, fresh),
            FileState::Journal(inode) => (inode, false),
            ref state => panic!("{what} for {file:?}, which is {state:?}"),
        }
    }

    fn log_failed(&mut self, env: &mut Env, file: FileId, result: Result<(), Fault>) {
        if let Err(fault) = result {
            self.soon(env, Happening::Input(Input::FileFailed { file, fault, fatal: false }));
        }
    }

    /// One of the node's own limits, or the usual one if it has no configuration.
    pub(super) fn limit(&self, which: impl Fn(&Limits) -> usize) -> usize {
        self.rules.as_ref().map_or_else(|| which(&Limits::desktop()), |rules| which(&rules.limits))
    }
}
