//! What is still to happen, by time and then by the order in which it was put in: two things at one instant never
//! change places and never swallow each other.

use crate::ids::{ActorId, HostId, NodeId, Owner, SockId};
use crate::node::Happening;
use crate::world::World;
use slab::Slab;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;

/// Something that happens at one instant.
pub(crate) enum Event {
    /// In the network.
    Net(NetEvent),
    /// A datagram arrives at one receiver after another, the last of `copies` first. One event for all of them: with
    /// many nodes the queue would hold little else.
    Datagram { from: SocketAddr, bytes: Vec<u8>, copies: Vec<(u64, Owner)> },
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
    /// A host with a rate of its own has sent a segment.
    Link { host: HostId },
}

/// The queue. Times are microseconds of the world.
#[derive(Default)]
pub(crate) struct Queue {
    /// Time, sequence, place in `events`: small, because with many nodes most of the time goes into moving these.
    heap: BinaryHeap<Reverse<(u64, u64, usize)>>,
    events: Slab<Event>,
    seq: u64,
}

impl Queue {
    pub(crate) fn push(&mut self, at: u64, event: Event) {
        self.seq += 1;
        let place = self.events.insert(event);
        self.heap.push(Reverse((at, self.seq, place)));
    }

    pub(crate) fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    pub(crate) fn pop(&mut self) -> Option<(u64, Event)> {
        let Reverse((at, _, place)) = self.heap.pop()?;
        Some((at, self.events.remove(place)))
    }
}
