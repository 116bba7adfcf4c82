//! Two ports, each with what it is lent and no node around it; between them a connection without a network.

mod table;

use super::event::{Event, Step};
use super::greeting::{Greeter, Speaks};
use super::outcome::{Class, CloseReason, Dial, Stage, Unreached};
use super::{Sessions, Tag};
use crate::config::{CHUNK, Crypto, Key, Limits};
use crate::machine::{ConnId, Fault, FileId, Id, Output, SEAL_HEAD, Transmit};
use crate::node::cx::tests::Ground;
use crate::node::sessions::ending::Giving;
use crate::proto::entropy::Entropy;
use crate::proto::v2::identity::NodeId;
use crate::proto::v2::message::{DATA_HEAD, DataKind, Message};
use crate::time::{Duration, Instant, WallTime};
use std::net::SocketAddr;

impl Tag for char {
    fn is_brief(self) -> bool {
        self == 's'
    }
}

pub(super) fn sessions(key: u8, group: Option<u8>) -> Sessions<char> {
    let group = group.map(|n| Key::new([n; 32]));
    let speaks = Speaks { crypto: Crypto::Null, group, v1: true, port: 9000 };
    let entropy = Entropy::new(&Key::new([key; 32]));
    Sessions::new(Greeter::new(speaks, &Limits::desktop(), entropy))
}

fn addr(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 9000))
}

fn conn(n: u32) -> ConnId {
    ConnId(Id { index: n, generation: 0 })
}

/// One node's end.
struct Side {
    sessions: Sessions<char>,
    ground: Ground,
    addr: SocketAddr,
    steps: Vec<Step<char>>,
}

impl Side {
    fn new(key: u8, group: Option<u8>) -> Side {
        let ground = Ground::new(Limits::desktop());
        Side { sessions: sessions(key, group), ground, addr: addr(key), steps: Vec::new() }
    }

    fn events(&mut self) -> Vec<Event<char>> {
        std::iter::from_fn(|| self.sessions.poll_event()).collect()
    }

    fn ask(&mut self, conn: ConnId, tag: char) -> u32 {
        let mut cx = self.ground.lend();
        self.sessions.ask(&mut cx, conn, tag, |id| Message::Stat { id, name: "a".to_owned() })
    }

    fn tell(&mut self, conn: ConnId, message: &Message) {
        let mut cx = self.ground.lend();
        self.sessions.tell(&mut cx, conn, message);
    }

    /// Until when its first deadline is, which comes now.
    fn wait(&mut self, giving: Giving) {
        self.ground.now = self.sessions.poll_timeout().unwrap().at;
        let mut cx = self.ground.lend();
        self.sessions.handle_timeout(&mut cx, |_| giving);
    }

    /// The same, where something came just before.
    fn wait_while_it_speaks(&mut self, conn: ConnId, giving: Giving) {
        let at = self.sessions.poll_timeout().unwrap().at;
        let session = self.sessions.get_mut(conn).unwrap();
        (session.heard, session.pinged) = (at, false);
        self.ground.now = at;
        self.sessions.handle_timeout(&mut self.ground.lend(), |_| giving);
    }

    /// Takes what waits to be sent on a connection.
    fn take(&mut self, conn: ConnId) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(Transmit::Bytes(bytes)) = self.sessions.transmit(conn, None) {
            let bytes = bytes.to_vec();
            let mut cx = self.ground.lend();
            self.sessions.sent(&mut cx, conn, bytes.len(), false);
            all.extend(bytes);
        }
        all
    }

    fn recv(&mut self, conn: ConnId, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        let mut consumed = 0;
        for _ in 0..1000 {
            let mut cx = self.ground.lend();
            let (n, step) = self.sessions.recv(&mut cx, conn, &mut bytes[consumed..]);
            consumed += n;
            let over = matches!(step, Step::Wait | Step::Full);
            self.steps.push(step);
            if over {
                assert_eq!(consumed, bytes.len());
                return;
            }
        }
        panic!("it never has enough");
    }
}

/// Dials `b` from `a`, to ask `tag`.
fn dial(a: &mut Side, b: &Side, conn: ConnId, tag: char) {
    a.sessions.dial(a.ground.now, conn, (b.addr, Class::Near), tag);
    let cx = a.ground.lend();
    assert_eq!(a.sessions.may_dial(&cx, conn), Some(b.addr));
}

/// The dial arrives: `expected` is who is thought to be there.
fn connect(a: &mut Side, b: &mut Side, conn: ConnId, expected: Option<NodeId>) {
    let mut cx = a.ground.lend();
    assert_eq!(a.sessions.connected(&mut cx, conn, expected), Some((b.addr, Class::Near)));
    let (from, now) = (a.addr, b.ground.now);
    let mut cx = b.ground.lend();
    b.sessions.accepted(&mut cx, conn, (from, now));
}

/// All that is to be sent on a connection arrives, both ways.
fn talk(a: &mut Side, b: &mut Side, conn: ConnId) {
    for _ in 0..100 {
        let (there, back) = (a.take(conn), b.take(conn));
        if there.is_empty() && back.is_empty() {
            return;
        }
        b.recv(conn, &there);
        a.recv(conn, &back);
    }
    panic!("they never have said it all");
}

/// Two nodes with an open session, on which nothing is pending.
fn pair() -> (Side, Side) {
    let (mut a, mut b) = (Side::new(1, None), Side::new(2, None));
    dial(&mut a, &b, conn(1), 'x');
    connect(&mut a, &mut b, conn(1), None);
    talk(&mut a, &mut b, conn(1));
    assert_eq!(a.sessions.take_pending(conn(1)), Some(vec!['x']));
    a.events();
    b.events();
    (a, b)
}

#[test]
fn a_dial_that_is_answered_says_who_is_there_and_hands_back_what_was_pending() {
    let (mut a, mut b) = (Side::new(1, None), Side::new(2, None));
    dial(&mut a, &b, conn(1), 'x');
    a.sessions.on_the_way_to(b.addr).unwrap().pending.push('y');
    assert_eq!((a.sessions.queued_for('x'), a.sessions.take_pending(conn(1))), (0, None));
    connect(&mut a, &mut b, conn(1), None);
    talk(&mut a, &mut b, conn(1));
    let (us, them) = (a.sessions.id(), b.sessions.id());
    let up = Event::Up { conn: conn(1), node: them, peer: b.addr, dialled: true, port: 9000 };
    assert_eq!(a.events(), [up, Event::Ready { conn: conn(1) }]);
    let valid = Event::Valid { conn: conn(1), from: a.addr.ip(), accepted: Instant::ZERO };
    let up = Event::Up { conn: conn(1), node: us, peer: a.addr, dialled: false, port: 9000 };
    assert_eq!(b.events(), [valid, up, Event::Ready { conn: conn(1) }]);
    assert_eq!(a.sessions.take_pending(conn(1)), Some(vec!['x', 'y']));
    assert_eq!((a.sessions.of(them), b.sessions.of(us)), (Some(conn(1)), Some(conn(1))));
    assert!(a.sessions.on_the_way_to(b.addr).is_none());
}

#[test]
fn an_answer_comes_back_with_the_tag_of_who_asked_and_is_the_last_or_not() {
    let (mut a, mut b) = pair();
    let (first, second) = (a.ask(conn(1), 'p'), a.ask(conn(1), 'q'));
    talk(&mut a, &mut b, conn(1));
    let asked = |id| Step::Request(Message::Stat { id, name: "a".to_owned() });
    assert_eq!(b.steps[b.steps.len() - 3..], [asked(first), asked(second), Step::Wait]);
    let files = |id, end| Message::Files { id, files: Vec::new(), end, skipped: 0, left_out: 0 };
    a.steps.clear();
    b.tell(conn(1), &files(second, false));
    b.tell(conn(1), &files(second, true));
    let (sessions, mut cx) = (&mut b.sessions, b.ground.lend());
    sessions.tell_data(&mut cx, conn(1), DataKind::Values, (first, 7), &[1; 32]);
    talk(&mut a, &mut b, conn(1));
    let answer = |end| Step::Answer { tag: 'q', message: files(second, end) };
    assert_eq!(a.steps[..2], [answer(false), answer(true)]);
    let Step::Hashes { tag: 'p', number, first: 7, bytes } = &a.steps[2] else { panic!("{:?}", a.steps) };
    assert_eq!((*number, bytes.len()), (first, 32));
    assert_eq!(a.sessions.get(conn(1)).unwrap().asked.keys().collect::<Vec<_>>(), [&first]);
}

#[test]
fn a_range_of_a_file_is_sealed_in_place_and_goes_behind_what_is_said() {
    let (mut a, mut b) = pair();
    let number = a.ask(conn(1), 'd');
    talk(&mut a, &mut b, conn(1));
    let file = FileId(Id { index: 3, generation: 0 });
    b.sessions.ranges_changed(&b.ground.lend(), conn(1), true);
    b.tell(conn(1), &Message::Pong { id: 0 });
    let range = Some((file, 64, 4 * CHUNK as u64));
    assert!(matches!(b.sessions.transmit(conn(1), range), Some(Transmit::Bytes(_))));
    talk(&mut a, &mut b, conn(1));
    // As much as both take in one record, and no more.
    let run = b.sessions.get(conn(1)).unwrap().run();
    let Some(Transmit::Seal { offset: 64, len, .. }) = b.sessions.transmit(conn(1), range) else { panic!() };
    assert_eq!(len, run.min(4 * CHUNK));
    let mut buffer = vec![0; SEAL_HEAD + 5 + 64];
    buffer[SEAL_HEAD..SEAL_HEAD + 5].copy_from_slice(b"hello");
    let mut cx = b.ground.lend();
    let data = (DataKind::Data, number, 2 * CHUNK as u64);
    let record = b.sessions.seal(&mut cx, conn(1), data, &mut buffer, SEAL_HEAD..SEAL_HEAD + 5).unwrap();
    assert!(b.sessions.get(conn(1)).unwrap().has_to_send(), "the driver has it still");
    b.sessions.sent(&mut cx, conn(1), record.len(), false);
    assert!(!b.sessions.get(conn(1)).unwrap().has_to_send() && b.sessions.unsent() == 0);
    a.steps.clear();
    a.recv(conn(1), &buffer[record]);
    let Step::Data { tag: 'd', offset, bytes, .. } = &a.steps[0] else { panic!("{:?}", a.steps) };
    assert_eq!((*offset, bytes.len()), (2 * CHUNK as u64, 5));
    assert!(DATA_HEAD < bytes.start);
}

#[test]
fn a_session_that_is_quit_or_breaks_gives_back_what_was_asked_on_it() {
    for broken in [false, true] {
        let (mut a, mut b) = pair();
        a.ask(conn(1), 'q');
        a.ask(conn(1), 'p');
        talk(&mut a, &mut b, conn(1));
        a.ground.now += Duration::from_secs(60);
        if broken {
            a.recv(conn(1), &[0xff; 64]);
        } else {
            b.sessions.quit(&mut b.ground.lend(), conn(1), &CloseReason::Idle);
            talk(&mut a, &mut b, conn(1));
        }
        let events = a.events();
        let [.., Event::Retired { .. }, gone, Event::Down { lived: true, silent: false, pending, .. }] =
            &events[..]
        else {
            panic!("{events:?}")
        };
        assert_eq!(*gone, Event::Gone { conn: conn(1), came: None, socket: true });
        assert_eq!(pending, &['q', 'p']);
        assert_eq!(matches!(events[0], Event::Notice { .. }), broken);
        assert_eq!(a.ground.out.back(), Some(&Output::Close { conn: conn(1), reset: broken }));
        assert_eq!((a.sessions.len(), a.sessions.timers(), a.sessions.unsent()), (0, 0, 0));
        if !broken {
            // Who quits waits until that was read, and not for ever.
            assert!(b.ground.out.contains(&Output::Shutdown { conn: conn(1) }));
            assert!(b.sessions.get(conn(1)).is_some() && b.sessions.len() == 0);
            b.events();
            b.wait(Giving::default());
            let came = Some((a.addr.ip(), Instant::ZERO));
            assert_eq!(b.events()[0], Event::Gone { conn: conn(1), came, socket: true });
        }
    }
}

#[test]
fn the_time_of_a_dial_is_as_long_as_its_stage_allows_and_all_who_wait_are_told() {
    let dial_of = |stage| Dial { conn: conn(1), addr: addr(2), class: Class::Near, stage, bound: false };
    let unreached = |stage, why, tag| Event::Unreached { dial: dial_of(stage), why, pending: vec![tag] };
    let limits = Limits::desktop();
    // Its turn never came.
    let mut a = Side::new(1, None);
    a.sessions.dial(Instant::ZERO, conn(1), (addr(2), Class::Near), 'x');
    assert_eq!((a.sessions.queued_for('x'), a.sessions.queued_for('y')), (1, 0));
    a.sessions.timed_out(&mut a.ground.lend(), conn(1), Giving::default());
    let gone = Event::Gone { conn: conn(1), came: None, socket: false };
    assert_eq!(a.events(), [gone, unreached(Stage::Waiting, Unreached::NotTried, 'x')]);
    assert!(a.ground.out.is_empty(), "there is nothing to close");
    for (tag, connect, reply) in [
        ('x', limits.connect_deadline, limits.reply_deadline),
        ('s', limits.search_deadline, limits.search_deadline.min(limits.reply_deadline)),
    ] {
        let (mut a, b) = (Side::new(1, None), Side::new(2, None));
        dial(&mut a, &b, conn(1), tag);
        a.wait(Giving::default());
        assert_eq!(a.ground.now, Instant::ZERO + connect);
        assert_eq!(a.events()[1], unreached(Stage::Dialing, Unreached::TimedOut, tag));
        let (mut a, b) = (Side::new(1, None), Side::new(2, None));
        dial(&mut a, &b, conn(1), tag);
        a.sessions.connected(&mut a.ground.lend(), conn(1), None);
        a.wait(Giving::default());
        assert_eq!(a.ground.now, Instant::ZERO + reply);
        assert_eq!(a.events()[1], unreached(Stage::Greeting, Unreached::Silent, tag));
    }
}

#[test]
fn who_hangs_up_on_a_handshake_is_told_apart_from_a_dial_that_failed() {
    for (connected, closed) in [(false, true), (true, true), (true, false)] {
        let (mut a, b) = (Side::new(1, Some(7)), Side::new(2, Some(7)));
        dial(&mut a, &b, conn(1), 'x');
        if connected {
            a.sessions.connected(&mut a.ground.lend(), conn(1), Some(b.sessions.id()));
        }
        match closed {
            true => a.sessions.closed(&mut a.ground.lend(), conn(1), Fault::Refused),
            false => a.sessions.eof(&mut a.ground.lend(), conn(1)),
        }
        let stage = if connected { Stage::Greeting } else { Stage::Dialing };
        let dial = Dial { conn: conn(1), addr: addr(2), class: Class::Near, stage, bound: connected };
        let fault = if closed { Fault::Refused } else { Fault::Reset };
        let pending = vec!['x'];
        assert_eq!(
            a.events()[1],
            match connected {
                true => Event::HungUp { dial, fault, pending },
                false => Event::Unreached { dial, why: Unreached::Failed(fault), pending },
            }
        );
        let closes = a.ground.out.contains(&Output::Close { conn: conn(1), reset: false });
        assert_eq!(closes, !closed, "what the world closed is closed");
    }
}

#[test]
fn a_stranger_gets_no_word_and_a_recording_of_a_member_neither() {
    // Nobody of that group may speak v1 either, where that is off.
    let stranger = |v1| {
        let (mut a, mut b) = (Side::new(1, Some(7)), Side::new(2, Some(8)));
        b.sessions.greeter.speaks.v1 = v1;
        dial(&mut a, &b, conn(1), 'x');
        connect(&mut a, &mut b, conn(1), None);
        talk(&mut a, &mut b, conn(1));
        (b.events(), b)
    };
    let (events, mut b) = stranger(false);
    assert!(matches!(events[..], [Event::Notice { who, .. }] if who == addr(1)), "{events:?}");
    assert!(b.take(conn(1)).is_empty());
    b.wait(Giving::default());
    assert!(b.ground.now <= Instant::ZERO + Duration::from_millis(200));
    assert!(matches!(b.events()[..], [Event::Gone { .. }, Event::Down { .. }]));
    let (events, b) = stranger(true);
    assert_eq!(events, [Event::SpeaksV1 { conn: conn(1), came: (addr(1), Instant::ZERO) }]);
    assert!(b.sessions.get(conn(1)).is_none() && b.sessions.timers.is_empty());

    // The first flight of a member, said twice.
    let (mut a, mut b) = (Side::new(1, Some(7)), Side::new(2, Some(7)));
    a.sessions.greeter.set_clock(Instant::ZERO, WallTime(1_800_000_000));
    b.sessions.greeter.set_clock(Instant::ZERO, WallTime(1_800_000_000));
    dial(&mut a, &b, conn(1), 'x');
    connect(&mut a, &mut b, conn(1), None);
    let flight = a.take(conn(1));
    b.recv(conn(1), &flight);
    assert!(!b.take(conn(1)).is_empty(), "the first time it is answered");
    b.sessions.accepted(&mut b.ground.lend(), conn(2), (addr(3), Instant::ZERO));
    b.recv(conn(2), &flight);
    assert!(
        b.take(conn(2)).is_empty()
            && b.events().contains(&Event::SpeaksV1 { conn: conn(2), came: (addr(3), Instant::ZERO) })
    );
}

#[test]
fn a_source_that_leaves_handshakes_unfinished_is_not_listened_to_for_a_while() {
    let (mut a, mut b) = (Side::new(1, None), Side::new(2, None));
    let flight = {
        dial(&mut a, &b, conn(1), 'x');
        a.sessions.connected(&mut a.ground.lend(), conn(1), None);
        a.take(conn(1))
    };
    let burst = b.ground.limits.unfinished_burst;
    let mut answered = 0;
    for n in 1..=burst + 5 {
        b.sessions.accepted(&mut b.ground.lend(), conn(n), (addr(3), Instant::ZERO));
        b.recv(conn(n), &flight);
        answered += u32::from(!b.take(conn(n)).is_empty());
    }
    assert_eq!(answered, burst);
    let mut muted = b.events();
    muted.retain(|event| matches!(event, Event::Notice { .. }));
    assert_eq!(muted.len(), 5);
    // Another source is.
    b.sessions.accepted(&mut b.ground.lend(), conn(99), (addr(4), Instant::ZERO));
    b.recv(conn(99), &flight);
    assert!(!b.take(conn(99)).is_empty());
}

// hostile: 113
#[test]
fn of_two_that_dialled_at_once_the_dial_of_the_lower_key_stays() {
    let (mut a, mut b) = (Side::new(1, None), Side::new(2, None));
    if a.sessions.id() > b.sessions.id() {
        std::mem::swap(&mut a, &mut b);
    }
    dial(&mut a, &b, conn(1), 'x');
    dial(&mut b, &a, conn(2), 'y');
    connect(&mut a, &mut b, conn(1), None);
    connect(&mut b, &mut a, conn(2), None);
    for _ in 0..3 {
        talk(&mut a, &mut b, conn(1));
        talk(&mut b, &mut a, conn(2));
    }
    let (us, them) = (a.sessions.id(), b.sessions.id());
    assert_eq!((a.sessions.of(them), b.sessions.of(us)), (Some(conn(1)), Some(conn(1))));
    // What the other dial was to bring is given back, or still there.
    let back = b.events().into_iter().find_map(|event| match event {
        Event::Down { conn: lost, pending, .. } if lost == conn(2) => Some(pending),
        _ => None,
    });
    assert_eq!(back, Some(vec!['y']));
    assert_eq!(a.sessions.take_pending(conn(1)), Some(vec!['x']));
}

#[test]
fn a_late_answer_is_waited_for_no_longer_and_the_session_has_to_show_that_it_lives() {
    let (mut a, mut b) = pair();
    let mut numbers = Vec::new();
    for (at, tag) in [(0, 's'), (1, 't')] {
        a.ground.now = Instant::ZERO + Duration::from_secs(at);
        a.sessions.ask_by(&mut a.ground.lend(), conn(1), tag, |id| {
            numbers.push(id);
            Message::Search { id, query: "a".to_owned(), limit: 1 }
        });
    }
    talk(&mut a, &mut b, conn(1));
    a.wait(Giving::default());
    assert_eq!(a.ground.now, Instant::ZERO + a.ground.limits.search_deadline);
    assert_eq!(a.events(), [Event::Late { tag: 's' }]);
    assert_eq!(a.sessions.get(conn(1)).unwrap().asked.values().collect::<String>(), "t");
    assert!(a.sessions.get(conn(1)).unwrap().doubt.is_some());
    b.steps.clear();
    talk(&mut a, &mut b, conn(1));
    assert!(b.steps.contains(&Step::Request(Message::Cancel { id: numbers[0] })));
    assert!(a.sessions.get(conn(1)).unwrap().doubt.is_none(), "it answered the ping");
}

#[test]
fn a_silent_session_is_pinged_then_lost_and_an_idle_one_is_left_unless_something_is_given() {
    let (mut a, mut b) = pair();
    let limits = Limits::desktop();
    a.wait(Giving::default());
    assert_eq!(a.ground.now, Instant::ZERO + limits.ping_after);
    assert!(a.events().is_empty() && !a.take(conn(1)).is_empty());
    while a.events().iter().all(|event| !matches!(event, Event::Down { silent: true, .. })) {
        a.wait(Giving::default());
        assert!(a.ground.now <= Instant::ZERO + limits.silence_max);
    }
    assert_eq!(a.ground.now, Instant::ZERO + limits.silence_max);

    // Something is read for it, so that it is not idle, however long that takes.
    let over = |b: &Side| b.ground.now > Instant::ZERO + limits.session_idle * 2;
    for _ in 0..1000 {
        b.wait_while_it_speaks(conn(1), Giving { busy: true, ..Giving::default() });
        if over(&b) {
            break;
        }
    }
    assert!(over(&b) && b.sessions.len() == 1);
    for _ in 0..1000 {
        b.wait_while_it_speaks(conn(1), Giving::default());
        if b.sessions.len() == 0 {
            break;
        }
    }
    assert_eq!(b.sessions.len(), 0);
    assert!(matches!(b.events()[..], [Event::Retired { .. }, Event::Down { silent: false, .. }]));
}

#[test]
fn who_takes_nothing_gives_no_more_requests_until_it_has() {
    let (mut a, mut b) = pair();
    let limits = b.ground.limits.clone();
    let reason = "x".repeat(200);
    let mut told = 0;
    while !b.sessions.is_full(&limits, conn(1)) {
        b.tell(
            conn(1),
            &Message::Refused { id: 1, code: crate::proto::v2::message::Code::Busy, text: reason.clone() },
        );
        told += 1;
        assert!(told < 1_000_000);
    }
    assert!(b.sessions.unsent() > limits.session_out_max);
    assert!(!b.sessions.may_answer(&limits, conn(1)));
    // What it asks next is dealt with, and no more is taken after that.
    a.sessions.ping(&mut a.ground.lend(), conn(1));
    let ping = a.take(conn(1));
    b.steps.clear();
    b.recv(conn(1), &ping);
    assert_eq!(b.steps, [Step::Full]);
    b.ground.out.clear();
    b.take(conn(1));
    assert_eq!(b.ground.out.iter().filter(|out| **out == Output::Resume { conn: conn(1) }).count(), 1);
    assert!(b.sessions.unsent() == 0 && b.sessions.may_answer(&limits, conn(1)));
}

#[test]
fn answers_that_nobody_asked_for_end_a_session_in_the_end() {
    let (mut a, mut b) = pair();
    for n in 0..200 {
        b.tell(
            conn(1),
            &Message::Refused { id: 7, code: crate::proto::v2::message::Code::Busy, text: String::new() },
        );
        talk(&mut a, &mut b, conn(1));
        if a.sessions.len() == 0 {
            assert!(n >= 100);
            assert!(a.events().iter().any(|event| matches!(event, Event::Down { .. })));
            return;
        }
    }
    panic!("they are borne for ever");
}

#[test]
fn the_session_that_did_least_gives_way_and_all_say_goodbye_at_the_end() {
    let (mut a, mut b) = pair();
    let mut c = Side::new(3, None);
    c.ground.now = Instant::ZERO + Duration::from_secs(5);
    a.ground.now = c.ground.now;
    dial(&mut c, &a, conn(9), 'x');
    connect(&mut c, &mut a, conn(9), None);
    talk(&mut c, &mut a, conn(9));
    a.sessions.take_pending(conn(9));
    let now = a.ground.now;
    assert_eq!(a.sessions.idlest(now, false, |_| false), Some(conn(1)));
    assert_eq!(a.sessions.idlest(now, true, |_| false), Some(conn(9)), "the other one was dialled");
    assert_eq!(a.sessions.idlest(now, false, |other| other == conn(1)), Some(conn(9)));
    a.ask(conn(1), 'p');
    a.ask(conn(9), 'q');
    a.take(conn(1));
    a.take(conn(9));
    assert_eq!(a.sessions.idlest(now, false, |_| false), None);
    a.sessions.answered(conn(1), 1);
    assert_eq!(a.sessions.idlest(now, false, |_| false), None, "it is not looked for again at once");
    a.sessions.leave_all(&mut a.ground.lend());
    for n in [1, 9] {
        assert!(!a.take(conn(n)).is_empty());
        assert!(a.sessions.get(conn(n)).is_none(), "it is closed as soon as that is said");
    }
    assert!(b.events().is_empty());
}
