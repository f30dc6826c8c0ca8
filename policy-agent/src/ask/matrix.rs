//! Who reaches whom: every pod and every part of the world outside that rules tell apart.
//!
//! Invariant: parties of which the same is said are worked out once, and stand in one row.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use ipnet::IpNet;
use policy_core::{
    model::{ObjectName, Traffic},
    resolve::{Class, Party, Resolver, regions},
};
use serde::Serialize;

/// The version of the JSON.
const VERSION: u32 = 1;
/// Names of a row that are written out for people.
const SHOWN: usize = 6;

/// Parties of which the same is said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Row {
    /// Pods.
    Pods(Vec<ObjectName>),
    /// Addresses outside: of a block, but not of those inside it that rules mention.
    Outside(IpNet, IpAddr),
}

impl Row {
    /// The names of its members.
    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Self::Pods(pods) => pods.iter().map(ToString::to_string).collect(),
            Self::Outside(block, _) if block.prefix_len() > 0 => vec![block.to_string()],
            Self::Outside(IpNet::V4(_), _) => vec!["any other IPv4 address".into()],
            Self::Outside(IpNet::V6(_), _) => vec!["any other IPv6 address".into()],
        }
    }

    fn party(&self, index: usize) -> Option<Party> {
        match self {
            Self::Pods(pods) => pods.get(index).cloned().map(Party::Pod),
            Self::Outside(_, example) => Some(Party::Address(*example)),
        }
    }
}

/// What one may open to another, by address family where there are addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cell(Vec<(Option<Family>, Traffic)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) enum Family {
    #[serde(rename = "IPv4")]
    V4,
    #[serde(rename = "IPv6")]
    V6,
}

impl Cell {
    /// What two parties may exchange; `None` where nothing is judged: outside, and over no family.
    pub(super) fn of(resolver: &Resolver, from: &Party, to: &Party) -> Option<Self> {
        let reaches = resolver.reach(from, to).ok()?;
        let families = reaches.into_iter().map(|reach| {
            let address = reach.destination.or(reach.source);
            let family = address.map(|address| match address {
                IpAddr::V4(_) => Family::V4,
                IpAddr::V6(_) => Family::V6,
            });
            (family, reach.traffic())
        });
        let families: BTreeMap<_, _> = families.collect();
        Some(Self(families.into_iter().collect()))
    }

    fn report(&self) -> CellReport {
        let over = self.0.iter().map(|(family, traffic)| {
            let (everything, ports) = match traffic {
                Traffic::Everything => (true, BTreeMap::new()),
                Traffic::Ports(ports) => (false, ports.clone()),
            };
            let ports = ports.into_iter();
            Over {
                family: *family,
                everything,
                ports: ports
                    .map(|(protocol, ranges)| (protocol.to_string(), ranges))
                    .collect(),
            }
        });
        CellReport {
            text: self.to_string(),
            over: over.collect(),
        }
    }

    /// Whether it has something that the other has not.
    pub(super) fn exceeds(&self, other: &Self) -> bool {
        let nothing = Traffic::nothing();
        self.0.iter().any(|(family, traffic)| {
            let before = other.0.iter().find(|(other, _)| other == family);
            let before = before.map_or(&nothing, |(_, traffic)| traffic);
            !traffic.without(before).is_nothing()
        })
    }
}

/// One text where the families agree.
impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, first) = self.0.first().ok_or(fmt::Error)?;
        if self.0.iter().all(|(_, traffic)| traffic == first) {
            return first.fmt(f);
        }
        for (index, (family, traffic)) in self.0.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            let family = match family {
                Some(Family::V4) => "IPv4: ",
                Some(Family::V6) => "IPv6: ",
                None => "",
            };
            write!(f, "{comma}{family}{traffic}")?;
        }
        Ok(())
    }
}

/// Who reaches whom.
#[derive(Debug)]
pub struct Matrix {
    rows: Vec<Row>,
    /// Every cell that there is, once.
    traffic: Vec<Cell>,
    /// For each row, for each row as destination, which of the texts; `None` where nothing is judged.
    cells: Vec<Vec<Option<usize>>>,
}

impl Matrix {
    /// Asks the facts.
    pub fn new(resolver: &Resolver) -> Self {
        let classes = resolver.classes();
        let outside = outside(&[resolver]);
        let rows: Vec<_> = classes
            .into_iter()
            .map(|Class { pods }| Row::Pods(pods))
            .chain(outside)
            .collect();
        let mut known: BTreeMap<Cell, usize> = BTreeMap::new();
        let mut traffic = Vec::new();
        let mut cell = |from: &Row, to: &Row| {
            let (from, to) = pair(from, to)?;
            let cell = Cell::of(resolver, &from, &to)?;
            let index = *known.entry(cell.clone()).or_insert_with(|| {
                traffic.push(cell);
                traffic.len() - 1
            });
            Some(index)
        };
        let cells = rows
            .iter()
            .map(|from| rows.iter().map(|to| cell(from, to)).collect())
            .collect();
        Self {
            rows,
            traffic,
            cells,
        }
    }

    /// The same for machines.
    pub fn report(&self) -> Report<'_> {
        Report {
            version: VERSION,
            rows: self.rows.iter().map(Members::of).collect(),
            traffic: self.traffic.iter().map(Cell::report).collect(),
            cells: &self.cells,
        }
    }
}

/// The parts of the world outside that the rules of any of them tell apart.
pub(super) fn outside(resolvers: &[&Resolver]) -> Vec<Row> {
    let blocks: BTreeSet<IpNet> = resolvers
        .iter()
        .flat_map(|resolver| resolver.blocks())
        .collect();
    let is_pods = |address| resolvers.iter().any(|resolver| resolver.has_pod(address));
    let regions = regions(&blocks, is_pods).into_iter();
    regions
        .map(|region| Row::Outside(region.block, region.example))
        .collect()
}

/// One of each, and two different ones of the same; `None` where there are no two.
pub(super) fn pair(from: &Row, to: &Row) -> Option<(Party, Party)> {
    let second = usize::from(from == to);
    Some((from.party(0)?, to.party(second)?))
}

/// For machines.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    version: u32,
    rows: Vec<Members>,
    traffic: Vec<CellReport>,
    cells: &'a [Vec<Option<usize>>],
}

#[derive(Debug, Serialize)]
struct CellReport {
    text: String,
    over: Vec<Over>,
}

/// What passes over one address family.
#[derive(Debug, Serialize)]
struct Over {
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<Family>,
    everything: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    ports: BTreeMap<String, Vec<(u16, u16)>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Members {
    Pods(Vec<String>),
    Outside(String),
}

impl Members {
    fn of(row: &Row) -> Self {
        match row {
            Row::Pods(_) => Self::Pods(row.names()),
            Row::Outside(..) => Self::Outside(row.names().concat()),
        }
    }
}

/// For people: for each row what it may open, the most first.
impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self.traffic.iter().map(Cell::to_string).collect();
        let width = texts.iter().map(String::len).max().unwrap_or(0);
        for (from, cells) in self.rows.iter().zip(&self.cells) {
            let mut reached: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for (to, cell) in self.rows.iter().zip(cells) {
                if let Some(cell) = cell {
                    reached.entry(&texts[*cell]).or_default().extend(to.names());
                }
            }
            if reached.is_empty() {
                continue;
            }
            writeln!(f, "from {}", listed(&from.names()))?;
            let mut reached: Vec<_> = reached.into_iter().collect();
            let rank = |text: &str| match text {
                "everything" => 0,
                "nothing" => 2,
                _ => 1,
            };
            reached.sort_by_key(|(text, _)| rank(text));
            for (text, names) in reached {
                writeln!(f, "  {text:width$}  to {}", listed(&names))?;
            }
        }
        Ok(())
    }
}

/// The first few, and how many more.
pub(super) fn listed(names: &[String]) -> String {
    let shown = &names[..names.len().min(SHOWN)];
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
