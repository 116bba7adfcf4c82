//! Which sessions there are, and on which a node is asked.

use super::sessions;
use crate::config::Limits;
use crate::machine::Id;
use crate::node::sessions::*;
use crate::time::Duration;

fn conn(n: u32) -> ConnId {
    ConnId(Id { index: n, generation: 0 })
}

fn node(n: u8) -> NodeId {
    NodeId::from_bytes([n; 32])
}

fn addr() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 9000))
}

fn session() -> Session<char> {
    Session::new(addr(), Some(Class::Near), Instant::ZERO)
}

#[test]
fn the_last_that_opened_is_asked_and_the_oldest_of_too_many_goes() {
    let mut sessions = sessions(1, None);
    for n in 1..=6 {
        sessions.insert(conn(n), session());
        let oldest = sessions.opened(node(1), conn(n));
        assert_eq!(oldest, n.checked_sub(SESSIONS_MAX as u32).filter(|n| *n > 0).map(conn));
        oldest.into_iter().for_each(|oldest| sessions.forget(node(1), oldest));
        assert_eq!(sessions.of(node(1)), Some(conn(n)));
    }
    sessions.prefer(node(1), conn(4));
    assert_eq!(sessions.with(node(1)).collect::<Vec<_>>(), [3, 5, 6, 4].map(conn));
    sessions.forget(node(1), conn(4));
    assert_eq!((sessions.of(node(1)), sessions.of(node(2)), sessions.len()), (Some(conn(6)), None, 1));
    assert_eq!(sessions.iter().count(), 6, "that a node is not asked on it ends no session");
    [3, 5, 6].into_iter().for_each(|n| sessions.forget(node(1), conn(n)));
    assert!(sessions.len() == 0 && sessions.all().is_empty() && sessions.nodes().next().is_none());
}

#[test]
fn who_wants_something_at_an_address_waits_for_the_dial_that_is_on_the_way() {
    let mut sessions = sessions(1, None);
    assert!(sessions.on_the_way_to(addr()).is_none());
    sessions.dial(Instant::ZERO, conn(1), (addr(), Class::Near), 'a');
    sessions.may_have_ended(addr());
    assert_eq!(sessions.get(conn(1)).unwrap().pending, ['a']);
    sessions.remove(conn(1));
    sessions.may_have_ended(addr());
    assert!(sessions.dialling.is_empty());
    sessions.dial(Instant::ZERO, conn(2), (addr(), Class::Near), 'b');
    sessions.arrived(addr());
    assert!(sessions.on_the_way_to(addr()).is_none() && sessions.get(conn(2)).is_some());
}

#[test]
fn a_request_has_a_number_of_its_own_and_what_was_taken_back_is_nobodys_fault() {
    let mut session = session();
    let (a, ping, b) =
        (session.ask(Instant::ZERO, 'a'), session.next_number(), session.ask(Instant::ZERO, 'b'));
    assert!(a != b && a != ping && b != ping && session.asked[&a] == 'a');
    session.take_back(a);
    assert!(!session.asked.contains_key(&a) && !(0..1000).any(|_| session.is_flooded_by(a)));
    let borne = (0..1000).take_while(|_| !session.is_flooded_by(ping)).count();
    assert_eq!(borne, 100);
    // Who asks again begins anew.
    session.ask(Instant::ZERO, 'c');
    assert!(!session.is_flooded_by(ping));
    // What was taken back long ago is remembered no more.
    (1000..1256).for_each(|number| session.take_back(number));
    assert_eq!((0..1000).take_while(|_| !session.is_flooded_by(a)).count(), 99);
}

#[test]
fn a_session_is_looked_at_when_it_may_be_idle_silent_or_doubted() {
    let limits = Limits::desktop();
    let at = |time: Duration| Instant::ZERO + time;
    let mut session = session();
    assert_eq!(session.next_look(&limits), (at(limits.ping_after), "ping"));
    session.pinged = true;
    assert_eq!(session.next_look(&limits), (at(limits.silence_max), "silent session"));
    session.suspect(Instant::ZERO, &limits);
    session.suspect(at(Duration::from_secs(1)), &limits);
    assert_eq!(
        session.next_look(&limits),
        (at(limits.reply_deadline), "doubted session"),
        "the first doubt counts"
    );
    session.doubt = None;
    session.heard = at(limits.session_idle);
    assert_eq!(session.next_look(&limits), (at(limits.session_idle), "idle session"));
    session.watch(Instant::ZERO, &limits);
    session.watch(at(Duration::from_secs(5)), &limits);
    assert_eq!(session.next_look(&limits), (at(limits.drain_interval), "drain"), "since the first byte");
}
