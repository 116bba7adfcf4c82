//! The JSON of each control message, as serde writes and reads it. Numbers are integers of their field's width: serde
//! refuses signs, points, exponents and leading zeros for them, missing keys and keys that come twice.

use crate::proto::content::Root;
use serde::de::{Error as _, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

#[derive(Serialize, Deserialize)]
pub(super) struct Close<'a> {
    pub(super) reason: Cow<'a, str>,
}

/// `ping`, `pong`, `cancel`.
#[derive(Serialize, Deserialize)]
pub(super) struct Only {
    pub(super) id: u32,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Search<'a> {
    pub(super) id: u32,
    pub(super) query: Cow<'a, str>,
    pub(super) limit: u32,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Browse<'a> {
    pub(super) id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<Cow<'a, str>>,
    pub(super) limit: u32,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Stat<'a> {
    pub(super) id: u32,
    pub(super) name: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Values {
    pub(super) id: u32,
    pub(super) root: Hex,
    pub(super) span: u8,
    pub(super) first: u64,
    pub(super) count: u32,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Get {
    pub(super) id: u32,
    pub(super) root: Hex,
    pub(super) offset: u64,
    pub(super) len: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Refused<'a> {
    pub(super) id: u32,
    pub(super) code: Cow<'a, str>,
    pub(super) text: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Follow {
    pub(super) id: u32,
    pub(super) root: Hex,
    pub(super) group: u32,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Wrong {
    pub(super) root: Hex,
}

/// An entry of `files`.
#[derive(Serialize, Deserialize)]
pub(super) struct Entry<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mtime: Option<i64>,
    pub(super) root: Option<Hex>,
}

/// A root as 64 lower-case hex digits.
pub(super) struct Hex(pub(super) Root);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hex, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        let one_spelling = !text.bytes().any(|b| b.is_ascii_uppercase());
        Root::parse(&text).filter(|_| one_spelling).map(Hex).ok_or_else(|| D::Error::custom("no root"))
    }
}

/// A `T` that is written as an object: serde's derive alone would take an array for it.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<T>, D::Error> {
        deserializer.deserialize_map(ObjectOnly(PhantomData)).map(Object)
    }
}

struct ObjectOnly<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectOnly<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}
