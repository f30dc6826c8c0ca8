//! What the virtual machines run passes on this machine's kernel too.

use std::process::Command;

use policy_agent::datapath::EMBEDDED;

#[test]
fn the_checks_of_the_matrix_pass_on_this_kernel() {
    let object = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(object.path(), EMBEDDED.unwrap()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_vmtest"))
        .arg(object.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.contains("\n@@SUMMARY programs verified: "), "{text}");
}
