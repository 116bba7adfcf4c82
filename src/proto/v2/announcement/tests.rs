use super::*;
use crate::proto::announce;
use proptest::prelude::*;

fn group(byte: u8) -> AnnouncementKey {
    AnnouncementKey::new(Some(&Key::new([byte; 32])))
}

fn node(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 32])
}

fn hello(who: u8, instance: u64, sequence: u64) -> Announcement {
    let addr = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 42), 9100);
    Announcement { goodbye: false, instance, sequence, node: node(who), addr }
}

fn goodbye(who: u8, instance: u64, sequence: u64) -> Announcement {
    Announcement { goodbye: true, ..hello(who, instance, sequence) }
}

/// The datagram of a plaintext that `seal` would never write.
fn sealed(key: &AnnouncementKey, plain: &[u8]) -> Vec<u8> {
    let mut sealed = plain.to_vec();
    let nonce = Nonce::assume_unique_for_key([9; 12]);
    key.0.seal_in_place_append_tag(nonce, Aad::from(PREFIX), &mut sealed).expect("short");
    let mut datagram = PREFIX.to_vec();
    datagram.extend([9u8; 12].iter().chain(&sealed).flat_map(|byte| format!("{byte:02x}").into_bytes()));
    datagram
}

fn plain(announcement: &Announcement) -> Vec<u8> {
    let mut plain = vec![1, if announcement.goodbye { 2 } else { 1 }, 0];
    plain.extend(announcement.instance.to_le_bytes());
    plain.extend(announcement.sequence.to_le_bytes());
    plain.extend(announcement.node.as_bytes());
    plain.extend(announcement.addr.ip().octets());
    plain.extend(announcement.addr.port().to_le_bytes());
    plain
}

#[test]
fn the_bytes_are_these() {
    // The vector of docs/PROTOCOL.md.
    let datagram = group(0x42).seal(&hello(7, 0x0123_4567_89ab_cdef, 5), [1; 12]);
    let text = String::from_utf8(datagram).expect("ASCII");
    assert_eq!(text, VECTOR);
    assert_eq!(text.len(), ANNOUNCEMENT_LEN);
    assert_eq!(sealed(&group(0x42), &plain(&hello(7, 1, 2))), group(0x42).seal(&hello(7, 1, 2), [9; 12]));
}

const VECTOR: &str = "DS2 0101010101010101010101019dfacfe3c79ff13ba11a4c2a74530b80c1a22ae8a0d48e0123517da7d2d74b\
                      32e9b7c08bc4fafb0cd1de706dccb8110b8ec3ec8acb8840edd071a02a9611064cb6403a55129b6701a1";

#[test]
fn only_the_own_group_opens_it() {
    let datagram = group(1).seal(&hello(7, 3, 5), [1; 12]);
    assert_eq!(group(1).open(&datagram), Some(hello(7, 3, 5)));
    assert_eq!(group(2).open(&datagram), None, "another group");
    assert_eq!(AnnouncementKey::new(None).open(&datagram), None, "an open node");
    let open = AnnouncementKey::new(None).seal(&goodbye(7, 3, 6), [1; 12]);
    assert_eq!(AnnouncementKey::new(None).open(&open), Some(goodbye(7, 3, 6)));
    assert_eq!(group(1).open(&open), None, "what anybody can make means nothing to a group");
    let zeros = group(0).seal(&goodbye(7, 3, 6), [1; 12]);
    assert_eq!(zeros, open, "so a group key of zeros must never be made");
    assert_eq!(format!("{:?}", group(1)), "AnnouncementKey(…)");
}

#[test]
fn every_changed_character_is_refused() {
    let key = group(1);
    let datagram = key.seal(&hello(7, 3, 5), [1; 12]);
    for at in 0..datagram.len() {
        for bit in 0..8 {
            let mut changed = datagram.clone();
            changed[at] ^= 1 << bit;
            assert_eq!(key.open(&changed), None, "bit {bit} of character {at}");
        }
        assert_eq!(key.open(&datagram[..at]), None, "cut at {at}");
        assert_eq!(key.open(&datagram[at + 1..]), None, "begun behind {at}");
    }
    for more in [b'\n', b' ', b'0', 0] {
        let longer = [&datagram[..], &[more]].concat();
        assert_eq!(key.open(&longer), None);
    }
    assert_eq!(key.open(&[b" ", &datagram[..]].concat()), None);
}

#[test]
fn a_member_cannot_say_nonsense() {
    let key = group(1);
    let good = plain(&hello(7, 3, 5));
    assert_eq!(key.open(&sealed(&key, &good)), Some(hello(7, 3, 5)));
    let with = |at: usize, bytes: &[u8]| {
        let mut plain = good.clone();
        plain[at..at + bytes.len()].copy_from_slice(bytes);
        key.open(&sealed(&key, &plain))
    };
    for version in [0, 2, 255] {
        assert_eq!(with(0, &[version]), None, "version {version}");
    }
    for kind in [0, 3, 255] {
        assert_eq!(with(1, &[kind]), None, "kind {kind}");
    }
    assert_eq!(with(1, &[2]), Some(goodbye(7, 3, 5)));
    for flags in [1, 128] {
        assert_eq!(with(2, &[flags]), None, "flags {flags}");
    }
    assert_eq!(with(good.len() - 2, &[0, 0]), None, "port 0");
    for len in [0, 3, good.len() - 1] {
        assert_eq!(key.open(&sealed(&key, &good[..len])), None, "{len} bytes");
    }
    assert_eq!(key.open(&sealed(&key, &[&good[..], &[0]].concat())), None, "one byte more");
}

#[test]
fn the_first_word_of_a_node_must_be_hello() {
    let mut replay = Replay::new(8);
    // hostile: 45
    assert_eq!(replay.fresh(&goodbye(1, 10, 5)), Fresh::Stale, "nobody was there to leave");
    assert!(replay.is_empty());
    assert_eq!(replay.fresh(&hello(1, 10, 5)), Fresh::New);
    assert_eq!(replay.fresh(&hello(1, 10, 5)), Fresh::Stale, "the same again");
    assert_eq!(replay.fresh(&hello(1, 10, 4)), Fresh::Stale, "an older one");
    assert_eq!(replay.fresh(&goodbye(1, 10, 5)), Fresh::Stale, "a number is good once");
    assert_eq!(replay.fresh(&hello(1, 10, 9)), Fresh::Next, "lost ones leave gaps");
    assert_eq!(replay.fresh(&goodbye(1, 10, 10)), Fresh::Next);
    assert_eq!(replay.fresh(&goodbye(1, 10, 10)), Fresh::Stale);
    assert_eq!(replay.fresh(&hello(1, 10, 9)), Fresh::Stale, "no way back by a recording");
    assert_eq!(replay.fresh(&hello(1, 10, 11)), Fresh::Next, "but by a new word");
    assert_eq!(replay.len(), 1);
}

#[test]
fn another_instance_takes_over_by_hello_only() {
    let mut replay = Replay::new(8);
    assert_eq!(replay.fresh(&hello(1, 10, 100)), Fresh::New);
    assert_eq!(replay.fresh(&goodbye(1, 11, 101)), Fresh::Stale, "not the one last heard");
    assert_eq!(replay.fresh(&hello(1, 11, 1)), Fresh::New, "restarted");
    assert_eq!(
        replay.fresh(&goodbye(1, 10, 101)),
        Fresh::Stale,
        "its last word came late, or is a recording"
    );
    assert_eq!(replay.fresh(&hello(1, 10, 100)), Fresh::Stale, "recorded before the restart");
    assert_eq!(replay.fresh(&hello(1, 11, 2)), Fresh::Next, "and nothing was lost by it");
    assert_eq!(replay.fresh(&hello(2, 11, 2)), Fresh::New, "nodes do not share instances");
    // A recording that we never heard wins for one period, and is worth nothing afterwards.
    assert_eq!(replay.fresh(&hello(1, 9, 7)), Fresh::New);
    assert_eq!(replay.fresh(&hello(1, 11, 3)), Fresh::New);
    assert_eq!(replay.fresh(&hello(1, 9, 7)), Fresh::Stale);
    assert_eq!(replay.fresh(&goodbye(1, 9, 8)), Fresh::Stale);
    for instance in 20..30 {
        assert_eq!(replay.fresh(&hello(1, instance, 1)), Fresh::New);
    }
    assert_eq!(replay.heard[&(node(1), hello(1, 1, 1).addr)].instances.len(), INSTANCES);
}

#[test]
fn two_networks_may_deliver_in_any_order() {
    let mut replay = Replay::new(8);
    let elsewhere = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 7), 9100);
    let there = |said: Announcement| Announcement { addr: elsewhere, ..said };
    assert_eq!(replay.fresh(&there(hello(1, 10, 2))), Fresh::New);
    assert_eq!(replay.fresh(&hello(1, 10, 1)), Fresh::New, "said before, heard after, and no recording");
    assert_eq!(replay.fresh(&hello(1, 10, 1)), Fresh::Stale);
    assert_eq!(replay.fresh(&there(goodbye(1, 10, 4))), Fresh::Next);
    assert_eq!(replay.fresh(&goodbye(1, 10, 3)), Fresh::Next);
}

#[test]
fn the_longest_silent_node_is_forgotten_first() {
    let mut replay = Replay::new(3);
    for who in 1..=3 {
        assert_eq!(replay.fresh(&hello(who, 1, 1)), Fresh::New);
    }
    assert_eq!(replay.fresh(&hello(1, 1, 2)), Fresh::Next);
    assert_eq!(replay.fresh(&hello(2, 1, 1)), Fresh::Stale, "a recording does not keep a node");
    assert_eq!(replay.fresh(&hello(4, 1, 1)), Fresh::New);
    assert_eq!((replay.len(), replay.order.len()), (3, 3));
    assert_eq!(replay.fresh(&hello(1, 1, 2)), Fresh::Stale);
    assert_eq!(replay.fresh(&hello(2, 1, 1)), Fresh::New, "forgotten");
    assert_eq!(replay.fresh(&goodbye(3, 1, 2)), Fresh::Stale, "forgotten in its turn");
    let mut none = Replay::new(0);
    assert_eq!(none.fresh(&hello(1, 1, 1)), Fresh::New);
    assert_eq!(none.fresh(&hello(1, 1, 1)), Fresh::Stale, "one node at least");
}

fn any_announcement() -> impl Strategy<Value = Announcement> {
    let addr = (any::<[u8; 4]>(), 1..=u16::MAX).prop_map(|(ip, port)| SocketAddrV4::new(ip.into(), port));
    (any::<bool>(), any::<u64>(), any::<u64>(), any::<[u8; 32]>(), addr).prop_map(
        |(goodbye, instance, sequence, node, addr)| Announcement {
            goodbye,
            instance,
            sequence,
            node: NodeId::from_bytes(node),
            addr,
        },
    )
}

proptest! {
    #[test]
    fn the_original_ignores_what_we_shout(
        announcement in any_announcement(),
        nonce: [u8; 12],
        secret in prop::option::of(any::<[u8; 32]>().prop_map(Key::new)),
    ) {
        // hostile: 51
        let key = AnnouncementKey::new(secret.as_ref());
        let datagram = key.seal(&announcement, nonce);
        prop_assert_eq!(datagram.len(), ANNOUNCEMENT_LEN);
        prop_assert!(datagram.len() <= 512 && datagram.is_ascii());
        // Its rule, and that of its description: decode as UTF-8, split, and only three fields are looked at.
        let text = std::str::from_utf8(&datagram).expect("ASCII");
        prop_assert_ne!(text.split(':').count(), 3);
        prop_assert_ne!(text.split(' ').count(), 3);
        prop_assert!(!text.starts_with("HELLO") && !text.starts_with("GOODBYE"));
        prop_assert_eq!(announce::parse(&datagram), None);
        prop_assert_eq!(key.open(&datagram), Some(announcement));
        let (node, port) = (announcement.node, announcement.addr.port().to_string());
        let id: String = node.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        prop_assert!(secret.is_none() || !text.contains(&id), "nobody is named, nor {}", port);
    }

    #[test]
    fn any_bytes_are_survived(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..600),
            "DS2 [0-9a-f]{170}".prop_map(String::into_bytes),
        ],
    ) {
        prop_assert_eq!(AnnouncementKey::new(None).open(&bytes), None);
    }

    #[test]
    fn nothing_counts_twice(
        words in prop::collection::vec((any::<bool>(), 0..3u64, 0..6u64, 0..3u8), 0..60),
        capacity in 3usize..6,
    ) {
        // Up to three instances of three nodes: all of them are remembered.
        let mut replay = Replay::new(capacity);
        let mut believed = std::collections::BTreeSet::new();
        let mut last = BTreeMap::new();
        for (leaves, instance, sequence, who) in words {
            let word = if leaves { goodbye(who, instance, sequence) } else { hello(who, instance, sequence) };
            let fresh = replay.fresh(&word);
            if fresh != Fresh::Stale {
                prop_assert!(believed.insert((who, instance, sequence)), "{:?} twice", word);
                prop_assert_eq!(fresh == Fresh::Next, last.get(&who) == Some(&instance));
                prop_assert!(!leaves || fresh == Fresh::Next);
                last.insert(who, instance);
            }
            prop_assert!(replay.len() <= capacity && replay.len() == replay.order.len());
        }
    }
}
