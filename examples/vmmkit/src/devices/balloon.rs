//! `--balloon`.

use std::sync::Arc;
use std::time::Duration;

use vmmkit_machine_spec::BalloonSpec;
use vmmkit_virtio_devices::{Balloon, BalloonConfig};

use super::{Plan, failed};
use crate::failure::Failure;

pub(super) fn plug(spec: BalloonSpec, text: &str, plan: Plan) -> Result<Plan, Failure> {
    let config = BalloonConfig {
        size_mib: spec.size_mib,
        deflate_on_oom: !spec.keep_on_oom,
        stats_interval: spec.stats.map(Duration::from_secs),
        ..BalloonConfig::default()
    };
    let next = "free descriptors of this process";
    let balloon = Balloon::new(&config);
    let balloon = balloon.map_err(|error| failed("--balloon", text, &error, next))?;
    Ok(plan.with(Arc::new(balloon)))
}
