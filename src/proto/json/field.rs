//! A value of a message before anyone has judged it.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// Any JSON value; only what messages are made of is kept. Serde must not fail on the wrong kind of value: which text
/// the other side gets is decided by the message, in its own order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::proto) enum Field<'a> {
    /// The object has no such key.
    #[default]
    Missing,
    /// A string.
    Text(Cow<'a, str>),
    /// A number without sign, point and exponent that fits.
    Integer(u64),
    /// Anything else.
    Other,
}

impl Field<'_> {
    /// The string, if it is one.
    pub(in crate::proto) fn text(&self) -> Option<&str> {
        match self {
            Field::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number as a port, if it is one.
    pub(in crate::proto) fn port(&self) -> Option<u16> {
        match self {
            Field::Integer(number) => u16::try_from(*number).ok().filter(|&port| port != 0),
            _ => None,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Field<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Field<'a>, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Field<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Field<'de>, E> {
        Ok(Field::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Field<'de>, E> {
        Ok(Field::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Field<'de>, E> {
        Ok(Field::Integer(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Field<'de>, E> {
        Ok(Field::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Field<'de>, E> {
        Ok(Field::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Field<'de>, E> {
        Ok(Field::Other)
    }

    fn visit_unit<E>(self) -> Result<Field<'de>, E> {
        Ok(Field::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Field<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Field<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_is_taken() {
        fn read(text: &str) -> Result<Field<'_>, String> {
            serde_json::from_str(text).map_err(|error| error.to_string())
        }
        assert_eq!(read("\"a\\u00f1\""), Ok(Field::Text("añ".into())));
        assert_eq!(read("9001"), Ok(Field::Integer(9001)));
        for other in
            ["-1", "-0", "9001.0", "9e3", "true", "null", "[1,[2]]", "{\"a\":{}}", "18446744073709551616"]
        {
            assert_eq!(read(other), Ok(Field::Other), "{other}");
        }
        for bad in ["NaN", "1e400", "01", "+1", "", "\"\\ud800\""] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
