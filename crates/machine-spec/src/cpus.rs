//! How many vCPUs, how they are arranged, and which CPUs of the host they run on.

use std::collections::BTreeMap;
use std::fmt;
use std::num::IntErrorKind;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use vmmkit_host_io::{HostCpus, HostCpusError};
use vmmkit_x86_cpu::{Topology, TopologyError};

use crate::{CpuModelSpec, Fault, Given, PrioritySpec, serde_text};

/// The CPUs of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CpusSpec {
    /// How many there are.
    #[serde(with = "serde_text")]
    pub vcpus: VcpusSpec,
    /// Which features they have.
    pub model: CpuModelSpec,
    /// The CPUs of the host that they run on.
    #[serde(with = "serde_text::option")]
    pub affinity: Option<Affinity>,
    /// How the host schedules the threads of the machine.
    pub priority: PrioritySpec,
}

/// The most vCPUs whose places are looked at: no machine has more, and one that asks for more is refused with the
/// number when it is built.
const MAX_PLACED: u32 = 4096;

impl CpusSpec {
    /// The CPUs of the host that each vCPU runs on; none for a vCPU that may run on all.
    ///
    /// # Errors
    /// [`AffinityFault`] where `affinity` does not go with the number of vCPUs.
    pub fn placed(&self) -> Result<BTreeMap<u32, HostCpus>, AffinityFault> {
        let vcpus = self.vcpus.count().min(MAX_PLACED);
        let affinity = self.affinity.as_ref();
        affinity.map_or(Ok(BTreeMap::new()), |affinity| affinity.of(vcpus))
    }
}

/// The number of vCPUs and their arrangement, where one is given; as text, `8,sockets=2,dies=1,cores=2,threads=2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VcpusSpec {
    /// How many, at least 1.
    count: u32,
    /// Of that many.
    topology: Option<Topology>,
}

/// Why there are no such vCPUs.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CpusFault {
    /// None.
    #[error("a machine needs at least 1 vCPU")]
    Zero,
    /// More than 32 bits can count.
    #[error("no machine has that many vCPUs")]
    TooMany,
    /// Not a number.
    #[error("this is not a number of vCPUs")]
    NotANumber,
    /// A number without the name of a level.
    #[error("{} has no name", shown(.0))]
    NoName(String),
    /// A level that there is not.
    #[error("there is no {}: there are sockets, dies, cores and threads", shown(.0))]
    NoLevel(String),
    /// A level is there twice.
    #[error("{0} was given twice")]
    Twice(String),
    /// The levels are another number than the one that is given.
    #[error(
        "{sockets} sockets of {dies} dies of {cores} cores of {threads} threads are {vcpus} vCPUs, not {total}"
    )]
    OtherNumber {
        /// The sockets.
        sockets: u32,
        /// The dies of each.
        dies: u32,
        /// The cores of each.
        cores: u32,
        /// The threads of each.
        threads: u32,
        /// The number of vCPUs.
        vcpus: u32,
        /// The number that is given.
        total: u32,
    },
    /// The levels cannot be.
    #[error(transparent)]
    Topology(#[from] TopologyError),
}

fn shown(text: &str) -> &str {
    if text.is_empty() { "\"\"" } else { text }
}

impl Default for VcpusSpec {
    fn default() -> Self {
        Self {
            count: 1,
            topology: None,
        }
    }
}

impl VcpusSpec {
    /// `N,sockets=S,dies=D,cores=C,threads=T`. A level that is left out has one of its kind; left out, cores
    /// are what makes the number.
    ///
    /// # Errors
    /// [`Fault::Cpus`].
    pub fn parse(given: &Given) -> Result<Self, Fault> {
        Ok(Self::of_words(given.words())?)
    }

    /// How many there are.
    pub fn count(self) -> u32 {
        self.count
    }

    /// Their arrangement; without one, as cores of one package.
    pub fn topology(self) -> Option<Topology> {
        self.topology
    }

    fn of_words(words: &[String]) -> Result<Self, CpusFault> {
        let (mut total, mut levels) = (None, [None; 4]);
        for (place, word) in words.iter().enumerate() {
            match word.split_once('=') {
                None if place == 0 => total = Some(number(word)?),
                None => return Err(CpusFault::NoName(word.clone())),
                Some((name, value)) => {
                    let level = level(&mut levels, name);
                    let level = level.ok_or_else(|| CpusFault::NoLevel(name.to_owned()))?;
                    if level.is_some() {
                        return Err(CpusFault::Twice(name.to_owned()));
                    }
                    *level = Some(number(value)?);
                }
            }
        }
        if levels.iter().all(Option::is_none) {
            return Ok(Self {
                count: total.unwrap_or(1),
                topology: None,
            });
        }
        Self::arranged(total, levels)
    }

    fn arranged(total: Option<u32>, levels: [Option<u32>; 4]) -> Result<Self, CpusFault> {
        let [sockets, dies, cores, threads] = levels;
        let [sockets, dies, threads] = [sockets, dies, threads].map(|count| count.unwrap_or(1));
        let cores = match (cores, total) {
            (Some(cores), _) => cores,
            // A number that does not divide is found out below.
            (None, Some(total)) => {
                let others = sockets.saturating_mul(dies).saturating_mul(threads);
                (total / others).max(1)
            }
            (None, None) => 1,
        };
        let topology = Topology::new(sockets, dies, cores, threads)?;
        let vcpus = topology.vcpus();
        match total {
            Some(total) if total != vcpus => Err(CpusFault::OtherNumber {
                sockets,
                dies,
                cores,
                threads,
                vcpus,
                total,
            }),
            _ => Ok(Self {
                count: vcpus,
                topology: Some(topology),
            }),
        }
    }
}

fn level<'a, T>(levels: &'a mut [T; 4], name: &str) -> Option<&'a mut T> {
    let [sockets, dies, cores, threads] = levels;
    match name {
        "sockets" => Some(sockets),
        "dies" => Some(dies),
        "cores" => Some(cores),
        "threads" => Some(threads),
        _ => None,
    }
}

fn number(text: &str) -> Result<u32, CpusFault> {
    match text.parse::<u32>() {
        Ok(0) => Err(CpusFault::Zero),
        Ok(number) => Ok(number),
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => Err(CpusFault::TooMany),
        Err(_) => Err(CpusFault::NotANumber),
    }
}

impl FromStr for VcpusSpec {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        Self::parse(&Given::text(text))
    }
}

impl fmt::Display for VcpusSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.topology {
            Some(topology) => write!(f, "{},{topology}", self.count),
            None => self.count.fmt(f),
        }
    }
}

/// The CPUs of the host that vCPUs run on; as text, `0-3` for all, or `0:2,1-3:0+1` for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affinity(Vec<Group>);

/// Some vCPUs and the CPUs of the host for them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    /// All without them.
    vcpus: Option<RangeInclusive<u32>>,
    host: HostCpus,
}

/// Why vCPUs cannot be kept on CPUs of the host so.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AffinityFault {
    /// Not vCPUs.
    #[error("{0:?} is neither a vCPU nor a range")]
    NotVcpus(String),
    /// Not CPUs of a host.
    #[error(transparent)]
    Host(#[from] HostCpusError),
    /// There is no such vCPU.
    #[error("there is no vCPU {vcpu}, they are 0 to {last}")]
    NoVcpu {
        /// The vCPU.
        vcpu: u32,
        /// The last one that there is.
        last: u32,
    },
    /// A vCPU is there twice.
    #[error("vCPU {0} is named twice")]
    Twice(u32),
}

impl Affinity {
    /// `[VCPUS:]CPUS[,...]`.
    ///
    /// # Errors
    /// [`Fault::Affinity`].
    pub fn parse(given: &Given) -> Result<Self, Fault> {
        let groups: Result<_, AffinityFault> =
            given.words().iter().map(|word| group(word)).collect();
        Ok(Self(groups?))
    }

    /// The CPUs of the host for each of `vcpus` vCPUs that is kept on some.
    ///
    /// # Errors
    /// [`AffinityFault::NoVcpu`], [`AffinityFault::Twice`].
    pub fn of(&self, vcpus: u32) -> Result<BTreeMap<u32, HostCpus>, AffinityFault> {
        let last = vcpus.saturating_sub(1);
        let mut all = BTreeMap::new();
        for Group { vcpus, host } in &self.0 {
            let vcpus = vcpus.clone().unwrap_or(0..=last);
            if *vcpus.end() > last {
                let vcpu = *vcpus.end();
                return Err(AffinityFault::NoVcpu { vcpu, last });
            }
            for vcpu in vcpus {
                if all.insert(vcpu, host.clone()).is_some() {
                    return Err(AffinityFault::Twice(vcpu));
                }
            }
        }
        Ok(all)
    }

    /// The first CPU of the host in it that is not in `allowed`.
    pub fn first_outside(&self, allowed: &HostCpus) -> Option<u32> {
        let mut groups = self.0.iter();
        groups.find_map(|group| group.host.first_outside(allowed))
    }
}

fn group(word: &str) -> Result<Group, AffinityFault> {
    let (vcpus, host) = match word.split_once(':') {
        Some((vcpus, host)) => {
            let range = range(vcpus).ok_or_else(|| AffinityFault::NotVcpus(vcpus.to_owned()));
            (Some(range?), host)
        }
        None => (None, word),
    };
    let host = host.parse()?;
    Ok(Group { vcpus, host })
}

fn range(text: &str) -> Option<RangeInclusive<u32>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = first.parse().ok()?..=last.parse().ok()?;
    (!range.is_empty()).then_some(range)
}

impl FromStr for Affinity {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        Self::parse(&Given::text(text))
    }
}

impl fmt::Display for Affinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for Group { vcpus, host } in &self.0 {
            f.write_str(comma)?;
            match vcpus.as_ref().map(|vcpus| (vcpus.start(), vcpus.end())) {
                Some((first, last)) if first == last => write!(f, "{first}:")?,
                Some((first, last)) => write!(f, "{first}-{last}:")?,
                None => {}
            }
            host.fmt(f)?;
            comma = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_of_an_arrangement_follows() {
        let both = |text: &str| text.parse::<VcpusSpec>().unwrap().to_string();
        assert_eq!(both("3"), "3");
        for text in [
            "8,sockets=2,threads=2",
            "sockets=2,cores=2,threads=2",
            "8,sockets=2,cores=2,dies=1,threads=2",
        ] {
            assert_eq!(both(text), "8,sockets=2,dies=1,cores=2,threads=2", "{text}");
        }
        assert_eq!(both("threads=2"), "2,sockets=1,dies=1,cores=1,threads=2");
    }

    #[test]
    fn an_arrangement_that_cannot_be_says_why() {
        let reason = |text: &str| text.parse::<VcpusSpec>().unwrap_err().to_string();
        for (text, part) in [
            (
                "8,sockets=3",
                "3 sockets of 1 dies of 2 cores of 1 threads are 6 vCPUs, not 8",
            ),
            ("0", "a machine needs at least 1 vCPU"),
            ("2,cores=0", "a machine needs at least 1 vCPU"),
            ("", "this is not a number of vCPUs"),
            ("2,", "\"\" has no name"),
            (
                "2,slots=1",
                "there is no slots: there are sockets, dies, cores and threads",
            ),
            ("2,cores=1,cores=2", "cores was given twice"),
            ("99999999999", "no machine has that many vCPUs"),
            (
                "sockets=65536,cores=65536",
                "no machine has that many vCPUs",
            ),
            ("4,cores=2,2", "2 has no name"),
        ] {
            assert_eq!(reason(text), part, "{text}");
        }
    }

    #[test]
    fn affinity_is_for_all_or_for_each() {
        let of = |text: &str, vcpus| text.parse::<Affinity>().unwrap().of(vcpus);
        let all = of("1", 3).unwrap();
        assert_eq!(all.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
        let some = of("2:0,0:1+3", 3).unwrap();
        assert_eq!(some.keys().copied().collect::<Vec<_>>(), [0, 2]);
        let fault = AffinityFault::NoVcpu { vcpu: 3, last: 2 };
        assert_eq!(of("0-3:0", 3), Err(fault));
        assert_eq!(of("0:0,0-1:1", 3), Err(AffinityFault::Twice(0)));
        for text in ["0-3", "0:2,1-3:0-1"] {
            assert_eq!(text.parse::<Affinity>().unwrap().to_string(), text);
        }
        for text in ["", "x:0", "1-0:0", ":0", "0:"] {
            assert!(text.parse::<Affinity>().is_err(), "{text}");
        }
    }
}
