//! Requests to Firecracker's table, one after the other, up to a start that plans the machine and starts none.

use std::sync::Arc;

use serde_json::Value;
use vmmkit_control::{Asked, Table};
use vmmkit_firecracker::body::{Level, Logger, Serial};
use vmmkit_firecracker::config_file::ConfigFile;
use vmmkit_firecracker::guest::{BalloonReport, Guest, Launcher};
use vmmkit_firecracker::log::Log;
use vmmkit_firecracker::resources::Resources;
use vmmkit_firecracker::snapshot::{CreateSnapshot, LoadSnapshot, Origin};
use vmmkit_firecracker::{Firecracker, body::RateLimiter, spec::plan};

/// The requests; the first byte of each piece of an input is the number of one. Those that make the files that they
/// name are left out.
const REQUESTS: [(&str, &str); 24] = [
    ("PUT", "/boot-source"),
    ("PUT", "/machine-config"),
    ("PATCH", "/machine-config"),
    ("PUT", "/drives/a"),
    ("PATCH", "/drives/a"),
    ("PUT", "/network-interfaces/a"),
    ("PATCH", "/network-interfaces/a"),
    ("PUT", "/vsock"),
    ("PUT", "/entropy"),
    ("PUT", "/serial"),
    ("PUT", "/balloon"),
    ("PATCH", "/balloon"),
    ("PATCH", "/balloon/statistics"),
    ("PUT", "/actions"),
    ("PATCH", "/vm"),
    ("PUT", "/cpu-config"),
    ("GET", "/vm/config"),
    ("GET", "/balloon/statistics"),
    ("PUT", "/snapshot/create"),
    ("PUT", "/snapshot/load"),
    ("PUT", "/pmem/a"),
    ("PUT", "/hotplug/memory"),
    ("PATCH", "/hotplug/memory"),
    ("GET", "/hotplug/memory"),
];
/// Ends a piece: a byte that no JSON has.
const END: u8 = 0xff;
/// Requests of one input.
const MOST: usize = 32;

struct Nobody;

impl Guest for Nobody {
    fn pause(&self) -> Result<(), String> {
        Ok(())
    }
    fn resume(&self) -> Result<(), String> {
        Ok(())
    }
    fn save(&self, _: &Resources, _: &CreateSnapshot) -> Result<(), String> {
        Ok(())
    }
    fn ctrl_alt_del(&self) {}
    fn change_drive(&self, _: usize, _: &str) -> Result<(), String> {
        Ok(())
    }
    fn limit_drive(&self, _: usize, _: RateLimiter) {}
    fn limit_network(&self, _: usize, _: Option<RateLimiter>, _: Option<RateLimiter>) {}
    fn set_balloon(&self, _: u32) {}
    fn balloon(&self) -> BalloonReport {
        BalloonReport::default()
    }
    fn set_statistics_interval(&self, _: u16) {}
    fn request_memory(&self, _: u32) {}
    fn plugged_memory(&self) -> (u64, u64) {
        (0, 0)
    }
    fn counters(&self) -> Value {
        Value::Null
    }
}

struct Planner;

impl Launcher for Planner {
    fn launch(
        &self,
        resources: &Resources,
        _: Option<&Arc<Origin>>,
    ) -> Result<Arc<dyn Guest>, String> {
        let planned = plan(resources)?;
        // Whether the parts go together is said, too.
        let _ = planned.spec.check();
        Ok(Arc::new(Nobody))
    }

    fn give_up(&self, _: &str) {}
}

/// Plans the machine whose snapshot has `section`.
fn restore(section: &[u8]) {
    let Ok(saved) = serde_json::from_slice::<Resources>(section) else {
        return;
    };
    let load = r#"{"snapshot_path": "s", "mem_file_path": "m"}"#;
    let load: LoadSnapshot = serde_json::from_str(load).expect("it is a request");
    if let Ok(resources) = load.adapt(saved, Serial::default()) {
        let _ = plan(&resources).map(|planned| planned.spec.check());
    }
}

/// Takes one input.
pub fn run(data: &[u8]) {
    let log = Arc::new(Log::new("fuzz"));
    let quiet = Logger {
        level: Some(Level::Off),
        ..Logger::default()
    };
    log.configure(&quiet).expect("this logger can be");
    let resources = Resources::default();
    let api = Firecracker::new("fuzz", resources, Arc::new(Planner), log, Arc::default());
    for piece in data.split(|byte| *byte == END).take(MOST) {
        let Some((kind, body)) = piece.split_first() else {
            continue;
        };
        let Some((method, path)) = REQUESTS.get(usize::from(*kind)) else {
            let _ = ConfigFile::parse(body);
            restore(body);
            continue;
        };
        let answer = api.answer(&Asked::new(method, path, body));
        match answer.status {
            200 => drop(serde_json::from_slice::<Value>(&answer.body).expect("it is JSON")),
            204 => assert!(answer.body.is_empty()),
            400 => {
                let said: Value = serde_json::from_slice(&answer.body).expect("it is JSON");
                assert!(said["fault_message"].is_string());
            }
            status => panic!("status {status}"),
        }
    }
}
