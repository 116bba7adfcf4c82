//! How often the loop wakes, what timers do, and that no event is lost or spun on.

use crate::toys::{Home, LISTENER, Running, any_port, conn, connect, run};
use distrishare::config::Limits;
use distrishare::machine::{Fault, Input, Output};
use distrishare::time::{Duration, Instant};
use std::ffi::OsString;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;

fn listen() -> Output {
    Output::Listen { listener: LISTENER, addr: any_port() }
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn an_idle_loop_sleeps() {
    // hostile: 189
    let home = Home::new();
    let stats = run(home.reactor(&Limits::desktop()), vec![listen()], |script, input| match input {
        Some(Input::Listening { .. }) => script.deadline = Some(script.now + millis(600)),
        Some(Input::Timeout) => script.exit(),
        _ => {}
    });
    assert!(stats.waits <= 3, "{stats:?}");
}

#[test]
fn timers_are_never_early_and_a_sub_millisecond_wait_is_no_busy_loop() {
    let home = Home::new();
    let mut left = 20;
    let stats = run(home.reactor(&Limits::desktop()), vec![], |script, input| match input {
        Some(Input::WallClock(wall)) => {
            assert!(wall.0 > 0);
            script.deadline = Some(script.now + Duration::from_micros(700));
        }
        Some(Input::Timeout) => {
            assert!(Some(script.now) >= script.deadline);
            script.deadline = Some(script.now + Duration::from_micros(700));
            left -= 1;
            if left == 0 {
                script.exit();
            }
        }
        _ => {}
    });
    assert!(stats.polls <= 45, "{stats:?}");
}

/// hostile: 191. Timers that are overdue again and again leave room for the network between.
#[test]
fn overdue_timers_do_not_keep_the_network_out() {
    let home = Home::new();
    let mut served_at = None;
    let mut timers = 0;
    let mut client = None;
    run(home.reactor(&Limits::desktop()), vec![listen()], |script, input| match input {
        Some(Input::Listening { addr, .. }) => {
            let mut stream = connect(addr);
            stream.write_all(b"x").expect("sent");
            client = Some(stream);
            script.deadline = Some(Instant::ZERO);
        }
        Some(Input::Timeout) => {
            timers += 1;
            if timers == 1000 {
                script.exit();
            }
        }
        None => served_at = served_at.or(Some(timers)),
        _ => {}
    });
    assert!(served_at.expect("served") < 50, "{served_at:?}");
}

/// A peer that resets or closes while the node has stopped reading.
fn hang_up(end: impl Fn(TcpStream) + Send + 'static) -> (u64, Vec<String>) {
    let home = Home::new();
    let (sender, addr) = mpsc::channel::<SocketAddr>();
    let client = std::thread::spawn(move || {
        let mut stream = connect(addr.recv().expect("an address"));
        stream.write_all(b"x").expect("sent");
        end(stream);
    });
    let mut seen = Vec::new();
    let stats = run(home.reactor(&Limits::desktop()), vec![listen()], |script, input| match input {
        Some(Input::Listening { addr, .. }) => {
            script.pause = true;
            script.consume = false;
            sender.send(addr).expect("sent");
            script.deadline = Some(script.now + millis(400));
        }
        Some(Input::Timeout) => script.exit(),
        Some(other @ (Input::Closed { .. } | Input::Eof { .. })) => seen.push(format!("{other:?}")),
        _ => {}
    });
    client.join().expect("ends");
    (stats.polls, seen)
}

#[test]
fn a_hang_up_while_reading_is_paused_does_not_spin() {
    // hostile: 187
    let (polls, seen) = hang_up(drop);
    assert!(polls < 20, "{polls}");
    assert_eq!(seen, [""; 0], "told after the node reads again");
    let (polls, seen) = hang_up(|stream| {
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    });
    assert!(polls < 20, "{polls}");
    assert!(seen.len() == 1 && seen[0].contains("Reset"), "{seen:?}");
}

#[test]
fn a_fin_is_told_once_after_what_came_before_it() {
    let home = Home::new();
    let (sender, addr) = mpsc::channel::<SocketAddr>();
    let client = std::thread::spawn(move || {
        let mut stream = connect(addr.recv().expect("an address"));
        stream.write_all(b"last words").expect("sent");
        stream.shutdown(std::net::Shutdown::Write).expect("half closed");
        stream
    });
    let mut eofs = 0;
    let mut words = Vec::new();
    let stats = run(home.reactor(&Limits::desktop()), vec![listen()], |script, input| match input {
        Some(Input::Listening { addr, .. }) => {
            sender.send(addr).expect("sent");
            script.deadline = Some(script.now + millis(300));
        }
        Some(Input::Eof { .. }) => {
            eofs += 1;
            words.clone_from(&script.received);
        }
        Some(Input::Timeout) => script.exit(),
        _ => {}
    });
    drop(client.join());
    assert_eq!((eofs, words.as_slice()), (1, b"last words".as_slice()));
    assert!(stats.polls < 20, "{stats:?}");
}

#[test]
fn a_dial_connects_or_says_why_not() {
    let home = Home::new();
    let open = TcpListener::bind(any_port()).expect("listens");
    let addr = open.local_addr().expect("bound");
    let closed = TcpListener::bind(any_port()).and_then(|l| l.local_addr()).expect("bound");
    let dial = |n, addr| Output::Connect { conn: conn(n), addr };
    let mut seen = Vec::new();
    let outputs = vec![dial(1, addr), dial(2, closed), dial(0xffff_ffff, addr)];
    run(home.reactor(&Limits::desktop()), outputs, |script, input| {
        match input {
            Some(Input::Connected { conn, local }) => seen.push((conn.0.index, format!("{}", local.ip()))),
            Some(Input::Closed { conn, fault }) => seen.push((conn.0.index, format!("{fault:?}"))),
            _ => return,
        }
        if seen.len() == 3 {
            script.exit();
        }
    });
    seen.sort();
    let expected = [(1, "127.0.0.1"), (2, "Refused"), (0xffff_ffff, "TooManyOpen")];
    assert_eq!(seen, expected.map(|(n, text)| (n, text.to_owned())));
}

#[test]
fn a_listener_says_why_it_cannot_open() {
    let home = Home::new();
    let taken = TcpListener::bind(any_port()).expect("listens");
    let addr = taken.local_addr().expect("bound");
    let listen = |addr| Output::Listen { listener: LISTENER, addr };
    let mut seen = Vec::new();
    let outputs = vec![listen(addr), listen("198.51.100.7:9000".parse().expect("an address"))];
    run(home.reactor(&Limits::desktop()), outputs, |script, input| {
        if let Some(Input::ListenFailed { fault, .. }) = input {
            seen.push(fault);
            if seen.len() == 2 {
                script.exit();
            }
        }
    });
    assert_eq!(seen, [Fault::AddressInUse, Fault::AddressNotHere]);
}

#[test]
fn a_burst_of_clients_is_served_without_a_second_edge() {
    // hostile: 184 (budget part)
    let home = Home::new();
    let limits = Limits { accepts_per_turn: 3, ..Limits::desktop() };
    let server = Running::start(&home, &limits);
    let stall = server.ask("STALL");
    let clients: Vec<TcpStream> = (0..100).map(|_| server.ask("SMALL")).collect();
    server.go_on.send(()).expect("sent");
    for client in &clients {
        assert_eq!(crate::toys::line(client), "small\n");
    }
    drop(stall);
    assert_eq!(server.stop().accepts, 102);
}

#[test]
fn names_are_resolved_for_the_operator() {
    use distrishare::machine::RequestId;
    let home = Home::new();
    let ask = |n, host: &str| Output::Resolve { request: RequestId(n), host: host.into(), port: 8000 };
    let mut seen = Vec::new();
    let outputs = vec![ask(1, "localhost"), ask(2, "127.0.0.1"), ask(3, "no such name"), ask(4, "--help")];
    let peer = [env!("CARGO_BIN_EXE_ds-peer"), "__lookup"].map(OsString::from);
    let reactor = home.reactor(&Limits::desktop()).with_resolver(peer.into());
    run(reactor, outputs, |script, input| {
        if let Some(Input::Resolved { request, result }) = input {
            seen.push((request.0, result.map(|addr| addr.to_string())));
            if seen.len() == 4 {
                script.exit();
            }
        }
    });
    seen.sort();
    let here = || Ok("127.0.0.1:8000".to_owned());
    assert_eq!(seen, [(1, here()), (2, here()), (3, Err(Fault::UnknownHost)), (4, Err(Fault::UnknownHost))]);
}

#[test]
fn a_resolver_that_hangs_makes_nobody_wait() {
    use distrishare::machine::RequestId;
    let home = Home::new();
    let hangs = ["sh", "-c", "exec sleep 600"].map(OsString::from);
    let ask = Output::Resolve { request: RequestId(1), host: "box.lan".into(), port: 8000 };
    let start = std::time::Instant::now();
    let mut client = None;
    let mut received = Vec::new();
    let reactor = home.reactor(&Limits::desktop()).with_resolver(hangs.into());
    run(reactor, vec![ask, listen()], |script, input| match input {
        Some(Input::Listening { addr, .. }) => {
            let mut stream = connect(addr);
            stream.write_all(b"are you there").expect("sent");
            client = Some(stream);
        }
        Some(Input::Resolved { result, .. }) => panic!("nobody can know it: {result:?}"),
        _ if script.received.len() == 13 => {
            received = script.received.clone();
            script.exit();
        }
        _ => {}
    });
    assert_eq!(received, b"are you there");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn what_came_before_a_reset_is_read() {
    let home = Home::new();
    let mut seen = Vec::new();
    run(home.reactor(&Limits::desktop()), vec![listen()], |script, input| match input {
        Some(Input::Listening { addr, .. }) => {
            let mut stream = connect(addr);
            stream.write_all(b"ERROR: busy").expect("sent");
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("set");
        }
        Some(Input::Closed { fault, .. }) => {
            seen = script.received.clone();
            assert_eq!(fault, Fault::Reset);
            script.exit();
        }
        _ => {}
    });
    assert_eq!(seen, b"ERROR: busy");
}

#[test]
fn a_node_that_never_gets_on_with_a_connection_loses_it() {
    // hostile: 195
    let home = Home::new();
    let mut client = None;
    let mut shown = 0;
    run(home.reactor(&Limits::desktop()), vec![listen()], |script, input| match input {
        Some(Input::Listening { addr, .. }) => {
            let mut stream = connect(addr);
            stream.write_all(b"x").expect("sent");
            client = Some(stream);
            (script.pause, script.consume) = (true, false);
        }
        None => {
            shown += 1;
            script.push(Output::Resume { conn: conn(101) });
        }
        Some(Input::Closed { fault, .. }) => {
            assert_eq!(fault, Fault::Os(0));
            script.exit();
        }
        _ => {}
    });
    assert!((100..100_000).contains(&shown), "{shown}");
}
