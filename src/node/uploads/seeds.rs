//! What others fetch is shared among those who fetch it: finished downloads that are given on until the process ends, and who
//! wants to hear of which file.

use crate::machine::{ConnId, Meta};
use crate::proto::content::{Root, ValueList, group_of};
use crate::proto::v2::message::Message;
use std::collections::{BTreeMap, VecDeque};

/// Piece numbers in one message.
const PIECES_TOLD: usize = 256;
/// Files that one session follows, and followers of all sessions.
const FOLLOWS_MAX: usize = 64;
const FOLLOWERS_MAX: usize = 4096;

/// A finished download that is given on.
#[derive(Clone, Debug)]
pub(crate) struct Seed {
    pub(crate) root: Root,
    pub(crate) size: u64,
    /// Its name beneath the downloads.
    pub(crate) name: String,
    /// What it was when it was verified.
    pub(crate) meta: Meta,
    pub(crate) list: ValueList,
}

/// Finished downloads, the oldest first: at most so many, which is at least one.
#[derive(Debug)]
pub(crate) struct Seeds {
    seeds: VecDeque<Seed>,
    max: usize,
}

impl Seeds {
    /// None yet.
    pub(crate) fn new(max: usize) -> Seeds {
        Seeds { seeds: VecDeque::new(), max: max.max(1) }
    }

    /// One more, in the place of the same content and of the oldest where there are too many.
    pub(crate) fn add(&mut self, seed: Seed) {
        self.remove(&seed.root);
        while self.seeds.len() >= self.max {
            self.seeds.pop_front();
        }
        self.seeds.push_back(seed);
    }

    /// The one with this content.
    pub(crate) fn get(&self, root: &Root) -> Option<&Seed> {
        self.seeds.iter().find(|seed| seed.root == *root)
    }

    /// It is not what it was, or not there.
    pub(crate) fn remove(&mut self, root: &Root) {
        self.seeds.retain(|seed| seed.root != *root);
    }
}

/// A session that wants to hear of a file: of one group of its pieces.
#[derive(Clone, Copy, Debug)]
struct Follower {
    conn: ConnId,
    number: u32,
    group: u64,
    /// It knows that we have everything.
    told_all: bool,
}

/// Who wants to hear of which file.
#[derive(Debug, Default)]
pub(crate) struct Followers {
    by_root: BTreeMap<Root, Vec<Follower>>,
}

impl Followers {
    /// The session follows this file, in place of another group of it. `all`: it is told that we have everything. False: it
    /// follows too many files, or all sessions do.
    pub(crate) fn add(&mut self, root: Root, conn: ConnId, number: u32, group: u64, all: bool) -> bool {
        // Whoever follows it already moves on to another group.
        if let Some(followers) = self.by_root.get_mut(&root) {
            followers.retain(|follower| follower.conn != conn);
        }
        let everybody: usize = self.by_root.values().map(Vec::len).sum();
        let theirs = self.by_root.values().flatten().filter(|other| other.conn == conn).count();
        let enters = everybody < FOLLOWERS_MAX && theirs < FOLLOWS_MAX;
        if enters {
            let follower = Follower { conn, number, group, told_all: all };
            self.by_root.entry(root).or_default().push(follower);
        } else {
            self.retain(|_| true);
        }
        enters
    }

    /// Who else follows a file, and under which number: the last to come first, since they are the likeliest to be there still.
    pub(crate) fn beside(&self, root: &Root, conn: ConnId) -> impl Iterator<Item = (ConnId, u32)> {
        let all = self.by_root.get(root).into_iter().flatten().rev();
        all.filter(move |other| other.conn != conn).map(|other| (other.conn, other.number))
    }

    /// Whether this session wants to hear of something.
    pub(crate) fn has(&self, conn: ConnId) -> bool {
        self.by_root.values().flatten().any(|follower| follower.conn == conn)
    }

    /// What to tell of pieces that came since: each hears of its group, in messages of a bounded size.
    pub(crate) fn news(&self, root: &Root, fresh: &[u64]) -> Vec<(ConnId, Message)> {
        let mut news = Vec::new();
        for Follower { conn, number, group, .. } in self.by_root.get(root).into_iter().flatten() {
            let pieces: Vec<u64> = fresh.iter().copied().filter(|piece| group_of(*piece) == *group).collect();
            for pieces in pieces.chunks(PIECES_TOLD) {
                let (map, pieces) = (Vec::new(), pieces.to_vec());
                news.push((*conn, Message::Have { id: *number, all: false, map, pieces }));
            }
        }
        news
    }

    /// All of the file is here now: what to tell, to each once.
    pub(crate) fn all_is_here(&mut self, root: &Root) -> Vec<(ConnId, Message)> {
        let all = self.by_root.get_mut(root).into_iter().flatten();
        let fresh = all.filter_map(|follower| {
            let told = std::mem::replace(&mut follower.told_all, true);
            let have = Message::Have { id: follower.number, all: true, map: Vec::new(), pieces: Vec::new() };
            (!told).then_some((follower.conn, have))
        });
        fresh.collect()
    }

    /// A follow is taken back.
    pub(crate) fn cancel(&mut self, conn: ConnId, number: u32) {
        self.retain(|follower| follower.conn != conn || follower.number != number);
    }

    /// The session is over.
    pub(crate) fn gone(&mut self, conn: ConnId) {
        self.retain(|follower| follower.conn != conn);
    }

    fn retain(&mut self, keep: impl Fn(&Follower) -> bool) {
        self.by_root.retain(|_, followers| {
            followers.retain(&keep);
            !followers.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Id;
    use crate::proto::content::GROUP_PIECES;

    fn conn(n: u32) -> ConnId {
        ConnId(Id { index: n, generation: 0 })
    }

    fn root(n: u8) -> Root {
        Root::new([n; 32])
    }

    fn seed(n: u8, name: &str) -> Seed {
        let list = ValueList::new(1, root(n)).unwrap();
        Seed { root: root(n), size: 1, name: name.to_owned(), meta: Meta::default(), list }
    }

    #[test]
    fn the_oldest_seed_makes_room_and_a_content_is_there_once() {
        let mut seeds = Seeds::new(2);
        [seed(1, "a"), seed(2, "b"), seed(1, "c")].into_iter().for_each(|seed| seeds.add(seed));
        let name = |seeds: &Seeds, n| seeds.get(&root(n)).map(|seed| seed.name.clone());
        assert_eq!((name(&seeds, 1), name(&seeds, 2)), (Some("c".to_owned()), Some("b".to_owned())));
        seeds.add(seed(3, "d"));
        assert_eq!((name(&seeds, 2), name(&seeds, 1).is_some()), (None, true), "that came again later");
        seeds.remove(&root(1));
        assert_eq!((name(&seeds, 1), name(&seeds, 3).is_some()), (None, true));
        let mut one = Seeds::new(0);
        one.add(seed(1, "a"));
        assert!(one.get(&root(1)).is_some(), "at least one is given on");
    }

    #[test]
    fn each_hears_of_its_own_group_in_messages_of_a_bounded_size() {
        let mut followers = Followers::default();
        assert!(followers.add(root(1), conn(1), 7, 0, false) && followers.add(root(1), conn(2), 8, 1, false));
        let fresh: Vec<u64> = (0..300).chain([GROUP_PIECES, GROUP_PIECES + 1]).collect();
        let told: Vec<(ConnId, u32, usize)> =
            followers.news(&root(1), &fresh).into_iter().map(pieces).collect();
        assert_eq!(told, [(conn(1), 7, PIECES_TOLD), (conn(1), 7, 300 - PIECES_TOLD), (conn(2), 8, 2)]);
        assert!(followers.news(&root(2), &fresh).is_empty());
    }

    fn pieces((conn, message): (ConnId, Message)) -> (ConnId, u32, usize) {
        match message {
            Message::Have { id, all: false, pieces, .. } => (conn, id, pieces.len()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn that_all_is_here_is_told_to_each_once() {
        let mut followers = Followers::default();
        followers.add(root(1), conn(1), 7, 0, false);
        followers.add(root(1), conn(2), 8, 0, true);
        let told: Vec<ConnId> = followers.all_is_here(&root(1)).into_iter().map(|(conn, _)| conn).collect();
        assert_eq!(told, [conn(1)]);
        assert!(followers.all_is_here(&root(1)).is_empty());
    }

    #[test]
    fn who_follows_the_same_file_is_named_the_last_first_and_never_twice() {
        let mut followers = Followers::default();
        for n in 1..=3 {
            followers.add(root(1), conn(n), n, 0, false);
        }
        followers.add(root(1), conn(1), 9, 5, false);
        let beside = |followers: &Followers, n| followers.beside(&root(1), conn(n)).collect::<Vec<_>>();
        assert_eq!(beside(&followers, 2), [(conn(1), 9), (conn(3), 3)]);
        followers.cancel(conn(3), 4);
        followers.cancel(conn(1), 9);
        assert_eq!(beside(&followers, 2), [(conn(3), 3)]);
        followers.gone(conn(3));
        assert!(beside(&followers, 2).is_empty() && followers.has(conn(2)) && !followers.has(conn(3)));
        followers.gone(conn(2));
        assert!(followers.by_root.is_empty(), "nothing is left of a file that nobody follows");
    }

    #[test]
    fn a_session_follows_a_bounded_number_of_files_and_so_do_all() {
        let mut followers = Followers::default();
        let file = |n: u32| Root::new(std::array::from_fn(|i| (n >> (8 * (i % 4))) as u8));
        let all = (0..1000).filter(|n| followers.add(file(*n), conn(1), *n, 0, false)).count();
        assert_eq!(all, FOLLOWS_MAX);
        assert!(
            followers.add(file(0), conn(1), 1, 3, false),
            "another group of the same file is no other file"
        );
        let all = (0..10_000).filter(|n| followers.add(file(1), conn(2 + n), 0, 0, false)).count();
        assert_eq!(all, FOLLOWERS_MAX - FOLLOWS_MAX);
        // What was refused leaves nothing behind.
        assert!(!followers.add(file(5000), conn(9), 0, 0, false));
        assert_eq!(followers.by_root.len(), FOLLOWS_MAX);
    }
}
