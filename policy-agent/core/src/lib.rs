//! The pure half of the agent.
#![forbid(unsafe_code)]
