//! Peers of a rule. Source: `ValidateNetworkPolicyPeer` of Kubernetes.

use policy_core::model::{PeerMatch, Selector};
use serde_json::Value;
use thiserror::Error;

use super::{
    block::block,
    decode::members,
    field::{Context, Field},
    problem::Problem,
    selector::selector,
};

/// A peer that names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidPeer {
    /// No known field is set.
    #[error("must have podSelector, namespaceSelector or ipBlock")]
    Nobody,
    /// Addresses and selectors cannot be combined.
    #[error("must not have both ipBlock and a selector")]
    BlockAndSelector,
}

/// Reads one entry of `from` or `to`; `None` when it names nobody.
pub(super) fn peer(value: &Value, field: &Field, context: &mut Context) -> Option<PeerMatch> {
    context.whole(|context| {
        let known = ["podSelector", "namespaceSelector", "ipBlock"];
        if value.is_null() {
            context.error(field, Problem::not_a(value, "an object"));
            return None;
        }
        let peer = members(Some(value), &known, field, context)?;
        let get = |name: &str| peer?.get(name).filter(|value| !value.is_null());
        let selected = |name: &str, context: &mut Context| {
            get(name).map(|value| selector(value, &field.child(name), context))
        };
        let pods = selected("podSelector", context);
        let namespaces = selected("namespaceSelector", context);
        let block = get("ipBlock").map(|value| block(value, &field.child("ipBlock"), context));
        match (pods, namespaces, block) {
            (None, None, None) => {
                context.error(field, InvalidPeer::Nobody);
                None
            }
            (None, None, Some(block)) => Some(PeerMatch::Block(block?)),
            (_, _, Some(_)) => {
                context.error(field, InvalidPeer::BlockAndSelector);
                None
            }
            (pods, namespaces, None) => Some(PeerMatch::Pods {
                namespaces: match namespaces {
                    Some(namespaces) => Some(namespaces?),
                    None => None,
                },
                pods: match pods {
                    Some(pods) => pods?,
                    None => Selector::everything(),
                },
            }),
        }
    })
}
