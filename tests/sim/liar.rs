//! A member made by hand: it finishes the handshake as it must, and then says whatever a scene wants it to say.

use crate::actor::{Actor, Cx, Told};
use crate::ids::SockId;
use distrishare::config::{CHUNK, Crypto, Key, RECORD_CHUNKS_MAX};
use distrishare::proto::content::{FileHasher, Root, Value};
use distrishare::proto::entropy::Entropy;
use distrishare::proto::v2::VERSIONS;
use distrishare::proto::v2::handshake::{Abilities, Handshake, Role};
use distrishare::proto::v2::identity::Identity;
use distrishare::proto::v2::message::{DataKind, FileInfo, Message, Parsed, data_head};
use distrishare::proto::v2::record::{HEAD, Opener, Sealer, TAG};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// What it is told on a session.
pub(crate) enum Heard {
    /// The handshake is over.
    Open,
    Message(Message),
    /// Bytes of a file, or values of its pieces: request, place and bytes.
    Data(DataKind, u32, u64, Vec<u8>),
    /// It wanted to be woken ([`Mouth::later`]).
    Timer(u8),
}

/// How it comes by its sessions.
#[derive(Clone, Copy)]
enum Way {
    Listen(u16),
    Dial(SocketAddr),
}

/// Such a member; `act` says what it does.
pub(crate) struct Liar<F> {
    way: Way,
    identity: Identity,
    entropy: Entropy,
    links: BTreeMap<SockId, Link>,
    act: F,
}

/// One connection of its.
struct Link {
    handshake: Option<Handshake>,
    keys: Option<(Sealer, Opener)>,
    /// Came, and is no whole record yet.
    partial: Vec<u8>,
}

/// How it speaks on a session.
pub(crate) struct Mouth<'a, 'b> {
    pub(crate) cx: &'a mut Cx<'b>,
    pub(crate) sock: SockId,
    seal: &'a mut Sealer,
}

impl<F: FnMut(&mut Mouth<'_, '_>, Heard)> Liar<F> {
    /// Waits for others on this port. `number`: another one is another node.
    pub(crate) fn listens(number: u8, port: u16, act: F) -> Liar<F> {
        Liar::new(number, Way::Listen(port), act)
    }

    /// Dials once, at its start.
    pub(crate) fn dials(number: u8, to: SocketAddr, act: F) -> Liar<F> {
        Liar::new(number, Way::Dial(to), act)
    }

    fn new(number: u8, way: Way, act: F) -> Liar<F> {
        let mut entropy = Entropy::new(&Key::new([number; 32]));
        let identity = Identity::generate(&mut entropy);
        Liar { way, identity, entropy, links: BTreeMap::new(), act }
    }

    fn greet(&mut self, cx: &mut Cx<'_>, sock: SockId, role: Role) {
        let port = if let Way::Listen(port) = self.way { port } else { 0 };
        let ours = Abilities { versions: VERSIONS, aes: false, run: RECORD_CHUNKS_MAX as u8, port };
        let mut handshake = Handshake::new(role, Crypto::Null, &self.identity, None, ours, &mut self.entropy);
        cx.send(sock, &handshake.outgoing());
        let link = Link { handshake: Some(handshake), keys: None, partial: Vec::new() };
        self.links.insert(sock, link);
    }

    fn hear(&mut self, cx: &mut Cx<'_>, sock: SockId, mut bytes: &[u8]) {
        let Some(link) = self.links.get_mut(&sock) else { return };
        if let Some(handshake) = &mut link.handshake {
            let Ok(pushed) = handshake.push(bytes) else { return cx.close(sock) };
            cx.send(sock, &handshake.outgoing());
            bytes = &bytes[pushed.consumed..];
            let Some(done) = pushed.done else { return };
            link.keys = Some((done.seal, done.open));
            link.handshake = None;
            self.tell(cx, sock, Heard::Open);
        }
        if let Some(link) = self.links.get_mut(&sock) {
            link.partial.extend_from_slice(bytes);
        }
        while let Some(heard) = self.links.get_mut(&sock).and_then(Link::next) {
            self.tell(cx, sock, heard);
        }
    }

    fn tell(&mut self, cx: &mut Cx<'_>, sock: SockId, heard: Heard) {
        let Some(Link { keys: Some((seal, _)), .. }) = self.links.get_mut(&sock) else { return };
        (self.act)(&mut Mouth { cx, sock, seal }, heard);
    }
}

impl Link {
    /// The next whole record.
    fn next(&mut self) -> Option<Heard> {
        let (_, open) = self.keys.as_mut()?;
        let len = open.frame(&self.partial).expect("a good head").filter(|len| *len <= self.partial.len())?;
        let mut record: Vec<u8> = self.partial.drain(..len).collect();
        let plain = open.open(&mut record).expect("a good record");
        let plain = &record[plain];
        Some(match Message::parse(plain).expect("a good message") {
            Parsed::Message(message) => Heard::Message(message),
            Parsed::Values { id, first, values } => {
                Heard::Data(DataKind::Values, id, first, plain[values].to_vec())
            }
            Parsed::Data { id, offset, body } => {
                Heard::Data(DataKind::Data, id, offset, plain[body].to_vec())
            }
            Parsed::Skip(byte) => panic!("a message of type {byte}"),
        })
    }
}

impl Mouth<'_, '_> {
    pub(crate) fn say(&mut self, message: &Message) {
        let mut plain = Vec::new();
        message.encode(&mut plain);
        self.plain(&plain);
    }

    pub(crate) fn files(&mut self, id: u32, files: Vec<FileInfo>, end: bool) {
        self.say(&Message::Files { id, files, end, skipped: 0, left_out: 0 });
    }

    /// Data, in records of up to 64 KiB.
    pub(crate) fn data(&mut self, kind: DataKind, id: u32, at: u64, bytes: &[u8]) {
        for (i, part) in bytes.chunks(RECORD_CHUNKS_MAX * CHUNK).enumerate() {
            let step = (i * RECORD_CHUNKS_MAX * CHUNK) as u64;
            let at = at + if kind == DataKind::Data { step } else { step / 32 };
            self.plain(&[&data_head(kind, id, at), part].concat());
        }
    }

    /// Whatever it is, in a record.
    pub(crate) fn plain(&mut self, plain: &[u8]) {
        let mut record = [&[0; HEAD], plain, &[0; TAG]].concat();
        self.seal.seal(&mut record).expect("a record that can be sealed");
        self.cx.send(self.sock, &record);
    }

    pub(crate) fn later(&mut self, after: Duration, number: u8) {
        self.cx.timer(after, self.sock.0 << 8 | u64::from(number));
    }
}

impl<F: FnMut(&mut Mouth<'_, '_>, Heard)> Actor for Liar<F> {
    fn told(&mut self, cx: &mut Cx<'_>, what: Told<'_>) {
        match (what, self.way) {
            (Told::Start, Way::Listen(port)) => cx.listen(port),
            (Told::Start, Way::Dial(to)) => drop(cx.dial(to)),
            (Told::Accepted { sock }, _) => self.greet(cx, sock, Role::Responder),
            (Told::Connected { sock }, _) => self.greet(cx, sock, Role::Initiator),
            (Told::Data { sock, bytes }, _) => self.hear(cx, sock, bytes),
            (Told::Timer(token), _) => self.tell(cx, SockId(token >> 8), Heard::Timer(token as u8)),
            (Told::Eof { sock }, _) => {
                self.links.remove(&sock);
                cx.close(sock);
            }
            (Told::Closed { sock, .. }, _) => drop(self.links.remove(&sock)),
            _ => {}
        }
    }
}

/// An entry of a list of files.
pub(crate) fn file(name: &str, size: u64, root: Option<Root>) -> FileInfo {
    FileInfo { name: name.to_owned(), size, mtime: None, root }
}

/// The root of some bytes, and the values of their pieces.
pub(crate) fn hashed(bytes: &[u8]) -> (Root, Vec<Value>) {
    let mut hasher = FileHasher::new();
    hasher.update(bytes);
    let hashed = hasher.finish();
    (hashed.root, hashed.values)
}
