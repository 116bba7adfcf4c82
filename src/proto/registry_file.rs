//! The registry's file: one JSON object on one line, then a line with the length and the SHA-256 of the first.
//!
//! ```text
//! {"format":"distrishare-registry","version":1,"nodes":[["192.168.1.4",9000,1760000000,null],…]}
//! length 4711 sha256 0f1e…
//! ```
//!
//! A node is its address, its port, when it was first seen and when it last answered a probe, in seconds since 1970
//! (`null`: not known). The last line tells a file that was cut or changed from a whole one.

use crate::time::WallTime;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt::{self, Write};
use std::net::SocketAddr;

const FORMAT: &str = "distrishare-registry";
const VERSION: u64 = 1;
/// The last line at its longest: two words, a length of 20 digits, the sum, blanks and line end.
const SEAL_MAX: usize = 120;

/// A node as the file keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it is reached.
    pub addr: SocketAddr,
    /// When it registered first, if the clock was known then.
    pub first_seen: Option<WallTime>,
    /// When it last answered a probe.
    pub last_verified: Option<WallTime>,
}

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// It has no bytes.
    Empty,
    /// Its last line is missing or is not one of ours.
    NoSeal,
    /// The last line speaks of another length.
    Length,
    /// The content does not have the checksum of the last line.
    Checksum,
    /// The content is not what this version writes; the parser's words.
    Content(String),
    /// Another program's file.
    Foreign,
    /// Written by a newer version.
    Newer(u64),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Empty => f.write_str("it is empty"),
            Damage::NoSeal => f.write_str("its last line is missing"),
            Damage::Length => f.write_str("it was cut or something was added"),
            Damage::Checksum => f.write_str("its content was changed"),
            Damage::Content(why) => write!(f, "its content is not understood: {why}"),
            Damage::Foreign => f.write_str("it is not a registry's file"),
            Damage::Newer(version) => write!(f, "a newer version ({version}) wrote it"),
        }
    }
}

impl std::error::Error for Damage {}

/// The file that holds `records`, in their order; those that do not fit into `max` bytes are left out.
pub fn encode(records: &[Record], max: usize) -> Vec<u8> {
    let mut file = format!(r#"{{"format":"{FORMAT}","version":{VERSION},"nodes":["#);
    let room = max.saturating_sub(SEAL_MAX + 3);
    for (i, record) in records.iter().enumerate() {
        let before = file.len();
        if i > 0 {
            file.push(',');
        }
        write_record(&mut file, record);
        if file.len() > room {
            file.truncate(before);
            break;
        }
    }
    file.push_str("]}\n");
    let seal = format!("length {} sha256 {}\n", file.len(), hex(file.as_bytes()));
    file.push_str(&seal);
    file.into_bytes()
}

fn write_record(file: &mut String, record: &Record) {
    let time = |t: Option<WallTime>| t.map_or(Cow::Borrowed("null"), |WallTime(s)| s.to_string().into());
    let (ip, port) = (record.addr.ip(), record.addr.port());
    // Writing into a String cannot fail.
    let _ = write!(file, r#"["{ip}",{port},{},{}]"#, time(record.first_seen), time(record.last_verified));
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    format: Cow<'a, str>,
    version: u64,
}

/// Address, port, first seen, last verified.
type Row<'a> = (Cow<'a, str>, u16, Option<u64>, Option<u64>);

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow)]
    nodes: Vec<Row<'a>>,
}

/// Reads a file. Entries whose address is none are left out; whether an address is one to keep is the caller's rule.
///
/// # Errors
/// What is wrong with the file as a whole.
pub fn decode(file: &[u8]) -> Result<Vec<Record>, Damage> {
    if file.is_empty() {
        return Err(Damage::Empty);
    }
    let content = unseal(file)?;
    let wrong = |e: serde_json::Error| Damage::Content(e.to_string());
    let head: Head<'_> = serde_json::from_slice(content).map_err(wrong)?;
    if head.format != FORMAT {
        return Err(Damage::Foreign);
    }
    if head.version != VERSION {
        return Err(Damage::Newer(head.version));
    }
    let content: Content<'_> = serde_json::from_slice(content).map_err(wrong)?;
    let record = |(ip, port, first, verified): &Row<'_>| {
        Some(Record {
            addr: SocketAddr::new(ip.parse().ok()?, *port),
            first_seen: first.map(WallTime),
            last_verified: verified.map(WallTime),
        })
    };
    Ok(content.nodes.iter().filter_map(record).collect())
}

/// The content in front of the last line, if that line fits it.
fn unseal(file: &[u8]) -> Result<&[u8], Damage> {
    let body = file.strip_suffix(b"\n").ok_or(Damage::NoSeal)?;
    let tail = &body[body.len().saturating_sub(SEAL_MAX)..];
    let line = tail.iter().rposition(|&b| b == b'\n').ok_or(Damage::NoSeal)?;
    let seal = std::str::from_utf8(&tail[line + 1..]).map_err(|_| Damage::NoSeal)?;
    let (length, sum) =
        seal.strip_prefix("length ").and_then(|rest| rest.split_once(" sha256 ")).ok_or(Damage::NoSeal)?;
    let content = &file[..body.len() - (tail.len() - line - 1)];
    if length != content.len().to_string() {
        return Err(Damage::Length);
    }
    if sum != hex(content) {
        return Err(Damage::Checksum);
    }
    Ok(content)
}

fn hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold(String::with_capacity(64), |mut text, byte| {
        let digit = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or('0');
        text.extend([digit(byte >> 4), digit(byte & 15)]);
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 4 << 20;

    fn records(n: u32) -> Vec<Record> {
        (0..n)
            .map(|i| Record {
                addr: match i % 3 {
                    0 => SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 1, 2], 9000)),
                    _ => SocketAddr::from((std::net::Ipv4Addr::from(0x0a00_0000 + i), 9000)),
                },
                first_seen: Some(WallTime(1_760_000_000 + u64::from(i))),
                last_verified: (i % 2 == 0).then_some(WallTime(1_760_000_100)),
            })
            .collect()
    }

    fn sealed(content: &str) -> Vec<u8> {
        format!("{content}\nlength {} sha256 {}\n", content.len() + 1, hex(format!("{content}\n").as_bytes()))
            .into_bytes()
    }

    #[test]
    fn what_was_written_is_read() {
        for n in [0, 1, 2, 3, 1000] {
            assert_eq!(decode(&encode(&records(n), MAX)), Ok(records(n)));
        }
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        // hostile: 176
        let whole = encode(&records(4), MAX);
        assert_eq!(decode(b""), Err(Damage::Empty));
        for cut in 0..whole.len() {
            assert!(decode(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped).is_err(), "bit {bit}");
        }
        let longer = [&whole[..], b"\n"].concat();
        assert!(decode(&longer).is_err());
    }

    #[test]
    fn other_versions_and_other_files_are_told_apart() {
        // hostile: 176
        let newer = sealed(r#"{"format":"distrishare-registry","version":2,"things":{}}"#);
        assert_eq!(decode(&newer), Err(Damage::Newer(2)));
        let foreign = sealed(r#"{"format":"cake","version":1,"nodes":[]}"#);
        assert_eq!(decode(&foreign), Err(Damage::Foreign));
        for content in ["", "[]", "{}", r#"{"format":"distrishare-registry","version":1}"#] {
            assert!(matches!(decode(&sealed(content)), Err(Damage::Content(_))), "{content}");
        }
        let deep =
            format!(r#"{{"format":"distrishare-registry","version":1,"nodes":{}"#, "[".repeat(100_000));
        assert!(matches!(decode(&sealed(&deep)), Err(Damage::Content(_))));
    }

    #[test]
    fn an_entry_without_an_address_is_left_out_and_more_keys_do_not_matter() {
        // hostile: 177
        let file = sealed(
            r#"{"format":"distrishare-registry","version":1,"also":[1],"nodes":[["a.b",9000,null,null],["10.0.0.1",9000,null,7]]}"#,
        );
        let read = decode(&file).expect("readable");
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].last_verified, Some(WallTime(7)));
    }

    #[test]
    fn a_file_never_exceeds_its_bound_and_is_whole_all_the_same() {
        // hostile: 177
        let many = records(3000);
        for max in [200, 1000, 4096, 100_000] {
            let file = encode(&many, max);
            assert!(file.len() <= max);
            let read = decode(&file).expect("whole");
            assert_eq!(read, many[..read.len()]);
        }
        assert!(encode(&records(65_536), MAX).len() <= MAX);
    }

    #[test]
    fn the_longest_seal_fits() {
        assert!(format!("\nlength {} sha256 {}\n", u64::MAX, hex(b"")).len() <= SEAL_MAX);
    }
}
