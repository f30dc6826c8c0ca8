//! Other agents of this machine, for people.

use crate::datapath::{OtherAgents, OtherPins, OtherProgram};

/// One line for each pin directory, and for each program on an interface here.
pub(super) fn lines(others: &OtherAgents) -> Vec<String> {
    let pin_path = |pins: &OtherPins| match &pins.process {
        Some(process) => format!("{}: held by process {process}", pins.path),
        None => format!(
            "{}: left behind, or held in another process namespace (policy-agent cleanup --pin-path {})",
            pins.path, pins.path
        ),
    };
    let program = |one: &OtherProgram| {
        let whose = match &one.pin_path {
            Some(path) => format!("of {path}"),
            None => "of no pin directory here".into(),
        };
        format!(
            "{} (program {}) on {}, {whose}",
            one.program, one.prog_id, one.interface
        )
    };
    let pin_paths = others.pin_paths.iter().map(pin_path);
    pin_paths
        .chain(others.programs.iter().map(program))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_behind_is_named_with_what_removes_it() {
        let others = OtherAgents {
            pin_paths: vec![OtherPins {
                path: "/sys/fs/bpf/old".into(),
                process: None,
            }],
            programs: vec![OtherProgram {
                interface: "veth1".into(),
                program: "to_pod".into(),
                prog_id: 7,
                pin_path: Some("/sys/fs/bpf/old".into()),
            }],
        };
        let lines = lines(&others);
        assert!(lines[0].contains("cleanup --pin-path /sys/fs/bpf/old"));
        assert_eq!(lines[1], "to_pod (program 7) on veth1, of /sys/fs/bpf/old");
    }
}
