//! The numbers by which the parts of a world name each other.

/// A machine with a network and a power supply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HostId(pub(crate) usize);

/// A process that runs a [`distrishare::machine::Machine`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(pub(crate) usize);

/// A process that is none: an adversary or a model of the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ActorId(pub(crate) usize);

/// A network segment: what is sent to a group reaches all of it and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LanId(pub(crate) usize);

/// One end of a TCP connection. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SockId(pub(crate) u64);

/// Whose a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Owner {
    Node(NodeId),
    Actor(ActorId),
    /// Its process closed it or died; the kernel still sends what it took.
    Nobody,
}

impl Owner {
    /// As [`crate::trace::Trace`] counts.
    pub(crate) fn who(self) -> i64 {
        match self {
            Owner::Node(NodeId(n)) => n as i64,
            Owner::Actor(ActorId(n)) => -2 - n as i64,
            Owner::Nobody => -1,
        }
    }
}
