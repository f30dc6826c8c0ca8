#!/usr/bin/env bash
# nix 0.31.3: if_indextoname answers with an empty name for an index that no interface has.
#
# if_indextoname(3) returns a null pointer and sets ENXIO then. One would guess that nix's safe wrapper
# returns Err(ENXIO), as its if_nametoindex does for a name that no interface has. Instead it returns
# Ok(""): `Errno::result` takes -1 for failure, and a null pointer is none.
#
# Seen with nix 0.31.3 on Linux 6.18:
#     name of index 2147483647: Ok("")
#     index of an unknown name: Err(ENODEV)
#
# For us: an empty name is taken for an interface that is gone; else `status` and `cleanup` would name
# interfaces "" and tell of qdiscs that nobody removed.
#
# Needs cargo. Leaves nothing.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "names"
version = "0.0.0"
edition = "2021"
[dependencies]
nix = { version = "=0.31.3", features = ["net"] }
TOML
cat > src/main.rs <<'RS'
use nix::net::if_::{if_indextoname, if_nametoindex};

fn main() {
    let index = i32::MAX as u32;
    println!("name of index {index}: {:?}", if_indextoname(index));
    println!("index of an unknown name: {:?}", if_nametoindex("no-such-link"));
}
RS
cargo run --quiet > seen
cat seen
diff - seen <<'SEEN'
name of index 2147483647: Ok("")
index of an unknown name: Err(ENODEV)
SEEN
