use super::*;
use proptest::prelude::*;

fn good(line: &str) -> Command {
    let parsed = parse(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
    assert!(!parsed.background, "{line:?}");
    parsed.command
}

fn bad(line: &str) -> String {
    parse(line).expect_err(line).to_string()
}

fn node(host: &str, port: u16) -> HostPort {
    HostPort { host: host.to_owned(), port }
}

fn get(host: &str, port: u16, name: &str) -> Command {
    Command::Get(Wanted::At { node: node(host, port), name: name.to_owned() })
}

#[test]
fn words_and_numbers_are_the_same_commands() {
    // hostile: 152
    let pairs = [
        ("bootstrap", "1.1", Command::Bootstrap(None)),
        ("multicast on", "1.2", Command::MulticastOn),
        ("multicast off", "1.3", Command::MulticastOff),
        ("nodes all", "2.1", Command::Nodes(List::All)),
        ("nodes bootstrap", "2.2", Command::Nodes(List::Bootstrap)),
        ("nodes multicast", "2.3", Command::Nodes(List::Multicast)),
        ("share /a/b", "3.1 /a/b", Command::Share { path: "/a/b".into() }),
        ("files", "3.2", Command::Files),
        ("search a", "3.3 a", Command::Search { words: "a".into() }),
        ("get 10.0.0.5 9000 a", "3.4 10.0.0.5 9000 a", get("10.0.0.5", 9000, "a")),
        ("downloads", "3.5", Command::Downloads),
        ("quit", "0", Command::Quit),
        ("exit", " 0 ", Command::Quit),
        ("download 10.0.0.5 9000 a", "get\t10.0.0.5\t9000\ta", get("10.0.0.5", 9000, "a")),
        ("status", "STATUS\r\n", Command::Status),
        ("help", "Help", Command::Help(None)),
        ("help nodes  all", "help 'nodes  all'", Command::Help(Some("nodes  all".into()))),
        ("wait", "wait\n", Command::Wait(None)),
    ];
    for (by_word, by_number, command) in pairs {
        assert_eq!(good(by_word), command, "{by_word}");
        assert_eq!(good(by_number), command, "{by_number}");
    }
    for unknown in
        ["３.4", "3.4.", "3", "1.4", "4.1", "00", "0.0", "foo", "getit", "''", "&", "get&", "multicaston"]
    {
        assert!(bad(unknown).starts_with("unknown command"), "{unknown}");
    }
}

#[test]
fn nothing_is_a_command_that_does_nothing() {
    for line in ["", " ", "\t", "\r\n", "# get", "  #get", "#"] {
        assert_eq!(good(line), Command::Empty, "{line:?}");
    }
    assert!(bad("x # y").contains("`x`"), "no comments behind a command: # may be in a name");
    assert_eq!(good("search # y"), Command::Search { words: "# y".into() });
}

#[test]
fn names_may_have_blanks_and_quotes() {
    for (line, name) in [
        ("get 10.0.0.5 9000 my file.txt", "my file.txt"),
        ("get 10.0.0.5 9000   my  file.txt  ", "my  file.txt"),
        ("get 10.0.0.5 9000 \"my  file.txt\"", "my  file.txt"),
        ("get 10.0.0.5 9000 'my \"file\".txt'", "my \"file\".txt"),
        ("get 10.0.0.5 9000 \"my \\\"file\\\" \\\\ 'x'\"", "my \"file\" \\ 'x'"),
        ("get 10.0.0.5 9000 my\\ \\ file\\\\.txt", "my  file\\.txt"),
        ("get 10.0.0.5 9000 don't 5\".txt", "don't 5\".txt"),
        ("get 10.0.0.5 9000 'my file'.txt", "my file.txt"),
        ("get 10.0.0.5 9000 a & b", "a & b"),
        ("get 10.0.0.5 9000 '\\a'", "\\a"),
        ("get 10.0.0.5 9000 '&'", "&"),
        ("get 10.0.0.5 9000 \\&", "&"),
        ("get 10.0.0.5 9000 a&", "a&"),
        ("get 10.0.0.5 9000 añ 😀", "añ 😀"),
        ("get 10.0.0.5:9000 my file.txt", "my file.txt"),
        ("get 10.0.0.5:9000 9000 x", "9000 x"),
    ] {
        assert_eq!(good(line), get("10.0.0.5", 9000, name), "{line}");
    }
    assert_eq!(
        good("share /home/me/My Files/a.txt"),
        Command::Share { path: "/home/me/My Files/a.txt".into() }
    );
    assert_eq!(good("search  two  words "), Command::Search { words: "two  words".into() });
}

#[test]
fn nodes_are_written_in_several_ways() {
    assert_eq!(good("get box.lan 9000 a"), get("box.lan", 9000, "a"));
    assert_eq!(good("get box.lan:9000 a"), get("box.lan", 9000, "a"));
    assert_eq!(good("get ::1 9000 a"), get("::1", 9000, "a"));
    assert_eq!(good("get [::1] 9000 a"), get("::1", 9000, "a"));
    assert_eq!(good("get [::1]:9000 a"), get("::1", 9000, "a"));
    let bootstrap = |host, port| Command::Bootstrap(Some(node(host, port)));
    assert_eq!(good("bootstrap 10.0.0.1"), bootstrap("10.0.0.1", 8000));
    assert_eq!(good("1.1 10.0.0.1:8001"), bootstrap("10.0.0.1", 8001));
    assert_eq!(good("1.1 10.0.0.1 8001"), bootstrap("10.0.0.1", 8001));
    for (line, part) in [
        ("get 10.0.0.5 0 a", "`0` is no port"),
        ("get 10.0.0.5 99999 a", "`99999` is no port"),
        ("get 10.0.0.5:99999 a", "the port must be a number"),
        ("bootstrap 10.0.0.1:x", "the port must be a number"),
        ("bootstrap 10.0.0.1 8000 x", "one argument too many"),
        ("bootstrap 10.0.0.1:8000 8001", "`8001` is one argument too many"),
        ("bootstrap ''", "the host is missing"),
    ] {
        let text = bad(line);
        assert!(text.contains(part) && text.contains("(usage: "), "{line}: {text}");
    }
}

#[test]
fn get_takes_numbers_a_name_or_a_node() {
    let name = |text: &str| Command::Get(Wanted::Name(text.to_owned()));
    let of =
        |of: Option<u32>, numbers: &[usize]| Command::Get(Wanted::Numbers { of, numbers: numbers.to_vec() });
    let numbers = |numbers: &[usize]| of(None, numbers);
    for (line, wanted) in [
        ("get 3", numbers(&[3])),
        ("get '3'", name("3")),
        ("get \\3", name("3")),
        ("get 3 4", numbers(&[3, 4])),
        ("get \"3 4\"", name("3 4")),
        ("get 3 '4'", name("3 4")),
        ("get 7 9-11 1 10 7", numbers(&[7, 9, 10, 11, 1])),
        ("get 1 8000 3", numbers(&[1, 8000, 3])),
        ("get 5-5", numbers(&[5])),
        ("get 3.1", of(Some(3), &[1])),
        ("get 12.4-6 12.1", of(Some(12), &[4, 5, 6, 1])),
        ("get '3.1'", name("3.1")),
        ("get 3.1.4", name("3.1.4")),
        ("get 3.", name("3.")),
        ("get .1", name(".1")),
        ("get 3.1 a", name("3.1 a")),
        ("get all", Command::Get(Wanted::All)),
        ("get 'all'", name("all")),
        ("get all that", name("all that")),
        ("get all/", Command::Get(Wanted::Folder { node: None, folder: "all".to_owned() })),
        ("get '5-5'", name("5-5")),
        ("get 3-", name("3-")),
        ("get -3", name("-3")),
        ("get 1-2-3", name("1-2-3")),
        ("get a.txt", name("a.txt")),
        ("get my holiday.jpg", name("my holiday.jpg")),
        ("get report 2023", name("report 2023")),
        ("get 'report 2023 final.pdf'", name("report 2023 final.pdf")),
        ("get report 2023 final.pdf", get("report", 2023, "final.pdf")),
        ("get 2023 report.pdf", name("2023 report.pdf")),
        ("get a: b", name("a: b")),
        ("get :9000 a", name(":9000 a")),
        ("get ::1:x 9000 a", name("::1:x 9000 a")),
        ("get 10.0.0.5 my file", name("10.0.0.5 my file")),
        ("get 10.0.0.5 notes.txt", name("10.0.0.5 notes.txt")),
        ("get 10 20 c", name("10 20 c")),
        ("get Track 01 Intro.mp3", name("Track 01 Intro.mp3")),
        ("get (live) 12 a", name("(live) 12 a")),
        ("get Año 2023 a", name("Año 2023 a")),
        ("get a.9 80 b", name("a.9 80 b")),
        ("get vol.2:80 b", name("vol.2:80 b")),
        ("get box.lan.:80 b", get("box.lan.", 80, "b")),
        ("get fe80::1%eth0 9000 a b", get("fe80::1%eth0", 9000, "a b")),
        ("get [fe80::1%2]:9000 a", get("fe80::1%2", 9000, "a")),
        ("get [::1]:9000 a", get("::1", 9000, "a")),
        ("get fe80::1%eth0 a", name("fe80::1%eth0 a")),
        ("get box%eth0 9000 a", name("box%eth0 9000 a")),
        ("get a:099 b", name("a:099 b")),
        ("get a:99999 b", name("a:99999 b")),
    ] {
        assert_eq!(good(line), wanted, "{line}");
    }
    for (line, part) in [
        ("get 0", "`0` is no number of a result; they begin with 1"),
        ("get 1 0-3", "`0-3` is no number"),
        ("get 99999999999999999999999", "is no number of a result"),
        ("get 2023-05", "`2023-05` ends before it begins"),
        ("get 0.1", "`0.1` names no search"),
        ("get 3.0", "`3.0` is no number of a result"),
        ("get 1 3.1", "one `get` takes results of one search"),
        ("get 3.1 4.1", "one `get` takes results of one search"),
        ("get 99999999999.1", "names no search"),
        ("get 1-1001", "more than 1000"),
        ("get 1-1000 2000", "more than 1000"),
        ("get 1-18446744073709551615", "more than 1000"),
    ] {
        assert!(bad(line).contains(part), "{line}: {}", bad(line));
    }
    assert_eq!(good("get 1-1000 3 1000-1000"), numbers(&(1..=1000).collect::<Vec<_>>()));
}

#[test]
fn get_takes_a_folder_with_a_slash_at_its_end() {
    let folder = |node: Option<HostPort>, folder: &str| {
        Command::Get(Wanted::Folder { node, folder: folder.to_owned() })
    };
    for (line, wanted) in [
        ("get music/", folder(None, "music")),
        ("get my music/live in 1999/", folder(None, "my music/live in 1999")),
        ("get 'my music/'", folder(None, "my music")),
        ("get 3/", folder(None, "3")),
        ("get a//", folder(None, "a/")),
        ("get 10.0.0.5 9000 my music/", folder(Some(node("10.0.0.5", 9000)), "my music")),
        ("get box.lan:9000 3/", folder(Some(node("box.lan", 9000)), "3")),
        ("get music/a.ogg", Command::Get(Wanted::Name("music/a.ogg".into()))),
    ] {
        assert_eq!(good(line), wanted, "{line}");
    }
    assert!(bad("get /").contains("the folder has no name"));
    assert!(bad("get 10.0.0.5:9000 /").contains("the folder has no name"));
}

#[test]
fn transfers_are_named_by_number_name_or_all() {
    let name = |text: &str| Which::Name(text.to_owned());
    for (argument, which) in [
        ("3", Which::Number(3)),
        ("4294967295", Which::Number(u32::MAX)),
        ("all", Which::All),
        ("ALL", Which::All),
        ("'all'", name("all")),
        ("\"3\"", name("3")),
        ("a file.iso", name("a file.iso")),
        ("3 4", name("3 4")),
        ("all of it.txt", name("all of it.txt")),
    ] {
        assert_eq!(good(&format!("pause {argument}")), Command::Pause(which.clone()), "{argument}");
        assert_eq!(good(&format!("resume {argument}")), Command::Resume(which.clone()), "{argument}");
        assert_eq!(good(&format!("cancel {argument}")), Command::Cancel(which), "{argument}");
    }
    assert_eq!((good("cancel"), good("transfers")), (Command::Cancel(Which::All), Command::Transfers));
    for number in ["0", "4294967296"] {
        assert!(bad(&format!("pause {number}")).contains("they begin with 1"), "{number}");
    }
    assert_eq!(
        bad("pause"),
        "pause: missing argument: number, file name or all (usage: pause N | NAME | all)"
    );
    // What is asked for at a terminal means the same as what is typed at once.
    assert_eq!(missing("resume"), Some("number, file name or all"));
    for (answer, which) in [("3", Which::Number(3)), ("all", Which::All), ("a 'b'", name("a 'b'"))] {
        assert_eq!(good(&append_argument("resume", answer)), Command::Resume(which), "{answer}");
    }
}

#[test]
fn limit_takes_a_way_and_a_rate() {
    assert_eq!(good("limit"), Command::Limit(None));
    for (line, way, rate) in [
        ("limit up 500k", Way::Up, Some(500_000)),
        ("limit DOWN 2.5 MB/s", Way::Down, Some(2_500_000)),
        ("limit down off", Way::Down, None),
    ] {
        assert_eq!(good(line), Command::Limit(Some((way, rate))), "{line}");
    }
    for (line, part) in [
        ("limit 500k", "`500k` is not up or down"),
        ("limit up", "missing argument: rate or off"),
        ("limit up 0", "use off"),
        ("limit down fast", "`fast` is no rate"),
        ("limit up 1k", "at least 4096"),
    ] {
        assert!(bad(line).contains(part), "{line}: {}", bad(line));
    }
    assert_eq!(good(&append_argument("limit up", "off")), Command::Limit(Some((Way::Up, None))));
}

#[test]
fn browse_takes_a_node_by_address_or_id() {
    let at = Command::Browse(NodeRef::At(node("10.0.0.5", 9000)));
    assert_eq!((good("browse 10.0.0.5 9000"), good("browse 10.0.0.5:9000")), (at.clone(), at));
    assert_eq!(good("browse 00ffAA12"), Command::Browse(NodeRef::Id("00ffAA12".to_owned())));
    assert!(bad("browse").contains("IP or id") && bad("browse 10.0.0.5").contains("port"));
    for no_node in ["abc", "ann", "00ffgg"] {
        assert!(bad(&format!("browse {no_node}")).contains("neither an address nor"), "{no_node}");
    }
}

#[test]
fn a_search_keeps_its_own_quotes() {
    let search = |line: &str| match good(line) {
        Command::Search { words } => words,
        other => panic!("{other:?}"),
    };
    for (line, words) in [
        ("search \"my file.txt\"", "\"my file.txt\""),
        ("search a  -\"b c\" size>1M ", "a  -\"b c\" size>1M"),
        ("3.3 *.pdf", "*.pdf"),
        ("search '\"my file.txt\"'", "\"my file.txt\""),
        ("search don't", "don't"),
    ] {
        assert_eq!(search(line), words, "{line}");
    }
    assert_eq!(
        parse("search \"a b\" &").map(|line| line.command),
        Ok(Command::Search { words: "\"a b\"".into() })
    );
    assert_eq!(search(&append_argument("3.3", "\"a b\" c")), "\"a b\" c");
    assert!(bad("search ''").contains("empty"));
}

#[test]
fn background_is_a_lone_mark_at_the_end() {
    let line = parse("get 10.0.0.5 9000 a b &").expect("good");
    assert_eq!(line, Line { command: get("10.0.0.5", 9000, "a b"), background: true });
    assert_eq!(parse("search a&").map(|line| line.background), Ok(false));
    assert_eq!(parse("search a '&'").map(|line| line.background), Ok(false));
    assert!(parse("nodes all & ").expect("good").background);
    for line in ["wait &", "wait 3 &", "quit &", "0 &"] {
        assert!(bad(line).contains("beside other commands"), "{line}");
    }
    assert_eq!(bad("search &"), "search: missing argument: words (usage: search WORDS)");
}

#[test]
fn wait_takes_decimal_seconds() {
    let wait = |line: &str| match good(line) {
        Command::Wait(time) => time,
        other => panic!("{other:?}"),
    };
    assert_eq!(wait("wait 0"), Some(Duration::ZERO));
    assert_eq!(wait("wait 1.5"), Some(Duration::from_millis(1500)));
    assert_eq!(wait("wait 86400"), Some(Duration::from_secs(86_400)));
    for line in [
        "wait -1",
        "wait 86400.1",
        "wait 1e3",
        "wait inf",
        "wait nan",
        "wait +1",
        "wait .5",
        "wait 1.2.3",
        "wait 1s",
        "wait ''",
        "wait ٣",
    ] {
        assert!(bad(line).contains("is no number of seconds from 0 to 86400"), "{line}: {}", bad(line));
    }
    assert!(bad("wait 1 2").contains("too many"));
    assert!(wait(&format!("wait 0.{}", "3".repeat(400))).is_some_and(|time| time < Duration::from_secs(1)));
    assert!(bad(&format!("wait {}", "9".repeat(400))).contains("is no number"));
}

#[test]
fn errors_name_what_is_wrong() {
    assert_eq!(bad("foo bar"), "unknown command `foo`: `help` lists them");
    assert_eq!(bad("get"), "get: missing argument: IP (usage: get N… | NAME | IP PORT NAME)");
    assert_eq!(bad("download 10.0.0.5"), "get: missing argument: port (usage: get N… | NAME | IP PORT NAME)");
    assert_eq!(bad("3.1"), "share: missing argument: path (usage: share PATH)");
    assert_eq!(
        bad("multicast"),
        "multicast: missing argument: on or off (usage: multicast on | multicast off)"
    );
    assert_eq!(bad("multicast up"), "multicast: `up` is not on or off (usage: multicast on | multicast off)");
    assert_eq!(
        bad("nodes none"),
        "nodes: `none` is not all, bootstrap or multicast (usage: nodes all | nodes bootstrap | nodes multicast)"
    );
    assert_eq!(bad("quit now"), "quit: `now` is one argument too many (usage: quit)");
    assert_eq!(
        bad("1.2 on"),
        "multicast: `on` is one argument too many (usage: multicast on | multicast off)"
    );
    assert_eq!(bad("share ''"), "share: the path is empty (usage: share PATH)");
    for open in ["get '", "get \"a", "search 'a b", "search \"a\\", "search \"a\\\""] {
        assert_eq!(parse(open), Err(CommandError::UnclosedQuote), "{open}");
    }
    assert_eq!(parse("search a\\"), Err(CommandError::OpenEscape));
    // hostile: 151
    for control in ["search a\0b", "search \x1b[2J", "\x1b", "search 'a\nb'", "quit\x07", "search a\u{9b}"] {
        assert_eq!(parse(control), Err(CommandError::Control), "{control:?}");
    }
    assert_eq!(bad("\u{202e}tiuq"), r"unknown command `\u{202e}tiuq`: `help` lists them");
    assert!(bad("multicast \u{feff}").contains(r"`\u{feff}` is not"));
}

/// What to ask for so that `line` becomes a command, if that is all it needs.
fn missing(line: &str) -> Option<&'static str> {
    match parse(line) {
        Err(CommandError::MissingArgument { next, .. }) => Some(next),
        _ => None,
    }
}

#[test]
fn a_terminal_asks_for_what_is_missing() {
    let mut line = "3.4 &\n".to_owned();
    for (question, answer) in [("IP", " 10.0.0.5 "), ("port", "9000"), ("file name", "it's \"a\" \\ b  c")] {
        assert_eq!(missing(&line), Some(question));
        line = append_argument(&line, answer);
    }
    let expected = Line { command: get("10.0.0.5", 9000, "it's \"a\" \\ b  c"), background: true };
    assert_eq!(parse(&line), Ok(expected));
    assert_eq!(missing(&line), None);

    assert_eq!(missing(&append_argument("get", "10.0.0.5:9000")), Some("file name"));
    assert_eq!(
        (missing("3.1"), missing("3.3"), missing("1.1"), missing("foo")),
        (Some("path"), Some("words"), None, None)
    );
    assert_eq!(missing("multicast"), Some("on or off"));
    assert_eq!(good(&append_argument("nodes", "all")), Command::Nodes(List::All));
    assert!(bad(&append_argument("share", " ")).contains("the path is empty"));
}

#[test]
fn help_covers_every_command() {
    let overview = help(None).expect("overview");
    for entry in ENTRIES {
        assert!(overview.contains(&entry.syntax()) && overview.contains(entry.summary), "{}", entry.name);
        for topic in entry.number.into_iter().chain([entry.name]).chain(entry.alias) {
            let text = help(Some(topic)).expect(topic);
            assert!(
                text.contains(&entry.syntax()) && text.contains(entry.details.lines().next().unwrap_or("")),
                "{text}"
            );
        }
    }
    let topics = ENTRIES.iter().map(|entry| help(Some(entry.name)).expect(entry.name));
    for text in topics.chain([overview.clone()]) {
        assert!(text.lines().all(|line| line.chars().count() <= 80), "wider than a terminal: {text}");
    }
    assert!(overview.contains("  3.4  get N… | NAME | IP PORT NAME  download files\n"), "{overview}");
    assert_eq!(help(Some("nodes")).expect("three").matches("\n\n").count(), 2);
    assert_eq!(help(Some("nodes  ALL")), help(Some("2.1")));
    assert_eq!(help(Some("frob")), Err(CommandError::Unknown { word: "frob".into() }));
    assert_eq!(help(Some("")), Err(CommandError::Unknown { word: String::new() }));
}

#[test]
fn the_table_has_no_two_commands_of_one_name() {
    for (i, a) in ENTRIES.iter().enumerate() {
        for b in &ENTRIES[i + 1..] {
            assert!(a.number.is_none() || a.number != b.number, "{:?}", a.number);
            assert!(a.syntax() != b.syntax() && (a.name != b.name || a.choice.is_some()), "{}", a.syntax());
            assert!(a.alias.is_none_or(|alias| !b.is_named(alias)));
        }
        let filled = a
            .syntax()
            .replace("N… | NAME | ", "")
            .replace("[up|down RATE|off]", "up 1M")
            .replace("NODE", "10.0.0.5:9000")
            .replace("IP PORT", "10.0.0.5 9000")
            .replace(['[', ']'], "")
            .replace("HOST:PORT", "h:1")
            .replace("SECONDS", "1");
        assert_eq!(good(&filled).name(), a.name, "the usage is what the parser takes");
    }
}

proptest! {
    #[test]
    fn any_answer_arrives_as_it_is(name in "[^\\p{Cc}\\s][^\\p{Cc}]{0,20}[^\\p{Cc}\\s]", more in any::<bool>()) {
        let line = if more { "get 10.0.0.5:9000 &" } else { "get 10.0.0.5:9000" };
        // That is a folder.
        prop_assume!(!name.ends_with('/'));
        let parsed = parse(&append_argument(line, &name)).expect("an answer");
        prop_assert_eq!(parsed, Line { command: get("10.0.0.5", 9000, &name), background: more });
    }

    #[test]
    fn any_line_is_survived(line in any::<String>(), near in "(get|search|nodes|wait|pause|limit|up|off|[0-9]{1,3}[-kM/ ]|#|&|[0-3]\\.[0-5]|['\"\\\\ ]|[a-z:.0-9\\[\\]]{1,4}){0,8}") {
        for line in [line, near] {
            match parse(&line) {
                Ok(parsed) => prop_assert!(parsed.background || missing(&line).is_none()),
                Err(error) => {
                    let text = error.to_string();
                    prop_assert!(!text.is_empty() && !text.contains(char::is_control));
                }
            }
        }
    }
}
