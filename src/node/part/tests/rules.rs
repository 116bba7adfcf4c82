//! Each rule by itself.

use super::super::{Ask, Part, Told, Which};
use super::disk::{Cell, Disk, Image};
use super::world::{End, Plan, ROOT, World};
use crate::machine::{Fault, Meta};
use crate::proto::content::{Expected, PIECE};
use crate::proto::part_journal::{Header, Writer};
use crate::time::{Duration, Instant};

const SIZE: u64 = 20 * PIECE;
const NOW: Instant = Instant::ZERO;
const SYNC_PART: Ask = Ask::Sync { which: Which::Part };
const SYNC_JOURNAL: Ask = Ask::Sync { which: Which::Journal };
const EIO: Fault = Fault::Os(5);

fn asks(part: &mut Part) -> Vec<Ask> {
    std::iter::from_fn(|| part.poll_output()).collect()
}

fn told(part: &mut Part) -> Vec<Told> {
    std::iter::from_fn(|| part.poll_told()).collect()
}

fn meta(size: u64, mtime: i64) -> Meta {
    Meta { size, mtime, ..Meta::default() }
}

fn close(which: Which) -> Ask {
    Ask::Close { which }
}

fn discard(which: Which) -> Ask {
    Ask::Discard { which }
}

fn header() -> Header {
    Header::new(ROOT, SIZE, "a.bin").unwrap()
}

fn claim(pieces: std::ops::Range<u64>) -> Vec<u8> {
    Writer::new(&header()).claim(pieces).unwrap().to_vec()
}

fn mark(mtime: i64) -> Vec<u8> {
    Writer::new(&header()).mark(mtime).to_vec()
}

fn begun() -> Part {
    let mut part = Part::new(ROOT, SIZE, "a.bin", false, 1, 1 << 16);
    assert_eq!(asks(&mut part), [Ask::OpenJournal]);
    part.opened(NOW, Which::Journal, meta(0, 1));
    assert_eq!(asks(&mut part), [Ask::Append { bytes: header().encode() }, SYNC_JOURNAL]);
    part.synced(NOW, Which::Journal, meta(99, 1));
    assert_eq!(asks(&mut part), [Ask::Create { reserve: SIZE }]);
    part
}

fn open() -> Part {
    let mut part = begun();
    part.created(NOW, u64::MAX);
    assert_eq!((told(&mut part), asks(&mut part)), (vec![Told::Open], vec![]));
    assert_eq!(part.poll_timeout(), None);
    part
}

fn verify(part: &mut Part, pieces: std::ops::Range<u64>) {
    for piece in pieces {
        part.stored(NOW, PIECE);
        part.verified(NOW, piece);
    }
}

#[test]
fn without_room_nothing_is_left() {
    let mut part = begun();
    part.created(NOW, SIZE - 1);
    assert_eq!(asks(&mut part), [discard(Which::Part), discard(Which::Journal)]);
    assert_eq!(told(&mut part), [Told::NoRoom { room: SIZE - 1 }]);
    let mut part = begun();
    part.failed(NOW, Which::Part, Fault::NoSpace, true);
    assert_eq!(asks(&mut part), [discard(Which::Journal)]);
    assert_eq!(told(&mut part), [Told::Failed { fault: Fault::NoSpace, fresh: true }]);
}

#[test]
fn a_batch_is_four_mebibytes_or_ten_seconds_and_one_at_a_time() {
    let mut part = open();
    verify(&mut part, 0..3);
    assert_eq!(asks(&mut part), []);
    assert_eq!(part.poll_timeout(), Some((NOW + Duration::from_secs(10), "part batch")));
    verify(&mut part, 3..4);
    assert_eq!(asks(&mut part), [SYNC_PART]);
    assert_eq!(part.poll_timeout(), None);
    // The next batch is full before the first is durable: it waits, and is not claimed.
    verify(&mut part, 4..9);
    assert_eq!(asks(&mut part), []);
    part.synced(NOW, Which::Part, meta(SIZE, 77));
    let first = [claim(0..4), mark(77)].concat();
    assert_eq!(asks(&mut part), [Ask::Append { bytes: first }, SYNC_PART]);
    part.synced(NOW, Which::Part, meta(SIZE, 78));
    assert_eq!(asks(&mut part), [Ask::Append { bytes: [claim(4..9), mark(78)].concat() }]);
    verify(&mut part, 19..20);
    let due = NOW + Duration::from_secs(10);
    part.timeout(NOW);
    assert_eq!(asks(&mut part), []);
    part.timeout(due);
    assert_eq!((asks(&mut part), part.poll_timeout()), (vec![SYNC_PART], None));
}

#[test]
fn a_pause_keeps_what_is_verified_and_is_short_when_nothing_is_new() {
    let mut part = open();
    verify(&mut part, 0..1);
    part.pause(NOW);
    assert_eq!(asks(&mut part), [SYNC_PART]);
    part.synced(NOW, Which::Part, meta(SIZE, 5));
    assert_eq!(asks(&mut part), [Ask::Append { bytes: [claim(0..1), mark(5)].concat() }, SYNC_JOURNAL]);
    assert_eq!(told(&mut part), []);
    part.synced(NOW, Which::Journal, meta(99, 1));
    assert_eq!(asks(&mut part), [close(Which::Part), close(Which::Journal)]);
    assert_eq!(told(&mut part), [Told::Closed]);
    let mut part = open();
    part.pause(NOW);
    assert_eq!(asks(&mut part), [close(Which::Part), close(Which::Journal)]);
    // While an old one is being opened.
    let mut part = Part::new(ROOT, SIZE, "a.bin", true, 1, 1 << 16);
    asks(&mut part);
    part.pause(NOW);
    assert_eq!((asks(&mut part), told(&mut part)), (vec![close(Which::Journal)], vec![Told::Closed]));
}

// hostile: 156, 159
#[test]
fn a_failed_write_keeps_what_is_verified() {
    for fault in [Fault::NoSpace, EIO] {
        let mut part = open();
        verify(&mut part, 2..3);
        part.store_failed(NOW, fault);
        part.store_failed(NOW, fault);
        assert_eq!(asks(&mut part), [SYNC_PART]);
        part.synced(NOW, Which::Part, meta(SIZE, 5));
        assert_eq!(asks(&mut part).len(), 2);
        part.synced(NOW, Which::Journal, meta(99, 1));
        assert_eq!(asks(&mut part), [close(Which::Part), close(Which::Journal)]);
        assert_eq!(told(&mut part), [Told::Failed { fault, fresh: false }]);
    }
}

// hostile: 156
#[test]
fn what_is_stored_after_a_failed_write_is_not_claimed_and_is_no_reason_for_another_sync() {
    for pause in [false, true] {
        let mut part = open();
        verify(&mut part, 2..3);
        if pause {
            part.pause(NOW);
        } else {
            part.store_failed(NOW, Fault::NoSpace);
        }
        assert_eq!(asks(&mut part), [SYNC_PART]);
        // The disk has room again, but a byte of piece 3 is not there; or there are more bytes of a piece that is not whole.
        part.stored(NOW, 100);
        if !pause {
            part.verified(NOW, 3);
        }
        part.synced(NOW, Which::Part, meta(SIZE, 5));
        assert_eq!(asks(&mut part), [Ask::Append { bytes: [claim(2..3), mark(5)].concat() }, SYNC_JOURNAL]);
        part.stored(NOW, 100);
        part.synced(NOW, Which::Journal, meta(99, 1));
        assert_eq!(asks(&mut part), [close(Which::Part), close(Which::Journal)]);
    }
}

/// What a piece of right bytes comes to there.
fn value_at(piece: u64) -> Expected {
    use blake3::hazmat::HasherExt;
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(piece * PIECE);
    hasher.update(super::world::right_bytes());
    Expected::Value(hasher.finalize_non_root())
}

// hostile: 167
#[test]
fn a_group_whose_sample_is_right_is_believed_before_the_next_one_is_looked_at() {
    use super::world::right_bytes;
    use crate::proto::content::GROUP_PIECES;
    let size = (GROUP_PIECES + 900) * PIECE;
    let header = Header::new(ROOT, size, "a.bin").unwrap();
    let writer = Writer::new(&header);
    let claim = writer.claim(0..GROUP_PIECES + 900).unwrap();
    let journal = [header.encode(), claim.to_vec(), writer.mark(5).to_vec()].concat();
    let mut part = Part::new(ROOT, size, "a.bin", true, 1, PIECE as usize);
    let stands = meta(journal.len() as u64, 1);
    part.opened(NOW, Which::Journal, stands);
    part.read(NOW, Which::Journal, 0, &journal, stands);
    part.sample = 2;
    part.opened(NOW, Which::Part, meta(size, 5));
    asks(&mut part);
    let mut believed = told(&mut part);
    assert_eq!(believed, [Told::Open]);
    for (group, all) in [(0..GROUP_PIECES, GROUP_PIECES), (GROUP_PIECES..2 * GROUP_PIECES, 900)] {
        believed.clear();
        for _ in 0..2 {
            assert!(believed.len() <= 1);
            let piece = part.wants_checked(group.clone()).expect("one of the sample");
            part.check(NOW, piece, value_at(piece));
            asks(&mut part);
            part.read(NOW, Which::Part, piece * PIECE, right_bytes(), meta(size, 5));
            believed.extend(told(&mut part));
        }
        assert_eq!(believed.len() as u64, all, "the whole group, and nothing of the next");
        assert!(believed.iter().all(|told| matches!(told, Told::Checked { right: true, .. })));
        assert_eq!(part.wants_checked(group), None);
    }
    assert_eq!(part.claims().count(), 0);
}

// hostile: 159
#[test]
fn after_a_failed_sync_all_since_the_last_good_one_is_fetched_again() {
    let mut part = open();
    verify(&mut part, 0..4);
    part.synced(NOW, Which::Part, meta(SIZE, 5));
    verify(&mut part, 4..9);
    asks(&mut part);
    part.failed(NOW, Which::Part, EIO, false);
    assert_eq!(told(&mut part), [Told::Lost { pieces: (4..9).collect() }]);
    assert_eq!(asks(&mut part), [close(Which::Part), Ask::Open]);
    part.opened(NOW, Which::Part, meta(SIZE, 6));
    assert_eq!(told(&mut part), [Told::Open]);
    verify(&mut part, 4..9);
    assert_eq!(asks(&mut part), [SYNC_PART]);
    part.failed(NOW, Which::Part, EIO, false);
    assert_eq!(told(&mut part), [Told::Lost { pieces: (4..9).collect() }]);
    assert_eq!(asks(&mut part), [SYNC_JOURNAL]);
    part.synced(NOW, Which::Journal, meta(99, 1));
    assert_eq!(asks(&mut part), [close(Which::Part), close(Which::Journal)]);
    assert_eq!(told(&mut part), [Told::Failed { fault: EIO, fresh: false }]);
}

/// Goes on with a journal that claims the pieces 0 and 1, of which 0 is wrong and was stored anew.
fn stored_anew() -> Part {
    let mut part = resumed(&[header().encode(), claim(0..2)].concat());
    part.opened(NOW, Which::Part, meta(SIZE, 6));
    part.check(NOW, 0, super::world::expected(SIZE, 0));
    for at in (0..PIECE).step_by(1 << 16) {
        part.read(NOW, Which::Part, at, &[0xee; 1 << 16], meta(SIZE, 6));
    }
    let wrong = Told::Checked { piece: 0, right: false };
    assert_eq!(told(&mut part), [Told::Open, wrong]);
    verify(&mut part, 0..1);
    asks(&mut part);
    part
}

// hostile: 159
#[test]
fn a_wrong_claim_is_taken_back_where_a_sync_failed_after_it_was_stored_anew() {
    let back = Writer::new(&header()).take_back(0..1).expect("a piece of it").to_vec();
    let mut part = stored_anew();
    part.finish(NOW);
    part.failed(NOW, Which::Part, EIO, false);
    assert_eq!(asks(&mut part), [Ask::Commit, Ask::Append { bytes: back.clone() }, SYNC_JOURNAL]);
    part.synced(NOW, Which::Journal, meta(99, 1));
    assert_eq!(asks(&mut part), [close(Which::Part), close(Which::Journal)]);
    let ends = [Told::Lost { pieces: vec![0] }, Told::Failed { fault: EIO, fresh: false }];
    assert_eq!(told(&mut part), ends);
    // One of a batch; it is tried again.
    let mut part = stored_anew();
    verify(&mut part, 4..7);
    assert_eq!(asks(&mut part), [SYNC_PART]);
    part.failed(NOW, Which::Part, EIO, false);
    let again = [Ask::Append { bytes: back }, SYNC_JOURNAL, close(Which::Part), Ask::Open];
    assert_eq!(asks(&mut part), again);
    // What cannot be taken back is removed.
    let mut part = stored_anew();
    part.finish(NOW);
    part.failed(NOW, Which::Part, EIO, false);
    asks(&mut part);
    part.failed(NOW, Which::Journal, EIO, false);
    assert_eq!(asks(&mut part), [discard(Which::Part), discard(Which::Journal)]);
    assert_eq!(told(&mut part).last(), Some(&Told::Failed { fault: EIO, fresh: true }));
}

// hostile: 168
#[test]
fn that_somebody_removed_the_file_is_seen_at_the_next_sync() {
    let mut part = open();
    verify(&mut part, 0..4);
    asks(&mut part);
    part.failed(NOW, Which::Part, Fault::NotFound, false);
    assert_eq!(asks(&mut part), [close(Which::Part), discard(Which::Journal)]);
    assert_eq!(told(&mut part), [Told::Failed { fault: Fault::NotFound, fresh: false }]);
}

// hostile: 159
#[test]
fn without_a_journal_the_download_goes_on() {
    let mut part = open();
    verify(&mut part, 0..4);
    part.synced(NOW, Which::Part, meta(SIZE, 5));
    part.failed(NOW, Which::Journal, EIO, false);
    asks(&mut part);
    verify(&mut part, 4..20);
    assert_eq!(asks(&mut part), []);
    part.finish(NOW);
    assert_eq!(asks(&mut part), [Ask::Commit]);
    part.committed(NOW);
    assert_eq!((asks(&mut part), told(&mut part)), (vec![discard(Which::Journal)], vec![Told::Committed]));
    // Not even at its beginning.
    let mut part = Part::new(ROOT, SIZE, "a.bin", false, 1, 1 << 16);
    asks(&mut part);
    part.failed(NOW, Which::Journal, Fault::Denied, true);
    assert_eq!(asks(&mut part), [Ask::Create { reserve: SIZE }]);
    part.created(NOW, u64::MAX);
    part.pause(NOW);
    assert_eq!(asks(&mut part), [close(Which::Part)]);
}

// hostile: 159
#[test]
fn a_journal_that_could_not_be_opened_goes_with_the_download() {
    let mut part = Part::new(ROOT, SIZE, "a.bin", true, 1, 1 << 16);
    part.failed(NOW, Which::Journal, Fault::ReadOnly, true);
    part.opened(NOW, Which::Part, meta(SIZE, 6));
    part.finish(NOW);
    asks(&mut part);
    part.committed(NOW);
    assert_eq!(asks(&mut part), [Ask::OpenJournal, discard(Which::Journal)]);
}

// hostile: 159
#[test]
fn a_commit_that_fails_loses_nothing_that_is_there() {
    for (fault, claimed) in [(Fault::NameTooLong, true), (EIO, false)] {
        let mut part = open();
        verify(&mut part, 0..1);
        part.finish(NOW);
        assert_eq!(asks(&mut part), [Ask::Commit]);
        part.failed(NOW, Which::Part, fault, false);
        let closes = vec![close(Which::Part), close(Which::Journal)];
        if claimed {
            // Without a mark: it is looked at.
            assert_eq!(asks(&mut part), [Ask::Append { bytes: claim(0..1) }, SYNC_JOURNAL]);
            part.synced(NOW, Which::Journal, meta(99, 1));
        }
        assert_eq!(asks(&mut part), closes);
        let failed = Told::Failed { fault, fresh: false };
        // What is not in the journal is not kept.
        let lost = (!claimed).then_some(Told::Lost { pieces: vec![0] });
        assert!(told(&mut part).into_iter().eq(lost.into_iter().chain([failed])));
    }
}

/// Paused with two of three pieces.
fn paused() -> (Plan, Image) {
    let mut plan = Plan::new(3 * PIECE);
    plan.pause = Some(2);
    let mut world = World::empty(plan, true);
    let mut left = None;
    world.run(&mut |world| {
        left = left.take().or((world.end == Some(End::Closed)).then(|| world.disk.image()));
    });
    (Plan::new(3 * PIECE), left.expect("it was paused"))
}

fn goes_on(plan: &Plan, image: &Image) -> World {
    let mut world = World::start(plan.clone(), Disk::new(image, true));
    world.run(&mut |_| {});
    assert_eq!(world.end, Some(End::Committed));
    let done = world.disk.done().expect("committed");
    assert!(world.disk.is_whole(done, plan.size));
    assert_eq!((world.disk.part(), world.disk.journal()), (None, None));
    world
}

// hostile: 166
#[test]
fn a_journal_that_is_not_what_was_written_claims_nothing_that_is_not_there() {
    let (plan, image) = paused();
    assert_eq!(goes_on(&plan, &image).checked, [0, 2]);
    let journal = image.journal.clone().expect("there is one");
    let with = |bytes: Vec<u8>| Image { journal: Some(bytes), ..image.clone() };
    for len in 0..journal.len() {
        goes_on(&plan, &with(journal[..len].to_vec()));
        goes_on(&plan, &with([&journal[..len], &[0x55; 99]].concat()));
    }
    for bit in 0..journal.len() * 8 {
        let mut bytes = journal.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        goes_on(&plan, &with(bytes));
    }
    let other = Header::new(ROOT, 4 * PIECE, "film.mkv").unwrap();
    let claims = Writer::new(&other).claim(0..4).unwrap();
    goes_on(&plan, &with([other.encode(), claims.to_vec()].concat()));
    goes_on(&plan, &with(vec![0; 1 << 20]));
}

// hostile: 167
#[test]
fn a_file_that_was_changed_is_looked_at() {
    let (plan, image) = paused();
    let with = |change: &dyn Fn(&mut super::disk::Content)| {
        let mut image = image.clone();
        image.part.iter_mut().for_each(change);
        goes_on(&plan, &image).checked
    };
    assert_eq!(with(&|part| part.mtime += 1), [0, 2]);
    assert_eq!(with(&|part| (part.mtime, part.cells[0]) = (part.mtime + 1, Cell::Garbage)), [1, 1]);
    let cut = |part: &mut super::disk::Content| {
        part.len = PIECE + 5;
        part.cells[1..].fill(Cell::Nothing);
    };
    assert_eq!(with(&cut), [0, 1]);
    // One that is longer is begun anew.
    assert_eq!(with(&|part| part.len += 1), [0, 0]);
}

// hostile: 167
#[test]
fn one_wrong_piece_of_the_sample_and_none_is_believed_ever_after() {
    let (mut plan, image) = paused();
    plan.sample = 1;
    let mut disk = Disk::new(&image, true);
    let file = disk.part().unwrap();
    (0..2).for_each(|piece| disk.rot(file, piece));
    plan.pause = Some(0);
    let mut world = World::start(plan.clone(), disk);
    let mut left = None;
    world.run(&mut |world| {
        left = left.take().or((world.end == Some(End::Closed)).then(|| world.disk.image()));
    });
    // Both were found, though only one was drawn; and the journal says so to those who come later.
    plan.pause = None;
    plan.sample = 0;
    assert_eq!(goes_on(&plan, &left.expect("it was paused")).checked, [2, 0]);
}

#[test]
fn it_is_removed_at_any_moment() {
    let mut plan = Plan::new(2 * PIECE);
    plan.late = 2;
    let mut at = 0;
    loop {
        at += 1;
        let mut world = World::empty(plan.clone(), true);
        world.run_until(&mut |world| world.steps == at);
        let ended = world.end.is_some();
        world.discard();
        assert_eq!((world.disk.part(), world.disk.journal()), (None, None), "step {at}");
        if ended {
            break;
        }
    }
    // One that rests on the disk.
    let (plan, image) = paused();
    let mut world = World::start(plan, Disk::new(&image, true));
    world.discard();
    assert_eq!((world.disk.part(), world.disk.journal()), (None, None));
}

/// One that rests on the disk with this journal, up to where the file is asked for.
fn resumed(journal: &[u8]) -> Part {
    let mut part = Part::new(ROOT, SIZE, "a.bin", true, 1, 1 << 16);
    asks(&mut part);
    let stands = meta(journal.len() as u64, 1);
    part.opened(NOW, Which::Journal, stands);
    assert_eq!(asks(&mut part), [Ask::Read { which: Which::Journal, offset: 0, len: 1 << 16 }]);
    part.read(NOW, Which::Journal, 0, journal, stands);
    part
}

// hostile: 166
#[test]
fn what_is_cut_off_a_journal_is_gone_for_good_before_anything_is_stored() {
    let good = [header().encode(), claim(0..2)].concat();
    let mut part = resumed(&[good.as_slice(), &[0; 16]].concat());
    assert_eq!(asks(&mut part), [Ask::Truncate { len: good.len() as u64 }, SYNC_JOURNAL]);
    part.synced(NOW, Which::Journal, meta(good.len() as u64, 1));
    assert_eq!(asks(&mut part), [Ask::Open]);
    assert_eq!(part.claims().count(), 0);
    part.opened(NOW, Which::Part, meta(SIZE, 1));
    assert!(part.claims().eq(0..2));
}

// hostile: 167
#[test]
fn no_mark_is_written_while_a_claim_was_not_looked_at() {
    let right = super::world::right_bytes();
    let mut part = resumed(&[header().encode(), claim(0..1), mark(5)].concat());
    assert_eq!(asks(&mut part), [Ask::Open]);
    part.opened(NOW, Which::Part, meta(SIZE, 6));
    verify(&mut part, 4..8);
    assert_eq!(asks(&mut part), [SYNC_PART]);
    part.synced(NOW, Which::Part, meta(SIZE, 7));
    assert_eq!(asks(&mut part), [Ask::Append { bytes: claim(4..8) }]);
    // All is right: that it is so is worth a sync, and the next start does not look again.
    assert_eq!(part.wants_checked(1..20), None);
    assert_eq!(part.wants_checked(0..20), Some(0));
    part.check(NOW, 0, super::world::expected(SIZE, 0));
    let mut at = 0;
    while let Some(Ask::Read { offset, len, .. }) = part.poll_output() {
        assert_eq!(offset, at);
        part.read(NOW, Which::Part, offset, &right[at as usize..][..len], meta(SIZE, 7));
        at += len as u64;
    }
    assert_eq!(told(&mut part), [Told::Open, Told::Checked { piece: 0, right: true }]);
    assert!(part.poll_timeout().is_some());
    part.pause(NOW);
    assert_eq!(asks(&mut part), [SYNC_PART]);
    part.synced(NOW, Which::Part, meta(SIZE, 7));
    assert_eq!(asks(&mut part), [Ask::Append { bytes: mark(7) }, SYNC_JOURNAL]);
    // The same where nothing at all was verified in between.
    let mut part = resumed(&[header().encode(), claim(0..1), mark(5)].concat());
    part.opened(NOW, Which::Part, meta(SIZE, 6));
    part.check(NOW, 0, super::world::expected(SIZE, 0));
    for at in (0..PIECE).step_by(1 << 16) {
        part.read(NOW, Which::Part, at, &right[at as usize..][..1 << 16], meta(SIZE, 6));
    }
    asks(&mut part);
    part.pause(NOW);
    assert_eq!(asks(&mut part), [SYNC_PART]);
}
