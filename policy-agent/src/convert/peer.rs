//! Peers of a rule. Source: `ValidateNetworkPolicyPeer` of Kubernetes.

use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use policy_core::model::{PeerMatch, Selector};
use serde_json::Value;
use thiserror::Error;

use super::{
    block::block,
    decode::decode,
    field::{Context, Field},
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
        let peer: NetworkPolicyPeer = decode(value, field, context)?;
        let pods = peer
            .pod_selector
            .map(|pods| selector(&pods, &field.child("podSelector"), context));
        let namespaces = peer
            .namespace_selector
            .map(|namespaces| selector(&namespaces, &field.child("namespaceSelector"), context));
        let block = peer
            .ip_block
            .map(|addresses| block(&addresses, &field.child("ipBlock"), context));
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
