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

/// A registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {
    /// As claimed: old nodes claim 127.0.0.1 from anywhere. What counts is where the connection came from.
    pub ip: IpAddr,
    /// Where the node listens.
    pub port: u16,
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
    Ok(Register { ip, port })
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
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
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
