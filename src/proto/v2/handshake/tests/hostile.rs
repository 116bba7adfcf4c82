//! What strangers, reflections and machines in between may try.

use super::*;

#[test]
fn another_magic_or_version_gets_silence() {
    // hostile: 83
    for world in World::all() {
        let first = world.handshake(Role::Initiator).outgoing();
        let mut cases = vec![(4, 0, HandshakeError::Version(0)), (4, 255, HandshakeError::Version(255))];
        cases.extend([0, 1, 2, 3].map(|at| (at, first[at] ^ 1, HandshakeError::NotOurs)));
        for (at, byte, why) in cases {
            let mut bad = first.clone();
            bad[at] = byte;
            let mut responder = world.handshake(Role::Responder);
            assert_eq!(responder.push(&bad).map(|_| ()), Err(why));
            assert!(responder.outgoing().is_empty());
            assert!(why.is_strangers());
            assert_eq!(responder.push(b"").map(|_| ()), Err(why), "it stays so");
        }
    }
}

#[test]
fn a_stranger_costs_one_hash_and_no_shared_secret() {
    // hostile: 84
    let (ours, other) = (Key::new([1; 32]), Key::new([2; 32]));
    for (theirs, group) in [(None, Some(&ours)), (Some(&other), Some(&ours)), (Some(&other), None)] {
        let dialler = World { crypto: REAL, group: theirs.cloned() };
        let listener = World { crypto: REAL, group: group.cloned() };
        let first = dialler.handshake(Role::Initiator).outgoing();
        let mut responder = listener.handshake(Role::Responder);
        EXCHANGES.set(0);
        assert_eq!(responder.push(&first).map(|_| ()), Err(HandshakeError::NotOurs));
        assert_eq!(EXCHANGES.get(), 0);
        assert!(responder.outgoing().is_empty());
    }
    EXCHANGES.set(0);
    World { crypto: REAL, group: None }.recorded();
    assert_eq!(EXCHANGES.get(), 6, "the counter counts");
}

#[test]
fn a_replayed_preamble_does_not_help_a_stranger() {
    // hostile: 84
    for world in World::all().into_iter().filter(|world| world.group.is_some()) {
        let captured = world.handshake(Role::Initiator).outgoing();
        let preamble: &[u8; 32] = captured[..32].try_into().expect("32 bytes");
        let me = World::identity(Role::Initiator);
        let wrong = Key::new([9; 32]);
        let message =
            raw(&world, Role::Initiator, &me, preamble, Some(&wrong)).write(b"").expect("message 1");
        let mut responder = world.handshake(Role::Responder);
        EXCHANGES.set(0);
        let said = responder.push(&[&preamble[..], &frame(&message)].concat());
        assert_eq!(said.map(|_| ()), Err(HandshakeError::Decrypt));
        assert_eq!(EXCHANGES.get(), 0);
        assert!(responder.outgoing().is_empty());
    }
}

#[test]
fn a_replayed_first_flight_cannot_finish() {
    // hostile: 85
    for world in World::all() {
        let captured = world.recorded();
        let identity = World::identity(Role::Responder);
        let mut entropy = Entropy::new(&Key::new([0x55; 32]));
        let group = world.group.as_ref();
        let mut responder =
            Handshake::new(Role::Responder, world.crypto, &identity, group, OURS, &mut entropy);
        assert!(responder.push(&captured.flights[0]).is_ok());
        assert!(!responder.outgoing().is_empty());
        assert_eq!(responder.push(&captured.flights[2]).map(|_| ()), Err(HandshakeError::Decrypt));
    }
}

#[test]
fn our_own_bytes_sent_back_are_known_again() {
    // hostile: 86
    for world in World::all() {
        let first = world.handshake(Role::Initiator).outgoing();
        let with_more = frame(&[&first[34..], &[0; 100]].concat());
        for (echo, why) in [
            (first.clone(), HandshakeError::Frame(0x44D5)),
            (first[32..].to_vec(), HandshakeError::Mirror),
            (with_more, HandshakeError::Mirror),
        ] {
            let mut initiator = world.handshake(Role::Initiator);
            initiator.outgoing();
            assert_eq!(initiator.push(&echo).map(|_| ()), Err(why));
            assert!(initiator.outgoing().is_empty());
        }
    }
}

#[test]
fn dialling_ourselves_is_noticed_by_both_roles() {
    // hostile: 86
    for world in World::all() {
        let me = World::identity(Role::Initiator);
        let dial = world.with(Role::Initiator, &me, OURS);
        let accepted = world.with(Role::Responder, &me, OURS);
        assert_eq!(meet(dial, accepted).map(|_| ()), Err(HandshakeError::OwnKey));

        // Both ends of one connection know it, once the first flight has come.
        let mut entropy = Entropy::new(&Key::new([0x55; 32]));
        let group = world.group.as_ref();
        let other = Handshake::new(Role::Initiator, world.crypto, &me, group, OURS, &mut entropy);
        let mut dial = world.with(Role::Initiator, &me, OURS);
        let mut accepted = world.with(Role::Responder, &me, OURS);
        assert!(!dial.is_other_end_of(&accepted));
        accepted.push(&dial.outgoing()).expect("it is a member");
        assert!(dial.is_other_end_of(&accepted) && accepted.is_other_end_of(&dial));
        assert!(!other.is_other_end_of(&accepted) && !other.is_other_end_of(&dial));

        // A listener whose own key comes in the third message, from a dialler that does not look.
        let preamble = preamble::encode([1; 7], &Call::default(), world.crypto, world.group.as_ref());
        let mut dialler = raw(&world, Role::Initiator, &me, &preamble, world.group.as_ref());
        let mut listener = world.with(Role::Responder, &me, OURS);
        let first = frame(&dialler.write(b"").expect("message 1"));
        listener.push(&[&preamble[..], &first].concat()).expect("it is a member");
        dialler.read(&listener.outgoing()[2..]).expect("message 2");
        let third = frame(&dialler.write(OURS.encode().as_bytes()).expect("message 3"));
        assert_eq!(listener.push(&third).map(|_| ()), Err(HandshakeError::OwnKey));
    }
}

#[test]
fn frame_lengths_are_judged_before_room_is_made() {
    // hostile: 88
    for world in World::all() {
        let preamble = world.handshake(Role::Initiator).outgoing()[..32].to_vec();
        for (length, good) in [(0, false), (1, true), (256, true), (257, false), (0xFFFF, false)] {
            let head = u16::to_le_bytes(length);
            let mut initiator = world.handshake(Role::Initiator);
            let mut responder = world.handshake(Role::Responder);
            responder.push(&preamble).expect("a member's");
            for side in [&mut initiator, &mut responder] {
                let said = side.push(&head);
                if good {
                    assert_eq!(said.expect("the length is fine").consumed, 2);
                    assert_eq!(side.missing(), Ok(usize::from(length)));
                    let rest = vec![0xAA; usize::from(length)];
                    assert!(side.push(&rest[1..]).is_ok(), "it waits for the whole frame");
                    assert!(side.partial.capacity() <= 2 + MESSAGE_MAX);
                    assert_eq!(side.push(&rest[..1]).map(|_| ()), Err(HandshakeError::Decrypt));
                } else {
                    assert_eq!(said.map(|_| ()), Err(HandshakeError::Frame(length)));
                }
                assert_eq!(side.partial.capacity(), 0);
            }
        }
    }
}

#[test]
fn an_answer_in_v1_is_known_by_its_letters() {
    let mut initiator = World { crypto: REAL, group: None }.handshake(Role::Initiator);
    let why = initiator.push(b"ERROR: Formato de solicitud").map(|_| ()).expect_err("a text");
    assert!(why.is_v1_answer());
    // What else begins with letters is no node of ours.
    for other in [*b"HT", *b"SS", *b"er", *b"RE"] {
        assert!(!HandshakeError::Frame(u16::from_le_bytes(other)).is_v1_answer());
    }
    assert!(!HandshakeError::Decrypt.is_v1_answer());
}

#[test]
fn records_before_the_end_of_the_handshake_close() {
    // hostile: 92
    for world in World::all() {
        let mut recorded = world.recorded();
        let record = seal(&mut recorded.initiator.seal, &[7; 200]);
        let [first, second, _] = &recorded.flights;
        for before in [&[][..], &first[..32], &first[..]] {
            let mut responder = world.handshake(Role::Responder);
            assert!(responder.push(before).is_ok());
            let said = responder.push(&record).map(|_| ());
            assert!(said.is_err_and(|why| why.is_strangers()));
            assert!(responder.outgoing().is_empty());
        }
        let mut initiator = world.handshake(Role::Initiator);
        assert!(initiator.push(&record).is_err());
        // Behind the second message they are the records' matter, and are left alone.
        let mut initiator = world.handshake(Role::Initiator);
        let said = initiator.push(&[&second[..], &record].concat()).expect("done");
        assert_eq!(said.consumed, second.len());
        assert!(said.done.is_some());
        assert_eq!(initiator.push(&record).map(|_| ()), Err(HandshakeError::Over));
    }
}

#[test]
fn messages_out_of_their_order_close() {
    // hostile: 91
    for world in World::all() {
        let recorded = world.recorded();
        let [first, second, third] = &recorded.flights;
        let message = &first[32..];
        let preamble = &first[..32];
        let responders: [Vec<&[u8]>; 4] = [
            vec![preamble, third],
            vec![preamble, message, message],
            vec![preamble, message, second],
            vec![first, first],
        ];
        for flights in responders {
            let mut responder = world.handshake(Role::Responder);
            assert!(responder.push(&flights.concat()).is_err());
        }
        for flight in [message, third] {
            assert!(world.handshake(Role::Initiator).push(flight).is_err());
        }
    }
}

#[test]
fn a_first_message_carries_nothing() {
    let world = World { crypto: REAL, group: None };
    let me = World::identity(Role::Initiator);
    let preamble = preamble::encode([1; 7], &Call::default(), REAL, None);
    let message = raw(&world, Role::Initiator, &me, &preamble, None).write(b"hello").expect("message 1");
    let mut responder = world.handshake(Role::Responder);
    let said = responder.push(&[&preamble[..], &frame(&message)].concat());
    assert_eq!(said.map(|_| ()), Err(HandshakeError::Decrypt));
}

#[test]
fn abilities_that_are_none_end_it_without_a_word() {
    for world in World::all() {
        let them = World::identity(Role::Responder);
        for payload in ["", "{}", "[[1,1],true,1,1]", r#"{"v":[1,1],"aes":true,"run":99,"port":1}"#] {
            let mut initiator = world.handshake(Role::Initiator);
            let first = initiator.outgoing();
            let preamble: &[u8; 32] = first[..32].try_into().expect("32 bytes");
            let mut responder = raw(&world, Role::Responder, &them, preamble, world.group.as_ref());
            responder.read(&first[34..]).expect("message 1");
            let second = frame(&responder.write(payload.as_bytes()).expect("message 2"));
            let why = initiator.push(&second).map(|_| ()).expect_err("no abilities");
            assert!(matches!(why, HandshakeError::Payload(_)) && !why.is_strangers());
            assert!(initiator.outgoing().is_empty());
        }
    }
}

#[test]
fn every_error_has_words_and_no_secret() {
    // hostile: 115
    let all = [
        HandshakeError::NotOurs,
        HandshakeError::Version(255),
        HandshakeError::Frame(u16::MAX),
        HandshakeError::Decrypt,
        HandshakeError::Mirror,
        HandshakeError::OwnKey,
        HandshakeError::WeakKey,
        HandshakeError::Payload("not the JSON object that they must be"),
        HandshakeError::Over,
        HandshakeError::Internal,
    ];
    for error in all {
        assert!((1..=200).contains(&error.to_string().len()));
    }
    let mismatch = Mismatch { ours: (254, 255), theirs: (254, 255) };
    assert!(mismatch.to_string().len() <= 200);
}
