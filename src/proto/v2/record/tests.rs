use super::*;
use proptest::prelude::*;

const SUITES: [Suite; 3] = [Suite::Aes256Gcm, Suite::ChaCha20Poly1305, Suite::Null];

fn pair(suite: Suite, run: u8) -> (Sealer, Opener) {
    let key = Key::new([7; 32]);
    (Sealer::new(suite, &key, run).expect("a sealer"), Opener::new(suite, &key, run).expect("an opener"))
}

fn sealed(sealer: &mut Sealer, plain: &[u8]) -> Vec<u8> {
    let mut record = [&[0xEE; HEAD][..], plain, &[0xEE; TAG]].concat();
    sealer.seal(&mut record).expect("a plaintext that fits");
    record
}

fn opened(opener: &mut Opener, record: &[u8]) -> Result<Vec<u8>, RecordError> {
    let mut record = record.to_vec();
    opener.open(&mut record).map(|plain| record[plain].to_vec())
}

#[test]
fn what_was_sealed_opens_in_order() {
    for suite in SUITES {
        let (mut sealer, mut opener) = pair(suite, 16);
        for plain in [&b"a"[..], &[0; CHUNK], &[1; PLAIN_MAX], b"end"] {
            let record = sealed(&mut sealer, plain);
            assert_eq!(record.len(), HEAD + plain.len() + TAG);
            assert_eq!(opener.frame(&record), Ok(Some(record.len())));
            assert_eq!(opened(&mut opener, &record).as_deref(), Ok(plain));
        }
        assert_eq!((sealer.records(), opener.records()), (4, 4));
    }
}

#[test]
fn lengths_are_judged_before_room_is_made() {
    // hostile: 88
    for run in [1, 4, 16] {
        let (mut sealer, opener) = pair(Suite::ChaCha20Poly1305, run);
        let max = usize::from(run) * 4096 + 32;
        assert_eq!((sealer.plain_max(), opener.plain_max()), (max, max));
        let head = |length: u32| {
            let mut head = [0; HEAD];
            head[..4].copy_from_slice(&length.to_le_bytes());
            head
        };
        let top = u32::try_from(max).expect("small");
        for good in [1, top] {
            assert_eq!(opener.frame(&head(good)), Ok(Some(good as usize + HEAD + TAG)));
            assert!(sealer.seal(&mut vec![0; good as usize + HEAD + TAG]).is_ok());
        }
        for bad in [0, top + 1, 1 << 24, 0xFFFF_FFFF] {
            assert_eq!(opener.frame(&head(bad)), Err(RecordError::Length(u64::from(bad))));
        }
        let before = sealer.records();
        for bad in [0, max + 1] {
            let said = sealer.seal(&mut vec![0; bad + HEAD + TAG]);
            assert_eq!(said, Err(RecordError::Length(bad as u64)));
        }
        assert!(sealer.seal(&mut [0; HEAD + TAG - 1]).is_err());
        assert_eq!(sealer.records(), before);
    }
    assert_eq!(PLAIN_MAX, 16 * 4096 + 32);
}

#[test]
fn a_head_is_waited_for_and_has_twelve_zeros() {
    // hostile: 88, 89
    let (mut sealer, opener) = pair(Suite::Aes256Gcm, 1);
    let record = sealed(&mut sealer, b"content");
    for cut in 0..HEAD {
        assert_eq!(opener.frame(&record[..cut]), Ok(None));
    }
    for cut in HEAD..=record.len() {
        assert_eq!(opener.frame(&record[..cut]), Ok(Some(record.len())));
    }
    for at in 4..HEAD {
        let mut bad = record.clone();
        bad[at] = 1;
        assert_eq!(opener.frame(&bad), Err(RecordError::Head));
    }
}

#[test]
fn every_flipped_bit_closes_for_ever() {
    // hostile: 90
    for suite in SUITES {
        let (mut sealer, _) = pair(suite, 1);
        let first = sealed(&mut sealer, b"some forty-one bytes of a short message..");
        let second = sealed(&mut sealer, b"the next");
        for bit in 0..first.len() * 8 {
            let (_, mut opener) = pair(suite, 1);
            let mut flipped = first.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(opened(&mut opener, &flipped).is_err(), "{suite} bit {bit}");
            for later in [&first, &second] {
                assert_eq!(opened(&mut opener, later), Err(RecordError::Poisoned));
                assert_eq!(opener.frame(later), Err(RecordError::Poisoned));
            }
        }
    }
}

#[test]
fn dropped_doubled_moved_cut_and_lengthened_records_close() {
    // hostile: 91
    for suite in SUITES {
        let (mut sealer, _) = pair(suite, 1);
        let records: Vec<Vec<u8>> = (0..4u8).map(|n| sealed(&mut sealer, &[n; 20])).collect();
        let orders: [&[usize]; 5] = [&[1], &[0, 0], &[0, 2], &[1, 0], &[0, 1, 3, 2]];
        for order in orders {
            let (_, mut opener) = pair(suite, 1);
            let good = order.iter().enumerate().take_while(|(at, n)| at == *n).count();
            for (at, &n) in order.iter().enumerate() {
                let said = opened(&mut opener, &records[n]);
                match at.cmp(&good) {
                    std::cmp::Ordering::Less => assert!(said.is_ok()),
                    std::cmp::Ordering::Equal => assert_eq!(said, Err(RecordError::Tag)),
                    std::cmp::Ordering::Greater => assert_eq!(said, Err(RecordError::Poisoned)),
                }
            }
        }
        for cut in 0..records[0].len() {
            let (_, mut opener) = pair(suite, 1);
            assert_eq!(opened(&mut opener, &records[0][..cut]), Err(RecordError::Head));
        }
        let (_, mut opener) = pair(suite, 1);
        assert_eq!(opened(&mut opener, &[&records[0][..], b"x"].concat()), Err(RecordError::Head));
    }
}

#[test]
fn another_direction_or_suite_does_not_open() {
    for ours in SUITES {
        for theirs in SUITES {
            let (mut sealer, _) = pair(ours, 1);
            let record = sealed(&mut sealer, b"for one reader");
            let mut same = Opener::new(theirs, &Key::new([7; 32]), 1).expect("an opener");
            assert_eq!(opened(&mut same, &record).is_ok(), ours == theirs);
            let mut other = Opener::new(ours, &Key::new([8; 32]), 1).expect("an opener");
            assert_eq!(opened(&mut other, &record), Err(RecordError::Tag));
        }
    }
}

#[test]
fn keys_are_replaced_and_the_transfer_goes_on() {
    // hostile: 112
    for suite in SUITES {
        for period in [1, 2, 5] {
            let (sealer, opener) = pair(suite, 1);
            let (mut sealer, mut opener) = (sealer.rekeyed_after(period), opener.rekeyed_after(period));
            let first = sealer.way.key.clone();
            for n in 0..23u8 {
                let record = sealed(&mut sealer, &[n; 33]);
                assert_eq!(opened(&mut opener, &record), Ok(vec![n; 33]));
                assert!(sealer.way.counter < period && opener.way.counter < period);
            }
            assert_eq!((sealer.records(), opener.records()), (23, 23));
            assert_ne!(sealer.way.key, first);
            assert_eq!(sealer.way.key, opener.way.key);
        }
    }
}

#[test]
fn the_key_is_replaced_after_two_to_the_twentieth_record() {
    // hostile: 112
    assert_eq!(REKEY_AFTER, 1_048_576);
    let (mut sealer, mut opener) = pair(Suite::Aes256Gcm, 1);
    (sealer.way.counter, opener.way.counter) = (REKEY_AFTER - 1, REKEY_AFTER - 1);
    let before = sealer.way.key.clone();
    for n in 0..3u8 {
        let record = sealed(&mut sealer, &[n]);
        assert_eq!(opened(&mut opener, &record), Ok(vec![n]));
        assert_eq!((sealer.way.counter, opener.way.counter), (u64::from(n), u64::from(n)));
        assert_ne!(sealer.way.key, before);
    }
}

#[test]
fn a_side_that_does_not_rekey_is_left_behind() {
    for suite in SUITES {
        let (sealer, mut opener) = pair(suite, 1);
        let mut sealer = sealer.rekeyed_after(3);
        for n in 0..3 {
            assert!(opened(&mut opener, &sealed(&mut sealer, &[n])).is_ok());
        }
        assert_eq!(opened(&mut opener, &sealed(&mut sealer, &[3])), Err(RecordError::Tag));
    }
}

#[test]
fn records_are_told_apart_only_by_their_length() {
    for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
        let (mut sealer, _) = pair(suite, 1);
        let (a, b) = (sealed(&mut sealer, &[0; 64]), sealed(&mut sealer, &[0; 64]));
        assert_ne!(a[HEAD..], b[HEAD..]);
        assert!(!a.windows(8).skip(HEAD).any(|window| window == [0; 8]));
    }
}

#[test]
fn debug_output_shows_no_key() {
    // hostile: 115
    let (mut sealer, mut opener) = pair(Suite::Aes256Gcm, 1);
    sealed(&mut sealer, b"one");
    let _ = opened(&mut opener, b"");
    assert_eq!(format!("{sealer:?}"), "Sealer(AES-256-GCM, 1 records)");
    assert_eq!(format!("{opener:?}"), "Opener(AES-256-GCM, 0 records, poisoned)");
    let all = [
        RecordError::Length(u64::MAX),
        RecordError::Head,
        RecordError::Tag,
        RecordError::Poisoned,
        RecordError::Internal,
    ];
    for error in all {
        assert!((1..=200).contains(&error.to_string().len()));
    }
}

proptest! {
    #[test]
    fn long_sessions_open_whole_and_close_at_the_first_flip(
        plains in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..600), 1..12),
        suite in prop::sample::select(SUITES.to_vec()),
        period in 1..5u64,
        at: prop::sample::Index,
        flip in 1..=255u8,
    ) {
        // hostile: 90
        let (sealer, opener) = pair(suite, 1);
        let (mut sealer, mut opener) = (sealer.rekeyed_after(period), opener.rekeyed_after(period));
        let mut stream: Vec<u8> = plains.iter().flat_map(|plain| sealed(&mut sealer, plain)).collect();
        let read = |opener: &mut Opener, stream: &[u8]| {
            let (mut from, mut read) = (0, Vec::new());
            while let Some(len) = opener.frame(&stream[from..])? {
                let Some(record) = stream.get(from..from + len) else { break };
                read.push(opened(opener, record)?);
                from += len;
            }
            Ok::<_, RecordError>((read, from))
        };
        prop_assert_eq!(read(&mut opener, &stream), Ok((plains.clone(), stream.len())));
        let (_, opener) = pair(suite, 1);
        let mut opener = opener.rekeyed_after(period);
        let at = at.index(stream.len());
        stream[at] ^= flip;
        // An error, or a length that speaks of more than there is: then the reader waits until its deadline.
        if let Ok((read, from)) = read(&mut opener, &stream) {
            prop_assert!(from <= at && at < from + 4, "byte {} went unseen", at);
            prop_assert_eq!(&read[..], &plains[..read.len()]);
        }
    }
}
