//! What has no room in the tables, for people: which pods, whose policies, which flag.

use std::collections::BTreeMap;

use policy_common::Direction;
use policy_core::{
    model::ObjectName,
    plan::{Short, Table},
    resolve::Resolver,
};

use crate::datapath::TableSizes;

/// Pods that one line names.
const NAMED: usize = 8;

/// One line per table and consequence; none when everything is written as it should be.
pub(super) fn describe(
    short: &[Short],
    packed: Option<Table>,
    sizes: &TableSizes,
    limit: Option<u32>,
    resolver: &Resolver,
    pod: impl Fn(u32) -> String,
) -> Vec<String> {
    let full = |table| full(sizes, limit, table);
    let mut pods: BTreeMap<(Table, bool), Vec<String>> = BTreeMap::new();
    let mut lines = Vec::new();
    for short in short {
        match *short {
            Short::Rules {
                ifindex,
                direction,
                table,
                kept,
                ..
            } => {
                let policies = resolver.policies_of(ifindex, direction);
                let line = format!(
                    "{} {} (policies {})",
                    pod(ifindex),
                    name(direction),
                    list(&policies)
                );
                pods.entry((table, kept)).or_default().push(line);
            }
            Short::Addresses {
                table,
                first,
                count,
            } => {
                let owner = resolver.pod_at(first);
                let owner = owner.map(|pod| format!(" of {pod}")).unwrap_or_default();
                lines.push(format!(
                    "{}: no rule for pods matches {count} addresses, the first is {first}{owner}",
                    full(table)
                ));
            }
        }
    }
    for ((table, kept), pods) in pods {
        let more = pods.len().saturating_sub(NAMED);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let named: Vec<_> = pods.into_iter().take(NAMED).collect();
        let what = if kept {
            "the rules before stay in force for"
        } else {
            "everything is denied, but for the host, for"
        };
        let full = full(table);
        lines.push(format!("{full}: {what} {}{more}", named.join("; ")));
    }
    if let Some(table) = packed.filter(|_| lines.is_empty()) {
        lines.push(format!(
            "{}: all policies are in force, but written anew with every change",
            full(table)
        ));
    }
    lines
}

fn full(sizes: &TableSizes, limit: Option<u32>, table: Table) -> String {
    let (name, flag, size) = sizes.flag(table);
    match limit {
        Some(limit) => {
            format!("{name} is full ({flag} {size}, no room to grow in --memory-limit {limit})")
        }
        None => format!("{name} is full ({flag} {size})"),
    }
}

fn name(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

fn list(policies: &[ObjectName]) -> String {
    let names: Vec<_> = policies.iter().map(ToString::to_string).collect();
    names.join(", ")
}
