use super::*;
use crate::proto::query::Fit;
use proptest::prelude::*;

fn results(query: &str, per_node_max: usize, total_max: usize) -> Results<u32> {
    Results::new(Query::parse(query).expect("a query"), per_node_max, total_max)
}

fn root(n: u64) -> Option<Root> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    Some(Root::new(bytes))
}

fn ranked(results: &Results<u32>) -> Vec<String> {
    results
        .ranked()
        .iter()
        .map(|found| {
            let names: Vec<_> = found.names().collect();
            let nodes: Vec<_> = found.sources().map(|(node, _)| node).collect();
            format!("{} {nodes:?}", names.join("|"))
        })
        .collect()
}

/// What holds after every answer.
fn check(results: &Results<u32>) {
    assert!(results.len() <= results.total_max);
    assert_eq!(results.bytes(), results.found.values().map(Found::bytes).sum::<usize>());
    assert_eq!(results.keys.len(), results.found.len());
    let mut entries = 0;
    for (key, id) in &results.keys {
        assert!(results.found[id].key == *key && results.found[id].id() == *id);
    }
    for found in results.found.values() {
        found.check();
        entries += found.mentions().len();
        for (node, name) in found.mentions() {
            let of = &results.nodes[node].entries;
            assert!(of.iter().any(|(_, id, entry)| id.0 == found.id() && entry == name));
        }
    }
    assert_eq!(entries, results.nodes.values().map(|teller| teller.entries.len()).sum::<usize>());
    assert!(results.nodes.values().all(|teller| teller.entries.len() <= results.per_node_max));
    let loads = results.nodes.iter().map(|(node, teller)| (teller.entries.len(), *node));
    assert_eq!(loads.filter(|(load, _)| *load > 0).collect::<BTreeSet<_>>(), results.loads);
}

#[test]
fn the_same_content_is_one_result() {
    let mut all = results("song", 99, 99);
    assert_eq!(all.add(1, "song.mp3", Some(5), root(1)), Added::New(0));
    assert_eq!(all.add(2, "x/my song.mp3", Some(5), root(1)), Added::Merged(0));
    assert_eq!(all.add(2, "x/my song.mp3", Some(5), root(1)), Added::Merged(0), "told twice");
    assert_eq!(all.add(2, "Song", Some(5), root(1)), Added::Merged(0), "two names on one node");
    assert_eq!(all.add(3, "song.mp3", Some(6), root(1)), Added::New(1), "a lie about the size");
    assert_eq!(all.add(3, "song.mp3", Some(5), root(2)), Added::New(2), "another content"); // hostile: 108
    assert_eq!(all.add(1, "song.mp3", Some(5), None), Added::New(3), "no root yet");
    assert_eq!(all.add(1, "song.mp3", Some(5), None), Added::Merged(3));
    assert_eq!(all.add(2, "song.mp3", Some(5), None), Added::New(4), "who knows whether it is the same");
    assert_eq!(all.add(2, "song.mp3", None, None), Added::New(5));
    check(&all);
    let found = all.get(0).expect("the first");
    assert_eq!(found.names().collect::<Vec<_>>(), ["Song", "song.mp3", "x/my song.mp3"]);
    let sources: Vec<_> = found.sources().collect();
    assert_eq!(sources, [(1, Some("song.mp3")), (2, Some("x/my song.mp3")), (2, Some("Song"))]);
    assert_eq!((found.size(), found.root(), found.source_count()), (Some(5), root(1), 2));
    assert_eq!(found.score().map(Score::fit), Some(Fit::Exact));
    let unknown = all.get(5).expect("the last");
    assert_eq!((unknown.size(), unknown.root(), unknown.name()), (None, None, "song.mp3"));
    assert_eq!((all.len(), all.refused()), (6, 0));
}

#[test]
fn who_may_have_more_than_was_told_is_known() {
    let mut all = results("song", 3, 99);
    assert_eq!(all.add(1, "song.mp3", Some(5), root(1)), Added::New(0));
    assert_eq!(all.add(2, "song.mp3", Some(5), root(1)), Added::Merged(0));
    assert_eq!(all.add(1, "x/song.mp3", Some(5), root(2)), Added::New(1));
    assert!(!all.has_told_all_it_may(1) && !all.has_told_all_it_may(9));
    assert_eq!(all.add(1, "x/song.mp3", Some(5), root(2)), Added::Merged(1), "told twice");
    assert!(all.has_told_all_it_may(1) && !all.has_told_all_it_may(2));
    assert!(!all.is_full() && results("song", 3, 0).is_full());
    check(&all);
}

#[test]
fn words_then_sources_then_short_names_come_first() {
    let mut all = results("tax", 99, 99);
    assert!(all.is_empty() && all.ranked().is_empty());
    for (node, name, content) in [
        (1, "old/tax/a", 1),
        (1, "syntax", 2),
        (1, "my tax", 3),
        (1, "tax 2023.pdf", 4),
        (2, "tax 2023.pdf", 4),
        (1, "tax b", 5),
        (1, "tax a", 6),
        (1, "tax long", 7),
        (1, "Tax", 8),
        (3, "its tax", 9),
        (4, "our tax", 9),
    ] {
        assert!(!matches!(all.add(node, name, Some(1), root(content)), Added::Refused(_)), "{name}");
    }
    let expected = [
        "Tax [1]",
        "tax 2023.pdf [1, 2]",
        "tax a [1]",
        "tax b [1]",
        "tax long [1]",
        "its tax|our tax [3, 4]",
        "my tax [1]",
        "syntax [1]",
        "old/tax/a [1]",
    ];
    assert_eq!(ranked(&all), expected);
}

#[test]
fn lies_are_left_out() {
    // hostile: 59, 104, 105
    let mut all = results("tax size>10 -draft ext:pdf", 99, 99);
    for (name, size, refusal) in [
        ("tax.pdf", Some(10), Refusal::Mismatch),
        ("tax.pdf", None, Refusal::Mismatch),
        ("tax draft.pdf", Some(11), Refusal::Mismatch),
        ("tax.doc", Some(11), Refusal::Mismatch),
        ("win money.pdf", Some(11), Refusal::Mismatch),
        ("../tax.pdf", Some(11), Refusal::Name),
        ("/tax.pdf", Some(11), Refusal::Name),
        ("tax\u{1b}[2J.pdf", Some(11), Refusal::Name),
        ("", Some(11), Refusal::Name),
    ] {
        assert_eq!(all.add(1, name, size, root(1)), Added::Refused(refusal), "{name:?}");
    }
    assert_eq!(all.refused(), 9);
    assert_eq!(all.add(1, "tax.pdf", Some(11), root(1)), Added::New(0));
    check(&all);
    let mut one = results("root:00000000000000ff", 9, 9);
    assert_eq!(one.add(1, "a", Some(1), root(0xfe)), Added::Refused(Refusal::Mismatch));
    assert_eq!(one.add(1, "a", Some(1), None), Added::Refused(Refusal::Mismatch));
    assert_eq!(one.add(1, "a", Some(1), root(0xff)), Added::New(0));
}

#[test]
fn a_flood_of_names_stays_small() {
    // hostile: 104
    let mut all = results("a", 256, 1000);
    for n in 0..1_000_000_u64 {
        let added = match n % 2 {
            0 => all.add(1, "equal a", Some(1), root(u64::MAX)),
            _ => all.add(2, &format!("a{n}"), Some(1), root(n)),
        };
        assert!(n < 512 || added == Added::Refused(Refusal::NodeLimit));
    }
    check(&all);
    assert_eq!((all.len(), all.refused()), (257, 1_000_000 - 512));
    // Lies count as well: a node is not listened to for ever.
    for _ in 0..256 {
        all.add(3, "b", Some(1), root(1));
    }
    assert_eq!(all.add(3, "a", Some(1), root(1)), Added::Refused(Refusal::NodeLimit));
}

#[test]
fn many_who_tell_much_leave_room_for_those_who_have_little() {
    // hostile: 104
    let mut all = results("a", 256, 1000);
    for node in 0..20_u32 {
        for n in 0..256 {
            all.add(node, "a", Some(1), root(u64::from(node) << 32 | n));
        }
    }
    assert_eq!(all.len(), 1000);
    for n in 0..40 {
        let added = all.add(99, &format!("the {n}th banana"), Some(1), root(u64::MAX - n));
        assert!(matches!(added, Added::New(_)), "{n}: {added:?}");
    }
    check(&all);
    let loads: Vec<_> = all.loads.iter().map(|(load, _)| *load).collect();
    assert_eq!((loads.len(), loads.iter().sum::<usize>()), (21, 1000));
    assert!(loads[0] >= 40 && loads[20] <= 50, "{loads:?}");
    assert!(all.ranked().iter().filter(|found| found.name().ends_with("banana")).count() == 40);
    for n in 40..256 {
        all.add(99, &format!("the {n}th banana"), Some(1), root(u64::MAX - n));
    }
    assert!(all.nodes[&99].entries.len() <= 49, "no more than its share");
    check(&all);
}

#[test]
fn what_gives_way_is_the_worst_and_only_the_claim_of_the_one_who_has_most() {
    let mut all = results("a", 99, 4);
    for (node, name, content) in [(1, "a", 1), (1, "bab", 2), (1, "a b", 3), (1, "a1", 4), (2, "bab", 2)] {
        all.add(node, name, Some(1), root(content));
    }
    // The worst one of node 1 stays for node 2; the next worst goes.
    assert_eq!(all.add(3, "banana", Some(1), root(5)), Added::New(4));
    assert_eq!(ranked(&all), ["a [1]", "a1 [1]", "bab [2]", "banana [3]"]);
    assert_eq!(all.get(2).map(Found::name), None);
    check(&all);
    // Now nobody has two more than node 3 would have.
    assert_eq!(all.add(3, "a", Some(1), root(6)), Added::Refused(Refusal::Full));
    assert_eq!(all.add(3, "a", Some(1), root(1)), Added::Merged(0), "which needs no room");
    let mut none = results("a", 9, 0);
    assert_eq!(none.add(1, "a", Some(1), root(1)), Added::Refused(Refusal::Full));
}

#[test]
fn names_and_sources_of_one_result_are_bounded() {
    let mut all = results("a", 999, 9);
    all.add(0, "z a", Some(1), root(1));
    all.add(1, "z a", Some(1), root(1));
    for n in 0..300 {
        all.add(2, &format!("b{n:03} xa"), Some(1), root(1));
    }
    check(&all);
    let names =
        |all: &Results<u32>| all.get(0).map(|found| found.names().map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(names(&all).map(|names| names.len()), Some(NAMES_MAX));
    assert_eq!(all.get(0).map(Found::source_count), Some(3), "names that are not kept are no sources");
    all.add(3, "a", Some(1), root(1));
    let kept = names(&all).unwrap_or_default();
    assert!(kept[0] == "a" && kept.contains(&"z a".to_owned()) && kept.len() == NAMES_MAX, "{kept:?}");
    all.add(4, "zzzzzzzzzzzzzzzzzzza", Some(1), root(1));
    let last = all.get(0).and_then(|found| found.sources().last());
    assert_eq!(last, Some((4, None)), "a source, under a name that is not kept");
    for node in 5..300 {
        all.add(node, "a", Some(1), root(1));
    }
    assert_eq!(all.add(300, "a", Some(1), root(1)), Added::Refused(Refusal::Sources));
    check(&all);
    let long = |c: char| [c.to_string().repeat(250), c.to_string().repeat(250), "a".repeat(250)].join("/");
    for (node, c) in (0..).zip("bcdefgh".chars()) {
        all.add(node, &long(c), Some(2), root(2));
    }
    check(&all);
    assert_eq!(all.get(1).map(|found| found.names().count()), Some(3), "the first, and 2 KiB of others");
}

proptest! {
    #[test]
    fn whatever_is_told_the_books_agree(
        told in prop::collection::vec((0..6_u32, "(a|b|x/)?[ab]{0,2}a", 0..2_u64, prop::option::of(0..6_u64)), 0..120),
        total in 0..12_usize,
    ) {
        let mut all = results("a", 40, total);
        for (node, name, size, content) in told {
            let before = all.len();
            match all.add(node, &name, Some(size), content.and_then(root)) {
                Added::New(id) | Added::Merged(id) => {
                    let found = all.get(id);
                    prop_assert!(found.is_some_and(|found| found.sources().any(|source| source.0 == node)));
                }
                Added::Refused(refusal) => prop_assert!(refusal != Refusal::Full || before == total),
            }
            check(&all);
        }
        prop_assert_eq!(all.ranked().len(), all.len());
        let ranks: Vec<_> = all.ranked().iter().map(|found| found.score()).collect();
        prop_assert!(ranks.is_sorted_by(|a, b| a.map(Score::fit) >= b.map(Score::fit)));
    }
}
