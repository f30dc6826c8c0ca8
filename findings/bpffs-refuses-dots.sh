#!/usr/bin/env bash
# Linux: a name with a dot cannot be made on the BPF file system, and the error is the one of missing
# privilege.
#
# mkdir(2), symlink(2) and BPF_OBJ_PIN below a bpffs mount answer EPERM ("Operation not permitted") to
# root with all capabilities as soon as the name contains a dot; without the dot the same call works.
# The kernel keeps such names for itself (maps.debug, progs.debug are there; bpf_lookup() in
# kernel/bpf/inode.c). One looks for a capability, an LSM or a read-only mount; it is the name.
#
# Seen on Linux 6.18.44 (coreutils 9.1, iproute2 6.1):
#     mkdir agent_v2: 0
#     mkdir agent.v2: 1 (Operation not permitted)
#
# For our users: choose a `--pin-path` without dots.
#
# Needs root and unshare (util-linux); works in a mount namespace of its own and leaves nothing.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unshare --mount bash -euc '
    mount -t bpf bpf "$1"
    mkdir "$1/agent_v2" && echo "mkdir agent_v2: 0"
    if error=$(mkdir "$1/agent.v2" 2>&1); then
        echo "mkdir agent.v2: 0: the behaviour changed"
        exit 1
    fi
    echo "mkdir agent.v2: 1 (${error##*: })"
    case $error in *"Operation not permitted") ;; *) echo "another error: the behaviour changed"; exit 1 ;; esac
' bash "$work"
echo "as described, on Linux $(uname -r)"
