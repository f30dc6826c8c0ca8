//! Address blocks. Source: `ValidateIPBlock` of Kubernetes.
//!
//! Host bits beyond the prefix are refused in manifests, as a 1.37 server refuses them in new
//! objects: whoever writes `10.0.0.0/0` hardly means everything. In objects from before that, which
//! a server still holds, they are masked.

use std::net::IpAddr;

use ipnet::IpNet;
use policy_core::model::IpBlock;
use serde_json::Value;
use thiserror::Error;

use super::{
    decode::{items, members, text},
    field::{Context, Field},
};

/// A block that covers no known set of addresses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidBlock {
    /// `cidr` is absent or empty.
    #[error("must be given")]
    NoCidr,
    /// Not `address/prefix-length`.
    #[error("{0:?} is not a CIDR such as 10.9.8.0/24 or 2001:db8::/64")]
    Syntax(String),
    /// `::ffff:a.b.c.d`: written as IPv6, usually meant as IPv4, and never equal to it.
    #[error("{0} is an IPv4-mapped IPv6 block, which matches no IPv4 address; write it as IPv4")]
    Mapped(String),
    /// Bits of the address that the prefix does not cover.
    #[error("{written} has bits beyond its prefix; write {network}, or the prefix that is meant")]
    HostBits {
        /// What it says.
        written: String,
        /// The network that it would be.
        network: IpNet,
    },
    /// An exception of the other family, outside the block, or as large as the block.
    #[error("{except} is not inside {cidr}")]
    ExceptOutside {
        /// The exception.
        except: IpNet,
        /// The block.
        cidr: IpNet,
    },
    /// An exception that takes the whole block away.
    #[error("{0} is the whole block; an exception must be smaller")]
    ExceptWhole(IpNet),
}

/// Reads a block; `None` when its CIDR or any of its exceptions cannot be read.
pub(super) fn block(value: &Value, field: &Field, context: &mut Context) -> Option<IpBlock> {
    context.whole(|context| {
        let known = ["cidr", "except"];
        let block = members(Some(value), &known, field, context)?;
        let get = |name: &str| block.and_then(|block| block.get(name));
        let cidr = text(get("cidr"), &field.child("cidr"), context)?;
        let cidr = match parse(cidr.unwrap_or_default(), context.is_strict()) {
            Ok(cidr) => cidr,
            Err(error) => {
                context.error(&field.child("cidr"), error);
                return None;
            }
        };
        let at = field.child("except");
        let mut except = Vec::new();
        for (index, value) in items(get("except"), &at, context)?.iter().enumerate() {
            let except_text = text(Some(value), &at.index(index), context)?;
            let except_text = except_text.unwrap_or_default();
            match parse(except_text, context.is_strict()).and_then(|net| inside(net, cidr)) {
                Ok(net) => except.push(net),
                Err(error) => context.error(&at.index(index), error),
            }
        }
        except.sort();
        except.dedup();
        Some(IpBlock { cidr, except })
    })
}

fn inside(except: IpNet, cidr: IpNet) -> Result<IpNet, InvalidBlock> {
    if except == cidr {
        Err(InvalidBlock::ExceptWhole(except))
    } else if cidr.contains(&except) {
        Ok(except)
    } else {
        Err(InvalidBlock::ExceptOutside { except, cidr })
    }
}

/// A prefix with its host bits masked. An API server may hold decimal numbers with leading zeros,
/// which manifests may not have: others read them as octal.
fn parse(text: &str, strict: bool) -> Result<IpNet, InvalidBlock> {
    if text.is_empty() {
        return Err(InvalidBlock::NoCidr);
    }
    let net = if strict {
        canonical(text)
    } else {
        text.parse().ok()
    };
    let net = net.ok_or_else(|| InvalidBlock::Syntax(text.to_owned()))?;
    match net.addr() {
        IpAddr::V6(address) if strict && address.to_ipv4_mapped().is_some() => {
            Err(InvalidBlock::Mapped(text.to_owned()))
        }
        _ if strict && net != net.trunc() => Err(InvalidBlock::HostBits {
            written: text.to_owned(),
            network: net.trunc(),
        }),
        _ => Ok(net.trunc()),
    }
}

fn canonical(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/')?;
    let plain = length == "0" || length.starts_with(|c: char| matches!(c, '1'..='9'));
    let length = length.parse().ok().filter(|_| plain)?;
    IpNet::new(address.parse().ok()?, length).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_refused_in_manifests_and_masked_in_what_a_server_holds() {
        for (text, network) in [
            ("192.168.5.10/24", "192.168.5.0/24"),
            ("10.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::1/64", "2001:db8::/64"),
        ] {
            let error = parse(text, true).unwrap_err();
            assert!(matches!(error, InvalidBlock::HostBits { .. }), "{error}");
            assert_eq!(parse(text, false).unwrap().to_string(), network);
        }
        assert!(parse("192.168.5.10/32", true).is_ok());
    }

    #[test]
    fn what_is_no_cidr_is_refused() {
        for bad in [
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "10.0.0.0/-1",
            "010.0.0.0/8",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "fe80::1%eth0/64",
        ] {
            assert!(parse(bad, true).is_err(), "{bad}");
        }
        assert_eq!(
            parse("::ffff:10.0.0.0/104", true),
            Err(InvalidBlock::Mapped("::ffff:10.0.0.0/104".to_owned()))
        );
    }

    #[test]
    fn leading_zeros_that_a_server_stored_are_decimal() {
        let net = parse("010.020.000.0/16", false).unwrap();
        assert_eq!(net.to_string(), "10.20.0.0/16");
    }
}
