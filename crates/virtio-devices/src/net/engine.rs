//! The thread of one pair of queues; that of the first pair has the control queue too.

use std::io;
use std::sync::Arc;

use vmmkit_host_io::{Interest, Ready};
use vmmkit_virtio::{Context, Engine};

use super::control::Control;
use super::line::{Line, Shared};
use super::receive::Receiver;
use super::stats::NetFlow;
use super::transmit::Transmitter;

/// The most packets of one direction, and commands, at a time: then the others have their turn.
pub(super) const BATCH: u32 = 64;

/// Tokens of the events that the engine waits for.
const HOST: u64 = 0;
const RECEIVE_TIMER: u64 = 1;
const TRANSMIT_TIMER: u64 = 2;

/// Why a direction stopped, which is what it waits for.
#[derive(Debug)]
pub(super) enum Halt {
    /// The host has nothing more, or takes no more.
    Host,
    /// The driver has made nothing more available.
    NoRoom,
    /// The rate limit.
    Throttled,
    /// It did its share.
    Batch,
    /// The driver does not use this pair.
    Detached,
    /// The back end came to its end.
    Lost(io::Error),
}

pub(super) struct PairEngine {
    // Fixed at creation
    pair: usize,
    shared: Arc<Shared>,
    // Working state
    receiver: Receiver,
    transmitter: Transmitter,
    control: Option<Control>,
    /// Why each direction stopped.
    receiving: Halt,
    transmitting: Halt,
    watched: Option<Interest>,
}

impl PairEngine {
    pub(super) fn new(
        pair: usize,
        shared: Arc<Shared>,
        receiver: Receiver,
        transmitter: Transmitter,
        control: Option<Control>,
    ) -> Self {
        Self {
            pair,
            shared,
            receiver,
            transmitter,
            control,
            receiving: Halt::NoRoom,
            transmitting: Halt::NoRoom,
            watched: None,
        }
    }

    fn receive_queue(&self) -> u16 {
        // There are at most MAX_QUEUE_PAIRS.
        2 * self.pair as u16
    }

    fn transmit_queue(&self) -> u16 {
        self.receive_queue() + 1
    }

    fn receive(&mut self, context: &mut Context) {
        if matches!(self.receiving, Halt::Lost(_)) {
            return;
        }
        let queue = context.queues.get_mut(self.receive_queue());
        let (Some(queue), Some(line)) = (queue, self.shared.lines.get(self.pair)) else {
            self.receiving = Halt::NoRoom;
            return;
        };
        let mut flow = NetFlow::default();
        let is_up = self.shared.is_up();
        self.receiving = self.receiver.run(queue, &mut line.host(), is_up, &mut flow);
        line.received.add(flow);
        queue.publish();
        if matches!(self.receiving, Halt::Batch) {
            queue.kick().notify();
        }
    }

    fn transmit(&mut self, context: &mut Context) {
        let queue = context.queues.get_mut(self.transmit_queue());
        let (Some(queue), Some(line)) = (queue, self.shared.lines.get(self.pair)) else {
            self.transmitting = Halt::NoRoom;
            return;
        };
        let mut flow = NetFlow::default();
        let is_up = self.shared.is_up();
        let halt = self
            .transmitter
            .run(queue, &mut line.host(), is_up, &mut flow);
        line.transmitted.add(flow);
        queue.publish();
        if matches!(halt, Halt::Batch) {
            queue.kick().notify();
        }
        self.transmitting = halt;
    }

    /// Waits for what both directions wait for, and no more: a descriptor that is ready and not
    /// served would wake the thread for ever.
    fn watch(&mut self, context: &mut Context) {
        for halt in [&self.receiving, &self.transmitting] {
            if let Halt::Lost(error) = halt {
                self.shared.lose(error);
            }
        }
        let is_lost =
            matches!(self.receiving, Halt::Lost(_)) || matches!(self.transmitting, Halt::Lost(_));
        let receives = matches!(self.receiving, Halt::Host);
        let transmits = matches!(self.transmitting, Halt::Host);
        let wanted = match Interest::of(receives, transmits) {
            Interest::None => None,
            _ if is_lost => None,
            wanted => Some(wanted),
        };
        let Some(line) = self.shared.lines.get(self.pair) else {
            return;
        };
        if wanted == self.watched {
            return;
        }
        match change(context, line, self.watched, wanted) {
            Ok(()) => self.watched = wanted,
            // The host has no memory to wait for more: as good as an end.
            Err(error) => self.shared.lose(&error),
        }
    }
}

fn change(
    context: &Context,
    line: &Line,
    old: Option<Interest>,
    new: Option<Interest>,
) -> io::Result<()> {
    let host = line.host();
    let fd = host.backend.fd();
    match (old, new) {
        (None, Some(interest)) => context.poller.add(fd, HOST, interest),
        (Some(_), Some(interest)) => context.poller.change(fd, HOST, interest),
        (_, None) => context.poller.remove(fd),
    }
}

impl Engine for PairEngine {
    fn start(&mut self, context: &mut Context) -> io::Result<()> {
        let poller = &context.poller;
        let receive = self.receiver.throttle();
        poller.add(receive, RECEIVE_TIMER, Interest::Readable)?;
        let transmit = self.transmitter.throttle();
        poller.add(transmit, TRANSMIT_TIMER, Interest::Readable)
    }

    fn kicked(&mut self, context: &mut Context, index: u16) {
        if index == self.receive_queue() {
            // Where the host has nothing, more room changes nothing.
            if !matches!(self.receiving, Halt::Host) {
                self.receive(context);
            }
        } else if index == self.transmit_queue() {
            self.transmit(context);
        } else if let Some(control) = &mut self.control
            && let Some(queue) = context.queues.get_mut(control.queue)
            && !control.run(queue, &self.shared, BATCH)
        {
            queue.kick().notify();
        }
        self.watch(context);
    }

    fn ready(&mut self, context: &mut Context, ready: Ready) {
        let receives = match ready.token {
            HOST => ready.readable,
            RECEIVE_TIMER => {
                self.receiver.throttle().drain();
                true
            }
            _ => false,
        };
        let transmits = match ready.token {
            HOST => ready.writable && matches!(self.transmitting, Halt::Host),
            TRANSMIT_TIMER => {
                self.transmitter.throttle().drain();
                true
            }
            _ => false,
        };
        if receives {
            self.receive(context);
        }
        if transmits {
            self.transmit(context);
        }
        self.watch(context);
    }

    fn quiesce(&mut self, context: &mut Context) {
        if let Some(queue) = context.queues.get_mut(self.receive_queue()) {
            self.receiver.put_back(queue);
            queue.publish();
        }
        // Each queue is kicked afterwards, unless it is gone: then it is not waited for.
        for halt in [&mut self.receiving, &mut self.transmitting] {
            if !matches!(halt, Halt::Lost(_)) {
                *halt = Halt::NoRoom;
            }
        }
        self.watch(context);
    }
}
