//! One client, from its connection to its end.

use std::io;

use gdbstub::common::Signal;
use gdbstub::stub::state_machine::GdbStubStateMachine;
use gdbstub::stub::{DisconnectReason, GdbStub, MultiThreadStopReason};
use vmmkit_host_io::{Interest, Poller};
use vmmkit_hypervisor::VcpuId;
use vmmkit_hypervisor::x86::DebugExit;

use crate::breakpoints::Kind;
use crate::notices::{Ended, Notice};
use crate::stream::Stream;
use crate::target::{Guest, tid};
use crate::{Debugged, Notices};

/// The longest packet, both ways.
const PACKET: usize = 4096;

type Stop = MultiThreadStopReason<u64>;
/// So often a client is heard before a notice that waits.
const TALK: u32 = 16;

type State<'a, M> = GdbStubStateMachine<'a, Guest<M>, Stream>;

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client went, and had not said a word.
    Silent,
    /// The client went, or said what no client says.
    Left,
    /// The client wants the guest to end.
    Killed,
    /// The guest's run has ended.
    Over,
}

/// The first arrival.
enum Arrival {
    Byte(u8),
    Notice(Notice),
    /// The client is gone.
    Gone,
}

/// A client's bytes and the machine's notices, one after the other.
struct Arrivals<'a> {
    notices: &'a Notices,
    poller: Poller,
    bytes: [u8; PACKET],
    /// Of `bytes`, those that are to come.
    rest: std::ops::Range<usize>,
    is_silent: bool,
    /// So often the client was heard since a notice.
    talked: u32,
}

/// Serves `client` until it goes or the run ends. The guest is halted meanwhile but for when the client
/// lets it run.
pub(crate) fn serve<M: Debugged>(
    guest: &mut Guest<M>,
    notices: &Notices,
    client: Stream,
) -> io::Result<End> {
    let mut arrivals = Arrivals::new(notices, &client)?;
    let stub = GdbStub::builder(client).packet_buffer_size(PACKET).build();
    let Ok(mut state) = stub
        .map_err(drop)
        .and_then(|it| it.run_state_machine(guest).map_err(drop))
    else {
        return Ok(End::Left);
    };
    loop {
        let next = match state {
            GdbStubStateMachine::Disconnected(it) => {
                return Ok(match it.get_reason() {
                    DisconnectReason::Kill => End::Killed,
                    DisconnectReason::TargetExited(_) | DisconnectReason::TargetTerminated(_) => {
                        End::Over
                    }
                    DisconnectReason::Disconnect => End::Left,
                });
            }
            GdbStubStateMachine::CtrlCInterrupt(it) => {
                halt(guest, notices);
                guest.forget_actions();
                let reason = stopped(guest.focus, Signal::SIGINT);
                it.interrupt_handled(guest, Some(reason)).map_err(drop)
            }
            GdbStubStateMachine::Idle(mut it) => match arrivals.next(it.borrow_conn()) {
                Arrival::Byte(byte) => it.incoming_data(guest, byte).map_err(drop),
                Arrival::Gone => return Ok(arrivals.left()),
                Arrival::Notice(Notice::Ended(_)) => return Ok(End::Over),
                Arrival::Notice(notice) => {
                    note(guest, notice);
                    Ok(it.into())
                }
            },
            GdbStubStateMachine::Running(it) => match run(guest, &mut arrivals, it) {
                Ok(next) => next,
                Err(end) => return Ok(end),
            },
        };
        match next {
            Ok(next) => state = next,
            Err(()) => return Ok(End::Left),
        }
    }
}

type Running<'a, M> = gdbstub::stub::state_machine::GdbStubStateMachineInner<
    'a,
    gdbstub::stub::state_machine::state::Running,
    Guest<M>,
    Stream,
>;

/// One arrival while the guest runs; `Err` ends the session.
fn run<'a, M: Debugged>(
    guest: &mut Guest<M>,
    arrivals: &mut Arrivals<'_>,
    mut it: Running<'a, M>,
) -> Result<Result<State<'a, M>, ()>, End> {
    if let Some((vcpu, exit)) = guest.late.pop_front() {
        let reason = judge(guest, vcpu, exit).unwrap_or(stopped(vcpu, Signal::SIGTRAP));
        return Ok(it.report_stop(guest, reason).map_err(drop));
    }
    let reason = match arrivals.next(it.borrow_conn()) {
        Arrival::Byte(byte) => return Ok(it.incoming_data(guest, byte).map_err(drop)),
        Arrival::Gone => return Err(arrivals.left()),
        Arrival::Notice(Notice::Ended(Ended::Exited(code))) => Some(Stop::Exited(code)),
        Arrival::Notice(Notice::Ended(Ended::Aborted)) => Some(Stop::Terminated(Signal::SIGABRT)),
        Arrival::Notice(Notice::Stopped(vcpu, exit)) => {
            halt(guest, arrivals.notices);
            let reason = judge(guest, vcpu, exit);
            if reason.is_none() {
                // The guest's own INT3: it gets its exception.
                let _ = guest.arm(vcpu, true);
                guest.go_on();
            }
            reason
        }
        Arrival::Notice(Notice::Reset) => {
            guest.machine.halt();
            note(guest, Notice::Reset);
            guest.arm_all();
            guest.go_on();
            None
        }
        Arrival::Notice(Notice::Started) => None,
    };
    Ok(match reason {
        Some(reason) => it.report_stop(guest, reason).map_err(drop),
        None => Ok(it.into()),
    })
}

/// Halts the guest; what other vCPUs stopped for meanwhile is noted.
fn halt<M: Debugged>(guest: &mut Guest<M>, notices: &Notices) {
    guest.machine.halt();
    while let Some(stop) = notices.next_stop() {
        note(guest, stop);
    }
}

/// The stop that the client is told of a vCPU; `None` where the guest itself has an INT3.
fn judge<M: Debugged>(guest: &mut Guest<M>, vcpu: VcpuId, exit: DebugExit) -> Option<Stop> {
    let wish = exit.place().and_then(|place| guest.watched.wish(place));
    let reason = match wish.map(|wish| (wish.kind, wish.address)) {
        Some((Kind::Execute, _)) => Stop::HwBreak(tid(vcpu)),
        Some((Kind::Data(kind), addr)) => Stop::Watch {
            tid: tid(vcpu),
            kind,
            addr,
        },
        None if exit.is_breakpoint() => {
            let physical = guest.physical(vcpu, exit.address)?;
            if !guest.planted.is_at(physical) {
                return None;
            }
            Stop::SwBreak(tid(vcpu))
        }
        None => stopped(vcpu, Signal::SIGTRAP),
    };
    guest.focus = vcpu;
    Some(reason)
}

/// A notice while the guest is halted.
fn note<M: Debugged>(guest: &mut Guest<M>, notice: Notice) {
    match notice {
        Notice::Stopped(vcpu, exit) => {
            // The others come again when the guest goes on: a breakpoint stops before its instruction.
            let wish = exit.place().and_then(|place| guest.watched.wish(place));
            let is_data = wish.is_some_and(|wish| wish.kind != Kind::Execute);
            if is_data && guest.late.len() < guest.machine.vcpus() as usize {
                guest.late.push_back((vcpu, exit));
            }
        }
        Notice::Reset => {
            guest.planted.forget();
            guest.late.clear();
        }
        Notice::Started | Notice::Ended(_) => {}
    }
}

fn stopped(vcpu: VcpuId, signal: Signal) -> Stop {
    Stop::SignalWithThread {
        tid: tid(vcpu),
        signal,
    }
}

impl<'a> Arrivals<'a> {
    fn new(notices: &'a Notices, client: &Stream) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add(notices, 0, Interest::Readable)?;
        poller.add(client, 1, Interest::Readable)?;
        Ok(Self {
            notices,
            poller,
            bytes: [0; PACKET],
            rest: 0..0,
            is_silent: true,
            talked: 0,
        })
    }

    fn next(&mut self, client: &mut Stream) -> Arrival {
        let mut ready = Vec::new();
        loop {
            if let Some(&byte) = self.rest.next().and_then(|index| self.bytes.get(index)) {
                return Arrival::Byte(byte);
            }
            if self.poller.wait(&mut ready).is_err() {
                return Arrival::Gone;
            }
            let has = |token| ready.iter().any(|it| it.token == token);
            // What the client said before something happened comes before it; one that never stops
            // talking does not keep it waiting.
            if has(1) && (self.talked < TALK || !has(0)) {
                match client.read(&mut self.bytes) {
                    Ok(0) | Err(_) => return Arrival::Gone,
                    Ok(length) => self.rest = 0..length,
                }
                self.is_silent = false;
                self.talked = self.talked.saturating_add(1);
                continue;
            }
            self.talked = 0;
            if has(0)
                && let Some(notice) = self.notices.next()
            {
                return Arrival::Notice(notice);
            }
        }
    }

    /// How a session ends whose client is gone.
    fn left(&self) -> End {
        match self.is_silent {
            true => End::Silent,
            false => End::Left,
        }
    }
}
