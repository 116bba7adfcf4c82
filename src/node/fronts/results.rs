//! What `get N` means: what searches found and what `browse` listed, by operation, within one bound of memory.

use crate::node::hit::Hit;
use crate::node::ids::{FrontId, Op};
use crate::proto::name::is_beneath;
use crate::proto::v2::message::FileInfo;
use std::collections::BTreeMap;
use std::iter;
use std::net::SocketAddr;

/// Rows that were shown with numbers, from 1 on.
#[derive(Debug)]
pub(crate) enum Shown {
    /// Of a search: each from whoever has it.
    Hits(Vec<Hit>),
    /// Of `browse`: all from this node.
    Listing {
        at: SocketAddr,
        files: Vec<FileInfo>,
        /// Rows that there was no memory for; they were shown without a number.
        unnumbered: usize,
    },
}

impl Shown {
    pub(crate) fn len(&self) -> usize {
        match self {
            Shown::Hits(hits) => hits.len(),
            Shown::Listing { files, .. } => files.len(),
        }
    }

    /// Those with these numbers. The error is the first number that there is not.
    pub(crate) fn pick(&self, numbers: &[usize]) -> Result<Shown, usize> {
        Ok(match self {
            Shown::Hits(hits) => Shown::Hits(pick(hits, numbers)?),
            Shown::Listing { at, files, .. } => {
                Shown::Listing { at: *at, files: pick(files, numbers)?, unnumbered: 0 }
            }
        })
    }

    /// The node that was browsed, if it has anything beneath this folder.
    pub(crate) fn lists_beneath(&self, folder: &str) -> Option<SocketAddr> {
        let Shown::Listing { at, files, .. } = self else { return None };
        let prefix = format!("{folder}/");
        files.iter().any(|file| is_beneath(&file.name, &prefix)).then_some(*at)
    }

    fn names(&self) -> Box<dyn Iterator<Item = &String> + '_> {
        match self {
            Shown::Hits(hits) => {
                Box::new(hits.iter().flat_map(|hit| iter::once(&hit.name).chain(&hit.names)))
            }
            Shown::Listing { files, .. } => Box::new(files.iter().map(|file| &file.name)),
        }
    }
}

fn pick<T: Clone>(rows: &[T], numbers: &[usize]) -> Result<Vec<T>, usize> {
    let row = |number: &usize| number.checked_sub(1).and_then(|i| rows.get(i)).cloned().ok_or(*number);
    numbers.iter().map(row).collect()
}

#[derive(Debug)]
struct Kept {
    front: FrontId,
    bytes: usize,
    shown: Shown,
}

/// What was shown lately, by the number of its operation.
#[derive(Debug, Default)]
pub(crate) struct Results {
    kept: BTreeMap<u32, Kept>,
    bytes: usize,
}

impl Results {
    pub(crate) fn get(&self, of: u32) -> Option<&Shown> {
        self.kept.get(&of).map(|kept| &kept.shown)
    }

    /// A search is over. All of it is kept, and the oldest forgotten while that is more than `most` bytes.
    pub(crate) fn found(&mut self, op: Op, hits: Vec<Hit>, most: usize) {
        let bytes = hits.iter().map(Hit::bytes).sum();
        let kept = Kept { front: op.front, bytes, shown: Shown::Hits(hits) };
        self.bytes += bytes;
        self.bytes -= self.kept.insert(op.number, kept).map_or(0, |before| before.bytes);
        self.shrink(op, most);
    }

    /// `browse` shows one more file: its number, or none where the listing alone would have more than `most` bytes.
    pub(crate) fn listed(&mut self, op: Op, at: SocketAddr, file: &FileInfo, most: usize) -> Option<usize> {
        let kept = self.kept.entry(op.number).or_insert_with(|| Kept {
            front: op.front,
            bytes: 0,
            shown: Shown::Listing { at, files: Vec::new(), unnumbered: 0 },
        });
        let Shown::Listing { files, unnumbered, .. } = &mut kept.shown else { return None };
        let bytes = size_of::<FileInfo>() + file.name.len();
        if kept.bytes + bytes > most || *unnumbered > 0 {
            *unnumbered += 1;
            return None;
        }
        files.push(file.clone());
        let number = files.len();
        kept.bytes += bytes;
        self.bytes += bytes;
        self.shrink(op, most);
        Some(number)
    }

    fn shrink(&mut self, op: Op, most: usize) {
        while self.bytes > most {
            let Some(oldest) = self.kept.keys().copied().find(|kept| *kept != op.number) else { return };
            self.bytes -= self.kept.remove(&oldest).map_or(0, |kept| kept.bytes);
        }
    }

    /// All names that this front end was shown and that are kept still.
    pub(crate) fn names(&self, front: FrontId) -> impl Iterator<Item = &String> {
        self.kept.values().filter(move |kept| kept.front == front).flat_map(|kept| kept.shown.names())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 5)), 9000);

    fn op(number: u32) -> Op {
        Op { front: FrontId::Console, number, command: "browse", background: false }
    }

    fn file(name: &str) -> FileInfo {
        FileInfo { name: name.to_owned(), size: 1, mtime: None, root: None }
    }

    fn hit(name: &str) -> Hit {
        Hit {
            name: name.into(),
            names: vec!["b".into()],
            size: None,
            root: None,
            sources: vec![],
            old: vec![],
        }
    }

    fn names(shown: Option<&Shown>) -> Vec<&str> {
        shown.map_or(Vec::new(), |shown| shown.names().map(String::as_str).collect())
    }

    #[test]
    fn rows_are_picked_by_their_numbers_in_the_order_asked() {
        let mut results = Results::default();
        for (name, number) in [("x/a", 1), ("x/b", 2), ("xy", 3)] {
            assert_eq!(results.listed(op(1), AT, &file(name), 10_000), Some(number));
        }
        results.found(op(2), vec![hit("c"), hit("d")], 10_000);
        let listing = results.get(1).unwrap();
        assert_eq!(names(listing.pick(&[3, 1]).ok().as_ref()), ["xy", "x/a"]);
        assert_eq!([&[1, 4][..], &[0, 4]].map(|n| listing.pick(n).unwrap_err()), [4, 0]);
        let hits = results.get(2).unwrap();
        assert_eq!(names(hits.pick(&[2]).ok().as_ref()), ["d", "b"]);
        assert_eq!((hits.len(), hits.pick(&[3]).unwrap_err()), (2, 3));
        let beneath = ["x", "X", "xy", "x/a"].map(|folder| listing.lists_beneath(folder));
        assert_eq!(beneath, [Some(AT), None, None, None]);
        assert_eq!(hits.lists_beneath("c"), None);
        let all = results.names(FrontId::Console).map(String::as_str);
        assert_eq!(all.collect::<Vec<_>>(), ["x/a", "x/b", "xy", "c", "b", "d", "b"]);
    }

    #[test]
    fn a_long_listing_takes_the_place_of_older_results_and_then_has_no_more_numbers() {
        let row = size_of::<FileInfo>() + 3;
        let (mut results, most) = (Results::default(), 10 * row);
        results.found(op(1), vec![hit("c")], most);
        assert!(results.get(1).is_some());
        let numbers: Vec<_> =
            (100..115).map(|n| results.listed(op(2), AT, &file(&n.to_string()), most)).collect();
        assert!(results.get(1).is_none());
        assert_eq!(numbers[..10], (1..=10).map(Some).collect::<Vec<_>>());
        assert_eq!(numbers[10..], [None; 5]);
        // A shorter name would fit; numbers go on without a gap or not at all.
        assert_eq!(results.listed(op(2), AT, &file(""), most + row), None);
        let Some(Shown::Listing { unnumbered: 6, files, .. }) = results.get(2) else {
            panic!("not a listing")
        };
        assert_eq!(files.len(), 10);
        assert_eq!(results.bytes, most);
        results.found(op(3), Vec::new(), most);
        assert_eq!((results.get(2).map(Shown::len), results.get(3).map(Shown::len)), (Some(10), Some(0)));
        results.found(op(4), vec![hit("c")], most);
        assert!(results.get(2).is_none() && results.bytes == hit("c").bytes());
    }
}
