//! The decision core over maps in memory: one file per part of semantics.

mod addresses;
mod budget;
mod carrying;
mod closing;
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
mod neighbours;
mod node;
mod origins;
mod owed;
mod phases;
mod reopening;
mod rules;
mod sequences;
mod short_way;
mod talk;
mod unpoliced;
