//! Pages and statistics, on the thread of slow devices.

use std::io;
use std::sync::Arc;

use vmmkit_guest_memory::{GuestAddress, GuestRam};
use vmmkit_host_io::{Interest, Ready, TimerFd};
use vmmkit_virtio::{Chain, Context, Engine, Queue};

use super::pages::{BalloonPages, PageRun};
use super::shared::Shared;
use super::{BalloonCounters, BalloonStats, spec};

/// Bytes of page numbers that are looked at together: what Linux sends is 1024 of them.
const PIECE: usize = 4096;
/// The most pieces of one message that are looked at; the pages of the rest stay with the guest.
const MAX_PIECES: u64 = 16;
/// Pieces, or reported ranges, after which others have their turn.
const BUDGET: u64 = 16;
/// The most bytes of statistics that are read: many more than there are tags.
const STATS_MAX: usize = 64 * spec::STAT_SIZE;

const WAKE: u64 = 0;
const TIMER: u64 = 1;

/// The purpose of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Inflate,
    Deflate,
    Stats,
    Reporting,
}

/// Works on the queues of a balloon.
pub(super) struct BalloonEngine {
    shared: Arc<Shared>,
    features: u64,
    timer: TimerFd,
    chain: Chain,
    bytes: Vec<u8>,
    pages: BalloonPages,
    /// The buffer of statistics that the guest gave, to be given back when new ones are wanted: the
    /// last that was popped of its queue.
    held: Option<u16>,
}

impl BalloonEngine {
    pub(super) fn new(shared: Arc<Shared>, features: u64) -> io::Result<Self> {
        Ok(Self {
            shared,
            features,
            timer: TimerFd::new()?,
            chain: Chain::new(),
            bytes: vec![0; PIECE],
            pages: BalloonPages::default(),
            held: None,
        })
    }

    fn has(&self, feature: u64) -> bool {
        self.features & feature != 0
    }

    /// The purpose of queue `index`. By the specification reporting_vq is 4, but Linux (6.x) gives
    /// queues that it has no use for no number, so that it may be 2 or 3 as well. There is no other
    /// use of them here: free_page_vq would be one, and is not offered.
    fn role(&self, index: u16) -> Option<Role> {
        match index {
            spec::INFLATE => Some(Role::Inflate),
            spec::DEFLATE => Some(Role::Deflate),
            spec::STATS if self.has(spec::F_STATS_VQ) => Some(Role::Stats),
            _ if self.has(spec::F_PAGE_REPORTING) => Some(Role::Reporting),
            _ => None,
        }
    }

    /// Takes page numbers of the queue, as many as the budget allows.
    fn take_pages(&mut self, queue: &mut Queue, gives_back: bool) {
        let mut left = BUDGET;
        while left > 0 && queue.pop(&mut self.chain) {
            left = left.saturating_sub(self.take_message(queue.ram(), gives_back).max(1));
            queue.complete(&self.chain, 0);
        }
        queue.publish();
        if left == 0 {
            queue.kick().notify();
        }
    }

    /// Takes the page numbers of a chain; how many pieces they were.
    fn take_message(&mut self, ram: &GuestRam, gives_back: bool) -> u64 {
        let mut counts = BalloonCounters::default();
        let mut reader = self.chain.reader(ram);
        let total = reader.left();
        let mut pieces = 0;
        while reader.left() > 0 && pieces < MAX_PIECES {
            let length = reader.read(&mut self.bytes);
            let piece = self.bytes.get(..length).unwrap_or_default();
            pieces += 1;
            counts.repeated_pages += self.pages.parse(piece) as u64;
            for run in self.pages.runs() {
                if gives_back {
                    give_back(ram, run, &mut counts);
                } else {
                    counts.deflated_pages += u64::from(run.count);
                }
            }
        }
        let is_odd = total == 0 || !total.is_multiple_of(spec::PFN_SIZE as u64);
        counts.odd_messages += u64::from(is_odd || reader.left() > 0);
        self.shared.count(|all| add(all, &counts));
        pieces
    }

    /// Gives the ranges back that the guest reports free. They come as buffers to write (5.5.6.7).
    fn take_reports(&mut self, queue: &mut Queue) {
        // What the guest filled its free pages with must be there when it takes one again, and
        // discarded pages are zero.
        let keeps = self.has(spec::F_PAGE_POISON) && self.shared.visible().poison != 0;
        let mut left = BUDGET;
        while left > 0 && queue.pop(&mut self.chain) {
            let mut counts = BalloonCounters::default();
            let is_odd = self.chain.readable_bytes() > 0 || self.chain.writable_bytes() == 0;
            counts.odd_messages += u64::from(is_odd);
            for range in self.chain.writable() {
                counts.reported_bytes += u64::from(range.length);
                if !keeps {
                    let given = queue.ram().discard(range.address, range.length.into());
                    counts.discarded_bytes += given.unwrap_or(0);
                }
            }
            left = left.saturating_sub(self.chain.writable().len().max(1) as u64);
            self.shared.count(|all| add(all, &counts));
            queue.complete(&self.chain, 0);
        }
        queue.publish();
        if left == 0 {
            queue.kick().notify();
        }
    }

    /// Takes statistics and keeps their buffer. The guest has one buffer; should there be more, all
    /// but the last go back.
    fn take_stats(&mut self, queue: &mut Queue) {
        let mut left = BUDGET;
        while left > 0 && queue.pop(&mut self.chain) {
            left -= 1;
            let bytes = self.bytes.get_mut(..STATS_MAX).unwrap_or_default();
            let length = self.chain.reader(queue.ram()).read(bytes);
            let stats = BalloonStats::parse(bytes.get(..length).unwrap_or_default());
            self.shared.set_report(stats);
            self.shared.count(|all| all.reports += 1);
            if let Some(older) = self.held.replace(self.chain.head()) {
                queue.complete_head(older, 0);
            }
        }
        queue.publish();
        self.arm();
        if left == 0 {
            queue.kick().notify();
        }
    }

    /// Lets the timer fire when new statistics are due.
    fn arm(&self) {
        match self.shared.interval() {
            Some(interval) if self.held.is_some() => self.timer.arm_once(interval),
            _ => self.timer.disarm(),
        }
    }

    /// Asks for new statistics, if the guest is not about to send some.
    fn ask(&mut self, context: &mut Context) {
        let queue = context.queues.get_mut(spec::STATS);
        if let (Some(queue), Some(head)) = (queue, self.held.take()) {
            queue.complete_head(head, 0);
            queue.publish();
        }
    }
}

impl Engine for BalloonEngine {
    fn start(&mut self, context: &mut Context) -> io::Result<()> {
        context
            .poller
            .add(self.shared.wake(), WAKE, Interest::Readable)?;
        context.poller.add(&self.timer, TIMER, Interest::Readable)
    }

    fn kicked(&mut self, context: &mut Context, index: u16) {
        let Some(queue) = context.queues.get_mut(index) else {
            return;
        };
        match self.role(index) {
            Some(Role::Inflate) => self.take_pages(queue, true),
            Some(Role::Deflate) => self.take_pages(queue, false),
            Some(Role::Stats) => self.take_stats(queue),
            Some(Role::Reporting) => self.take_reports(queue),
            None => {}
        }
    }

    fn ready(&mut self, context: &mut Context, ready: Ready) {
        match ready.token {
            WAKE => {
                self.shared.wake().drain();
                if self.shared.take_asked() {
                    self.ask(context);
                }
                self.arm();
            }
            _ => {
                self.timer.drain();
                self.ask(context);
            }
        }
    }

    fn quiesce(&mut self, context: &mut Context) {
        let queue = context.queues.get_mut(spec::STATS);
        if let (Some(queue), Some(_)) = (queue, self.held.take()) {
            queue.unpop();
        }
        self.timer.disarm();
    }
}

/// Gives the pages of a run back that are RAM.
fn give_back(ram: &GuestRam, run: PageRun, counts: &mut BalloonCounters) {
    counts.inflated_pages += u64::from(run.count);
    let mut outside = u64::from(run.count);
    for region in ram.regions() {
        let start = run.start().max(region.guest_address.0);
        let end = run.end().min(region.guest_address.0 + region.size);
        if start < end {
            outside -= (end - start) / spec::PAGE;
            let given = ram.discard(GuestAddress(start), end - start);
            counts.discarded_bytes += given.unwrap_or(0);
        }
    }
    counts.outside_pages += outside;
    counts.inflated_pages -= outside;
}

fn add(all: &mut BalloonCounters, more: &BalloonCounters) {
    all.inflated_pages += more.inflated_pages;
    all.deflated_pages += more.deflated_pages;
    all.reported_bytes += more.reported_bytes;
    all.discarded_bytes += more.discarded_bytes;
    all.outside_pages += more.outside_pages;
    all.repeated_pages += more.repeated_pages;
    all.odd_messages += more.odd_messages;
}
