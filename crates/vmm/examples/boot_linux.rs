//! Boots Linux with the library alone: `boot_linux KERNEL [INITRD]`, the serial console on stdout.

use std::env;
use std::error::Error;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use vmmkit_guest_memory::{RamConfig, RamSize};
use vmmkit_host_io::OutputBuffer;
use vmmkit_hypervisor_kvm::Kvm;
use vmmkit_vmm::{Console, KernelBoot, MachineBuilder, MachineConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1);
    let kernel = arguments.next();
    let boot = KernelBoot {
        initrd: arguments.next().map(Into::into),
        cmdline: "console=ttyS0 reboot=k panic=-1 vmmkit.batch".to_owned(),
        ..KernelBoot::new(kernel.ok_or("usage: boot_linux KERNEL [INITRD]")?)
    };
    let config = MachineConfig {
        ram: RamConfig {
            size: RamSize::mebibytes(256),
            ..RamConfig::default()
        },
        vcpus: 1,
        ..MachineConfig::new(boot)
    };
    let console = Console {
        output: Some(Arc::new(OutputBuffer::new(
            io::stdout().as_fd().try_clone_to_owned()?,
        )?)),
        ..Console::default()
    };
    let machine = MachineBuilder::new(config)
        .console(console)
        .build(&Kvm::open()?)?;
    // Every descriptor and byte of memory is in hand here: the place to drop privileges.
    let outcome = machine.start()?.wait()?;
    io::Write::write_fmt(
        &mut io::stderr(),
        format_args!("the guest ended: {outcome:?}\n"),
    )?;
    Ok(())
}
