//! Every bound of the program, for a PC and for a small box (HOSTILE.md 3.0, DESIGN.md 3).

use super::RECORD_CHUNKS_MAX;
use crate::time::Duration;

/// Bounds of downloads that come from many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwarmLimits {
    /// Bytes asked of one source and not there yet.
    pub per_source: u64,
    /// The same of all sources of one download.
    pub per_download: u64,
    /// Sources of one download that are asked at a time.
    pub sources: usize,
    /// Finished downloads whose content is given on to others, until the process ends.
    pub seeds: usize,
    /// Groups of a file (2 GiB each) whose values stay in memory, 64 KiB each, after the next group has its turn: without them
    /// nobody could begin the file here whose first holder is gone.
    pub groups_kept: usize,
}

/// Every bound of the program (HOSTILE.md 3.0, DESIGN.md 3). Counts are counts, sizes bytes, rates per second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// All TCP connections of the process; a peer keeps an eighth of them for its own dials.
    pub conns: usize,
    /// Programs at the control socket at once. They count among those connections, and are taken where there are too many.
    pub controls: usize,
    /// Accepted connections without a valid request yet: beyond it the oldest of the most loaded source goes; loopback is exempt.
    pub unauth: usize,
    /// Accepted connections of one source address; loopback is exempt.
    pub conns_per_ip: usize,
    /// Of those, without a valid request yet.
    pub unauth_per_ip: usize,
    /// Uploads at once to one source address; loopback is exempt.
    pub uploads_per_ip: usize,
    /// Downloads of v1 that wait for an upload slot, in all, …
    pub v1_waits: usize,
    /// … and of one source address. Each is a connection and a name.
    pub v1_waits_per_ip: usize,
    /// So long they wait: the original gives up after 5 s without a byte, and is told that we are busy before that.
    pub v1_wait: Duration,
    /// Bytes of a v1 or bootstrap request.
    pub request_max: usize,
    /// From accept to the whole request.
    pub request_deadline: Duration,
    /// Bytes of a registry's answer: one segment, so that the original's single `recv` gets it whole.
    pub registry_reply_max: usize,
    /// Bytes of a registry's answer to who asks for pages; no more than `registry_answer_max` of any peer.
    pub registry_page_max: usize,
    /// Bytes of a registry's answer that a peer reads.
    pub registry_answer_max: usize,
    /// Nodes a registry keeps.
    pub registry_nodes: usize,
    /// Of those, from one source (an IPv4 address, or the /56 of an IPv6 one); loopback is exempt.
    pub registry_per_ip: usize,
    /// Bytes of the registry's file.
    pub registry_file_max: usize,
    /// Least time between two saves of the registry.
    pub registry_save_interval: Duration,
    /// Nodes a peer keeps in its lists.
    pub known_nodes: usize,
    /// Of those, at one address (IPv6: in one /64) that is not this host's and that no operator typed.
    pub known_per_source: usize,
    /// A slow reader must take [`super::CHUNK`] bytes in this time.
    pub drain_interval: Duration,
    /// A slow sender must deliver [`super::CHUNK`] bytes in this time.
    pub progress_interval: Duration,
    /// Lowest average rate of a transfer, bytes per second, once `transfer_grace` has passed.
    pub rate_min: u64,
    /// Time any transfer may take, whatever its rate.
    pub transfer_grace: Duration,
    /// How long a connection lingers after an answer so that the peer can read it.
    pub linger: Duration,
    /// Bytes thrown away while it lingers.
    pub linger_bytes: usize,
    /// Dial until connected.
    pub connect_deadline: Duration,
    /// Search: from dial to answer.
    pub search_deadline: Duration,
    /// Download: from connected to the first byte.
    pub first_byte_deadline: Duration,
    /// Liveness probe: from dial to connected.
    pub probe_deadline: Duration,
    /// Register at a bootstrap: from dial to the whole answer.
    pub register_deadline: Duration,
    /// Longest wait for a free dial: who is not dialled within it counts as silent.
    pub dial_wait: Duration,
    /// Dials in flight to own networks and proven addresses.
    pub dials: usize,
    /// Dials in flight to addresses that are neither.
    pub dials_unproven: usize,
    /// Of those, in one /24 (IPv6: /48).
    pub dials_per_net: usize,
    /// From accept to the end of the handshake.
    pub handshake_deadline: Duration,
    /// Handshakes that one source may leave unfinished, a second: each costs work on the curve.
    pub unfinished_per_source: u32,
    /// Of those, at once after a silence; more than [`Limits::unauth_per_ip`].
    pub unfinished_burst: u32,
    /// First flights of a group that are remembered once they were answered; 40 bytes each.
    pub flights: usize,
    /// From a connection that we made to the other side's part of the handshake.
    pub reply_deadline: Duration,
    /// A session that is silent so long is asked for a sign of life …
    pub ping_after: Duration,
    /// … and closed after this.
    pub silence_max: Duration,
    /// A session on which nothing is asked is closed after this.
    pub session_idle: Duration,
    /// Bytes that wait to be sent on a session before it takes no more requests.
    pub session_out_max: usize,
    /// The same on all sessions together: beyond it only those take requests that have nothing to send.
    pub sessions_out_max: usize,
    /// Results of all searches of ours together, and of the last one, in bytes.
    pub results_bytes: usize,
    /// Of downloads from many.
    pub swarm: SwarmLimits,
    /// Searches of others under way here: of one session, …
    pub searches_per_session: usize,
    /// … of one source address (loopback is exempt), …
    pub searches_per_ip: usize,
    /// … and in all. One takes up to 30 KB.
    pub searches: usize,
    /// Results taken from one node for a search, and asked of it.
    pub results_per_node: usize,
    /// Results of a search.
    pub results_total: usize,
    /// Bytes of a file that may be downloaded.
    pub file_max: u64,
    /// Bytes of a v1 download, whose size nobody says.
    pub download_max: u64,
    /// Downloads at once; more wait.
    pub downloads: usize,
    /// Commands under way at once; at a terminal the next line waits.
    pub jobs: usize,
    /// Files named by a listing.
    pub listing_max: usize,
    /// Folders watched for changes; the kernel may allow fewer.
    pub watches: usize,
    /// Files in the share index, where memory allows: [`Limits::within_memory`].
    pub index_files: usize,
    /// Bytes of values that are held of shared files whose record cannot be written: 32 for each MiB of a file.
    pub lists_held: usize,
    /// Between two listings of the shared folder where changes in it may go unseen: each wakes a disk that sleeps.
    pub rescan_unseen: Duration,
    /// Bytes of a datagram that is looked at.
    pub datagram_max: usize,
    /// Datagrams of one source, per second.
    pub datagrams_per_source: u32,
    /// Of those, at once after a silence.
    pub datagram_burst: u32,
    /// HELLO period.
    pub hello_interval: Duration,
    /// A node is off the multicast list after so many periods without HELLO.
    pub hello_missed: u32,
    /// Shortest and longest time between two registrations.
    pub refresh: (Duration, Duration),
    /// Bytes of a console line.
    pub line_max: usize,
    /// Bytes waiting for the console before lines are dropped.
    pub console_out_max: usize,
    /// The same of the results of a script, whose reader may be slow: a whole listing.
    pub script_out_max: usize,
    /// Files open at once for reading, writing and import.
    pub open_files: usize,

    /// Bytes one connection moves per turn.
    pub turn_bytes: usize,
    /// The same while no other connection is ready: nobody waits for the end of the turn.
    pub lone_bytes: usize,
    /// Reads and writes of one connection per turn.
    pub turn_ops: usize,
    /// Bulk bytes of all connections after which the loop polls again.
    pub bulk_quantum: usize,
    /// Accepts per turn.
    pub accepts_per_turn: usize,
    /// Datagrams per turn.
    pub datagrams_per_turn: usize,
    /// Timers per turn.
    pub timers_per_turn: usize,
    /// Chunks received by one system call: the size of the one receive buffer.
    pub run_chunks: usize,
    /// Chunks of a file sent by one system call, which takes no memory.
    pub send_chunks: usize,
    /// Chunks of a sealed record, as sender and as receiver: 1 to [`RECORD_CHUNKS_MAX`].
    pub record_chunks: usize,
    /// Bytes of a connection that the kernel takes before it can send them. A reader is seen to read once it has taken
    /// half of them, so it needs that much per [`Limits::drain_interval`].
    pub unsent_max: usize,
}

/// Bytes of a file in the share index, with its name.
const INDEX_FILE: u64 = 256;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// [`Limits::desktop`].
const DESKTOP: Limits = Limits {
    conns: 10_000,
    controls: 8,
    unauth: 256,
    conns_per_ip: 64,
    unauth_per_ip: 16,
    uploads_per_ip: 8,
    v1_waits: 64,
    v1_waits_per_ip: 16,
    v1_wait: s(4),
    request_max: 4096,
    request_deadline: s(5),
    registry_reply_max: 1400,
    registry_page_max: 16 << 10,
    registry_answer_max: 64 << 10,
    registry_nodes: 65_536,
    registry_per_ip: 64,
    registry_file_max: 4 << 20,
    registry_save_interval: s(60),
    known_nodes: 4096,
    known_per_source: 64,
    drain_interval: s(10),
    progress_interval: s(30),
    rate_min: 1024,
    transfer_grace: s(60),
    linger: s(1),
    linger_bytes: 64 << 10,
    connect_deadline: s(5),
    search_deadline: s(2),
    first_byte_deadline: s(5),
    probe_deadline: s(1),
    register_deadline: s(5),
    dial_wait: s(30),
    dials: 256,
    dials_unproven: 64,
    dials_per_net: 4,
    handshake_deadline: s(5),
    unfinished_per_source: 4,
    unfinished_burst: 32,
    flights: 16_384,
    reply_deadline: s(3),
    ping_after: s(30),
    silence_max: s(90),
    session_idle: s(300),
    session_out_max: 256 << 10,
    sessions_out_max: 32 << 20,
    results_bytes: 64 << 20,
    swarm: SwarmLimits::desktop(),
    searches_per_session: 4,
    searches_per_ip: 16,
    searches: 64,
    results_per_node: 256,
    results_total: 10_000,
    file_max: 1 << 43,
    download_max: 4 << 30,
    downloads: 64,
    jobs: 128,
    listing_max: 100_000,
    watches: 8192,
    index_files: 1_000_000,
    lists_held: 8 << 20,
    rescan_unseen: s(60),
    datagram_max: 512,
    datagrams_per_source: 30,
    datagram_burst: 60,
    hello_interval: s(5),
    hello_missed: 3,
    refresh: (s(60), s(120)),
    line_max: 4096,
    console_out_max: 1 << 20,
    script_out_max: 32 << 20,
    open_files: 512,
    turn_bytes: 256 << 10,
    lone_bytes: 2 << 20,
    turn_ops: 16,
    bulk_quantum: 1 << 20,
    accepts_per_turn: 16,
    datagrams_per_turn: 32,
    timers_per_turn: 64,
    run_chunks: 64,
    send_chunks: 512,
    record_chunks: RECORD_CHUNKS_MAX,
    unsent_max: 512 << 10,
};

impl SwarmLimits {
    const fn desktop() -> SwarmLimits {
        SwarmLimits { per_source: 4 << 20, per_download: 32 << 20, sources: 16, seeds: 64, groups_kept: 32 }
    }

    fn small() -> SwarmLimits {
        SwarmLimits { per_source: 256 << 10, per_download: 1 << 20, sources: 4, seeds: 4, groups_kept: 0 }
    }
}

impl Limits {
    /// For a PC.
    pub fn desktop() -> Limits {
        DESKTOP
    }

    /// For a box with 32 to 128 MB of memory.
    pub fn small() -> Limits {
        Limits {
            conns: 128,
            controls: 4,
            unauth: 32,
            conns_per_ip: 8,
            unauth_per_ip: 4,
            uploads_per_ip: 4,
            v1_waits: 16,
            v1_waits_per_ip: 4,
            registry_page_max: 4 << 10,
            registry_nodes: 512,
            registry_per_ip: 8,
            registry_save_interval: s(15 * 60),
            known_nodes: 256,
            known_per_source: 32,
            dials: 64,
            dials_unproven: 16,
            handshake_deadline: s(10),
            unfinished_per_source: 1,
            unfinished_burst: 8,
            flights: 2048,
            session_idle: s(60),
            session_out_max: 32 << 10,
            sessions_out_max: 1 << 20,
            results_bytes: 2 << 20,
            swarm: SwarmLimits::small(),
            searches_per_ip: 8,
            searches: 16,
            results_total: 1000,
            file_max: 1 << 36,
            downloads: 8,
            jobs: 16,
            listing_max: 10_000,
            watches: 512,
            index_files: 100_000,
            lists_held: 256 << 10,
            rescan_unseen: s(600),
            console_out_max: 64 << 10,
            script_out_max: 2 << 20,
            open_files: 64,
            turn_bytes: 64 << 10,
            lone_bytes: 256 << 10,
            run_chunks: 4,
            send_chunks: 16,
            record_chunks: 4,
            unsent_max: 64 << 10,
            ..Limits::desktop()
        }
    }

    /// Fits the share index into an eighth of the memory there is, in bytes.
    #[must_use]
    pub fn within_memory(mut self, bytes: u64) -> Limits {
        let files = usize::try_from(bytes / 8 / INDEX_FILE).unwrap_or(usize::MAX);
        self.index_files = self.index_files.min(files).max(1000);
        self
    }

    /// Fits the limits to the number of descriptors the process may open (32 are kept for other uses).
    #[must_use]
    pub fn within_descriptors(mut self, descriptors: usize) -> Limits {
        let usable = descriptors.saturating_sub(32);
        self.open_files = self.open_files.min(usable / 4).max(1);
        self.conns = self.conns.min(usable.saturating_sub(self.open_files)).max(1);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_fit_into_the_descriptors_there_are() {
        let limits = Limits::desktop().within_descriptors(1024);
        assert!(limits.conns + limits.open_files <= 1024 - 32);
        assert_eq!(Limits::desktop().within_descriptors(20_000).conns, 10_000);
        assert_eq!(Limits::desktop().within_descriptors(0).conns, 1);
    }

    #[test]
    fn the_index_takes_an_eighth_of_the_memory_there_is() {
        let files = |limits: Limits, mib: u64| limits.within_memory(mib << 20).index_files;
        assert_eq!([32, 64, 4096].map(|mib| files(Limits::small(), mib)), [16_384, 32_768, 100_000]);
        assert_eq!([256, 1024, 4096].map(|mib| files(Limits::desktop(), mib)), [131_072, 524_288, 1_000_000]);
        assert_eq!(files(Limits::small(), 0), 1000);
    }
}
