//! `ListFiles`: a walk over one of the folders, one slice per turn of the loop.

use super::Reactor;
use super::walk::{PART, Walk};
use crate::machine::{Dir, Input, ListEnd, RequestId};

/// A listing that is under way, or waits for those before it.
#[derive(Debug)]
pub(super) struct Listing {
    request: RequestId,
    dir: Dir,
    walk: Walk,
}

impl Listing {
    pub(super) fn new(request: RequestId, dir: Dir, folder: &str, deep: bool, max: usize) -> Listing {
        Listing { request, dir, walk: Walk::new(folder, deep, max) }
    }
}

impl Reactor {
    /// One slice of the first listing. One after another, since each holds the folders it is in open. None before all
    /// folders are watched that were there: what changes after a listing is told.
    pub(super) fn listing_slice(&mut self) {
        if self.watches.values().any(|watch| watch.is_settling()) {
            return;
        }
        let Some(mut listing) = self.listings.pop_front() else { return };
        let (request, walk) = (listing.request, &mut listing.walk);
        let ended = self.dir(listing.dir).and_then(|root| walk.slice(root));
        let end = match ended {
            Ok(false) => {
                if walk.entries.len() >= PART {
                    let entries = std::mem::take(&mut walk.entries);
                    self.answer(Input::Listed { request, entries, end: ListEnd::More });
                }
                return self.listings.push_front(listing);
            }
            Ok(true) if walk.truncated => ListEnd::Truncated,
            Ok(true) => ListEnd::Done(std::mem::take(&mut walk.left_out)),
            Err(fault) => ListEnd::Failed(fault),
        };
        self.answer(Input::Listed { request, entries: listing.walk.entries, end });
    }
}

#[cfg(test)]
mod tests {
    use super::super::Answer;
    use super::super::walk::SLICE;
    use super::*;
    use crate::config::{FileFolders, Folders, Limits};
    use crate::machine::LeftOut;
    use std::fs;

    #[test]
    fn many_listings_hold_the_folders_of_one_and_all_are_answered() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let at = |path: &str| temp.path().join(path);
        fs::create_dir_all(at("shared/a/b/c")).expect("folders");
        (0..2 * SLICE).for_each(|i| fs::write(at(&format!("shared/a/b/c/{i}")), b"x").expect("a file"));
        let files = FileFolders::new(at("shared"), at("downloads"));
        let folders = Folders { files: Some(files), state: at("state") };
        let mut reactor = Reactor::new(&folders, &Limits::desktop()).expect("a reactor");
        let listing = |i| Listing::new(RequestId(i), Dir::Shared, "", true, 100_000);
        reactor.listings.extend((0..20).map(listing));
        while !reactor.listings.is_empty() {
            reactor.listing_slice();
            assert!(reactor.listings.iter().filter(|listing| listing.walk.is_inside()).count() <= 1);
        }
        let (mut named, mut done) = (0, Vec::new());
        for answer in reactor.answers {
            let Answer::Input(Input::Listed { request, entries, end }) = answer else { continue };
            named += entries.len();
            if end == ListEnd::Done(LeftOut::default()) {
                done.push(request.0);
            }
        }
        assert_eq!((named, done), (20 * 2 * SLICE, (0..20).collect()));
    }
}
