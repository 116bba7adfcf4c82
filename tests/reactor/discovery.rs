//! Multicast, on the loopback only.

use crate::children::in_child_with;
use crate::toys::{Home, run};
use distrishare::config::Limits;
use distrishare::machine::{Fault, Input, Interface, Output};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

fn free_port() -> u16 {
    UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.local_addr()).expect("bound").port()
}

fn open(port: u16) -> Vec<Output> {
    let group = SocketAddr::from(([224, 1, 1, 1], port));
    vec![Output::OpenDiscovery { group }, Output::ListInterfaces]
}

fn loopback(list: &[Interface]) -> (u32, Ipv4Addr) {
    let lo = list.iter().find(|interface| interface.addr == Ipv4Addr::LOCALHOST).expect("a loopback");
    assert!(lo.multicast);
    (lo.index, lo.addr)
}

/// Two reactors on one port: what one sends, both hear, from 127.0.0.1.
fn heard_on_the_loopback() {
    let port = free_port();
    let (home, other) = (Home::new(), Home::new());
    let listening = std::thread::spawn(move || listen_for_hello(&other, port));
    let mut heard = 0;
    let stats = run(home.reactor(&Limits::desktop()), open(port), |script, input| match input {
        Some(Input::Interfaces(list)) => {
            let (interface, addr) = loopback(list);
            script.push(Output::JoinGroup { interface, addr });
            script.push(Output::JoinGroup { interface, addr }); // twice is as good as once
            script.deadline = Some(script.now);
        }
        Some(Input::Timeout) => {
            // Until the other one has joined as well, nobody but us hears it.
            script.deadline = Some(script.now + std::time::Duration::from_millis(20));
            if listening.is_finished() {
                script.exit();
            }
            let (interface, addr) = (1, Ipv4Addr::LOCALHOST);
            for bytes in [vec![], vec![b'x'; 513], b"HELLO".to_vec()] {
                script.push(Output::SendDatagram { interface, addr, bytes });
            }
        }
        Some(Input::Datagram { from, bytes }) => {
            assert_eq!((from.ip().to_string().as_str(), bytes), ("127.0.0.1", b"HELLO".as_slice()));
            heard += 1;
        }
        Some(Input::JoinFailed { fault, .. } | Input::DiscoveryFailed { fault }) => panic!("{fault}"),
        _ => {}
    });
    listening.join().expect("heard");
    // hostile: 33, 35
    assert!(heard > 0 && stats.datagrams_dropped > 0, "{heard} {stats:?}");
}

fn listen_for_hello(home: &Home, port: u16) {
    run(home.reactor(&Limits::desktop()), open(port), |script, input| match input {
        Some(Input::Interfaces(list)) => {
            let (interface, addr) = loopback(list);
            script.push(Output::JoinGroup { interface, addr });
        }
        Some(Input::Datagram { from, .. }) => {
            assert_eq!(from.ip(), Ipv4Addr::LOCALHOST);
            script.push(Output::LeaveGroup { interface: 1, addr: Ipv4Addr::LOCALHOST });
            script.push(Output::CloseDiscovery);
            script.exit();
        }
        _ => {}
    });
}

#[test]
fn both_of_two_nodes_on_one_box_hear_a_datagram_from_its_real_address() {
    heard_on_the_loopback();
}

/// The source is 0.0.0.0 there if only the interface's number is named, and nothing can be sent if nothing is.
#[test]
fn on_a_host_with_nothing_but_the_loopback() {
    let name = "discovery::on_a_host_with_nothing_but_the_loopback";
    in_child_with(name, "unshare -n sh -c 'ip link set lo up && exec \"$0\" \"$@\"'", heard_on_the_loopback);
}

#[test]
fn a_port_that_is_taken_and_a_group_that_cannot_be_joined_are_said() {
    // hostile: 48, 52
    let taken = UdpSocket::bind("0.0.0.0:0").expect("bound");
    let home = Home::new();
    let mut seen = Vec::new();
    let outputs = open(taken.local_addr().expect("bound").port());
    run(home.reactor(&Limits::desktop()), outputs, |script, input| match input {
        Some(Input::DiscoveryFailed { fault }) => {
            seen.push(fault);
            script.outputs.extend(open(free_port()));
        }
        Some(Input::DiscoveryOpened) => {
            script.push(Output::JoinGroup { interface: 999_999, addr: Ipv4Addr::new(10, 1, 2, 3) });
            // hostile: 49
            let (interface, addr) = (999_999, Ipv4Addr::new(10, 1, 2, 3));
            script.push(Output::SendDatagram { interface, addr, bytes: b"x".to_vec() });
        }
        Some(Input::JoinFailed { interface, fault }) => {
            assert_eq!(interface, 999_999);
            seen.push(fault);
            script.exit();
        }
        _ => {}
    });
    assert_eq!(seen, [Fault::AddressInUse, Fault::Os(19)]);
}

/// Joins and sends on all interfaces of a network of its own with 22 of them and the loopback, where a socket may join `most`
/// groups. Says how many joins failed, and on how many interfaces a datagram of ours was heard.
fn joined_on_all(name: &str, most: u32, check: impl Fn(usize, usize)) {
    let make = format!(
        "for i in $(seq 22); do ip link add v$i type veth peer name w$i || exit 1; \
         ip addr add 10.9.$i.1/24 dev v$i; ip link set v$i up; done; ip link set lo up; \
         echo {most} >/proc/sys/net/ipv4/igmp_max_memberships"
    );
    let wrapper = format!("unshare -n sh -c '{make}; exec \"$0\" \"$@\"'");
    in_child_with(name, &wrapper, || {
        let home = Home::new();
        let (mut up, mut failed, mut heard) = (0, Vec::new(), BTreeSet::new());
        run(home.reactor(&Limits::desktop()), open(free_port()), |script, input| match input {
            Some(Input::Interfaces(list)) => {
                up = list.len();
                assert!(list.iter().all(|interface| interface.multicast && interface.index != 0));
                // Twice is once.
                for &Interface { index: interface, addr, .. } in list.iter().chain(list) {
                    script.push(Output::JoinGroup { interface, addr });
                }
                for &Interface { index: interface, addr, .. } in list {
                    script.push(Output::SendDatagram { interface, addr, bytes: addr.octets().to_vec() });
                }
                script.deadline = Some(script.now + std::time::Duration::from_millis(200));
            }
            Some(Input::JoinFailed { fault, .. }) => failed.push(fault),
            Some(Input::Datagram { bytes, .. }) => {
                assert!(heard.insert(bytes.to_vec()), "heard once");
            }
            Some(Input::Timeout) => script.exit(),
            _ => {}
        });
        assert_eq!(up, 23);
        assert!(failed.iter().all(|fault| *fault == Fault::NoMemory), "{failed:?}");
        check(failed.len() / 2, heard.len());
    });
}

#[test]
fn more_interfaces_than_a_socket_may_join_on_are_all_joined() {
    let name = "discovery::more_interfaces_than_a_socket_may_join_on_are_all_joined";
    joined_on_all(name, 20, |failed, heard| assert_eq!((failed, heard), (0, 23)));
}

#[test]
fn beyond_the_memberships_that_all_sockets_may_have_the_rest_goes_on() {
    let name = "discovery::beyond_the_memberships_that_all_sockets_may_have_the_rest_goes_on";
    joined_on_all(name, 2, |failed, heard| assert_eq!((failed, heard), (23 - 16, 16)));
}
