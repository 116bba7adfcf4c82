//! The list of uploads: which file goes to whom, how far and how fast, for `transfers` and for the log. Sending them is not done here.

use crate::machine::ConnId;
use crate::node::meter::Meter;
use crate::proto::content::Root;
use crate::proto::escape::for_log;
use crate::proto::v2::identity::NodeId;
use crate::time::{Duration, Instant};
use log::info;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

/// Nobody says when he has all he wants of a file: an upload of which nothing was sent for so long is over.
const QUIET: Duration = Duration::from_secs(30);
/// Ledger over one connection, and in all. Beyond that the quietest is forgotten.
const PER_CONN: usize = 32;
const IN_ALL: usize = 512;

/// An upload: a connection, and the content where several may go over it (v2).
pub(crate) type Key = (ConnId, Option<Root>);

/// To whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receiver {
    /// Where it is reached.
    pub(crate) addr: SocketAddr,
    /// None in v1.
    pub(crate) id: Option<NodeId>,
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            Some(id) => write!(f, "{} ({id})", self.addr),
            None => write!(f, "{}", self.addr),
        }
    }
}

/// One file to one node.
#[derive(Clone, Debug)]
pub(crate) struct Upload {
    /// As the operator names it.
    pub(crate) number: u32,
    pub(crate) name: String,
    pub(crate) to: Receiver,
    /// Of the file.
    pub(crate) size: u64,
    /// Sent, of whatever part of it was asked for.
    pub(crate) bytes: u64,
    meter: Meter,
    began: Instant,
    /// When bytes were asked for or sent last.
    used: Instant,
    /// The operator does not want it.
    stopped: bool,
}

impl Upload {
    /// Bytes a second lately.
    pub(crate) fn rate(&self, now: Instant) -> u64 {
        self.meter.at(now)
    }

    /// For the log: nothing that was only asked for is worth a line.
    fn say_end(&self, now: Instant) {
        if self.bytes > 0 || self.size == 0 {
            let Upload { name, to, size, bytes, .. } = self;
            let time = (now - self.began).as_secs();
            info!("gave {bytes} of {size} bytes of {} to {to} in {time} s", for_log(name));
        }
    }
}

/// All uploads.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    all: BTreeMap<Key, Upload>,
    /// When to look for those that are over.
    due: Option<Instant>,
}

impl Ledger {
    /// More of an upload that is known is asked for. False: the operator does not want it to be given to them. None: it is none yet.
    pub(crate) fn asked_again(&mut self, now: Instant, key: Key) -> Option<bool> {
        let upload = self.all.get_mut(&key)?;
        upload.used = now;
        Some(!upload.stopped)
    }

    /// A file is asked for. False: all there is room for are stopped.
    pub(crate) fn begin(
        &mut self,
        now: Instant,
        key: Key,
        number: u32,
        (name, size, to): (String, u64, Receiver),
    ) -> bool {
        let all = self.all.len() >= IN_ALL;
        if all || self.of(key.0).count() >= PER_CONN {
            // One that is stopped is known as long as its connection stands.
            let may_go = |(of, upload): &(&Key, &Upload)| !upload.stopped && (all || of.0 == key.0);
            let quietest = self.all.iter().filter(may_go).min_by_key(|(_, upload)| upload.used);
            let Some(quietest) = quietest.map(|(key, _)| *key) else { return false };
            self.over(now, quietest);
        }
        let (meter, began) = (Meter::from(now), now);
        let upload = Upload { number, name, to, size, bytes: 0, meter, began, used: now, stopped: false };
        self.all.insert(key, upload);
        self.due.get_or_insert(now + QUIET);
        true
    }

    /// So many bytes of it went.
    pub(crate) fn sent(&mut self, now: Instant, key: Key, bytes: u64) {
        let Some(upload) = self.all.get_mut(&key) else { return };
        if upload.bytes == 0 {
            info!("giving {} ({} bytes) to {}", for_log(&upload.name), upload.size, upload.to);
        }
        upload.bytes += bytes;
        upload.used = now;
        upload.meter.add(now, bytes);
        if upload.bytes >= upload.size && !upload.stopped {
            self.over(now, key);
        }
    }

    /// The connection is gone.
    pub(crate) fn gone(&mut self, now: Instant, conn: ConnId) {
        let keys: Vec<Key> = self.of(conn).map(|(key, _)| *key).collect();
        keys.into_iter().for_each(|key| self.over(now, key));
    }

    /// The operator does not want it to go on: whose it is. Asked for again on the same connection, it is not given.
    pub(crate) fn stop(&mut self, number: u32) -> Option<(Key, &Upload)> {
        let running = |upload: &Upload| upload.number == number && !upload.stopped;
        let (key, upload) = self.all.iter_mut().find(|(_, upload)| running(upload))?;
        upload.stopped = true;
        Some((*key, upload))
    }

    /// Those that run, by number.
    pub(crate) fn rows(&self) -> Vec<Upload> {
        let mut rows: Vec<Upload> = self.all.values().filter(|upload| !upload.stopped).cloned().collect();
        rows.sort_unstable_by_key(|upload| upload.number);
        rows
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Those of which nothing was sent for a while are over.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        let quiet = |upload: &Upload| !upload.stopped && upload.used + QUIET <= now;
        let keys: Vec<Key> =
            self.all.iter().filter(|(_, upload)| quiet(upload)).map(|(key, _)| *key).collect();
        keys.into_iter().for_each(|key| self.over(now, key));
        let running = self.all.values().filter(|upload| !upload.stopped);
        self.due = running.map(|upload| upload.used + QUIET).min();
    }

    fn of(&self, conn: ConnId) -> impl Iterator<Item = (&Key, &Upload)> {
        self.all.range((conn, None)..).take_while(move |((of, _), _)| *of == conn)
    }

    fn over(&mut self, now: Instant, key: Key) {
        if let Some(upload) = self.all.remove(&key) {
            upload.say_end(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Id;

    const S: Duration = Duration::from_secs(1);

    fn key(conn: u32, root: u8) -> Key {
        (ConnId(Id { index: conn, generation: 0 }), Some(Root::new([root; 32])))
    }

    fn asked(uploads: &mut Ledger, now: Instant, key: Key, number: u32) -> bool {
        let to = Receiver { addr: ([10, 0, 0, 5], 9000).into(), id: None };
        let again = uploads.asked_again(now, key);
        again.unwrap_or_else(|| uploads.begin(now, key, number, (format!("file {number}"), 1000, to)))
    }

    fn numbers(uploads: &Ledger) -> Vec<u32> {
        uploads.rows().iter().map(|upload| upload.number).collect()
    }

    #[test]
    fn an_upload_is_one_file_to_one_connection_until_it_is_whole_quiet_or_gone() {
        let (mut uploads, t) = (Ledger::default(), Instant::ZERO);
        for (key, number) in [(key(2, 1), 1), (key(1, 1), 2), (key(1, 2), 3), (key(1, 1), 9)] {
            assert!(asked(&mut uploads, t, key, number));
        }
        uploads.sent(t + S, key(1, 1), 400);
        uploads.sent(t + S * 2, key(1, 1), 400);
        uploads.sent(t + S * 2, key(9, 1), 400);
        let rows = uploads.rows();
        assert_eq!(
            rows.iter().map(|row| (row.number, row.bytes)).collect::<Vec<_>>(),
            [(1, 0), (2, 800), (3, 0)]
        );
        let rate = rows[1].rate(t + S * 2);
        assert!((390..=410).contains(&rate), "{rate}");
        // Whole.
        uploads.sent(t + S * 3, key(1, 1), 200);
        assert_eq!(numbers(&uploads), [1, 3]);
        // Asked for again it is another one.
        assert!(asked(&mut uploads, t + S * 20, key(1, 1), 4));
        assert_eq!(uploads.poll_timeout(), Some(t + QUIET));
        uploads.handle_timeout(t + S * 29);
        assert_eq!(numbers(&uploads), [1, 3, 4]);
        uploads.handle_timeout(t + QUIET);
        assert_eq!((numbers(&uploads), uploads.poll_timeout()), (vec![4], Some(t + S * 20 + QUIET)));
        assert!(asked(&mut uploads, t + S * 40, key(2, 1), 5));
        uploads.gone(t, key(1, 0).0);
        assert_eq!(numbers(&uploads), [5]);
        uploads.handle_timeout(t + S * 100);
        assert_eq!((numbers(&uploads), uploads.poll_timeout()), (vec![], None));
    }

    #[test]
    fn what_was_stopped_is_not_given_on_that_connection() {
        let (mut uploads, t) = (Ledger::default(), Instant::ZERO);
        assert!(asked(&mut uploads, t, key(1, 1), 7) && asked(&mut uploads, t, key(2, 1), 8));
        assert_eq!(
            uploads.stop(7).map(|(key, upload)| (key, upload.name.as_str())),
            Some((key(1, 1), "file 7"))
        );
        assert!(uploads.stop(7).is_none() && uploads.stop(6).is_none());
        assert_eq!(numbers(&uploads), [8]);
        uploads.sent(t, key(1, 1), 1000);
        uploads.handle_timeout(t + QUIET * 2);
        assert!(!asked(&mut uploads, t, key(1, 1), 9) && asked(&mut uploads, t, key(1, 2), 10));
        uploads.gone(t, key(1, 1).0);
        assert!(asked(&mut uploads, t, key(1, 1), 11));
    }

    #[test]
    fn all_together_have_so_many_at_most() {
        let (mut uploads, t) = (Ledger::default(), Instant::ZERO);
        for n in 0..1000 {
            assert!(asked(&mut uploads, t + S * n, key(n, 1), n));
        }
        assert_eq!(numbers(&uploads), (1000 - IN_ALL as u32..1000).collect::<Vec<_>>());
    }

    #[test]
    fn one_connection_has_so_many_at_most() {
        let (mut uploads, t) = (Ledger::default(), Instant::ZERO);
        for n in 0..PER_CONN as u8 {
            assert!(asked(&mut uploads, t + S * u32::from(n == 0), key(1, n), u32::from(n)));
        }
        assert!(asked(&mut uploads, t, key(2, 0), 99) && asked(&mut uploads, t, key(1, 200), 100));
        let numbers = numbers(&uploads);
        assert_eq!(numbers.len(), PER_CONN + 1);
        assert!(numbers.contains(&0) && !numbers.contains(&1) && numbers.ends_with(&[99, 100]));
        // Where the operator stopped all of them nothing more is given.
        for number in numbers {
            uploads.stop(number);
        }
        assert!(!asked(&mut uploads, t, key(1, 201), 101));
        assert!(asked(&mut uploads, t, key(3, 1), 102));
    }
}
