#!/usr/bin/env bash
# aya 0.14.0: loading an object a second time over a pinned .bss sets the running programs' globals
# back to their initial values.
#
# `EbpfLoader::map_pin_path(".bss", PATH)` opens the map that is pinned there, so that two loads share
# one global. One would guess that an existing map keeps its content, as hash and array maps that are
# opened through the same call do. Instead the second load writes the section's initial bytes into the
# shared map: whatever the programs of the first load had stored in their globals is gone, while they
# run. An ordinary map that is pinned the same way keeps its value.
#
# Seen with aya 0.14.0 on Linux 6.18:
#     ordinary map before the second load: 7, after: 7
#     .bss before the second load: 7, after: 0
#
# For us: a second copy of a program must not be loaded over the pinned global that the agent and the
# running programs share.
#
# Needs root, a BPF file system at /sys/fs/bpf, python3 with venv and pip, cargo. Leaves nothing.
set -euo pipefail
work=$(mktemp -d)
pins=$(mktemp -d /sys/fs/bpf/finding_XXXXXX)
trap 'rm -rf "$work" "$pins"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet ziglang==0.13.0
cat > globals.c <<'C'
#define SEC(name) __attribute__((section(name), used))
volatile unsigned long long seen;
struct {
    int (*type)[2];                     /* BPF_MAP_TYPE_ARRAY */
    unsigned int *key;
    unsigned long long *value;
    int (*max_entries)[1];
} ORDINARY SEC(".maps");
static void *(*const look_up)(void *map, const void *key) = (void *)1;
SEC("classifier") int count(void *context)
{
    unsigned int zero = 0;
    unsigned long long *entry = look_up(&ORDINARY, &zero);
    if (entry)
        *entry += 1;
    seen += 1;
    return 0;
}
char the_license[] SEC("license") = "GPL";
C
venv/bin/python -m ziglang cc -target bpfel-freestanding -O2 -g -c globals.c -o globals.o

mkdir -p reload/src
cat > reload/Cargo.toml <<'TOML'
[package]
name = "reload"
version = "0.0.0"
edition = "2021"
[dependencies]
aya = "=0.14.0"
TOML
cat > reload/src/main.rs <<'RS'
use aya::{maps::Array, Ebpf, EbpfLoader};

fn load(object: &[u8], pins: &str) -> Ebpf {
    let mut loader = EbpfLoader::new();
    for map in [".bss", "ORDINARY"] {
        let pin = format!("{pins}/{}", map.trim_start_matches('.'));
        loader.map_pin_path(map, std::path::PathBuf::from(pin));
    }
    loader.load(object).expect("the object loads")
}

fn value(ebpf: &Ebpf, map: &str) -> u64 {
    let array: Array<_, u64> = ebpf.map(map).expect("map").try_into().expect("array");
    array.get(&0, 0).expect("element")
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let object = std::fs::read(&arguments[1]).expect("object");
    let mut first = load(&object, &arguments[2]);
    for map in [".bss", "ORDINARY"] {
        let mut array: Array<_, u64> = first.map_mut(map).expect("map").try_into().expect("array");
        array.set(0, 7, 0).expect("set");
    }
    let before = (value(&first, "ORDINARY"), value(&first, ".bss"));
    let _second = load(&object, &arguments[2]);
    let after = (value(&first, "ORDINARY"), value(&first, ".bss"));
    println!("ordinary map before the second load: {}, after: {}", before.0, after.0);
    println!(".bss before the second load: {}, after: {}", before.1, after.1);
    assert_eq!((before, after), ((7, 7), (7, 0)), "the behaviour changed");
}
RS
cargo run --quiet --manifest-path reload/Cargo.toml -- globals.o "$pins"
echo "as described"
