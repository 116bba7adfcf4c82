//! Every constant of the program with its unit. Made once from the command line, validated once, then only read.

mod address;
mod limits;

pub use address::{NO_ZONE, is_ip, is_link_local, lacks_zone, unmapped, zoned};
pub use limits::{Limits, SwarmLimits};

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
/// The start of the temporary names of v1 downloads in the parts folder; 16 hex digits follow.
pub const PART_PREFIX: &str = "v1-";
/// The end of the names of unfinished downloads' content in the parts folder; 64 hex digits, the root, precede it.
pub const PART_SUFFIX: &str = ".part";
/// The same of their journals.
pub const JOURNAL_SUFFIX: &str = ".jnl";
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

/// The two folders of a peer, and how they are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFolders {
    /// What is offered to others.
    pub shared: PathBuf,
    /// Where finished downloads go.
    pub downloads: PathBuf,
    /// The operator named it: a node that cannot save there does not start. The default one may be out of reach.
    pub named_downloads: bool,
    /// The operator insists: folders of the system will do, with a warning.
    pub allow_system: bool,
    /// Bytes of a disk that are left free; none said: 2 % of it, from 16 MiB to 1 GiB.
    pub keep_free: Option<u64>,
}

impl FileFolders {
    /// These, and the rest as it is where the operator says nothing.
    pub fn new(shared: impl Into<PathBuf>, downloads: impl Into<PathBuf>) -> FileFolders {
        FileFolders {
            shared: shared.into(),
            downloads: downloads.into(),
            named_downloads: false,
            allow_system: false,
            keep_free: None,
        }
    }
}

/// What a peer is told by its operator.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// Listen on this address; unspecified: on all interfaces.
    pub listen: SocketAddr,
    /// The folders, as a person reads them in messages.
    pub folders: FileFolders,
    /// The process has root's rights: whoever runs an open node so is told what that means.
    pub root: bool,
    /// Announce this address instead of the interfaces' own (a router's public one).
    pub announce: Option<IpAddr>,
    /// Registries, as typed; the first is the one `bootstrap` without an argument uses.
    pub bootstraps: Vec<HostPort>,
    /// Register and start multicast at start.
    pub join: bool,
    /// Other programs of this user may ask the node, at a socket in its state folder.
    pub control: bool,
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
    /// Most bytes a second that go out with files, and that come in; none: as many as there can be.
    pub rate: Rates,
    /// It lives for one command: nothing is shared, nothing is said beside what the command says.
    pub once: Option<Once>,
    /// Downloads that were interrupted go on at the start; else they are only listed.
    pub resume: bool,
    /// The source of all randomness.
    pub seed: u64,
    /// Every bound.
    pub limits: Limits,
}

impl PeerConfig {
    /// Whether v2 is spoken at all. A secret of one's own keeps strangers out of v1, as far as it can; without a group v2
    /// would let everybody in beside it.
    pub fn speaks_v2(&self) -> bool {
        let own_secret = self.v1 && !self.v1_secret.matches(V1_DEFAULT_SECRET);
        self.group.is_some() || !own_secret
    }
}

/// What a node does that ends with one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    /// The command, as a console reads it.
    pub line: String,
    /// Others must be able to reach it, since it looks for them. Where the command names the node to ask it listens nowhere.
    pub listens: bool,
}

/// Most bytes of files a second, each way; none: as many as there can be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// To others.
    pub up: Option<u64>,
    /// From others.
    pub down: Option<u64>,
}

/// What a registry is told by its operator.
#[derive(Clone, Debug)]
pub struct BootstrapConfig {
    /// Listen on this address; 0.0.0.0: on all, of IPv6 too.
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
    /// Name or address; an IPv6 address without its brackets, maybe with its zone.
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

    /// The address, if the host is one and neither a name nor an address with a zone, which only the system knows.
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

/// The lowest limit of a rate, in bytes a second: one chunk, the smallest thing that is sent. Below it a second passes
/// without a byte, and who waits for them takes the transfer for dead.
pub const RATE_LIMIT_MIN: u64 = CHUNK as u64;

/// A limit in bytes a second as people write it: `500k`, `2.5M`, `20MB/s`, `1048576`, or `off`, which is none. k, M and G are
/// thousands, millions and thousands of millions; capitals make no difference.
///
/// # Errors
/// A sentence that names what is wrong with `text`.
pub fn parse_rate(text: &str) -> Result<Option<u64>, String> {
    let lower = text.to_ascii_lowercase();
    if lower == "off" {
        return Ok(None);
    }
    let unit = lower.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number = &lower[..lower.len() - unit.len()];
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let unit = unit.trim_start_matches(' ');
    let unit = unit.strip_suffix("/s").unwrap_or(unit);
    let unit = unit.strip_suffix('b').unwrap_or(unit);
    let factor: Option<u64> = match unit {
        "" => Some(1),
        "k" => Some(1_000),
        "m" => Some(1_000_000),
        "g" => Some(1_000_000_000),
        _ => None,
    };
    let Some(factor) = factor.filter(|_| is_number(whole) && is_number(fraction)) else {
        return Err(format!("`{text}` is no rate: give bytes a second, like 500k, 2.5M or 20MB/s, or off"));
    };
    let bytes = whole.parse::<u64>().ok().and_then(|whole| whole.checked_mul(factor));
    // Digits beyond the ninth are less than a byte of any unit.
    let billionths = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let billionths = billionths.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    let bytes = bytes.and_then(|bytes| bytes.checked_add(billionths * factor / 1_000_000_000));
    match bytes {
        Some(0) => Err(format!("`{text}` would let nothing through: use off for no limit")),
        Some(bytes) if bytes < RATE_LIMIT_MIN => {
            Err(format!("`{text}` is too little: give at least {RATE_LIMIT_MIN} bytes a second"))
        }
        Some(bytes) => Ok(Some(bytes)),
        None => Err(format!("`{text}` is too much: use off for no limit")),
    }
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

/// A node's key as its state folder keeps it: what is there, or what is to be written.
#[derive(Default)]
pub struct KeyFiles {
    /// The key itself, a secret.
    pub key: Option<Vec<u8>>,
    /// The note beside it: of which machine it is.
    pub machine: Option<Vec<u8>>,
}

impl fmt::Debug for KeyFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFiles").field("machine", &self.machine).finish_non_exhaustive()
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
        assert_eq!(good("[fe80::1%eth0]:80", None), Ok("[fe80::1%eth0]:80".into()));
        assert!(HostPort::parse("[fe80::1%2]:80", None).is_ok_and(|zoned| zoned.literal().is_none()));
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
    fn rates_are_bytes_a_second_as_people_write_them() {
        for (text, rate) in [
            ("500k", 500_000),
            ("2.5M", 2_500_000),
            ("20MB/s", 20_000_000),
            ("20 mb/S", 20_000_000),
            ("1048576", 1_048_576),
            ("1048576B/s", 1_048_576),
            ("4096", 4096),
            ("4.0961K", 4096),
            ("1G", 1_000_000_000),
            ("0.000005g", 5000),
            ("1.0000000019999G", 1_000_000_001),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_rate(text), Ok(Some(rate)), "{text}");
        }
        assert_eq!((parse_rate("off"), parse_rate("OFF")), (Ok(None), Ok(None)));
        for (text, part) in [
            ("0", "use off"),
            ("0.0M", "use off"),
            ("4095", "at least 4096"),
            ("1k", "at least 4096"),
            ("18446744073709551616", "too much"),
            ("99999999999999999G", "too much"),
        ] {
            let error = parse_rate(text).expect_err(text);
            assert!(error.contains(part) && error.contains(text), "{error}");
        }
        for bad in [
            "", " ", "k", ".5M", "5.M", "1.2.3", "1e6", "+5k", "-5k", "5kk", "5KiB", "5Mbit", "5T", "5k/h",
            "٥k", "inf", "5bb", "5/s/s", "5M/", "on",
        ] {
            assert!(parse_rate(bad).expect_err(bad).contains("is no rate"), "{bad}");
        }
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
}
