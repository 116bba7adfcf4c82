//! A token bucket per source: how much one of them may cost us.

use crate::time::Instant;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Sources that are counted.
const SOURCES: usize = 1024;

/// Buckets that fill by a rate up to a burst.
#[derive(Debug)]
pub(crate) struct Buckets {
    /// Tokens a second.
    rate: f64,
    /// Tokens of a full one.
    burst: f64,
    by_source: BTreeMap<IpAddr, (Instant, f64)>,
}

impl Buckets {
    pub(crate) fn new(rate: u32, burst: u32) -> Buckets {
        Buckets { rate: rate.into(), burst: burst.into(), by_source: BTreeMap::new() }
    }

    /// Takes a token of this source, if it has one.
    pub(crate) fn take(&mut self, now: Instant, source: IpAddr) -> bool {
        if !self.by_source.contains_key(&source) && self.by_source.len() >= SOURCES {
            // A flood of made-up sources: start over, the burst is small.
            self.by_source.clear();
        }
        let (last, tokens) = self.by_source.entry(source).or_insert((now, self.burst));
        let grown = (now - *last).as_secs_f64() * self.rate;
        *tokens = (*tokens + grown).min(self.burst);
        *last = now;
        if *tokens < 1.0 {
            return false;
        }
        *tokens -= 1.0;
        true
    }

    /// Gives one back: it did not cost anything.
    pub(crate) fn give_back(&mut self, source: IpAddr) {
        if let Some((_, tokens)) = self.by_source.get_mut(&source) {
            *tokens = (*tokens + 1.0).min(self.burst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;
    use std::net::Ipv4Addr;

    #[test]
    fn a_source_gets_a_burst_and_then_its_rate() {
        let mut buckets = Buckets::new(10, 20);
        let source = IpAddr::from([10, 0, 0, 1]);
        let count = |buckets: &mut Buckets, at| (0..1000).filter(|_| buckets.take(at, source)).count();
        assert_eq!(count(&mut buckets, Instant::ZERO), 20);
        assert_eq!(count(&mut buckets, Instant::ZERO + Duration::from_secs(1)), 10);
        (0..3).for_each(|_| buckets.give_back(source));
        assert_eq!(count(&mut buckets, Instant::ZERO + Duration::from_secs(1)), 3);
        for i in 0..100_000u32 {
            buckets.take(Instant::ZERO, IpAddr::V4(Ipv4Addr::from(i)));
        }
        assert!(buckets.by_source.len() <= SOURCES);
    }
}
