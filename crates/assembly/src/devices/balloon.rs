//! Balloons.

use std::sync::Arc;
use std::time::Duration;

use vmmkit_machine_spec::BalloonSpec;
use vmmkit_virtio::Device;
use vmmkit_virtio_devices::{Balloon, BalloonConfig};

use crate::Reason;

pub(super) fn open(spec: BalloonSpec) -> Result<Arc<dyn Device>, Reason> {
    let config = BalloonConfig {
        size_mib: spec.size_mib,
        deflate_on_oom: !spec.keep_on_oom,
        stats_interval: spec.stats.map(Duration::from_secs),
        ..BalloonConfig::default()
    };
    Ok(Arc::new(
        Balloon::new(&config).map_err(Reason::Descriptors)?,
    ))
}
