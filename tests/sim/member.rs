//! A node of version 2 made by hand: it goes through the handshake as the book says, and then says whatever a scene
//! gives it, sealed or not. What it hears stands in its notes, a line for each message.

use crate::actor::{Actor, Cx, Told, Way};
use crate::adversary::{Drips, Order};
use crate::ids::SockId;
use distrishare::config::{Crypto, Key};
use distrishare::proto::entropy::Entropy;
use distrishare::proto::v2::VERSIONS;
use distrishare::proto::v2::handshake::{Abilities, Handshake, Role};
use distrishare::proto::v2::identity::Identity;
use distrishare::proto::v2::message::{Message, Parsed};
use distrishare::proto::v2::record::{HEAD, Opener, Sealer, TAG};
use std::collections::BTreeMap;

/// What is said when a session opens.
#[derive(Clone, Debug)]
pub(crate) enum Saying {
    /// The plaintext of a record.
    Plain(Vec<u8>),
    /// As it is, past all keys.
    Raw(Vec<u8>),
}

/// A message, sealed as it must be.
pub(crate) fn say(message: &Message) -> Saying {
    let mut plain = Vec::new();
    message.encode(&mut plain);
    Saying::Plain(plain)
}

type Answers = Box<dyn FnMut(&Message) -> Vec<Message>>;

/// See the module.
pub(crate) struct Member {
    way: Way,
    pub(crate) crypto: Crypto,
    pub(crate) group: Option<Key>,
    pub(crate) ours: Abilities,
    identity: Identity,
    entropy: Entropy,
    says: Vec<Saying>,
    answers: Answers,
    /// Reads no more once it has said everything.
    deaf: bool,
    links: BTreeMap<SockId, Link>,
    drips: Drips,
}

struct Link {
    handshake: Handshake,
    session: Option<(Sealer, Opener)>,
    heard: Vec<u8>,
}

impl Member {
    /// `number`: what its key is made of. An open node without secrecy that answers pings and nothing else.
    pub(crate) fn new(way: Way, number: u8) -> Member {
        Member {
            way,
            crypto: Crypto::Null,
            group: None,
            ours: Abilities { versions: VERSIONS, aes: true, run: 16, port: 9000 },
            identity: Identity::from_secret(Key::new([number; 32])),
            entropy: Entropy::new(&Key::new([number ^ 0x55; 32])),
            says: Vec::new(),
            answers: Box::new(pongs),
            deaf: false,
            links: BTreeMap::new(),
            drips: Drips::default(),
        }
    }

    pub(crate) fn of(mut self, crypto: Crypto, group: Option<Key>) -> Member {
        (self.crypto, self.group) = (crypto, group);
        self
    }

    /// With these abilities in place of the usual ones.
    pub(crate) fn with(mut self, edit: impl FnOnce(&mut Abilities)) -> Member {
        edit(&mut self.ours);
        self
    }

    /// Says this as soon as a session is open.
    pub(crate) fn saying(mut self, says: impl Into<Vec<Saying>>) -> Member {
        self.says = says.into();
        self
    }

    pub(crate) fn answering(mut self, answers: impl FnMut(&Message) -> Vec<Message> + 'static) -> Member {
        self.answers = Box::new(answers);
        self
    }

    /// Says nothing of itself, not even to a ping.
    pub(crate) fn mute(self) -> Member {
        self.answering(|_| Vec::new())
    }

    /// Reads nothing after it has said everything.
    pub(crate) fn deaf(mut self) -> Member {
        self.deaf = true;
        self
    }

    fn begin(&mut self, cx: &mut Cx<'_>, sock: SockId, role: Role) {
        let (crypto, group, ours) = (self.crypto, self.group.as_ref(), self.ours);
        let mut handshake = Handshake::new(role, crypto, &self.identity, group, ours, &mut self.entropy);
        self.drips.say(cx, sock, &handshake.outgoing());
        self.links.insert(sock, Link { handshake, session: None, heard: Vec::new() });
    }

    fn data(&mut self, cx: &mut Cx<'_>, sock: SockId, bytes: &[u8]) {
        let Some(link) = self.links.get_mut(&sock) else { return };
        link.heard.extend_from_slice(bytes);
        if link.session.is_none() {
            let pushed = link.handshake.push(&link.heard);
            let answer = link.handshake.outgoing();
            self.drips.say(cx, sock, &answer);
            match pushed {
                Ok(pushed) => {
                    link.heard.drain(..pushed.consumed);
                    let Some(done) = pushed.done else { return };
                    cx.note(format!("open {}", done.node.to_hex()));
                    link.session = Some((done.seal, done.open));
                    for saying in self.says.clone() {
                        self.say(cx, sock, &saying);
                    }
                    if self.deaf {
                        cx.hold(sock);
                    }
                }
                Err(error) => {
                    self.links.remove(&sock);
                    return cx.note(format!("handshake: {error}"));
                }
            }
        }
        while let Some(plain) = self.record(cx, sock) {
            self.hear(cx, sock, &plain);
        }
    }

    /// The next whole record.
    fn record(&mut self, cx: &mut Cx<'_>, sock: SockId) -> Option<Vec<u8>> {
        let link = self.links.get_mut(&sock)?;
        let (_, open) = link.session.as_mut()?;
        let len = match open.frame(&link.heard) {
            Ok(Some(len)) if len <= link.heard.len() => len,
            Ok(_) => return None,
            Err(error) => {
                self.links.remove(&sock);
                cx.note(format!("record: {error}"));
                return None;
            }
        };
        match open.open(&mut link.heard[..len]) {
            Ok(plain) => {
                let plain = link.heard[plain].to_vec();
                link.heard.drain(..len);
                Some(plain)
            }
            Err(error) => {
                self.links.remove(&sock);
                cx.note(format!("record: {error}"));
                None
            }
        }
    }

    fn hear(&mut self, cx: &mut Cx<'_>, sock: SockId, plain: &[u8]) {
        match Message::parse(plain) {
            Ok(Parsed::Message(message)) => {
                let text = String::from_utf8_lossy(&plain[1..]).into_owned();
                cx.note(format!("{} {text}", plain[0]));
                for answer in (self.answers)(&message) {
                    self.say(cx, sock, &say(&answer));
                }
            }
            Ok(_) => cx.note(format!("{} and {} bytes", plain[0], plain.len() - 1)),
            Err(error) => cx.note(format!("message: {error}")),
        }
    }

    fn say(&mut self, cx: &mut Cx<'_>, sock: SockId, saying: &Saying) {
        let Some((seal, _)) = self.links.get_mut(&sock).and_then(|link| link.session.as_mut()) else {
            return;
        };
        match saying {
            Saying::Raw(bytes) => self.drips.say(cx, sock, bytes),
            Saying::Plain(plain) => {
                let mut record = [&[0; HEAD], plain.as_slice(), &[0; TAG]].concat();
                seal.seal(&mut record).unwrap_or_else(|error| panic!("a member's record: {error}"));
                self.drips.say(cx, sock, &record);
            }
        }
    }
}

/// What a node that shares nothing owes to others.
pub(crate) fn pongs(message: &Message) -> Vec<Message> {
    match message {
        Message::Ping { id } => vec![Message::Pong { id: *id }],
        _ => Vec::new(),
    }
}

impl Actor for Member {
    fn told(&mut self, cx: &mut Cx<'_>, what: Told<'_>) {
        match what {
            Told::Start => match self.way {
                Way::Dial { to, .. } => drop(cx.dial(to)),
                Way::Listen(port) => cx.listen(port),
            },
            Told::Order(Order::Dial) => {
                if let Way::Dial { to, .. } = self.way {
                    cx.dial(to);
                }
            }
            Told::Timer(token) => self.drips.timer(cx, token),
            Told::Accepted { sock } => self.begin(cx, sock, Role::Responder),
            Told::Connected { sock } => self.begin(cx, sock, Role::Initiator),
            Told::Data { sock, bytes } => self.data(cx, sock, bytes),
            Told::Closed { sock, .. } => drop(self.links.remove(&sock)),
            Told::Eof { sock } => {
                self.links.remove(&sock);
                cx.close(sock);
            }
            Told::Order(Order::Say(plain)) => {
                let socks: Vec<SockId> = self.links.keys().copied().collect();
                socks.into_iter().for_each(|sock| self.say(cx, sock, &Saying::Plain(plain.clone())));
            }
            Told::Order(Order::Cut) => std::mem::take(&mut self.links).into_keys().for_each(|s| cx.reset(s)),
            Told::Order(_) | Told::Datagram { .. } => {}
        }
    }
}
