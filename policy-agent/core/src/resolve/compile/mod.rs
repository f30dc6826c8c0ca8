//! What policies ask for: predicates on addresses, and contents of rulesets made of them.
//!
//! Reads facts and knows no table, but that rulesets and identities have numbers. Invariant: what
//! is equal in meaning and form is stored once.

pub(crate) mod block;
pub(crate) mod content;
pub(crate) mod policy;
pub(crate) mod ports;
pub(crate) mod predicate;
pub(crate) mod term;

use self::{block::Blocks, predicate::Predicates, term::Scopes};

/// All active predicates, and for which addresses they hold.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) predicates: Predicates,
    pub(crate) scopes: Scopes,
    pub(crate) blocks: Blocks,
}

impl Active {
    pub(crate) fn new() -> Self {
        Self {
            predicates: Predicates::default(),
            scopes: Scopes::default(),
            blocks: Blocks::new(),
        }
    }
}
