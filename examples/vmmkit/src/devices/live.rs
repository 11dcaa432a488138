//! Devices that can be asked and changed while the guest runs.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use vmmkit_control::{FlowLimits, Limits};
use vmmkit_virtio::Device;
use vmmkit_virtio_devices::{
    Balloon, Block, Bucket, Console, Net, NetFlow, RateLimit, RateLimiter, Vsock,
};

/// Such a device.
#[derive(Clone)]
pub(crate) enum Live {
    Balloon(Arc<Balloon>),
    Block(Arc<Block>),
    Console(Arc<Console>),
    Net(Arc<Net>),
    Vsock(Arc<Vsock>),
}

/// Numbers by name.
pub(crate) type Counters = BTreeMap<String, u64>;

impl Live {
    /// What the machine has of it.
    pub(super) fn device(&self) -> Arc<dyn Device> {
        match self {
            Self::Balloon(device) => device.clone(),
            Self::Block(device) => device.clone(),
            Self::Console(device) => device.clone(),
            Self::Net(device) => device.clone(),
            Self::Vsock(device) => device.clone(),
        }
    }

    /// What it has done.
    pub(crate) fn counters(&self) -> Counters {
        match self {
            Self::Balloon(balloon) => of_balloon(balloon),
            Self::Block(disk) => of_disk(disk),
            Self::Console(console) => of_console(console),
            Self::Net(net) => of_net(net),
            Self::Vsock(vsock) => of_vsock(vsock),
        }
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
            Self::Balloon(_) | Self::Console(_) | Self::Vsock(_) => None,
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

fn counted<const N: usize>(rows: [(&str, u64); N]) -> Counters {
    rows.into_iter()
        .map(|(name, number)| (name.to_owned(), number))
        .collect()
}

fn of_disk(disk: &Block) -> Counters {
    let stats = disk.stats();
    counted([
        ("reads", stats.reads),
        ("writes", stats.writes),
        ("flushes", stats.flushes),
        ("discards", stats.discards),
        ("read_bytes", stats.read_bytes),
        ("written_bytes", stats.written_bytes),
        ("host_errors", stats.host_errors),
        ("bad_requests", stats.bad_requests),
        ("throttled", disk.rate_limiter().throttled()),
    ])
}

fn of_net(net: &Net) -> Counters {
    let stats = net.stats();
    let mut counters = counted([
        ("receive_throttled", net.receive_limit().throttled()),
        ("transmit_throttled", net.transmit_limit().throttled()),
    ]);
    let mut add = |way: &str, flow: NetFlow| {
        for (name, number) in [
            ("packets", flow.packets),
            ("bytes", flow.bytes),
            ("drops", flow.drops),
            ("errors", flow.errors),
        ] {
            counters.insert(format!("{way}_{name}"), number);
        }
    };
    add("receive", stats.received);
    add("transmit", stats.transmitted);
    counters
}

fn of_balloon(balloon: &Balloon) -> Counters {
    let counters = balloon.counters();
    counted([
        ("inflated_pages", counters.inflated_pages),
        ("deflated_pages", counters.deflated_pages),
        ("reported_bytes", counters.reported_bytes),
        ("discarded_bytes", counters.discarded_bytes),
        ("reports", counters.reports),
        ("outside_pages", counters.outside_pages),
        ("repeated_pages", counters.repeated_pages),
        ("odd_messages", counters.odd_messages),
    ])
}

fn of_console(console: &Console) -> Counters {
    let counters = console.counters();
    counted([
        ("output_bytes", counters.output_bytes),
        ("input_bytes", counters.input_bytes),
        ("dropped_bytes", counters.dropped_bytes),
        ("emergency_bytes", counters.emergency_bytes),
        ("clients", counters.clients),
        ("ignored_messages", counters.ignored_messages),
        ("small_buffers", counters.small_buffers),
    ])
}

fn of_vsock(vsock: &Vsock) -> Counters {
    let stats = vsock.stats();
    counted([
        ("connections", stats.connections),
        ("opened_by_guest", stats.opened_by_guest),
        ("opened_by_host", stats.opened_by_host),
        ("refused", stats.refused),
        ("timed_out", stats.timed_out),
        ("resets", stats.resets),
        ("malformed_packets", stats.malformed_packets),
        ("broken_packets", stats.broken_packets),
        ("overruns", stats.overruns),
        ("small_buffers", stats.small_buffers),
        ("receive_packets", stats.rx_packets),
        ("transmit_packets", stats.tx_packets),
        ("receive_bytes", stats.rx_bytes),
        ("transmit_bytes", stats.tx_bytes),
    ])
}

/// What the guest last said of its memory.
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

    fn disk() -> Live {
        let disk = Arc::new(MemoryDisk::new(4096));
        Live::Block(Arc::new(
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
    fn a_disk_counts() {
        let counters = disk().counters();
        assert_eq!(counters["reads"], 0);
        assert!(counters.contains_key("throttled"));
    }
}
