//! As much of SCTP (RFC 9260) as a handshake's first two packets need.

/// SCTP's number.
pub const PROTOCOL: u8 = 132;

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;

/// A packet of chunks.
#[must_use]
pub fn packet(source: u16, destination: u16, tag: u32, chunks: &[u8]) -> Vec<u8> {
    let mut bytes = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    bytes.extend(tag.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(chunks);
    let sum = crc32c(&bytes).to_le_bytes();
    bytes.splice(8..12, sum);
    bytes
}

/// A packet that asks for an association.
#[must_use]
pub fn init(source: u16, destination: u16) -> Vec<u8> {
    packet(source, destination, 0, &chunk(INIT))
}

/// What a listener at `port` answers to a packet, if that is a whole INIT to it.
#[must_use]
pub fn answer(packet_in: &[u8], port: u16) -> Option<Vec<u8>> {
    let (source, destination) = ports(packet_in)?;
    let asked = destination == port && packet_in.get(12) == Some(&INIT) && is_whole(packet_in);
    asked.then(|| packet(destination, source, 1, &chunk(INIT_ACK)))
}

/// Whether a packet is the INIT ACK from `source` to `destination`.
#[must_use]
pub fn is_answer(packet: &[u8], source: u16, destination: u16) -> bool {
    let kind = packet.get(12) == Some(&INIT_ACK);
    kind && ports(packet) == Some((source, destination)) && is_whole(packet)
}

fn ports(packet: &[u8]) -> Option<(u16, u16)> {
    let at = |offset: usize| {
        let bytes = packet.get(offset..offset + 2)?;
        Some(u16::from_be_bytes(bytes.try_into().ok()?))
    };
    Some((at(0)?, at(2)?))
}

/// INIT and INIT ACK: tag, window, streams out and in, first sequence number.
fn chunk(kind: u8) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 0, 20];
    bytes.extend([0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    bytes
}

fn is_whole(packet: &[u8]) -> bool {
    let mut zeroed = packet.to_vec();
    let Some(field) = zeroed.get_mut(8..12) else {
        return false;
    };
    let sum = <[u8; 4]>::try_from(&*field).map(u32::from_le_bytes);
    field.fill(0);
    sum.is_ok_and(|sum| sum == crc32c(&zeroed))
}

/// The Castagnoli polynomial, reflected.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_rfc_3720() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
