//! The table, without a machine: each path, phase, status and text.

mod memory;
mod snapshot;

use std::path::PathBuf;

use serde_json::from_slice;
use vmmkit_snapshot::{FolderError, Pair};

use super::*;
use crate::body::RateLimiter;
use crate::guest::BalloonReport;
use crate::snapshot::{CreateSnapshot, Origin, describe};

/// Remembers what it was told.
#[derive(Default)]
struct Fake {
    calls: Mutex<Vec<String>>,
    fails: bool,
}

impl Fake {
    fn note(&self, call: String) {
        self.calls.lock().push(call);
    }
}

impl Guest for Fake {
    fn pause(&self) -> Result<(), String> {
        self.note("pause".into());
        match self.fails {
            true => Err("The guest runs on.".into()),
            false => Ok(()),
        }
    }

    fn resume(&self) -> Result<(), String> {
        self.note("resume".into());
        Ok(())
    }

    fn save(&self, resources: &Resources, to: &CreateSnapshot) -> Result<(), String> {
        self.note(format!("save {:?} {}", to.snapshot_type, to.mem_file_path));
        if self.fails {
            return Err("no room".into());
        }
        save(resources, &to.snapshot_path, &to.mem_file_path);
        Ok(())
    }

    fn ctrl_alt_del(&self) {
        self.note("ctrl-alt-del".into());
    }

    fn change_drive(&self, place: usize, path: &str) -> Result<(), String> {
        self.note(format!("image {place}"));
        std::fs::metadata(path)
            .map(drop)
            .map_err(|error| error.to_string())
    }

    fn limit_drive(&self, place: usize, limiter: RateLimiter) {
        let size = |bucket: Option<crate::body::TokenBucket>| bucket.map(|bucket| bucket.size);
        let (bytes, ops) = (size(limiter.bandwidth), size(limiter.ops));
        self.note(format!("drive {place} {bytes:?} {ops:?}"));
    }

    fn limit_network(&self, place: usize, to: Option<RateLimiter>, from: Option<RateLimiter>) {
        self.note(format!(
            "network {place} {} {}",
            to.is_some(),
            from.is_some()
        ));
    }

    fn set_balloon(&self, mebibytes: u32) {
        self.note(format!("balloon {mebibytes}"));
    }

    fn balloon(&self) -> BalloonReport {
        BalloonReport {
            target_mib: 7,
            free_memory: Some(5),
            ..BalloonReport::default()
        }
    }

    fn set_statistics_interval(&self, seconds: u16) {
        self.note(format!("interval {seconds}"));
    }

    fn request_memory(&self, mebibytes: u32) {
        self.note(format!("memory {mebibytes}"));
    }

    fn plugged_memory(&self) -> (u64, u64) {
        (2, 4)
    }

    fn counters(&self) -> Value {
        json!({"block": {"read_count": 3}})
    }
}

/// Writes a snapshot of a machine without parts.
fn save(resources: &Resources, state: &str, memory: &str) {
    let saved = Pair::new(state, memory).save(|writer, _| {
        describe(resources, writer).unwrap();
        Ok::<_, FolderError>(())
    });
    saved.unwrap();
}

/// Starts a fake, or does not.
struct FakeLauncher(Result<Arc<Fake>, String>);

impl Launcher for FakeLauncher {
    fn launch(
        &self,
        resources: &Resources,
        origin: Option<&Arc<Origin>>,
    ) -> Result<Arc<dyn Guest>, String> {
        crate::spec::plan(resources)?;
        let fake = self.0.clone()?;
        if let Some(origin) = origin {
            assert_eq!(origin.reader().sections(), []);
            fake.note(format!("restore {}", origin.runs));
        }
        Ok(fake)
    }

    fn give_up(&self, reason: &str) {
        if let Ok(fake) = &self.0 {
            fake.note(format!("give up: {reason}"));
        }
    }
}

/// An API, and a folder with an empty file in it.
struct Place {
    api: Firecracker,
    fake: Arc<Fake>,
    folder: PathBuf,
    /// The folder goes with it.
    is_owner: bool,
}

impl Place {
    fn new(name: &str) -> Self {
        Self::of(name, Fake::default())
    }

    fn of(name: &str, fake: Fake) -> Self {
        let folder = std::env::temp_dir().join(format!("vmmkit-fc-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("file"), "").unwrap();
        let fake = Arc::new(fake);
        let log = Arc::new(Log::new("vm1"));
        let logger = crate::body::Logger {
            log_path: folder.join("log").to_str().map(str::to_owned),
            ..Default::default()
        };
        log.configure(&logger).unwrap();
        let launcher = Arc::new(FakeLauncher(Ok(fake.clone())));
        let metrics = Arc::default();
        let api = Firecracker::new("vm1", Resources::default(), launcher, log, metrics);
        Self {
            api,
            fake,
            folder,
            is_owner: true,
        }
    }

    /// A started one, with the drive `root` and a balloon with statistics.
    fn started(name: &str) -> Self {
        let place = Self::new(name);
        place.does(
            "PUT",
            "/boot-source",
            json!({"kernel_image_path": place.file()}),
        );
        place.does("PUT", "/drives/root", place.drive("root", true));
        let balloon =
            json!({"amount_mib": 1, "deflate_on_oom": true, "stats_polling_interval_s": 1});
        place.does("PUT", "/balloon", balloon);
        place.does("PUT", "/actions", json!({"action_type": "InstanceStart"}));
        place
    }

    fn file(&self) -> String {
        self.folder.join("file").to_str().unwrap().to_owned()
    }

    fn drive(&self, id: &str, is_root: bool) -> Value {
        json!({"drive_id": id, "path_on_host": self.file(), "is_root_device": is_root, "is_read_only": false})
    }

    fn ask(&self, method: &str, path: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.api.answer(&Asked::new(method, path, body))
    }

    /// Has it do what must go well without a word.
    fn does(&self, method: &str, path: &str, body: Value) {
        let answer = self.ask(method, path, body.to_string());
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(
            (answer.status, said.as_str()),
            (204, ""),
            "{method} {path} {body}"
        );
    }

    fn gets(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, "");
        assert_eq!(
            (answer.status, answer.kind),
            (200, Some("application/json")),
            "{path}"
        );
        from_slice(&answer.body).unwrap()
    }

    /// The fault of what must be refused.
    fn fault(&self, method: &str, path: &str, body: impl Into<Vec<u8>>) -> String {
        let answer = self.ask(method, path, body);
        let said: Value = from_slice(&answer.body).unwrap();
        assert_eq!(answer.status, 400, "{method} {path}: {said}");
        assert_eq!(said.as_object().unwrap().len(), 1);
        said["fault_message"].as_str().unwrap().to_owned()
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.fake.calls.lock())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_owner {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

const BEFORE: &str = "The requested operation is not supported before starting the microVM.";
const AFTER: &str = "The requested operation is not supported after starting the microVM.";

#[test]
fn an_instance_says_what_it_is_in_every_phase() {
    let place = Place::new("info");
    let state = |place: &Place| {
        let info = place.gets("/");
        assert_eq!(
            (&info["id"], &info["app_name"]),
            (&json!("vm1"), &json!("Firecracker"))
        );
        assert_eq!(info["vmm_version"], API_VERSION);
        info["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(state(&place), "Not started");
    assert_eq!(
        place.gets("/version"),
        json!({"firecracker_version": API_VERSION})
    );
    let config = json!({"vcpu_count": 1, "mem_size_mib": 128, "smt": false, "track_dirty_pages": false, "huge_pages": "None"});
    assert_eq!(place.gets("/machine-config"), config);
    let place = Place::started("info-started");
    assert_eq!(state(&place), "Running");
    place.does("PATCH", "/vm", json!({"state": "Paused"}));
    assert_eq!(state(&place), "Paused");
    place.does("PATCH", "/vm", json!({"state": "Resumed"}));
    assert_eq!(state(&place), "Running");
    assert_eq!(place.calls(), ["pause", "resume"]);
    assert_eq!(place.gets("/machine-config"), config);
}

#[test]
fn a_pause_that_fails_leaves_the_state() {
    let fake = Fake {
        fails: true,
        ..Fake::default()
    };
    let place = Place::of("pause", fake);
    place.does(
        "PUT",
        "/boot-source",
        json!({"kernel_image_path": place.file()}),
    );
    place.does("PUT", "/actions", json!({"action_type": "InstanceStart"}));
    assert_eq!(
        place.fault("PATCH", "/vm", r#"{"state": "Paused"}"#),
        "The guest runs on."
    );
    assert_eq!(place.gets("/")["state"], "Running");
}

#[test]
fn what_is_for_the_other_phase_is_refused() {
    let before = Place::new("before");
    let update = r#"{"drive_id": "a", "path_on_host": "x"}"#;
    for (method, path, body) in [
        ("PATCH", "/vm", r#"{"state": "Paused"}"#),
        ("PATCH", "/drives/a", update),
        ("PATCH", "/network-interfaces/a", r#"{"iface_id": "a"}"#),
        ("PATCH", "/balloon", r#"{"amount_mib": 1}"#),
        (
            "PATCH",
            "/balloon/statistics",
            r#"{"stats_polling_interval_s": 1}"#,
        ),
        ("GET", "/balloon/statistics", ""),
        ("GET", "/hotplug/memory", ""),
        ("PATCH", "/hotplug/memory", r#"{"requested_size_mib": 2}"#),
        ("PUT", "/actions", r#"{"action_type": "FlushMetrics"}"#),
        ("PUT", "/actions", r#"{"action_type": "SendCtrlAltDel"}"#),
        (
            "PUT",
            "/snapshot/create",
            r#"{"snapshot_path": "s", "mem_file_path": "m"}"#,
        ),
    ] {
        assert_eq!(before.fault(method, path, body), BEFORE, "{method} {path}");
    }
    let after = Place::started("after");
    let drive = after.drive("a", false).to_string();
    for (method, path, body) in [
        ("PUT", "/boot-source", r#"{"kernel_image_path": "x"}"#),
        (
            "PUT",
            "/machine-config",
            r#"{"vcpu_count": 1, "mem_size_mib": 128}"#,
        ),
        ("PATCH", "/machine-config", r#"{"vcpu_count": 1}"#),
        ("PUT", "/cpu-config", "{}"),
        ("PUT", "/drives/a", &drive),
        (
            "PUT",
            "/network-interfaces/a",
            r#"{"iface_id": "a", "host_dev_name": "t"}"#,
        ),
        ("PUT", "/vsock", r#"{"guest_cid": 3, "uds_path": "v"}"#),
        ("PUT", "/entropy", "{}"),
        ("PUT", "/serial", "{}"),
        ("PUT", "/hotplug/memory", r#"{"total_size_mib": 128}"#),
        ("PUT", "/pmem/a", r#"{"id": "a", "path_on_host": "p"}"#),
        (
            "PUT",
            "/balloon",
            r#"{"amount_mib": 1, "deflate_on_oom": true}"#,
        ),
        ("PUT", "/logger", "{}"),
        ("PUT", "/metrics", r#"{"metrics_path": "m"}"#),
        ("PUT", "/actions", r#"{"action_type": "InstanceStart"}"#),
        (
            "PUT",
            "/snapshot/load",
            r#"{"snapshot_path": "s", "mem_file_path": "m"}"#,
        ),
    ] {
        assert_eq!(after.fault(method, path, body), AFTER, "{method} {path}");
    }
}

#[test]
fn a_request_that_cannot_be_is_told_in_firecrackers_words() {
    let place = Place::new("words");
    let said = |method, path, body: &str| place.fault(method, path, body);
    let unknown = "Invalid request method and/or path: PATCH boot-source.";
    assert_eq!(said("PATCH", "/boot-source", "{}"), unknown);
    let unknown = "Invalid request method and/or path: DELETE drives/a.";
    assert_eq!(said("DELETE", "/drives/a", ""), unknown);
    let unknown = "Invalid request method and/or path: GET none.";
    assert_eq!(said("GET", "/none", ""), unknown);
    assert_eq!(said("GET", "/", "{}"), "GET request cannot have a body.");
    assert_eq!(said("PUT", "/drives/a", ""), "Empty PUT request.");
    assert_eq!(
        said("PATCH", "/machine-config", "{}"),
        "Empty PATCH request."
    );
    let start = "An error occurred when deserializing the json body of a request:";
    assert_eq!(
        said("PUT", "/actions", "{\n \"action_type\": \"foo\"}"),
        format!(
            "{start} unknown variant `foo`, expected one of `FlushMetrics`, `InstanceStart`, \
                 `SendCtrlAltDel` at line 2 column 21."
        )
    );
    let field = said("PUT", "/vsock", r#"{"guest_cid": 3, "uds": "v"}"#);
    assert!(
        field.starts_with(&format!("{start} unknown field `uds`, expected one of")),
        "{field}"
    );
    let number = said(
        "PUT",
        "/balloon",
        r#"{"amount_mib": -1, "deflate_on_oom": true}"#,
    );
    assert!(
        number.contains("invalid value: integer `-1`, expected u32"),
        "{number}"
    );
    let id = "The id from the path does not match the id from the body!";
    assert_eq!(
        said("PUT", "/drives/b", &place.drive("a", false).to_string()),
        id
    );
    let letters = "API Resource IDs can only contain alphanumeric characters and underscores.";
    assert_eq!(said("PUT", "/drives/a-b", "{}"), letters);
    assert_eq!(said("PUT", "/drives/a%2Fb", "{}"), letters);
}

#[test]
fn what_this_vmm_lacks_is_refused_by_its_name() {
    let place = Place::new("lacks");
    let bucket = r#"{"size": 1, "refill_time": 1}"#;
    for (method, path, body, name) in [
        ("PUT", "/mmds", "{}".to_owned(), "mmds"),
        ("PUT", "/mmds/config", "{}".to_owned(), "mmds/config"),
        ("PATCH", "/pmem/a", r#"{"id": "a"}"#.to_owned(), "pmem"),
        (
            "PATCH",
            "/balloon/hinting/start",
            "{}".to_owned(),
            "balloon/hinting",
        ),
        (
            "PUT",
            "/serial",
            format!(r#"{{"rate_limiter": {bucket}}}"#),
            "rate_limiter",
        ),
        (
            "PUT",
            "/snapshot/load",
            r#"{"snapshot_path": "s", "mem_file_path": "m", "clock_realtime": true}"#.to_owned(),
            "clock_realtime",
        ),
        (
            "PUT",
            "/cpu-config",
            r#"{"kvm_capabilities": ["!1"]}"#.to_owned(),
            "cpu-config: kvm_capabilities",
        ),
        (
            "PUT",
            "/machine-config",
            r#"{"vcpu_count": 1, "mem_size_mib": 128, "cpu_template": "T2"}"#.to_owned(),
            "cpu_template",
        ),
        (
            "PUT",
            "/balloon",
            r#"{"amount_mib": 1, "deflate_on_oom": true, "free_page_hinting": true}"#.to_owned(),
            "free_page_hinting",
        ),
    ] {
        let said = place.fault(method, path, body);
        assert_eq!(
            said,
            format!("This VMM does not have `{name}`: leave it out."),
            "{path}"
        );
    }
    place.does(
        "PUT",
        "/cpu-config",
        json!({"cpuid_modifiers": [], "kvm_capabilities": []}),
    );
    let deprecated = r#"{"vcpu_count": 1, "mem_size_mib": 128, "cpu_template": "None"}"#;
    let answer = place.ask("PUT", "/machine-config", deprecated);
    assert_eq!(answer.status, 204);
    assert!(answer.headers.contains(&("deprecation", "true".to_owned())));
    assert!(
        answer
            .headers
            .contains(&("server", "Firecracker API".to_owned()))
    );
}

#[test]
fn vcpus_and_memory_have_their_bounds() {
    let place = Place::new("bounds");
    let put = |vcpus: u32, memory: u32, smt: bool| {
        let body = json!({"vcpu_count": vcpus, "mem_size_mib": memory, "smt": smt});
        place.ask("PUT", "/machine-config", body.to_string()).status
    };
    for (vcpus, memory, smt, status) in [
        (1, 128, false, 204),
        (1, 128, true, 204),
        (32, 128, true, 204),
        (3, 128, false, 204),
        (0, 128, false, 400),
        (33, 128, false, 400),
        (3, 128, true, 400),
        (2, 0, false, 400),
    ] {
        assert_eq!(put(vcpus, memory, smt), status, "{vcpus} {memory} {smt}");
    }
    place.does(
        "PATCH",
        "/machine-config",
        json!({"mem_size_mib": 256, "huge_pages": "2M"}),
    );
    let config = place.gets("/machine-config");
    assert_eq!(
        (&config["vcpu_count"], &config["mem_size_mib"]),
        (&json!(3), &json!(256))
    );
    let odd = place.fault("PATCH", "/machine-config", r#"{"mem_size_mib": 257}"#);
    assert!(
        odd.starts_with("`mem_size_mib` is 257: it must be a multiple of 2"),
        "{odd}"
    );
    assert_eq!(place.gets("/machine-config"), config);
    let balloon = r#"{"amount_mib": 1, "deflate_on_oom": true}"#;
    assert!(
        place
            .fault("PUT", "/balloon", balloon)
            .contains("`huge_pages`")
    );
    place.does("PATCH", "/machine-config", json!({"huge_pages": "None"}));
    place.does(
        "PUT",
        "/balloon",
        json!({"amount_mib": 200, "deflate_on_oom": true}),
    );
    let small = place.fault("PATCH", "/machine-config", r#"{"mem_size_mib": 200}"#);
    assert!(small.starts_with("`amount_mib` is 200"), "{small}");
}

#[test]
fn files_are_looked_at_when_they_are_named() {
    let place = Place::new("files");
    let gone = place.folder.join("gone").to_str().unwrap().to_owned();
    let folder = place.folder.to_str().unwrap().to_owned();
    let kernel = |path: &String| json!({"kernel_image_path": path}).to_string();
    let said = place.fault("PUT", "/boot-source", kernel(&gone));
    assert!(
        said.starts_with("The kernel file cannot be opened: "),
        "{said}"
    );
    let said = place.fault("PUT", "/boot-source", kernel(&folder));
    assert!(said.ends_with("it is a folder"), "{said}");
    let initrd = json!({"kernel_image_path": place.file(), "initrd_path": gone}).to_string();
    let said = place.fault("PUT", "/boot-source", initrd);
    assert!(
        said.starts_with("The initrd file cannot be opened: "),
        "{said}"
    );
    let drive = json!({"drive_id": "a", "path_on_host": gone, "is_root_device": true});
    let said = place.fault("PUT", "/drives/a", drive.to_string());
    assert!(
        said.starts_with("The file of the drive cannot be opened: "),
        "{said}"
    );
    let said = place.fault(
        "PUT",
        "/vsock",
        json!({"guest_cid": 3, "uds_path": place.file()}).to_string(),
    );
    assert!(said.contains("`uds_path`"), "{said}");
    let tap = json!({"iface_id": "a", "host_dev_name": "vmmkit-none"}).to_string();
    let said = place.fault("PUT", "/network-interfaces/a", tap);
    assert!(said.starts_with("Open tap device failed"), "{said}");
    let start = place.fault("PUT", "/actions", r#"{"action_type": "InstanceStart"}"#);
    assert!(start.starts_with("There is no kernel to boot"), "{start}");
    assert_eq!(place.gets("/")["state"], "Not started");
}

#[test]
fn the_root_drive_is_the_first_and_there_is_one() {
    let place = Place::new("drives");
    place.does("PUT", "/drives/data", place.drive("data", false));
    place.does("PUT", "/drives/root", place.drive("root", true));
    place.does("PUT", "/drives/more", place.drive("more", false));
    place.does("PUT", "/drives/data", place.drive("data", false));
    let second = place.drive("second", true).to_string();
    assert_eq!(
        place.fault("PUT", "/drives/second", second),
        "There is a root drive already."
    );
    let config = place.gets("/vm/config");
    let names: Vec<&Value> = config["drives"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["drive_id"])
        .collect();
    assert_eq!(names, ["root", "data", "more"]);
    place.does("PUT", "/drives/root", place.drive("root", false));
    place.does("PUT", "/drives/second", place.drive("second", true));
    let both = json!({"drive_id": "a", "is_root_device": false}).to_string();
    assert!(
        place
            .fault("PUT", "/drives/a", both)
            .starts_with("A drive has either")
    );
    let socket =
        json!({"drive_id": "a", "is_root_device": false, "socket": "s", "is_read_only": true});
    assert!(
        place
            .fault("PUT", "/drives/a", socket.to_string())
            .contains("`is_read_only`")
    );
    for number in 0..60 {
        let id = format!("d{number}");
        place.does("PUT", &format!("/drives/{id}"), place.drive(&id, false));
    }
    let last = place.drive("last", false).to_string();
    assert!(
        place
            .fault("PUT", "/drives/last", last)
            .starts_with("There is room for 64")
    );
}

#[test]
fn a_machine_that_runs_is_changed() {
    let place = Place::started("changes");
    let bucket = |size: u64| json!({"size": size, "refill_time": 100});
    place.does(
        "PATCH",
        "/drives/root",
        json!({"drive_id": "root", "rate_limiter": {"bandwidth": bucket(5)}}),
    );
    place.does(
        "PATCH",
        "/drives/root",
        json!({"drive_id": "root", "rate_limiter": {"ops": bucket(6)}}),
    );
    place.does("PATCH", "/balloon", json!({"amount_mib": 9}));
    place.does(
        "PATCH",
        "/balloon/statistics",
        json!({"stats_polling_interval_s": 5}),
    );
    place.does("PUT", "/actions", json!({"action_type": "SendCtrlAltDel"}));
    assert_eq!(
        place.calls(),
        [
            "drive 0 Some(5) None",
            "drive 0 Some(5) Some(6)",
            "balloon 9",
            "interval 5",
            "ctrl-alt-del"
        ]
    );
    assert_eq!(place.gets("/balloon")["amount_mib"], 9);
    let statistics = place.gets("/balloon/statistics");
    assert_eq!(
        (&statistics["target_mib"], &statistics["free_memory"]),
        (&json!(7), &json!(5))
    );
    assert_eq!(statistics.get("swap_in"), None);
    place.does(
        "PATCH",
        "/drives/root",
        json!({"drive_id": "root", "path_on_host": "/dev/null"}),
    );
    assert_eq!(place.calls(), ["image 0"]);
    assert_eq!(
        place.gets("/vm/config")["drives"][0]["path_on_host"],
        "/dev/null"
    );
    let gone = r#"{"drive_id": "root", "path_on_host": "/gone"}"#;
    assert!(
        place
            .fault("PATCH", "/drives/root", gone)
            .starts_with("No such file")
    );
    assert_eq!(
        place.gets("/vm/config")["drives"][0]["path_on_host"],
        "/dev/null"
    );
    assert_eq!(place.calls(), ["image 0"]);
    let none = r#"{"drive_id": "none", "rate_limiter": {}}"#;
    assert_eq!(
        place.fault("PATCH", "/drives/none", none),
        "There is no drive none."
    );
    let large = place.fault("PATCH", "/balloon", r#"{"amount_mib": 128}"#);
    assert!(large.starts_with("`amount_mib` is 128"), "{large}");
    let end = r#"{"stats_polling_interval_s": 0}"#;
    assert!(
        place
            .fault("PATCH", "/balloon/statistics", end)
            .starts_with("Statistics of the balloon")
    );
    assert!(place.calls().is_empty());
}

#[test]
fn metrics_are_written_when_they_are_asked_for() {
    let place = Place::new("flush");
    let path = place.folder.join("metrics").to_str().unwrap().to_owned();
    place.does("PUT", "/metrics", json!({"metrics_path": path}));
    let again = place.fault("PUT", "/metrics", json!({"metrics_path": path}).to_string());
    assert!(
        again.starts_with("The metrics have their file already"),
        "{again}"
    );
    place.does(
        "PUT",
        "/boot-source",
        json!({"kernel_image_path": place.file()}),
    );
    place.does("PUT", "/actions", json!({"action_type": "InstanceStart"}));
    place.does("PUT", "/actions", json!({"action_type": "FlushMetrics"}));
    let text = std::fs::read_to_string(path).unwrap();
    let line: Value = serde_json::from_str(text.trim_end()).unwrap();
    assert_eq!(line["block"]["read_count"], 3);
    assert_eq!(line["put_api_requests"]["metrics_fails"], 1);
    assert_eq!(line["put_api_requests"]["actions_count"], 1);
}

#[test]
fn the_log_tells_of_requests() {
    let place = Place::new("log");
    place.does(
        "PUT",
        "/boot-source",
        json!({"kernel_image_path": place.file()}),
    );
    place.gets("/version");
    let _ = place.fault("PUT", "/vsock", "\n{");
    let log = std::fs::read_to_string(place.folder.join("log")).unwrap();
    for text in [
        r#"The API server received a Put request on "/boot-source" with body "{"#,
        "The request was executed successfully. Status code: 204 No Content.",
        r#"The API server received a Get request on "/version"."#,
        "The request was executed successfully. Status code: 200 OK.",
        "Received Error. Status code: 400. Message: ",
    ] {
        assert!(log.contains(text), "{text}: {log}");
    }
    assert!(log.lines().all(|line| line.contains(" [vm1:")), "{log}");
}

/// The calls of firectl and its Go SDK, in their order.
#[test]
fn firectl_starts_a_machine() {
    let place = Place::new("firectl");
    place.gets("/machine-config");
    let log = place.folder.join("sdk.log");
    place.does(
        "PUT",
        "/logger",
        json!({"level": "Debug", "log_path": log, "show_level": true, "show_log_origin": false}),
    );
    let metrics = place.folder.join("sdk.metrics");
    place.does("PUT", "/metrics", json!({"metrics_path": metrics}));
    place.does(
        "PUT",
        "/machine-config",
        json!({"mem_size_mib": 512, "smt": false, "vcpu_count": 2}),
    );
    place.gets("/machine-config");
    let args = "ro console=ttyS0 noapic reboot=k panic=1 pci=off nomodules";
    place.does(
        "PUT",
        "/boot-source",
        json!({"boot_args": args, "kernel_image_path": place.file()}),
    );
    place.does("PUT", "/drives/1", json!({
        "drive_id": "1", "is_read_only": false, "is_root_device": true, "path_on_host": place.file(),
    }));
    let vsock = place.folder.join("v.sock");
    place.does("PUT", "/vsock", json!({"guest_cid": 3, "uds_path": vsock}));
    place.does("PUT", "/actions", json!({"action_type": "InstanceStart"}));
    assert_eq!(place.gets("/")["state"], "Running");
    place.does("PUT", "/actions", json!({"action_type": "SendCtrlAltDel"}));
}

/// Those of Kata's driver in Go: a version first, small files in the place of drives that come later, and a state
/// that is polled.
#[test]
fn kata_starts_a_machine() {
    let place = Place::new("kata");
    place.gets("/");
    let log = place.folder.join("logs.fifo");
    let config = json!({
        "boot-source": {"kernel_image_path": place.file(), "boot_args": "acpi=off reboot=k"},
        "machine-config": {"vcpu_count": 1, "mem_size_mib": 2048},
        "drives": [
            place.drive("rootfs", false),
            {"drive_id": "drive_0", "path_on_host": place.file(), "is_root_device": false, "is_read_only": false},
        ],
        "vsock": {"guest_cid": 3, "uds_path": place.folder.join("kata.hvsock"), "vsock_id": "root"},
        "logger": {"log_path": log, "level": "Debug"},
        "metrics": {"metrics_path": place.folder.join("metrics.fifo")},
        "network-interfaces": [],
    });
    let file = ConfigFile::parse(config.to_string().as_bytes()).unwrap();
    place.api.boot(file).unwrap();
    assert_eq!(place.gets("/")["state"], "Running");
    let said = place.gets("/vm/config");
    assert_eq!(said["machine-config"]["mem_size_mib"], 2048);
    assert_eq!(
        said["vsock"],
        json!({"guest_cid": 3, "uds_path": place.folder.join("kata.hvsock")})
    );
    // The container's image takes the place of the small file.
    place.does(
        "PATCH",
        "/drives/drive_0",
        json!({"drive_id": "drive_0", "path_on_host": place.file()}),
    );
    assert_eq!(place.calls(), ["image 1"]);
}

#[test]
fn an_image_that_io_uring_has_does_not_change() {
    let place = Place::new("async");
    let source = json!({"kernel_image_path": place.file()});
    place.does("PUT", "/boot-source", source);
    let drive = json!({
        "drive_id": "a", "path_on_host": place.file(), "is_root_device": false, "io_engine": "Async",
    });
    place.does("PUT", "/drives/a", drive);
    place.does("PUT", "/actions", json!({"action_type": "InstanceStart"}));
    let update = json!({"drive_id": "a", "path_on_host": place.file()}).to_string();
    let said = place.fault("PATCH", "/drives/a", update);
    assert!(said.contains("the `io_engine` Sync alone"), "{said}");
    assert!(place.calls().is_empty());
}

#[test]
fn a_configuration_file_is_taken_whole_or_not() {
    let place = Place::new("config");
    let source = json!({"kernel_image_path": place.file()});
    let parse = |value: Value| ConfigFile::parse(value.to_string().as_bytes());
    let unknown = parse(json!({"boot-source": source, "drives": [], "drive": []}));
    assert!(
        unknown
            .unwrap_err()
            .to_string()
            .starts_with("unknown field `drive`")
    );
    let missing = parse(json!({"drives": []}));
    assert!(
        missing
            .unwrap_err()
            .to_string()
            .starts_with("missing field `boot-source`")
    );
    for (section, value) in [("mmds-config", json!({})), ("cpu-config", json!("path"))] {
        let file = parse(json!({"boot-source": source, "drives": [], section: value})).unwrap();
        let said = place.api.boot(file).unwrap_err();
        assert!(said.contains(section), "{said}");
    }
    assert_eq!(place.gets("/vm/config")["boot-source"], Value::Null);
    for (section, value, word) in [
        (
            "pmem",
            json!([{"id": "a", "path_on_host": "/none/such"}]),
            "pmem",
        ),
        (
            "memory-hotplug",
            json!({"total_size_mib": 1}),
            "total_size_mib",
        ),
    ] {
        let place = Place::new("config-part");
        let source = json!({"kernel_image_path": place.file()});
        let file = parse(json!({"boot-source": source, "drives": [], section: value})).unwrap();
        let said = place.api.boot(file).unwrap_err();
        assert!(said.contains(word), "{said}");
    }
    let plugged = json!({"total_size_mib": 128});
    let file = json!({"boot-source": source, "drives": [], "memory-hotplug": plugged});
    place.api.boot(parse(file).unwrap()).unwrap();
    let config = place.gets("/vm/config");
    assert_eq!(config["memory-hotplug"]["total_size_mib"], 128);
}

#[test]
fn a_launch_that_fails_can_be_tried_again() {
    let log = Arc::new(Log::new("x"));
    let logger = crate::body::Logger {
        level: Some(crate::body::Level::Off),
        ..Default::default()
    };
    log.configure(&logger).unwrap();
    let launcher = Arc::new(FakeLauncher(Err("No KVM.".into())));
    let api = Firecracker::new("x", Resources::default(), launcher, log, Arc::default());
    let kernel = std::env::current_exe().unwrap();
    let ask = |method, path, body: Value| api.answer(&Asked::new(method, path, body.to_string()));
    assert_eq!(
        ask("PUT", "/boot-source", json!({"kernel_image_path": kernel})).status,
        204
    );
    for _ in 0..2 {
        let answer = ask("PUT", "/actions", json!({"action_type": "InstanceStart"}));
        let said: Value = from_slice(&answer.body).unwrap();
        assert_eq!(
            (answer.status, said),
            (400, json!({"fault_message": "No KVM."}))
        );
    }
    assert_eq!(ask("PUT", "/entropy", json!({})).status, 204);
}
