use super::*;
use crate::machine::LeftOut;
use crate::node::cx::tests::Ground;
use crate::time::Duration;

/// A port alone, with a driver that notes what it is told.
struct Rig {
    ground: Ground,
    port: Port,
}

impl Rig {
    fn with(limits: Limits) -> Rig {
        let port = Port::new(&limits);
        Rig { ground: Ground::new(limits), port }
    }

    /// One whose log was read, and is empty.
    fn started(limits: Limits) -> Rig {
        let mut rig = Rig::with(limits);
        rig.port.index_mut().start(rig.ground.now);
        let asked = rig.drive();
        let [Output::OpenLog { file, log: machine::Log::Index }] = asked[..] else { panic!("{asked:?}") };
        assert_eq!((rig.ground.files.owner(file), rig.port.log()), (Some(Owner::Log), Some(file)));
        rig.port.opened(rig.ground.now, Owner::Log, meta(0));
        let asked = rig.drive();
        assert!(matches!(asked[..], [Output::ReadFile { offset: 0, .. }]), "{asked:?}");
        rig.port.read(rig.ground.now, Owner::Log, (0, &[], meta(0)));
        rig
    }

    fn lend(&mut self) -> (&mut Port, Cx<'_>) {
        (&mut self.port, self.ground.lend())
    }

    /// What the driver is asked for where the port is driven, if it wants to be.
    fn drive(&mut self) -> Vec<Output> {
        if self.port.take_stirred() {
            let (port, mut cx) = self.lend();
            port.drive(&mut cx, false);
        }
        self.ground.out.drain(..).collect()
    }

    /// The same, until time passes in vain.
    fn runs(&mut self, time: Duration) -> Vec<Output> {
        let end = self.ground.now + time;
        let mut all = self.drive();
        while let Some(due) = self.port.poll_timeout().filter(|due| due.at <= end) {
            assert!(due.at > self.ground.now, "{due:?}: others have their turn first");
            self.ground.now = due.at;
            self.port.handle_timeout(self.ground.now);
            all.extend(self.drive());
        }
        self.ground.now = end;
        all
    }
}

fn meta(size: u64) -> Meta {
    Meta { size, inode: 7, ..Meta::default() }
}

fn listing(asked: &[Output]) -> Option<RequestId> {
    asked.iter().find_map(|output| match output {
        Output::ListFiles { request, dir: Dir::Shared, .. } => Some(*request),
        _ => None,
    })
}

fn opened(asked: &[Output]) -> Option<FileId> {
    asked.iter().find_map(|output| match output {
        Output::OpenFile { file, dir: Dir::Shared, name } if name == "a.txt" => Some(*file),
        _ => None,
    })
}

#[test]
fn a_file_is_listed_opened_and_read_through_the_driver() {
    let mut rig = Rig::started(Limits::desktop());
    let asked = rig.runs(Duration::from_secs(1));
    assert!(asked.contains(&Output::WatchFolder { dir: Dir::Shared }), "{asked:?}");
    let request = listing(&asked).expect("a listing");
    let entry = Entry { name: "a.txt".to_owned(), meta: meta(5) };
    let other = RequestId(request.0 + 1);
    assert!(!rig.port.listed(rig.ground.now, other, std::slice::from_ref(&entry), &ListEnd::More));
    assert!(rig.port.listed(rig.ground.now, request, &[entry], &ListEnd::More));
    assert!(rig.port.listed(rig.ground.now, request, &[], &ListEnd::Done(LeftOut::default())));
    assert!(!rig.port.listed(rig.ground.now, request, &[], &ListEnd::Done(LeftOut::default())), "it is over");
    let file = opened(&rig.runs(Duration::from_secs(5))).expect("it is to be hashed");
    rig.port.opened(rig.ground.now, Owner::Hashing, meta(5));
    let asked = rig.runs(Duration::from_secs(1));
    assert!(asked.iter().any(|output| matches!(output, Output::ReadFile { file: f, .. } if *f == file)));
    rig.port.read(rig.ground.now, Owner::Hashing, (0, b"hello", meta(5)));
    let asked = rig.runs(Duration::from_secs(1));
    assert!(
        asked.contains(&Output::CloseFile { file }) && rig.ground.files.owner(file).is_none(),
        "{asked:?}"
    );
    assert!(rig.port.index().get("a.txt").is_some_and(|view| view.root.is_some()));
}

#[test]
fn where_all_files_are_taken_it_waits_for_a_place() {
    let mut rig = Rig::started(Limits { open_files: 3, downloads: 1, ..Limits::desktop() });
    let request = listing(&rig.runs(Duration::from_secs(1))).expect("a listing");
    let mut others = Vec::new();
    while rig.ground.files.may_add() {
        others.push(rig.ground.files.add(Owner::Log));
    }
    let entry = Entry { name: "a.txt".to_owned(), meta: meta(5) };
    rig.port.listed(rig.ground.now, request, &[entry], &ListEnd::Done(LeftOut::default()));
    assert_eq!(opened(&rig.runs(Duration::from_secs(60))), None);
    others.into_iter().for_each(|file| _ = rig.ground.files.drop(file));
    rig.ground.files.drop(rig.port.log().unwrap());
    assert!(opened(&rig.runs(Duration::from_secs(60))).is_some());
}

#[test]
fn a_log_that_fails_is_not_read_by_anybody_any_more() {
    let mut rig = Rig::started(Limits::desktop());
    rig.runs(Duration::from_secs(1));
    let file = rig.port.log().unwrap();
    rig.ground.files.drop(file);
    rig.port.failed(rig.ground.now, Owner::Log, file, Fault::NoSpace, true);
    assert_eq!((rig.port.poll_gone(), rig.port.poll_gone(), rig.port.log()), (Some(file), None, None));
    let asked = rig.drive();
    assert!(!asked.contains(&Output::CloseFile { file }), "its id is free already: {asked:?}");
}

#[test]
fn the_fresh_log_takes_the_place_of_the_kept_one() {
    let mut rig = Rig::started(Limits::desktop());
    rig.drive();
    let old = rig.port.log().unwrap();
    let (port, mut cx) = rig.lend();
    port.carry_out(&mut cx, Ask::OpenLog { log: Log::Fresh });
    let fresh = port.fresh.unwrap();
    assert_eq!(cx.files.owner(fresh), Some(Owner::FreshLog));
    port.carry_out(&mut cx, Ask::CommitLog);
    port.carry_out(&mut cx, Ask::ReplaceLog);
    assert_eq!((port.log(), port.fresh, cx.files.owner(fresh)), (Some(fresh), None, Some(Owner::Log)));
    assert_eq!((port.poll_gone(), cx.files.owner(old)), (Some(old), None));
    let opens = Output::OpenLog { file: fresh, log: machine::Log::FreshIndex };
    let commits = Output::CommitLog { file: fresh };
    assert_eq!(rig.ground.out, [opens, commits, Output::CloseFile { file: old }]);
    // What is asked of a log that is not open goes nowhere.
    let (port, mut cx) = rig.lend();
    port.carry_out(&mut cx, Ask::TruncateLog { log: Log::Fresh, len: 0 });
    assert_eq!(rig.ground.out.len(), 3);
}
