//! The guest's whole file system: busybox, the modules, the test program with its libraries, the eBPF object, and an
//! init that runs it. Written as a `newc` archive (kernel:
//! Documentation/driver-api/early-userspace/buffer-format.rst).

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{kernel::Kernel, libraries::Packed, modules};

/// What the guest prints before the test program's exit status.
pub(super) const EXIT_STATUS: &str = "@@RC ";

/// Mounts what a program expects, loads the modules, runs the test.
const INIT: &str = "\
#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
for module in /modules/*.ko; do
    insmod \"$module\" || { echo \"@@RC insmod $module\"; poweroff -f; }
done
ip link set lo up
/vmtest /policy-ebpf
echo \"@@RC $?\"
poweroff -f
";

/// Writes the archive for one kernel.
pub(super) fn pack(archive: &Path, kernel: &Kernel, program: &Packed, object: &Path) -> Result<()> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("reading {}", path.display()));
    let mut cpio = Cpio::default();
    for dir in ["bin", "dev", "modules", "proc", "run", "sys", "tmp"] {
        cpio.directory(dir);
    }
    // The kernel opens it for init before anything is mounted.
    cpio.character_device("dev/console", 5, 1);
    cpio.file("bin/busybox", 0o755, &read(&kernel.busybox)?);
    for (position, module) in modules::in_load_order(&kernel.modules)?.iter().enumerate() {
        cpio.file(
            &format!("modules/{position:02}-{}.ko", module.name),
            0o644,
            &module.content,
        );
    }
    cpio.file("vmtest", 0o755, &program.program);
    for directory in directories(&program.libraries) {
        cpio.directory(&directory);
    }
    for library in &program.libraries {
        cpio.file(&inside(library), 0o755, &read(library)?);
    }
    cpio.file("policy-ebpf", 0o644, &read(object)?);
    cpio.file("init", 0o755, INIT.as_bytes());
    fs::write(archive, cpio.finish()).with_context(|| format!("writing {}", archive.display()))
}

/// A path as the archive has it: without the root.
fn inside(path: &Path) -> String {
    path.to_string_lossy().trim_start_matches('/').to_owned()
}

/// Every directory that these files lie in, the upper ones first.
fn directories(files: &[PathBuf]) -> BTreeSet<String> {
    files
        .iter()
        .flat_map(|file| file.ancestors().skip(1))
        .map(inside)
        .filter(|directory| !directory.is_empty() && directory != "bin")
        .collect()
}

/// An archive being written.
#[derive(Default)]
struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
}

impl Cpio {
    fn directory(&mut self, name: &str) {
        self.entry(name, 0o040_755, (0, 0), &[]);
    }

    fn character_device(&mut self, name: &str, major: u32, minor: u32) {
        self.entry(name, 0o020_600, (major, minor), &[]);
    }

    fn file(&mut self, name: &str, permissions: u32, content: &[u8]) {
        self.entry(name, 0o100_000 | permissions, (0, 0), content);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, (major, minor): (u32, u32), content: &[u8]) {
        self.entries += 1;
        // Inode, mode, user, group, links, time, size, device (two), device that it is (two),
        // name's size, checksum.
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            content.len() as u32,
            0,
            0,
            major,
            minor,
            name.len() as u32 + 1,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_before_what_they_hold() {
        let files = ["/lib/x/libc.so.6", "/lib64/ld.so"].map(PathBuf::from);
        let directories: Vec<_> = directories(&files).into_iter().collect();
        assert_eq!(directories, ["lib", "lib/x", "lib64"]);
    }

    #[test]
    fn an_archive_is_aligned_and_ends_with_its_trailer() {
        let mut cpio = Cpio::default();
        cpio.file("init", 0o755, b"odd");
        let bytes = cpio.finish();
        assert_eq!(bytes.len() % 4, 0);
        let content = (6 + 13 * 8 + "init\0".len()).next_multiple_of(4);
        assert_eq!(&bytes[content..content + 4], b"odd\0");
        assert_eq!(&bytes[content + 4..content + 10], b"070701");
        assert!(bytes.windows(11).any(|window| window == b"TRAILER!!!\0"));
    }
}
