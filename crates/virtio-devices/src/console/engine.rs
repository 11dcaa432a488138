//! The queues of a console, on the thread of slow devices.

use std::io;
use std::sync::Arc;

use vmmkit_host_io::{InputRead, Interest, Ready};
use vmmkit_virtio::{Chain, Context, Engine};

use super::shared::{Core, Shared};
use super::spec;
use super::wire::End;

/// Bytes at a time.
const PIECE: usize = 16 << 10;
/// Bytes after which others have their turn.
const BUDGET: usize = 1 << 20;
/// The least cost of a chain, of the budget.
const CHAIN: usize = 4096;

const WAKE: u64 = u32::MAX as u64;

/// The purpose of a queue (5.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Receive(usize),
    Transmit(usize),
    ControlReceive,
    ControlTransmit,
}

fn role(index: u16) -> Role {
    match index {
        spec::RECEIVE_0 => Role::Receive(0),
        spec::TRANSMIT_0 => Role::Transmit(0),
        spec::CONTROL_RECEIVE => Role::ControlReceive,
        spec::CONTROL_TRANSMIT => Role::ControlTransmit,
        _ if index.is_multiple_of(2) => Role::Receive(usize::from(index / 2 - 1)),
        _ => Role::Transmit(usize::from(index / 2 - 1)),
    }
}

/// The queue of a port's input; its output's follows.
fn receive_queue(port: usize) -> u16 {
    match port {
        0 => spec::RECEIVE_0,
        _ => u16::try_from(2 * port + 2).unwrap_or(u16::MAX),
    }
}

fn transmit_queue(port: usize) -> u16 {
    receive_queue(port).saturating_add(1)
}

/// Moves bytes between queues and ports. It pops a chain only to move bytes at once, and puts it back
/// where it cannot: at rest nothing is under way.
pub(super) struct ConsoleEngine {
    shared: Arc<Shared>,
    mover: Mover,
}

struct Mover {
    is_multiport: bool,
    chain: Chain,
    bytes: Vec<u8>,
    message: Vec<u8>,
}

impl ConsoleEngine {
    pub(super) fn new(shared: Arc<Shared>, features: u64) -> Self {
        Self {
            shared,
            mover: Mover {
                is_multiport: features & spec::F_MULTIPORT != 0,
                chain: Chain::new(),
                bytes: vec![0; PIECE],
                message: Vec::new(),
            },
        }
    }
}

impl Engine for ConsoleEngine {
    fn start(&mut self, context: &mut Context) -> io::Result<()> {
        let poller = &context.poller;
        poller.add(&self.shared.wake, WAKE, Interest::Readable)?;
        let mut core = self.shared.lock();
        for (port, wire) in core.wires.iter_mut().enumerate() {
            if port == 0 || self.mover.is_multiport {
                wire.start(poller, port);
            }
        }
        let has_size = core.control.has_size();
        drop(core);
        if has_size && !self.mover.is_multiport {
            // Linux (6.1) looks at the size only when it is told that it has changed.
            self.shared.tell_size();
        }
        Ok(())
    }

    fn kicked(&mut self, context: &mut Context, index: u16) {
        let core = &mut *self.shared.lock();
        let mover = &mut self.mover;
        match role(index) {
            Role::Receive(port) => mover.fill(context, core, port),
            Role::Transmit(port) => mover.drain(context, core, port),
            Role::ControlReceive => {}
            Role::ControlTransmit => mover.take_messages(context, core),
        }
        mover.forget_reset_queues(context, core);
        mover.send_messages(context, core);
    }

    fn ready(&mut self, context: &mut Context, ready: Ready) {
        let core = &mut *self.shared.lock();
        let mover = &mut self.mover;
        match End::of_token(ready.token) {
            _ if ready.token == WAKE => {
                self.shared.wake.drain();
                mover.drain(context, core, 0);
            }
            Some((port, End::Input)) => mover.fill(context, core, port),
            Some((port, End::Output)) => {
                if let Some(wire) = core.wires.get_mut(port) {
                    wire.note_hang_up();
                }
                mover.drain(context, core, port);
            }
            Some((port, End::Timer)) => {
                if let Some(wire) = core.wires.get(port) {
                    wire.note_time();
                }
                mover.drain(context, core, port);
            }
            Some((port, End::Listener)) => {
                let wire = core.wires.get_mut(port);
                if wire.is_some_and(|wire| wire.accept(&context.poller, port)) {
                    mover.drain(context, core, port);
                    mover.fill(context, core, port);
                }
            }
            None => {}
        }
        mover.send_messages(context, core);
    }
}

impl Mover {
    /// Moves output from the guest to the port, as much as its reader takes.
    fn drain(&mut self, context: &mut Context, core: &mut Core, port: usize) {
        let (Some(wire), Some(taken)) = (core.wires.get_mut(port), core.taken.get_mut(port)) else {
            return;
        };
        let mut is_full = !wire.flush();
        if let Some(queue) = context.queues.get_mut(transmit_queue(port)) {
            let mut budget = BUDGET;
            while !is_full && budget > 0 && queue.pop(&mut self.chain) {
                budget = budget.saturating_sub(CHAIN);
                let mut reader = self.chain.reader(queue.ram());
                reader.skip(*taken);
                while !is_full && budget > 0 && reader.left() > 0 {
                    let length = reader.read(&mut self.bytes);
                    let done = wire.write(self.bytes.get(..length).unwrap_or_default());
                    is_full = done < length;
                    if let (Some(ear), Some(news)) = (&wire.ear, self.bytes.get(..done)) {
                        ear(news);
                    }
                    *taken += done as u64;
                    core.counters.output_bytes += done as u64;
                    budget = budget.saturating_sub(length);
                }
                if *taken < self.chain.readable_bytes() {
                    queue.unpop();
                    break;
                }
                *taken = 0;
                queue.complete(&self.chain, 0);
            }
            queue.publish();
            if budget == 0 && !is_full {
                queue.kick().notify();
            }
        }
        wire.settle(&context.poller, port, is_full);
        core.control.set_connected(port, wire.is_connected());
    }

    /// Moves input from the port to the guest, as much as there is room for.
    fn fill(&mut self, context: &mut Context, core: &mut Core, port: usize) {
        let Some(wire) = core.wires.get_mut(port) else {
            return;
        };
        let poller = &context.poller;
        let queue = context.queues.get_mut(receive_queue(port));
        // What comes while no program of the guest has the port open, its driver drops.
        let is_wanted = !self.is_multiport || core.control.is_open(port);
        let Some(queue) = queue.filter(|_| is_wanted) else {
            wire.watch_input(poller, port, false);
            return;
        };
        let mut budget = BUDGET;
        while budget > 0 && wire.has_input() {
            if !queue.pop(&mut self.chain) {
                wire.watch_input(poller, port, false);
                break;
            }
            budget = budget.saturating_sub(CHAIN);
            let room = usize::try_from(self.chain.writable_bytes()).unwrap_or(PIECE);
            let Some(space) = self.bytes.get_mut(..room.min(PIECE)) else {
                break;
            };
            if space.is_empty() {
                core.counters.small_buffers += 1;
                queue.complete(&self.chain, 0);
                continue;
            }
            match wire.read(poller, port, space) {
                InputRead::Bytes(length) if length > 0 => {
                    let mut writer = self.chain.writer(queue.ram());
                    writer.write(space.get(..length).unwrap_or_default());
                    let written = writer.written();
                    queue.complete(&self.chain, written);
                    core.counters.input_bytes += length as u64;
                    budget = budget.saturating_sub(length);
                }
                InputRead::End => queue.unpop(),
                nothing => {
                    queue.unpop();
                    let is_always_ready = wire.watch_input(poller, port, true);
                    if is_always_ready && matches!(nothing, InputRead::Bytes(_)) {
                        queue.kick().notify();
                    }
                    break;
                }
            }
        }
        queue.publish();
        if budget == 0 {
            queue.kick().notify();
        }
    }

    /// Takes the driver's control messages.
    fn take_messages(&mut self, context: &mut Context, core: &mut Core) {
        let Some(queue) = context.queues.get_mut(spec::CONTROL_TRANSMIT) else {
            return;
        };
        let mut budget = BUDGET;
        while budget > 0 && queue.pop(&mut self.chain) {
            budget = budget.saturating_sub(CHAIN);
            let mut bytes = [0; spec::CONTROL_SIZE];
            let length = self.chain.reader(queue.ram()).read(&mut bytes);
            if !core
                .control
                .receive(bytes.get(..length).unwrap_or_default())
            {
                core.counters.ignored_messages += 1;
            }
            queue.complete(&self.chain, 0);
        }
        queue.publish();
        if budget == 0 {
            queue.kick().notify();
        }
        // One may have been opened, and another closed.
        for port in 0..core.wires.len() {
            self.fill(context, core, port);
        }
    }

    /// Sends the driver what control messages there are, and there is room for.
    fn send_messages(&mut self, context: &mut Context, core: &mut Core) {
        let queue = context.queues.get_mut(spec::CONTROL_RECEIVE);
        let Some(queue) = queue.filter(|_| self.is_multiport) else {
            return;
        };
        let mut budget = BUDGET;
        while let Some(message) = core.control.next(&mut self.message) {
            if budget == 0 || !queue.pop(&mut self.chain) {
                break;
            }
            budget = budget.saturating_sub(CHAIN);
            if self.chain.writable_bytes() < self.message.len() as u64 {
                core.counters.small_buffers += 1;
                queue.complete(&self.chain, 0);
                continue;
            }
            let mut writer = self.chain.writer(queue.ram());
            writer.write(&self.message);
            let written = writer.written();
            queue.complete(&self.chain, written);
            core.control.sent(message);
        }
        queue.publish();
        if budget == 0 {
            queue.kick().notify();
        }
    }

    /// The driver has taken the chains of a queue back that it has reset: what was taken of the first
    /// is not part of what it puts there next. After the reset of a queue the others are kicked, before
    /// it can be enabled again.
    fn forget_reset_queues(&self, context: &mut Context, core: &mut Core) {
        for (port, taken) in core.taken.iter_mut().enumerate() {
            if *taken > 0 && context.queues.get_mut(transmit_queue(port)).is_none() {
                *taken = 0;
            }
        }
    }
}
