//! The original's file port (WIRE_V1.md): one JSON request per connection, answered by a text or by a file's bytes
//! with nothing around them.

mod answer;
mod request;

pub use answer::{
    ERROR_MAX, FOUND, Head, HeadEnd, NOT_FOUND, SearchAnswer, download_head, parse_search_answer,
    whole_download,
};
pub use request::{encode_request, parse_request};

use super::json::JsonError;

/// What a peer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Is there a file of this name?
    Search {
        /// As it came; no rule has been applied to it.
        name: String,
    },
    /// Send the file of this name.
    Download {
        /// As it came; no rule has been applied to it.
        name: String,
    },
}

/// Why a request gets a text in place of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No JSON object, or an empty one.
    NotJson,
    /// An unknown type, or a known one without a file name.
    Unknown,
    /// Not our secret, or none.
    BadSecret,
    /// Nothing by that name is shared.
    NoSuchFile,
    /// Too many uploads run already. The original has no such text, but its client takes any `ERROR`.
    Busy,
}

impl Refusal {
    /// Every text there is.
    pub const ALL: [Refusal; 5] =
        [Refusal::NotJson, Refusal::Unknown, Refusal::BadSecret, Refusal::NoSuchFile, Refusal::Busy];

    /// The text on the wire, the original's to the letter: its client and others compare it.
    pub const fn text(self) -> &'static str {
        match self {
            Refusal::NotJson => "ERROR: Formato de mensaje inválido. Se requiere JSON.",
            Refusal::Unknown => "ERROR: Mensaje malformado o tipo desconocido.",
            Refusal::BadSecret => "ERROR: Autentication faild.",
            Refusal::NoSuchFile => "ERROR: File not found.",
            Refusal::Busy => "ERROR: busy, try again later.",
        }
    }
}

impl From<JsonError> for Refusal {
    /// A request that does not end within the limit has not shown the secret (every valid name leaves room for it), so
    /// it is answered as one without.
    fn from(error: JsonError) -> Refusal {
        match error {
            JsonError::TooLarge => Refusal::BadSecret,
            JsonError::NotObject
            | JsonError::TooDeep
            | JsonError::NotUtf8
            | JsonError::Control
            | JsonError::Syntax => Refusal::NotJson,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_the_originals() {
        let texts: Vec<_> = Refusal::ALL.iter().map(|refusal| refusal.text()).collect();
        assert_eq!(
            texts,
            [
                "ERROR: Formato de mensaje inválido. Se requiere JSON.",
                "ERROR: Mensaje malformado o tipo desconocido.",
                "ERROR: Autentication faild.",
                "ERROR: File not found.",
                "ERROR: busy, try again later.",
            ]
        );
    }

    #[test]
    fn a_request_without_end_has_shown_no_secret() {
        // hostile: 55
        let mut scanner = crate::proto::json::ObjectScanner::new(4096);
        let endless = format!(r#"{{"type":"search","filename":"a","secret":"{}"}}"#, "x".repeat(1 << 20));
        let crate::proto::json::Scan::Bad(error) = scanner.push(endless.as_bytes()) else { panic!("taken") };
        assert_eq!(Refusal::from(error), Refusal::BadSecret);
        assert_eq!(Refusal::from(JsonError::Syntax), Refusal::NotJson);
    }
}
