//! Answers to questions of others. Changes nothing.

pub(crate) mod connection;
pub(crate) mod explain;
pub(crate) mod survey;
pub(crate) mod view;
