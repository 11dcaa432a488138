//! Compiles `init/main.rs`, the guest's first process: a program of its own without any library, a libc included, so
//! that nothing has to be installed for it beyond what links Rust programs.

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;

/// How it is compiled and linked: small, at fixed addresses, with nothing but itself.
const FLAGS: [&str; 22] = [
    "--edition=2024",
    "--crate-name=init",
    "--crate-type=bin",
    "-Copt-level=s",
    "-Cpanic=abort",
    "-Clto=fat",
    "-Ccodegen-units=1",
    "-Cstrip=symbols",
    "-Crelocation-model=static",
    "-Cforce-unwind-tables=no",
    "-Ctarget-feature=+crt-static",
    "-Clink-arg=-nostartfiles",
    "-Clink-arg=-nostdlib",
    "-Clink-arg=-static",
    "-Clink-arg=-no-pie",
    "-Clink-arg=-Wl,--build-id=none",
    "-Clink-arg=-Wl,--gc-sections",
    "-Clink-arg=-Wl,-z,noexecstack",
    "-Aunknown_lints",
    "-Dwarnings",
    "-Dunsafe_op_in_unsafe_fn",
    "--cap-lints=warn",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=init");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|it| it == value);
    let file = Path::new(&env::var("OUT_DIR")?).join("init");
    let can_be = is("CARGO_CFG_TARGET_ARCH", "x86_64")
        && is("CARGO_CFG_TARGET_OS", "linux")
        && is("CARGO_CFG_TARGET_POINTER_WIDTH", "64");
    if !can_be {
        // The library says so when it is asked for an initial RAM disk.
        fs::write(file, [])?;
        return Ok(());
    }
    let mut rustc = Command::new(env::var("RUSTC")?);
    rustc.arg("--target").arg(env::var("TARGET")?).args(FLAGS);
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    rustc.arg("-o").arg(file).arg("init/main.rs");
    match rustc.status()? {
        status if status.success() => Ok(()),
        status => Err(format!("{rustc:?}: {status}").into()),
    }
}
