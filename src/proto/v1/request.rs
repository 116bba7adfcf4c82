//! Requests of the file port, read and written.

use super::{Refusal, Request};
use crate::config::Secret;
use crate::proto::json::Field;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Incoming<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Field<'a>,
    #[serde(borrow, default)]
    filename: Field<'a>,
    #[serde(borrow, default)]
    secret: Field<'a>,
}

#[derive(Serialize)]
struct Outgoing<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    filename: &'a str,
    secret: &'a str,
}

/// Reads the object of a request, in the original's order: its form, then its secret, then its type. So a stranger
/// learns nothing but that the secret is wrong.
///
/// # Errors
/// The refusal to answer with.
pub fn parse_request(object: &[u8], secret: &Secret) -> Result<Request, Refusal> {
    // Serde's derive would read an array as a struct; an empty object is as little a message to the original as none.
    let inside = object.trim_ascii().strip_prefix(b"{").ok_or(Refusal::NotJson)?;
    if inside.trim_ascii_start() == b"}" {
        return Err(Refusal::NotJson);
    }
    let incoming: Incoming<'_> = serde_json::from_slice(object).map_err(|_| Refusal::NotJson)?;
    // A secret of the wrong kind is compared like any other, for the same path and time; `&` does not cut it short.
    let given = incoming.secret.text();
    if !(secret.matches(given.unwrap_or_default()) & given.is_some()) {
        return Err(Refusal::BadSecret);
    }
    let name = incoming.filename.text().map(str::to_owned);
    match (incoming.kind.text(), name) {
        (Some("search"), Some(name)) => Ok(Request::Search { name }),
        (Some("download"), Some(name)) => Ok(Request::Download { name }),
        _ => Err(Refusal::Unknown),
    }
}

/// Writes a request as the original's nodes read it. With a valid name (at most 1,024 bytes, of which JSON doubles
/// quotes at worst) and a secret of up to 900 bytes it stays within the 4,096 bytes of a request.
pub fn encode_request(request: &Request, secret: &Secret) -> Vec<u8> {
    let (kind, filename) = match request {
        Request::Search { name } => ("search", name),
        Request::Download { name } => ("download", name),
    };
    // Three strings always have a JSON form.
    serde_json::to_vec(&Outgoing { kind, filename, secret: secret.reveal() }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::json::{ObjectScanner, REQUEST_MAX, Scan};
    use crate::proto::name::check_name;
    use proptest::prelude::*;

    fn parse(object: &str) -> Result<Request, Refusal> {
        parse_request(object.as_bytes(), &Secret::new("distrishare2024"))
    }

    fn with_secret(members: &str) -> String {
        format!(r#"{{"secret": "distrishare2024", {members}}}"#)
    }

    #[test]
    fn requests_of_the_original_are_read() {
        let search = r#"{"type": "search", "filename": "a b.txt", "secret": "distrishare2024"}"#;
        assert_eq!(parse(search), Ok(Request::Search { name: "a b.txt".into() }));
        let download =
            r#"{"type": "download", "filename": "a\u00f1o \ud83d\ude00", "secret": "distrishare2024"}"#;
        assert_eq!(parse(download), Ok(Request::Download { name: "año 😀".into() }));
        let extra = with_secret(r#""x": {"y": [1]}, "filename": "../x", "type": "search", "z": null"#);
        assert_eq!(parse(&extra), Ok(Request::Search { name: "../x".into() }), "names are judged elsewhere");
    }

    #[test]
    fn any_wrong_secret_is_the_same() {
        // hostile: 55
        for secret in [
            r#""secret":"wrong","#,
            "",
            r#""secret":null,"#,
            r#""secret":2024,"#,
            r#""secret":true,"#,
            r#""secret":["distrishare2024"],"#,
            r#""secret":{"a":"distrishare2024"},"#,
            r#""secret":"distrishare2024 ","#,
            r#""secret":"distrishare2024\u0000","#,
            r#""Secret":"distrishare2024","#,
            &format!(r#""secret":"{}","#, "x".repeat(1 << 20)),
        ] {
            for rest in [r#""type":"search","filename":"a""#, r#""type":"nonsense""#] {
                let object = format!("{{{secret}{rest}}}");
                assert_eq!(parse(&object), Err(Refusal::BadSecret), "{}", &object[..object.len().min(80)]);
            }
        }
        let none = Secret::new("");
        for object in
            [r#"{"type":"search","filename":"a"}"#, r#"{"type":"search","filename":"a","secret":null}"#]
        {
            assert_eq!(
                parse_request(object.as_bytes(), &none),
                Err(Refusal::BadSecret),
                "no secret is no empty one"
            );
        }
    }

    #[test]
    fn an_unknown_type_is_malformed() {
        // hostile: 56
        for members in [
            r#""type":"delete","filename":"a""#,
            r#""filename":"a""#,
            r#""type":1,"filename":"a""#,
            r#""type":"search\u0000","filename":"a""#,
            r#""type":"Search","filename":"a""#,
            r#""type":"search""#,
            r#""type":"search","filename":null"#,
            r#""type":"download","filename":7"#,
            r#""type":"download","filename":["a"]"#,
        ] {
            assert_eq!(parse(&with_secret(members)), Err(Refusal::Unknown), "{members}");
        }
    }

    #[test]
    fn what_is_no_object_is_no_json() {
        // hostile: 57
        for object in [
            "",
            " ",
            "hello",
            "null",
            "[]",
            "{}",
            "{ }",
            " { } ",
            r#"["search","a","distrishare2024"]"#,
            "\"a\"",
            "{",
            r#"{"type"}"#,
            r#"{"type":"search","filename":"a","secret":"distrishare2024""#,
            r#"{'type':'search'}"#,
        ] {
            assert_eq!(parse(object), Err(Refusal::NotJson), "{object}");
        }
        let twice = with_secret(r#""type":"search","filename":"a","secret":"distrishare2024""#);
        assert_eq!(parse(&twice), Err(Refusal::NotJson), "two secrets");
        let bytes = b"{\"type\":\"search\",\"filename\":\"\xFF\",\"secret\":\"distrishare2024\"}";
        assert_eq!(parse_request(bytes, &Secret::new("distrishare2024")), Err(Refusal::NotJson));
    }

    #[test]
    fn requests_are_written_as_the_original_reads_them() {
        let secret = Secret::new("s");
        let search = encode_request(&Request::Search { name: "a \"b\".txt".into() }, &secret);
        assert_eq!(search, br#"{"type":"search","filename":"a \"b\".txt","secret":"s"}"#);
        let worst =
            ["\"".repeat(255), "\"".repeat(255), "\"".repeat(255), "\"".repeat(255), "e".into()].join("/");
        let name = worst[1..].to_owned();
        assert_eq!(check_name(&name), Ok(()));
        let bytes = encode_request(&Request::Download { name }, &Secret::new("\"".repeat(900)));
        assert!(bytes.len() <= REQUEST_MAX, "{}", bytes.len());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(name in any::<String>(), secret in "\\PC{1,20}", download: bool) {
            let secret = Secret::new(secret);
            let request = if download { Request::Download { name } } else { Request::Search { name } };
            let bytes = encode_request(&request, &secret);
            prop_assert_eq!(ObjectScanner::new(1 << 20).push(&bytes), Scan::Complete);
            prop_assert_eq!(parse_request(&bytes, &secret), Ok(request));
            prop_assert_eq!(parse_request(&bytes, &Secret::new("another")), Err(Refusal::BadSecret));
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(parse_request(&bytes, &Secret::new("s")).is_err());
        }
    }
}
