//! How many bytes of files a second may go one way, and who of many may send them. Pure: time is an argument, and fractions of a
//! byte are kept, so that nothing drifts.

use crate::config::CHUNK;
use crate::machine::{ConnId, Transmit};
use crate::time::{Duration, Instant};
use std::collections::BTreeMap;

/// What an idle bucket gathers, as a time. Short, because it comes on top of the rate: of a transfer of two seconds it is 5 %. Long
/// enough for a loop that was held up.
const BURST: Duration = Duration::from_millis(100);
/// The top of a bucket, as a time, that is kept free for calls that come late: what runs over then is lost.
const SLACK: Duration = Duration::from_millis(50);
/// Time between two handings out of shares.
const TICK: Duration = Duration::from_millis(20);
const CHUNK_BYTES: u64 = CHUNK as u64;

/// Millionths of a byte: what a rate of one byte a second brings in a microsecond of our clock. Signed, for debts.
type Drops = i128;
const BYTE: Drops = 1_000_000;

/// A token bucket for one direction.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    /// Bytes a second; none: no limit.
    rate: Option<u64>,
    /// What was there at `at`; below 0: a debt.
    level: Drops,
    at: Instant,
}

impl Bucket {
    /// `rate`: bytes a second; none: no limit.
    pub(crate) fn new(rate: Option<u64>) -> Bucket {
        Bucket { rate, level: 0, at: Instant::ZERO }
    }

    /// The rate that was set.
    pub(crate) fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// Another rate from now on. What was gathered or is owed is forgotten: at a much lower rate it would be that of seconds.
    pub(crate) fn set(&mut self, now: Instant, rate: Option<u64>) {
        self.advance(now);
        (self.rate, self.level) = (rate, 0);
    }

    /// Bytes that may go now: `u64::MAX` without a limit.
    pub(crate) fn room(&self, now: Instant) -> u64 {
        match self.rate {
            None => u64::MAX,
            Some(rate) => u64::try_from(self.level_at(now, rate) / BYTE).unwrap_or(0),
        }
    }

    /// So many bytes go now. More than there is room for: the rest is a debt, which is paid first.
    pub(crate) fn take(&mut self, now: Instant, n: u64) {
        self.advance(now);
        if self.rate.is_some() {
            self.level = self.level.saturating_sub(Drops::from(n) * BYTE);
        }
    }

    /// So many bytes of those taken do not go after all; below 0: so many more went.
    fn put_back(&mut self, n: i64) {
        if let Some(rate) = self.rate {
            self.level = self.level.saturating_add(Drops::from(n) * BYTE).min(capacity(rate));
        }
    }

    /// When there will be room for `n` bytes, or for as many as may be waited for where `n` is more. None: there is now.
    pub(crate) fn when(&self, now: Instant, n: u64) -> Option<Instant> {
        let rate = self.rate?;
        let most = capacity(rate) - drops(rate, SLACK);
        let missing = (Drops::from(n) * BYTE).min(most) - self.level_at(now, rate);
        if missing <= 0 {
            return None;
        }
        let rate = Drops::from(rate.max(1));
        let micros = u64::try_from((missing + rate - 1) / rate).unwrap_or(u64::MAX);
        Some(now + Duration::from_micros(micros))
    }

    fn advance(&mut self, now: Instant) {
        if let Some(rate) = self.rate {
            self.level = self.level_at(now, rate);
        }
        self.at = self.at.max(now);
    }

    fn level_at(&self, now: Instant, rate: u64) -> Drops {
        self.level.saturating_add(drops(rate, now - self.at)).min(capacity(rate))
    }
}

/// What a rate brings in a time.
fn drops(rate: u64, time: Duration) -> Drops {
    let micros = Drops::try_from(time.as_micros()).unwrap_or(Drops::MAX);
    Drops::from(rate).saturating_mul(micros)
}

/// The most that a bucket gathers: a chunk at least, for nothing smaller is sent, and room for a late call above it.
fn capacity(rate: u64) -> Drops {
    drops(rate, BURST).max(Drops::from(CHUNK_BYTES) * BYTE + drops(rate, SLACK))
}

/// A rate shared among connections in equal parts (deficit round robin). What a connection may send is handed out by a timer,
/// because the driver asks it for bytes without telling the time.
#[derive(Debug)]
pub(crate) struct Shares {
    bucket: Bucket,
    /// Connections with something to send, and how many bytes each may send now. Below 0: it sent more, and gets less.
    credits: BTreeMap<ConnId, i64>,
    /// Who got the last odd chunk: the next one begins behind it.
    last: Option<ConnId>,
    /// When to hand out again.
    due: Instant,
}

impl Shares {
    /// `rate`: bytes a second for all together; none: no limit.
    pub(crate) fn new(rate: Option<u64>) -> Shares {
        Shares { bucket: Bucket::new(rate), credits: BTreeMap::new(), last: None, due: Instant::ZERO }
    }

    /// The rate that was set.
    pub(crate) fn rate(&self) -> Option<u64> {
        self.bucket.rate()
    }

    /// Another rate from now on; what was handed out under the old one is taken back. Returns who may send now, because there is
    /// no limit any more.
    pub(crate) fn set(&mut self, now: Instant, rate: Option<u64>) -> Vec<ConnId> {
        self.bucket.set(now, rate);
        self.due = now;
        if rate.is_none() {
            return std::mem::take(&mut self.credits).into_keys().collect();
        }
        self.credits.values_mut().for_each(|credit| *credit = 0);
        Vec::new()
    }

    /// The connection has something to send, until it is `gone`. May be said again.
    pub(crate) fn wants(&mut self, conn: ConnId) {
        if self.rate().is_some() {
            self.credits.entry(conn).or_insert(0);
        }
    }

    /// The connection has nothing more to send, or is closed. What it did not use goes to the others; what it sent too much, they
    /// pay, so that nobody gains by coming again.
    pub(crate) fn gone(&mut self, conn: ConnId) {
        if let Some(credit) = self.credits.remove(&conn) {
            self.bucket.put_back(credit);
        }
    }

    /// Hands out what there is, in whole chunks and equal parts. Returns who may send now.
    pub(crate) fn refill(&mut self, now: Instant) -> Vec<ConnId> {
        let low = self.low();
        let is_low = self.credits.iter().filter(|(_, credit)| **credit < low);
        let mut low: Vec<ConnId> = is_low.map(|(conn, _)| *conn).collect();
        let behind_last = low.partition_point(|conn| self.last.is_some_and(|last| *conn <= last));
        low.rotate_left(behind_last);
        if !low.is_empty() {
            let chunks = self.bucket.room(now) / CHUNK_BYTES;
            let (each, odd) = (chunks / low.len() as u64, chunks % low.len() as u64);
            for (i, conn) in (0..).zip(&low) {
                let bytes = (each + u64::from(i < odd)) * CHUNK_BYTES;
                if let Some(credit) = self.credits.get_mut(conn) {
                    *credit = credit.saturating_add_unsigned(bytes);
                }
                if i < odd {
                    self.last = Some(*conn);
                }
            }
            self.bucket.take(now, chunks * CHUNK_BYTES);
        }
        self.due = (now + TICK).max(self.bucket.when(now, CHUNK_BYTES).unwrap_or(now));
        low.retain(|conn| self.allowance(*conn) > 0);
        low
    }

    /// Bytes that the connection may send now: `u64::MAX` without a limit, 0 before it has said that it wants to.
    pub(crate) fn allowance(&self, conn: ConnId) -> u64 {
        match self.rate() {
            None => u64::MAX,
            Some(_) => self.credits.get(&conn).map_or(0, |credit| u64::try_from(*credit).unwrap_or(0)),
        }
    }

    /// What a connection sends next, as far as its share goes.
    pub(crate) fn within<'a>(&self, conn: ConnId, next: Option<Transmit<'a>>) -> Option<Transmit<'a>> {
        let share = self.allowance(conn);
        match next {
            Some(Transmit::File { .. } | Transmit::Seal { .. }) if share == 0 => None,
            Some(Transmit::File { file, offset, len }) => {
                Some(Transmit::File { file, offset, len: len.min(share) })
            }
            Some(Transmit::Seal { file, offset, len }) => {
                let most = usize::try_from(share).unwrap_or(usize::MAX);
                // A record ends where a chunk does, or the file.
                let most = if len <= most { len } else { most / CHUNK * CHUNK };
                (most > 0).then_some(Transmit::Seal { file, offset, len: most })
            }
            other => other,
        }
    }

    /// The connection sent so many bytes: more than it might only where it could not stop in time.
    pub(crate) fn used(&mut self, conn: ConnId, n: u64) {
        if let Some(credit) = self.credits.get_mut(&conn) {
            *credit = credit.saturating_sub_unsigned(n);
        }
    }

    /// When to call `refill`, while somebody waits for it. May lie in the past: then it is due at once.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let low = self.low();
        self.credits.values().any(|credit| *credit < low).then_some(self.due)
    }

    /// Who has less than this gets more: one part of what a tick brings. So nobody runs dry between two ticks, and one who takes
    /// nothing holds two parts at most back from the others.
    fn low(&self) -> i64 {
        let tick = drops(self.rate().unwrap_or(0), TICK) / BYTE;
        let part = i64::try_from(tick).unwrap_or(i64::MAX) / self.credits.len().max(1) as i64;
        part.max(CHUNK as i64)
    }
}

#[cfg(test)]
mod tests;
