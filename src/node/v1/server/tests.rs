use super::*;
use crate::config::{Limits, V1_DEFAULT_SECRET};
use crate::machine::Id;
use crate::node::cx::tests::Ground;
use crate::time::Duration;

const SIZE: u64 = 1 << 20;

/// A server alone, with a driver that does what it is told.
struct Rig {
    ground: Ground,
    index: Index,
    server: Server,
}

impl Rig {
    fn with(limits: Limits, secret: Option<Secret>, v2: bool) -> Rig {
        let (index, server) = (Index::new(&limits), Server::new(secret, v2));
        Rig { ground: Ground::new(limits), index, server }
    }

    fn new() -> Rig {
        Rig::with(Limits::desktop(), Some(Secret::new(V1_DEFAULT_SECRET)), true)
    }

    fn lend(&mut self) -> (&mut Server, Cx<'_>, &Index) {
        (&mut self.server, self.ground.lend(), &self.index)
    }

    /// Connection number `n` comes in, from a host of its own.
    fn calls(&mut self, n: u32) -> ConnId {
        self.calls_from(n, ip(n))
    }

    fn calls_from(&mut self, n: u32, ip: IpAddr) -> ConnId {
        let (server, cx, _) = self.lend();
        server.accepted(&cx, conn(n), SocketAddr::new(ip, 40_000), false);
        conn(n)
    }

    fn says(&mut self, conn: ConnId, bytes: &[u8]) -> Step {
        let (server, mut cx, index) = self.lend();
        server.recv(&mut cx, index, conn, bytes)
    }

    fn asks(&mut self, conn: ConnId, request: &Request) {
        let bytes = v1::encode_request(request, &Secret::new(V1_DEFAULT_SECRET));
        assert_eq!(self.says(conn, &bytes), Step::Taken(taken(bytes.len())));
    }

    /// A download of `a.txt` that has begun.
    fn downloads(&mut self, n: u32) -> (ConnId, FileId) {
        let conn = self.calls(n);
        self.asks(conn, &download());
        let file = self.opens();
        let (server, mut cx, _) = self.lend();
        server.file_opened(&mut cx, conn, SIZE);
        (conn, file)
    }

    /// The file that is to be opened, which is the last thing that the driver was asked for.
    fn opens(&mut self) -> FileId {
        match self.ground.out.pop_back() {
            Some(Output::OpenFile { file, dir: Dir::Shared, name }) if name == "a.txt" => file,
            other => panic!("{other:?}"),
        }
    }

    /// All that is to be sent goes out.
    fn drains(&mut self, conn: ConnId) -> Vec<u8> {
        let mut text = Vec::new();
        loop {
            let n = match self.server.transmit(conn) {
                Some(Transmit::Bytes(bytes)) => {
                    text.extend_from_slice(bytes);
                    bytes.len()
                }
                Some(Transmit::File { len, .. }) => len as usize,
                Some(other) => panic!("{other:?}"),
                None => return text,
            };
            self.sends(conn, n);
        }
    }

    fn sends(&mut self, conn: ConnId, n: usize) {
        let (server, mut cx, _) = self.lend();
        server.sent(&mut cx, conn, n);
    }

    fn passes(&mut self, time: Duration) {
        self.passes_held_back(time, false);
    }

    fn passes_held_back(&mut self, time: Duration, held_back: bool) {
        let end = self.ground.now + time;
        while let Some(due) = self.server.poll_timeout().map(|next| next.at).filter(|at| *at <= end) {
            self.ground.now = self.ground.now.max(due);
            let (server, mut cx, _) = self.lend();
            server.handle_timeout(&mut cx, |_| held_back);
        }
        self.ground.now = end;
    }

    fn closes(&self) -> Vec<(ConnId, bool)> {
        let close = |output: &Output| match output {
            Output::Close { conn, reset } => Some((*conn, *reset)),
            _ => None,
        };
        self.ground.out.iter().filter_map(close).collect()
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.server.poll_event()).collect()
    }

    /// Nothing is held for anybody.
    fn is_empty(&self) -> bool {
        let Server { callers, timers, .. } = &self.server;
        callers.is_empty() && timers.is_empty() && self.ground.files.census().files == 0
    }
}

fn conn(n: u32) -> ConnId {
    ConnId(Id { index: n, generation: 0 })
}

fn ip(n: u32) -> IpAddr {
    IpAddr::from([10, 0, (n >> 8) as u8, n as u8])
}

fn taken(n: usize) -> Received {
    Received { consumed: n, ..Received::default() }
}

fn download() -> Request {
    Request::Download { name: "a.txt".to_owned() }
}

fn gone(n: u32) -> Event {
    Event::Gone { conn: conn(n), from: ip(n), accepted: Instant::ZERO }
}

#[test]
fn a_download_tells_of_each_step_and_gives_all_back() {
    let mut rig = Rig::new();
    let (caller, file) = rig.downloads(1);
    assert_eq!(rig.ground.files.uploads(), 1);
    let valid = Event::Valid { conn: caller, from: ip(1), accepted: Instant::ZERO };
    let to = SocketAddr::new(ip(1), 40_000);
    let begins = Event::Begins { conn: caller, name: "a.txt".to_owned(), size: SIZE, to };
    assert_eq!(rig.events(), [valid, begins]);
    assert!(rig.server.sends_file(caller) && rig.ground.out.contains(&Output::Wake { conn: caller }));
    rig.sends(caller, 1000);
    let rest = Transmit::File { file, offset: 1000, len: SIZE - 1000 };
    assert_eq!(rig.server.transmit(caller), Some(rest));
    assert_eq!(rig.drains(caller), b"");
    let sent = |bytes| Event::Sent { conn: caller, bytes };
    assert_eq!(rig.events(), [sent(1000), sent(SIZE - 1000)]);
    assert!(!rig.server.sends_file(caller) && rig.ground.out.contains(&Output::CloseFile { file }));
    assert_eq!(rig.ground.out.back(), Some(&Output::Shutdown { conn: caller }));
    let (server, mut cx, _) = rig.lend();
    server.eof(&mut cx, caller);
    assert_eq!((rig.closes(), rig.events()), (vec![(caller, false)], vec![gone(1)]));
    assert!(rig.is_empty());
}

#[test]
fn a_search_is_answered_with_a_word_and_takes_no_slot() {
    let mut rig = Rig::new();
    let caller = rig.calls(1);
    rig.asks(caller, &Request::Search { name: "a.txt".to_owned() });
    rig.opens();
    assert_eq!(rig.ground.files.uploads(), 0);
    let (server, mut cx, _) = rig.lend();
    server.file_opened(&mut cx, caller, SIZE);
    assert_eq!(rig.drains(caller), v1::FOUND.as_bytes());
    let kinds: Vec<_> = rig.events();
    assert!(matches!(kinds[..], [Event::Valid { .. }]), "no upload: {kinds:?}");
    // Whoever reads the answer and says nothing is let go in the end.
    rig.passes(rig.ground.limits.linger);
    assert!(rig.closes() == [(caller, false)] && rig.is_empty());
}

#[test]
fn who_finds_no_slot_waits_his_turn_and_hears_in_the_end_that_all_are_taken() {
    let mut rig = Rig::with(
        Limits { uploads_per_ip: 1, ..Limits::desktop() },
        Some(Secret::new(V1_DEFAULT_SECRET)),
        true,
    );
    for n in 1..=3 {
        let caller = rig.calls_from(n, ip(1));
        rig.asks(caller, &download());
    }
    let opens =
        |rig: &Rig| rig.ground.out.iter().filter(|out| matches!(out, Output::OpenFile { .. })).count();
    assert_eq!(opens(&rig), 1);
    // Another host has a slot of its own.
    let other = rig.calls(4);
    rig.asks(other, &download());
    assert_eq!(opens(&rig), 2);
    let (server, mut cx, _) = rig.lend();
    server.closed(&mut cx, conn(1));
    let (server, mut cx, index) = rig.lend();
    server.slot_freed(&mut cx, index);
    assert_eq!(opens(&rig), 3);
    assert!(matches!(rig.server.callers[&conn(2)].state, State::Opening { download: true, .. }));
    rig.passes(rig.ground.limits.v1_wait);
    assert_eq!(rig.drains(conn(3)), Refusal::Busy.text().as_bytes());
    // His place in the queue is free: nobody takes a turn in his name.
    let (server, mut cx, index) = rig.lend();
    server.closed(&mut cx, conn(2));
    server.slot_freed(&mut cx, index);
    assert_eq!(opens(&rig), 3);
}

#[test]
fn a_caller_of_v2_is_handed_over_and_may_come_back() {
    let mut rig = Rig::new();
    let caller = rig.calls(1);
    assert_eq!(rig.says(caller, &[0xD5]), Step::Greets);
    let came = rig.server.hand_over(caller);
    assert_eq!(came, Some((SocketAddr::new(ip(1), 40_000), Instant::ZERO)));
    assert!(rig.is_empty() && rig.events().is_empty(), "it goes on elsewhere");
    assert_eq!(rig.server.hand_over(caller), None);
    let (server, mut cx, _) = rig.lend();
    server.refuse(&mut cx, caller, came.unwrap());
    assert_eq!(rig.drains(caller), Refusal::NotJson.text().as_bytes());
    rig.passes(rig.ground.limits.linger);
    assert!(rig.events() == [gone(1)] && rig.is_empty());
}

#[test]
fn who_speaks_neither_protocol_is_closed_without_a_word() {
    for (secret, what) in [
        (Some(Secret::new(V1_DEFAULT_SECRET)), "another protocol on the peer port"),
        (None, "old peer, and v1 is off"),
    ] {
        let mut rig = Rig::with(Limits::desktop(), secret, true);
        let caller = rig.calls(1);
        assert_eq!(rig.says(caller, &[3, 0, 0]), Step::Taken(taken(3)));
        let notice = Event::Notice { what, who: SocketAddr::new(ip(1), 40_000) };
        assert_eq!(rig.events(), [notice, gone(1)]);
        assert!(rig.closes() == [(caller, false)] && rig.is_empty());
    }
}

#[test]
fn where_only_v1_is_spoken_a_caller_of_v2_is_told_so() {
    let mut rig = Rig::with(Limits::desktop(), Some(Secret::new("of our own")), false);
    let caller = rig.calls(1);
    assert_eq!(rig.says(caller, &[0xD5]), Step::Taken(taken(1)));
    assert_eq!(rig.drains(caller), Refusal::NotJson.text().as_bytes());
}

#[test]
fn a_caller_beyond_the_room_hears_that_we_are_busy_with_its_first_byte() {
    let mut rig = Rig::new();
    let (server, cx, _) = rig.lend();
    server.accepted(&cx, conn(1), SocketAddr::new(ip(1), 1), true);
    rig.says(conn(1), b"{");
    assert_eq!(rig.drains(conn(1)), Refusal::Busy.text().as_bytes());
    let (server, cx, _) = rig.lend();
    server.accepted(&cx, conn(2), SocketAddr::new(ip(2), 1), true);
    rig.says(conn(2), &[0xD5]);
    assert_eq!(rig.closes(), [(conn(2), false)], "v2 has no words for it");
}

#[test]
fn who_sends_no_whole_request_in_time_is_let_go() {
    let mut rig = Rig::new();
    let caller = rig.calls(1);
    rig.says(caller, b"{\"type\"");
    rig.passes(rig.ground.limits.request_deadline - Duration::from_micros(1));
    assert_eq!(rig.closes(), []);
    rig.passes(Duration::from_micros(1));
    assert!(rig.closes() == [(caller, false)] && rig.is_empty());
    // A deadline that we slept through is nobody's fault: what arrived meanwhile is seen first.
    let caller = rig.calls(2);
    rig.ground.now = rig.ground.now + rig.ground.limits.request_deadline + Duration::from_secs(5);
    let (server, mut cx, _) = rig.lend();
    server.handle_timeout(&mut cx, |_| false);
    assert_eq!(rig.closes().len(), 1);
    rig.asks(caller, &download());
    rig.opens();
}

#[test]
fn who_takes_too_slowly_is_reset_unless_we_hold_him_back_ourselves() {
    // hostile: 67
    let mut rig = Rig::new();
    let (caller, _) = rig.downloads(1);
    rig.passes_held_back(rig.ground.limits.drain_interval * 5, true);
    assert_eq!(rig.closes(), []);
    rig.passes(rig.ground.limits.drain_interval);
    assert!(rig.closes() == [(caller, true)] && rig.is_empty());
}

#[test]
fn a_file_that_breaks_off_is_never_taken_for_the_whole() {
    let mut rig = Rig::new();
    let (caller, file) = rig.downloads(1);
    rig.sends(caller, 10);
    let (server, mut cx, _) = rig.lend();
    cx.files.drop(file);
    server.file_failed(&mut cx, caller, Fault::Shrunk, true);
    assert!(rig.closes() == [(caller, true)] && rig.is_empty());
    assert!(!rig.ground.out.contains(&Output::CloseFile { file }), "its id is free already");
}

#[test]
fn a_file_that_is_not_there_is_told_in_the_words_of_each_request() {
    let search = Request::Search { name: "a.txt".to_owned() };
    for (request, fault, text) in [
        (download(), Fault::NotFound, Refusal::NoSuchFile.text()),
        (search.clone(), Fault::NotFound, v1::NOT_FOUND),
        (search, Fault::TooManyOpen, Refusal::Busy.text()),
    ] {
        let mut rig = Rig::new();
        let caller = rig.calls(1);
        rig.asks(caller, &request);
        let file = rig.opens();
        let (server, mut cx, _) = rig.lend();
        cx.files.drop(file);
        server.file_failed(&mut cx, caller, fault, true);
        assert_eq!(rig.drains(caller), text.as_bytes());
    }
    // A name that no file can have is not even looked for.
    let mut rig = Rig::new();
    let caller = rig.calls(1);
    rig.asks(caller, &Request::Download { name: "../a.txt".to_owned() });
    assert_eq!(rig.drains(caller), Refusal::NoSuchFile.text().as_bytes());
}

#[test]
fn bytes_behind_the_request_stay_in_the_kernel_past_a_limit() {
    let mut rig = Rig::new();
    let (caller, _) = rig.downloads(1);
    let max = rig.ground.limits.linger_bytes;
    assert_eq!(rig.says(caller, &vec![0; max]), Step::Taken(taken(max)));
    assert_eq!(rig.says(caller, &[0]), Step::Taken(Received { pause: true, ..taken(1) }));
}

#[test]
fn the_operator_and_a_newcomer_may_end_a_connection() {
    for (why, reset) in [(CloseReason::Stopped, true), (CloseReason::Evicted, false)] {
        let mut rig = Rig::new();
        let (caller, _) = rig.downloads(1);
        let (server, mut cx, _) = rig.lend();
        server.close(&mut cx, caller, why);
        server.close(&mut cx, caller, why);
        assert!(rig.closes() == [(caller, reset)] && rig.is_empty());
    }
}
