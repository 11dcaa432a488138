//! The phases of a boot: what happened between two marks, and whose time it was.

use std::time::Duration;

use super::Timeline;
use crate::Milestone::{self, BuildBegan, Built, End, Entry, FirstOutput, Loaded, VmCreated};

/// A phase, drawn as a bar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Phase {
    pub(super) name: &'static str,
    pub(super) start: Duration,
    pub(super) end: Duration,
    pub(super) colour: &'static str,
}

const GREY: &str = "#9aa5b1";
const BLUE: &str = "#4c78a8";
const CYAN: &str = "#54a2a8";
const ORANGE: &str = "#e08a3c";
const PURPLE: &str = "#8a6bb1";
const GREEN: &str = "#5a9e57";

impl Timeline {
    /// The lanes with their names: what the process does, what it does beside that, and the guest.
    pub(super) fn lanes(&self) -> Vec<(&'static str, Vec<Phase>)> {
        let at = |milestone: Milestone| self.milestone(milestone);
        let (main, init) = (self.at("main"), self.at("init"));
        let exec = self.at("exec");
        let host = [
            phase("exec", exec, main, GREY),
            phase("options", main, at(BuildBegan), BLUE),
            phase("VM", at(BuildBegan), at(VmCreated), ORANGE),
            phase(
                "devices, vCPUs",
                at(VmCreated).max(at(Loaded)),
                at(Built),
                CYAN,
            ),
            phase("start", at(Built), at(Entry), GREY),
        ];
        let load = [phase("load", at(BuildBegan), at(Loaded), PURPLE)];
        let end = Some(at(End).unwrap_or_else(|| self.end()));
        let talks = at(FirstOutput).or(init).or(end);
        let guest = [
            phase("silent", at(Entry), talks, GREY),
            phase("kernel", at(FirstOutput), init.or(end), ORANGE),
            phase("user space", init, end, GREEN),
        ];
        let lanes = [
            ("process", host.to_vec()),
            ("load", load.to_vec()),
            ("guest", guest.to_vec()),
        ];
        let lanes = lanes.into_iter();
        lanes
            .map(|(name, phases)| (name, phases.into_iter().flatten().collect()))
            .collect()
    }
}

/// `None` where one of its ends was not reached, or it is the wrong way round.
fn phase(
    name: &'static str,
    start: Option<Duration>,
    end: Option<Duration>,
    colour: &'static str,
) -> Option<Phase> {
    let (start, end) = (start?, end?);
    (start < end).then_some(Phase {
        name,
        start,
        end,
        colour,
    })
}
