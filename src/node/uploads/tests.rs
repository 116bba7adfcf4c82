use super::*;
use crate::config::Limits;
use crate::machine::{Id, Output};
use crate::node::cx::tests::Ground;
use crate::node::index::tests::searching::table;
use crate::time::Duration;

const RUN: usize = 64 * 1024;
const SIZE: u64 = 1 << 20;

/// Uploads alone, with an index of 600 songs and one finished download.
struct Rig {
    ground: Ground,
    shared: Port,
    uploads: Uploads,
}

impl Rig {
    fn with(limits: Limits) -> Rig {
        let mut index = table(600, |i| format!("song {i:03}.ogg"));
        (0..100).for_each(|_| index.timeout(Instant::ZERO));
        let mut rig =
            Rig { ground: Ground::new(limits), shared: Port::around(index), uploads: Uploads::new(4) };
        rig.uploads.add_seed(seed(1));
        rig
    }

    fn new() -> Rig {
        Rig::with(Limits::desktop())
    }

    fn lend(&mut self) -> (&mut Uploads, Cx<'_>, &mut Port) {
        (&mut self.uploads, self.ground.lend(), &mut self.shared)
    }

    fn asks(&mut self, n: u32, request: Message) -> Vec<Event> {
        self.asks_of(n, None, request)
    }

    fn asks_of(&mut self, n: u32, partial: Option<&Partial<'_>>, request: Message) -> Vec<Event> {
        let (uploads, mut cx, shared) = self.lend();
        uploads.request(&mut cx, shared, partial, &link(n), request);
        self.events()
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.uploads.poll_event()).collect()
    }

    /// The file that is to be opened, which is the last thing that the driver was asked for.
    fn opens(&mut self, at: Dir, named: &str) -> FileId {
        match self.ground.out.pop_back() {
            Some(Output::OpenFile { file, dir, name }) if dir == at && name == named => file,
            other => panic!("{other:?}"),
        }
    }

    fn opened(&mut self, n: u32, file: FileId, meta: Meta) -> Vec<Event> {
        let (uploads, mut cx, shared) = self.lend();
        uploads.opened(&mut cx, shared, conn(n), file, meta);
        self.events()
    }

    fn reads(&mut self, n: u32, bytes: u64) -> bool {
        let (uploads, mut cx, _) = self.lend();
        uploads.range_read(&mut cx, conn(n), bytes)
    }

    fn files_open(&self) -> usize {
        self.ground.files.census().files
    }
}

fn conn(n: u32) -> ConnId {
    ConnId(Id { index: n, generation: 0 })
}

/// A session with host number `n / 10`.
fn link(n: u32) -> Link {
    let at = |port| std::net::SocketAddr::from(([10, 0, 0, (n / 10) as u8], port));
    Link { conn: conn(n), peer: at(40_000), addr: at(9000), node: None, run: RUN }
}

fn root(n: u8) -> Root {
    Root::new([n; 32])
}

fn meta() -> Meta {
    Meta { size: SIZE, inode: 7, ..Meta::default() }
}

fn seed(n: u8) -> Seed {
    let list = ValueList::new(SIZE, root(n)).unwrap();
    Seed { root: root(n), size: SIZE, name: format!("film {n}"), meta: meta(), list }
}

fn get(id: u32, n: u8, offset: u64, len: u64) -> Message {
    Message::Get { id, root: root(n), offset, len }
}

/// Numbers and codes of the refusals among these.
fn refused(events: &[Event]) -> Vec<(u32, Code)> {
    let refusal = |event: &Event| match event {
        Event::Tell { message: Message::Refused { id, code, .. }, .. } => Some((*id, *code)),
        _ => None,
    };
    events.iter().filter_map(refusal).collect()
}

#[test]
fn bytes_of_a_file_are_sent_once_it_is_open_and_it_is_closed_behind_the_last() {
    let mut rig = Rig::new();
    assert_eq!(rig.asks(1, get(7, 1, 0, SIZE / 2)), []);
    let file = rig.opens(Dir::Downloads, "film 1");
    assert_eq!(rig.asks(1, get(8, 1, SIZE / 2, SIZE / 2)), [], "it waits for the same file");
    assert!(rig.ground.out.is_empty() && rig.uploads.next_range(conn(1)).is_none());
    let ranges = Event::Ranges { conn: conn(1) };
    assert_eq!(rig.opened(1, file, meta()), [ranges.clone(), ranges]);
    assert!(!rig.reads(1, 1000));
    let slice = *rig.uploads.next_range(conn(1)).unwrap();
    assert_eq!((slice.number, slice.file, slice.offset, slice.at), (7, file, 1000, 1000));
    assert_eq!((slice.len, slice.of), (SIZE / 2 - 1000, Some(root(1))));
    assert!(rig.reads(1, slice.len) && rig.files_open() == 1);
    let row = rig.uploads.ledger.rows().remove(0);
    assert_eq!(
        (row.number, row.name.as_str(), row.bytes, row.to.addr),
        (1, "film 1", SIZE / 2, link(1).addr)
    );
    assert!(rig.reads(1, SIZE / 2));
    assert_eq!(rig.ground.out.pop_back(), Some(Output::CloseFile { file }));
    assert!(rig.files_open() == 0 && !rig.uploads.is_busy(conn(1)));
    assert!(rig.uploads.ledger.rows().is_empty(), "it has all of it");
}

#[test]
fn a_file_that_is_another_one_by_now_is_given_no_more() {
    let mut rig = Rig::new();
    rig.asks(1, get(7, 1, 0, SIZE));
    rig.asks(1, get(8, 1, 0, SIZE));
    let file = rig.opens(Dir::Downloads, "film 1");
    let events = rig.opened(1, file, Meta { mtime: 5, ..meta() });
    assert_eq!(refused(&events), [(7, Code::Gone), (8, Code::Gone)]);
    assert!(rig.ground.out.contains(&Output::CloseFile { file }) && rig.shared.take_stirred());
    assert_eq!(refused(&rig.asks(1, get(9, 1, 0, SIZE))), [(9, Code::Gone)]);
    assert!(rig.files_open() == 0 && !rig.uploads.is_busy(conn(1)));
}

#[test]
fn only_ranges_that_the_file_has_are_given() {
    let mut rig = Rig::new();
    let all = [(0, 0), (0, SIZE + 4096), (4096, 100), (u64::MAX, 4096), (SIZE, 1)];
    for (id, (offset, len)) in (1..).zip(all) {
        assert_eq!(refused(&rig.asks(1, get(id, 1, offset, len))), [(id, Code::Bad)], "{offset} {len}");
    }
    assert_eq!(refused(&rig.asks(1, get(9, 2, 0, SIZE))), [(9, Code::Gone)]);
    assert!(rig.files_open() == 0 && rig.uploads.ledger.rows().is_empty());
}

#[test]
fn a_session_asks_for_a_bounded_number_of_bytes_and_ranges() {
    let mut rig = Rig::new();
    let fits = (0..1000).take_while(|id| rig.asks(1, get(*id, 1, 0, 4096)).is_empty()).count();
    assert_eq!(fits, 64);
    let max = rig.ground.limits.swarm.per_source * 2;
    let fits = (0..1000).take_while(|id| rig.asks(2, get(*id, 1, 0, SIZE)).is_empty()).count() as u64;
    assert_eq!(fits, max / SIZE);
    assert_eq!(refused(&rig.asks(2, get(5000, 1, 0, 4096))), [(5000, Code::Limit)]);
}

#[test]
fn a_source_has_its_places_however_many_sessions_it_has() {
    let mut rig = Rig::with(Limits { uploads_per_ip: 1, ..Limits::desktop() });
    rig.uploads.add_seed(seed(2));
    assert_eq!(rig.asks(11, get(1, 1, 0, SIZE)), []);
    assert_eq!(refused(&rig.asks(12, get(2, 2, 0, SIZE))), [(2, Code::Busy)]);
    assert!(!rig.uploads.is_busy(conn(12)));
    assert_eq!(rig.asks(21, get(3, 2, 0, SIZE)), [], "another host");
    // And for names that are looked for.
    let stat = Message::Stat { id: 4, name: "x".to_owned() };
    assert_eq!(refused(&rig.asks(12, stat)), [(4, Code::Busy)]);
}

#[test]
fn what_the_operator_stopped_is_refused_as_long_as_the_session_stands() {
    let mut rig = Rig::new();
    rig.asks(1, get(7, 1, 0, SIZE / 2));
    let file = rig.opens(Dir::Downloads, "film 1");
    rig.opened(1, file, meta());
    rig.asks(1, get(8, 1, SIZE / 2, SIZE / 2));
    let number = rig.uploads.ledger.rows()[0].number;
    assert!(rig.uploads.ledger.stop(number).is_some());
    let (uploads, mut cx, _) = rig.lend();
    uploads.stop(&mut cx, conn(1), root(1));
    assert_eq!(refused(&rig.events()), [(7, Code::Gone), (8, Code::Gone)]);
    assert!(rig.files_open() == 0 && rig.uploads.next_range(conn(1)).is_none());
    assert_eq!(refused(&rig.asks(1, get(9, 1, 0, SIZE))), [(9, Code::Gone)]);
    assert_eq!(rig.asks(2, get(1, 1, 0, SIZE)), [], "others get it");
}

#[test]
fn a_request_that_is_taken_back_or_whose_session_is_over_holds_nothing() {
    let mut rig = Rig::new();
    rig.asks(1, get(7, 1, 0, SIZE));
    rig.asks(1, get(8, 1, 0, SIZE));
    rig.asks(1, Message::Cancel { id: 7 });
    let file = rig.opens(Dir::Downloads, "film 1");
    rig.opened(1, file, meta());
    assert_eq!(rig.uploads.next_range(conn(1)).map(|slice| slice.number), Some(8));
    assert_eq!(rig.asks(1, Message::Cancel { id: 8 }), [Event::Ranges { conn: conn(1) }]);
    assert!(rig.files_open() == 0 && !rig.uploads.is_busy(conn(1)));
    // All that one session may hold.
    rig.asks(1, get(1, 1, 0, SIZE));
    rig.asks(1, Message::Stat { id: 2, name: "x".to_owned() });
    rig.asks(1, Message::Search { id: 3, query: "song".to_owned(), limit: 5 });
    rig.asks(1, Message::Follow { id: 4, root: root(1), group: 0 });
    assert_eq!(rig.files_open(), 2);
    let (uploads, mut cx, _) = rig.lend();
    uploads.gone(&mut cx, conn(1));
    assert!(rig.files_open() == 0 && !rig.uploads.is_busy(conn(1)) && rig.events().is_empty());
    assert!(rig.uploads.ledger.rows().is_empty());
}

#[test]
fn what_a_download_has_is_given_while_its_file_is_open() {
    let mut rig = Rig::new();
    let list = ValueList::new(SIZE, root(5)).unwrap();
    let file = rig.ground.files.add(crate::node::files::Owner::Hashing);
    let partial = |content, map| Partial { name: "rest", size: SIZE, list: &list, content, map };
    let has = partial(Some(file), None);
    assert_eq!(rig.asks_of(1, Some(&has), get(1, 5, 0, SIZE)), [Event::Ranges { conn: conn(1) }]);
    assert!(!rig.ground.out.iter().any(|out| matches!(out, Output::OpenFile { .. })), "it is open already");
    assert_eq!(refused(&rig.asks_of(1, Some(&partial(None, None)), get(2, 5, 0, SIZE))), [(2, Code::Gone)]);
    let (uploads, mut cx, _) = rig.lend();
    uploads.file_gone(&mut cx, file);
    assert_eq!(refused(&rig.events()), [(1, Code::Busy)]);
    assert!(!rig.ground.out.contains(&Output::CloseFile { file }), "it is the download's");
    // Who follows hears what is there; of what is not here nobody hears.
    let follow = |id, group| Message::Follow { id, root: root(5), group };
    let events = rig.asks_of(1, Some(&partial(None, Some(vec![3]))), follow(6, 0));
    let have = Message::Have { id: 6, all: false, map: vec![3], pieces: Vec::new() };
    let follows = Event::Follows { conn: conn(1), number: 6, root: root(5) };
    assert_eq!(events, [Event::Tell { conn: conn(1), message: have }, follows]);
    assert_eq!(refused(&rig.asks_of(1, Some(&partial(None, None)), follow(7, 0))), [(7, Code::Gone)]);
    assert_eq!(refused(&rig.asks_of(1, Some(&partial(None, Some(vec![]))), follow(8, 1))), [(8, Code::Bad)]);
    // Once it is finished they hear of that, once.
    rig.uploads.add_seed(seed(5));
    rig.uploads.add_seed(seed(5));
    let all = Message::Have { id: 6, all: true, map: Vec::new(), pieces: Vec::new() };
    assert_eq!(rig.events(), [Event::Tell { conn: conn(1), message: all }]);
}

#[test]
fn a_name_that_is_not_in_the_index_is_looked_for_on_the_disk() {
    let mut rig = Rig::new();
    let stat = |id, name: &str| Message::Stat { id, name: name.to_owned() };
    let told = rig.asks(1, stat(1, "song 001.ogg"));
    let [Event::Tell { message: Message::Files { id: 1, files, end: true, .. }, .. }] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!((files[0].name.as_str(), files[0].root), ("song 001.ogg", None));
    assert!(rig.shared.take_stirred(), "it is hashed before others");
    for (id, meta) in [(2, None), (3, Some(meta()))] {
        rig.asks(1, stat(id, "new.txt"));
        let file = rig.opens(Dir::Shared, "new.txt");
        let (uploads, mut cx, shared) = rig.lend();
        uploads.looked(&mut cx, shared, conn(1), file, meta);
        let told = rig.events();
        let [Event::Tell { message: Message::Files { id: of, files, end: true, .. }, .. }] = &told[..] else {
            panic!("{told:?}")
        };
        assert_eq!((*of, files.len()), (id, usize::from(meta.is_some())));
    }
    assert!(rig.files_open() == 0 && !rig.uploads.is_busy(conn(1)));
}

#[test]
fn a_search_has_its_turn_after_what_else_is_due_and_a_page_fits_into_a_record() {
    let mut rig = Rig::new();
    assert_eq!(rig.uploads.poll_timeout(), None);
    assert_eq!(rig.asks(1, Message::Search { id: 3, query: "song".to_owned(), limit: 5 }), []);
    let due = rig.uploads.poll_timeout().unwrap().at;
    assert!(due > rig.ground.now && rig.uploads.handle_timeout(rig.ground.now, rig.shared.index()).is_none());
    assert_eq!(rig.uploads.handle_timeout(due, rig.shared.index()), Some(conn(1)));
    assert_eq!(rig.uploads.poll_timeout(), None, "there is no other");
    assert_eq!(
        refused(&rig.asks(1, Message::Search { id: 4, query: String::new(), limit: 5 })),
        [(4, Code::Bad)]
    );
    let browse = Message::Browse { id: 5, after: None, limit: 256 };
    let small = Link { run: 1024, ..link(1) };
    let (uploads, mut cx, shared) = rig.lend();
    uploads.request(&mut cx, shared, None, &small, browse);
    let told = rig.events();
    let [Event::Tell { message, .. }] = &told[..] else { panic!("{told:?}") };
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    assert!(bytes.len() > 500 && bytes.len() <= 1024 + DATA_HEAD, "{} bytes", bytes.len());
}

#[test]
fn an_upload_of_which_nothing_is_asked_ends_by_itself() {
    let mut rig = Rig::new();
    rig.asks(1, get(7, 1, 0, SIZE / 2));
    let due = rig.uploads.poll_timeout().unwrap();
    assert_eq!(due, Deadline { at: rig.ground.now + Duration::from_secs(30), reason: "quiet uploads" });
    rig.uploads.handle_timeout(due.at, rig.shared.index());
    assert!(rig.uploads.ledger.rows().is_empty() && rig.uploads.poll_timeout().is_none());
}

#[test]
fn what_makes_no_sense_is_told() {
    let mut rig = Rig::new();
    let events = rig.asks(1, Message::Pong { id: 1 });
    assert_eq!(events, [Event::Nonsense { conn: conn(1) }]);
    let values = Message::Values { id: 2, root: root(1), span: 99, first: 0, count: 1 };
    assert_eq!(refused(&rig.asks(1, values)), [(2, Code::Bad)]);
}
