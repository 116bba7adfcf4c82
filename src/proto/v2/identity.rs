//! Who a node is.

/// A node's public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; 32]);

impl NodeId {
    /// Takes the key in.
    pub const fn from_bytes(bytes: [u8; 32]) -> NodeId {
        NodeId(bytes)
    }

    /// The key itself.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}
