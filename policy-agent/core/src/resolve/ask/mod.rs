//! Answers to questions of others. Changes nothing.

pub(crate) mod explain;
pub(crate) mod view;
