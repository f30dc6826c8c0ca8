//! The programs' debug lines, and where they go.
//!
//! Invariant: what a line means for verdicts is not known here; only numbers get their names, which
//! would cost the programs text.

use std::borrow::Cow;

use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};
use policy_common::Reason;

/// Passes the programs' debug lines on to the `log` crate. They were chosen when the object was
/// loaded: nothing comes, and nothing is paid, when they are off.
pub struct DebugLines {
    logger: EbpfLogger<Named>,
}

impl DebugLines {
    /// The lines of a loaded program and of those that share its maps. `None`: it has none.
    pub(crate) fn of(program_id: u32) -> Option<Self> {
        let logger = EbpfLogger::init_from_id_with_logger(program_id, Named).ok()?;
        Some(Self { logger })
    }

    /// Passes on what the programs wrote since the last call.
    pub fn flush(&mut self) {
        self.logger.flush();
    }
}

/// The logger of this process, told names instead of numbers.
struct Named;

impl Log for Named {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        log::logger().enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let line = record.args().to_string();
        let line = with_names(&line);
        log::logger().log(
            &Record::builder()
                .metadata(record.metadata().clone())
                .module_path(record.module_path())
                .file(record.file())
                .line(record.line())
                .args(format_args!("{line}"))
                .build(),
        );
    }

    fn flush(&self) {
        log::logger().flush();
    }
}

/// The line with the name of its reason.
fn with_names(line: &str) -> Cow<'_, str> {
    let named = || {
        let (before, after) = line.split_once(": reason ")?;
        let number = after.split(' ').next()?;
        let reason = Reason::from_u8(number.parse().ok()?)?;
        let rest = after.get(number.len()..)?;
        Some(format!("{before}: {}{rest}", reason.name()))
    };
    named().map_or(Cow::Borrowed(line), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_shown_by_its_name() {
        let line = "ingress ifindex 7 from 0 stamp 0: reason 16 identity 3";
        let named = "ingress ifindex 7 from 0 stamp 0: policy identity 3";
        assert_eq!(with_names(line), named);
        assert_eq!(with_names("egress: reason 0"), "egress: not-isolated");
    }

    #[test]
    fn a_line_of_another_object_stays_as_it_is() {
        for line in ["", "loaded", ": reason ", "a: reason 63 b", "a: reason 300"] {
            assert_eq!(with_names(line), line);
        }
    }
}
