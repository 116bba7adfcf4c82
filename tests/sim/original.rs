//! The original's programs as WIRE_V1.md tells them, with their weaknesses: one `recv` per request, one `recv` for the
//! registry's answer, texts with the prefix `ERROR`, discovery that one byte which is not UTF-8 ends for good.

use crate::actor::{Actor, Cx, Told};
use crate::content::Content;
use crate::ids::SockId;
use distrishare::config::V1_DEFAULT_SECRET;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The original's one `recv`.
const RECV: usize = 4096;
const HELLO: Duration = Duration::from_secs(5);
const CHUNK: usize = 4096;

pub(crate) const WRONG_SECRET: &str = "ERROR: Autentication faild.";
pub(crate) const NOT_FOUND: &str = "ERROR: File not found.";
pub(crate) const UNKNOWN_TYPE: &str = "ERROR: Mensaje malformado o tipo desconocido.";
pub(crate) const NOT_JSON: &str = "ERROR: Formato de mensaje inválido. Se requiere JSON.";

/// Something the operator of an original node does.
#[derive(Clone, Debug)]
pub(crate) enum Task {
    Register(SocketAddr),
    Search(SocketAddr, String),
    Download(SocketAddr, String),
    /// The liveness probe: connect and close.
    Probe(SocketAddr),
}

/// A node of the original. Notes: `search NAME: FOUND`, `download NAME: n bytes` (the content is in the log's files),
/// `download NAME: ERROR…`, `probe ADDR: alive`, `registered: n nodes`, `node ADDR`, `discovery died`.
pub(crate) struct OriginalPeer {
    port: u16,
    secret: String,
    /// What it announces itself as: 127.0.0.1 unless its operator typed an address.
    ip: Option<IpAddr>,
    shared: BTreeMap<String, Content>,
    tasks: Vec<(Duration, Task)>,
    multicast: bool,
    serving: BTreeMap<SockId, Upload>,
    asking: BTreeMap<SockId, Asking>,
    nodes: BTreeSet<String>,
    discovery_died: bool,
}

struct Upload {
    content: Content,
    offset: u64,
}

struct Asking {
    task: Task,
    got: Vec<u8>,
}

const HELLO_TIMER: u64 = 1 << 32;
/// Uploads go on by timers that carry their socket's number above this.
const UPLOAD_TIMER: u64 = 1 << 33;
/// Silence ends a request by a timer that carries its socket's number above this.
const SILENCE_TIMER: u64 = 1 << 40;

impl OriginalPeer {
    pub(crate) fn new(port: u16) -> OriginalPeer {
        OriginalPeer {
            port,
            secret: V1_DEFAULT_SECRET.to_owned(),
            ip: None,
            shared: BTreeMap::new(),
            tasks: Vec::new(),
            multicast: false,
            serving: BTreeMap::new(),
            asking: BTreeMap::new(),
            nodes: BTreeSet::new(),
            discovery_died: false,
        }
    }

    /// `main IP PORT`: announces that address.
    pub(crate) fn announcing(mut self, ip: impl Into<IpAddr>) -> OriginalPeer {
        self.ip = Some(ip.into());
        self
    }

    pub(crate) fn secret(mut self, secret: &str) -> OriginalPeer {
        self.secret = secret.to_owned();
        self
    }

    /// Shares a file. The scenario tells the world's truth about it.
    pub(crate) fn sharing(mut self, name: &str, content: impl Into<Content>) -> OriginalPeer {
        self.shared.insert(name.to_owned(), content.into());
        self
    }

    pub(crate) fn multicasting(mut self) -> OriginalPeer {
        self.multicast = true;
        self
    }

    /// Does `task` so long after its start.
    pub(crate) fn then(mut self, after: Duration, task: Task) -> OriginalPeer {
        self.tasks.push((after, task));
        self
    }

    fn begin(&mut self, cx: &mut Cx<'_>, task: Task) {
        let (Task::Register(to) | Task::Search(to, _) | Task::Download(to, _) | Task::Probe(to)) = &task;
        let sock = cx.dial(*to);
        let limit = match task {
            Task::Search(..) => 2,
            Task::Probe(_) => 1,
            Task::Download(..) | Task::Register(_) => 5,
        };
        cx.timer(Duration::from_secs(limit), SILENCE_TIMER + sock.0);
        self.asking.insert(sock, Asking { task, got: Vec::new() });
    }

    fn request(&self, cx: &Cx<'_>, task: &Task) -> Option<Value> {
        let ip = self.ip.unwrap_or(cx.addr().into());
        let ask = |kind: &str, name: &str| json!({"type": kind, "filename": name, "secret": self.secret});
        match task {
            Task::Register(_) => Some(json!({"type": "register", "ip": ip.to_string(), "port": self.port})),
            Task::Search(_, name) => Some(ask("search", name)),
            Task::Download(_, name) => Some(ask("download", name)),
            Task::Probe(_) => None,
        }
    }

    /// What its server does with the bytes of its one `recv`.
    fn serve(&mut self, cx: &mut Cx<'_>, sock: SockId, bytes: &[u8]) {
        let text = |cx: &mut Cx<'_>, text: &str| {
            cx.send(sock, text.as_bytes());
            cx.close(sock);
        };
        let Ok(request) = serde_json::from_slice::<Value>(&bytes[..bytes.len().min(RECV)]) else {
            return text(cx, NOT_JSON);
        };
        if request["secret"] != self.secret.as_str() {
            return text(cx, WRONG_SECRET);
        }
        let found = request["filename"].as_str().and_then(|name| self.shared.get(name));
        match (request["type"].as_str(), found) {
            (Some("search"), found) => text(cx, if found.is_some() { "FOUND" } else { "NOT_FOUND" }),
            (Some("download"), None) => text(cx, NOT_FOUND),
            (Some("download"), Some(content)) => {
                self.serving.insert(sock, Upload { content: content.clone(), offset: 0 });
                self.upload(cx, sock);
            }
            _ => text(cx, UNKNOWN_TYPE),
        }
    }

    /// Chunks of 4096 as long as the kernel takes them.
    fn upload(&mut self, cx: &mut Cx<'_>, sock: SockId) {
        let Some(upload) = self.serving.get_mut(&sock) else { return };
        while cx.unsent(sock) < CHUNK {
            let chunk = upload.content.read(upload.offset, CHUNK);
            if chunk.is_empty() {
                self.serving.remove(&sock);
                return cx.close(sock);
            }
            upload.offset += chunk.len() as u64;
            cx.send(sock, &chunk);
        }
        cx.timer(Duration::from_millis(1), UPLOAD_TIMER + sock.0);
    }

    fn answered(&mut self, cx: &mut Cx<'_>, sock: SockId, bytes: &[u8]) {
        let Some(asking) = self.asking.get_mut(&sock) else { return };
        asking.got.extend_from_slice(bytes);
        match &asking.task {
            // One recv is all it ever makes: what comes in a second segment is lost, and with it the answer.
            Task::Register(_) => {
                let nodes = serde_json::from_slice::<Value>(&bytes[..bytes.len().min(RECV)]);
                match nodes.ok().and_then(|answer| answer["nodes"].as_array().cloned()) {
                    Some(nodes) => {
                        cx.note(format!("registered: {} nodes", nodes.len()));
                        for node in &nodes {
                            self.nodes.insert(format!("{}:{}", node[0].as_str().unwrap_or("?"), node[1]));
                        }
                    }
                    None => cx.note("register: the answer is no JSON"),
                }
                self.over(cx, sock);
            }
            Task::Search(_, name) => {
                cx.note(format!("search {name}: {}", String::from_utf8_lossy(bytes)));
                self.over(cx, sock);
            }
            Task::Download(_, name) if bytes.starts_with(b"ERROR") => {
                cx.note(format!("download {name}: {}", String::from_utf8_lossy(bytes)));
                self.over(cx, sock);
            }
            Task::Download(..) => {
                // Its time limit is for silence: every byte sets it back. (A timer per segment is what this costs.)
                cx.timer(Duration::from_secs(5), SILENCE_TIMER + sock.0);
            }
            Task::Probe(_) => {}
        }
    }

    fn over(&mut self, cx: &mut Cx<'_>, sock: SockId) {
        self.asking.remove(&sock);
        cx.close(sock);
    }

    /// The end of the stream is the end of the file, whatever the reason.
    fn ended(&mut self, cx: &mut Cx<'_>, sock: SockId, how: &str) {
        self.serving.remove(&sock);
        let Some(Asking { task, got }) = self.asking.remove(&sock) else { return };
        match task {
            Task::Download(_, name) if how == "eof" => {
                cx.note(format!("download {name}: {} bytes", got.len()));
                cx.log.files.insert(name, Content::Bytes(got));
            }
            Task::Download(_, name) => cx.note(format!("download {name}: {how}")),
            Task::Search(_, name) => cx.note(format!("search {name}: {how}")),
            Task::Register(to) => cx.note(format!("register {to}: {how}")),
            Task::Probe(to) => cx.note(format!("probe {to}: down")),
        }
        cx.close(sock);
    }

    fn hello(&mut self, cx: &mut Cx<'_>) {
        let ip = self.ip.unwrap_or([127, 0, 0, 1].into());
        let text = format!("HELLO:{ip}:{}", self.port);
        // It sends where its routing table points: one interface.
        cx.multicast(2, text.as_bytes());
        cx.timer(HELLO, HELLO_TIMER);
    }

    fn datagram(&mut self, cx: &mut Cx<'_>, bytes: &[u8]) {
        if self.discovery_died {
            return;
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            self.discovery_died = true;
            return cx.note("discovery died");
        };
        let fields: Vec<&str> = text.split(':').collect();
        if let ["HELLO", ip, port] = fields[..] {
            let node = format!("{ip}:{port}");
            if self.nodes.insert(node.clone()) {
                cx.note(format!("node {node}"));
            }
        }
    }

    fn timer(&mut self, cx: &mut Cx<'_>, token: u64) {
        match token {
            HELLO_TIMER => self.hello(cx),
            token if token >= SILENCE_TIMER => self.silence(cx, SockId(token - SILENCE_TIMER)),
            token if token >= UPLOAD_TIMER => self.upload(cx, SockId(token - UPLOAD_TIMER)),
            token => {
                let task = self.tasks[token as usize].1.clone();
                self.begin(cx, task);
            }
        }
    }

    fn silence(&mut self, cx: &mut Cx<'_>, sock: SockId) {
        // A download that moves is not silent; its older timers mean nothing.
        let moves = |asking: &Asking| matches!(asking.task, Task::Download(..)) && !asking.got.is_empty();
        if self.asking.get(&sock).is_some_and(|asking| !moves(asking)) {
            self.ended(cx, sock, "timeout");
        }
    }
}

impl Actor for OriginalPeer {
    fn told(&mut self, cx: &mut Cx<'_>, what: Told<'_>) {
        match what {
            Told::Start => {
                cx.listen(self.port);
                if self.multicast {
                    cx.join(2);
                    self.hello(cx);
                }
                for (i, (after, _)) in self.tasks.iter().enumerate() {
                    cx.timer(*after, i as u64);
                }
            }
            Told::Accepted { .. } => {}
            Told::Connected { sock } => {
                let Some(asking) = self.asking.get(&sock) else { return };
                if let Task::Probe(to) = asking.task {
                    cx.note(format!("probe {to}: alive"));
                    return self.over(cx, sock);
                }
                if let Some(request) = self.request(cx, &asking.task) {
                    cx.send(sock, request.to_string().as_bytes());
                }
            }
            Told::Data { sock, bytes } if self.asking.contains_key(&sock) => self.answered(cx, sock, bytes),
            Told::Data { sock, bytes } => self.serve(cx, sock, bytes),
            Told::Eof { sock } if self.asking.contains_key(&sock) => self.ended(cx, sock, "eof"),
            Told::Eof { sock } if !self.serving.contains_key(&sock) => cx.close(sock),
            Told::Eof { .. } => {}
            Told::Closed { sock, fault } => self.ended(cx, sock, &fault.to_string()),
            Told::Datagram { bytes, .. } => self.datagram(cx, bytes),
            Told::Timer(token) => self.timer(cx, token),
            Told::Order(_) => {}
        }
    }
}

/// The original's registry: never forgets, believes the address it is told, answers in one write.
#[derive(Debug, Default)]
pub(crate) struct OriginalBootstrap {
    port: u16,
    nodes: Vec<(String, u64)>,
}

impl OriginalBootstrap {
    pub(crate) fn new(port: u16) -> OriginalBootstrap {
        OriginalBootstrap { port, nodes: Vec::new() }
    }
}

impl Actor for OriginalBootstrap {
    fn told(&mut self, cx: &mut Cx<'_>, what: Told<'_>) {
        match what {
            Told::Start => cx.listen(self.port),
            Told::Data { sock, bytes } => {
                let request = serde_json::from_slice::<Value>(bytes).unwrap_or_default();
                let (ip, port) = (request["ip"].as_str(), request["port"].as_u64());
                if let (Some("register"), Some(ip), Some(port)) = (request["type"].as_str(), ip, port) {
                    let node = (ip.to_owned(), port);
                    if !self.nodes.contains(&node) {
                        self.nodes.push(node);
                    }
                    cx.send(sock, json!({ "nodes": self.nodes }).to_string().as_bytes());
                }
                cx.close(sock);
            }
            Told::Eof { sock } => cx.close(sock),
            _ => {}
        }
    }
}
