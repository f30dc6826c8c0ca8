//! What the tables say, as they were written.

use std::net::SocketAddr;

use policy_core::plan::EndpointEntry;

use super::TableWriter;

impl TableWriter {
    /// The endpoints as they were written.
    pub fn written_endpoints(&self) -> impl Iterator<Item = &EndpointEntry> {
        self.contents.endpoints.values()
    }

    /// Whether an endpoint's rules, as they were written, let it open a connection to this end by this
    /// protocol (IANA number).
    pub fn lets_out(&self, endpoint: &EndpointEntry, peer: SocketAddr, protocol: u8) -> bool {
        let port = peer.port();
        self.contents.lets_out(endpoint, peer.ip(), protocol, port)
    }
}
