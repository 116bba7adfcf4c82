//! The other ends of sessions: one that asks, and a crowd of nodes that answer, all on one thread.

use distrishare::config::{Crypto, Key};
use distrishare::proto::content::Root;
use distrishare::proto::entropy::Entropy;
use distrishare::proto::registry::encode_reply;
use distrishare::proto::v2::handshake::{Abilities, Established, Handshake, Role};
use distrishare::proto::v2::identity::Identity;
use distrishare::proto::v2::message::{FileInfo, Message, Parsed, files_that_fit};
use distrishare::proto::v2::record::{HEAD, Opener, PLAIN_MAX, Sealer, TAG};
use mio::net::{TcpListener, TcpStream as MioStream};
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::thread;

const REAL: Crypto = Crypto::Real { aes: true };

fn handshake(role: Role, identity: &Identity, entropy: &mut Entropy, aes: bool, port: u16) -> Handshake {
    let ours = Abilities { versions: (1, 1), aes, run: 16, port };
    Handshake::new(role, REAL, identity, None, ours, entropy)
}

/// The `n`th node there is: always the same key.
fn somebody(n: usize) -> (Identity, Entropy) {
    let mut seed = [0x5E; 32];
    seed[..8].copy_from_slice(&(n as u64).to_le_bytes());
    let mut entropy = Entropy::new(&Key::new(seed));
    (Identity::generate(&mut entropy), entropy)
}

/// A message, sealed.
fn sealed(seal: &mut Sealer, message: &Message) -> Vec<u8> {
    let mut record = vec![0; HEAD];
    message.encode(&mut record);
    record.resize(record.len() + TAG, 0);
    seal.seal(&mut record).expect("short enough");
    record
}

/// A session of ours with a node, read and written with patience.
pub(crate) struct Session {
    pub(crate) stream: TcpStream,
    seal: Sealer,
    open: Opener,
    bytes: Vec<u8>,
    last: u32,
}

impl Session {
    /// Dials and shakes hands as node `n`.
    pub(crate) fn dial(port: u16, n: usize, aes: bool) -> Session {
        let (identity, mut entropy) = somebody(n);
        // No two nodes of one address say the same port.
        let own_port = 1024 + u16::try_from(n % 60_000).expect("few");
        let mut handshake = handshake(Role::Initiator, &identity, &mut entropy, aes, own_port);
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("connects");
        stream.set_nodelay(true).expect("set");
        stream.write_all(&handshake.outgoing()).expect("sent");
        let (mut bytes, mut part) = (Vec::new(), [0; 1024]);
        loop {
            let n = stream.read(&mut part).expect("readable");
            assert!(n > 0, "the node ended the handshake");
            bytes.extend_from_slice(&part[..n]);
            let pushed = handshake.push(&bytes).expect("one of ours");
            bytes.drain(..pushed.consumed);
            if let Some(Established { seal, open, .. }) = pushed.done {
                stream.write_all(&handshake.outgoing()).expect("sent");
                return Session { stream, seal, open, bytes, last: 0 };
            }
        }
    }

    fn send(&mut self, message: &Message) {
        let record = sealed(&mut self.seal, message);
        self.stream.write_all(&record).expect("sent");
    }

    fn receive(&mut self) -> Message {
        loop {
            if let Some(len) = self.open.frame(&self.bytes).expect("a record") {
                if len <= self.bytes.len() {
                    let plain = self.open.open(&mut self.bytes[..len]).expect("opens");
                    let parsed = Message::parse(&self.bytes[plain]).expect("a message");
                    self.bytes.drain(..len);
                    match parsed {
                        Parsed::Message(Message::Ping { id }) => self.send(&Message::Pong { id }),
                        Parsed::Message(message) => return message,
                        _ => {}
                    }
                    continue;
                }
            }
            let mut part = [0; 16 << 10];
            let n = self.stream.read(&mut part).expect("readable");
            assert!(n > 0, "the node ended the session");
            self.bytes.extend_from_slice(&part[..n]);
        }
    }

    fn next(&mut self) -> u32 {
        self.last += 1;
        self.last
    }

    /// Searches; how many files were told.
    pub(crate) fn search(&mut self, query: &str, limit: u32) -> usize {
        let id = self.next();
        self.send(&Message::Search { id, query: query.to_owned(), limit });
        let mut found = 0;
        loop {
            match self.receive() {
                Message::Files { files, end, .. } => {
                    found += files.len();
                    if end {
                        return found;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Asks for a sign of life and waits for it.
    pub(crate) fn ping(&mut self) {
        let id = self.next();
        self.send(&Message::Ping { id });
        match self.receive() {
            Message::Pong { id: heard } => assert_eq!(heard, id),
            other => panic!("{other:?}"),
        }
    }

    /// Asks until the node has hashed the file.
    pub(crate) fn root_of(&mut self, name: &str) -> Root {
        loop {
            let id = self.next();
            self.send(&Message::Stat { id, name: name.to_owned() });
            if let Message::Files { files, .. } = self.receive() {
                if let Some(root) = files.first().and_then(|file| file.root) {
                    return root;
                }
            }
            thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Asks for bytes of a file. What comes is the caller's to read.
    pub(crate) fn get(&mut self, root: Root, offset: u64, len: u64) {
        let id = self.next();
        self.send(&Message::Get { id, root, offset, len });
    }
}

/// The address of the `n`th node of a crowd.
pub(crate) fn address(n: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 0)) + u32::try_from(n + n / 254 * 2 + 1).expect("few"))
}

fn number_of(addr: Ipv4Addr) -> usize {
    let place = (u32::from(addr) - u32::from(Ipv4Addr::new(127, 1, 0, 0))) as usize - 1;
    place - place / 256 * 2
}

/// One connection of a crowd.
struct Caller {
    stream: MioStream,
    state: State,
    bytes: Vec<u8>,
    out: Vec<u8>,
}

enum State {
    New,
    Greeting(Box<Handshake>),
    Open(Box<(Sealer, Opener)>),
    Over,
}

/// Nodes that are addresses of the loopback, all behind one socket, and the registry that knows them (the loopback's own
/// address, in v1). Each has a key of its own and answers every search with `files(n)`, as if out of an index.
struct Crowd<F> {
    count: usize,
    port: u16,
    files: F,
}

/// Starts one on a thread that runs until the process ends; where its registry is.
pub(crate) fn start_crowd<F>(count: usize, files: F) -> SocketAddr
where
    F: Fn(usize) -> Vec<FileInfo> + Send + 'static,
{
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into()).expect("bound");
    socket.listen(1024).expect("listens");
    socket.set_nonblocking(true).expect("set");
    let listener = TcpListener::from_std(socket.into());
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || Crowd { count, port, files }.run(listener));
    (Ipv4Addr::LOCALHOST, port).into()
}

impl<F: Fn(usize) -> Vec<FileInfo>> Crowd<F> {
    fn run(&self, mut listener: TcpListener) {
        let mut poll = Poll::new().expect("a poll");
        let mut events = Events::with_capacity(256);
        poll.registry().register(&mut listener, Token(0), Interest::READABLE).expect("registered");
        let mut callers: slab::Slab<Caller> = slab::Slab::new();
        loop {
            poll.poll(&mut events, None).expect("polled");
            for event in &events {
                if event.token() == Token(0) {
                    while let Ok((mut stream, _)) = listener.accept() {
                        let _ = stream.set_nodelay(true);
                        let entry = callers.vacant_entry();
                        let both = Interest::READABLE | Interest::WRITABLE;
                        poll.registry()
                            .register(&mut stream, Token(entry.key() + 1), both)
                            .expect("registered");
                        entry.insert(Caller {
                            stream,
                            state: State::New,
                            bytes: Vec::new(),
                            out: Vec::new(),
                        });
                    }
                } else if let Some(caller) = callers.get_mut(event.token().0 - 1) {
                    self.serve(caller);
                    if matches!(caller.state, State::Over) && caller.out.is_empty() {
                        callers.remove(event.token().0 - 1);
                    }
                }
            }
        }
    }

    fn serve(&self, caller: &mut Caller) {
        let mut part = [0; 16 << 10];
        loop {
            match caller.stream.read(&mut part) {
                Ok(0) => break caller.state = State::Over,
                Ok(n) => caller.bytes.extend_from_slice(&part[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => break caller.state = State::Over,
            }
        }
        while self.step(caller) {}
        while !caller.out.is_empty() {
            match caller.stream.write(&caller.out) {
                Ok(n) => drop(caller.out.drain(..n)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    caller.out.clear();
                    caller.state = State::Over;
                }
            }
        }
    }

    /// Takes the next part of what came; whether there may be more.
    fn step(&self, caller: &mut Caller) -> bool {
        let dialled = match caller.stream.local_addr().map(|addr| addr.ip()) {
            Ok(IpAddr::V4(ip)) => ip,
            _ => Ipv4Addr::LOCALHOST,
        };
        match &mut caller.state {
            State::New if caller.bytes.first() == Some(&b'{') => {
                if caller.bytes.ends_with(b"}") {
                    let nodes: Vec<SocketAddr> =
                        (0..self.count).map(|n| (address(n), self.port).into()).collect();
                    caller.out = encode_reply(&nodes, 64 << 10).0;
                    caller.state = State::Over;
                }
                false
            }
            State::New if caller.bytes.is_empty() => false,
            State::New => {
                let (identity, mut entropy) = somebody(1_000_000 + number_of(dialled));
                let ours = handshake(Role::Responder, &identity, &mut entropy, true, self.port);
                caller.state = State::Greeting(Box::new(ours));
                true
            }
            State::Greeting(handshake) => {
                let Ok(pushed) = handshake.push(&caller.bytes) else {
                    caller.state = State::Over;
                    return false;
                };
                caller.bytes.drain(..pushed.consumed);
                caller.out.extend(handshake.outgoing());
                match pushed.done {
                    Some(Established { seal, open, .. }) => {
                        caller.state = State::Open(Box::new((seal, open)));
                        true
                    }
                    None => pushed.consumed > 0,
                }
            }
            State::Open(keys) => {
                let (seal, open) = &mut **keys;
                let Ok(Some(len)) = open.frame(&caller.bytes) else { return false };
                if caller.bytes.len() < len {
                    return false;
                }
                let Ok(plain) = open.open(&mut caller.bytes[..len]) else { return false };
                match Message::parse(&caller.bytes[plain]) {
                    Ok(Parsed::Message(Message::Search { id, .. })) => {
                        let mut files = (self.files)(number_of(dialled));
                        loop {
                            let rest = files.split_off(files_that_fit(&files, PLAIN_MAX));
                            let end = rest.is_empty();
                            let answer = Message::Files { id, files, end, skipped: 0, left_out: 0 };
                            caller.out.extend(sealed(seal, &answer));
                            if end {
                                break;
                            }
                            files = rest;
                        }
                    }
                    Ok(Parsed::Message(Message::Ping { id })) => {
                        caller.out.extend(sealed(seal, &Message::Pong { id }));
                    }
                    _ => {}
                }
                caller.bytes.drain(..len);
                true
            }
            State::Over => false,
        }
    }
}

/// Puts so many files of a few bytes into a folder, in folders of 500.
pub(crate) fn fill(folder: &std::path::Path, count: usize) {
    for i in 0..count {
        let name = file_name(i);
        let path = folder.join(&name);
        if i % 500 == 0 {
            std::fs::create_dir_all(path.parent().expect("in a folder")).expect("made");
        }
        std::fs::write(path, name).expect("written");
    }
}

/// The `i`th of many files.
pub(crate) fn file_name(i: usize) -> String {
    format!("Albums/Band {:03}/Song {i:06} of Many.ogg", i / 500)
}
