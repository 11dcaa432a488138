//! Snapshots: their phases, what is loaded, and what ends the process.

use super::*;
use crate::body::BootSource;

impl Place {
    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    fn create(&self, kind: &str) -> Value {
        json!({
            "snapshot_type": kind,
            "snapshot_path": self.path("state"),
            "mem_file_path": self.path("mem"),
        })
    }

    fn load(&self) -> Value {
        let backend = json!({"backend_type": "File", "backend_path": self.path("mem")});
        json!({"snapshot_path": self.path("state"), "mem_backend": backend})
    }

    /// A new process in the same folder.
    fn again(&self) -> Self {
        let fake = Arc::new(Fake::default());
        let launcher = Arc::new(FakeLauncher(Ok(fake.clone())));
        let log = Arc::new(Log::new("vm2"));
        let quiet = crate::body::Logger {
            level: Some(crate::body::Level::Off),
            ..Default::default()
        };
        log.configure(&quiet).unwrap();
        let resources = Resources::default();
        let api = Firecracker::new("vm2", resources, launcher, log, Arc::default());
        let folder = self.folder.clone();
        Self {
            api,
            fake,
            folder,
            is_owner: false,
        }
    }
}

#[test]
fn a_paused_machine_is_saved_and_loaded_by_another_process() {
    let place = Place::started("snapshot");
    let create = place.create("Full").to_string();
    let runs = place.fault("PUT", "/snapshot/create", create);
    assert!(
        runs.ends_with("save/restore unavailable while running"),
        "{runs}"
    );
    assert_eq!(place.calls(), [""; 0]);
    place.does("PATCH", "/vm", json!({"state": "Paused"}));
    place.does("PATCH", "/balloon", json!({"amount_mib": 3}));
    let mut create = place.create("Full");
    create.as_object_mut().unwrap().remove("snapshot_type");
    place.does("PUT", "/snapshot/create", create);
    place.does("PUT", "/snapshot/create", place.create("Diff"));
    let memory = place.path("mem");
    let saved = [format!("save Full {memory}"), format!("save Diff {memory}")];
    assert_eq!(place.calls()[2..], saved);

    let other = place.again();
    let serial = json!({"serial_out_path": place.path("serial")});
    other.does("PUT", "/serial", serial);
    let mut load = place.load();
    load["track_dirty_pages"] = json!(true);
    other.does("PUT", "/snapshot/load", load);
    assert_eq!(other.calls(), ["restore false"]);
    assert_eq!(other.gets("/")["state"], "Paused");
    let (before, after) = (place.gets("/vm/config"), other.gets("/vm/config"));
    for part in ["drives", "balloon", "boot-source"] {
        assert_eq!(before[part], after[part], "{part}");
    }
    assert_eq!(after["balloon"]["amount_mib"], 3);
    assert_eq!(after["machine-config"]["track_dirty_pages"], true);
    assert_eq!(after["serial"]["serial_out_path"], place.path("serial"));
    other.does("PATCH", "/vm", json!({"state": "Resumed"}));
    assert_eq!(other.gets("/")["state"], "Running");
    assert_eq!(
        other.fault("PUT", "/snapshot/load", place.load().to_string()),
        AFTER
    );

    // The Go SDK of old names the file, and has it resumed.
    let third = place.again();
    let old = json!({"snapshot_path": place.path("state"), "mem_file_path": memory,
                     "enable_diff_snapshots": true, "resume_vm": true});
    let answer = third.ask("PUT", "/snapshot/load", old.to_string());
    assert_eq!(answer.status, 204);
    assert!(answer.headers.contains(&("deprecation", "true".into())));
    assert_eq!(third.calls(), ["restore true"]);
    assert_eq!(third.gets("/")["state"], "Running");
}

#[test]
fn a_load_that_cannot_be_is_refused_or_ends_the_process() {
    let place = Place::new("load");
    let said = |place: &Place, body: Value| place.fault("PUT", "/snapshot/load", body.to_string());
    let start = "An error occurred when deserializing the json body of a request:";
    let path = place.path("state");
    assert_eq!(
        said(&place, json!({"snapshot_path": path})),
        format!("{start} missing field: either `mem_backend` or `mem_file_path` is required.")
    );
    let mut both = place.load();
    both["mem_file_path"] = json!("m");
    assert_eq!(
        said(&place, both),
        format!(
            "{start} too many fields: either `mem_backend` or `mem_file_path` exclusively is required."
        )
    );
    let unknown = said(
        &place,
        json!({"snapshot_path": path, "mem_backend": {"backend_path": "m", "backend_type": "Net"}}),
    );
    assert!(unknown.contains("unknown variant `Net`"), "{unknown}");
    assert_eq!(place.calls(), [""; 0]);

    // Whatever configures a machine is in the way, be it refused itself; what is of the process is not.
    for (path, body) in [
        ("/boot-source", json!({"kernel_image_path": "/none/such"})),
        ("/drives/a", place.drive("a", false)),
        ("/entropy", json!({})),
        (
            "/machine-config",
            json!({"vcpu_count": 1, "mem_size_mib": 128}),
        ),
    ] {
        let other = place.again();
        other.ask("PUT", path, body.to_string());
        let refused = said(&other, place.load());
        assert_eq!(
            refused,
            "Load snapshot error: Loading a microVM snapshot not allowed after configuring \
             boot-specific resources."
        );
        assert_eq!(other.calls(), [""; 0], "{path}");
    }
    let gone = said(&place, place.load());
    assert!(
        gone.starts_with("Load snapshot error: Failed to restore from snapshot: cannot open "),
        "{gone}"
    );
    assert_eq!(place.calls(), [format!("give up: {gone}")]);
    assert_eq!(place.gets("/")["state"], "Not started");

    // A state file is a stranger's.
    let fails = |change: &dyn Fn(&mut Resources), load: Value| {
        let mut resources = Resources {
            boot_source: Some(BootSource {
                kernel_image_path: "/none/such".to_owned(),
                initrd_path: None,
                boot_args: None,
            }),
            ..Resources::default()
        };
        change(&mut resources);
        save(&resources, &place.path("state"), &place.path("mem"));
        let other = place.again();
        let reason = said(&other, load);
        assert_eq!(other.calls(), [format!("give up: {reason}")]);
        reason
    };
    let many = fails(&|it| it.machine_config.vcpu_count = 33, place.load());
    assert!(many.contains("`vcpu_count` is 33"), "{many}");
    let mut load = place.load();
    load["network_overrides"] = json!([{"iface_id": "eth0", "host_dev_name": "tap0"}]);
    let none = fails(&|_| {}, load);
    assert!(none.contains("There is no interface eth0."), "{none}");
    let mut load = place.load();
    load["vsock_override"] = json!({"uds_path": "v"});
    let none = fails(&|_| {}, load);
    assert!(none.contains("There is no vsock."), "{none}");
    std::fs::write(place.path("state"), "nonsense").unwrap();
    let damaged = said(&place.again(), place.load());
    assert!(damaged.contains("not a snapshot"), "{damaged}");
}

#[test]
fn a_save_that_fails_is_told_and_the_machine_stays() {
    let place = Place::of(
        "unsaved",
        Fake {
            fails: true,
            ..Fake::default()
        },
    );
    place.does(
        "PUT",
        "/boot-source",
        json!({"kernel_image_path": place.file()}),
    );
    place.does("PUT", "/actions", json!({"action_type": "InstanceStart"}));
    place.api.lock().is_paused = true;
    let said = place.fault("PUT", "/snapshot/create", place.create("Full").to_string());
    assert_eq!(said, "Create snapshot error: no room");
    assert_eq!(place.gets("/")["state"], "Paused");
}
