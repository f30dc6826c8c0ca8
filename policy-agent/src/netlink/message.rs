//! Netlink messages as bytes: requests are written here, replies taken apart.
//!
//! Only the attributes that this crate uses are decoded, and one that cannot be read counts as
//! absent: the full decoders of `netlink-packet-route` give up a whole message for one attribute
//! that a newer kernel writes differently, and an interface that is not seen is not enforced.

use rtnetlink::packet_core::{
    DefaultNla, Emitable, NLM_F_REQUEST, NLMSG_ALIGNTO, NetlinkBuffer, NlasIterator,
};

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;

/// Length of `struct nlattr`.
const ATTRIBUTE: usize = 4;

/// A request: header, the family's fixed part, attributes.
pub(crate) fn request(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = HEADER + body.len();
    let mut bytes = vec![0; length];
    let mut header = NetlinkBuffer::new(&mut bytes);
    header.set_length(u32::try_from(length).unwrap_or(u32::MAX));
    header.set_message_type(kind);
    header.set_flags(flags | NLM_F_REQUEST);
    header.set_sequence_number(sequence);
    if let Some(rest) = bytes.get_mut(HEADER..) {
        rest.copy_from_slice(body);
    }
    bytes
}

/// Appends one attribute with its padding.
pub(crate) fn push(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let attribute = DefaultNla::new(kind, value.to_vec());
    let start = body.len();
    body.resize(start + attribute.buffer_len(), 0);
    if let Some(space) = body.get_mut(start..) {
        attribute.emit(space);
    }
}

/// One netlink message of a datagram.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    /// `nlmsg_type`.
    pub(crate) kind: u16,
    /// `nlmsg_flags`.
    pub(crate) flags: u16,
    /// `nlmsg_seq`.
    pub(crate) sequence: u32,
    /// What follows the header.
    pub(crate) payload: &'a [u8],
}

/// The messages of one datagram.
pub(crate) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let message = NetlinkBuffer::new_checked(datagram).ok()?;
        let length = message.length() as usize;
        let next = length.next_multiple_of(usize::from(NLMSG_ALIGNTO));
        datagram = datagram.get(next..).unwrap_or_default();
        Some(Message {
            kind: message.message_type(),
            flags: message.flags(),
            sequence: message.sequence_number(),
            payload: message.payload(),
        })
    })
}

/// The attributes of a payload after its fixed part of `skip` bytes, without the flag bits.
pub(crate) fn attributes(payload: &[u8], skip: usize) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(payload.get(skip..).unwrap_or_default())
        .map_while(Result::ok)
        .map(|attribute| {
            let (kind, length) = (attribute.kind(), usize::from(attribute.length()));
            let value = attribute.into_inner().get(ATTRIBUTE..length);
            (kind, value.unwrap_or_default())
        })
}

/// A number in host byte order at `offset`.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// A number in host byte order at `offset`.
pub(crate) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    let bytes = bytes.get(offset..offset + 2)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

/// A port in network byte order.
pub(crate) fn port(value: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(value.try_into().ok()?))
}

/// A name, with or without its closing zero.
pub(crate) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(value.get(..end.unwrap_or(value.len())).unwrap_or_default())
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_back_as_it_was_written() {
        let mut body = vec![1, 2, 3, 4];
        push(&mut body, 7, &[9]);
        push(&mut body, 8, b"name\0");
        let bytes = request(18, 0x300, 5, &body);
        let all: Vec<_> = messages(&bytes).collect();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].kind, all[0].flags, all[0].sequence), (18, 0x301, 5));
        let read: Vec<_> = attributes(all[0].payload, 4).collect();
        assert_eq!(read, [(7, &[9][..]), (8, &b"name\0"[..])]);
        assert_eq!(text(read[1].1), "name");
    }

    #[test]
    fn a_cut_datagram_ends_the_messages() {
        let mut bytes = request(18, 0, 5, &[1, 2, 3, 4]);
        bytes.extend(request(19, 0, 6, &[1, 2, 3, 4]));
        bytes.truncate(bytes.len() - 1);
        assert_eq!(
            messages(&bytes)
                .map(|message| message.kind)
                .collect::<Vec<_>>(),
            [18]
        );
        assert_eq!(attributes(&[8, 0, 1, 0, 1], 0).count(), 0);
    }
}
