//! Enforces Kubernetes NetworkPolicy on this node.
