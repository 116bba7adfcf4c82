//! Random lives of a download of 1,000 pieces, each ended by a power cut.

use super::disk::{Disk, Image};
use super::world::{End, Plan, World};
use crate::proto::content::PIECE;
use fastrand::Rng;

const PIECES: u64 = 1000;

/// One of the states that a power cut may leave, drawn.
fn cut(world: &World, rng: &mut Rng) -> Image {
    world.disk.draw(rng)
}

/// Goes on until a step of its own choice; the image after it, or how it ended.
fn live(world: &mut World, rng: &mut Rng) -> Result<Image, End> {
    let stop = rng.u64(1..4000);
    let mut left = None;
    let mut draw = rng.fork();
    world.run_until(&mut |world| {
        if world.steps == stop {
            left = Some(cut(world, &mut draw));
        }
        world.steps >= stop
    });
    left.ok_or_else(|| world.end.expect("it ended or was cut"))
}

// hostile: 161, 162
#[test]
fn a_thousand_pieces_survive_random_power_cuts() {
    let mut rng = Rng::with_seed(162);
    let (mut kept, mut done) = (0, 0);
    for _ in 0..100 {
        let mut image = Image::default();
        for life in 0..4 {
            let mut plan = Plan::new(PIECES * PIECE);
            plan.batch = rng.u64(1..200);
            plan.dirty = rng.bool();
            plan.backwards = rng.bool();
            plan.late = rng.u32(0..4);
            plan.sample = [0, 3, 64][rng.usize(0..3)];
            plan.pause = rng.bool().then(|| rng.u64(0..PIECES));
            // Looking at a piece takes as long as storing many: most cannot be read, and are fetched again.
            plan.reads = 8;
            let mut world = World::start(plan, Disk::new(&image, rng.bool()));
            match live(&mut world, &mut rng) {
                Ok(left) if life < 3 => image = left,
                Ok(_) => {}
                Err(end) => {
                    assert_eq!(end, End::Committed);
                    let file = world.disk.done().expect("committed");
                    assert!(world.disk.is_whole(file, PIECES * PIECE));
                    assert_eq!((world.disk.part(), world.disk.journal()), (None, None));
                    done += 1;
                    break;
                }
            }
            kept += world.checked[1];
            if let Some(file) = &image.done {
                assert!(file.is_whole(PIECES * PIECE), "torn under its final name");
                break;
            }
        }
    }
    assert!(kept > 1000 && done > 10, "{kept} {done}");
}
