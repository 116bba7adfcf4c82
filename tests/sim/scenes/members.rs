//! Words for scenes about sessions and groups, beside those of `common`.

use super::common::{S, command, peer};
use crate::ids::{ActorId, HostId, NodeId, Owner};
use crate::member::{Member, Saying};
use crate::world::World;
use distrishare::config::{Crypto, Key, PeerConfig};
use distrishare::machine::Fault;
use std::net::SocketAddr;
use std::time::Duration;

/// Every way to seal.
pub(crate) const CRYPTOS: [Crypto; 3] =
    [Crypto::Null, Crypto::Real { aes: true }, Crypto::Real { aes: false }];

/// The key of a group, by number.
pub(crate) fn group(number: u8) -> Key {
    Key::new(std::array::from_fn(|i| number.wrapping_mul(31).wrapping_add(i as u8 * 7)))
}

/// Makes a node a member of a group, without v1.
pub(crate) fn joins(crypto: Crypto, number: u8) -> impl Fn(&mut PeerConfig) + Clone + 'static {
    move |config| {
        (config.crypto, config.group, config.v1) = (crypto, Some(group(number)), false);
    }
}

/// A running member of a group.
pub(crate) fn member(world: &mut World, host: HostId, crypto: Crypto, number: u8) -> NodeId {
    peer(world, host, joins(crypto, number))
}

/// Connections of a node.
pub(crate) fn sockets(world: &World, node: NodeId) -> usize {
    world.env.net.count(Owner::Node(node))
}

/// How an actor's connections ended.
pub(crate) fn ended(world: &World, actor: ActorId) -> Vec<Option<Fault>> {
    world.log(actor).ended.values().copied().collect()
}

/// What a member heard, a line for each message.
pub(crate) fn notes(world: &World, actor: ActorId) -> Vec<String> {
    world.log(actor).notes.clone()
}

/// Whether a member heard a message that begins so.
pub(crate) fn has_heard(world: &World, actor: ActorId, start: &str) -> bool {
    world.log(actor).notes.iter().any(|note| note.starts_with(start))
}

/// The events of one name among what a command said.
pub(crate) fn events<'a>(said: &'a [serde_json::Value], name: &str) -> Vec<&'a serde_json::Value> {
    said.iter().filter(|event| event["event"] == name).collect()
}

/// The one reason why a command fails.
pub(crate) fn fails(world: &mut World, node: NodeId, line: &str) -> (String, String) {
    let said = command(world, node, line);
    let errors = events(&said, "error");
    assert_eq!(errors.len(), 1, "`{line}`: {said:?}");
    let text = |key: &str| errors[0][key].as_str().unwrap_or("?").to_owned();
    assert!((1..=300).contains(&text("message").len()), "{errors:?}");
    (text("code"), text("message"))
}

/// A command that goes well, and what it says.
pub(crate) fn works(world: &mut World, node: NodeId, line: &str) -> Vec<serde_json::Value> {
    let said = command(world, node, line);
    assert!(events(&said, "error").is_empty(), "`{line}`: {said:?}");
    said
}

/// How long a command takes, and what it says.
pub(crate) fn timed(world: &mut World, node: NodeId, line: &str) -> (Duration, Vec<serde_json::Value>) {
    let start = world.now();
    let said = command(world, node, line);
    (world.now() - start, said)
}

/// `browse` for an address.
pub(crate) fn browse(at: SocketAddr) -> String {
    format!("browse {at}")
}

/// `get` for an address.
pub(crate) fn get_line(at: SocketAddr, name: &str) -> String {
    format!("get {} {} {name}", at.ip(), at.port())
}

/// A hand-made node that dials `to` and says this once a session is open.
pub(crate) fn caller(
    world: &mut World,
    host: HostId,
    to: SocketAddr,
    says: impl Into<Vec<Saying>>,
) -> ActorId {
    world.actor(host, Member::new(dial(to), host.0 as u8).saying(says))
}

/// Dials once.
pub(crate) fn dial(to: SocketAddr) -> crate::actor::Way {
    crate::actor::Way::Dial { to, times: 1, every: S }
}

/// The bytes of a message of that type.
pub(crate) fn plain(kind: u8, rest: impl AsRef<[u8]>) -> Vec<u8> {
    [&[kind], rest.as_ref()].concat()
}
