//! UDP ports on which this node takes packets out of FOU and GUE.
//!
//! Unlike the ports of vxlan and geneve they belong to no interface, and the kernel does not
//! announce them: they are read again with every change of links and at intervals.

use std::io;

use super::{
    NodeError,
    message::{Message, attributes, port, text, u16_at},
    socket::Requests,
};

/// `struct genlmsghdr`, and the controller's numbers (linux/genetlink.h).
const GENLMSGHDR: usize = 4;
const GENL_ID_CTRL: libc::c_int = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

/// linux/fou.h
const FOU_CMD_GET: u8 = 3;
const FOU_ATTR_PORT: u16 = 1;

/// Asks the FOU module.
pub(super) struct Fou {
    requests: Requests,
}

impl Fou {
    pub(super) fn open() -> Result<Self, NodeError> {
        Ok(Self {
            requests: Requests::open(rtnetlink::sys::protocols::NETLINK_GENERIC)?,
        })
    }

    /// The ports of this namespace; none when the module is not loaded.
    pub(super) fn ports(&mut self) -> io::Result<Vec<u16>> {
        // All families, since asking for one by name would load its module.
        let families = self
            .requests
            .dump(GENL_ID_CTRL, &[CTRL_CMD_GETFAMILY, 1, 0, 0], family)?;
        match families.iter().find(|(_, name)| name == "fou") {
            None => Ok(Vec::new()),
            Some((id, _)) => self
                .requests
                .dump((*id).into(), &[FOU_CMD_GET, 1, 0, 0], listener),
        }
    }
}

fn family(message: &Message<'_>) -> Option<(u16, String)> {
    let mut id = None;
    let mut name = None;
    for (kind, value) in attributes(message.payload, GENLMSGHDR) {
        match kind {
            CTRL_ATTR_FAMILY_ID => id = u16_at(value, 0),
            CTRL_ATTR_FAMILY_NAME => name = Some(text(value)),
            _ => {}
        }
    }
    Some((id?, name?))
}

fn listener(message: &Message<'_>) -> Option<u16> {
    attributes(message.payload, GENLMSGHDR)
        .find(|(kind, _)| *kind == FOU_ATTR_PORT)
        .and_then(|(_, value)| port(value))
}
