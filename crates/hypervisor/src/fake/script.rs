//! The script of a fake vCPU, step by step.

use std::collections::VecDeque;

use crate::{MmioAccess, PortAccess, VcpuExit, Width};

/// The exits of one vCPU, in order; after the last one comes its [`End`].
#[derive(Clone, Debug, Default)]
pub struct Script {
    pub(super) steps: VecDeque<Step>,
    pub(super) end: End,
}

/// The behaviour of a vCPU once its script is over, at every further run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// Returns [`VcpuExit::Shutdown`].
    #[default]
    Shutdown,
    /// Returns [`VcpuExit::Halt`].
    Halt,
    /// Waits until it is kicked, as an idle vCPU does. A vCPU without a script does so from the
    /// start.
    WaitForKick,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Return this exit, with these bytes; a read may expect an answer.
    Exit {
        exit: VcpuExit,
        data: Vec<u8>,
        expected: Option<u64>,
    },
    /// Return only when kicked.
    WaitForKick,
    /// Fail with this errno.
    Fail(i32),
}

impl Script {
    /// No step; ends in [`End::Shutdown`].
    pub fn new() -> Self {
        Self::default()
    }

    /// The guest writes `bytes` to `port`, one byte each: more than one is one OUTSB with REP.
    pub fn port_write(self, port: u16, bytes: &[u8]) -> Self {
        self.port_write_wide(port, Width::Byte, bytes)
    }

    /// The guest writes `bytes` to `port` in accesses of `width`; a rest shorter than `width` is
    /// left out.
    pub fn port_write_wide(self, port: u16, width: Width, bytes: &[u8]) -> Self {
        let count = bytes.len() / width.bytes();
        let data = bytes.iter().take(count * width.bytes()).copied().collect();
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.step(
            VcpuExit::PortWrite(PortAccess { port, width, count }),
            data,
            None,
        )
    }

    /// The guest reads `port`; an answer other than `expected` (little-endian) is a surprise in
    /// the transcript.
    pub fn port_read(self, port: u16, width: Width, expected: impl Into<Option<u64>>) -> Self {
        let exit = VcpuExit::PortRead(PortAccess {
            port,
            width,
            count: 1,
        });
        self.step(exit, vec![UNANSWERED; width.bytes()], expected.into())
    }

    /// The guest reads `count` values from `port` by one INS with REP.
    pub fn port_read_string(self, port: u16, width: Width, count: u32) -> Self {
        let exit = VcpuExit::PortRead(PortAccess { port, width, count });
        self.step(exit, vec![UNANSWERED; width.bytes() * count as usize], None)
    }

    /// The guest reads `length` bytes (1 to 8) at `address`; `expected` as in
    /// [`port_read`](Self::port_read).
    pub fn mmio_read(self, address: u64, length: u8, expected: impl Into<Option<u64>>) -> Self {
        let length = length.clamp(1, 8);
        let exit = VcpuExit::MmioRead(MmioAccess { address, length });
        self.step(exit, vec![UNANSWERED; length.into()], expected.into())
    }

    /// The guest writes `bytes`, at most 8, at `address`.
    pub fn mmio_write(self, address: u64, bytes: &[u8]) -> Self {
        let data: Vec<u8> = bytes.iter().take(8).copied().collect();
        let exit = VcpuExit::MmioWrite(MmioAccess {
            address,
            length: data.len() as u8,
        });
        self.step(exit, data, None)
    }

    /// The guest computes until the vCPU is kicked; the run returns [`VcpuExit::Interrupted`].
    pub fn wait_for_kick(mut self) -> Self {
        self.steps.push_back(Step::WaitForKick);
        self
    }

    /// The run returns `exit`, without bytes.
    pub fn exit(self, exit: VcpuExit) -> Self {
        self.step(exit, Vec::new(), None)
    }

    /// The run fails with the host's `errno`.
    pub fn fail(mut self, errno: i32) -> Self {
        self.steps.push_back(Step::Fail(errno));
        self
    }

    /// `steps` again and again, `times` in all; its end does not count.
    pub fn repeat(mut self, times: usize, steps: &Script) -> Self {
        for _ in 0..times {
            self.steps.extend(steps.steps.iter().cloned());
        }
        self
    }

    /// Sets the end after the last step.
    pub fn then(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    fn step(mut self, exit: VcpuExit, data: Vec<u8>, expected: Option<u64>) -> Self {
        self.steps.push_back(Step::Exit {
            exit,
            data,
            expected,
        });
        self
    }
}

/// The bytes of a read before the VMM answers: a value that shows where it forgot to.
const UNANSWERED: u8 = 0xa5;
