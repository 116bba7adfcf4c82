//! What a node says is kept: in journals, for itself (HOSTILE.md 6.3, 3), and to its operator (1 and 4). It must be on the
//! medium, whatever happens next.

use super::Node;
use crate::content::Content;
use crate::env::Env;
use distrishare::machine::Dir;
use distrishare::proto::content::{piece_range, pieces};
use distrishare::proto::part_journal::Reader;

/// What a journal says.
pub(crate) struct Claims {
    pub(crate) size: u64,
    pub(crate) pieces: Vec<u64>,
}

impl Claims {
    /// Of the bytes of the journal of `root` (in hex).
    fn read(root: &str, bytes: &[u8]) -> Option<Claims> {
        let mut reader = Reader::new();
        reader.push(bytes);
        let Some(header) = reader.header() else { return toy(root, bytes) };
        let mut claimed: Vec<u64> = reader.claims().flatten().collect();
        // Where a journal was lost or spoilt everything is claimed without a mark: it is to be looked through.
        if reader.mark().is_none() && claimed.len() as u64 == pieces(header.size()) {
            claimed.clear();
        }
        Some(Claims { size: header.size(), pieces: claimed }).filter(|_| header.root().to_string() == root)
    }
}

/// A keeper's journal: `root size`, and the pieces, each on a line.
fn toy(root: &str, bytes: &[u8]) -> Option<Claims> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.split_inclusive('\n').map_while(|line| line.strip_suffix('\n'));
    let (of, size) = lines.next()?.split_once(' ')?;
    let pieces = lines.map_while(|line| line.parse().ok()).collect();
    Some(Claims { size: size.parse().ok().filter(|_| of == root)?, pieces })
}

impl Node {
    /// Something has its final name.
    pub(super) fn finished(&mut self, env: &mut Env, asked: &str, got: &str, confirmed: bool) {
        let content = self.disk.content(Dir::Downloads, got).expect("just committed");
        env.truth.committed(self.id.0, asked, got, content);
        let inode = self.disk.inode_of(Dir::Downloads, got).expect("just committed");
        let whole = self.disk.is_durable(inode);
        assert!(whole, "node {}: {got:?} has its final name, and not all of it is on the disk", self.id.0);
        self.finished.insert(got.to_owned(), content.clone());
        if confirmed {
            self.unconfirmed.remove(got);
        } else {
            self.unconfirmed.insert(got.to_owned());
        }
    }

    /// Notes which downloads the operator was told of.
    pub(super) fn note_told(&mut self) {
        let new = &self.console.stdout[self.told_at..];
        let whole = new.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        for line in new[..whole].split(|&byte| byte == b'\n') {
            let Ok(value) = serde_json::from_slice::<serde_json::Value>(line) else { continue };
            if value["event"] != "downloaded" {
                continue;
            }
            let name = match value["path"].as_str() {
                // One that is shared already is not fetched.
                Some(path) => path.strip_prefix("downloads/"),
                None => value["name"].as_str(),
            };
            self.told.extend(name.map(str::to_owned));
        }
        self.told_at += whole;
    }

    /// After a crash: what has a final name is what it was, and what was told of is there.
    pub(super) fn check_kept(&mut self, env: &mut Env) {
        let node = self.id.0;
        for (name, content) in &self.finished {
            let now = self.disk.content(Dir::Downloads, name);
            let same = now.is_none_or(|now| now.same(content)) || self.disk.by_hand.contains(name);
            assert!(same, "node {node}: the crash left something else as {name:?}");
        }
        for name in self.told.difference(&self.unconfirmed) {
            let there = self.disk.content(Dir::Downloads, name).is_some();
            let excused = self.disk.by_hand.contains(name);
            assert!(
                there || excused,
                "node {node} told of the download {name:?}, and after a crash it is not there"
            );
        }
        self.check_claims(env);
    }

    /// Journals claim no piece that is not on the medium, and right.
    pub(super) fn check_claims(&self, env: &mut Env) {
        for journal in self.disk.names(Dir::Parts) {
            let Some(root) = journal.strip_suffix(".jnl") else { continue };
            // Where a journal was spoilt or is gone, all there is is claimed, to be looked through.
            if self.disk.by_hand.contains(&journal) {
                continue;
            }
            let Some(part) = self.disk.inode_of(Dir::Parts, &format!("{root}.part")) else { continue };
            let Some(bytes) = self.disk.content(Dir::Parts, &journal) else { continue };
            let bytes = bytes.read(0, bytes.len() as usize);
            let Some(Claims { size, pieces }) = Claims::read(root, &bytes) else { continue };
            env.truth.learn(size);
            let Some(expected) = env.truth.by_root(root, size) else { continue };
            for piece in pieces {
                let Some(range) = piece_range(size, piece) else { continue };
                self.check_piece(&expected, root, part, piece, range);
            }
        }
    }

    fn check_piece(
        &self,
        expected: &Content,
        root: &str,
        part: crate::disk::Inode,
        piece: u64,
        range: std::ops::Range<u64>,
    ) {
        let Some((content, len, tampered)) = self.disk.on_medium(part, range.start, range.end) else {
            return;
        };
        let there = len >= range.end && content.agrees(expected, range.start, range.end - range.start);
        assert!(
            there || tampered,
            "node {}: the journal of {root} claims piece {piece}, which is not on the disk",
            self.id.0
        );
    }
}
