//! Port and MMIO accesses, and the plain ways to stop.

use vmmkit_guest_memory::GuestAddress;

use super::guest::{BARE, Guest, Outcome, same};
use super::{Case, Failure, Need};
use crate::x86::VcpuState;
use crate::{Devices, Hypervisor, MmioAccess, PortAccess, Vcpu, VcpuExit, Width};

pub(super) fn cases<H: Hypervisor>() -> Vec<Case<H>> {
    let case = |name, test| Case {
        name,
        needs: &[Need::Execution],
        test,
    };
    vec![
        case("ports_are_read_and_written_in_every_width", ports::<H>),
        case("string_output_arrives_whole", string_output::<H>),
        case("string_input_arrives_whole", string_input::<H>),
        case(
            "mmio_is_read_and_written_in_1_2_and_4_bytes",
            mmio_real::<H>,
        ),
        case("mmio_is_read_and_written_in_8_bytes", mmio_long::<H>),
        case("devices_answer_every_access_of_a_run", devices::<H>),
        case("completing_an_access_makes_registers_true", complete::<H>),
        case("hlt_without_interrupt_controllers_is_an_exit", halt::<H>),
        case("a_triple_fault_is_a_shutdown", triple_fault::<H>),
    ]
}

/// The pattern that the guest is given, and must send back.
const PATTERN: [u8; 8] = [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88];

fn answer(data: &mut [u8]) {
    for (byte, pattern) in data.iter_mut().zip(PATTERN) {
        *byte = pattern;
    }
}

fn echoed(data: &[u8], length: usize) -> Outcome {
    same(
        "bytes",
        data.to_vec(),
        PATTERN.into_iter().take(length).collect(),
    )
}

fn ports<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let code = [
        0xba, 0xf8, 0x03, // mov dx, 0x3f8
        0xec, 0xee, // in al, dx; out dx, al
        0xed, 0xef, // in ax, dx; out dx, ax
        0x66, 0xed, 0x66, 0xef, // in eax, dx; out dx, eax
        0xf4, // hlt
    ];
    let mut guest = Guest::real(hypervisor, &BARE, 0, &code)?;
    for width in [Width::Byte, Width::Word, Width::Dword] {
        let access = PortAccess {
            port: 0x3f8,
            width,
            count: 1,
        };
        guest.expect(VcpuExit::PortRead(access))?;
        same("bytes of the read", guest.vcpu.data().len(), width.bytes())?;
        answer(guest.vcpu.data());
        guest.expect(VcpuExit::PortWrite(access))?;
        echoed(guest.vcpu.data(), width.bytes())?;
    }
    guest.expect(VcpuExit::Halt)?;
    same("bytes of a halt", guest.vcpu.data().len(), 0)
}

fn string_output<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let code = [
        0xbe, 0x0d, 0x10, // mov si, text
        0xb9, 0x08, 0x00, // mov cx, 8
        0xba, 0xf8, 0x03, // mov dx, 0x3f8
        0xfc, 0xf3, 0x6e, // cld; rep outsb
        0xf4, // hlt
        b'a', b'b', b'c', b'd', b'e', b'f', b'g', b'h',
    ];
    let mut guest = Guest::real(hypervisor, &BARE, 0, &code)?;
    let mut written = Vec::new();
    loop {
        match guest.run()? {
            VcpuExit::PortWrite(PortAccess {
                port: 0x3f8,
                width: Width::Byte,
                count,
            }) => {
                same(
                    "bytes of the write",
                    guest.vcpu.data().len(),
                    count as usize,
                )?;
                written.extend_from_slice(guest.vcpu.data());
            }
            exit => {
                same("exit", exit, VcpuExit::Halt)?;
                return same("text", written, b"abcdefgh".to_vec());
            }
        }
    }
}

fn string_input<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let code = [
        0xbf, 0x00, 0x50, // mov di, 0x5000
        0xb9, 0x04, 0x00, // mov cx, 4
        0xba, 0xf0, 0x01, // mov dx, 0x1f0
        0xfc, 0xf3, 0x6d, // cld; rep insw
        0xf4, // hlt
    ];
    let mut guest = Guest::real(hypervisor, &BARE, 0, &code)?;
    let mut next = 0;
    loop {
        match guest.run()? {
            VcpuExit::PortRead(PortAccess {
                port: 0x1f0,
                width: Width::Word,
                count,
            }) => {
                same(
                    "bytes of the read",
                    guest.vcpu.data().len(),
                    2 * count as usize,
                )?;
                for byte in guest.vcpu.data() {
                    next += 1;
                    *byte = next;
                }
            }
            exit => {
                same("exit", exit, VcpuExit::Halt)?;
                let mut found = [0; 8];
                guest.ram.read_bytes(GuestAddress(0x5000), &mut found)?;
                return same("memory", found, [1, 2, 3, 4, 5, 6, 7, 8]);
            }
        }
    }
}

fn mmio_real<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let code = [
        0xa0, 0x00, 0x01, 0xa2, 0x00, 0x01, // mov al, [0x100]; mov [0x100], al
        0xa1, 0x00, 0x01, 0xa3, 0x00, 0x01, // with ax
        0x66, 0xa1, 0x00, 0x01, 0x66, 0xa3, 0x00, 0x01, // with eax
        0xf4, // hlt
    ];
    let mut guest = Guest::real(hypervisor, &BARE, 0xd000, &code)?;
    for length in [1, 2, 4] {
        echo_mmio(
            &mut guest,
            MmioAccess {
                address: 0xd_0100,
                length,
            },
        )?;
    }
    guest.expect(VcpuExit::Halt)
}

fn mmio_long<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let code = [
        0xbb, 0x00, 0x00, 0x20, 0x00, // mov ebx, 0x200000
        0x48, 0x8b, 0x03, // mov rax, [rbx]
        0x48, 0x89, 0x03, // mov [rbx], rax
        0xf4, // hlt
    ];
    let mut guest = Guest::long(hypervisor, &code)?;
    echo_mmio(
        &mut guest,
        MmioAccess {
            address: 0x20_0000,
            length: 8,
        },
    )?;
    guest.expect(VcpuExit::Halt)
}

fn echo_mmio<H: Hypervisor>(guest: &mut Guest<H>, access: MmioAccess) -> Result<(), Failure> {
    guest.expect(VcpuExit::MmioRead(access))?;
    same(
        "bytes of the read",
        guest.vcpu.data().len(),
        access.length.into(),
    )?;
    answer(guest.vcpu.data());
    guest.expect(VcpuExit::MmioWrite(access))?;
    echoed(guest.vcpu.data(), access.length.into())
}

/// Answers reads with 1, 2, 3 and so on, byte by byte, and keeps what is written.
#[derive(Default)]
struct Counter {
    last: u8,
    written: Vec<(VcpuExit, Vec<u8>)>,
}

impl Counter {
    fn fill(&mut self, data: &mut [u8]) {
        for byte in data {
            self.last += 1;
            *byte = self.last;
        }
    }
}

impl Devices for Counter {
    fn read_port(&mut self, _access: PortAccess, data: &mut [u8]) {
        self.fill(data);
    }

    fn write_port(&mut self, access: PortAccess, data: &[u8]) {
        self.written
            .push((VcpuExit::PortWrite(access), data.to_vec()));
    }

    fn read_mmio(&mut self, _access: MmioAccess, data: &mut [u8]) {
        self.fill(data);
    }

    fn write_mmio(&mut self, access: MmioAccess, data: &[u8]) {
        self.written
            .push((VcpuExit::MmioWrite(access), data.to_vec()));
    }
}

fn devices<H: Hypervisor>(hypervisor: &H) -> Outcome {
    let code = [
        0xba, 0xf8, 0x03, // mov dx, 0x3f8
        0xec, 0xee, // in al, dx; out dx, al
        0xbf, 0x00, 0x50, // mov di, 0x5000
        0xb9, 0x04, 0x00, // mov cx, 4
        0xfc, 0xf3, 0x6c, // cld; rep insb
        0xa0, 0x00, 0x01, 0xa2, 0x00, 0x01, // mov al, [0x100]; mov [0x100], al
        0xf4, // hlt
    ];
    let mut guest = Guest::real(hypervisor, &BARE, 0xd000, &code)?;
    let mut counter = Counter::default();
    guest.vcpu.kicker().kick();
    same(
        "exit",
        guest.vcpu.run_with(&mut counter)?,
        VcpuExit::Interrupted,
    )?;
    same("exit", guest.run_with(&mut counter)?, VcpuExit::Halt)?;
    same("bytes of a halt", guest.vcpu.data().len(), 0)?;
    let port = PortAccess {
        port: 0x3f8,
        width: Width::Byte,
        count: 1,
    };
    let mmio = MmioAccess {
        address: 0xd_0100,
        length: 1,
    };
    let written = vec![
        (VcpuExit::PortWrite(port), vec![1]),
        (VcpuExit::MmioWrite(mmio), vec![6]),
    ];
    same("writes", counter.written, written)?;
    let mut found = [0; 4];
    guest.ram.read_bytes(GuestAddress(0x5000), &mut found)?;
    same("memory", found, [2, 3, 4, 5])
}

fn complete<H: Hypervisor>(hypervisor: &H) -> Outcome {
    // mov dx, 0x60; in al, dx; hlt
    let mut guest = Guest::real(hypervisor, &BARE, 0, &[0xba, 0x60, 0x00, 0xec, 0xf4])?;
    guest.run()?;
    guest.vcpu.data().fill(0x5a);
    // A kick that comes before is still there afterwards.
    guest.vcpu.kicker().kick();
    guest.vcpu.complete_access()?;
    guest.vcpu.complete_access()?;
    let registers = guest.vcpu.registers()?;
    same("AL", registers.rax & 0xff, 0x5a)?;
    same("RIP", registers.rip, 0x1004)?;
    same("bytes afterwards", guest.vcpu.data().len(), 0)?;
    same("exit", guest.vcpu.run()?, VcpuExit::Interrupted)?;
    guest.expect(VcpuExit::Halt)
}

fn halt<H: Hypervisor>(hypervisor: &H) -> Outcome {
    Guest::real(hypervisor, &BARE, 0, &[0xf4])?.expect(VcpuExit::Halt)
}

fn triple_fault<H: Hypervisor>(hypervisor: &H) -> Outcome {
    // ud2, in long mode with an empty IDT
    Guest::long(hypervisor, &[0x0f, 0x0b])?.expect(VcpuExit::Shutdown)
}
