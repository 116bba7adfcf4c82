//! What peers and the registry (`ds-bootstrap`) say to each other, in the original's form (WIRE_V1.md). An old client
//! reads `nodes` and nothing else, so an error is an answer with an empty list.

use super::address::parse_ip;
use super::escape::cut;
use super::json::{Field, JsonError, ObjectScanner, Scan};
use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Bytes of an error text that are sent or believed.
pub const ERROR_MAX: usize = 200;
/// The lowest port a node may register: below are the system's services, which we must not send others to.
pub const PORT_MIN: u16 = 1024;

/// The longest cursor that is sent or believed, in bytes.
pub const CURSOR_MAX: usize = 64;

/// Where a page of a registry's list ends. To a node it is a text that means nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Which table it belongs to.
    pub table: u32,
    /// The last verified node that was given out.
    pub verified: u64,
    /// The last one of the others.
    pub others: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}-{:x}", self.table, self.verified, self.others)
    }
}

impl Cursor {
    /// Reads a cursor in the very form in which it was written.
    pub fn parse(text: &str) -> Option<Cursor> {
        let mut parts = text.get(..CURSOR_MAX.min(text.len()))?.split('-');
        let cursor = Cursor {
            table: u32::from_str_radix(parts.next()?, 16).ok()?,
            verified: u64::from_str_radix(parts.next()?, 16).ok()?,
            others: u64::from_str_radix(parts.next()?, 16).ok()?,
        };
        (cursor.to_string() == text).then_some(cursor)
    }
}

/// A registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {
    /// As claimed: old nodes claim 127.0.0.1 from anywhere. What counts is where the connection came from.
    pub ip: IpAddr,
    /// Where the node listens.
    pub port: u16,
    /// The page behind this is asked for; the first one if the text was no cursor. `None`: the original's answer.
    pub after: Option<Cursor>,
    /// It asks only, and is not to be named to others: it ends soon.
    pub guest: bool,
}

/// Why a registration is refused. The text goes to the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterError {
    /// More than white space follows the object.
    Trailing,
    /// No JSON object.
    Json(JsonError),
    /// JSON that serde refuses; what it says, which holds nothing of the request.
    Syntax(String),
    /// `type` is missing, no string or another.
    Type,
    /// `ip` is no address.
    Ip,
    /// `ip` is an address that no host has.
    NoHost,
    /// `port` is no port, or below [`PORT_MIN`].
    Port,
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegisterError::Trailing => f.write_str("more than one object in the request"),
            RegisterError::Json(error) => error.fmt(f),
            RegisterError::Syntax(text) => f.write_str(text),
            RegisterError::Type => f.write_str("`type` must be \"register\""),
            RegisterError::Ip => f.write_str("`ip` must be an IPv4 or IPv6 address"),
            RegisterError::NoHost => f.write_str("`ip` must be the address of a host"),
            RegisterError::Port => write!(f, "`port` must be a whole number from {PORT_MIN} to 65535"),
        }
    }
}

impl std::error::Error for RegisterError {}

#[derive(Deserialize)]
struct Incoming<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Field<'a>,
    #[serde(borrow, default)]
    ip: Field<'a>,
    #[serde(borrow, default, deserialize_with = "port_field")]
    port: Field<'a>,
    #[serde(borrow, default)]
    after: Field<'a>,
    #[serde(borrow, default)]
    guest: Field<'a>,
}

/// Some numbers are no JSON (`NaN`) or beyond serde (`1e400`); the text must name the field all the same.
fn port_field<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Field<'de>, D::Error> {
    Field::deserialize(deserializer).map_err(|_| D::Error::custom(RegisterError::Port))
}

/// Reads the object of a registration. `trailing`: more than white space followed it
/// ([`ObjectScanner::trailing`]).
///
/// # Errors
/// The text to answer with; it names the field.
pub fn parse_register(object: &[u8], trailing: bool) -> Result<Register, RegisterError> {
    if trailing {
        return Err(RegisterError::Trailing);
    }
    if !object.trim_ascii_start().starts_with(b"{") {
        return Err(RegisterError::Json(JsonError::NotObject));
    }
    let incoming: Incoming<'_> = serde_json::from_slice(object).map_err(|error| syntax(&error))?;
    if incoming.kind.text() != Some("register") {
        return Err(RegisterError::Type);
    }
    let ip = incoming.ip.text().and_then(parse_ip).ok_or(RegisterError::Ip)?;
    if ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err(RegisterError::NoHost);
    }
    let port = incoming.port.port().filter(|&port| port >= PORT_MIN).ok_or(RegisterError::Port)?;
    let after = match &incoming.after {
        Field::Missing => None,
        after => Some(after.text().and_then(Cursor::parse).unwrap_or_default()),
    };
    Ok(Register { ip, port, after, guest: matches!(incoming.guest, Field::Integer(1)) })
}

fn syntax(error: &serde_json::Error) -> RegisterError {
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    if error.is_data() {
        RegisterError::Syntax(text.to_owned())
    } else {
        RegisterError::Syntax(format!("not valid UTF-8 JSON: {text}"))
    }
}

/// Writes a registration.
pub fn encode_register(ip: IpAddr, port: u16) -> Vec<u8> {
    format!("{{\"type\":\"register\",\"ip\":\"{ip}\",\"port\":{port}}}").into_bytes()
}

/// Writes a registration that asks for the page behind `after`, which a registry gave; empty for the first one. A `guest`
/// is not named to others.
pub fn encode_page_request(ip: IpAddr, port: u16, after: &str, guest: bool) -> Vec<u8> {
    // A string always has a JSON form.
    let after = serde_json::to_string(after).unwrap_or_default();
    let guest = if guest { ",\"guest\":1" } else { "" };
    format!("{{\"type\":\"register\",\"ip\":\"{ip}\",\"port\":{port},\"after\":{after}{guest}}}").into_bytes()
}

/// Writes the answer to a registration: the first of `nodes`, as many as fit into `max` bytes. Says how many did.
pub fn encode_reply(nodes: &[SocketAddr], max: usize) -> (Vec<u8>, usize) {
    const END: &str = "]}";
    let mut reply = String::from("{\"nodes\": [");
    let mut given = 0;
    for (i, node) in nodes.iter().enumerate() {
        let before = reply.len();
        let comma = if i == 0 { "" } else { ", " };
        // Writing into a `String` cannot fail.
        let _ = write!(reply, "{comma}[\"{}\", {}]", node.ip().to_canonical(), node.port());
        if reply.len() + END.len() > max {
            reply.truncate(before);
            break;
        }
        given += 1;
    }
    reply.push_str(END);
    (reply.into_bytes(), given)
}

/// Writes a page: the first of `nodes`, as many as fit into `max` bytes. `next` tells for so many given nodes where to go on,
/// and whether there is more at once.
pub fn encode_page(nodes: &[SocketAddr], max: usize, next: impl FnOnce(usize) -> (Cursor, bool)) -> Vec<u8> {
    const TAIL_MAX: usize = ", \"next\": \"\", \"more\": false".len() + CURSOR_MAX;
    let (mut page, given) = encode_reply(nodes, max.saturating_sub(TAIL_MAX));
    let (cursor, more) = next(given);
    page.pop();
    page.extend_from_slice(format!(", \"next\": \"{cursor}\", \"more\": {more}}}").as_bytes());
    page
}

/// Writes a refusal, cut to [`ERROR_MAX`] bytes of text.
pub fn encode_error(text: &str) -> Vec<u8> {
    // A string always has a JSON form.
    let text = serde_json::to_string(cut(text, ERROR_MAX)).unwrap_or_default();
    format!("{{\"error\": {text}, \"nodes\": []}}").into_bytes()
}

/// What a registry answered. Hints, all of it: the address rule judges each node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The nodes, in the registry's order.
    pub nodes: Vec<SocketAddr>,
    /// Entries that name no address and port.
    pub skipped: usize,
    /// Why there are none, cut to [`ERROR_MAX`] bytes; not escaped.
    pub error: Option<String>,
    /// The answer ended in the middle; these are the whole entries before that.
    pub cut: bool,
    /// Where the next page goes on; registries that know no pages say nothing.
    pub next: Option<String>,
    /// The next page has something now.
    pub more: bool,
}

/// Reads a registry's whole answer. One that was cut short gives the entries before the cut.
///
/// # Errors
/// A sentence, without anything of the answer in it.
pub fn parse_answer(bytes: &[u8]) -> Result<Answer, String> {
    if bytes.trim_ascii().is_empty() {
        return Err("the registry's answer is empty".to_owned());
    }
    let scan = ObjectScanner::new(bytes.len()).push(bytes);
    if let Scan::Bad(error @ (JsonError::NotObject | JsonError::TooDeep)) = scan {
        return Err(format!("the registry's answer is unusable: {error}"));
    }
    let mut reading = Reading::default();
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let result = json.deserialize_map(&mut reading);
    let Reading { mut answer, listed } = reading;
    match result {
        Ok(()) if listed || answer.error.is_some() => Ok(answer),
        Ok(()) => Err("the registry's answer has no `nodes`".to_owned()),
        Err(error) if error.is_data() => {
            Err("the registry's answer is unusable: `nodes` is no list, or a key is there twice".to_owned())
        }
        Err(_) if !answer.nodes.is_empty() => {
            answer.cut = true;
            Ok(answer)
        }
        Err(error) if error.is_eof() => Err("the registry's answer ends before its first node".to_owned()),
        Err(_) => Err("the registry's answer is not valid UTF-8 JSON".to_owned()),
    }
}

/// The answer as far as it was read: serde gives nothing back from a text that breaks off, so the entries are put here.
#[derive(Default)]
struct Reading {
    answer: Answer,
    listed: bool,
}

/// One element of `nodes`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Entry<'a> {
    Pair(#[serde(borrow)] Field<'a>, #[serde(borrow)] Field<'a>),
    Other(IgnoredAny),
}

impl Entry<'_> {
    fn address(&self) -> Option<SocketAddr> {
        match self {
            Entry::Pair(ip, port) => Some(SocketAddr::new(parse_ip(ip.text()?)?, port.port()?)),
            Entry::Other(IgnoredAny) => None,
        }
    }
}

impl<'de> Visitor<'de> for &mut Reading {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            match &*key {
                "nodes" if self.listed => return Err(A::Error::duplicate_field("nodes")),
                "nodes" => {
                    self.listed = true;
                    map.next_value_seed(Nodes(&mut self.answer))?;
                }
                "error" => {
                    let error = map.next_value::<Field<'_>>()?;
                    self.answer.error = error.text().map(|text| cut(text, ERROR_MAX).to_owned());
                }
                "next" => {
                    let next = map.next_value::<Field<'_>>()?;
                    self.answer.next = next.text().filter(|text| is_cursor(text)).map(str::to_owned);
                }
                "more" => self.answer.more = map.next_value::<MaybeTrue>()?.0,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Whether a registry's cursor is fit to be sent back: what is in it is its own affair.
fn is_cursor(text: &str) -> bool {
    (1..=CURSOR_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// A word `true`, or anything else.
#[derive(Deserialize)]
#[serde(from = "Either")]
struct MaybeTrue(bool);

#[derive(Deserialize)]
#[serde(untagged)]
enum Either {
    Bool(bool),
    Other(IgnoredAny),
}

impl From<Either> for MaybeTrue {
    fn from(either: Either) -> MaybeTrue {
        MaybeTrue(matches!(either, Either::Bool(true)))
    }
}

/// Reads the list of nodes into an answer, entry by entry.
struct Nodes<'a>(&'a mut Answer);

impl<'de> serde::de::DeserializeSeed<'de> for Nodes<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Nodes<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(entry) = seq.next_element::<Entry<'_>>()? {
            match entry.address() {
                Some(node) => self.0.nodes.push(node),
                None => self.0.skipped += 1,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
