//! When to ask a node again that has no time for a request, and when to take its word for it.

use crate::time::Duration;

/// The first pause; each further one in a row is twice as long.
pub(crate) const PAUSE: Duration = Duration::from_millis(250);
/// Pauses in a row: about 16 s in all.
const PAUSES: u32 = 6;

/// Refusals in a row of one node for one purpose.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    refusals: u32,
}

impl Backoff {
    /// It refused once more. The pause before it is asked again; `None`: it was asked often enough.
    pub(crate) fn refused(&mut self) -> Option<Duration> {
        let pause = PAUSE * 2u32.pow(self.refusals.min(PAUSES));
        self.refusals = (self.refusals + 1).min(PAUSES + 1);
        (self.refusals <= PAUSES).then_some(pause)
    }

    /// It gave something.
    pub(crate) fn reset(&mut self) {
        self.refusals = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_grow_and_end_and_begin_anew_with_any_progress() {
        let mut backoff = Backoff::default();
        for _ in 0..2 {
            let pauses: Vec<u128> =
                std::iter::from_fn(|| backoff.refused()).map(|pause| pause.as_millis()).collect();
            assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 8000]);
            assert_eq!((backoff.refused(), backoff.refused()), (None, None));
            backoff.reset();
        }
    }
}
