//! Devices as they can be asked and changed while the guest runs.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use vmmkit_control::{FlowLimits, Limits};
use vmmkit_telemetry::{Node, Tree};
use vmmkit_virtio::Device;
use vmmkit_virtio_devices::{Balloon, Block, Bucket, Net, RateLimit, RateLimiter};
use vmmkit_vmm::Handle;

/// A device.
#[derive(Clone)]
pub(crate) enum LiveDevice {
    Block(Arc<Block>),
    Net(Arc<Net>),
    /// One that cannot be changed, but says what it has done.
    Other(Arc<dyn Device>),
}

/// Numbers by name.
pub(crate) type Counters = BTreeMap<String, u64>;

impl LiveDevice {
    /// The one that is called `id` in `machine`.
    pub(crate) fn find(machine: &Handle, id: &str) -> Option<Self> {
        let block = machine.device(id).map(Self::Block);
        let net = || machine.device(id).map(Self::Net);
        let other = || machine.virtio_device(id).map(Self::Other);
        block.or_else(net).or_else(other)
    }

    /// The device in the machine.
    fn device(&self) -> Arc<dyn Device> {
        match self {
            Self::Block(device) => device.clone(),
            Self::Net(device) => device.clone(),
            Self::Other(device) => device.clone(),
        }
    }

    /// Its counters.
    pub(crate) fn counters(&self) -> Counters {
        let mut counters = Counters::new();
        collect(&self.device().inspect(), "", &mut counters);
        for flow in ["requests", "receive", "transmit"] {
            if let Some(limiter) = self.limiter(flow) {
                counters.insert(format!("{flow}_throttled"), limiter.throttled());
            }
        }
        counters
    }

    /// Its limits, if it can have any.
    pub(crate) fn limits(&self) -> Option<Limits> {
        let read = |limiter: &RateLimiter| Some(told(limiter.limit()));
        match self {
            Self::Block(disk) => Some(Limits {
                requests: read(disk.rate_limiter()),
                ..Limits::default()
            }),
            Self::Net(net) => Some(Limits {
                receive: read(net.receive_limit()),
                transmit: read(net.transmit_limit()),
                ..Limits::default()
            }),
            Self::Other(_) => None,
        }
    }

    /// Changes its limits: all that are named, or none. An error names a flow that it does not have.
    pub(crate) fn limit(&self, limits: &Limits) -> Result<(), &'static str> {
        let flows = [
            ("requests", limits.requests),
            ("receive", limits.receive),
            ("transmit", limits.transmit),
        ];
        let named = flows
            .into_iter()
            .filter_map(|(name, limits)| Some((name, limits?)));
        let mut changes: Vec<(&RateLimiter, FlowLimits)> = Vec::new();
        for (name, limits) in named {
            let limiter = self.limiter(name).ok_or(name)?;
            changes.push((limiter, limits));
        }
        for (limiter, limits) in changes {
            limiter.set(wanted(limits));
        }
        Ok(())
    }

    fn limiter(&self, flow: &str) -> Option<&RateLimiter> {
        match (self, flow) {
            (Self::Block(disk), "requests") => Some(disk.rate_limiter()),
            (Self::Net(net), "receive") => Some(net.receive_limit()),
            (Self::Net(net), "transmit") => Some(net.transmit_limit()),
            _ => None,
        }
    }
}

fn told(limit: RateLimit) -> FlowLimits {
    let bucket = |bucket: Bucket| vmmkit_control::Bucket {
        size: bucket.size.get(),
        burst: bucket.burst,
        refill_milliseconds: u32::try_from(bucket.refill.as_millis()).unwrap_or(u32::MAX),
    };
    FlowLimits {
        bandwidth: limit.bandwidth.map(bucket),
        operations: limit.operations.map(bucket),
    }
}

fn wanted(limits: FlowLimits) -> RateLimit {
    let bucket = |bucket: vmmkit_control::Bucket| {
        Some(Bucket {
            // The API has refused 0.
            size: NonZeroU64::new(bucket.size)?,
            burst: bucket.burst,
            refill: Duration::from_millis(bucket.refill_milliseconds.into()),
        })
    };
    RateLimit {
        bandwidth: limits.bandwidth.and_then(bucket),
        operations: limits.operations.and_then(bucket),
    }
}

/// Adds every counter of `tree`; one in a branch has that in its name.
fn collect(tree: &Tree, branch: &str, counters: &mut Counters) {
    for (name, node) in tree.entries() {
        let name = format!("{branch}{name}");
        match node {
            Node::Counter(number) | Node::Gauge(number) => {
                counters.insert(name, *number);
            }
            Node::Tree(tree) => collect(tree, &format!("{name}_"), counters),
            _ => {}
        }
    }
}

/// The guest's last memory statistics.
pub(crate) fn statistics(balloon: &Balloon) -> Counters {
    let Some(report) = balloon.stats() else {
        return Counters::new();
    };
    let stats = report.stats;
    let age = u64::try_from(report.age.as_millis()).unwrap_or(u64::MAX);
    let rows = [
        ("age_milliseconds", Some(age)),
        ("swap_in_bytes", stats.swap_in),
        ("swap_out_bytes", stats.swap_out),
        ("major_faults", stats.major_faults),
        ("minor_faults", stats.minor_faults),
        ("free_bytes", stats.free_memory),
        ("total_bytes", stats.total_memory),
        ("available_bytes", stats.available_memory),
        ("disk_cache_bytes", stats.disk_caches),
        ("huge_page_allocations", stats.huge_page_allocations),
        ("huge_page_failures", stats.huge_page_failures),
    ];
    let said = rows.into_iter();
    said.filter_map(|(name, number)| Some((name.to_owned(), number?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use vmmkit_virtio_devices::{BlockConfig, MemoryDisk};

    use super::*;

    fn disk() -> LiveDevice {
        let disk = Arc::new(MemoryDisk::new(4096));
        LiveDevice::Block(Arc::new(
            Block::with_disk(disk, &BlockConfig::default()).unwrap(),
        ))
    }

    fn a_mebibyte() -> FlowLimits {
        FlowLimits {
            bandwidth: Some(vmmkit_control::Bucket {
                size: 1 << 20,
                burst: 7,
                refill_milliseconds: 250,
            }),
            operations: None,
        }
    }

    #[test]
    fn a_disks_limits_are_those_that_were_set() {
        let disk = disk();
        let limits = Limits {
            requests: Some(a_mebibyte()),
            ..Limits::default()
        };
        disk.limit(&limits).unwrap();
        assert_eq!(disk.limits(), Some(limits.clone()));
        disk.limit(&Limits::default()).unwrap();
        assert_eq!(disk.limits(), Some(limits));
    }

    #[test]
    fn a_flow_that_there_is_not_changes_nothing() {
        let disk = disk();
        let before = disk.limits();
        let limits = Limits {
            requests: Some(a_mebibyte()),
            transmit: Some(a_mebibyte()),
            ..Limits::default()
        };
        assert_eq!(disk.limit(&limits), Err("transmit"));
        assert_eq!(disk.limits(), before);
    }

    #[test]
    fn counters_of_branches_have_long_names() {
        let branch = Tree::new().counter("packets", 3u64).text("mac", "x");
        let tree = Tree::new().gauge("depth", 1u64).tree("received", branch);
        let mut counters = Counters::new();
        collect(&tree, "", &mut counters);
        let expected = [("depth", 1), ("received_packets", 3)];
        let expected = expected.map(|(name, number)| (name.to_owned(), number));
        assert_eq!(counters, Counters::from(expected));
    }

    #[test]
    fn a_disk_counts() {
        let counters = disk().counters();
        assert_eq!(counters["reads"], 0);
        assert!(counters.contains_key("requests_throttled"), "{counters:?}");
    }
}
