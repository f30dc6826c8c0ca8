//! Labels and label selectors.

use std::{collections::BTreeMap, fmt, sync::Arc};

/// The labels of one object.
pub type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// One requirement of a selector. `matchLabels` entries are `In` with one value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Requirement {
    /// The key exists and has one of the values (sorted, without repeats).
    In(Arc<str>, Vec<Arc<str>>),
    /// The key is missing, or has none of the values (sorted, without repeats).
    NotIn(Arc<str>, Vec<Arc<str>>),
    /// The key exists.
    Exists(Arc<str>),
    /// The key is missing.
    DoesNotExist(Arc<str>),
    /// Holds for no labels at all: what could not be read.
    Never,
}

impl Requirement {
    /// The key that it asks for.
    pub fn key(&self) -> Option<&Arc<str>> {
        match self {
            Self::In(key, _)
            | Self::NotIn(key, _)
            | Self::Exists(key)
            | Self::DoesNotExist(key) => Some(key),
            Self::Never => None,
        }
    }

    /// Whether labels meet the requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        match self {
            Self::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Self::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Self::Exists(key) => labels.contains_key(key),
            Self::DoesNotExist(key) => !labels.contains_key(key),
            Self::Never => false,
        }
    }
}

/// As kubectl writes selectors: `a=b`, `a in (b,c)`, `a notin (b)`, `a`, `!a`.
impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In(key, values) => match &values[..] {
                [value] => write!(f, "{key}={value}"),
                values => write!(f, "{key} in ({})", values.join(",")),
            },
            Self::NotIn(key, values) => write!(f, "{key} notin ({})", values.join(",")),
            Self::Exists(key) => f.write_str(key),
            Self::DoesNotExist(key) => write!(f, "!{key}"),
            Self::Never => f.write_str("what cannot be read"),
        }
    }
}

/// All requirements must hold; none selects everything. Canonical: sorted, without repeats, so
/// that equal selectors compare equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector(Vec<Requirement>);

impl Selector {
    /// The canonical selector of these requirements.
    pub fn new(requirements: impl IntoIterator<Item = Requirement>) -> Self {
        let mut requirements: Vec<_> = requirements
            .into_iter()
            .map(|requirement| match requirement {
                Requirement::In(key, values) => Requirement::In(key, canonical(values)),
                Requirement::NotIn(key, values) => Requirement::NotIn(key, canonical(values)),
                other => other,
            })
            .collect();
        requirements.sort();
        requirements.dedup();
        Self(requirements)
    }

    /// Selects everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Selects nothing.
    pub fn nothing() -> Self {
        Self(vec![Requirement::Never])
    }

    /// The requirements, in canonical order.
    pub fn requirements(&self) -> &[Requirement] {
        &self.0
    }

    /// Whether labels meet every requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels))
    }
}

fn canonical(mut values: Vec<Arc<str>>) -> Vec<Arc<str>> {
    values.sort();
    values.dedup();
    values
}
