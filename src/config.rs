//! Every constant of the program with its unit. Made once from the command line, validated once, then only read.

use crate::time::Duration;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;

/// The unit of addressing, alignment, accounting and fairness, in bytes: the original's chunk.
pub const CHUNK: usize = 4096;
/// Most chunks that a sealed record carries.
pub const RECORD_CHUNKS_MAX: usize = 16;
/// Where HELLO and GOODBYE go (WIRE_V1.md).
pub const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(224, 1, 1, 1), 10000);
/// Where `ds-bootstrap` listens unless told otherwise.
pub const BOOTSTRAP_PORT: u16 = 8000;
/// The secret every installation of the original ships with: public, and no protection.
pub const V1_DEFAULT_SECRET: &str = "distrishare2024";
/// The start of the temporary names in the parts folder; 16 hex digits follow.
pub const PART_PREFIX: &str = "v1-";
/// The start of the temporary names in the shared folder; 16 hex digits follow.
pub const IMPORT_PREFIX: &str = ".share-";

/// Where the driver finds and leaves things. Folders that are missing are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// What is offered, and downloads; a registry has neither.
    pub files: Option<FileFolders>,
    /// Kept over restarts; mode 0700, locked against a second process.
    pub state: PathBuf,
}

/// The two folders of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFolders {
    /// What is offered to others.
    pub shared: PathBuf,
    /// Where finished downloads go.
    pub downloads: PathBuf,
}

/// What a peer is told by its operator.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// Listen on this address; unspecified: on all interfaces.
    pub listen: SocketAddr,
    /// The folders, as a person reads them in messages.
    pub folders: FileFolders,
    /// Announce this address instead of the interfaces' own (a router's public one).
    pub announce: Option<IpAddr>,
    /// Registries, as typed; the first is the one `bootstrap` without an argument uses.
    pub bootstraps: Vec<HostPort>,
    /// Register and start multicast at start.
    pub join: bool,
    /// Speak v1. In a group only where the operator asked for it.
    pub v1: bool,
    /// The key of the group this node is a member of; none: an open node.
    pub group: Option<Key>,
    /// How sessions are sealed.
    pub crypto: Crypto,
    /// Where keys, nonces and temporary names come from: from the system's randomness, in earnest.
    pub entropy: Key,
    /// The secret of v1.
    pub v1_secret: Secret,
    /// How the operator talks to us.
    pub console: ConsoleMode,
    /// Results as JSON lines.
    pub json: bool,
    /// Standard error is a terminal of this many columns: progress lines may be redrawn there.
    pub progress_columns: Option<u16>,
    /// A script goes on after a failed command.
    pub keep_going: bool,
    /// The source of all randomness.
    pub seed: u64,
    /// Every bound.
    pub limits: Limits,
}

/// What a registry is told by its operator.
#[derive(Clone, Debug)]
pub struct BootstrapConfig {
    /// Listen on this address.
    pub listen: SocketAddr,
    /// How long a registration counts without being renewed.
    pub lease: Duration,
    /// The source of all randomness.
    pub seed: u64,
    /// Every bound.
    pub limits: Limits,
}

/// How the operator talks to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsoleMode {
    /// A person at a terminal: prompts, commands run beside each other.
    Terminal,
    /// A pipe or file: one command after another, each finished before the next.
    Script,
    /// Nobody: standard input is not read.
    Daemon,
}

/// A host, by name or address, and a port, as the operator typed them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Name or address; an IPv6 address without its brackets.
    pub host: String,
    /// Port, not 0.
    pub port: u16,
}

impl HostPort {
    /// Reads `HOST:PORT`, `[IPV6]:PORT` or, where `default_port` is given, `HOST` alone.
    ///
    /// # Errors
    /// A sentence that names what is wrong with `text`.
    pub fn parse(text: &str, default_port: Option<u16>) -> Result<HostPort, String> {
        let wrong = |what: &str| Err(format!("`{text}` is not HOST:PORT: {what}"));
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            match rest.split_once(']') {
                Some((host, "")) => (host, None),
                Some((host, port)) => match port.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None => return wrong("a colon is missing after the bracket"),
                },
                None => return wrong("the bracket is not closed"),
            }
        } else {
            match text.rsplit_once(':') {
                Some((host, _)) if host.contains(':') => return wrong("an IPv6 address needs brackets"),
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        if host.is_empty() || host.len() > 255 || host.contains(|c: char| c.is_whitespace() || c.is_control())
        {
            return wrong("the host is missing or is no name");
        }
        let port = match (port, default_port) {
            (Some(port), _) => match parse_port(port) {
                Some(port) => port,
                None => return wrong("the port must be a number from 1 to 65535"),
            },
            (None, Some(port)) => port,
            (None, None) => return wrong("the port is missing"),
        };
        Ok(HostPort { host: host.to_owned(), port })
    }

    /// The address, if the host is one and not a name.
    pub fn literal(&self) -> Option<SocketAddr> {
        self.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, self.port))
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A port as people and nodes write it: ASCII digits only, 1 to 65535. No sign, blank or other script's digits.
pub fn parse_port(text: &str) -> Option<u16> {
    if text.is_empty() || text.len() > 5 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse::<u16>().ok().filter(|&port| port != 0)
}

/// 32 secret bytes that never show in logs or debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl Key {
    /// Takes them in.
    pub const fn new(bytes: [u8; 32]) -> Key {
        Key(bytes)
    }

    /// The bytes themselves, for cryptography and for the file they are kept in.
    pub const fn reveal(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// How sessions between nodes are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crypto {
    /// Noise and AEAD records. `aes`: this processor has instructions for AES.
    Real {
        /// AES-256-GCM is offered to the other side.
        aes: bool,
    },
    /// The same framing without any secrecy, for the simulator: thousands of handshakes a second.
    Null,
}

/// A text that never shows in logs or debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes it in.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself, for the wire only.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `other` is the same, in a time that depends on `other`'s length only.
    pub fn matches(&self, other: &str) -> bool {
        let ours = self.0.as_bytes();
        let mut difference = u8::from(ours.len() != other.len());
        for (i, byte) in other.bytes().enumerate() {
            difference |= byte ^ ours.get(i).copied().unwrap_or(0);
        }
        difference == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Start, rate in percent and full of a random early drop: none below `start`, all at `full`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EarlyDrop {
    /// Connections from which on some are refused.
    pub start: usize,
    /// Percent refused at `start`, growing to 100 at `full`.
    pub rate: u32,
    /// Connections from which on all are refused.
    pub full: usize,
}

/// Every bound of the program (HOSTILE.md 3.0, DESIGN.md 3). Counts are counts, sizes bytes, rates per second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// All TCP connections of the process; a peer keeps an eighth of them for its own dials.
    pub conns: usize,
    /// Accepted connections without a valid request yet.
    pub unauth: EarlyDrop,
    /// Accepted connections of one source address; loopback is exempt.
    pub conns_per_ip: usize,
    /// Of those, without a valid request yet.
    pub unauth_per_ip: usize,
    /// Uploads at once to one source address; loopback is exempt.
    pub uploads_per_ip: usize,
    /// Bytes of a v1 or bootstrap request.
    pub request_max: usize,
    /// From accept to the whole request.
    pub request_deadline: Duration,
    /// Bytes of a registry's answer: one segment, so that the original's single `recv` gets it whole.
    pub registry_reply_max: usize,
    /// Bytes of a registry's answer that a peer reads.
    pub registry_answer_max: usize,
    /// Nodes a registry keeps.
    pub registry_nodes: usize,
    /// Of those, from one source address; loopback is exempt.
    pub registry_per_ip: usize,
    /// Bytes of the registry's file.
    pub registry_file_max: usize,
    /// Least time between two saves of the registry.
    pub registry_save_interval: Duration,
    /// Nodes a peer keeps in its lists.
    pub known_nodes: usize,
    /// Of those, learned from one multicast source.
    pub known_per_source: usize,
    /// A slow reader must take [`CHUNK`] bytes in this time.
    pub drain_interval: Duration,
    /// A slow sender must deliver [`CHUNK`] bytes in this time.
    pub progress_interval: Duration,
    /// Lowest average rate of a transfer, bytes per second, once `transfer_grace` has passed.
    pub rate_min: u64,
    /// Time any transfer may take, whatever its rate.
    pub transfer_grace: Duration,
    /// How long a connection lingers after an answer so that the peer can read it.
    pub linger: Duration,
    /// Bytes thrown away while it lingers.
    pub linger_bytes: usize,
    /// Dial until connected.
    pub connect_deadline: Duration,
    /// Search: from dial to answer.
    pub search_deadline: Duration,
    /// Download: from connected to the first byte.
    pub first_byte_deadline: Duration,
    /// Liveness probe: from dial to connected.
    pub probe_deadline: Duration,
    /// Register at a bootstrap: from dial to the whole answer.
    pub register_deadline: Duration,
    /// Longest wait for a free dial: who is not dialled within it counts as silent.
    pub dial_wait: Duration,
    /// Dials in flight to own networks and proven addresses.
    pub dials: usize,
    /// Dials in flight to addresses that are neither.
    pub dials_unproven: usize,
    /// Of those, in one /24 (IPv6: /48).
    pub dials_per_net: usize,
    /// Bytes of a v1 download, whose size nobody says.
    pub download_max: u64,
    /// Downloads at once; more wait.
    pub downloads: usize,
    /// Commands under way at once; at a terminal the next line waits.
    pub jobs: usize,
    /// Files named by a listing.
    pub listing_max: usize,
    /// Folders watched for changes; the kernel may allow fewer.
    pub watches: usize,
    /// Files in the share index.
    pub index_files: usize,
    /// Bytes of a datagram that is looked at.
    pub datagram_max: usize,
    /// Datagrams of one source, per second.
    pub datagrams_per_source: u32,
    /// Of those, at once after a silence.
    pub datagram_burst: u32,
    /// HELLO period.
    pub hello_interval: Duration,
    /// A node is off the multicast list after so many periods without HELLO.
    pub hello_missed: u32,
    /// Shortest and longest time between two registrations.
    pub refresh: (Duration, Duration),
    /// Bytes of a console line.
    pub line_max: usize,
    /// Bytes waiting for the console before lines are dropped.
    pub console_out_max: usize,
    /// Files open at once for reading, writing and import.
    pub open_files: usize,

    /// Bytes one connection moves per turn.
    pub turn_bytes: usize,
    /// The same while no other connection is ready: nobody waits for the end of the turn.
    pub lone_bytes: usize,
    /// Reads and writes of one connection per turn.
    pub turn_ops: usize,
    /// Bulk bytes of all connections after which the loop polls again.
    pub bulk_quantum: usize,
    /// Accepts per turn.
    pub accepts_per_turn: usize,
    /// Datagrams per turn.
    pub datagrams_per_turn: usize,
    /// Timers per turn.
    pub timers_per_turn: usize,
    /// Chunks received by one system call: the size of the one receive buffer.
    pub run_chunks: usize,
    /// Chunks of a file sent by one system call, which takes no memory.
    pub send_chunks: usize,
    /// Chunks of a sealed record, as sender and as receiver: 1 to [`RECORD_CHUNKS_MAX`].
    pub record_chunks: usize,
    /// Bytes of a connection that the kernel takes before it can send them. A reader is seen to read once it has taken
    /// half of them, so it needs that much per [`Limits::drain_interval`].
    pub unsent_max: usize,
}

impl Limits {
    /// For a PC.
    pub fn desktop() -> Limits {
        let s = Duration::from_secs;
        Limits {
            conns: 10_000,
            unauth: EarlyDrop { start: 64, rate: 30, full: 256 },
            conns_per_ip: 64,
            unauth_per_ip: 16,
            uploads_per_ip: 8,
            request_max: 4096,
            request_deadline: s(5),
            registry_reply_max: 1400,
            registry_answer_max: 64 << 10,
            registry_nodes: 65_536,
            registry_per_ip: 64,
            registry_file_max: 4 << 20,
            registry_save_interval: s(60),
            known_nodes: 4096,
            known_per_source: 8,
            drain_interval: s(10),
            progress_interval: s(30),
            rate_min: 1024,
            transfer_grace: s(60),
            linger: s(1),
            linger_bytes: 64 << 10,
            connect_deadline: s(5),
            search_deadline: s(2),
            first_byte_deadline: s(5),
            probe_deadline: s(1),
            register_deadline: s(5),
            dial_wait: s(30),
            dials: 256,
            dials_unproven: 64,
            dials_per_net: 4,
            download_max: 4 << 30,
            downloads: 64,
            jobs: 128,
            listing_max: 100_000,
            watches: 8192,
            index_files: 1_000_000,
            datagram_max: 512,
            datagrams_per_source: 10,
            datagram_burst: 20,
            hello_interval: s(5),
            hello_missed: 3,
            refresh: (s(60), s(120)),
            line_max: 4096,
            console_out_max: 1 << 20,
            open_files: 512,
            turn_bytes: 256 << 10,
            lone_bytes: 2 << 20,
            turn_ops: 16,
            bulk_quantum: 1 << 20,
            accepts_per_turn: 16,
            datagrams_per_turn: 32,
            timers_per_turn: 64,
            run_chunks: 64,
            send_chunks: 512,
            record_chunks: RECORD_CHUNKS_MAX,
            unsent_max: 512 << 10,
        }
    }

    /// For a box with 32 to 64 MB of memory.
    pub fn small() -> Limits {
        Limits {
            conns: 128,
            unauth: EarlyDrop { start: 8, rate: 30, full: 32 },
            conns_per_ip: 8,
            unauth_per_ip: 4,
            uploads_per_ip: 4,
            registry_nodes: 512,
            registry_per_ip: 8,
            registry_save_interval: Duration::from_secs(15 * 60),
            known_nodes: 256,
            dials: 64,
            dials_unproven: 16,
            downloads: 8,
            jobs: 16,
            listing_max: 10_000,
            watches: 512,
            index_files: 10_000,
            console_out_max: 64 << 10,
            open_files: 64,
            turn_bytes: 64 << 10,
            lone_bytes: 256 << 10,
            run_chunks: 4,
            send_chunks: 16,
            record_chunks: 4,
            unsent_max: 64 << 10,
            ..Limits::desktop()
        }
    }

    /// Fits the limits to the number of descriptors the process may open (32 are kept for other uses).
    #[must_use]
    pub fn within_descriptors(mut self, descriptors: usize) -> Limits {
        let usable = descriptors.saturating_sub(32);
        self.open_files = self.open_files.min(usable / 4).max(1);
        self.conns = self.conns.min(usable.saturating_sub(self.open_files)).max(1);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_port_reads_what_people_type_and_names_what_is_wrong() {
        let good = |text, default| HostPort::parse(text, default).map(|hp| hp.to_string());
        assert_eq!(good("10.0.0.1:8000", None), Ok("10.0.0.1:8000".into()));
        assert_eq!(good("box.lan", Some(8000)), Ok("box.lan:8000".into()));
        assert_eq!(good("[::1]:80", None), Ok("[::1]:80".into()));
        assert_eq!(good("[::1]", Some(9)), Ok("[::1]:9".into()));
        for bad in ["", ":80", "::1:80", "[::1", "[::1]80", "a:0", "a:65536", "a:+1", "a: 1", "a b:1", "a"] {
            let text = HostPort::parse(bad, None).expect_err(bad);
            assert!(text.contains("HOST:PORT"), "{text}");
        }
    }

    #[test]
    fn ports_are_ascii_digits() {
        // hostile: 37
        for bad in ["-5", "0", "65536", "999999999999", "٣٤", "+80", " 80", "0x50", "", "8 0"] {
            assert_eq!(parse_port(bad), None, "{bad}");
        }
        assert_eq!(parse_port("65535"), Some(65535));
    }

    #[test]
    fn secrets_compare_whole_and_never_print() {
        let secret = Secret::new("abc");
        assert!(secret.matches("abc"));
        for other in ["", "ab", "abcd", "abd", "Abc"] {
            assert!(!secret.matches(other));
        }
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    #[test]
    fn limits_fit_into_the_descriptors_there_are() {
        let limits = Limits::desktop().within_descriptors(1024);
        assert!(limits.conns + limits.open_files <= 1024 - 32);
        assert_eq!(Limits::desktop().within_descriptors(20_000).conns, 10_000);
        assert_eq!(Limits::desktop().within_descriptors(0).conns, 1);
    }
}
