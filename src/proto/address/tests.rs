use super::*;
use proptest::prelude::*;

fn interface(index: u32, addr: &str, prefix: u8) -> Interface {
    Interface {
        index,
        name: format!("if{index}"),
        addr: addr.parse().expect("test"),
        prefix,
        multicast: true,
    }
}

fn interfaces() -> Vec<Interface> {
    vec![
        interface(1, "127.0.0.1", 8),
        interface(2, "192.168.1.42", 24),
        interface(3, "203.0.113.7", 25),
        interface(4, "10.9.0.1", 31),
    ]
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("test")
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("test")
}

fn ask(candidate: &str, learned: Learned) -> Result<SocketAddr, Refused> {
    let interfaces = interfaces();
    admit(addr(candidate), learned, &Here { interfaces: &interfaces, listen: addr("0.0.0.0:9000") })
}

fn taken(text: &str) -> Result<SocketAddr, Refused> {
    Ok(addr(text))
}

fn outside() -> Learned {
    Learned::Registry { at: ip("8.8.8.8") }
}

fn inside() -> Learned {
    Learned::Registry { at: ip("192.168.1.1") }
}

/// Other nodes there and here: what they name is judged as what a registry names.
fn member_outside() -> Learned {
    Learned::Member { at: ip("8.8.8.8") }
}

fn member_inside() -> Learned {
    Learned::Member { at: ip("192.168.1.50") }
}

fn heard(source: &str) -> Learned {
    Learned::Multicast { source: ip(source) }
}

fn all_sources() -> [Learned; 8] {
    [
        Learned::Operator,
        Learned::Observed,
        heard("192.168.1.50"),
        heard("127.0.0.1"),
        outside(),
        inside(),
        member_outside(),
        member_inside(),
    ]
}

#[test]
fn a_hello_names_its_source() {
    // hostile: 39
    assert_eq!(ask("10.0.0.9:9001", heard("10.0.0.5")), taken("10.0.0.5:9001"));
    // hostile: 40
    assert_eq!(ask("127.0.0.1:9001", heard("192.168.1.50")), taken("192.168.1.50:9001"));
    assert_eq!(ask("192.168.1.50:9001", heard("192.168.1.50")), taken("192.168.1.50:9001"));
    // Two nodes on one box, by any of its addresses.
    for source in ["127.0.0.1", "192.168.1.42", "203.0.113.7"] {
        assert_eq!(ask("127.0.0.1:9001", heard(source)), taken("127.0.0.1:9001"));
        assert_eq!(
            ask("198.18.5.5:9001", heard(source)),
            taken("198.18.5.5:9001"),
            "an announced public address"
        );
    }
    // Whatever it claims, nothing is judged but what is used.
    assert_eq!(ask("224.0.0.1:9001", heard("192.168.1.50")), taken("192.168.1.50:9001"));
    assert_eq!(ask("224.0.0.1:9001", heard("127.0.0.1")), Err(Refused::Multicast));
}

#[test]
fn we_are_not_our_own_peer() {
    // hostile: 41
    for own in ["127.0.0.1:9000", "127.8.8.8:9000", "192.168.1.42:9000", "203.0.113.7:9000", "[::1]:9000"] {
        assert_eq!(ask(own, Learned::Operator), Err(Refused::Own), "{own}");
    }
    assert_eq!(ask("192.168.1.42:9000", heard("192.168.1.42")), Err(Refused::Own));
    assert_eq!(ask("127.0.0.1:9000", heard("192.168.1.42")), Err(Refused::Own));
    assert_eq!(ask("192.168.1.42:9000", inside()), Err(Refused::Own));
    assert_eq!(ask("192.168.1.42:9001", inside()), taken("192.168.1.42:9001"), "a second node on this host");

    let interfaces = interfaces();
    let bound = Here { interfaces: &interfaces, listen: addr("192.168.1.42:9000") };
    assert!(is_here(addr("192.168.1.42:9000"), &bound));
    assert!(is_here(addr("[::ffff:192.168.1.42]:9000"), &bound));
    assert!(!is_here(addr("127.0.0.1:9000"), &bound), "another node may have it");
    assert!(!is_here(addr("192.168.1.42:9001"), &bound));
}

#[test]
fn nobody_may_name_what_is_no_host() {
    // hostile: 14
    for learned in
        [Learned::Operator, Learned::Observed, heard("127.0.0.1"), outside(), inside(), member_inside()]
    {
        for (bad, why) in [
            ("0.0.0.0:9001", Refused::Unspecified),
            ("[::]:9001", Refused::Unspecified),
            ("224.1.1.1:9001", Refused::Multicast),
            ("239.255.255.255:9001", Refused::Multicast),
            ("[ff02::1]:9001", Refused::Multicast),
            ("255.255.255.255:9001", Refused::Broadcast),
            ("192.168.1.255:9001", Refused::Broadcast),
            ("203.0.113.127:9001", Refused::Broadcast),
            ("8.8.4.4:0", Refused::PortZero),
        ] {
            assert_eq!(ask(bad, learned), Err(why), "{bad} {learned:?}");
        }
    }
}

#[test]
fn ranges_without_hosts_are_refused_unless_typed() {
    for (bad, why) in [
        ("0.1.2.3:9001", Refused::Reserved),
        ("240.0.0.1:9001", Refused::Reserved),
        ("192.0.2.1:9001", Refused::Documentation),
        ("198.51.100.1:9001", Refused::Documentation),
        ("203.0.113.200:9001", Refused::Documentation),
        ("[2001:db8::1]:9001", Refused::Documentation),
        ("[3fff:fff::1]:9001", Refused::Documentation),
        ("[2001:0:1::1]:9001", Refused::Reserved),
        ("[100::1]:9001", Refused::Reserved),
        ("192.168.1.0:9001", Refused::Network),
        ("203.0.113.0:9001", Refused::Network),
    ] {
        assert_eq!(ask(bad, Learned::Operator), taken(bad), "{bad}");
        for learned in [Learned::Observed, heard("127.0.0.1"), outside(), inside(), member_inside()] {
            assert_eq!(ask(bad, learned), Err(why), "{bad} {learned:?}");
        }
    }
    // Labs live in the ranges for documents; a link of two addresses has no broadcast.
    for good in ["203.0.113.9:9001", "10.9.0.0:9001", "192.168.1.128:9001"] {
        for learned in [Learned::Operator, Learned::Observed, inside(), outside()] {
            assert_eq!(ask(good, learned), taken(good), "{good} {learned:?}");
        }
    }
    assert_eq!(ask("203.0.113.9:9001", heard("203.0.113.9")), taken("203.0.113.9:9001"));
}

#[test]
fn loopback_means_this_host_only_from_this_host() {
    // hostile: 13
    for good in [
        Learned::Operator,
        Learned::Observed,
        heard("192.168.1.42"),
        Learned::Registry { at: ip("127.0.0.1") },
        Learned::Member { at: ip("::ffff:127.0.0.1") },
    ] {
        assert_eq!(ask("127.0.0.1:9001", good), taken("127.0.0.1:9001"), "{good:?}");
    }
    for bad in [outside(), inside(), member_outside(), member_inside()] {
        assert_eq!(ask("127.0.0.1:9001", bad), Err(Refused::Loopback));
        assert_eq!(ask("[::1]:9001", bad), Err(Refused::Loopback));
    }
    let on_v6 = Learned::Registry { at: ip("::1") };
    assert_eq!(ask("127.0.0.1:9001", on_v6), taken("127.0.0.1:9001"));
}

#[test]
fn nobody_outside_names_inside_addresses() {
    for private in [
        "10.1.2.3:9001",
        "172.16.0.1:9001",
        "169.254.7.7:9001",
        "100.64.0.1:9001",
        "[fd00::1]:9001",
        "[fe80::1]:9001",
    ] {
        assert_eq!(ask(private, outside()), Err(Refused::Private), "{private}");
        assert_eq!(ask(private, member_outside()), Err(Refused::Private), "{private}");
        for learned in [
            Learned::Operator,
            Learned::Observed,
            inside(),
            member_inside(),
            Learned::Registry { at: ip("127.0.0.1") },
        ] {
            assert_eq!(ask(private, learned), taken(private), "{private} {learned:?}");
        }
    }
    assert_eq!(ask("192.168.1.77:9001", outside()), taken("192.168.1.77:9001"), "inside our own network");
    assert_eq!(ask("8.8.4.4:9001", outside()), taken("8.8.4.4:9001"));
}

#[test]
fn clothes_do_not_hide_an_address() {
    // hostile: 11
    for dressed in
        ["[::ffff:127.0.0.1]:9001", "[64:ff9b::7f00:1]:9001", "[2002:7f00:1::1]:9001", "[::127.0.0.1]:9001"]
    {
        assert_eq!(ask(dressed, outside()), Err(Refused::Loopback), "{dressed}");
    }
    assert_eq!(ask("[::ffff:10.1.2.3]:9001", inside()), taken("10.1.2.3:9001"));
    assert_eq!(ask("[::ffff:192.168.1.42]:9000", Learned::Operator), Err(Refused::Own));
    assert_eq!(ask("[64:ff9b::808:808]:9001", Learned::Operator), taken("[64:ff9b::808:808]:9001"));
    assert_eq!(ask("[::ffff:8.8.8.8]:9001", Learned::Operator), taken("8.8.8.8:9001"));
}

#[test]
fn ports_of_services_are_for_the_operator() {
    // hostile: 14
    for learned in all_sources() {
        let low = ask("192.168.1.50:25", learned);
        let expected =
            if learned == Learned::Operator { taken("192.168.1.50:25") } else { Err(Refused::LowPort) };
        assert_eq!(low, expected, "{learned:?}");
        let redis = ask("192.168.1.50:6379", learned);
        let told = matches!(learned, Learned::Registry { .. } | Learned::Member { .. });
        assert_eq!(redis == Err(Refused::ServicePort), told, "{learned:?}");
        assert_eq!(ask("192.168.1.50:1023", learned).is_ok(), learned == Learned::Operator);
        assert_eq!(ask("192.168.1.50:1024", learned), taken("192.168.1.50:1024"));
    }
}

#[test]
fn addresses_are_read_by_one_strict_reader() {
    // hostile: 11
    for bad in [
        "",
        "0177.0.0.1",
        "01.2.3.4",
        " 1.2.3.4",
        "1.2.3.4 ",
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "0x7f.0.0.1",
        "2130706433",
        "::1%eth0",
        "[::1]",
        "localhost",
        "victim.example.com",
        "1.2.3.4:80",
        "١.٢.٣.٤",
        "::ffff:01.2.3.4",
        "+1.2.3.4",
    ] {
        assert_eq!(parse_ip(bad), None, "{bad:?}");
    }
    assert_eq!(parse_ip("10.0.0.5"), Some(ip("10.0.0.5")));
    assert_eq!(parse_ip("::ffff:1.2.3.4"), Some(ip("1.2.3.4")));
    assert_eq!(parse_ip("::1"), Some(ip("::1")));
    assert_eq!(parse_ip("::"), Some(ip("::")));
}

#[test]
fn our_own_networks_are_local() {
    let interfaces = interfaces();
    let here = Here { interfaces: &interfaces, listen: addr("0.0.0.0:9000") };
    for near in ["127.0.0.1", "::1", "192.168.1.9", "::ffff:192.168.1.9", "203.0.113.9"] {
        assert!(is_local_net(ip(near), &here), "{near}");
    }
    for far in ["192.168.2.9", "8.8.8.8", "203.0.113.200", "fe80::1"] {
        assert!(!is_local_net(ip(far), &here), "{far}");
    }
    assert!(is_own(ip("192.168.1.42"), &here) && !is_own(ip("192.168.1.43"), &here));
    assert!(!is_own(ip("0.0.0.0"), &here), "listening everywhere makes the unspecified address no host");
}

fn any_ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|n| IpAddr::V4(n.into())),
        any::<u128>().prop_map(|n| IpAddr::V6(n.into())),
        any::<u32>().prop_map(|n| IpAddr::V6(Ipv4Addr::from(n).to_ipv6_mapped())),
        any::<u8>().prop_map(|n| IpAddr::V4([192, 168, 1, n].into())),
        any::<u8>().prop_map(|n| IpAddr::V4([127, 0, 0, n].into())),
        any::<u32>().prop_map(|n| IpAddr::V6((0x0064_ff9b_u128 << 96 | u128::from(n)).into())),
    ]
}

proptest! {
    #[test]
    fn what_is_admitted_is_admitted_again_and_harmless(candidate in any_ip(), port: u16, source in any_ip(), at in any_ip()) {
        let interfaces = interfaces();
        let here = Here { interfaces: &interfaces, listen: addr("0.0.0.0:9000") };
        let candidate = SocketAddr::new(candidate, port);
        for learned in [Learned::Observed, Learned::Multicast { source }, Learned::Registry { at }] {
            let Ok(used) = admit(candidate, learned, &here) else { continue };
            prop_assert_eq!(admit(used, learned, &here), Ok(used), "asked again before the dial");
            prop_assert_eq!(normalise(used.ip()), used.ip());
            prop_assert!(used.port() >= 1024);
            prop_assert!(!used.ip().is_multicast() && !used.ip().is_unspecified() && !is_here(used, &here));
        }
        let [registry, member] = [Learned::Registry { at }, Learned::Member { at }];
        prop_assert_eq!(admit(candidate, registry, &here), admit(candidate, member, &here));
        if let Ok(used) = admit(candidate, outside(), &here) {
            prop_assert!(!used.ip().is_loopback() && (!is_site(used.ip()) || is_local_net(used.ip(), &here)));
        }
        if let Ok(used) = admit(candidate, Learned::Multicast { source }, &here) {
            prop_assert!(used.ip() == normalise(source) || is_own(normalise(source), &here));
        }
    }
}
