//! The build script of every program: links its release at a fixed address.
//!
//! One that can be loaded anywhere writes its own address into more than a megabyte of tables at every
//! start; the kernel can then share none of these pages, nor drop them. Heap, stack and libraries are
//! still placed at random.

fn main() {
    let is = |name: &str, value: &str| std::env::var_os(name).is_some_and(|found| found == value);
    if is("CARGO_CFG_TARGET_OS", "linux") && is("PROFILE", "release") {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
}
