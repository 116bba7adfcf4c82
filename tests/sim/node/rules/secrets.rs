//! What must never be seen outside of a node: the key of its group, as it is or as text.

use distrishare::config::PeerConfig;
use distrishare::machine::ConnId;
use std::collections::BTreeMap;

/// The key in every form, and the end of what each connection sent: a key may lie across two pieces.
pub(super) struct Secrets {
    forms: Vec<Vec<u8>>,
    ends: BTreeMap<ConnId, Vec<u8>>,
}

impl Secrets {
    pub(super) fn new(config: &PeerConfig) -> Secrets {
        let forms = config.group.as_ref().map_or_else(Vec::new, |key| {
            let hex: String = key.reveal().iter().map(|byte| format!("{byte:02x}")).collect();
            let upper = hex.to_uppercase();
            vec![key.reveal().to_vec(), hex.into_bytes(), upper.into_bytes()]
        });
        Secrets { forms, ends: BTreeMap::new() }
    }

    /// `bytes` stand by themselves.
    pub(super) fn check(&self, bytes: &[u8], what: &str) {
        let found = |form: &Vec<u8>| bytes.windows(form.len()).any(|window| window == form);
        assert!(!self.forms.iter().any(found), "the group's key in {what}");
    }

    /// `bytes` follow what `conn` sent before.
    pub(super) fn sends(&mut self, conn: ConnId, bytes: &[u8]) {
        if self.forms.is_empty() {
            return;
        }
        let longest = self.forms.iter().map(Vec::len).max().unwrap_or(0);
        let mut stream = self.ends.remove(&conn).unwrap_or_default();
        stream.extend_from_slice(bytes);
        self.check(&stream, "a stream");
        let keep = stream.len().min(longest.saturating_sub(1));
        self.ends.insert(conn, stream.split_off(stream.len() - keep));
    }

    pub(super) fn ended(&mut self, conn: ConnId) {
        self.ends.remove(&conn);
    }

    pub(super) fn forget(&mut self) {
        self.ends.clear();
    }
}
