//! The contract between a node and the world: everything a driver may do to a node, and a node may ask of a driver. Two
//! implement it: the reactor (real sockets, files and clock) and the simulator (thousands of nodes on virtual time).
//!
//! # The run loop
//!
//! ```text
//! loop {
//!     drain:  while let Some(output) = machine.poll_output() { carry it out; what comes of it is a later Input }
//!     sleep until machine.poll_timeout(), a socket, a signal
//!     feed:   handle_accept / handle_recv / handle_input(Timeout if due, …)        and drain after each of them
//!     move:   while let Some(t) = machine.poll_transmit(conn) { n = send(t); machine.handle_sent(conn, n) }
//!             (of Transmit::Seal: read the range, machine.handle_read seals it in place, send what that gives)
//! }
//! ```
//!
//! # Rules
//!
//! * **Drain after every call** of a `handle_*` function; a driver never calls one from inside the execution of an output.
//! * **Two planes.** Control is pushed as small ordered [`Output`] values. Bulk data is pulled: the node names file
//!   ranges in [`Transmit::File`], [`Transmit::Seal`] and [`Received::body`]; it never owns file bytes. It sees them, in
//!   the driver's buffer, only to seal, open or hash them.
//! * **Progress counts only when the world confirms it**: `handle_sent`, `handle_written`, [`Input::FileCommitted`].
//! * **The node allots every id.** A [`ConnId`] lives from `handle_accept`/[`Output::Connect`]/[`Output::OpenConsole`]
//!   until exactly one of [`Output::Close`] (the node ends it) or [`Input::Closed`] (the world ended it). Its slot is
//!   given out again only when the driver knows of that: never by the call that ends it, if that is `handle_accept`.
//!   A [`FileId`] lives from [`Output::OpenFile`], `OpenLog`, `CreateFile`, `OpenPart` or `Import` until exactly one
//!   of [`Output::CloseFile`], [`Output::DiscardFile`], [`Input::FileCommitted`], [`Input::Imported`] or
//!   [`Input::FileFailed`] with `fatal = true`. A driver ignores outputs for ids it no longer knows; a node ignores inputs likewise.
//! * **End of stream.** [`Input::Eof`] comes when all bytes were handed over, even if the node has not consumed them
//!   all (it may need the end to decide), and never while the connection is paused. Bytes that were not consumed are
//!   handed over again after [`Output::Resume`], also when `Eof` was said already; and at once where some were consumed
//!   and the connection was not paused: the node may have taken one record of several.
//! * **A connection with something to send says so** with [`Output::Wake`]; from then on the driver pulls whenever the
//!   socket can take more, until `poll_transmit` returns `None`.

mod fault;
mod imported;
mod left_out;
mod meta;
mod numbered;

pub use fault::Fault;
pub use imported::ImportedFolder;
pub use left_out::LeftOut;
pub use meta::Meta;
pub use numbered::{numbered, shortened};

use crate::time::{Duration, Instant, WallTime};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;

/// A node, as a driver sees it: no sockets, no files, no clock; all of them are arguments and return values.
pub trait Machine {
    /// A listener accepted a connection. `None`: refused by a limit, the driver closes it at once.
    fn handle_accept(&mut self, now: Instant, listener: ListenerId, peer: SocketAddr) -> Option<ConnId>;

    /// Something happened that is not bulk data.
    fn handle_input(&mut self, now: Instant, input: Input<'_>);

    /// Bytes arrived on `conn`. Bytes past [`Received::consumed`] are handed over again, first, with the next ones.
    fn handle_recv(&mut self, now: Instant, conn: ConnId, bytes: &mut [u8]) -> Received;

    /// The driver stored `n` bytes of the last [`Received::body`] of `conn`. If it could not store all of them an
    /// [`Input::FileFailed`] follows.
    fn handle_written(&mut self, now: Instant, conn: ConnId, n: usize);

    /// What `conn` sends next. Asking again without `handle_sent` in between gives the same answer.
    fn poll_transmit(&mut self, conn: ConnId) -> Option<Transmit<'_>>;

    /// The driver read bytes of the file for the [`Transmit::Seal`] that `poll_transmit` names: they are
    /// `buffer[payload]`, with at least [`SEAL_HEAD`] bytes of room in front and [`SEAL_TAIL`] behind. The node makes a
    /// record of them in place and gives the range of `buffer` that is to be sent: before anything else of `conn`, by
    /// the driver's own memory where the kernel does not take all of it at once. From now on those file bytes are done
    /// with: the next `poll_transmit` goes on behind them. A node that never names `Transmit::Seal` is never asked.
    fn handle_read(
        &mut self,
        now: Instant,
        conn: ConnId,
        buffer: &mut [u8],
        payload: Range<usize>,
    ) -> Range<usize> {
        let _ = (now, conn, buffer);
        payload.start..payload.start
    }

    /// The kernel took `n` bytes of what `poll_transmit` named, or of a sealed record.
    fn handle_sent(&mut self, now: Instant, conn: ConnId, n: usize);

    /// The next thing to carry out, in order; `None` when there is nothing left.
    fn poll_output(&mut self) -> Option<Output>;

    /// When [`Input::Timeout`] is due, and why. May lie in the past: then it is due now.
    fn poll_timeout(&mut self) -> Option<Deadline>;

    /// What is open and counted, for the drivers' invariants and for tests. Cheap.
    fn census(&self) -> Census;
}

/// Room that a driver leaves in front of bytes it read for [`Machine::handle_read`].
pub const SEAL_HEAD: usize = 64;
/// And behind them.
pub const SEAL_TAIL: usize = 64;

/// Index and generation: a slot of a table and the number of times it was given out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// Slot in the node's table. Below 2^20, so that a poll token of 32 bits holds it with 12 bits of generation.
    pub index: u32,
    /// How often that slot was given out before; wraps at 2^32.
    pub generation: u32,
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

/// A connection: TCP, or one of the console's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub Id);

/// An open, growing or imported file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub Id);

/// A listening socket, numbered by the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub u8);

/// A question to the driver whose answer carries the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u32);

/// The folders a node works in. The driver holds each open for its whole life and resolves names beneath it only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dir {
    /// What is offered to others.
    Shared,
    /// Finished downloads.
    Downloads,
    /// Unfinished downloads: `.parts` inside [`Dir::Downloads`], so that a rename between them is atomic.
    Parts,
}

/// What [`Machine::handle_recv`] made of the bytes it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// How many bytes are done with.
    pub consumed: usize,
    /// The part of the given bytes (inside `..consumed`) that the driver is to store now.
    pub body: Option<Body>,
    /// Give no more bytes of this connection until [`Output::Resume`].
    pub pause: bool,
}

/// A range of received bytes that belongs into a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The file, made by [`Output::CreateFile`] or opened by [`Output::OpenPart`].
    pub file: FileId,
    /// Where in the file the range begins, in bytes.
    pub offset: u64,
    /// Which of the given bytes.
    pub range: Range<usize>,
}

/// What a connection sends next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transmit<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// A range of an open file; the driver sends it from the page cache, in runs.
    File {
        /// Opened by [`Output::OpenFile`], or one that grows ([`Output::CreateFile`], [`Output::OpenPart`]).
        file: FileId,
        /// First byte.
        offset: u64,
        /// Bytes left to send, never 0.
        len: u64,
    },
    /// A range of an open file that is sealed before it goes: the driver reads `len` bytes and calls
    /// [`Machine::handle_read`]. A file that has fewer is [`Fault::Shrunk`].
    Seal {
        /// Opened by [`Output::OpenFile`] or [`Output::OpenLog`], or one that grows.
        file: FileId,
        /// First byte.
        offset: u64,
        /// Bytes of the next record: never 0, never more than a run ([`crate::config::Limits::record_chunks`]).
        len: usize,
    },
}

/// When to wake, and on whose behalf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// When.
    pub at: Instant,
    /// Who asked for it: a word for logs and traces.
    pub reason: &'static str,
}

/// What the world tells a node.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // each variant's sentence speaks of its fields
pub enum Input<'a> {
    /// The wall clock, early after the start and whenever it was set. Nothing but kept records may depend on it.
    WallClock(WallTime),
    /// [`Machine::poll_timeout`] is due. A node serves a bounded number of timers per call.
    Timeout,
    /// A signal of the operator's. The driver itself ends the process at the second one.
    Signal(Signal),

    /// The listener is open at this address.
    Listening { listener: ListenerId, addr: SocketAddr },
    /// It could not be opened.
    ListenFailed { listener: ListenerId, fault: Fault },

    /// [`Output::Connect`] succeeded; `local` is our end's address.
    Connected { conn: ConnId, local: SocketAddr },
    /// The connection failed, was reset, or (console) its other end went away. The id is free.
    Closed { conn: ConnId, fault: Fault },
    /// The peer finished sending; we may still send.
    Eof { conn: ConnId },

    /// The discovery sockets are open.
    DiscoveryOpened,
    /// They could not be opened; none is.
    DiscoveryFailed { fault: Fault },
    /// A datagram of the discovery port, from this source. At most [`crate::config::Limits::datagram_max`] bytes
    /// are shown; longer ones are dropped by the driver.
    Datagram { from: SocketAddr, bytes: &'a [u8] },
    /// The answer to [`Output::ListInterfaces`]: every IPv4 address of every interface that is up.
    Interfaces(&'a [Interface]),
    /// [`Output::JoinGroup`] failed on this interface.
    JoinFailed { interface: u32, fault: Fault },

    /// [`Output::OpenFile`], [`Output::OpenPart`] or [`Output::OpenLog`]: open, and what it is now.
    FileOpened { file: FileId, meta: Meta },
    /// [`Output::CreateFile`]: open for writing. `room`: bytes it may grow to before the disk's reserve
    /// (2 % of it, from 16 MiB to 1 GiB, or what the operator says) is touched, counted before anything was set aside for it.
    FileCreated { file: FileId, room: u64 },
    /// [`Output::SyncFile`]: everything stored in it before that output is durable. What it is now.
    FileSynced { file: FileId, meta: Meta },
    /// An operation on the file failed; a connection that was sending it is not asked again before its next `Wake`.
    /// `fatal`: the id is free and anything temporary that was made for it is gone; otherwise the node
    /// decides (and sends `CloseFile` or `DiscardFile`).
    FileFailed { file: FileId, fault: Fault, fatal: bool },
    /// [`Output::Import`] copied so many bytes of `size` so far; `size` grows while a folder is measured.
    FileProgress { file: FileId, bytes: u64, size: u64 },
    /// [`Output::CommitFile`] is done: the file has this name (it may differ from the one asked for),
    /// and this is what it is. `confirmed`: the disk said so of the name, too; without that a power cut may take it
    /// back. The id is free.
    FileCommitted { file: FileId, name: String, meta: Meta, confirmed: bool },
    /// [`Output::Import`] is done: the copy has this name, and that many bytes in its files. `folder`: it is one. The id is free.
    Imported { file: FileId, name: String, bytes: u64, folder: Option<ImportedFolder> },
    /// The answer to [`Output::ReadFile`]: what stands at `offset`, fewer bytes than asked for only at the end of the
    /// file (none: the end is at or before `offset`), and what the file is now.
    FileRead { file: FileId, offset: u64, bytes: &'a [u8], meta: Meta },
    /// A part of the answer to [`Output::ListFiles`], in the order of names when it came whole.
    Listed { request: RequestId, entries: Vec<Entry>, end: ListEnd },
    /// Beneath a folder that [`Output::WatchFolder`] watches something changed, in `folder` (relative, components
    /// joined by `/`, empty for the folder itself). `deep`: the folder itself came, went or moved, with all beneath it;
    /// else files directly in it. May come often and late, and is only a hint.
    FolderChanged { dir: Dir, folder: String, deep: bool },
    /// Changes may go unseen from now on (too many folders, too many changes at once): only a listing tells.
    WatchLost { dir: Dir },

    /// The answer to [`Output::LoadState`]. `None`: there is no such file.
    StateLoaded { kept: Kept, slot: Slot, content: Result<Option<Vec<u8>>, Fault> },
    /// The answer to [`Output::SaveState`].
    StateSaved { kept: Kept, result: Result<(), Fault> },

    /// The answer to [`Output::Resolve`].
    Resolved { request: RequestId, result: Result<SocketAddr, Fault> },
}

/// What a node asks of the world.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // each variant's sentence speaks of its fields
pub enum Output {
    /// Listen there. Answer: `Listening` or `ListenFailed`.
    Listen { listener: ListenerId, addr: SocketAddr },
    /// Listen for programs of this user at the control socket in the state folder. Answer: `Listening` or `ListenFailed`;
    /// the address is unspecified, as are those of its connections.
    ListenControl { listener: ListenerId },
    /// Accept no more on this listener and forget it.
    CloseListener { listener: ListenerId },

    /// Dial. Answer: `Connected` or `Closed`. Its deadline is the node's.
    Connect { conn: ConnId, addr: SocketAddr },
    /// The connection has something to send.
    Wake { conn: ConnId },
    /// Hand over bytes again after [`Received::pause`].
    Resume { conn: ConnId },
    /// Once everything was sent: tell the peer that we finished sending; go on receiving.
    Shutdown { conn: ConnId },
    /// Close now. `reset`: tell the peer that what it got is not whole (RST), else FIN.
    Close { conn: ConnId, reset: bool },

    /// Connect standard input and output to `console`, standard error to `notes`. Once, at start.
    OpenConsole { console: ConnId, notes: ConnId },

    /// Open the discovery sockets: one that receives on the port of `group`, one that sends.
    OpenDiscovery { group: SocketAddr },
    /// Leave all groups and close them.
    CloseDiscovery,
    /// Tell [`Input::Interfaces`].
    ListInterfaces,
    /// Receive the group on this interface. No answer when it works.
    JoinGroup { interface: u32, addr: Ipv4Addr },
    /// No longer receive it there. `addr` is the one given at the join.
    LeaveGroup { interface: u32, addr: Ipv4Addr },
    /// Send to the group through this interface, from this address of it. Lost without a word if it cannot be sent.
    SendDatagram { interface: u32, addr: Ipv4Addr, bytes: Vec<u8> },

    /// Open for reading: a regular file beneath `dir`, no link on the way. Answer: `FileOpened` or fatal `FileFailed`.
    OpenFile { file: FileId, dir: Dir, name: String },
    /// Make a new temporary file `name` in [`Dir::Parts`], for writing and reading. `reserve`: bytes it is going to have, 0
    /// if that is not known. Where the disk has room for them above its reserve the file gets that length at once, and
    /// blocks for it if they are no more than a quarter of what is free. Answer: `FileCreated` or fatal `FileFailed`.
    CreateFile { file: FileId, name: String, reserve: u64 },
    /// Open a temporary file of [`Dir::Parts`] that was closed before, in this life or an earlier one, for writing and
    /// reading. Answer: `FileOpened` or fatal `FileFailed` ([`Fault::InUse`]: by another process); what is there stays.
    OpenPart { file: FileId, name: String },
    /// Make durable what was stored so far in a temporary file or a log. Answer: `FileSynced`, or `FileFailed` that is
    /// not fatal ([`Fault::NotFound`]: somebody removed it): then nothing stored since the last `FileSynced` can be
    /// relied on, even if it can be read.
    SyncFile { file: FileId },
    /// Make the temporary file durable, then give it its final name in [`Dir::Downloads`] without overwriting anything:
    /// `name (2).ext` if it is taken. Answer: `FileCommitted`, until which it can be read and sent as before, or `FileFailed`
    /// that is not fatal: it stays what it was, under its temporary name.
    CommitFile { file: FileId, name: String },
    /// Remove the temporary file or the journal, or break off the import, and leave nothing. No answer. After `CommitFile`
    /// it may come too late: then the file stays under its final name.
    DiscardFile { file: FileId },
    /// Close a file. A temporary one and a journal stay under their names, for a later `OpenPart` or `OpenLog`. No answer.
    CloseFile { file: FileId },
    /// Copy the operator's file or folder `source` to `name` in [`Dir::Shared`], in slices, by a temporary name. Of a folder the
    /// regular files beneath it are copied, at most `max`, hidden ones left out. Answers: `FileProgress` now and then, at last
    /// `Imported` or fatal `FileFailed` ([`Fault::Exists`]: never overwritten).
    Import { file: FileId, source: PathBuf, name: String, max: usize },
    /// Read up to `len` bytes of an open file, a temporary one or a log, when nothing more urgent is ready; the driver gives no more
    /// than a run ([`crate::config::Limits::run_chunks`]) at a time. One at a time per file. Answer: `FileRead`, or
    /// `FileFailed` that is not fatal.
    ReadFile { file: FileId, offset: u64, len: usize },
    /// Name the regular files beneath `folder` of `dir` (relative, empty for all of `dir`), hidden ones left out, at
    /// most `max` of them; `deep`: those of the folders in it, too. Answer: `Listed`, one or more, in slices.
    ListFiles { request: RequestId, dir: Dir, folder: String, deep: bool, max: usize },
    /// Tell `FolderChanged` of `dir` from now on, for all folders beneath it that are there or come. No answer but
    /// those, and `WatchLost` where it cannot be done.
    WatchFolder { dir: Dir },

    /// Read a state file, at most `max` bytes. Answer: `StateLoaded`.
    LoadState { kept: Kept, slot: Slot, max: usize },
    /// Replace the state file (mode 0600); several are saved one after another. Temporary, sync, the old one kept as
    /// previous, rename, sync of the folder. Answer: `StateSaved`.
    SaveState { kept: Kept, content: Vec<u8> },
    /// Move an unreadable state file aside as `NAME.corrupt-N` (three are kept).
    QuarantineState { kept: Kept, slot: Slot },
    /// Open a log for reading and appending, made empty where there is none (mode 0600). Answer: `FileOpened` or fatal
    /// `FileFailed`. It is read by `ReadFile` and `Transmit::Seal`, ended by `CloseFile`.
    OpenLog { file: FileId, log: Log },
    /// Write `bytes` behind what a log holds. No answer, but `FileFailed` (not fatal) where it cannot be done: then some
    /// of them may stand there. A crash may lose any number of the last appends.
    AppendLog { file: FileId, bytes: Vec<u8> },
    /// Cut a log to `len` bytes. No answer, but `FileFailed`.
    TruncateLog { file: FileId, len: u64 },
    /// Sync the fresh log and give it the name of the old one. No answer, but `FileFailed` (not fatal).
    CommitLog { file: FileId },

    /// Look up a host name the operator typed (never one that was received). Answer: `Resolved`.
    Resolve { request: RequestId, host: String, port: u16 },

    /// All files that grow were discarded or closed before. Flush the console, close everything and end the process with this status.
    /// It may be given again with another status if the console breaks meanwhile.
    Exit { status: u8 },
}

/// A file that grows at its end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Log {
    /// The state folder's log: the index of shared files.
    Index,
    /// An empty one beside it, which [`Output::CommitLog`] puts in its place.
    FreshIndex,
    /// The journal of an unfinished download: a file of this name in [`Dir::Parts`].
    Journal(String),
}

/// A state file that is read and replaced as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kept {
    /// A registry's nodes: `registry`.
    Registry,
    /// A peer's static key: `identity`.
    Identity,
}

/// Which generation of a state file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// The newest.
    Current,
    /// The one before it.
    Previous,
}

/// A signal of the operator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP.
    Hangup,
}

/// One IPv4 address of one network interface that is up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interface {
    /// The kernel's number of the interface; not 0.
    pub index: u32,
    /// Its name, for logs.
    pub name: String,
    /// The address.
    pub addr: Ipv4Addr,
    /// Length of the network prefix, 0 to 32.
    pub prefix: u8,
    /// Takes multicast: the kernel's flag, or the loopback (which lacks the flag and takes it all the same).
    pub multicast: bool,
}

impl Interface {
    /// Whether `ip` lies in this interface's network.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let IpAddr::V4(ip) = ip else { return false };
        let shift = 32 - u32::from(self.prefix.min(32));
        let mask = u32::MAX.checked_shl(shift).unwrap_or(0);
        u32::from(ip) & mask == u32::from(self.addr) & mask
    }
}

/// A file in a listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// Path relative to the folder listed as [`Dir`] (also where only a folder beneath it was listed), components
    /// joined by `/`, valid UTF-8.
    pub name: String,
    /// What it is.
    pub meta: Meta,
}

/// How a listing goes on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // each variant's sentence speaks of its fields
pub enum ListEnd {
    /// More parts follow.
    More,
    /// This was the last part.
    Done(LeftOut),
    /// The limit of files was reached: this was the last part, and there are more files than were named.
    Truncated,
    /// The folder could not be read.
    Failed(Fault),
}

/// What a node holds, for invariants: `files_created == files_committed + files_discarded + files_kept + files_growing`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Census {
    /// Connections the node believes open, the console's two included.
    pub conns: usize,
    /// Files open for reading, writing or import.
    pub files: usize,
    /// Armed timers.
    pub timers: usize,
    /// Nodes known.
    pub nodes: usize,
    /// Files ever asked to be created, imported or opened for more (`OpenPart`).
    pub files_created: u64,
    /// Of those, committed under their final name.
    pub files_committed: u64,
    /// Of those, discarded or failed.
    pub files_discarded: u64,
    /// Of those, closed unfinished, to be opened again.
    pub files_kept: u64,
    /// Of those, not ended yet.
    pub files_growing: u64,
    /// Bytes that wait for the console.
    pub buffered: usize,
    /// Bytes of messages that wait to be sent to other nodes.
    pub unsent: usize,
}

/// Longest time a driver sleeps when a node has no deadline at all.
pub const SLEEP_MAX: Duration = Duration::from_secs(60);
