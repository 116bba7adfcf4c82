//! Our own dials: a TCP connect, closed at once, shows whether a node still lives.
//!
//! A node is probed when its lease is nearly over (nodes that renew never come to that), when it was read from the
//! file, and once soon after it registers: a verified node keeps its place in a flood of registrations.

use super::{Bootstrap, Conn, End, Timer};
use crate::machine::{ConnId, Fault, Output};
use crate::node::registry::AfterFailure;
use crate::time::{Duration, Instant};
use std::net::SocketAddr;

/// Waiting nodes looked at per call: those whose network is busy go to the end of the queue.
const SCAN_MAX: usize = 64;
/// When probes wait for connections of others to end.
const ROOM_RETRY: Duration = Duration::from_secs(1);

impl Bootstrap {
    /// Dials nodes that wait for it, as far as the bounds allow.
    pub(super) fn probe_waiting(&mut self, now: Instant) {
        for _ in 0..SCAN_MAX {
            if self.slots.is_full() || !self.serving() {
                return;
            }
            if self.registry.waiting() == 0 {
                return self.probe_newcomers(now);
            }
            if self.conns.len() >= self.config.limits.conns {
                self.timers.set(Timer::Probes, now + ROOM_RETRY, "room for probes");
                return;
            }
            let Some(addr) = self.registry.next_waiting() else { return };
            if self.slots.enter(addr.ip()) {
                self.registry.dialled(addr);
                self.dial(now, addr);
            } else {
                self.registry.requeue(addr);
            }
        }
    }

    /// A node just registered.
    pub(super) fn probe_early(&mut self, now: Instant, addr: SocketAddr) {
        if self.registry.is_untried(addr) {
            self.early.push(addr);
            self.probe_newcomers(now);
        }
    }

    /// Probes those who registered, as long as that costs nobody else a turn. An answer counts, silence does not.
    fn probe_newcomers(&mut self, now: Instant) {
        while !self.early.is_empty()
            && !self.slots.is_full()
            && self.registry.waiting() == 0
            && self.serving()
        {
            if self.conns.len() >= self.config.limits.conns {
                return self.timers.set(Timer::Probes, now + ROOM_RETRY, "room for probes");
            }
            let slots = &mut self.slots;
            let Some(addr) = self.early.next(SCAN_MAX, |ip| slots.enter(ip)) else { return };
            if self.registry.is_untried(addr) {
                self.registry.dialled_early(addr);
                self.dial(now, addr);
            } else {
                self.slots.leave(addr.ip());
            }
        }
    }

    fn dial(&mut self, now: Instant, addr: SocketAddr) {
        let conn = ConnId(self.conns.insert(Conn::Probe(addr)));
        self.timers.set(Timer::Conn(conn), now + self.config.limits.probe_deadline, "probe");
        self.outputs.push_back(Output::Connect { conn, addr });
    }

    /// A probe ended.
    pub(super) fn probed(&mut self, now: Instant, addr: SocketAddr, why: End) {
        self.slots.leave(addr.ip());
        match why {
            End::Alive => self.registry.answered(now, addr, &mut self.rng),
            // What this host lacks says nothing about the node.
            End::Stopping | End::Lost(Fault::TooManyOpen | Fault::NoMemory | Fault::Denied) => {
                self.registry.inconclusive(now, addr, &mut self.rng);
            }
            _ => match self.registry.failed(now, addr, &mut self.rng) {
                AfterFailure::Kept => {}
                AfterFailure::Doubted => log::debug!("{addr} does not answer: not given out for now"),
                AfterFailure::Dropped => {
                    self.notice(now, "node dropped: no answer", addr);
                    self.membership_changed(now);
                }
            },
        }
        self.probe_waiting(now);
    }
}
