//! When a machine got how far.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::{Metrics, Tree};

/// A point in the life of a machine, in the order they are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
#[non_exhaustive]
pub enum Milestone {
    /// The builder begins: the configuration is complete.
    BuildBegan,
    /// The host's kernel has made the VM, and knows its RAM.
    VmCreated,
    /// The kernel and what belongs to it are in RAM.
    Loaded,
    /// Everything is in hand.
    Built,
    /// The first vCPU enters the guest.
    Entry,
    /// It came back for the first time.
    FirstExit,
    /// The guest's first byte on the serial console.
    FirstOutput,
    /// The guest has ended, or was stopped.
    End,
}

impl Milestone {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::BuildBegan,
        Self::VmCreated,
        Self::Loaded,
        Self::Built,
        Self::Entry,
        Self::FirstExit,
        Self::FirstOutput,
        Self::End,
    ];

    /// Its name, for people and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BuildBegan => "build_began",
            Self::VmCreated => "vm_created",
            Self::Loaded => "loaded",
            Self::Built => "built",
            Self::Entry => "entry",
            Self::FirstExit => "first_exit",
            Self::FirstOutput => "first_output",
            Self::End => "end",
        }
    }
}

/// When each milestone was reached first. Any thread may mark and read.
#[derive(Debug)]
pub struct Milestones {
    start: Instant,
    /// Nanoseconds from `start`, plus 1; 0 is not reached.
    // Ordering: each time is whole in one word, and goes with nothing else.
    reached: [AtomicU64; Milestone::ALL.len()],
}

impl Milestones {
    /// None is reached, and time begins.
    pub fn new() -> Self {
        Self::since(Instant::now())
    }

    /// None is reached, and time began at `start`.
    pub fn since(start: Instant) -> Self {
        Self {
            start,
            reached: Default::default(),
        }
    }

    /// When time began.
    pub fn start(&self) -> Instant {
        self.start
    }

    /// It is reached, now, unless it was before.
    #[inline]
    pub fn mark(&self, milestone: Milestone) {
        if let Some(place) = self.reached.get(milestone as usize)
            && place.load(Ordering::Relaxed) == 0
        {
            self.mark_first(milestone, place);
        }
    }

    #[cold]
    fn mark_first(&self, milestone: Milestone, place: &AtomicU64) {
        let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX - 1) + 1;
        let first = place.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        #[cfg(feature = "tracing")]
        if first.is_ok() {
            let name = milestone.name();
            tracing::debug!(milestone = name, microseconds = now / 1000, "reached");
        }
        #[cfg(not(feature = "tracing"))]
        let _ = (milestone, first);
    }

    /// As a tree: microseconds from the start.
    pub fn tree(&self) -> Tree {
        let microseconds = |at: Duration| u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        self.all().fold(Tree::new(), |tree, (milestone, at)| {
            tree.number(format!("{}_us", milestone.name()), microseconds(at))
        })
    }

    /// Adds them to `metrics`.
    pub fn measure(&self, metrics: &mut Metrics) {
        let name = "milestone_seconds";
        let help = "Seconds from the start of the machine to a milestone of its boot";
        for (milestone, at) in self.all() {
            metrics.gauge(
                name,
                help,
                &[("milestone", milestone.name())],
                at.as_secs_f64(),
            );
        }
    }

    /// When it was reached, from the start on.
    pub fn reached(&self, milestone: Milestone) -> Option<Duration> {
        let place = self.reached.get(milestone as usize)?;
        let nanoseconds = place.load(Ordering::Relaxed).checked_sub(1)?;
        Some(Duration::from_nanos(nanoseconds))
    }

    /// Those that were reached, in order.
    pub fn all(&self) -> impl Iterator<Item = (Milestone, Duration)> {
        let when = |milestone| Some((milestone, self.reached(milestone)?));
        Milestone::ALL.into_iter().filter_map(when)
    }
}

impl Default for Milestones {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_stands() {
        let milestones = Milestones::new();
        assert_eq!(milestones.reached(Milestone::Entry), None);
        milestones.mark(Milestone::Entry);
        let first = milestones.reached(Milestone::Entry).unwrap();
        milestones.mark(Milestone::Entry);
        assert_eq!(milestones.reached(Milestone::Entry), Some(first));
        assert_eq!(milestones.all().count(), 1);
    }

    #[test]
    fn they_are_in_the_order_of_their_numbers() {
        assert!(Milestone::ALL.is_sorted());
        for (index, milestone) in Milestone::ALL.into_iter().enumerate() {
            assert_eq!(milestone as usize, index);
        }
    }
}
