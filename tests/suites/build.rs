//! Compiles the decision tests a second time: so that each packet also goes through the kernel.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cfg=in_kernel");
}
