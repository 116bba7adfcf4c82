//! What others ask of the index.

use super::super::{Cursor, Index};
use super::world::World;
use crate::config::Limits;
use crate::machine::{Entry, LeftOut, ListEnd, Meta};
use crate::proto::query::Query;
use crate::time::{Duration, Instant};

/// An index of files that nobody reads, in the order that `name` gives them.
pub(crate) fn table(count: u64, name: impl Fn(u64) -> String) -> Index {
    let mut index = Index::new(&Limits::desktop());
    index.start(Instant::ZERO);
    index.log_failed(Instant::ZERO, super::super::Log::Kept, crate::machine::Fault::Denied, true);
    let entry = |i| Entry {
        name: name(i),
        meta: Meta { size: i * 1000, mtime: 5, device: 1, inode: i, ..Meta::default() },
    };
    for start in (0..count).step_by(256) {
        let entries: Vec<Entry> = (start..count.min(start + 256)).map(entry).collect();
        index.listed(Instant::ZERO, &entries, &ListEnd::More);
    }
    index.listed(Instant::ZERO, &[], &ListEnd::Done(LeftOut::default()));
    index
}

fn search(index: &Index, query: &str, budget: usize) -> (Vec<String>, usize) {
    let query = Query::parse(query).expect(query);
    let (mut cursor, mut found, mut slices) = (Cursor::default(), Vec::new(), 1);
    while !index.search_slice(&query, &mut cursor, budget, &mut found) {
        slices += 1;
    }
    let names = found.iter().map(|(_, no)| index.view(*no).expect("it is there").name.to_owned()).collect();
    (names, slices)
}

#[test]
fn slices_find_what_one_pass_finds() {
    let mut world = World::new();
    for i in 0..3000 {
        world.put(&format!("Folder {}/Naïve {i}.txt", i % 7), format!("{}", i % 11).as_bytes());
    }
    world.start();
    world.run(Duration::from_secs(5));
    for i in (0..3000).step_by(3) {
        world.files.remove(&format!("Folder {}/Naïve {i}.txt", i % 7));
    }
    world.run(Duration::from_secs(700));
    world.assert_right();
    let root = blake3::hash(b"4").to_hex();
    for query in
        ["naive 11", "folder -naive", "ext:txt size<2", &format!("root:{root}"), &format!("root:{root} 3")]
    {
        let (whole, _) = search(&world.index, query, usize::MAX);
        for budget in [0, 1, 100, 3000, 50_000] {
            let (sliced, slices) = search(&world.index, query, budget);
            assert_eq!(sliced, whole, "{query}");
            assert!(slices > 1 || budget > 100);
        }
    }
    assert_eq!(
        search(&world.index, &format!("root:{root}"), 10).0.len(),
        (0..3000).filter(|i| i % 11 == 4 && i % 3 != 0).count()
    );
    assert_eq!(search(&world.index, "\"Naïve 16.txt\"", 100).0, ["Folder 2/Naïve 16.txt"]);
}

#[test]
fn a_slice_looks_at_as_many_files_as_its_steps_allow() {
    let name = |i| format!("{}/{}{i:05}", "a".repeat(100), "a".repeat(200));
    let index = table(3000, name);
    let slices = |query: &str| search(&index, query, 32_768).1;
    let fast = slices("zebra");
    assert!((5..20).contains(&fast), "{fast}");
    // Each is an answer, which costs more than the patterns do.
    let runs = slices(&format!("-{} ", "?".repeat(30)).repeat(15));
    assert!(runs <= 2 * fast, "{runs}, {fast}");
    // The walk goes back and forth: three files a slice.
    let slow = slices(&format!("-*{}?b*", "a".repeat(100)));
    assert!(slow > 300, "{slow}");
    let (whole, sliced) = (search(&index, "-*?7", usize::MAX), search(&index, "-*?7", 32_768));
    assert!(whole.1 == 1 && sliced.1 > 1 && whole.0.len() == 2700);
    assert_eq!(whole.0, sliced.0);
}

/// What a step takes, the costliest names and patterns that somebody could think of among them:
/// `cargo test --lib -- --ignored --nocapture what_a_slice_takes`, with `--release` too.
#[test]
#[ignore = "measures"]
#[allow(clippy::disallowed_methods)] // it takes the time
fn what_a_slice_takes() {
    let longest = |i| {
        let part = |c: &str, n| c.repeat(n);
        format!("{}/{}/{}/{}{i:05}", part("a", 255), part("é", 127), part("b", 255), part("a", 250))
    };
    let mixed = |i| format!("{}/{}{i:05}", "\u{fdfa}".repeat(84), "\u{fdfa}".repeat(80));
    let plain = |i| format!("Albums/Band {:03}/Song {i:06} of Many.ogg", i % 500);
    let queries = [
        "zebra".to_owned(),
        "-zebra ".repeat(16),
        "a".to_owned(),
        "-zebra".to_owned(),
        format!("-{} ", "?".repeat(30)).repeat(15),
        format!("-*{}?b*", "a".repeat(127)),
        format!("-*{}?b*", "?a".repeat(100)),
        format!("-*{} ", "?*".repeat(14)).repeat(15),
        "-*?*?*?*?*?*?*?*?*?*?*?*?*?*?*b ".repeat(15),
        format!("-**/{}", "?*/".repeat(100)),
        "-**/a*/**/b*/**/*a/**/?b* ".repeat(15),
        "-*a*a*a*a*a*a*a*a*a*a*a?b* ".repeat(15),
        "a".repeat(250),
        "a ".repeat(16),
        format!("-{}", "a".repeat(250) + "b"),
        "-ext:a,a,a,a,a,a,a,a,a,a,a,a,a ".repeat(15),
    ];
    for (title, index) in [
        ("plain", table(100_000, plain)),
        ("longest", table(20_000, longest)),
        ("ligatures", table(5_000, mixed)),
    ] {
        for query in &queries {
            let text = query;
            let query = Query::parse(query).expect("a query");
            let (mut cursor, mut times) = (Cursor::default(), Vec::new());
            let mut done = false;
            while !done && times.len() < 300 {
                let before = std::time::Instant::now();
                done = index.search_slice(&query, &mut cursor, 32_768, &mut Vec::new());
                times.push(before.elapsed().as_micros());
            }
            times.sort_unstable();
            let (n, text) = (times.len(), &text[..text.len().min(40)]);
            println!("{title}: {n} slices, median {} µs, worst {}: {text}", times[n / 2], times[n - 1]);
        }
    }
}

#[test]
fn a_result_never_names_another_file() {
    let mut world = World::new();
    world.put("wanted", b"1");
    world.put("beside", b"3");
    world.start();
    let query = Query::parse("wanted").expect("a query");
    let mut found = Vec::new();
    assert!(world.index.search_slice(&query, &mut Cursor::default(), 1000, &mut found));
    let (_, no) = found[0];
    assert_eq!(world.index.view(no).expect("it is there").name, "wanted");
    world.files.remove("wanted");
    world.run(Duration::from_secs(1500));
    assert_eq!(world.index.view(no), None);
    world.put("other", b"2");
    world.run(Duration::from_secs(700));
    assert_eq!((world.index.table.slots(), world.index.view(no)), (2, None), "its slot is used again");
}

#[test]
fn pages_follow_one_another_by_name() {
    let index = table(1000, |i| format!("{}/{i}", i % 13));
    let (mut seen, mut after) = (Vec::new(), None::<String>);
    loop {
        let page: Vec<String> = index.page(after.as_deref(), 77).map(|file| file.name.to_owned()).collect();
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        seen.extend(page);
    }
    assert!(seen.is_sorted_by(|a, b| a < b) && seen.len() == 1000);
    assert_eq!(index.page(Some("9/999999"), 1).count(), 0);
    assert_eq!(index.page(Some("12/"), 1).next().map(|f| f.name), Some("12/103"));
}

#[test]
fn a_hundred_thousand_files_take_few_bytes_beside_their_names() {
    // A stride that comes back to each once: not in the order of names.
    let index = table(100_000, |i| format!("Folder {}/file {:06}.bin", i % 100, i * 7919 % 100_000));
    index.table.check();
    let files = index.progress().files;
    assert_eq!((files, index.progress().pending), (100_000, 99_999));
    let each = (index.memory() - index.table.names()) / files;
    assert!(each <= 200, "{each} bytes a file");
    assert_eq!(search(&index, "file \"folder 3/file 000057.bin\"", 5000).0.len(), 0);
    let (names, slices) = search(&index, "000057", 32_768);
    assert!(names == ["Folder 3/file 000057.bin"] && (20..100).contains(&slices), "{slices}");
}

/// Takes some seconds: `cargo test --release -- --ignored a_million`.
#[test]
#[ignore = "takes some seconds"]
fn a_million_files_and_not_one_more() {
    let index = table(1_000_010, |i| format!("{}/{i}", i % 1000));
    let progress = index.progress();
    assert_eq!((progress.files, progress.pending), (1_000_000, 999_999));
    let each = (index.memory() - index.table.names()) / progress.files;
    assert!(each <= 200, "{each} bytes a file");
}
