//! Which faults a run has, and how strong. All are off unless a scenario draws or sets them; chances are in parts per
//! million of the thing they can happen to.

use crate::rng::Rng;

/// All classes. Each is drawn from a generator of its own, so that a class can be taken out and the rest stays.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) tcp: TcpFaults,
    pub(crate) udp: UdpFaults,
    pub(crate) disk: DiskFaults,
    pub(crate) chaos: ChaosFaults,
}

/// Connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct TcpFaults {
    /// A segment's arrival cuts its connection at both ends.
    pub(crate) reset: u32,
    /// A segment or SYN is lost: it comes after a retransmission timeout.
    pub(crate) loss: u32,
    /// A segment comes up to a second late.
    pub(crate) stall: u32,
    /// A listener's queue is full: the SYN is dropped.
    pub(crate) backlog: u32,
}

/// Datagrams, per receiver.
#[derive(Clone, Debug, Default)]
pub(crate) struct UdpFaults {
    pub(crate) loss: u32,
    pub(crate) duplicate: u32,
    /// Comes up to a second late, after others.
    pub(crate) reorder: u32,
    pub(crate) corrupt: u32,
    pub(crate) truncate: u32,
    /// Joining a group fails.
    pub(crate) join: u32,
    /// The discovery port is taken.
    pub(crate) open: u32,
}

/// Disks.
#[derive(Clone, Debug, Default)]
pub(crate) struct DiskFaults {
    /// A read of a file that is sent fails with EIO.
    pub(crate) read: u32,
    /// A write fails with EIO.
    pub(crate) write: u32,
    /// A write finds the disk full.
    pub(crate) full: u32,
    /// Opening, making, importing or listing fails.
    pub(crate) open: u32,
    /// Giving a file its name or saving fails.
    pub(crate) commit: u32,
    /// A sync fails with EIO: what it was for counts as clean afterwards, and most of it is not on the disk.
    pub(crate) sync: u32,
    /// An answer takes up to 10 s.
    pub(crate) slow: u32,
    /// A state file, the log, an unfinished download or its journal is damaged at rest while its node is down.
    pub(crate) rot: u32,
    /// A change in a watched folder is one too many: `WatchLost`, and from then on only a half of them is told.
    pub(crate) watch_lost: u32,
    /// A change in a watched folder is never told, without a word.
    pub(crate) watch_silent: u32,
}

/// Things that happen to whole nodes, hosts and networks; drawn every 200 ms of the world (chances per draw).
#[derive(Clone, Debug, Default)]
pub(crate) struct ChaosFaults {
    /// A process is killed and started again some seconds later.
    pub(crate) kill: u32,
    /// A host loses power: sockets fall silent, what was not durable may be gone.
    pub(crate) power: u32,
    /// A process stands still for a while.
    pub(crate) suspend: u32,
    /// Two hosts no longer hear each other, or one no longer hears the other, for a while.
    pub(crate) partition: u32,
    /// An interface goes down for a while.
    pub(crate) link: u32,
    /// The wall clock jumps by up to ten years.
    pub(crate) wall: u32,
}

impl DiskFaults {
    /// Something can go wrong with what is stored.
    pub(crate) fn any(&self) -> bool {
        [self.write, self.full, self.open, self.commit, self.sync, self.read] != [0; 6]
    }
}

impl Faults {
    /// Swarm style: first which classes are on, then how strong each is, over orders of magnitude.
    pub(crate) fn draw(seed: u64) -> Faults {
        let class = |label: &str, high: u64| {
            let mut rng = Rng::new(seed, label, 0);
            // One half of the classes is off, so that some runs get far and others see one fault very often.
            if rng.flip() { 0 } else { rng.log_uniform(10, high) as u32 }
        };
        Faults {
            tcp: TcpFaults {
                reset: class("tcp.reset", 20_000),
                loss: class("tcp.loss", 100_000),
                stall: class("tcp.stall", 50_000),
                backlog: class("tcp.backlog", 200_000),
            },
            udp: UdpFaults {
                loss: class("udp.loss", 500_000),
                duplicate: class("udp.duplicate", 300_000),
                reorder: class("udp.reorder", 300_000),
                corrupt: class("udp.corrupt", 100_000),
                truncate: class("udp.truncate", 100_000),
                join: class("udp.join", 500_000),
                open: class("udp.open", 300_000),
            },
            disk: DiskFaults {
                read: class("disk.read", 20_000),
                write: class("disk.write", 20_000),
                full: class("disk.full", 20_000),
                open: class("disk.open", 200_000),
                commit: class("disk.commit", 200_000),
                sync: class("disk.sync", 400_000),
                slow: class("disk.slow", 200_000),
                rot: class("disk.rot", 500_000),
                watch_lost: class("disk.watch_lost", 50_000),
                watch_silent: class("disk.watch_silent", 5_000),
            },
            chaos: ChaosFaults {
                kill: class("chaos.kill", 30_000),
                power: class("chaos.power", 10_000),
                suspend: class("chaos.suspend", 30_000),
                partition: class("chaos.partition", 30_000),
                link: class("chaos.link", 30_000),
                wall: class("chaos.wall", 30_000),
            },
        }
    }
}
