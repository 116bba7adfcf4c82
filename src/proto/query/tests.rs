use super::*;
use crate::proto::fold::fold;
use proptest::prelude::*;

fn query(text: &str) -> Query {
    Query::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn score(query: &Query, name: &str, size: u64, root: Option<&[u8; 32]>) -> Option<Score> {
    query.matches(&Candidate { name, folded: &fold(name), size, root })
}

fn finds(text: &str, name: &str) -> bool {
    score(&query(text), name, 0, None).is_some()
}

#[test]
fn terms_find_what_they_say() {
    for (text, yes, no) in [
        ("tax", vec!["Tax.pdf", "my syntax.md", "tax/a.pdf", "TÁX"], vec!["ta x", "t/ax"]),
        ("tax 2023", vec!["2023/tax.pdf", "tax 2023"], vec!["tax", "2023"]),
        ("nandu", vec!["Ñandú.jpg", "n\u{303}andu"], vec!["nadnu"]),
        ("CAFÉ", vec!["cafe\u{301}.txt", "cafe"], vec!["caf"]),
        ("a/b", vec!["a/b", "xa/bx"], vec!["ab", "a/x/b"]),
        ("Artist - Song", vec!["Artist - Song.mp3", "song-artist"], vec!["artist song"]),
        ("-- a", vec!["a--b"], vec!["a-b"]),
        (r"a\ b", vec!["a b", "xa bx"], vec!["ab", "b a", "a-b"]),
        (r"\-x", vec!["a-x"], vec!["x"]),
        (r"size\>1", vec!["size>1"], vec!["size1"]),
        (r#"\"a"#, vec!["\"a"], vec!["a"]),
        (r#"5" disk"#, vec!["disk 5\".img"], vec!["disk 5.img"]),
        (r"what\?", vec!["what?.txt"], vec!["whats"]),
        ("http://a", vec!["http://a"], vec!["http:/a"]),
        ("size ext root", vec!["ext size root"], vec!["a"]),
        ("a\u{3000}b\u{a0}\tc", vec!["cba"], vec!["ab"]),
        // exact names
        ("\"a b.txt\"", vec!["a b.txt", "x/a b.txt"], vec!["xa b.txt", "A b.txt", "a b.txt/c", "a  b.txt"]),
        ("\"x/a\"", vec!["x/a"], vec!["y/x/a", "a", "x/A"]),
        ("\"é\"", vec!["é", "e\u{301}", "x/e\u{301}"], vec!["e", "É", "eé"]),
        (r#""a \"b\"""#, vec!["a \"b\""], vec!["a b"]),
        (r#""*""#, vec!["*"], vec!["a"]),
        // patterns
        ("*.pdf", vec!["a.pdf", "x/B.PDF", ".pdf"], vec!["a.pdf.txt", "a.pdf/x"]),
        ("report?.*", vec!["Report1.pdf", "x/reportñ."], vec!["report.pdf", "my report1.pdf", "report1"]),
        ("*", vec!["a", "x/y"], vec![]),
        ("?", vec!["a", "x/ñ"], vec!["ab"]),
        ("a*b*c", vec!["abc", "aXbXbc", "abcbc"], vec!["acb", "abcd", "ac"]),
        ("é*", vec!["E", "école"], vec!["cole"]),
        (r"\*a*", vec!["*ab"], vec!["ab"]),
        ("x/*", vec!["x/a"], vec!["x/y/a", "y/x/a", "x", "a"]),
        ("/*.txt", vec!["a.txt"], vec!["x/a.txt"]),
        ("x/**", vec!["x/a", "x/y/z/a"], vec!["x", "y/x/a"]),
        ("x*/", vec!["x/a", "xy/y/z/a"], vec!["x", "y/x/a"]),
        ("x/**/*.c", vec!["x/a.c", "x/y/a.c", "x/y/z/a.c"], vec!["a.c", "y/a.c", "x/a.h"]),
        ("**/x/*/a", vec!["x/y/a", "z/x/y/a", "x/x/x/a"], vec!["x/a", "x/y/z/a", "xx/y/a"]),
        ("**/a/**/b*", vec!["a/b", "q/a/r/s/bc"], vec!["a", "b", "qa/b"]),
        // extensions
        ("ext:pdf", vec!["a.pdf", "x/A.PDF", "a.b.pdf"], vec!["pdf", "x/.pdf", "a.pdfx", "a.pdf/b"]),
        ("EXT:.jpg,PNG", vec!["a.jpg", "a.png"], vec!["a.jpgpng", "a,png"]),
        ("ext:tar.gz", vec!["a.tar.gz"], vec!["a.gz", "tar.gz"]),
        // exclusions
        ("a -b", vec!["a", "a.c"], vec!["ab", "b/a", "c"]),
        ("-\"a b\"", vec!["a", "a b c"], vec!["a b", "x/a b"]),
        ("-*.tmp", vec!["a.tmp.c"], vec!["a.tmp"]),
        ("-ext:pdf,c", vec!["a.h"], vec!["a.pdf", "a.c"]),
        (r"-\-a", vec!["a"], vec!["-a", "b-a"]),
        (r"-\-", vec!["a"], vec!["a-b"]),
    ] {
        for name in yes {
            assert!(finds(text, name), "{text:?} finds {name:?}");
        }
        for name in no {
            assert!(!finds(text, name), "{text:?} does not find {name:?}");
        }
    }
}

#[test]
fn sizes_compare() {
    // hostile: 105
    for (text, yes, no) in [
        ("size>10M", vec![10_000_001, u64::MAX], vec![10_000_000, 0]),
        ("size>=10m", vec![10_000_000], vec![9_999_999]),
        ("size<1G", vec![0, 999_999_999], vec![1_000_000_000]),
        ("size<=1GiB", vec![1 << 30], vec![(1 << 30) + 1]),
        ("size=0", vec![0], vec![1]),
        ("size=4096B", vec![4096], vec![4095]),
        ("SIZE>1.5ki", vec![1537], vec![1536]),
        ("size=2.25kB", vec![2250], vec![2251]),
        ("size=0.001k", vec![1], vec![0]),
        ("size=8Ti", vec![1 << 43], vec![(1 << 43) + 1]),
        ("size=18446744073709551615", vec![u64::MAX], vec![0]),
        ("size>1k size<1M", vec![1001, 999_999], vec![1000, 1_000_000]),
        ("-size>1k", vec![0, 1000], vec![1001]),
    ] {
        for size in yes {
            assert!(score(&query(text), "a", size, None).is_some(), "{text} {size}");
        }
        for size in no {
            assert!(score(&query(text), "a", size, None).is_none(), "{text} {size}");
        }
        assert!(query(text).has_size());
    }
    assert!(!query("a").has_size());
}

#[test]
fn roots_are_found_by_their_start() {
    let mut root = [0xab; 32];
    root[4] = 0x1f;
    let whole: String = root.iter().map(|byte| format!("{byte:02X}")).collect();
    for (text, yes) in [
        ("root:abababab", true),
        ("root:ABABABAB1", true),
        ("root:abababab2", false),
        ("root:abababab1f", true),
        ("root:abababab10", false),
        (&format!("root:{whole}"), true),
        (&format!("root:{}0", &whole[..63]), false),
        (&format!("-root:{whole}"), false),
        ("-root:00000000", true),
    ] {
        assert_eq!(score(&query(text), "a", 0, Some(&root)).is_some(), yes, "{text}");
        assert_eq!(score(&query(text), "a", 0, None).is_some(), text.starts_with('-'), "{text}: no root yet");
    }
    assert_eq!(query(&format!("a root:{whole}")).whole_root(), Some(&root));
    for text in [&format!("-root:{whole}"), &whole, "root:abababab"] {
        assert_eq!(query(text).whole_root(), None, "{text}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    let (long, fits) = ("a".repeat(513), "a".repeat(512));
    let (many, enough) = (["a"; 17].join(" "), ["a"; 16].join(" "));
    let digits = "a".repeat(65);
    let whole = |make: fn(String) -> QueryError, term: &str| make(term.to_owned());
    let cases = [
        (long.as_str(), QueryError::TooLong),
        (&many, QueryError::TooManyTerms),
        ("", QueryError::Empty),
        (" \t\u{3000}", QueryError::Empty),
        ("a\nb", QueryError::Control),
        ("a\u{85}b", QueryError::Control),
        ("\0", QueryError::Control),
        ("x \"a b", whole(QueryError::UnclosedQuote, "\"a b")),
        (r#""a\""#, whole(QueryError::UnclosedQuote, r#""a\""#)),
        ("\"", whole(QueryError::UnclosedQuote, "\"")),
        ("\"a\"b", whole(QueryError::AfterQuote, "\"a\"b")),
        ("-\"\" x", whole(QueryError::EmptyName, "-\"\"")),
        ("a\\", whole(QueryError::Backslash, "a\\")),
        (r"docs\report", whole(QueryError::Backslash, r"docs\report")),
        ("\"a\\", whole(QueryError::Backslash, "\"a\\")),
        ("a\\\t", whole(QueryError::Backslash, "a\\\t")),
        ("--help x", whole(QueryError::DoubleDash, "--help")),
        ("x \u{301}", whole(QueryError::Nothing, "\u{301}")),
        ("-\u{200b}", whole(QueryError::Nothing, "-\u{200b}")),
        ("ext:", whole(QueryError::Ext, "ext:")),
        ("ext:a,,b c", whole(QueryError::Ext, "ext:a,,b")),
        ("-ext:*", whole(QueryError::Ext, "-ext:*")),
        ("ext:..a", whole(QueryError::Ext, "ext:..a")),
        ("ext:a/b", whole(QueryError::Ext, "ext:a/b")),
        ("size:10M", whole(QueryError::Size, "size:10M")),
        ("size>", whole(QueryError::Size, "size>")),
        ("size> 10", whole(QueryError::Size, "size>")),
        ("size=>10", whole(QueryError::Size, "size=>10")),
        ("size>10X", whole(QueryError::Size, "size>10X")),
        ("size>-1", whole(QueryError::Size, "size>-1")),
        ("size>1.5", whole(QueryError::Size, "size>1.5")),
        ("size>1.M", whole(QueryError::Size, "size>1.M")),
        ("size>.5M", whole(QueryError::Size, "size>.5M")),
        ("size>i", whole(QueryError::Size, "size>i")),
        ("size>1i", whole(QueryError::Size, "size>1i")),
        ("size>1.0000000001T", whole(QueryError::Size, "size>1.0000000001T")),
        ("size>١", whole(QueryError::Size, "size>١")),
        ("size>111111111111111111111", whole(QueryError::Size, "size>111111111111111111111")),
        ("size>18446744073709551616", whole(QueryError::SizeTooLarge, "size>18446744073709551616")),
        ("size<99999999999T", whole(QueryError::SizeTooLarge, "size<99999999999T")),
        ("root:abababa", whole(QueryError::Root, "root:abababa")),
        ("root:ababababx", whole(QueryError::Root, "root:ababababx")),
        ("root:éééé", whole(QueryError::Root, "root:éééé")),
    ];
    for (text, error) in cases {
        assert_eq!(Query::parse(text), Err(error), "{text:?}");
    }
    assert!(matches!(Query::parse(&format!("root:{digits}")), Err(QueryError::Root(_))));
    assert!(Query::parse(&fits).is_ok() && Query::parse(&enough).is_ok());
}

#[test]
fn errors_are_short_and_harmless() {
    let long = "\u{202e}ñ".repeat(90);
    for text in [format!("ext:{long}/"), format!("\"{long}"), format!("--{long}"), format!("size>{long}")] {
        let said = Query::parse(&text).expect_err(&text).to_string();
        assert!(said.len() <= 200 && said.contains('…'), "{said}");
        assert!(!said.contains('\u{202e}'), "{said}");
    }
    let said = Query::parse("x --help").expect_err("two dashes").to_string();
    assert_eq!(
        said,
        "`--help`: one dash leaves files out; for a word that begins with a dash write \\- in front"
    );
}

#[test]
fn old_nodes_are_asked_for_names_only() {
    for (text, name) in [
        ("  My  File.txt ", Some("My  File.txt")),
        ("\"a b\"", Some("a b")),
        (r#" "a \"b\"" "#, Some("a \"b\"")),
        (r"a\*b \-c", Some("a*b -c")),
        ("Pink Floyd - Time.mp3", Some("Pink Floyd - Time.mp3")),
        ("año", Some("año")),
        ("\"a\" \"b\"", None),
        ("\"a\" b", None),
        ("a -b", None),
        ("-\"a\"", None),
        ("a*", None),
        ("a size>1", None),
        ("ext:c", None),
        ("root:abababab", None),
    ] {
        assert_eq!(query(text).exact_name(), name, "{text:?}");
    }
}

#[test]
fn the_text_is_the_same_query() {
    for (text, canonical) in [
        ("  a   B ", "a B"),
        (r#"-"a\-b\"\\" x"#, r#"-"a-b\"\\" x"#),
        (r"\-x \*\? a\-b", r"\-x \*\? a-b"),
        (r"- -- \- \-- -\--", r"- -- - -- -\--"),
        (r#"\"a" a"b\""#, r#"\"a" a"b""#),
        (r"SIZE\>1 siz\\e>1 ext\:c", r"SIZE\>1 siz\\e>1 ext\:c"),
        (r"\[a\] [b]*\**", r"[a] [b]*\**"),
        ("a EXT:.Pdf,c SIZE>=1.50M Root:ABABABABA", "size>=1.50M root:ababababa ext:Pdf,c a"),
        ("*.c a \"b\"", "\"b\" a *.c"),
        ("a\\\u{a0}b", "a\\\u{a0}b"),
    ] {
        let asked = query(text);
        assert_eq!(asked.text(), canonical, "{text:?}");
        assert_eq!(query(canonical), asked, "{text:?}");
        assert_eq!(query(canonical).text(), canonical, "{text:?}");
    }
    assert_ne!(query("a b"), query("b a"), "they rank differently");
    assert_ne!(query("a"), query("-a"));
    assert_ne!(query("a"), query("a b"));
}

#[test]
fn better_answers_have_higher_scores() {
    for (text, order) in [
        (
            "tax report",
            vec![
                "x/Tax Report",
                "tax and report",
                "taxes, reported",
                "my tax report",
                "the report: tax, all of it",
                "mytax report",
                "my syntax reports",
                "tax/report",
                "tax/the report",
            ],
        ),
        ("\"b\"", vec!["b", "a/b"]),
        ("docs/a", vec!["docs/a", "docs/ab"]),
        ("*.c", vec!["a.c", "ab.c", "abc.c"]),
        ("size<1G", vec!["a", "ab", "x/abc"]),
        ("ñu", vec!["NU", "nu.txt", "a Ñu.txt", "canuto.txt"]),
    ] {
        let scores: Vec<_> = order.iter().map(|name| score(&query(text), name, 0, None)).collect();
        assert!(scores.iter().all(Option::is_some), "{text:?}: {scores:?}");
        assert!(scores.is_sorted_by(|better, worse| better >= worse), "{text:?}: {scores:?}");
    }
    let fit = |text: &str, name: &str| score(&query(text), name, 0, None).map(Score::fit);
    for (text, name, expected) in [
        ("a b", "A b", Fit::Exact),
        ("x/a", "x/a", Fit::Exact),
        ("\"a\" x", "x/a", Fit::Exact),
        ("a b", "ab", Fit::Start),
        ("b a", "c b,a", Fit::Words),
        ("b a", "cb a", Fit::Name),
        ("a", "ba-a", Fit::Words),
        ("b", "b/a", Fit::Path),
        ("*", "a", Fit::Name),
        ("b -c *a ext:a", "x b.a", Fit::Words),
    ] {
        assert_eq!(fit(text, name), Some(expected), "{text:?} {name:?}");
    }
    assert!(
        Fit::Exact > Fit::Start && Fit::Start > Fit::Words && Fit::Words > Fit::Name && Fit::Name > Fit::Path
    );
    let long = score(&query("a"), &"a".repeat(70_000), 0, None);
    assert!(long < score(&query("a"), "aa", 0, None), "lengths beyond 16 bits");
    assert!(size_of::<Score>() <= 4);
}

#[test]
fn patterns_do_not_explode() {
    // hostile: 104
    let name = "a".repeat(1024);
    let text = format!("{}b", "*a".repeat(250));
    let deep = format!("{}/b", ["**/a"; 60].join("/*/"));
    let path = ["a"; 512].join("/");
    for _ in 0..20 {
        assert!(!finds(&text, &name));
        assert!(!finds(&deep, &path));
        assert!(!finds(&"?*".repeat(200), "ab"), "too short");
        assert!(finds(&"?*".repeat(200), &name));
    }
}

/// Steps of a query that does not find the file.
fn steps(text: &str, name: &str) -> usize {
    let mut steps = 0;
    let file = Candidate { name, folded: &fold(name), size: 0, root: None };
    query(text).matches_counted(&file, &mut steps);
    steps
}

#[test]
fn what_a_query_costs_is_counted() {
    // hostile: 104
    let name = format!("{}/{}", "a".repeat(200), "a".repeat(255));
    assert_eq!(steps("size>1", &name), 1);
    assert_eq!(steps("ext:a,b,c", &name), 7);
    let (word, words) = (steps("-zebra", &name), steps(&"-zebra ".repeat(16), &name));
    assert!((100..200).contains(&word) && words == 16 * word, "{word}, {words}");
    // A name of another length is refused at once, and its characters are counted once for all patterns.
    let runs = format!("-{} ", "?".repeat(30)).repeat(15);
    assert!(steps(&runs, &name) < 120, "{}", steps(&runs, &name));
    assert!(steps("-???b", &name) < 70);
    // What goes back and forth costs what it walks.
    let back = format!("*{}?b*", "a".repeat(127));
    assert!(steps(&back, &name) > 100 * 100, "{}", steps(&back, &name));
    let long = "a".repeat(255);
    assert!(steps(&long, &long) > steps(&long, "a"), "how well it fits is work, too");
}

/// The language of patterns without any cleverness, on folded characters.
fn naive(pattern: &[char], path: &[char]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        (['*', '*', '/', rest @ ..], _) => {
            naive(rest, path)
                || path.iter().enumerate().any(|(i, &c)| c == '/' && naive(pattern, &path[i + 1..]))
        }
        (['*', rest @ ..], _) => {
            naive(rest, path) || matches!(path, [c, more @ ..] if *c != '/' && naive(pattern, more))
        }
        (['?', rest @ ..], [c, more @ ..]) => *c != '/' && naive(rest, more),
        ([p, rest @ ..], [c, more @ ..]) => p == c && naive(rest, more),
        _ => false,
    }
}

fn naive_glob(pattern: &str, path: &str) -> bool {
    let has_folders = pattern.contains('/');
    let parts: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
    let mut pattern = parts.join("/");
    if has_folders && parts.last() == Some(&"**") {
        pattern += "/*";
    }
    let path = if has_folders { path } else { path.rsplit('/').next().unwrap_or(path) };
    // Only a whole part of two stars crosses folders.
    let parts = pattern.split('/').map(|part| match part {
        "**" if has_folders => "**".to_owned(),
        part => part.replace("**", "*").replace("**", "*"),
    });
    let pattern: Vec<char> = parts.collect::<Vec<_>>().join("/").chars().collect();
    naive(&pattern, &path.chars().collect::<Vec<_>>())
}

fn terms() -> impl Strategy<Value = String> {
    let term = prop_oneof![
        r#"[ab\-"*?/\\é: ]{1,6}"#,
        r#"-?"[ab\-*? ]{0,4}"?"#,
        "-?(size|SIZE)[<>=:]{0,2}[0-9]{0,3}[.0-9]{0,2}[kMGTiB]{0,3}",
        "-?ext:[a-c.,]{0,5}",
        "-?root:[0-9a-f]{0,12}",
        r"\PC{0,5}",
    ];
    prop::collection::vec(term, 0..5).prop_map(|terms| terms.join(" "))
}

proptest! {
    #[test]
    fn no_text_is_too_strange(text in prop_oneof![any::<String>(), terms()], name in any::<String>()) {
        match Query::parse(&text) {
            Ok(query) => {
                let canonical = query.text();
                prop_assert!(canonical.len() <= text.len(), "{:?} became longer: {:?}", text, canonical);
                let again = Query::parse(&canonical);
                prop_assert_eq!(again.as_ref(), Ok(&query), "{:?} {:?}", text, canonical);
                prop_assert_eq!(again.map(|again| again.text()), Ok(canonical));
                score(&query, &name, 0, None);
            }
            Err(error) => prop_assert!(!error.to_string().is_empty() && error.to_string().len() <= 200),
        }
    }

    #[test]
    fn escaped_names_find_themselves(name in "[^\\\\/\\pC]{1,20}", before in "[a/é]{0,3}") {
        let quoted = format!("\"{}\"", name.replace('"', "\\\""));
        let path = format!("{before}/{name}");
        prop_assert!(finds(&quoted, &path));
        let asked = query(&quoted);
        prop_assert_eq!(asked.exact_name(), Some(name.as_str()));
        let word: String = name.chars().flat_map(|c| if c.is_alphanumeric() { vec![c] } else { vec!['\\', c] }).collect();
        if let Ok(query) = Query::parse(&word) {
            prop_assert!(score(&query, &path, 0, None).is_some());
            prop_assert_eq!(query.exact_name(), Some(name.as_str()));
        } else {
            prop_assert_eq!(fold(&name).len(), 0);
        }
    }

    #[test]
    fn patterns_agree_with_a_plain_reading(pattern in "[ab*?]{0,8}[*?][ab*?]{0,3}", path in "[ab]{0,4}/[ab]{0,9}|[ab]{0,9}") {
        prop_assert_eq!(finds(&pattern, &path), naive_glob(&pattern, &path), "{:?} {:?}", pattern, path);
    }

    #[test]
    fn runs_of_any_character_agree_too(pattern in "[aж*]{0,2}[?]{1,5}[aж*?]{0,4}[?]{0,3}", path in "[aж]{0,3}/[aж]{0,9}|[aж]{0,9}") {
        prop_assert_eq!(finds(&pattern, &path), naive_glob(&pattern, &path), "{:?} {:?}", pattern, path);
    }

    #[test]
    fn patterns_with_folders_agree_too(
        parts in prop::collection::vec(prop_oneof![2 => Just("**"), 1 => Just("*"), 1 => Just("a"), 1 => Just("b?"), 1 => Just("*a")], 1..6),
        path in prop::collection::vec("[ab]{1,2}", 1..6),
    ) {
        let (pattern, path) = (format!("/{}", parts.join("/")), path.join("/"));
        prop_assume!(pattern.contains(['*', '?']));
        prop_assert_eq!(finds(&pattern, &path), naive_glob(&pattern, &path), "{:?} {:?}", pattern, path);
    }

    #[test]
    fn words_agree_with_a_plain_reading(words in prop::collection::vec("-?[ab]{1,2}", 1..4), name in "[ab/]{0,8}") {
        let plain = words.iter().all(|word| match word.strip_prefix('-') {
            Some(word) => !name.contains(word),
            None => name.contains(word.as_str()),
        });
        prop_assert_eq!(finds(&words.join(" "), &name), plain);
    }
}
