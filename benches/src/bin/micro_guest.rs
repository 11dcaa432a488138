//! Writes a micro-guest as an ELF kernel: `micro_guest WORK COUNT FILE`.

use std::process::ExitCode;

use vmmkit_benches::micro_guest::{Work, elf};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [work, count, file] = arguments.as_slice() else {
        return usage();
    };
    let Some(work) = count
        .parse()
        .ok()
        .and_then(|count| Work::parse(work, count))
    else {
        return usage();
    };
    match std::fs::write(file, elf(&work.code())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{file}: {error}"), 1),
    }
}

fn usage() -> ExitCode {
    fail(
        "usage: micro_guest nothing|port-writes|port-reads|mmio-reads|mmio-writes|port-writes-on-VCPUS COUNT \
         FILE",
        2,
    )
}

#[expect(
    clippy::print_stderr,
    reason = "a program speaks to its user on stderr"
)]
fn fail(message: &str, code: u8) -> ExitCode {
    eprintln!("{message}");
    ExitCode::from(code)
}
