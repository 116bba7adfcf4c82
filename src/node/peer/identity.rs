//! The node's static key: made at the first start, kept in the state folder from then on.

use super::{CONTROL, LISTENER, Peer};
use crate::machine::{Fault, Kept, Output, Slot};
use crate::proto::v2::identity::{Identity, IdentityError};
use crate::time::Instant;
use log::warn;

/// Bytes of the key's file that are read; it has far fewer.
const FILE_MAX: usize = 4096;

impl Peer {
    /// Asks for the key; the node listens once it has one.
    pub(super) fn load_identity(&mut self) {
        self.outputs.push_back(Output::LoadState {
            kept: Kept::Identity,
            slot: Slot::Current,
            max: FILE_MAX,
        });
    }

    /// The key's file was read. One that cannot be used is put aside, never overwritten.
    pub(super) fn identity_loaded(&mut self, now: Instant, content: Result<Option<Vec<u8>>, Fault>) {
        let decoded = match content {
            // Whatever that is, it is no key.
            Err(Fault::TooLarge) => Ok(Some(Err(IdentityError::TooLong))),
            Err(Fault::NotRegular) => Ok(Some(Err(IdentityError::Content))),
            content => content.map(|file| file.map(|file| Identity::decode(&file))),
        };
        match decoded {
            Ok(Some(Ok(identity))) => self.sessions.greeter.identity = identity,
            Ok(None) => self.keep_identity(),
            Ok(Some(Err(error))) => {
                warn!("the node's key cannot be used ({error}): it gets a new one, and with it a new id");
                self.outputs.push_back(Output::QuarantineState { kept: Kept::Identity, slot: Slot::Current });
                self.keep_identity();
            }
            // The next start may be able to.
            Err(fault) => warn!("the node's key cannot be read ({fault}): this time it has another id"),
        }
        if self.config.once.as_ref().is_some_and(|once| !once.listens) {
            return self.listening(now, self.listen);
        }
        self.outputs.push_back(Output::Listen { listener: LISTENER, addr: self.listen });
        if self.config.control {
            self.outputs.push_back(Output::ListenControl { listener: CONTROL });
        }
    }

    fn keep_identity(&mut self) {
        let content = self.sessions.greeter.identity.encode();
        self.outputs.push_back(Output::SaveState { kept: Kept::Identity, content });
    }

    pub(super) fn identity_saved(&mut self, result: Result<(), Fault>) {
        if let Err(fault) = result {
            warn!("the node's key cannot be kept ({fault}): at the next start the node has another id");
        }
    }
}
