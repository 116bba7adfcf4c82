//! The types of control messages: odd ones must be understood, even ones may be skipped.

/// The types of control messages; the value is the type byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// [`super::Message::Close`].
    Close = 1,
    /// [`super::Message::Ping`].
    Ping = 3,
    /// [`super::Message::Pong`].
    Pong = 5,
    /// [`super::Message::Search`].
    Search = 7,
    /// [`super::Message::Files`].
    Files = 9,
    /// [`super::Message::Browse`].
    Browse = 11,
    /// [`super::Message::Stat`].
    Stat = 13,
    /// [`super::Message::Values`].
    Values = 15,
    /// [`super::Message::Get`].
    Get = 19,
    /// [`super::Message::Refused`].
    Refused = 23,
    /// [`super::Message::Cancel`].
    Cancel = 25,
    /// [`super::Message::Follow`].
    Follow = 27,
    /// [`super::Message::Have`].
    Have = 29,
    /// [`super::Message::Peers`].
    Peers = 31,
    /// [`super::Message::Wrong`].
    Wrong = 32,
}

impl Kind {
    /// Every type of control message.
    pub const ALL: [Kind; 15] = [
        Kind::Close,
        Kind::Ping,
        Kind::Pong,
        Kind::Search,
        Kind::Files,
        Kind::Browse,
        Kind::Stat,
        Kind::Values,
        Kind::Get,
        Kind::Refused,
        Kind::Cancel,
        Kind::Follow,
        Kind::Have,
        Kind::Peers,
        Kind::Wrong,
    ];

    /// For logs and error texts.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Close => "close",
            Kind::Ping => "ping",
            Kind::Pong => "pong",
            Kind::Search => "search",
            Kind::Files => "files",
            Kind::Browse => "browse",
            Kind::Stat => "stat",
            Kind::Values => "values",
            Kind::Get => "get",
            Kind::Refused => "refused",
            Kind::Cancel => "cancel",
            Kind::Follow => "follow",
            Kind::Have => "have",
            Kind::Peers => "peers",
            Kind::Wrong => "wrong",
        }
    }

    /// The type byte.
    pub const fn byte(self) -> u8 {
        self as u8
    }

    pub(super) fn of(byte: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.byte() == byte)
    }
}
