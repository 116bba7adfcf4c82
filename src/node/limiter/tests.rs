use super::*;
use crate::machine::Id;
use fastrand::Rng;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Bytes a second that a greedy caller got, against the rate: in parts of a thousand above or below it.
fn deviation(bytes: u64, rate: u64, time: Duration) -> i64 {
    let due = u128::from(rate) * time.as_micros() / 1_000_000;
    let ratio = u128::from(bytes) * 1000 / due.max(1);
    i64::try_from(ratio).expect("a small number") - 1000
}

/// What a caller does who sends whole blocks as soon as there is room for one.
fn run_blocks(
    bucket: &mut Bucket,
    rng: &mut Rng,
    from: Instant,
    time: Duration,
    block: u64,
    late: u64,
) -> u64 {
    let (mut now, mut sent) = (from, 0);
    loop {
        while bucket.when(now, block).is_none() {
            bucket.take(now, block);
            sent += block;
        }
        let due = bucket.when(now, block).expect("it has just said so");
        assert!(due > now, "time goes on");
        now = due + Duration::from_micros(rng.u64(..=late));
        if now > from + time {
            return sent;
        }
    }
}

/// What a caller does who looks every so often and takes pieces of any size out of the room there is.
fn run_looks(bucket: &mut Bucket, rng: &mut Rng, from: Instant, time: Duration, most: u64) -> u64 {
    let (mut now, mut sent) = (from, 0);
    while now < from + time {
        now += Duration::from_micros(rng.u64(1..20_000));
        let mut room = bucket.room(now);
        while room > 0 {
            let n = rng.u64(1..=most).min(room);
            bucket.take(now, n);
            sent += n;
            room -= n;
            assert_eq!(room, bucket.room(now), "what is taken is gone, and nothing else");
        }
    }
    sent
}

#[test]
fn nothing_is_limited_without_a_rate() {
    let mut bucket = Bucket::new(None);
    let now = Instant::ZERO + SECOND;
    bucket.take(now, u64::MAX);
    assert_eq!((bucket.room(now), bucket.when(now, u64::MAX), bucket.rate()), (u64::MAX, None, None));
    bucket.set(now, Some(10_000));
    assert_eq!(bucket.room(now), 0, "what went before is not counted, nor gathered");
    bucket.set(now + SECOND, None);
    assert_eq!(bucket.room(now), u64::MAX);
}

#[test]
fn a_change_of_the_rate_begins_with_nothing() {
    let now = Instant::ZERO + SECOND;
    let mut bucket = Bucket::new(Some(20_000_000));
    bucket.set(now, Some(4096));
    assert_eq!(bucket.room(now), 0, "what a high rate gathered is too much for a low one");
    bucket.take(now, 65_536);
    bucket.set(now, Some(20_000_000));
    assert_eq!(bucket.room(now + ms(1)), 20_000, "and what a low one owes is little for a high one");
}

#[test]
fn an_idle_bucket_gathers_a_tenth_of_a_second_or_a_chunk() {
    for (rate, burst) in
        [(10_000_000, 1_000_000), (4096, 4096 + 204), (20_000, 5096), (u64::MAX, u64::MAX / 10)]
    {
        let mut bucket = Bucket::new(Some(rate));
        let now = Instant::ZERO + Duration::from_secs(3600);
        assert_eq!(bucket.room(now), burst, "{rate}");
        bucket.take(now, burst);
        assert_eq!(bucket.room(now), 0, "{rate}");
    }
}

#[test]
fn a_debt_is_paid_before_anything_else_goes() {
    let mut bucket = Bucket::new(Some(100_000));
    let start = Instant::ZERO;
    bucket.take(start, 65_536);
    assert_eq!(bucket.room(start + ms(655)), 0);
    let due = bucket.when(start, 4096).expect("later");
    assert_eq!(due, Instant::from_micros(696_320));
    assert_eq!((bucket.when(due, 4096), bucket.room(due)), (None, 4096));
    assert!(bucket.when(Instant::from_micros(due.as_micros() - 1), 4096).is_some());
    assert_eq!(bucket.room(start), 0, "a clock that goes back changes nothing");
}

#[test]
fn small_amounts_do_not_drift() {
    // 4096 bytes a second are a hundredth of a byte in 3 microseconds: who rounds loses all of it.
    let mut bucket = Bucket::new(Some(4096));
    let (mut now, mut sent) = (Instant::ZERO, 0);
    for _ in 0..1_000_000 {
        now += Duration::from_micros(3);
        if bucket.room(now) > 0 {
            bucket.take(now, 1);
            sent += 1;
        }
    }
    assert_eq!(sent, 3 * 4096);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_rate_holds_for_whole_blocks(
        seed in any::<u64>(),
        exponent in 0.0..5.4f64,
        block in prop_oneof![Just(4096u64), Just(65_536), 1u64..65_536],
    ) {
        let rate = (4096.0 * 10f64.powf(exponent)) as u64;
        let rng = &mut Rng::with_seed(seed);
        let mut bucket = Bucket::new(Some(rate));
        // At least 10 seconds and 200 blocks; high rates are short of time, not of blocks.
        let seconds = (200 * block / rate).clamp(10, 4000);
        let time = if rate > 20_000_000 { SECOND } else { Duration::from_secs(seconds) };
        let sent = run_blocks(&mut bucket, rng, Instant::ZERO, time, block, 20_000);
        let off = deviation(sent, rate, time);
        prop_assert!((-25..=10).contains(&off), "{} of {rate} B/s: {off} per mille", sent);
    }

    #[test]
    fn a_rate_holds_for_any_pattern_and_after_a_change(
        seed in any::<u64>(),
        exponents in proptest::collection::vec(0.0..5.4f64, 1..5),
        most in prop_oneof![Just(4096u64), Just(65_536), 1u64..65_536],
    ) {
        let rng = &mut Rng::with_seed(seed);
        let mut bucket = Bucket::new(None);
        let mut now = Instant::ZERO;
        for exponent in exponents {
            let rate = (4096.0 * 10f64.powf(exponent)) as u64;
            bucket.set(now, Some(rate));
            // Pieces in reason: no more than a thousand in a look.
            let most = most.max(rate / 50_000);
            let time = Duration::from_secs(10);
            let sent = run_looks(&mut bucket, rng, now, time, most);
            let off = deviation(sent, rate, time);
            prop_assert!((-10..=15).contains(&off), "{} of {rate} B/s: {off} per mille", sent);
            now = now + time + ms(rng.u64(..40));
        }
    }

    #[test]
    fn no_stretch_of_time_gets_more_than_its_rate_and_a_burst(
        seed in any::<u64>(),
        rate in 4096u64..10_000_000,
        steps in proptest::collection::vec((0u64..500_000, 0u64..=65_536), 1..200),
    ) {
        let rng = &mut Rng::with_seed(seed);
        let mut bucket = Bucket::new(Some(rate));
        let mut now = Instant::ZERO;
        let mut went = vec![];
        for (micros, n) in steps {
            now += Duration::from_micros(micros);
            if bucket.room(now) > 0 && rng.bool() {
                bucket.take(now, n);
                went.push((now, n));
            }
        }
        for (i, (start, _)) in went.iter().enumerate() {
            let mut sum = 0;
            for (end, n) in &went[i..] {
                sum += n;
                // The last block may be a debt.
                let allowed = (drops(rate, *end - *start) + capacity(rate)) / BYTE + 65_536;
                prop_assert!(Drops::from(sum) <= allowed, "{sum} from {start} to {end}");
            }
        }
    }

    #[test]
    fn when_is_the_first_moment_with_room(rate in 4096u64..1_000_000_000, debt in 0u64..1_000_000, n in 1u64..5000) {
        let mut bucket = Bucket::new(Some(rate));
        bucket.take(Instant::ZERO, debt);
        let Some(due) = bucket.when(Instant::ZERO, n) else { return Ok(()) };
        let wanted = u64::try_from((capacity(rate) - drops(rate, SLACK)) / BYTE).expect("small").min(n);
        prop_assert!(bucket.room(due) >= wanted);
        prop_assert!(bucket.when(due, n).is_none());
        let before = Instant::from_micros(due.as_micros() - 1);
        prop_assert!(bucket.room(before) < n && bucket.when(before, n).is_some());
    }
}

fn conn(index: u32) -> ConnId {
    ConnId(Id { index, generation: 7 })
}

/// A connection in a test: how much it sends at a time, and the most it can send in a millisecond.
struct Sender {
    conn: ConnId,
    block: u64,
    per_ms: u64,
    sent: u64,
}

fn sender(index: u32, block: u64, per_ms: u64) -> Sender {
    Sender { conn: conn(index), block, per_ms, sent: 0 }
}

/// Runs the senders for some time, in steps of a millisecond or so, with a timer that comes late.
fn run(shares: &mut Shares, rng: &mut Rng, senders: &mut [Sender], from: Instant, time: Duration) {
    let mut now = from;
    for sender in senders.iter_mut() {
        sender.sent = 0;
        shares.wants(sender.conn);
    }
    while now < from + time {
        let step = rng.u64(200..3000);
        now += Duration::from_micros(step);
        if shares.poll_timeout().is_some_and(|due| due <= now) {
            let woken = shares.refill(now);
            assert!(woken.iter().all(|conn| shares.allowance(*conn) > 0));
            assert!(shares.poll_timeout().is_none_or(|due| due > now), "no timer stands still");
        }
        for sender in senders.iter_mut() {
            let mut can = sender.per_ms.saturating_mul(step) / 1000;
            while can > 0 {
                let n = shares.allowance(sender.conn).min(sender.block).min(can);
                if n == 0 {
                    break;
                }
                shares.used(sender.conn, n);
                sender.sent += n;
                can -= n;
            }
        }
    }
}

#[test]
fn whatever_they_ask_for_they_get_the_same() {
    // Invariant 14 of HOSTILE.md 6.3, in a second where it says a minute.
    for (seed, rate, n) in
        [(1, 1_000_000, 5), (2, 20_000_000, 40), (3, 100_000_000, 3), (4, 4_000_000, 100), (5, 500_000, 1)]
    {
        let rng = &mut Rng::with_seed(seed);
        let mut shares = Shares::new(Some(rate));
        let blocks = [4096, 65_536, 1, 1 << 20, 5000, 12_288];
        let mut senders: Vec<Sender> = (0..n).map(|i| sender(i, blocks[i as usize % 6], u64::MAX)).collect();
        // What a second's start finds gathered is not its own.
        run(&mut shares, rng, &mut senders, Instant::ZERO, ms(500));
        run(&mut shares, rng, &mut senders, Instant::ZERO + ms(500), SECOND);
        let total: u64 = senders.iter().map(|sender| sender.sent).sum();
        assert!((-20..=20).contains(&deviation(total, rate, SECOND)), "{total} of {rate}");
        for sender in &senders {
            let off = deviation(sender.sent, rate / u64::from(n), SECOND);
            assert!((-100..=100).contains(&off), "{rate}, {n}: {:?} got {}", sender.conn, sender.sent);
        }
    }
}

#[test]
fn with_little_to_give_each_has_its_turn() {
    // A chunk a second for ten: over a minute each has six, one more or less.
    let mut shares = Shares::new(Some(4096));
    let rng = &mut Rng::with_seed(9);
    let mut senders: Vec<Sender> = (0..10).map(|i| sender(i, 65_536, u64::MAX)).collect();
    run(&mut shares, rng, &mut senders, Instant::ZERO, Duration::from_secs(60));
    for sender in &senders {
        assert!((5..=7).contains(&(sender.sent / 4096)), "{:?} got {}", sender.conn, sender.sent);
    }
    let total: u64 = senders.iter().map(|sender| sender.sent).sum();
    assert!((59..=61).contains(&(total / 4096)), "{total}");
}

#[test]
fn what_a_slow_one_leaves_goes_to_the_others() {
    let rate = 1_000_000;
    let mut shares = Shares::new(Some(rate));
    let rng = &mut Rng::with_seed(4);
    // 50 kB/s, none at all, and two as fast as they may.
    let mut senders =
        [sender(0, 4096, 50), sender(1, 4096, 0), sender(2, 65_536, u64::MAX), sender(3, 4096, u64::MAX)];
    run(&mut shares, rng, &mut senders, Instant::ZERO, Duration::from_secs(10));
    let [slow, stuck, a, b] = senders.map(|sender| sender.sent / 10);
    assert!(stuck == 0 && (45_000..=51_000).contains(&slow), "{slow}");
    assert!((455_000..=495_000).contains(&a) && (455_000..=495_000).contains(&b), "{a} {b}");
    assert!((-20..=20).contains(&deviation(slow + a + b, rate, SECOND)));
}

#[test]
fn who_goes_leaves_what_he_did_not_use_and_gains_nothing_by_coming_again() {
    let rate = 400_000;
    let mut shares = Shares::new(Some(rate));
    let mut now = Instant::ZERO;
    let (steady, fickle) = (conn(1), conn(2));
    let (mut sent, mut gained) = (0, 0);
    shares.wants(steady);
    for step in 0..1000 {
        now += ms(10);
        shares.wants(fickle);
        if shares.poll_timeout().is_some_and(|due| due <= now) {
            shares.refill(now);
        }
        let n = shares.allowance(steady);
        shares.used(steady, n);
        sent += n;
        // Every other time it takes more than it may and goes; else it goes with all it was given.
        if step % 2 == 0 && shares.allowance(fickle) > 0 {
            shares.used(fickle, 65_536);
            gained += 65_536;
        }
        shares.gone(fickle);
        assert_eq!(shares.allowance(fickle), 0);
    }
    let off = deviation(sent + gained, rate, now - Instant::ZERO);
    assert!((-20..=30).contains(&off), "{sent} and {gained}: {off} per mille");
}

#[test]
fn no_timer_without_a_limit_or_without_anybody() {
    let mut shares = Shares::new(None);
    let now = Instant::ZERO + SECOND;
    shares.wants(conn(1));
    assert_eq!((shares.poll_timeout(), shares.allowance(conn(1)), shares.rate()), (None, u64::MAX, None));
    assert!(shares.refill(now).is_empty() && shares.set(now, Some(1_000_000)).is_empty());
    assert_eq!(
        (shares.poll_timeout(), shares.allowance(conn(1))),
        (None, 0),
        "nobody has said that he waits"
    );

    shares.wants(conn(1));
    shares.wants(conn(2));
    assert_eq!(shares.poll_timeout(), Some(now), "at once");
    assert!(shares.refill(now).is_empty(), "nothing was gathered while there was no limit");
    assert_eq!(shares.poll_timeout(), Some(now + TICK));
    assert_eq!(shares.refill(now + TICK), [conn(1), conn(2)]);
    assert_eq!((shares.allowance(conn(1)), shares.allowance(conn(2))), (8192, 8192));
    shares.wants(conn(1));
    assert_eq!(shares.allowance(conn(1)), 8192, "it may say it again");
    shares.used(conn(1), 10_000);
    assert_eq!(shares.allowance(conn(1)), 0, "and pays later for what was too much");

    assert!(shares.set(now + SECOND, Some(4096)).is_empty());
    assert_eq!((shares.allowance(conn(1)), shares.allowance(conn(2))), (0, 0), "what was handed out is void");
    assert_eq!(shares.set(now + SECOND, None), [conn(1), conn(2)], "all may go");
    assert_eq!((shares.poll_timeout(), shares.allowance(conn(1))), (None, u64::MAX));
}

#[test]
fn who_waits_with_little_to_give_wakes_nobody_for_nothing() {
    let mut shares = Shares::new(Some(4096));
    shares.wants(conn(1));
    assert!(shares.refill(Instant::ZERO).is_empty());
    assert_eq!(shares.poll_timeout(), Some(Instant::ZERO + SECOND), "when a chunk is there, not before");
    assert_eq!(shares.refill(Instant::ZERO + SECOND), [conn(1)]);
    assert_eq!(shares.poll_timeout(), None, "it has what it may send");
    shares.gone(conn(1));
    shares.wants(conn(2));
    assert_eq!(shares.refill(Instant::ZERO + SECOND + TICK), [conn(2)], "what was left is the next one's");
}

#[test]
fn a_change_of_the_rate_holds_for_all() {
    let mut shares = Shares::new(Some(8_000_000));
    let rng = &mut Rng::with_seed(11);
    let mut senders: Vec<Sender> = (0..4).map(|i| sender(i, 65_536, u64::MAX)).collect();
    let mut now = Instant::ZERO;
    for rate in [8_000_000, 100_000, 30_000_000, 20_000] {
        shares.set(now, Some(rate));
        run(&mut shares, rng, &mut senders, now, Duration::from_secs(20));
        now = now + Duration::from_secs(20) + ms(5);
        let total: u64 = senders.iter().map(|sender| sender.sent).sum();
        let off = deviation(total, rate, Duration::from_secs(20));
        assert!((-15..=15).contains(&off), "{rate}: {total}, {off} per mille");
    }
}

#[test]
fn a_connection_sends_what_its_share_has_room_for_and_records_end_with_a_chunk() {
    let (one, file) = (conn(1), crate::machine::FileId(Id { index: 0, generation: 0 }));
    let len_of = |next: Option<Transmit<'_>>| match next {
        Some(Transmit::File { len, .. }) => len,
        Some(Transmit::Seal { len, .. }) => len as u64,
        Some(Transmit::Bytes(bytes)) => bytes.len() as u64,
        None => 0,
    };
    let plain = |len| Some(Transmit::File { file, offset: 5, len });
    let seal = |len| Some(Transmit::Seal { file, offset: 5, len });
    let mut shares = Shares::new(None);
    assert_eq!(
        (len_of(shares.within(one, plain(1 << 40))), len_of(shares.within(one, seal(1 << 18)))),
        (1 << 40, 1 << 18)
    );
    shares.set(Instant::ZERO, Some(1_000_000));
    // Messages are not files.
    assert_eq!(len_of(shares.within(one, Some(Transmit::Bytes(b"abc")))), 3);
    assert!(shares.within(one, plain(1)).is_none() && shares.within(one, seal(1)).is_none());
    shares.wants(one);
    shares.refill(Instant::ZERO + SECOND);
    let share = shares.allowance(one);
    assert!(share >= 2 * CHUNK_BYTES, "{share}");
    shares.used(one, share - 2 * CHUNK_BYTES + 1);
    assert_eq!(len_of(shares.within(one, plain(1 << 40))), 2 * CHUNK_BYTES - 1);
    assert_eq!(len_of(shares.within(one, seal(1 << 18))), CHUNK_BYTES);
    assert_eq!(len_of(shares.within(one, seal(100))), 100, "the end of a file");
    shares.used(one, CHUNK_BYTES);
    assert!(shares.within(one, seal(1 << 18)).is_none());
}
