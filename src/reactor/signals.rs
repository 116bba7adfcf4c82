//! The operator's signals.

use super::{Reactor, token};
use crate::machine::{Input, Machine, Signal};
use mio::Interest;
use nix::sys::signal::{SigSet, Signal as Named};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook_mio::v1_0::Signals;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

impl Reactor {
    /// From now on SIGINT, SIGTERM and SIGHUP are inputs. The second SIGINT or SIGTERM ends the process at once, even
    /// while the loop waits for a disk.
    ///
    /// # Errors
    /// What the system says to the handlers or the pipe behind them.
    pub fn handle_signals(&mut self) -> io::Result<()> {
        // Whoever started this program may have blocked them, which is handed down.
        [Named::SIGINT, Named::SIGTERM, Named::SIGHUP, Named::SIGXFSZ]
            .into_iter()
            .collect::<SigSet>()
            .thread_unblock()?;
        let stopping = Arc::new(AtomicBool::new(false));
        for (signal, status) in [(SIGINT, 130), (SIGTERM, 143)] {
            // In this order: the first signal finds the flag down, and raises it.
            signal_hook::flag::register_conditional_shutdown(signal, status, Arc::clone(&stopping))?;
            signal_hook::flag::register(signal, Arc::clone(&stopping))?;
        }
        // A file beyond the process's limit is then an error of the write (EFBIG) and not the end.
        signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        self.poll.registry().register(&mut signals, token::SIGNALS, Interest::READABLE)?;
        self.signals = Some(signals);
        Ok(())
    }

    pub(super) fn pending_signals(&mut self) -> Vec<i32> {
        let Some(signals) = self.signals.as_mut().filter(|_| self.signalled) else { return Vec::new() };
        self.signalled = false;
        let pending: Vec<i32> = signals.pending().collect();
        self.told_to_end |= !pending.is_empty();
        pending
    }

    pub(super) fn signals_turn(&mut self, machine: &mut dyn Machine) {
        for number in self.pending_signals() {
            let signal = match number {
                SIGINT => Signal::Interrupt,
                SIGTERM => Signal::Terminate,
                SIGHUP => Signal::Hangup,
                _ => continue,
            };
            machine.handle_input(self.clock.now(), Input::Signal(signal));
            self.drain(machine);
        }
    }
}
