//! Address blocks. Source: `ValidateIPBlock` of Kubernetes; host bits are accepted and masked.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::IPBlock as ApiBlock;
use policy_core::model::IpBlock;
use thiserror::Error;

use super::field::{Context, Field};

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
pub(super) fn block(block: &ApiBlock, field: &Field, context: &mut Context) -> Option<IpBlock> {
    context.whole(|context| {
        let cidr = match parse(&block.cidr, context.is_strict()) {
            Ok(cidr) => cidr,
            Err(error) => {
                context.error(&field.child("cidr"), error);
                return None;
            }
        };
        let at = field.child("except");
        let mut except = Vec::new();
        for (index, text) in block.except.iter().flatten().enumerate() {
            match parse(text, context.is_strict()).and_then(|net| inside(net, cidr)) {
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
    fn host_bits_are_masked() {
        let net = parse("192.168.5.10/24", true).unwrap();
        assert_eq!(net.to_string(), "192.168.5.0/24");
        let net = parse("2001:db8::1/64", true).unwrap();
        assert_eq!(net.to_string(), "2001:db8::/64");
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
