//! The machine as `gdbstub` sees it: each vCPU is a thread, numbered from 1.

use std::collections::VecDeque;

use gdbstub::common::{Signal, Tid};
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::multithread::{
    MultiThreadBase, MultiThreadResume, MultiThreadResumeOps, MultiThreadSchedulerLocking,
    MultiThreadSchedulerLockingOps, MultiThreadSingleStep, MultiThreadSingleStepOps,
};
use gdbstub::target::ext::breakpoints::{
    Breakpoints, BreakpointsOps, HwBreakpoint, HwBreakpointOps, HwWatchpoint, HwWatchpointOps,
    SwBreakpoint, SwBreakpointOps, WatchKind,
};
use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd, MonitorCmdOps};
use gdbstub::target::ext::thread_extra_info::{ThreadExtraInfo, ThreadExtraInfoOps};
use gdbstub::target::{Target, TargetError, TargetResult};
use gdbstub_arch::x86::X86_64_SSE;
use gdbstub_arch::x86::reg::X86_64CoreRegs;
use thiserror::Error;
use vmmkit_hypervisor::VcpuId;
use vmmkit_hypervisor::x86::{DebugExit, GuestDebug, VcpuDump};

use crate::breakpoints::{Kind, Planted, Watched, Wish};
use crate::memory::{self, Piece};
use crate::registers;
use crate::{Debugged, Supported};

/// The run has ended, so that nothing can be asked of the guest.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the guest has ended")]
pub(crate) struct Gone;

/// A machine, what its client wants of it, and how it is to go on.
pub(crate) struct Guest<M> {
    // Fixed at creation
    pub(crate) machine: M,
    can: Supported,
    // What the client has asked for
    pub(crate) planted: Planted,
    pub(crate) watched: Watched,
    /// The vCPUs that are to step, and those that are to go on.
    steps: Vec<VcpuId>,
    runs: Vec<VcpuId>,
    /// The vCPUs that were not named stay where they are.
    is_locked: bool,
    // State
    /// The vCPU that the client looked at last, whose page tables serve for breakpoints.
    pub(crate) focus: VcpuId,
    /// Data that were written or read before the guest halted for another reason, to be told next.
    pub(crate) late: VecDeque<(VcpuId, DebugExit)>,
}

impl<M: Debugged> Guest<M> {
    pub(crate) fn new(machine: M, can: Supported) -> Self {
        Self {
            machine,
            can,
            planted: Planted::default(),
            watched: Watched::default(),
            steps: Vec::new(),
            runs: Vec::new(),
            is_locked: false,
            focus: VcpuId(0),
            late: VecDeque::new(),
        }
    }

    /// Tells a vCPU what to stop for.
    pub(crate) fn arm(&self, vcpu: VcpuId, inject_breakpoint: bool) -> Option<()> {
        let debug = GuestDebug {
            step: self.steps.contains(&vcpu),
            software_breakpoints: !self.planted.is_empty(),
            hardware: self.watched.hardware(),
            inject_breakpoint,
        };
        let armed = self
            .machine
            .visit(vcpu, move |it| it.set_guest_debug(&debug));
        armed?.ok()
    }

    /// Every vCPU.
    pub(crate) fn vcpus(&self) -> impl Iterator<Item = VcpuId> + use<M> {
        (0..self.machine.vcpus()).map(VcpuId)
    }

    /// Tells all vCPUs.
    pub(crate) fn arm_all(&self) {
        for vcpu in self.vcpus() {
            // One that is gone needs nothing.
            let _ = self.arm(vcpu, false);
        }
    }

    /// Lets those go on that the client has named.
    pub(crate) fn go_on(&self) {
        let Self {
            steps,
            runs,
            is_locked,
            ..
        } = self;
        let may_run = |vcpu| !is_locked || steps.contains(&vcpu) || runs.contains(&vcpu);
        self.machine.resume(&may_run);
    }

    /// Takes all breakpoints away and lets the guest run: the client is gone.
    pub(crate) fn let_go(&mut self) {
        self.machine.halt();
        self.planted.clear(&self.machine);
        self.watched.clear();
        self.late.clear();
        self.forget_actions();
        self.arm_all();
        self.go_on();
    }

    pub(crate) fn forget_actions(&mut self) {
        self.steps.clear();
        self.runs.clear();
        self.is_locked = false;
    }

    fn pieces(&self, vcpu: VcpuId, linear: u64, length: usize) -> Vec<Piece> {
        memory::pieces(&self.machine, vcpu, linear, length)
    }

    /// Where the byte at `linear` is, for the vCPU.
    pub(crate) fn physical(&self, vcpu: VcpuId, linear: u64) -> Option<u64> {
        let pieces = self.pieces(vcpu, linear, 1);
        pieces.first().map(|piece| piece.physical)
    }
}

/// The thread of a vCPU.
pub(crate) fn tid(vcpu: VcpuId) -> Tid {
    Tid::MIN.saturating_add(vcpu.0 as usize)
}

fn vcpu(tid: Tid) -> VcpuId {
    VcpuId(u32::try_from(tid.get() - 1).unwrap_or(u32::MAX))
}

impl<M: Debugged> Target for Guest<M> {
    type Arch = X86_64_SSE;
    type Error = Gone;

    fn base_ops(&mut self) -> BaseOps<'_, Self::Arch, Self::Error> {
        BaseOps::MultiThread(self)
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }

    fn support_monitor_cmd(&mut self) -> Option<MonitorCmdOps<'_, Self>> {
        Some(self)
    }
}

impl<M: Debugged> MultiThreadBase for Guest<M> {
    fn read_registers(&mut self, to: &mut X86_64CoreRegs, tid: Tid) -> TargetResult<(), Self> {
        self.focus = vcpu(tid);
        let read = self.machine.visit(self.focus, registers::read);
        *to = read.and_then(Result::ok).ok_or(TargetError::NonFatal)?;
        Ok(())
    }

    fn write_registers(&mut self, from: &X86_64CoreRegs, tid: Tid) -> TargetResult<(), Self> {
        let from = from.clone();
        let written = self
            .machine
            .visit(vcpu(tid), move |state| registers::write(state, &from));
        written.and_then(Result::ok).ok_or(TargetError::NonFatal)
    }

    fn read_addrs(&mut self, at: u64, bytes: &mut [u8], tid: Tid) -> TargetResult<usize, Self> {
        self.focus = vcpu(tid);
        let pieces = self.pieces(self.focus, at, bytes.len());
        let read = memory::read(&self.machine, &pieces, bytes);
        self.planted
            .hide(&pieces, bytes.get_mut(..read).unwrap_or_default());
        match read {
            0 if !bytes.is_empty() => Err(TargetError::NonFatal),
            read => Ok(read),
        }
    }

    fn write_addrs(&mut self, at: u64, bytes: &[u8], tid: Tid) -> TargetResult<(), Self> {
        let pieces = self.pieces(vcpu(tid), at, bytes.len());
        let mut bytes = bytes.to_vec();
        let is_there = pieces.iter().map(|piece| piece.length).sum::<usize>() == bytes.len();
        let mut probe = bytes.clone();
        if !is_there || memory::read(&self.machine, &pieces, &mut probe) != bytes.len() {
            return Err(TargetError::NonFatal);
        }
        self.planted.keep(&pieces, &mut bytes);
        match memory::write(&self.machine, &pieces, &bytes) {
            true => Ok(()),
            false => Err(TargetError::NonFatal),
        }
    }

    fn list_active_threads(&mut self, tell: &mut dyn FnMut(Tid)) -> Result<(), Gone> {
        self.vcpus().for_each(|vcpu| tell(tid(vcpu)));
        Ok(())
    }

    fn support_resume(&mut self) -> Option<MultiThreadResumeOps<'_, Self>> {
        Some(self)
    }

    fn support_thread_extra_info(&mut self) -> Option<ThreadExtraInfoOps<'_, Self>> {
        Some(self)
    }
}

impl<M: Debugged> ThreadExtraInfo for Guest<M> {
    fn thread_extra_info(&self, tid: Tid, to: &mut [u8]) -> Result<usize, Gone> {
        let state = self.machine.visit(vcpu(tid), |it| it.mp_state().ok());
        let text = match state.flatten() {
            Some(state) => format!("vcpu{} {state:?}", vcpu(tid).0),
            None => format!("vcpu{}", vcpu(tid).0),
        };
        let length = text.len().min(to.len());
        for (to, from) in to.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        Ok(length)
    }
}

/// A signal that the client wants delivered is none of a machine's, and left out.
impl<M: Debugged> MultiThreadResume for Guest<M> {
    fn resume(&mut self) -> Result<(), Gone> {
        if self.late.is_empty() {
            self.arm_all();
            self.go_on();
        }
        Ok(())
    }

    fn clear_resume_actions(&mut self) -> Result<(), Gone> {
        self.forget_actions();
        Ok(())
    }

    fn set_resume_action_continue(&mut self, tid: Tid, _: Option<Signal>) -> Result<(), Gone> {
        self.runs.push(vcpu(tid));
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<MultiThreadSingleStepOps<'_, Self>> {
        Some(self)
    }

    fn support_scheduler_locking(&mut self) -> Option<MultiThreadSchedulerLockingOps<'_, Self>> {
        Some(self)
    }
}

impl<M: Debugged> MultiThreadSingleStep for Guest<M> {
    fn set_resume_action_step(&mut self, tid: Tid, _: Option<Signal>) -> Result<(), Gone> {
        self.steps.push(vcpu(tid));
        Ok(())
    }
}

impl<M: Debugged> MultiThreadSchedulerLocking for Guest<M> {
    fn set_resume_action_scheduler_lock(&mut self) -> Result<(), Gone> {
        self.is_locked = true;
        Ok(())
    }
}

impl<M: Debugged> Breakpoints for Guest<M> {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_watchpoint(&mut self) -> Option<HwWatchpointOps<'_, Self>> {
        Some(self)
    }
}

impl<M: Debugged> SwBreakpoint for Guest<M> {
    fn add_sw_breakpoint(&mut self, at: u64, _: usize) -> TargetResult<bool, Self> {
        if !self.can.int3 {
            return self.add_hw_breakpoint(at, 1);
        }
        let physical = self.physical(self.focus, at);
        Ok(physical.is_some_and(|physical| self.planted.plant(&self.machine, at, physical)))
    }

    fn remove_sw_breakpoint(&mut self, at: u64, _: usize) -> TargetResult<bool, Self> {
        match self.can.int3 {
            true => Ok(self.planted.remove(&self.machine, at)),
            false => self.remove_hw_breakpoint(at, 1),
        }
    }
}

impl<M: Debugged> HwBreakpoint for Guest<M> {
    fn add_hw_breakpoint(&mut self, at: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.can.execute && self.watched.add(instruction(at)))
    }

    fn remove_hw_breakpoint(&mut self, at: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.watched.remove(instruction(at)))
    }
}

fn instruction(address: u64) -> Wish {
    Wish {
        address,
        length: 1,
        kind: Kind::Execute,
    }
}

impl<M: Debugged> HwWatchpoint for Guest<M> {
    fn add_hw_watchpoint(&mut self, at: u64, n: u64, kind: WatchKind) -> TargetResult<bool, Self> {
        Ok(self.can.data && self.watched.add(data(at, n, kind)))
    }

    fn remove_hw_watchpoint(
        &mut self,
        at: u64,
        n: u64,
        kind: WatchKind,
    ) -> TargetResult<bool, Self> {
        Ok(self.watched.remove(data(at, n, kind)))
    }
}

fn data(address: u64, length: u64, kind: WatchKind) -> Wish {
    Wish {
        address,
        length,
        kind: Kind::Data(kind),
    }
}

/// `monitor registers`: what GDB has no names for.
impl<M: Debugged> MonitorCmd for Guest<M> {
    fn handle_monitor_cmd(
        &mut self,
        command: &[u8],
        mut to: ConsoleOutput<'_>,
    ) -> Result<(), Gone> {
        if command != b"registers" {
            gdbstub::outputln!(
                to,
                "registers: all registers of every vCPU, also CR0 to CR8 and EFER"
            );
            return Ok(());
        }
        for vcpu in self.vcpus() {
            let dump = self.machine.visit(vcpu, move |it| VcpuDump::of(vcpu, it));
            if let Some(dump) = dump {
                gdbstub::outputln!(to, "{vcpu}: {dump}");
            }
        }
        Ok(())
    }
}
