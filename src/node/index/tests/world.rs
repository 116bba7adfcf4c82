//! A small world around an index: a disk, a watcher, two logs, a clock.

use super::super::{Ask, Index, Log};
use crate::config::{CHUNK, Limits};
use crate::machine::{Entry, Fault, LeftOut, ListEnd, Meta};
use crate::time::{Duration, Instant};
use std::collections::{BTreeMap, VecDeque};

#[derive(Clone, Debug)]
pub(super) struct Disk {
    pub(super) bytes: Vec<u8>,
    pub(super) meta: Meta,
    pub(super) fault: Option<Fault>,
}

/// What happens to the disk meanwhile.
type Change = fn(&mut World);

#[derive(Debug)]
enum Reply {
    Listed(Vec<Entry>, ListEnd),
    Opened(Meta),
    Read(u64, Vec<u8>, Meta),
    Failed(Fault, bool),
    LogOpened(Log),
    LogRead(Log, u64, Vec<u8>, Meta),
    LogFailed(Log, Fault, bool),
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) index: Index,
    pub(super) files: BTreeMap<String, Disk>,
    replies: VecDeque<Reply>,
    open: Option<String>,
    pub(super) watched: bool,
    pub(super) log: Option<Vec<u8>>,
    pub(super) fresh: Option<Vec<u8>>,
    /// The log may grow to this length: a longer append stands there in part, and fails.
    pub(super) room: usize,
    pub(super) log_fault: Option<Fault>,
    pub(super) commit_fault: Option<Fault>,
    pub(super) list_fault: Option<Fault>,
    pub(super) left_out: LeftOut,
    /// What a part of a listing takes.
    pub(super) list_cost: Duration,
    /// Entries of a part of a listing.
    pub(super) part: usize,
    /// Done to the disk after so many more reads.
    pub(super) after_reads: Option<(usize, Change)>,
    inodes: u64,
    /// What was asked for: when, and what.
    pub(super) reads: Vec<(Instant, String, u64, usize)>,
    pub(super) opens: Vec<String>,
    pub(super) lists: Vec<(Instant, String, bool)>,
    pub(super) appended: usize,
    pub(super) replaced: usize,
}

pub(super) fn limits() -> Limits {
    Limits { run_chunks: 4, ..Limits::desktop() }
}

pub(super) const SLICE: usize = 4 * CHUNK;

impl World {
    pub(super) fn new() -> World {
        World::with(&limits())
    }

    pub(super) fn with(limits: &Limits) -> World {
        World {
            now: Instant::ZERO,
            index: Index::new(limits),
            files: BTreeMap::new(),
            replies: VecDeque::new(),
            open: None,
            watched: false,
            log: None,
            fresh: None,
            room: usize::MAX,
            log_fault: None,
            commit_fault: None,
            list_fault: None,
            left_out: LeftOut::default(),
            list_cost: Duration::ZERO,
            part: 256,
            after_reads: None,
            inodes: 0,
            reads: Vec::new(),
            opens: Vec::new(),
            lists: Vec::new(),
            appended: 0,
            replaced: 0,
        }
    }

    /// Another process on the same disk and log.
    pub(super) fn restart(&self) -> World {
        self.restart_with(|_| {})
    }

    pub(super) fn restart_with(&self, change: impl FnOnce(&mut World)) -> World {
        let (files, log, inodes) = (self.files.clone(), self.log.clone(), self.inodes);
        let mut world = World { files, log, inodes, ..World::new() };
        change(&mut world);
        world.start();
        world
    }

    pub(super) fn start(&mut self) {
        self.index.start(self.now);
        self.run(Duration::from_millis(500));
    }

    /// A new file, or a new content of one. Each has another time.
    pub(super) fn put(&mut self, name: &str, bytes: &[u8]) {
        self.inodes += 1;
        let mtime = self.now.as_micros() as i64 * 1000 + self.inodes as i64;
        let inode = self.files.get(name).map_or(self.inodes, |file| file.meta.inode);
        let born = u32::try_from(inode).expect("few");
        let meta = Meta { size: bytes.len() as u64, mtime, ctime: mtime, marks: 1, born, device: 7, inode };
        self.files.insert(name.to_owned(), Disk { bytes: bytes.to_vec(), meta, fault: None });
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) {
        let file = self.files.remove(from).expect("a file");
        self.files.insert(to.to_owned(), file);
    }

    /// Tells a change of the folder.
    pub(super) fn hint(&mut self, folder: &str, deep: bool) {
        self.index.changed(self.now, folder, deep);
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        let mut idle = 0;
        loop {
            self.drain();
            if let Some(reply) = self.replies.pop_front() {
                idle = 0;
                self.now += Duration::from_micros(20);
                if matches!(reply, Reply::Listed(..)) {
                    self.now += self.list_cost;
                }
                self.feed(reply);
                continue;
            }
            match self.index.poll_timeout() {
                Some((due, _)) if due <= until => {
                    // A deadline that nothing comes of would spin for ever.
                    idle = if due > self.now { 0 } else { idle + 1 };
                    assert!(idle < 1000, "spins at {due}: {:?}", self.index.poll_timeout());
                    self.now = self.now.max(due);
                    self.index.timeout(self.now);
                }
                _ => break,
            }
        }
        self.now = self.now.max(until);
        self.index.table.check();
    }

    /// Everything asked for, for tests that answer themselves.
    fn drain(&mut self) {
        while let Some(ask) = self.index.poll_output() {
            match ask {
                Ask::Watch => self.watched = true,
                Ask::List { folder, deep, max } => self.list(&folder, deep, max),
                Ask::Open { name } => {
                    assert!(self.open.is_none(), "one file at a time");
                    self.opens.push(name.clone());
                    let reply = match self.files.get(&name) {
                        None => Reply::Failed(Fault::NotFound, true),
                        Some(Disk { fault: Some(fault), .. }) => Reply::Failed(*fault, true),
                        Some(file) => {
                            self.open = Some(name);
                            Reply::Opened(file.meta)
                        }
                    };
                    self.replies.push_back(reply);
                }
                Ask::Read { offset, len } => self.read(offset, len),
                Ask::Close => {
                    self.open = None;
                    self.replies
                        .retain(|r| !matches!(r, Reply::Opened(..) | Reply::Read(..) | Reply::Failed(..)));
                }
                other => self.log_ask(other),
            }
        }
    }

    fn list(&mut self, folder: &str, deep: bool, max: usize) {
        self.lists.push((self.now, folder.to_owned(), deep));
        if let Some(fault) = self.list_fault {
            return self.replies.push_back(Reply::Listed(Vec::new(), ListEnd::Failed(fault)));
        }
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let inside =
            |name: &&String| name.strip_prefix(&prefix).is_some_and(|rest| deep || !rest.contains('/'));
        let all: Vec<Entry> = self
            .files
            .iter()
            .filter(|(name, _)| inside(name))
            .take(max + 1)
            .map(|(name, file)| Entry { name: name.clone(), meta: file.meta })
            .collect();
        if all.is_empty() && !folder.is_empty() {
            return self.replies.push_back(Reply::Listed(all, ListEnd::Failed(Fault::NotFound)));
        }
        let truncated = all.len() > max;
        for part in all[..all.len().min(max)].chunks(self.part) {
            self.replies.push_back(Reply::Listed(part.to_vec(), ListEnd::More));
        }
        let end = if truncated { ListEnd::Truncated } else { ListEnd::Done(self.left_out.clone()) };
        self.replies.push_back(Reply::Listed(Vec::new(), end));
    }

    fn read(&mut self, offset: u64, len: usize) {
        let name = self.open.clone().expect("an open file");
        assert!(len > 0 && len <= SLICE);
        self.reads.push((self.now, name.clone(), offset, len));
        match &mut self.after_reads {
            Some((0, change)) => {
                let change = *change;
                self.after_reads = None;
                change(self);
            }
            Some((n, _)) => *n -= 1,
            None => {}
        }
        let reply = match self.files.get(&name) {
            Some(Disk { fault: Some(fault), .. }) => Reply::Failed(*fault, false),
            Some(file) => Reply::Read(offset, cut(&file.bytes, offset, len), file.meta),
            // Removed while open: it is read on.
            None => Reply::Read(offset, Vec::new(), Meta::default()),
        };
        self.replies.push_back(reply);
    }

    fn log_ask(&mut self, ask: Ask) {
        match ask {
            Ask::OpenLog { log } => {
                if let Some(fault) = self.log_fault {
                    return self.replies.push_back(Reply::LogFailed(log, fault, true));
                }
                match log {
                    Log::Kept => drop(self.log.get_or_insert_default()),
                    Log::Fresh => self.fresh = Some(Vec::new()),
                }
                self.replies.push_back(Reply::LogOpened(log));
            }
            Ask::ReadLog { log, offset, len } => {
                assert!(len > 0 && len <= SLICE);
                let bytes = self.log_of(log);
                let meta = Meta { size: bytes.len() as u64, ..Meta::default() };
                let reply = Reply::LogRead(log, offset, cut(bytes, offset, len), meta);
                self.replies.push_back(reply);
            }
            Ask::AppendLog { log, bytes } => {
                self.appended += 1;
                let room = self.room;
                let to = self.log_of(log);
                let fits = bytes.len().min(room.saturating_sub(to.len()));
                to.extend_from_slice(&bytes[..fits]);
                if fits < bytes.len() {
                    self.replies.push_back(Reply::LogFailed(log, Fault::NoSpace, false));
                }
            }
            Ask::TruncateLog { log, len } => self.log_of(log).truncate(len as usize),
            Ask::CommitLog => {
                if let Some(fault) = self.commit_fault {
                    self.replies.push_back(Reply::LogFailed(Log::Fresh, fault, false));
                }
            }
            Ask::ReplaceLog => {
                self.replaced += 1;
                self.log = self.fresh.take();
            }
            Ask::CloseLog { log: Log::Fresh } => self.fresh = None,
            other => panic!("{other:?}"),
        }
    }

    fn log_of(&mut self, log: Log) -> &mut Vec<u8> {
        match log {
            Log::Kept => self.log.as_mut().expect("an open log"),
            Log::Fresh => self.fresh.as_mut().expect("an open log"),
        }
    }

    fn feed(&mut self, reply: Reply) {
        let (now, index) = (self.now, &mut self.index);
        match reply {
            Reply::Listed(entries, end) => index.listed(now, &entries, &end),
            Reply::Opened(meta) => index.opened(now, meta),
            Reply::Read(offset, bytes, meta) => index.read(now, offset, &bytes, meta),
            Reply::Failed(fault, fatal) => {
                if fatal {
                    self.open = None;
                }
                index.failed(now, fault, fatal);
            }
            Reply::LogOpened(log) => index.log_opened(now, log),
            Reply::LogRead(log, offset, bytes, meta) => index.log_read(now, log, offset, &bytes, meta),
            Reply::LogFailed(log, fault, fatal) => index.log_failed(now, log, fault, fatal),
        }
    }

    /// Bytes of shared files that were read.
    pub(super) fn bytes_read(&self) -> usize {
        self.reads.iter().map(|(_, _, _, len)| len).sum()
    }

    /// Whether the index says of each file on the disk what is so, and of no other.
    #[track_caller]
    pub(super) fn assert_right(&self) {
        let names: Vec<&str> = self.index.page(None, usize::MAX).map(|file| file.name).collect();
        assert_eq!(names, self.files.keys().map(String::as_str).collect::<Vec<_>>());
        for (name, file) in &self.files {
            let view = self.index.get(name).expect(name);
            assert_eq!((view.meta, view.name), (file.meta, name.as_str()));
            let root = crate::proto::content::Root::from(blake3::hash(&file.bytes));
            assert_eq!(view.root, Some(root), "{name}");
            assert_eq!(self.index.view(view.no).as_ref(), Some(&view));
            assert_eq!(self.index.by_root(&root).expect("it is there").root, Some(root));
        }
        assert_eq!(self.index.progress().hashed_files, self.files.len());
    }

    /// Whether the lists of each file with some stand where the index says.
    pub(super) fn assert_lists(&self) {
        use crate::proto::content::{FileHasher, Span, list_len};
        for (name, file) in &self.files {
            let mut hasher = FileHasher::new();
            hasher.update(&file.bytes);
            let count = list_len(Span::Piece, file.meta.size) as u32;
            let lists = self.index.get(name).and_then(|view| view.lists).unwrap_or_else(|| panic!("{name}"));
            let Some(range) = lists.values(Span::Piece, 0, count) else { continue };
            let log = self.log.as_ref().expect("a log");
            let bytes = &log[range.start as usize..range.end as usize];
            assert_eq!(bytes, hasher.finish().values.as_flattened(), "{name}");
        }
    }
}

fn cut(bytes: &[u8], offset: u64, len: usize) -> Vec<u8> {
    let start = bytes.len().min(offset as usize);
    bytes[start..bytes.len().min(start + len)].to_vec()
}
