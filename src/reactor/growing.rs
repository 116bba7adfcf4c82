//! Temporary files that grow in the parts folder, and how their bytes get to the disk in time.

use super::beneath::{fault, is_plain, is_regular, is_under, meta_of};
use super::clock::Clock;
use super::files::{create_temporary, lock, remove_temporary, store_all, sync_named};
use super::place::{Placed, Taken, Temporary, place};
use crate::config::PART_PREFIX;
use crate::machine::{Fault, Meta};
use crate::time::Duration;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Advice, FallocateFlags, Mode, OFlags, StatVfs};
use rustix::fs::{fadvise, fallocate, fstat, fstatvfs, ftruncate, openat};
use rustix::io::{Errno, retry_on_intr};
use std::num::NonZeroU64;
use std::ops::Range;

/// Bytes stored after which the kernel is asked to begin writing them out, so that the next sync is short.
const WRITE_BACK: u64 = 8 << 20;
/// Most stretches they may lie in.
const STRETCHES: usize = 64;
/// Blocks are set aside in steps of so many bytes, as long as all of them took no longer than this. Where blocks are
/// entries of a tree (ext4, xfs) gigabytes take a few milliseconds; where they are memory (tmpfs: 0.15 s a GiB) the loop must
/// not wait for more than some, and the rest comes as it is written.
const STEP: u64 = 64 << 20;
const STEPS_TIME: Duration = Duration::from_millis(20);

/// A temporary file in the parts folder.
#[derive(Debug)]
pub(super) struct Growing {
    file: OwnedFd,
    name: String,
    /// Bytes it has, as far as it is we who write in it.
    len: u64,
    /// The disk has confirmed its name.
    named: bool,
    write_back: WriteBack,
}

impl Growing {
    fn new(file: OwnedFd, name: &str, len: u64) -> Growing {
        Growing { file, name: name.to_owned(), len, named: false, write_back: WriteBack::default() }
    }

    /// Gives the room there was on its disk, too.
    pub(super) fn create(
        dir: BorrowedFd<'_>,
        name: &str,
        reserve: u64,
        keep_free: Option<u64>,
        clock: &Clock,
    ) -> Result<(Growing, u64), Fault> {
        let file = create_temporary(dir, name)?;
        let space = Space::beside(&file, keep_free);
        let len = if reserve <= space.room { reserve } else { 0 };
        if len > 0 {
            if let Err(errno) = set_aside(&file, reserve, reserve <= space.free / 4, clock) {
                // hostile: 157. What it got it would keep.
                remove_temporary(&file, dir, name);
                return Err(fault(errno));
            }
        }
        Ok((Growing::new(file, name, len), space.room))
    }

    /// One that is there already, ours alone, and that nobody else works in.
    pub(super) fn open(dir: BorrowedFd<'_>, name: &str) -> Result<(Growing, Meta), Fault> {
        if !is_plain(name) {
            return Err(Fault::NotFound);
        }
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = openat(dir, name, flags, Mode::empty()).map_err(fault)?;
        let stat = fstat(&file).map_err(fault)?;
        if !is_regular(&stat) || stat.st_nlink != 1 {
            return Err(Fault::NotRegular);
        }
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(Fault::Denied);
        }
        lock(&file)?;
        let meta = meta_of(&stat);
        Ok((Growing::new(file, name, meta.size), meta))
    }

    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    pub(super) fn into_file(self) -> OwnedFd {
        self.file
    }

    /// Of no use to a later life.
    pub(super) fn is_v1(&self) -> bool {
        self.name.starts_with(PART_PREFIX)
    }

    /// What the file is; [`Fault::Changed`] where its length is not what we left. Asked for before each write: a file that
    /// was cut would be as long as before after one behind its end, with a hole in it that nobody looks for.
    fn unchanged(&self) -> Result<Meta, Fault> {
        let meta = meta_of(&fstat(&self.file).map_err(fault)?);
        if meta.size == self.len { Ok(meta) } else { Err(Fault::Changed) }
    }

    /// Stores all of `bytes`, or says how many it could and why not more.
    pub(super) fn store(&mut self, bytes: &[u8], offset: u64) -> (usize, Option<Fault>) {
        // hostile: 167
        if let Err(fault) = self.unchanged() {
            return (0, Some(fault));
        }
        let stored = store_all(&self.file, bytes, offset);
        if stored.0 > 0 {
            self.len = self.len.max(offset + stored.0 as u64);
        }
        self.write_back.stored(&self.file, offset..offset + stored.0 as u64);
        stored
    }

    pub(super) fn sync(&mut self, dir: BorrowedFd<'_>) -> Result<Meta, Fault> {
        self.write_back = WriteBack::default();
        sync_named(&self.file, dir, &self.name, &mut self.named)?;
        self.unchanged()
    }

    /// Where it fails the file stays what it was.
    pub(super) fn commit(
        &self,
        parts: BorrowedFd<'_>,
        downloads: BorrowedFd<'_>,
        name: &str,
    ) -> Result<(Placed, Meta), Fault> {
        // hostile: 168. The rename goes by name: somebody may have removed the file, or put another one there.
        if !is_under(parts, &self.name, &self.file) {
            return Err(Fault::NotFound);
        }
        let meta = self.unchanged()?;
        let temporary = Temporary { file: &self.file, dir: parts, name: &self.name, mode: 0o666 };
        let placed = place(temporary, downloads, name, Taken::Number)?;
        Ok((placed, meta))
    }

    pub(super) fn remove(&self, parts: BorrowedFd<'_>) {
        remove_temporary(&self.file, parts, &self.name);
    }
}

/// Gives `file` the length, and blocks for it if wanted. On failure it may keep some.
fn set_aside(file: &OwnedFd, len: u64, blocks: bool, clock: &Clock) -> Result<(), Errno> {
    retry_on_intr(|| ftruncate(file, len))?;
    if !blocks {
        return Ok(());
    }
    let begun = clock.now();
    let allocate = |from, step| fallocate(file, FallocateFlags::empty(), from, step);
    in_steps(len, allocate, || clock.now().since(begun) >= STEPS_TIME)
}

/// Until there is `hurry`, or the file system turns out not to set blocks aside; that the disk has not so many is an error.
fn in_steps(
    len: u64,
    mut allocate: impl FnMut(u64, u64) -> Result<(), Errno>,
    hurry: impl Fn() -> bool,
) -> Result<(), Errno> {
    let mut done = 0;
    while done < len && !hurry() {
        let step = STEP.min(len - done);
        match allocate(done, step) {
            Ok(()) => done += step,
            Err(Errno::INTR) => {}
            Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::IO | Errno::ROFS)) => {
                return Err(errno);
            }
            // hostile: 171
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}

/// Bytes on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Space {
    /// That we may use.
    pub(super) free: u64,
    /// Of those, what is above its reserve.
    pub(super) room: u64,
}

impl Space {
    /// `keep_free`: as in [`crate::config::FileFolders`].
    pub(super) fn beside(file: &OwnedFd, keep_free: Option<u64>) -> Space {
        // A file system that cannot say: its own error comes when it is full.
        fstatvfs(file).map_or(Space { free: 0, room: u64::MAX }, |disk| Space::of(&disk, keep_free))
    }

    fn of(disk: &StatVfs, keep_free: Option<u64>) -> Space {
        if disk.f_blocks == 0 {
            return Space { free: 0, room: u64::MAX };
        }
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let share = (disk.f_blocks / 50).saturating_mul(disk.f_frsize);
        let reserve = keep_free.unwrap_or(share.clamp(16 << 20, 1 << 30));
        Space { free, room: free.saturating_sub(reserve) }
    }
}

/// What was stored since the kernel was last asked to begin writing out: a few stretches, since sources give in order.
#[derive(Debug, Default)]
pub(super) struct WriteBack {
    stretches: Vec<Range<u64>>,
    bytes: u64,
}

impl WriteBack {
    pub(super) fn stored(&mut self, file: &OwnedFd, range: Range<u64>) {
        for Range { start, end } in self.due(range) {
            // DONTNEED begins the write-out of dirty pages and drops only those that are clean by then. Measured (ext4,
            // 1 GiB, whole and in shuffled pieces of four sources): the last sync takes 0.03 s where it took 0.5 s.
            let _ = fadvise(file, start, NonZeroU64::new(end - start), Advice::DontNeed);
        }
    }

    /// The stretches to begin with now; mostly none.
    fn due(&mut self, range: Range<u64>) -> Vec<Range<u64>> {
        if range.is_empty() {
            return Vec::new();
        }
        self.bytes += range.end - range.start;
        match self.stretches.iter_mut().find(|s| s.end == range.start || s.start == range.end) {
            Some(s) if s.end == range.start => s.end = range.end,
            Some(s) => s.start = range.start,
            None => self.stretches.push(range),
        }
        if self.bytes < WRITE_BACK && self.stretches.len() < STRETCHES {
            return Vec::new();
        }
        std::mem::take(self).stretches
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;

    #[test]
    fn blocks_are_set_aside_in_steps_until_there_is_hurry_or_none_to_be_had() {
        // hostile: 157, 171
        let asked = Cell::new(0);
        let all = |from, step| {
            assert_eq!(from, asked.get());
            asked.set(from + step);
            Ok(())
        };
        let len = 3 * STEP + 5;
        assert_eq!((in_steps(len, all, || false), asked.replace(0)), (Ok(()), len));
        assert_eq!((in_steps(len, all, || asked.get() > STEP), asked.replace(0)), (Ok(()), 2 * STEP));
        for errno in [Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL] {
            assert_eq!(in_steps(len, |_, _| Err(errno), || false), Ok(()), "works without");
        }
        for errno in [Errno::NOSPC, Errno::DQUOT, Errno::FBIG, Errno::IO] {
            assert_eq!(in_steps(len, |_, _| Err(errno), || false), Err(errno));
        }
        let mut calls = 0;
        let interrupted = |_, _| {
            calls += 1;
            if calls % 2 == 0 { Ok(()) } else { Err(Errno::INTR) }
        };
        assert_eq!((in_steps(len, interrupted, || false), calls), (Ok(()), 8));
    }

    #[test]
    fn the_reserve_of_a_disk_is_not_room_and_what_cannot_say_has_all() {
        // hostile: 172
        let temp = tempfile::tempfile().expect("a file");
        let mut disk = fstatvfs(OwnedFd::from(temp)).expect("a disk");
        (disk.f_frsize, disk.f_blocks, disk.f_bavail) = (4096, 1 << 18, 1 << 17);
        let reserve = (1_u64 << 18) / 50 * 4096;
        let space = |disk: &StatVfs| Space::of(disk, None);
        assert_eq!(space(&disk), Space { free: 1 << 29, room: (1 << 29) - reserve });
        disk.f_bavail = 100;
        assert_eq!(space(&disk), Space { free: 409_600, room: 0 });
        (disk.f_blocks, disk.f_bavail) = (1 << 14, 1 << 14);
        assert_eq!(space(&disk).room, (64 << 20) - (16 << 20), "16 MiB of a small one");
        // 4 TB with 40 GB free.
        (disk.f_blocks, disk.f_bavail) = (1_000_000_000, 10_000_000);
        assert_eq!(space(&disk).room, 40_960_000_000 - (1 << 30), "1 GiB of a large one");
        let kept = [0, 40_000_000_000, u64::MAX].map(|kept| Space::of(&disk, Some(kept)).room);
        assert_eq!(kept, [40_960_000_000, 960_000_000, 0], "as the operator says");
        disk.f_blocks = 0;
        assert_eq!([space(&disk).room, Space::of(&disk, Some(1 << 40)).room], [u64::MAX; 2]);
    }

    #[test]
    fn that_somebody_changes_its_length_is_seen_whatever_is_done_next() {
        // hostile: 167
        let temp = tempfile::tempdir().expect("a temporary folder");
        let dir = OwnedFd::from(std::fs::File::open(temp.path()).expect("opens"));
        let path = temp.path().join("p");
        for len in [50, 100, 102] {
            let made = Growing::create(dir.as_fd(), "p", 100, None, &Clock::new());
            let (mut growing, _) = made.expect("made");
            assert_eq!(growing.store(b"x", 10), (1, None));
            assert_eq!(growing.sync(dir.as_fd()).map(|meta| meta.size), Ok(100));
            // One that is filled from its beginning grows by what is stored.
            assert_eq!(growing.store(b"xy", 99), (2, None));
            assert_eq!(growing.unchanged().map(|meta| meta.size), Ok(101));
            let other = std::fs::OpenOptions::new().write(true).open(&path).expect("opens");
            other.set_len(len).expect("set");
            assert_eq!(growing.store(b"x", 100), (0, Some(Fault::Changed)));
            assert_eq!(growing.sync(dir.as_fd()), Err(Fault::Changed));
            // Who opens it anew sees what it is.
            drop(growing);
            let (mut growing, meta) = Growing::open(dir.as_fd(), "p").expect("opens");
            assert_eq!((meta.size, growing.store(b"x", 0)), (len, (1, None)));
            std::fs::remove_file(&path).expect("removed");
        }
    }

    proptest! {
        /// Everything is written out once, in stretches that are whole, and soon.
        #[test]
        fn what_is_stored_is_written_out(
            pieces in proptest::collection::vec((0_u64..32, 1_u64..17), 1..400),
        ) {
            const UNIT: u64 = 1 << 16;
            let mut write_back = WriteBack::default();
            let (mut at, mut begun, mut waiting) = ([0; 32], Vec::new(), 0);
            for (source, units) in pieces {
                // Each source stores in order, in a region of its own.
                let start = (source << 32) + at[usize::try_from(source).expect("few")];
                at[usize::try_from(source).expect("few")] += units * UNIT;
                waiting += units * UNIT;
                let due = write_back.due(start..start + units * UNIT);
                if !due.is_empty() {
                    prop_assert_eq!(due.iter().map(|s| s.end - s.start).sum::<u64>(), waiting);
                    waiting = 0;
                }
                begun.extend(due);
                prop_assert!(waiting < WRITE_BACK && write_back.stretches.len() < 33);
            }
            begun.extend(std::mem::take(&mut write_back.stretches));
            begun.sort_by_key(|s| s.start);
            prop_assert!(begun.windows(2).all(|pair| pair[0].end <= pair[1].start));
            let total: u64 = at.iter().sum();
            prop_assert_eq!(begun.iter().map(|s| s.end - s.start).sum::<u64>(), total);
        }
    }

    #[test]
    fn bytes_that_lie_everywhere_do_not_pile_up() {
        let mut write_back = WriteBack::default();
        let begun: usize = (0..1000).map(|i| write_back.due(i * 10_000..i * 10_000 + 1).len()).sum();
        assert_eq!(begun + write_back.stretches.len(), 1000);
        assert!(write_back.stretches.len() < STRETCHES);
        assert_eq!(write_back.due(5..5), []);
    }
}
