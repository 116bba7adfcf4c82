//! When which folder is listed: hints of changes, debounced and coalesced, and now and then everything.

use crate::machine::LeftOut;
use crate::proto::name::check_name;
use crate::time::{Duration, Instant};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

/// A folder is listed once it was quiet for so long …
const QUIET: Duration = Duration::from_secs(1);
/// … or has not been quiet since so long.
const PATIENCE: Duration = Duration::from_secs(5);
/// Folders with changes that are remembered: where more have some, everything is listed.
const FOLDERS_MAX: usize = 256;
/// Names that the disk has and the index has not, and that are remembered.
const MISSED: usize = 64;
/// Between two listings of everything.
const RESCAN: Duration = Duration::from_secs(600);
/// After a listing none follows for so many times as long as it took: a large folder that changes all the time, or ever
/// new folders, take a fifth of the time at most …
const REST: u32 = 4;
/// … unless that would be longer than this.
const REST_MAX: Duration = Duration::from_secs(30);

/// File systems that a listing counts.
const DEVICES_MAX: usize = 64;

/// A listing that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    /// Relative to the shared folder; empty for all of it.
    pub(super) folder: String,
    /// With the folders in it.
    pub(super) deep: bool,
    /// Marks the files that it names.
    pub(super) seen: u32,
    pub(super) stage: Stage,
    pub(super) left_out: LeftOut,
    /// There was no room for some file.
    pub(super) full: bool,
    /// Some file was gone, so that there is room again.
    pub(super) gone: bool,
    /// There is no shared folder.
    pub(super) missing: bool,
    /// The file systems its files lie on; none: more of them than it counts.
    pub(super) devices: Option<Vec<u64>>,
    begun: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Parts of the listing are awaited.
    Naming,
    /// It is over: files of the folder that it did not name are gone. From this name on they are still to be looked for.
    Sweeping(String),
    /// After everything was listed: roots that no file claimed are forgotten, from this slot on. A disk of which no file was
    /// seen may not be there for now; its roots stay.
    Purging(u32),
}

impl Job {
    /// Everything.
    pub(super) fn is_whole(&self) -> bool {
        self.folder.is_empty() && self.deep
    }

    /// Some file lies there.
    pub(super) fn note_device(&mut self, device: u64) {
        let Some(devices) = &mut self.devices else { return };
        if devices.last() == Some(&device) || devices.contains(&device) {
            return;
        }
        if devices.len() < DEVICES_MAX { devices.push(device) } else { self.devices = None }
    }

    /// What the names of its files begin with.
    pub(super) fn prefix(&self) -> String {
        if self.folder.is_empty() { String::new() } else { format!("{}/", self.folder) }
    }
}

#[derive(Clone, Copy, Debug)]
struct Change {
    deep: bool,
    first: Instant,
    last: Instant,
}

#[derive(Debug)]
pub(super) struct Scan {
    /// Folders with changes.
    changed: BTreeMap<String, Change>,
    /// When everything is listed next.
    whole: Instant,
    rescan: Duration,
    /// The same where changes may go unseen.
    rescan_unseen: Duration,
    /// No listing begins before.
    rest: Instant,
    seen: u32,
    /// Listings of everything that ended well.
    wholes: u64,
    /// Changes may go unseen.
    unseen: bool,
    /// Names that the disk has and the index did not, the newest last: a listing since then tells whether it ever will.
    missed: VecDeque<String>,
    pub(super) job: Option<Job>,
}

impl Scan {
    /// `rescan_unseen`: [`crate::config::Limits::rescan_unseen`].
    pub(super) fn new(now: Instant, rescan_unseen: Duration) -> Scan {
        let (changed, rescan) = (BTreeMap::new(), RESCAN);
        Scan {
            changed,
            whole: now,
            rescan,
            rescan_unseen,
            rest: now,
            seen: 0,
            wholes: 0,
            unseen: false,
            missed: VecDeque::new(),
            job: None,
        }
    }

    /// A hint: something changed directly in the folder, or (`deep`) the folder itself did.
    pub(super) fn changed(&mut self, now: Instant, folder: &str, deep: bool) {
        if folder.is_empty() && deep {
            self.whole = self.whole.min(now + QUIET);
            return;
        }
        if !folder.is_empty() && check_name(folder).is_err() {
            return; // nor would any file in it be taken
        }
        if let Some(over) = self.deep_over(folder) {
            over.last = now;
            return;
        }
        if deep {
            self.forget_beneath(folder);
        }
        if let Some(change) = self.changed.get_mut(folder) {
            (change.deep, change.last) = (change.deep || deep, now);
        } else if self.changed.len() >= FOLDERS_MAX {
            self.changed.clear();
            self.whole = self.whole.min(now + QUIET);
        } else {
            self.changed.insert(folder.to_owned(), Change { deep, first: now, last: now });
        }
    }

    /// We ourselves put a whole file there, or the folder itself (`deep`): no need to wait for quiet.
    pub(super) fn changed_by_us(&mut self, now: Instant, folder: &str, deep: bool) {
        self.changed(now, folder, deep);
        if let Some(change) = self.changed.get_mut(folder) {
            (change.first, change.last) = (Instant::ZERO, Instant::ZERO);
            self.rest = now;
        }
    }

    /// The disk has a file that the index has not. Whether a listing is to tell more of it; if not, it told already that this
    /// is a file it does not name.
    pub(super) fn missed(&mut self, now: Instant, name: &str) -> bool {
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        let Some(at) = self.missed.iter().position(|missed| missed == name) else {
            if self.missed.len() == MISSED {
                self.missed.pop_front();
            }
            self.missed.push_back(name.to_owned());
            self.changed_by_us(now, folder, false);
            return true;
        };
        let waits = self.wholes == 0
            || self.job.is_some()
            || self.whole <= now
            || self.changed.contains_key(folder)
            || self.deep_over(folder).is_some();
        if !waits {
            // By the next time somebody asks it may be another file.
            self.missed.remove(at);
        }
        waits
    }

    /// Changes may go unseen from now on.
    pub(super) fn watch_lost(&mut self, now: Instant) {
        // This may be said again and again: the time between two listings of everything holds all the same.
        if !std::mem::replace(&mut self.unseen, true) {
            self.rescan = self.rescan_unseen;
            let early = if self.wholes == 0 { now + QUIET } else { now + self.rescan };
            self.whole = self.whole.min(early);
        }
    }

    /// When the next listing begins; none while one is under way.
    pub(super) fn due(&self) -> Option<Instant> {
        if self.job.is_some() {
            return None;
        }
        let folders = self.changed.values().map(Change::due);
        Some(folders.fold(self.whole, Instant::min).max(self.rest))
    }

    /// Begins the listing that is due, if one is.
    pub(super) fn begin(&mut self, now: Instant) -> Option<&Job> {
        if self.due().is_none_or(|due| due > now) {
            return None;
        }
        let (folder, deep) = if self.whole <= now {
            self.changed.clear();
            (String::new(), true)
        } else {
            let next = self.changed.iter().min_by_key(|(_, change)| change.due())?.0.clone();
            let change = self.changed.remove(&next)?;
            (next, change.deep)
        };
        self.seen = self.seen.wrapping_add(1);
        self.job = Some(Job {
            folder,
            deep,
            seen: self.seen,
            stage: Stage::Naming,
            left_out: LeftOut::default(),
            full: false,
            gone: false,
            missing: false,
            devices: Some(Vec::new()),
            begun: now,
        });
        self.job.as_ref()
    }

    /// The listing under way is over, with all that follows from it. `well`: it could be carried out.
    pub(super) fn end(&mut self, now: Instant, well: bool) -> Option<Job> {
        let job = self.job.take()?;
        self.rest = now + ((now - job.begun) * REST).min(REST_MAX);
        if job.is_whole() {
            self.whole = now + self.rescan;
            self.wholes += u64::from(well);
        }
        if job.full && job.gone {
            self.look_again(now);
        }
        Some(job)
    }

    /// Everything is to be listed soon.
    pub(super) fn look_again(&mut self, now: Instant) {
        self.whole = self.whole.min(now + QUIET);
    }

    /// How often everything was listed.
    pub(super) fn wholes(&self) -> u64 {
        self.wholes
    }

    /// The folder above `folder`, or itself, that is listed with all beneath it anyway.
    fn deep_over(&mut self, folder: &str) -> Option<&mut Change> {
        let ends = folder.match_indices('/').map(|(at, _)| at).chain([folder.len()]);
        let over =
            ends.map(|end| &folder[..end]).find(|over| self.changed.get(*over).is_some_and(|c| c.deep))?;
        self.changed.get_mut(over)
    }

    fn forget_beneath(&mut self, folder: &str) {
        let prefix = format!("{folder}/");
        loop {
            let from = (Bound::Included(prefix.as_str()), Bound::Unbounded);
            let next = self.changed.range::<str, _>(from).next().map(|(name, _)| name);
            match next.filter(|name| name.starts_with(&prefix)).cloned() {
                Some(name) => self.changed.remove(&name),
                None => return,
            };
        }
    }
}

impl Change {
    fn due(&self) -> Instant {
        (self.last + QUIET).min(self.first + PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1000)
    }

    /// A scan whose first listing of everything is over.
    fn settled() -> Scan {
        let mut scan = Scan::new(at(0), Duration::from_secs(60));
        assert!(scan.begin(at(0)).is_some_and(Job::is_whole));
        assert!(scan.end(at(0), true).is_some());
        scan
    }

    /// The listings that begin up to `until`, each over at once: when, which folder, deep or not.
    fn run(scan: &mut Scan, until: Instant) -> Vec<(Instant, String, bool)> {
        let mut begun = Vec::new();
        while let Some(due) = scan.due().filter(|&due| due <= until) {
            let job = scan.begin(due).cloned().expect("it is due");
            begun.push((due, job.folder, job.deep));
            scan.end(due, true);
        }
        begun
    }

    #[test]
    fn a_folder_is_listed_once_it_is_quiet_or_patience_ends() {
        let mut scan = settled();
        scan.changed(at(1000), "a", false);
        scan.changed(at(1900), "a", false);
        assert_eq!(run(&mut scan, at(60_000)), [(at(2900), "a".into(), false)]);
        (0..100).for_each(|i| scan.changed(at(100_000 + 100 * i), "a", false));
        let begun = run(&mut scan, at(109_900));
        assert_eq!(begun, [(at(105_000), "a".into(), false)]);
    }

    #[test]
    fn a_file_that_no_listing_names_is_not_waited_for() {
        let mut scan = Scan::new(at(0), Duration::from_secs(60));
        assert!(scan.missed(at(0), "a/b") && scan.missed(at(0), "a/b"), "nothing is known yet");
        assert!(scan.begin(at(0)).is_some_and(Job::is_whole));
        assert!(scan.missed(at(1), "a/b"), "it may be named in a moment");
        scan.end(at(1), true);
        assert!(!scan.missed(at(2), "a/b"));
        // It is looked for again.
        assert!(scan.missed(at(3000), "a/b"));
        assert_eq!(run(&mut scan, at(4000)), [(at(3000), "a".into(), false)]);
        assert!(!scan.missed(at(4001), "a/b"));
        (0..1000).for_each(|i| assert!(scan.missed(at(5000), &format!("a/{i}"))));
        assert!(scan.missed.len() <= MISSED);
    }

    #[test]
    fn a_deep_change_covers_those_beneath_it() {
        let mut scan = settled();
        for folder in ["a/b", "a/b/c", "a", "ab", "a/b!"] {
            scan.changed(at(0), folder, false);
        }
        scan.changed(at(0), "a/b", true);
        scan.changed(at(0), "a/b/c/d", true);
        scan.changed(at(0), "a/b", false);
        let begun: Vec<_> = run(&mut scan, at(60_000)).into_iter().map(|(_, f, deep)| (f, deep)).collect();
        let expected = [("a", false), ("a/b", true), ("a/b!", false), ("ab", false)];
        assert_eq!(begun, expected.map(|(folder, deep)| (folder.to_owned(), deep)));
    }

    #[test]
    fn changes_in_too_many_folders_become_one_listing_of_everything() {
        let mut scan = settled();
        (0..10_000).for_each(|i| scan.changed(at(i), &format!("f{i}"), false));
        assert!(scan.changed.len() <= FOLDERS_MAX);
        let begun = run(&mut scan, at(30_000));
        assert!(begun.iter().any(|(_, folder, deep)| folder.is_empty() && *deep), "{begun:?}");
        assert!(begun.len() <= 2 * FOLDERS_MAX);
        for folder in ["../x", "a\u{1b}", ".git", "a//b"] {
            scan.changed(at(31_000), folder, false);
        }
        assert_eq!(run(&mut scan, at(60_000)), []);
    }

    #[test]
    fn everything_is_listed_every_ten_minutes_or_each_minute_where_changes_go_unseen() {
        let mut scan = settled();
        let whole = |s: u64| (at(s * 1000), String::new(), true);
        assert_eq!(run(&mut scan, at(1_900_000)), [600, 1200, 1800].map(whole));
        scan.watch_lost(at(1_900_000));
        (0..50).for_each(|i| scan.watch_lost(at(1_910_000 + i)));
        assert_eq!(run(&mut scan, at(2_030_000)), [1960, 2020].map(whole));
    }

    #[test]
    fn a_box_that_lets_its_disk_sleep_lists_no_more_often_where_changes_go_unseen() {
        let mut scan = Scan::new(at(0), RESCAN);
        assert_eq!(run(&mut scan, at(1000)).len(), 1);
        (1..1200).for_each(|second| scan.watch_lost(at(second * 1000)));
        assert_eq!(
            run(&mut scan, at(1_800_000))
                .iter()
                .map(|(at, ..)| at.as_micros() / 60_000_000)
                .collect::<Vec<_>>(),
            [10, 20, 30]
        );
    }

    #[test]
    fn a_listing_that_took_long_is_followed_by_rest() {
        let mut scan = settled();
        scan.changed(at(0), "a", false);
        assert!(scan.begin(at(1000)).is_some());
        scan.changed(at(1500), "a", false);
        assert_eq!(scan.due(), None, "one at a time");
        scan.end(at(4000), true);
        assert_eq!(scan.due(), Some(at(4000 + 4 * 3000)));
    }
}
