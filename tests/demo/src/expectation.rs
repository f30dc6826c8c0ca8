//! What must be reachable at every step, written down by hand from the policy's text.
//!
//! Must not be derived from anything the agent computes. One line per source; per target one group
//! with a word for each of [`PORTS`](crate::cluster::PORTS): the families that get through, `-` for
//! one that does not, `.` where nothing is tried.

/// What is expected of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expectation(&'static [(&'static str, &'static str)]);

impl Expectation {
    /// What a cell is to show: one word per port.
    pub(crate) fn cell(self, source: &str, target: usize) -> Option<Vec<&'static str>> {
        let (_, line) = self.0.iter().find(|(name, _)| *name == source)?;
        let group = line.split('|').nth(target)?;
        Some(group.split_whitespace().collect())
    }
}

/// Nothing is isolated.
pub(crate) const OPEN: Expectation = Expectation(&[
    //                   default/frontend | default/backend | partner/frontend | guest/frontend | 192.168.5.10
    ("default/frontend", ".  .  | 46 46 | 46 46 | 46 46 | 46 46"),
    ("default/backend", " 46 46 | .  .  | 46 46 | 46 46 | 46 46"),
    ("partner/frontend", "46 46 | 46 46 | .  .  | 46 46 | 46 46"),
    ("guest/frontend", "  46 46 | 46 46 | 46 46 | .  .  | 46 46"),
    ("192.168.5.10", "    46 46 | 46 46 | 46 46 | 46 46 | .  . "),
    ("192.0.2.2", "       46 46 | 46 46 | 46 46 | 46 46 | .  . "),
    ("the node", "        46 46 | 46 46 | 46 46 | 46 46 | 46 46"),
]);

/// The policy isolates default/frontend, whose namespace and partner have the label.
pub(crate) const WITH_POLICY: Expectation = Expectation(&[
    ("default/frontend", ".  .  | -- -- | 46 -- | -- -- | -- --"),
    ("default/backend", " -- -- | .  .  | 46 46 | 46 46 | 46 46"),
    ("partner/frontend", "46 -- | 46 46 | .  .  | 46 46 | 46 46"),
    ("guest/frontend", "  -- -- | 46 46 | 46 46 | .  .  | 46 46"),
    ("192.168.5.10", "    4- -- | 46 46 | 46 46 | 46 46 | .  . "),
    ("192.0.2.2", "       -- -- | 46 46 | 46 46 | 46 46 | .  . "),
    ("the node", "        46 46 | 46 46 | 46 46 | 46 46 | 46 46"),
]);

/// Namespace guest has the label too.
pub(crate) const GUEST_JOINED: Expectation = Expectation(&[
    ("default/frontend", ".  .  | -- -- | 46 -- | 46 -- | -- --"),
    ("default/backend", " -- -- | .  .  | 46 46 | 46 46 | 46 46"),
    ("partner/frontend", "46 -- | 46 46 | .  .  | 46 46 | 46 46"),
    ("guest/frontend", "  46 -- | 46 46 | 46 46 | .  .  | 46 46"),
    ("192.168.5.10", "    4- -- | 46 46 | 46 46 | 46 46 | .  . "),
    ("192.0.2.2", "       -- -- | 46 46 | 46 46 | 46 46 | .  . "),
    ("the node", "        46 46 | 46 46 | 46 46 | 46 46 | 46 46"),
]);

/// The policy has no block any more.
pub(crate) const WITHOUT_BLOCK: Expectation = Expectation(&[
    ("default/frontend", ".  .  | -- -- | 46 -- | 46 -- | -- --"),
    ("default/backend", " -- -- | .  .  | 46 46 | 46 46 | 46 46"),
    ("partner/frontend", "46 -- | 46 46 | .  .  | 46 46 | 46 46"),
    ("guest/frontend", "  46 -- | 46 46 | 46 46 | .  .  | 46 46"),
    ("192.168.5.10", "    -- -- | 46 46 | 46 46 | 46 46 | .  . "),
    ("192.0.2.2", "       -- -- | 46 46 | 46 46 | 46 46 | .  . "),
    ("the node", "        46 46 | 46 46 | 46 46 | 46 46 | 46 46"),
]);
