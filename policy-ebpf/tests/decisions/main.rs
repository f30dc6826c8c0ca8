//! The decision core over maps in memory: one file per part of semantics.

mod addresses;
mod budget;
mod carrying;
mod copies;
mod errors;
mod flows;
mod fragments;
mod frames;
mod giving_way;
mod groups;
mod headers;
mod judgements;
mod limits;
mod link;
mod node;
mod origins;
mod phases;
mod reopening;
mod rules;
mod sequences;
mod short_way;
mod unpoliced;
