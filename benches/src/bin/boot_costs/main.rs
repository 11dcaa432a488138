//! Where the time of a boot goes: `boot_costs KERNEL INITRD CMDLINE [SYMBOLS [CPUS]]`.
//!
//! Boots on this host's KVM, with its first vCPU watched: exits are counted by port and address, and
//! RIP is sampled every 2 ms. SYMBOLS is a System.map, or /proc/kallsyms of the same kernel booted
//! with `nokaslr`. On a software KVM it tells what was completed and bridged besides. The guest's
//! console goes to stdout, the figures to stderr.
#![expect(
    clippy::print_stderr,
    reason = "the figures are what the program is for"
)]

mod symbols;
mod watched;

use std::error::Error;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use vmmkit_boot_loader::{parameter_words, with_parameters};
use vmmkit_host_io::OutputBuffer;
use vmmkit_hypervisor::Hypervisor;
use vmmkit_hypervisor_kvm::Kvm;
use vmmkit_vmm::{Console, KernelBoot, MachineBuilder, MachineConfig};

use crate::symbols::Symbols;
use crate::watched::Watched;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kernel, initrd, cmdline, rest @ ..] = arguments.as_slice() else {
        return Err("usage: boot_costs KERNEL INITRD CMDLINE [SYMBOLS [CPUS]]".into());
    };
    let symbols = match rest.first() {
        Some(path) => Symbols::read(path)?,
        None => Symbols::default(),
    };
    let kvm = Kvm::open()?;
    let added = kvm.cmdline_additions(&parameter_words(cmdline))?;
    let cmdline = added.iter().fold(cmdline.clone(), |line, addition| {
        with_parameters(&line, addition.parameter)
    });
    let boot = KernelBoot {
        initrd: Some(initrd.as_str().into()),
        cmdline,
        ..KernelBoot::new(kernel.as_str())
    };
    let config = MachineConfig {
        vcpus: rest.get(1).map_or(Ok(1), |cpus| cpus.parse())?,
        ..MachineConfig::new(boot)
    };
    let stdout = std::io::stdout().as_fd().try_clone_to_owned()?;
    let console = Console {
        output: Some(Arc::new(OutputBuffer::new(stdout)?)),
        ..Console::default()
    };
    let watched = Watched::new(kvm);
    let start = Instant::now();
    let machine = MachineBuilder::new(config).console(console);
    let outcome = machine.build(&watched)?.start()?.wait();
    let seconds = start.elapsed().as_secs_f64();

    match outcome {
        Ok(outcome) => eprintln!("{seconds:.2} s to {outcome:?}"),
        Err(error) => eprintln!("{seconds:.2} s to an error: {error}"),
    }
    let counters = watched.inner().software_counters();
    eprintln!(
        "bridged {}, refused {}, faults {}",
        counters.bridged, counters.refused, counters.faults
    );
    for (name, count) in counters.completed {
        eprintln!("{count:>9} completed {name}");
    }
    let seen = watched.seen();
    for (exit, count) in seen.exits() {
        eprintln!("{count:>9} {exit}");
    }
    let total = seen.samples().len().max(1);
    for (name, count) in symbols.hottest(seen.samples()).into_iter().take(60) {
        eprintln!("{:>8.1}% {name}", 100.0 * count as f64 / total as f64);
    }
    Ok(())
}
