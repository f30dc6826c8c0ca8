//! Whether a connection is allowed, by whom, and what is missing where it is not.

use std::{borrow::Cow, fmt, net::IpAddr};

use policy_common::Direction;
use policy_core::{
    model::ObjectName,
    resolve::{Explanation, Judgement, PeerName, Resolver, RuleName, Unanswerable},
};
use serde::{Deserialize, Serialize, Serializer};

use super::{
    Packet, PartyArgument,
    live::Way,
    party::{optionally_parsed, parsed},
};

/// The version of the JSON.
const VERSION: u32 = 1;

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It passes.
    Allowed,
    /// It does not.
    Denied,
}

impl Verdict {
    pub(crate) fn of(is_allowed: bool) -> Self {
        match is_allowed {
            true => Self::Allowed,
            false => Self::Denied,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
        })
    }
}

/// The answer to one question.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    version: u32,
    #[serde(serialize_with = "displayed", deserialize_with = "parsed")]
    pub(super) from: PartyArgument,
    #[serde(serialize_with = "displayed", deserialize_with = "parsed")]
    to: PartyArgument,
    /// `None` when it was asked what passes at all.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "optional",
        deserialize_with = "optionally_parsed"
    )]
    packet: Option<Packet>,
    /// Denied when it does not pass over every address family, or nothing does.
    pub verdict: Verdict,
    /// Of a running agent: whether the objects, the maps and the programs say the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agree: Option<bool>,
    pub(super) families: Vec<Family>,
}

/// What is said of one address family.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Family {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) destination: Option<IpAddr>,
    pub(super) verdict: Verdict,
    /// What both ends allow, when that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    traffic: Option<String>,
    pub(super) ends: Vec<End>,
}

/// What one end says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) direction: Cow<'static, str>,
    pub(super) pod: String,
    /// What the objects say.
    pub(super) verdict: Verdict,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<Why>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    traffic: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    isolated_by: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    allowed_by: Vec<Rule>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nearest: Option<Near>,
    /// What the maps say, read by the decisions of the programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) maps: Option<Way>,
    /// What the program says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) program: Option<Way>,
}

/// Why a packet passes one end or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Why {
    Host,
    Itself,
    NotIsolated,
    Rule,
    NoRule,
    SourceAddress,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Rule {
    policy: String,
    field: String,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Near {
    #[serde(flatten)]
    rule: Rule,
    lacks: Vec<String>,
}

impl Answer {
    /// Asks the facts.
    ///
    /// # Errors
    /// When there is nothing to be judged.
    pub fn new(
        resolver: &Resolver,
        from: PartyArgument,
        to: PartyArgument,
        packet: Option<Packet>,
    ) -> Result<Self, Unanswerable> {
        let families = match packet {
            Some(packet) => judged(resolver, &from, &to, packet)?,
            None => reached(resolver, &from, &to)?,
        };
        let mut verdicts = families.iter().map(|family| family.verdict);
        let verdict = Verdict::of(verdicts.all(|verdict| verdict == Verdict::Allowed));
        Ok(Self {
            version: VERSION,
            from,
            to,
            packet,
            verdict,
            agree: None,
            families,
        })
    }
}

fn judged(
    resolver: &Resolver,
    from: &PartyArgument,
    to: &PartyArgument,
    packet: Packet,
) -> Result<Vec<Family>, Unanswerable> {
    let connections = resolver.connections(&from.0, &to.0, packet.protocol(), packet.port())?;
    let families = connections.into_iter().map(|connection| Family {
        source: connection.source,
        destination: connection.destination,
        verdict: Verdict::of(connection.is_allowed()),
        traffic: None,
        ends: [
            (Direction::Egress, connection.egress),
            (Direction::Ingress, connection.ingress),
        ]
        .into_iter()
        .filter_map(|(direction, judgement)| Some(End::judged(direction, judgement?)))
        .collect(),
    });
    Ok(families.collect())
}

fn reached(
    resolver: &Resolver,
    from: &PartyArgument,
    to: &PartyArgument,
) -> Result<Vec<Family>, Unanswerable> {
    let reaches = resolver.reach(&from.0, &to.0)?;
    let families = reaches.into_iter().map(|reach| {
        let traffic = reach.traffic();
        let ends = [
            (Direction::Egress, reach.egress),
            (Direction::Ingress, reach.ingress),
        ];
        Family {
            source: reach.source,
            destination: reach.destination,
            verdict: Verdict::of(!traffic.is_nothing()),
            traffic: Some(traffic.to_string()),
            ends: ends
                .into_iter()
                .filter_map(|(direction, end)| {
                    let end = end?;
                    Some(End {
                        direction: direction.name().into(),
                        pod: end.pod.to_string(),
                        verdict: Verdict::of(!end.traffic.is_nothing()),
                        why: None,
                        traffic: Some(end.traffic.to_string()),
                        isolated_by: names(&end.isolated_by),
                        allowed_by: Vec::new(),
                        nearest: None,
                        maps: None,
                        program: None,
                    })
                })
                .collect(),
        }
    });
    Ok(families.collect())
}

impl End {
    fn judged(direction: Direction, judgement: Judgement) -> Self {
        let Judgement { pod, explanation } = judgement;
        let why = Why::of(&explanation);
        let rules = explanation.allowed_by.iter().map(Rule::new);
        Self {
            direction: direction.name().into(),
            pod: pod.to_string(),
            verdict: Verdict::of(explanation.allowed),
            why: Some(why),
            traffic: None,
            isolated_by: names(&explanation.isolated_by),
            allowed_by: rules.collect(),
            nearest: explanation.nearest.map(|nearest| Near {
                rule: Rule::new(&nearest.rule),
                lacks: nearest.lacks.iter().map(ToString::to_string).collect(),
            }),
            maps: None,
            program: None,
        }
    }
}

impl Why {
    fn of(explanation: &Explanation) -> Self {
        match explanation.peer {
            PeerName::Host => Self::Host,
            _ if explanation.isolated_by.is_empty() => Self::NotIsolated,
            PeerName::Itself => Self::Itself,
            PeerName::Pod(_) | PeerName::Outside if explanation.allowed => Self::Rule,
            PeerName::Pod(_) | PeerName::Outside => Self::NoRule,
        }
    }
}

impl Rule {
    fn new(name: &RuleName) -> Self {
        Self {
            policy: name.policy.to_string(),
            field: name.field(),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.field, self.policy)
    }
}

fn names(all: &[ObjectName]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

fn displayed<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn optional<S: Serializer>(
    value: &Option<impl fmt::Display>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

/// For people: the answer first, then each end in a line. Families of which the same is said are one.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.from, self.to)?;
        if let Some(packet) = self.packet {
            write!(f, " {packet}")?;
        }
        let texts: Vec<String> = self.families.iter().map(ToString::to_string).collect();
        let mut said = texts.clone();
        said.dedup();
        if let ([text], Some(family)) = (&said[..], self.families.first()) {
            write!(f, ": {}\n{text}", family.outcome())?;
            return self.disagreement(f);
        }
        writeln!(f, ": {}", self.verdict)?;
        for (family, text) in self.families.iter().zip(texts) {
            let address = |address: Option<IpAddr>| {
                address.map_or_else(|| "?".to_owned(), |address| address.to_string())
            };
            let (source, destination) = (address(family.source), address(family.destination));
            writeln!(f, "{source} -> {destination}: {}", family.outcome())?;
            f.write_str(&text)?;
        }
        self.disagreement(f)
    }
}

impl Family {
    fn outcome(&self) -> String {
        self.traffic
            .clone()
            .unwrap_or_else(|| self.verdict.to_string())
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ends.iter().try_for_each(|end| {
            end.fmt(f)?;
            end.ways(f)
        })
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { direction, pod, .. } = self;
        write!(f, "  {direction} of {pod}: ")?;
        if let Some(traffic) = &self.traffic {
            write!(f, "{traffic}")?;
            return match self.isolated_by.is_empty() {
                true => writeln!(f, ", no policy isolates it"),
                false => writeln!(f, ", isolated by {}", self.isolated_by.join(", ")),
            };
        }
        write!(f, "{}, ", self.verdict)?;
        match self.why {
            Some(Why::Host) => writeln!(f, "since a pod and its own node always reach each other"),
            Some(Why::Itself) => writeln!(f, "since a pod always reaches itself"),
            Some(Why::NotIsolated) => writeln!(f, "since no policy isolates it"),
            Some(Why::SourceAddress) => writeln!(f, "since the source address is not the pod's"),
            Some(Why::Rule) => {
                let rules: Vec<_> = self.allowed_by.iter().map(Rule::to_string).collect();
                writeln!(f, "by {}", rules.join(", "))
            }
            Some(Why::NoRule) | None => {
                writeln!(f, "isolated by {}", self.isolated_by.join(", "))?;
                let Some(Near { rule, lacks }) = &self.nearest else {
                    return writeln!(f, "    they have no {direction} rule");
                };
                writeln!(f, "    nearest is {rule}:")?;
                lacks
                    .iter()
                    .try_for_each(|lack| writeln!(f, "      {lack}"))
            }
        }
    }
}
