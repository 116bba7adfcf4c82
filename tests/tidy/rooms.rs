//! Who may be the node: `impl Peer` belongs to the router. All else is to become a part with a state of its own, tested alone, as
//! `src/node/index.rs` and `src/node/swarm.rs` are.

/// It keeps the parts and carries what one says to the next.
const ROUTER: [&str; 12] = [
    "src/node/peer.rs",
    "src/node/peer/contract.rs",
    "src/node/peer/identity.rs",
    "src/node/peer/life.rs",
    "src/node/peer/route.rs",
    "src/node/peer/route/callers.rs",
    "src/node/peer/route/commands.rs",
    "src/node/peer/route/fronts.rs",
    "src/node/peer/route/giving.rs",
    "src/node/peer/route/operations.rs",
    "src/node/peer/route/reach.rs",
    "src/node/peer/route/talking.rs",
];

/// Those that are no parts yet, each below `src/node/peer/`. This list only ever gets shorter.
const EXEMPT: [&str; 20] = [
    "ask",
    "browse",
    "discovery",
    "download",
    "download/arriving",
    "download/asking",
    "download/disk",
    "download/ending",
    "download/hunger",
    "download/looking",
    "download/sources",
    "download/stream",
    "fetch",
    "leftovers",
    "naming",
    "registries",
    "search",
    "transfers",
    "transfers/steering",
    "transfers/wanted",
];

/// What is wrong with these sources: paths and their code without comments and texts.
pub(crate) fn violations(sources: &[(String, String)]) -> Vec<String> {
    let exempt: Vec<String> = EXEMPT.iter().map(|name| format!("src/node/peer/{name}.rs")).collect();
    let is_exempt = |path: &String| exempt.contains(path);
    let (with, without): (Vec<_>, Vec<_>) = sources.iter().partition(|(_, code)| is_of_peer(code));
    let mut found: Vec<String> = with
        .iter()
        .map(|(path, _)| path)
        .filter(|path| !ROUTER.contains(&path.as_str()) && !is_exempt(path))
        .map(|path| {
            format!("{path}: `impl Peer` is for the router: make this a part with a state of its own")
        })
        .collect();
    let over = without.iter().map(|(path, _)| path).filter(|path| is_exempt(path));
    found.extend(over.map(|path| {
        format!("{path}: it has no `impl Peer` any more: take it off the list of tests/tidy/rooms.rs")
    }));
    let gone = exempt.iter().filter(|path| sources.iter().all(|(other, _)| other != *path));
    found.extend(
        gone.map(|path| format!("{path}: it is not there: take it off the list of tests/tidy/rooms.rs")),
    );
    found
}

/// Whether methods or a trait of `Peer` are written here.
fn is_of_peer(code: &str) -> bool {
    code.split('{').any(|head| {
        let head = head.rsplit(['}', ';', ']']).next().unwrap_or(head);
        let mut words = head.split_whitespace();
        words.next() == Some("impl") && words.next_back() == Some("Peer")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(more: &[(&str, &str)]) -> Vec<(String, String)> {
        let listed =
            EXEMPT.iter().map(|name| (format!("src/node/peer/{name}.rs"), "impl Peer {}".to_owned()));
        listed.chain(more.iter().map(|(path, code)| ((*path).to_owned(), (*code).to_owned()))).collect()
    }

    #[test]
    fn the_router_and_what_is_listed_pass() {
        let fine = [
            ("src/node/peer/contract.rs", "impl crate::machine::Machine for Peer { fn f() {} }"),
            ("src/node/gate.rs", "impl Gate { fn f(peer: &Peer) {} } struct Peers; impl Peers {}"),
            ("src/proto/x.rs", "impl From<Peer> for u8 { }"),
        ];
        assert_eq!(violations(&sources(&fine)), Vec::<String>::new());
    }

    #[test]
    fn a_new_room_of_peer_is_found_however_it_is_written() {
        for code in [
            "impl Peer { }",
            "use a;\nimpl  Peer\n{ }",
            "struct A { b: u8 } impl Peer { }",
            "#[rustfmt::skip] impl Peer { }",
            "impl Display for Peer { }",
        ] {
            let found = violations(&sources(&[("src/node/new.rs", code)]));
            assert!(found.len() == 1 && found[0].starts_with("src/node/new.rs:"), "{code}: {found:?}");
        }
    }

    #[test]
    fn the_list_has_nothing_that_is_done() {
        let mut all = sources(&[]);
        all[0].1 = "impl Answers {}".to_owned();
        all.remove(1);
        let found = violations(&all);
        assert!(
            found.len() == 2 && found[0].contains("any more") && found[1].contains("not there"),
            "{found:?}"
        );
    }
}
