//! Memory beside RAM, and the limits of the source of entropy.

use super::*;

#[test]
fn memory_is_plugged_as_it_is_asked_for() {
    let place = Place::new("hotplug");
    let said = |body: Value| place.fault("PUT", "/hotplug/memory", body.to_string());
    for (body, field) in [
        (json!({"total_size_mib": 64}), "`total_size_mib` is 64"),
        (json!({"total_size_mib": 0}), "`total_size_mib` is 0"),
        (
            json!({"total_size_mib": 256, "block_size_mib": 4}),
            "`block_size_mib` is 4",
        ),
        (
            json!({"total_size_mib": 256, "slot_size_mib": 64}),
            "`slot_size_mib` is 64",
        ),
        (
            json!({"total_size_mib": 256, "slot_size_mib": 512}),
            "`total_size_mib` is 256",
        ),
        (
            json!({"total_size_mib": 130, "slot_size_mib": 130}),
            "`total_size_mib` is 130",
        ),
    ] {
        let said = said(body);
        assert!(said.starts_with(field), "{said}");
    }
    place.does("PUT", "/hotplug/memory", json!({"total_size_mib": 1024}));
    let config = place.gets("/vm/config");
    assert_eq!(
        config["memory-hotplug"],
        json!({"total_size_mib": 1024, "block_size_mib": 2, "slot_size_mib": 128})
    );
    place.does(
        "PUT",
        "/boot-source",
        json!({"kernel_image_path": place.file()}),
    );
    let resources = place.api.lock().resources.clone();
    let planned = crate::spec::plan(&resources).unwrap();
    planned.spec.check().unwrap();
    assert_eq!(planned.spec.memory.max.unwrap().bytes(), 1152 << 20);
    place.does("PUT", "/actions", json!({"action_type": "InstanceStart"}));
    place.does(
        "PATCH",
        "/hotplug/memory",
        json!({"requested_size_mib": 512}),
    );
    assert_eq!(place.calls(), ["memory 512"]);
    for size in [3, 1026] {
        let body = json!({"requested_size_mib": size}).to_string();
        let said = place.fault("PATCH", "/hotplug/memory", body);
        let least = "it must be a multiple of 2 and at most 1024.";
        assert_eq!(said, format!("`requested_size_mib` is {size}: {least}"));
    }
    assert_eq!(
        place.gets("/hotplug/memory"),
        json!({"total_size_mib": 1024, "block_size_mib": 2, "slot_size_mib": 128,
               "plugged_size_mib": 2, "requested_size_mib": 4})
    );
    let without = Place::started("no-hotplug");
    let none = "There is no memory that can be plugged.";
    assert_eq!(without.fault("GET", "/hotplug/memory", ""), none);
    let body = r#"{"requested_size_mib": 2}"#;
    assert_eq!(without.fault("PATCH", "/hotplug/memory", body), none);
}

#[test]
fn persistent_memory_is_of_whole_pages_and_may_be_the_root() {
    let place = Place::new("pmem");
    let big = place.folder.join("big");
    std::fs::write(&big, "").unwrap();
    let set_len = |length| {
        let file = std::fs::File::options().write(true).open(&big).unwrap();
        file.set_len(length).unwrap();
    };
    let pmem = |id: &str, root: bool| json!({"id": id, "path_on_host": big, "root_device": root, "read_only": root});
    for length in [0, 4096, (2 << 20) + 1] {
        set_len(length);
        let said = place.fault("PUT", "/pmem/a", pmem("a", false).to_string());
        assert!(
            said.contains(&format!(
                "has {length} bytes: it must be a multiple of 2 MiB"
            )),
            "{said}"
        );
    }
    set_len(2 << 20);
    place.does("PUT", "/pmem/a", pmem("a", false));
    place.does("PUT", "/pmem/b", pmem("b", true));
    let root = "There is a root device already.";
    assert_eq!(
        place.fault("PUT", "/pmem/c", pmem("c", true).to_string()),
        root
    );
    let drive = place.drive("d", true).to_string();
    assert_eq!(place.fault("PUT", "/drives/d", drive), root);
    // The one that it was can be it again.
    place.does("PUT", "/pmem/b", pmem("b", true));
    place.does("PUT", "/drives/d", place.drive("d", false));
    let gone = json!({"id": "x", "path_on_host": "/none/such"}).to_string();
    let said = place.fault("PUT", "/pmem/x", gone);
    assert!(
        said.starts_with("The file of the pmem device cannot be opened"),
        "{said}"
    );
    place.does(
        "PUT",
        "/boot-source",
        json!({"kernel_image_path": place.file()}),
    );
    let resources = place.api.lock().resources.clone();
    let planned = crate::spec::plan(&resources).unwrap();
    let kernel = planned.spec.boot.as_kernel().unwrap();
    let cmdline = kernel.cmdline.as_ref().unwrap();
    assert!(cmdline.ends_with(" root=/dev/pmem1 ro"), "{cmdline}");
    assert_eq!(planned.first_drive, 2);
}

#[test]
fn a_source_of_entropy_has_limits() {
    let place = Place::new("entropy");
    let limiter = json!({"bandwidth": {"size": 1000, "one_time_burst": 0, "refill_time": 100}});
    place.does("PUT", "/entropy", json!({"rate_limiter": limiter}));
    assert_eq!(place.gets("/vm/config")["entropy"]["rate_limiter"], limiter);
    let long = r#"{"rate_limiter": {"ops": {"size": 1, "refill_time": 4294967296}}}"#;
    let said = place.fault("PUT", "/entropy", long);
    assert!(said.contains("`refill_time`"), "{said}");
}
