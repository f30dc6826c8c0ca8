//! TCP and UDP segments, with the checksum for the addresses they will travel between.

use std::net::{IpAddr, SocketAddr};

use super::{
    checksum,
    ip::{packet, pseudo_header},
};

/// The protocols' numbers.
pub const TCP: u8 = 6;
/// UDP's number.
pub const UDP: u8 = 17;

/// TCP flags.
pub mod flag {
    /// No more data.
    pub const FIN: u8 = 1;
    /// Synchronise.
    pub const SYN: u8 = 2;
    /// Reset.
    pub const RST: u8 = 4;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 16;
}

/// A TCP segment.
#[derive(Clone, Debug, Default)]
pub struct Tcp {
    /// [`flag`]s.
    pub flags: u8,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Data.
    pub payload: Vec<u8>,
}

impl Tcp {
    /// A segment with flags only: the first one that its sender sends with these. Both sides begin with
    /// number 1000.
    #[must_use]
    pub fn new(flags: u8) -> Self {
        Self {
            flags,
            sequence: if flags & flag::SYN == 0 { 1001 } else { 1000 },
            acknowledgement: if flags & flag::ACK == 0 { 0 } else { 1001 },
            ..Self::default()
        }
    }

    /// Header and data.
    #[must_use]
    pub fn segment(&self, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
        let mut bytes = ports(source, destination);
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.acknowledgement.to_be_bytes());
        bytes.extend([5 << 4, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        bytes.extend(&self.payload);
        seal(&mut bytes, source.ip(), destination.ip(), TCP, 16);
        bytes
    }

    /// The segment in an IP packet without options.
    #[must_use]
    pub fn packet(&self, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
        let segment = self.segment(source, destination);
        packet(source.ip(), destination.ip(), TCP, &segment)
    }
}

/// A UDP datagram: header and data.
#[must_use]
pub fn udp(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut bytes = ports(source, destination);
    let length = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX);
    bytes.extend(length.to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    seal(&mut bytes, source.ip(), destination.ip(), UDP, 6);
    bytes
}

/// The datagram in an IP packet without options.
#[must_use]
pub fn udp_packet(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let datagram = udp(source, destination, payload);
    packet(source.ip(), destination.ip(), UDP, &datagram)
}

fn ports(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    [
        source.port().to_be_bytes(),
        destination.port().to_be_bytes(),
    ]
    .concat()
}

/// Writes the checksum at `at`, where zeros stand.
pub(super) fn seal(bytes: &mut [u8], source: IpAddr, destination: IpAddr, protocol: u8, at: usize) {
    let pseudo = pseudo_header(source, destination, protocol, bytes.len());
    let sum = match checksum(&[&pseudo, bytes]) {
        // RFC 768: zero means that there is none.
        0 if protocol == UDP => 0xffff,
        sum => sum,
    };
    if let Some(field) = bytes.get_mut(at..at + 2) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
}
