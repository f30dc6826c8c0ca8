#!/usr/bin/env bash
# aya 0.14.0: what attaches to TCX without CAP_SYS_ADMIN cannot ask what is attached there.
#
# Linux lets a process with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON load a program, attach it to TCX and ask
# with BPF_PROG_QUERY which programs stand there, by their ids. One would guess that
# `SchedClassifier::query_tcx` needs no more than `attach` does. But it opens each program by its id
# (BPF_PROG_GET_FD_BY_ID), which takes CAP_SYS_ADMIN (kernel/bpf/syscall.c, bpf_prog_get_fd_by_id): on an
# interface with a program it fails with EPERM, also where the program is the caller's own. On an interface
# without one the same call succeeds, so that it is noticed only later.
#
# Seen with aya 0.14.0 on Linux 6.18:
#     attach: ok
#     query of an interface without programs: 0 programs
#     query of the interface with the program: EPERM
#
# For us: a DaemonSet with four capabilities could not verify its own place; programs are listed by number.
#
# Needs root, Linux 6.6 or newer, python3 with venv and pip, cargo, ip, setpriv. Leaves nothing.
set -euo pipefail
work=$(mktemp -d)
netns=finding-$$
trap 'ip netns del "$netns" 2>/dev/null || true; rm -rf "$work"' EXIT
ip netns add "$netns"
for device in with without; do
    ip -n "$netns" link add "$device" type veth peer name "${device}_peer"
    ip -n "$netns" link set "$device" up
done
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet ziglang==0.13.0
cat > pass.c <<'C'
#define SEC(name) __attribute__((section(name), used))
SEC("classifier") int pass(void *context) { return -1; }
char the_license[] SEC("license") = "GPL";
C
venv/bin/python -m ziglang cc -target bpfel-freestanding -O2 -g -c pass.c -o pass.o

mkdir -p query/src
cat > query/Cargo.toml <<'TOML'
[package]
name = "query"
version = "0.0.0"
edition = "2021"
[dependencies]
aya = "=0.14.0"
TOML
cat > query/src/main.rs <<'RS'
use aya::programs::{tc::TcAttachOptions, LinkOrder, SchedClassifier, TcAttachType::Ingress};

/// The number of the error that is behind this one.
fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return error.raw_os_error();
        }
        next = error.source();
    }
    None
}

fn main() {
    let object = std::fs::read(std::env::args().nth(1).expect("object")).expect("object");
    let mut ebpf = aya::Ebpf::load(&object).expect("the object loads");
    let program: &mut SchedClassifier = ebpf.program_mut("pass").expect("program").try_into().expect("kind");
    program.load().expect("load");
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    program.attach_with_options("with", Ingress, options).expect("attach");
    println!("attach: ok");
    let (_, none) = SchedClassifier::query_tcx("without", Ingress).expect("query");
    println!("query of an interface without programs: {} programs", none.len());
    let error = SchedClassifier::query_tcx("with", Ingress).expect_err("the behaviour changed: it succeeds");
    assert_eq!((none.len(), errno(&error)), (0, Some(1)), "the behaviour changed: {error:?}");
    println!("query of the interface with the program: EPERM");
}
RS
cargo build --quiet --manifest-path query/Cargo.toml
keep=-all,+bpf,+net_admin,+perfmon
ip netns exec "$netns" setpriv --bounding-set "$keep" --inh-caps "$keep" \
    query/target/debug/query pass.o
echo "as described"
