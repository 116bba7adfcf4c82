//! Operations without a node: who hears what, and when one ends.

use super::folders::NodeRow;
use super::*;
use crate::config::Limits;
use crate::machine::{Entry, Fault, Id, LeftOut, ListEnd, Meta};
use crate::node::api::lines_dropped;
use crate::node::fronts::console::Console;
use crate::node::fronts::progress::Row;
use crate::node::fronts::tests::{conn, fronts, took};
use crate::proto::control::Hello;
use crate::time::Duration;

/// What is found is a number of bytes here.
fn operations() -> Operations<usize> {
    Operations { fronts: fronts(), jobs: Table::new(), timers: Timers::new() }
}

const TWO: fn() -> FrontId = || FrontId::Control(conn(2));

fn download(n: u32) -> TransferId {
    TransferId(Id { index: n, generation: 0 })
}

fn file(n: u32) -> FileId {
    FileId(Id { index: n, generation: 0 })
}

fn begin(
    operations: &mut Operations<usize>,
    front: FrontId,
    command: &'static str,
    work: Work<usize>,
) -> JobId {
    let op = operations.fronts.new_op(front, command, false);
    operations.begin(Instant::ZERO, op, work)
}

fn failure(text: &str) -> Failure {
    Failure::new(Code::NotFound, text)
}

/// The first whose time comes.
fn is_due(operations: &mut Operations<usize>) -> Option<JobId> {
    let later = Instant::ZERO + Duration::from_secs(3600);
    std::iter::from_fn(|| operations.pop_due(later)).find_map(|due| match due {
        Due::Job(job) => Some(job),
        Due::Progress => None,
    })
}

#[test]
fn a_script_ends_at_its_first_failure_unless_it_is_to_go_on() {
    let mut operations = operations();
    let job = begin(&mut operations, FrontId::Console, "get", Work::Wait);
    assert!(!operations.is_idle(FrontId::Console) && operations.is_idle(TWO()));
    assert_eq!(operations.finish(job, Ok(())), None);
    assert_eq!(operations.finish(job, Err(failure("again"))), None, "it is over, and ends once");
    assert_eq!(took(&mut operations.fronts, 4), "{\"event\":\"done\",\"command\":\"get\",\"op\":1}\n");

    let op = operations.fronts.new_op(FrontId::Console, "get", false);
    assert_eq!(operations.conclude(op, Err(failure("not there"))), Some(FrontId::Console));
    let (first, other) = (operations.status(), Failure::new(Code::Usage, "x"));
    assert!(first != 0 && first != other.code.status());
    operations.conclude(op, Err(other));
    assert_eq!(operations.status(), first, "the first failure counts");
    assert!(took(&mut operations.fronts, 1).contains("error: not there\n"));

    operations.fronts.get_mut(TWO()).unwrap().keep_going = true;
    let op = operations.fronts.new_op(TWO(), "get", false);
    assert_eq!(operations.conclude(op, Err(failure("x"))), None);
    assert_eq!(operations.fronts.get(TWO()).unwrap().status, first);
    // Who types is told, and goes on.
    let terminal = Hello { terminal: true, ..Hello::default() };
    operations.fronts.get_mut(FrontId::Control(conn(3))).unwrap().greet(&terminal, &Limits::desktop());
    let op = operations.fronts.new_op(FrontId::Control(conn(3)), "get", false);
    assert_eq!(operations.conclude(op, Err(failure("x"))), None);
}

#[test]
fn to_wait_ends_with_the_last_in_the_background_of_the_same_front_end() {
    let mut operations = operations();
    let mut behind = Vec::new();
    for front in [TWO(), TWO(), FrontId::Console] {
        let op = operations.fronts.new_op(front, "search", true);
        behind.push(operations.begin(Instant::ZERO, op, Work::Find(0)));
    }
    let waiter = begin(&mut operations, TWO(), "wait", Work::WaitAll);
    assert!(operations.in_foreground(TWO()) && !operations.in_foreground(FrontId::Console));
    operations.finish(behind[0], Ok(()));
    assert!(operations.op_of(waiter).is_some());
    operations.interrupt(behind[1], "enough");
    assert!(operations.op_of(waiter).is_none() && operations.op_of(behind[2]).is_some());
    assert!(operations.is_idle(TWO()) && operations.in_background(FrontId::Console));
}

#[test]
fn a_get_ends_with_the_last_of_its_downloads_and_says_how_many_failed() {
    let mut operations = operations();
    let job = begin(&mut operations, TWO(), "get", Work::Get(Gets::default()));
    assert!(operations.waits_for(job, download(1)) && operations.waits_for(job, download(2)));
    assert!(!operations.waits_for(job, download(2)), "once is enough");
    operations.not_got(job, failure("nobody has it"));
    // It turns out that another download is of the same content.
    operations.waits_no_more(job, download(2));
    operations.waits_for(job, download(3));
    assert_eq!(operations.got(job, download(1), &Ok(())), None);
    assert!(operations.op_of(job).is_some());
    assert_eq!(operations.got(job, download(3), &Err(failure("gone"))), Some(TWO()));
    let text = took(&mut operations.fronts, 2);
    assert!(
        text.contains("error: gone") && text.contains("2 of 3 files not downloaded: nobody has it"),
        "{text}"
    );

    // One alone fails with its own words, once.
    let job = begin(&mut operations, TWO(), "get", Work::Get(Gets::default()));
    operations.waits_for(job, download(1));
    operations.got(job, download(1), &Err(failure("the only one")));
    assert_eq!(took(&mut operations.fronts, 2).matches("the only one").count(), 1);
}

#[test]
fn a_download_that_is_given_up_is_no_failure_of_who_waits_for_others_too() {
    let mut operations = operations();
    let job = begin(&mut operations, FrontId::Console, "get", Work::Get(Gets::default()));
    operations.waits_for(job, download(1));
    operations.waits_for(job, download(2));
    operations.given_up(job, download(1), "gave up a");
    assert!(operations.op_of(job).is_some());
    operations.given_up(job, download(2), "gave up b");
    assert!(operations.op_of(job).is_none());
    assert_eq!(operations.status(), 0, "the operator said so");
    let told = took(&mut operations.fronts, 4);
    assert!(
        told.contains("\"code\":\"interrupted\"")
            && told.ends_with("{\"event\":\"done\",\"command\":\"get\",\"op\":1}\n")
    );
}

#[test]
fn at_the_end_each_is_told_what_came_to_nothing_and_who_is_gone_nothing() {
    let mut operations = operations();
    let share = |n| Work::Share { file: file(n), name: format!("f{n}"), bytes: 0, size: 0 };
    let mut gets = Gets::default();
    gets.waits.insert(download(1));
    let gone = begin(&mut operations, TWO(), "share", share(1));
    assert_eq!(operations.of_front(TWO()), [gone]);
    assert_eq!(operations.forget(gone), Held::File(file(1)));
    let gone = begin(&mut operations, TWO(), "get", Work::Get(gets));
    assert_eq!(operations.forget(gone), Held::Downloads([download(1)].into()));
    assert_eq!(operations.forget(gone), Held::Nothing);
    assert_eq!(took(&mut operations.fronts, 4), "");

    for (command, work) in [
        ("join", Work::Join),
        ("wait", Work::Wait),
        ("share", share(2)),
        ("get", Work::Get(Gets::default())),
        ("search", Work::Find(0)),
    ] {
        begin(&mut operations, FrontId::Console, command, work);
    }
    assert!(operations.joining().is_some());
    assert_eq!(operations.drop_all(|_| "kept for later".to_owned()), [file(2)]);
    assert_eq!((operations.len(), is_due(&mut operations)), (0, None));
    let told = took(&mut operations.fronts, 4);
    let words = ["gave up sharing f2; nothing is kept", "kept for later", "gave up search"];
    assert!(words.iter().all(|text| told.matches(text).count() == 1), "{told}");
    assert_eq!((told.matches("error").count(), told.matches("done").count()), (3, 4), "{told}");
}

#[test]
fn a_script_gives_its_next_line_when_the_last_is_done_and_nobody_more_than_the_limit() {
    let limits = Limits { jobs: 2, ..Limits::desktop() };
    let mut operations = operations();
    assert!(operations.may_take_line(&limits, TWO()));
    let job = begin(&mut operations, TWO(), "get", Work::Wait);
    assert!(!operations.may_take_line(&limits, TWO()) && operations.may_take_line(&limits, FrontId::Console));
    operations.finish(job, Ok(()));
    assert!(operations.may_take_line(&limits, TWO()));
    for _ in 0..2 {
        let op = operations.fronts.new_op(FrontId::Console, "search", true);
        operations.begin(Instant::ZERO, op, Work::Find(7));
    }
    assert!(!operations.may_take_line(&limits, TWO()));
    assert_eq!(operations.held(|bytes| *bytes), 14);
    // What a script has said is taken first.
    let limits = Limits::desktop();
    let op = operations.fronts.new_op(TWO(), "help", false);
    let text = "x".repeat(limits.console_out_max / 4);
    operations.say(op, &text);
    operations.say(op, "and more\n");
    assert!(!operations.may_take_line(&limits, TWO()));
}

#[test]
fn what_is_shared_is_told_and_waited_for_until_others_can_find_it() {
    let mut operations = operations();
    let share = |name: &str| Work::Share { file: file(1), name: name.to_owned(), bytes: 0, size: 0 };
    let job = begin(&mut operations, TWO(), "share", share("a"));
    operations.share_progress(job, 5, 10);
    operations.shared(Instant::ZERO, job, ("a", 10), None);
    operations.finish_indexed(|name| name == "b");
    assert!(operations.op_of(job).is_some());
    operations.finish_indexed(|name| name == "a");
    assert!(operations.op_of(job).is_none() && is_due(&mut operations).is_none());
    // Or for a moment, if it is not found.
    let job = begin(&mut operations, TWO(), "share", share("a"));
    operations.shared(Instant::ZERO, job, ("a", 10), None);
    assert_eq!(is_due(&mut operations), Some(job));
    operations.finish(job, Ok(()));
    took(&mut operations.fronts, 2);

    for fault in [Fault::Exists, Fault::NoSpace, Fault::NotFound, Fault::NotRegular, Fault::Denied] {
        let job = begin(&mut operations, TWO(), "share", share("a"));
        assert_eq!(operations.share_failed(job, fault), Some(TWO()));
        let text = took(&mut operations.fronts, 2);
        let names = text.matches("share a").count() + text.matches("error: a ").count();
        assert_eq!((text.matches("error: ").count(), names), (1, 1), "{text}");
    }
    begin(&mut operations, TWO(), "share", share("a"));
    begin(&mut operations, FrontId::Console, "share", share("b"));
    assert_eq!(operations.give_up_shares(Some("c")), []);
    assert_eq!(operations.give_up_shares(Some("a")).len(), 1);
    assert_eq!((operations.give_up_shares(None).len(), operations.len()), (1, 0));
}

#[test]
fn a_folder_is_told_in_parts_and_summed_up_at_the_end() {
    let mut operations = operations();
    let meta = Meta { size: 1024, ..Meta::default() };
    let entries = [Entry { name: "x".to_owned(), meta }];
    let listing = |n| Work::Files { request: RequestId(n), dir: Dir::Shared, files: 0, bytes: 0 };
    begin(&mut operations, TWO(), "files", listing(7));
    let folder = |_| "here".to_owned();
    assert!(operations.listed(RequestId(6), (&entries, &ListEnd::More), folder).is_none());
    assert_eq!(operations.listed(RequestId(7), (&entries, &ListEnd::More), folder), Some(None));
    let end = ListEnd::Done(LeftOut::default());
    assert_eq!(operations.listed(RequestId(7), (&entries, &end), folder), Some(None));
    assert!(took(&mut operations.fronts, 2).contains("2 files shared, "));
    assert!(operations.is_idle(TWO()));
    begin(&mut operations, TWO(), "files", listing(8));
    let failed = ListEnd::Failed(Fault::Denied);
    assert_eq!(operations.listed(RequestId(8), (&[], &failed), folder), Some(Some(TWO())));
    assert!(took(&mut operations.fronts, 2).contains("cannot read here"));
}

#[test]
fn a_list_of_nodes_is_told_when_all_were_probed() {
    let mut operations = operations();
    let (a, b) = (SocketAddr::from(([10, 0, 0, 1], 1)), SocketAddr::from(([10, 0, 0, 2], 2)));
    let work = Work::Nodes { list: List::Multicast, waiting: 1, alive: [(a, false)].into() };
    let job = begin(&mut operations, TWO(), "nodes", work);
    assert!(operations.all_probed(job).is_none());
    operations.probed(job, b, true);
    let alive = operations.all_probed(job).unwrap();
    assert_eq!(alive, [(a, false), (b, true)].into());
    let row = |(addr, alive)| NodeRow { addr, lists: vec!["all"], alive, id: None };
    assert_eq!(operations.tell_nodes(job, alive.into_iter().map(row).collect()), None);
    assert!(took(&mut operations.fronts, 2).ends_with("2 nodes heard on multicast, 1 alive\\n\"}\n"));
    assert!(operations.is_idle(TWO()));
}

#[test]
fn progress_is_shown_to_who_waits_and_something_to_who_waits_long() {
    let limits = Limits::desktop();
    let own = Console::new(conn(0), conn(1), ConsoleMode::Terminal, Some(80), lines_dropped, &limits);
    let mut operations: Operations<usize> = Operations::new(Front::new(own, false, false), false);
    let program = {
        let mut front = Front::new(Console::remote(conn(3), &limits), false, false);
        front.greet(&Hello { json: true, ..Hello::default() }, &limits);
        operations.fronts.insert(conn(3), front);
        FrontId::Control(conn(3))
    };
    begin(&mut operations, FrontId::Console, "search", Work::Find(3));
    let get = begin(&mut operations, program, "get", Work::Get(Gets::default()));
    let op = operations.op_of(get).unwrap();
    assert_eq!(operations.pop_due(Instant::ZERO + showing::PROGRESS), Some(Due::Progress));
    let row = Row {
        ops: vec![op],
        name: "a".to_owned(),
        bytes: 5,
        size: Some(10),
        rate: None,
        sources: None,
        elapsed: Duration::from_secs(1),
    };
    let so_far = |n: &usize| format!("{n} so far");
    operations.show_progress(Instant::ZERO, vec![row], so_far, |_| false);
    assert!(took(&mut operations.fronts, 3).contains("\"event\":\"progress\""));
    assert!(!took(&mut operations.fronts, 1).contains("so far"), "not at once");
    let later = Instant::ZERO + Duration::from_secs(2);
    operations.show_progress(later, Vec::new(), so_far, |_| false);
    assert!(took(&mut operations.fronts, 1).contains("search: 3 so far"));
    assert_eq!(took(&mut operations.fronts, 3), "");
}
