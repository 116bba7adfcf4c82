//! What is said at the control socket of a running node: JSON lines, both ways. The node answers with the events of
//! `--json` as they are (objects with an `event`), and with the frames below for all that is no event.

use serde::{Deserialize, Serialize};

/// What a program asks, one object a line: `{"hello":{"json":true}}`, `{"line":"search song"}`, `{"events":{}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// The first of all: how it wants to be told.
    Hello(Hello),
    /// A line as the console takes it.
    Line(String),
    /// Tell all that happens, whoever asked for it, until the connection ends.
    Events {},
}

/// How a program wants to be told. What it leaves out is false or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hello {
    /// As JSON events, not as text for a person.
    pub json: bool,
    /// A person types: prompts, and failures end nothing.
    pub terminal: bool,
    /// Columns of the terminal that shows what is said there (standard error): progress is drawn.
    pub columns: Option<u16>,
    /// A failure does not end it, although nobody types.
    pub keep_going: bool,
}

/// What the node says beside events, one object a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// For standard output.
    Out(String),
    /// For standard error.
    Err(String),
    /// All that was asked is over, with this exit status; the node closes the connection.
    Ended(u8),
}

impl Request {
    /// The line that says it, with its end.
    pub fn line(&self) -> String {
        line(self)
    }

    /// What a line asks; none: that is no request.
    pub fn parse(line: &str) -> Option<Request> {
        serde_json::from_str(line).ok()
    }
}

impl Frame {
    /// The line that says it, with its end.
    pub fn line(&self) -> String {
        line(self)
    }

    /// The frame in a line; none: it is an event.
    pub fn parse(line: &[u8]) -> Option<Frame> {
        serde_json::from_slice(line).ok()
    }
}

fn line(said: &impl Serialize) -> String {
    let mut line = serde_json::to_string(said).unwrap_or_default();
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_read_as_it_was_meant() {
        let hello = Hello { json: true, columns: Some(80), ..Hello::default() };
        let requests = [
            (
                Request::Hello(hello),
                r#"{"hello":{"json":true,"terminal":false,"columns":80,"keep_going":false}}"#,
            ),
            (Request::Line("get \"a\\b\" 1 &".to_owned()), r#"{"line":"get \"a\\b\" 1 &"}"#),
            (Request::Events {}, r#"{"events":{}}"#),
        ];
        for (request, text) in requests {
            assert_eq!(request.line(), format!("{text}\n"));
            assert_eq!(Request::parse(text), Some(request));
        }
        for (frame, text) in [
            (Frame::Out("a\n\u{1b}".to_owned()), "{\"out\":\"a\\n\\u001b\"}\n"),
            (Frame::Err(String::new()), "{\"err\":\"\"}\n"),
            (Frame::Ended(130), "{\"ended\":130}\n"),
        ] {
            assert_eq!(frame.line(), text);
            assert_eq!(Frame::parse(text.as_bytes()), Some(frame));
        }
    }

    #[test]
    fn what_is_left_out_is_none_and_what_is_new_is_passed_over() {
        let read = Request::parse;
        assert_eq!(Frame::parse(b"{\"event\":\"done\",\"command\":\"get\"}"), None);
        assert_eq!(read(r#"{"hello":{}}"#), Some(Request::Hello(Hello::default())));
        assert_eq!(read(r#"{"hello":{"later":[1]}}"#), Some(Request::Hello(Hello::default())));
        for text in
            ["", "{}", "search song", "[]", r#"{"line":1}"#, r#"{"line":"a","events":{}}"#, r#"{"other":{}}"#]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
