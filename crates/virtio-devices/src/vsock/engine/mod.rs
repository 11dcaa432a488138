//! The thread that moves packets between the queues and the sockets.

mod clock;
mod host_side;
mod receive;
mod transmit;

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing::warn;
use vmmkit_guest_memory::Segment;
use vmmkit_host_io::{EventFd, Interest, Ready, TimerFd, leaves_descriptors};
use vmmkit_virtio::{Chain, Context, Engine, Queues};

use super::VsockLimits;
use super::connection::{Connection, Role};
use super::host::HostSocket;
use super::link::{Key, answer};
use super::packet::{Op, VsockHeader};
use super::spec::{EVENT, EVENT_TRANSPORT_RESET, TYPE_STREAM};
use super::stats::{Counters, count};
use super::table::{Id, Table};
use clock::Clock;

/// Tokens of what is not a connection.
const LISTENER: u64 = 1 << 62;
const TIMER: u64 = LISTENER + 1;
const AGAIN: u64 = LISTENER + 2;

/// Packets of one turn in each direction; then kicks and sockets are looked at again.
const TURN: usize = 64;
/// From so many RST packets on that the guest has not taken, no packet of it is looked at: only
/// those cause more of them without end.
const MAX_RESETS: usize = 256;

/// How long somebody is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// A host program must say where to in this time.
    pub(super) greeting: Duration,
    /// The guest must answer a REQUEST in this time.
    pub(super) request: Duration,
    /// The guest must answer the last SHUTDOWN in this time.
    pub(super) close: Duration,
    /// A host program must take something of what a guest sent before it closed in this time.
    pub(super) drain: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            greeting: Duration::from_secs(5),
            request: Duration::from_secs(10),
            // As Linux gives the other side.
            close: Duration::from_secs(8),
            drain: Duration::from_secs(60),
        }
    }
}

/// Limits on the host's resources for strangers, and on their time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) room: VsockLimits,
    pub(super) times: Times,
}

/// Owns the connections while a driver runs the device.
#[derive(Debug)]
pub(super) struct VsockEngine {
    // Fixed at creation
    cid: u64,
    room: VsockLimits,
    times: Times,
    // Wiring
    host: Arc<HostSocket>,
    counters: Arc<Counters>,
    // Ordering: a flag alone; what it announces goes by the event queue.
    is_transport_reset: Arc<AtomicBool>,
    timer: TimerFd,
    again: EventFd,
    clock: Clock,
    /// The time that the timer is armed for.
    armed: Option<Duration>,
    /// Host programs that have not said where to.
    silent: usize,
    // What the guest can see
    table: Table,
    /// Connections that have something for the guest, in turn.
    ready: VecDeque<Id>,
    /// RST packets for the guest: at most [`MAX_RESETS`] and one for each connection, as no
    /// connection is made while one waits.
    resets: VecDeque<VsockHeader>,
    // Used again and again
    touched: Vec<Id>,
    chain: Chain,
    pieces: Vec<Segment>,
}

impl VsockEngine {
    pub(super) fn new(
        cid: u64,
        bounds: Bounds,
        host: Arc<HostSocket>,
        counters: Arc<Counters>,
        is_transport_reset: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        Ok(Self {
            cid,
            room: bounds.room,
            times: bounds.times,
            host,
            counters,
            is_transport_reset,
            timer: TimerFd::new()?,
            again: EventFd::new()?,
            clock: Clock::new(),
            armed: None,
            silent: 0,
            table: Table::default(),
            ready: VecDeque::new(),
            resets: VecDeque::new(),
            touched: Vec::new(),
            chain: Chain::new(),
            pieces: Vec::new(),
        })
    }
}

impl Engine for VsockEngine {
    fn start(&mut self, context: &mut Context) -> io::Result<()> {
        let poller = &context.poller;
        poller.add(&self.host.0, LISTENER, Interest::Readable)?;
        poller.add(&self.timer, TIMER, Interest::Readable)?;
        poller.add(&self.again, AGAIN, Interest::Readable)
    }

    fn kicked(&mut self, context: &mut Context, _index: u16) {
        self.turn(context);
    }

    fn ready(&mut self, context: &mut Context, ready: Ready) {
        match ready.token {
            LISTENER => self.accept(),
            TIMER => {
                self.timer.drain();
                self.armed = None;
                self.expire();
            }
            AGAIN => {
                self.again.drain();
            }
            token => self.socket_ready(Id(token), ready),
        }
        self.turn(context);
    }

    /// Nothing is ever under way between two turns; only time stands still.
    fn quiesce(&mut self, _context: &mut Context) {
        self.clock.rest();
    }
}

impl VsockEngine {
    /// Moves what can be moved, up to a bound.
    fn turn(&mut self, context: &mut Context) {
        self.clock.wake();
        self.announce_reset(&mut context.queues);
        let more_of_guest = self.transmit(&mut context.queues);
        let more_for_guest = self.receive(&mut context.queues);
        let has_closed = self.watch(&context.poller);
        if more_of_guest && self.resets.len() < MAX_RESETS || more_for_guest || has_closed {
            self.again.notify();
        }
        self.arm();
    }

    /// Tells the guest of a restore: all its connections are gone (5.10.6.7).
    fn announce_reset(&mut self, queues: &mut Queues) {
        if !self.is_transport_reset.load(Ordering::Relaxed) {
            return;
        }
        let Some(queue) = queues.get_mut(EVENT) else {
            return;
        };
        for _ in 0..queue.size() {
            if !queue.pop(&mut self.chain) {
                break;
            }
            let mut writer = self.chain.writer(queue.ram());
            let is_told = writer.write_value(EVENT_TRANSPORT_RESET.to_le());
            queue.complete(&self.chain, writer.written());
            if is_told {
                self.is_transport_reset.store(false, Ordering::Relaxed);
                break;
            }
            count(&self.counters.small_buffers);
        }
        queue.publish();
    }

    /// Does what follows from a change of the connection `id`, but for what the poller waits for.
    fn attend(&mut self, id: Id) {
        let Some(connection) = self.table.get_mut(id) else {
            return;
        };
        let link = connection.link();
        if let Some(key) = link
            .filter(|link| link.guest_is_done())
            .map(|link| link.key())
        {
            // A clean end (5.10.6.5). The guest may use its port again.
            self.reset(key, TYPE_STREAM);
            return self.drain(id);
        }
        if connection.shut_down() && connection.deadline.is_none() {
            self.set_limit(id, self.times.close);
        }
        let Some(connection) = self.table.get_mut(id) else {
            return;
        };
        if !connection.is_queued && connection.has_packets() {
            connection.is_queued = true;
            self.ready.push_back(id);
        }
        self.touch(id);
    }

    /// The events that the poller waits for of connection `id` may be others now.
    fn touch(&mut self, id: Id) {
        if let Some(connection) = self.table.get_mut(id)
            && !connection.is_touched
        {
            connection.is_touched = true;
            self.touched.push(id);
        }
    }

    /// The guest is done with the connection `id`, which the host program has until it has taken
    /// what the guest sent.
    fn drain(&mut self, id: Id) {
        let Some(connection) = self.table.get_mut(id) else {
            return;
        };
        if connection.is_drained() {
            return self.close(id);
        }
        self.table.unlink(id);
        if let Some(connection) = self.table.get_mut(id) {
            connection.role = Role::Draining;
        }
        self.set_limit(id, self.times.drain);
        self.touch(id);
    }

    /// Answers or ends a connection by RST.
    fn reset(&mut self, key: Key, kind: u16) {
        count(&self.counters.resets);
        self.resets
            .push_back(answer(self.cid, key, kind, Op::Reset));
    }

    /// Ends the connection `id` by RST, if the guest knows of it.
    fn break_off(&mut self, id: Id) {
        let link = self
            .table
            .get_mut(id)
            .and_then(|connection| connection.link());
        if let Some(key) = link
            .filter(|link| link.is_known_to_guest())
            .map(|link| link.key())
        {
            self.reset(key, TYPE_STREAM);
        }
        self.close(id);
    }

    /// Ends the connection `id`; the poller waits for what is closed no more.
    fn close(&mut self, id: Id) {
        let closed = self.table.remove(id);
        if closed.as_ref().is_some_and(Connection::is_silent) {
            self.silent -= 1;
        }
        if closed.as_ref().is_some_and(|closed| closed.is_queued) {
            self.ready.retain(|queued| *queued != id);
        }
        // Before the host program can see it.
        self.count_connections();
        drop(closed);
    }

    /// Whether there is room for one more connection, whose socket is `socket`.
    fn has_room(&self, socket: &OwnedFd) -> bool {
        self.table.len() < self.room.connections
            && leaves_descriptors(socket, self.room.reserved_descriptors)
    }

    /// A connection that there is no room for.
    fn count_refused(&self) {
        count(&self.counters.refused);
        count(&self.counters.out_of_room);
        if let Some(count) = self.counters.refusals.next() {
            let connections = self.table.len();
            warn!(
                cid = self.cid,
                connections, count, "no room for another vsock connection"
            );
        }
    }

    fn count_connections(&self) {
        let now = self.table.len() as u64;
        self.counters.connections.store(now, Ordering::Relaxed);
    }

    fn set_limit(&mut self, id: Id, time: Duration) {
        let deadline = self.clock.now() + time;
        self.table.set_deadline(id, Some(deadline));
    }

    /// Arms the timer for the first deadline.
    fn arm(&mut self) {
        let first = self.table.first_deadline().map(|(deadline, _)| deadline);
        if first == self.armed {
            return;
        }
        self.armed = first;
        match first {
            Some(deadline) => self
                .timer
                .arm_once(deadline.saturating_sub(self.clock.now())),
            None => self.timer.disarm(),
        }
    }
}

impl Drop for VsockEngine {
    fn drop(&mut self) {
        self.counters.connections.store(0, Ordering::Relaxed);
    }
}
