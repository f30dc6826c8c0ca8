//! What is to be measured, and how thoroughly.

/// What is to be measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Few rounds: shows that everything works, and about what it costs.
    pub quick: bool,
    /// Only cases whose `group/case` contains this.
    pub filter: Option<String>,
}

impl Options {
    /// Whether a case is to be measured.
    pub fn wants(&self, group: &str, case: &str) -> bool {
        let name = format!("{group}/{case}");
        self.filter
            .as_ref()
            .is_none_or(|filter| name.contains(filter.as_str()))
    }

    /// `thorough`, or `quick` where that was asked for.
    pub fn pick<T>(&self, thorough: T, quick: T) -> T {
        if self.quick { quick } else { thorough }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_looks_at_the_group_and_the_case() {
        let options = |filter: Option<&str>| Options {
            filter: filter.map(str::to_owned),
            ..Options::default()
        };
        assert!(options(None).wants("datapath", "free"));
        for wanted in ["data", "path/fr", "free"] {
            assert!(options(Some(wanted)).wants("datapath", "free"), "{wanted}");
        }
        assert!(!options(Some("wire")).wants("datapath", "free"));
    }
}
