//! What is still to happen, by time and then by the order in which it was put in: two things at one instant never
//! change places and never swallow each other.

use crate::ids::{ActorId, NodeId, Owner, SockId};
use crate::node::Happening;
use crate::world::World;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::net::SocketAddr;

/// Something that happens at one instant.
pub(crate) enum Event {
    /// In the network.
    Net(NetEvent),
    /// A datagram arrives.
    Datagram { to: Owner, from: SocketAddr, bytes: Vec<u8> },
    /// A node's loop turns, if it is still in this life.
    Turn { node: NodeId, life: u32 },
    /// A node's deadline may be due.
    Timer { node: NodeId, life: u32 },
    /// The answer to something a node asked.
    Answer { node: NodeId, life: u32, happening: Box<Happening> },
    /// An actor's timer.
    Actor { actor: ActorId, token: u64 },
    /// A step of the scenario's own.
    Script(Box<dyn FnOnce(&mut World)>),
}

/// Something in the network.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NetEvent {
    /// The dialling end sends its (first or repeated) SYN.
    Syn { sock: SockId, attempt: u32 },
    /// It arrives.
    SynArrives { sock: SockId, attempt: u32 },
    /// The answer to it arrives: the connection stands.
    SynAck { sock: SockId },
    /// The answer was no.
    Refused { sock: SockId },
    /// The first segment that `sock` has on the wire is due.
    Wire { sock: SockId },
    /// A reset arrives.
    Rst { sock: SockId },
}

struct Entry {
    at: u64,
    seq: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> Ordering {
        // Reversed: the heap gives its greatest first.
        (other.at, other.seq).cmp(&(self.at, self.seq))
    }
}

/// The queue. Times are microseconds of the world.
#[derive(Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Entry>,
    seq: u64,
}

impl Queue {
    pub(crate) fn push(&mut self, at: u64, event: Event) {
        self.seq += 1;
        self.heap.push(Entry { at, seq: self.seq, event });
    }

    pub(crate) fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|entry| entry.at)
    }

    pub(crate) fn pop(&mut self) -> Option<(u64, Event)> {
        self.heap.pop().map(|entry| (entry.at, entry.event))
    }
}
