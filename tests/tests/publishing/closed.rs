//! Public types that can never get a variant or a field without a breaking release: each of them is meant so.

use std::fs;

use vmmkit_tests::rust_files;

use super::crates;

/// Reason, folder of the crate, types. All others are `#[non_exhaustive]`, or have a field that is not public.
const CLOSED: &[(&str, &str, &[&str])] = &[
    (
        "the architecture or the interface of the device defines it whole",
        "hypervisor",
        &[
            "Width",
            "IoEventAddress",
            "DatamatchWidth",
            "WatchedAccess",
            "HardwareBreakpoint",
            "CpuidEntry",
            "Msr",
            "MpState",
            "Registers",
            "Segment",
            "DescriptorTable",
            "SpecialRegisters",
            "FpuState",
            "VcpuId",
        ],
    ),
    (
        "a back end outside this crate fills it in, and its reader handles all of it",
        "hypervisor",
        &[
            "CmdlineAddition",
            "CmdlineConflict",
            "PortAccess",
            "MmioAccess",
            "InternalError",
            "FailEntry",
            "DebugExit",
            "Instruction",
            "GuestDebug",
        ],
    ),
    (
        "the saved form of a version, which a back end fills in whole",
        "hypervisor",
        &[
            "VcpuSaved",
            "ExtendedControlRegister",
            "DebugRegisters",
            "VcpuEvents",
            "ExceptionEvent",
            "InterruptEvent",
            "NmiEvent",
            "SmiEvent",
            "VmSaved",
            "PicSaved",
            "IoapicSaved",
            "PitSaved",
            "PitChannelSaved",
        ],
    ),
    (
        "the saved form of a version",
        "legacy-devices",
        &[
            "AcpiPmState",
            "CmosState",
            "I8042State",
            "IoapicState",
            "ResetState",
            "SerialState",
        ],
    ),
    (
        "the saved form of a version",
        "pci",
        &["MsixState", "MsixVectorState"],
    ),
    ("the saved form of a version", "virtio", &["QueueState"]),
    (
        "the virtio specification defines it",
        "virtio",
        &["QueueLayout", "QueuePart"],
    ),
    (
        "the virtio specification defines it",
        "virtio-devices",
        &[
            "BlockStatus",
            "MemBlocks",
            "MemState",
            "PacketHeader",
            "VsockHeader",
            "PageRun",
        ],
    ),
    ("registers of the specification", "pci", &["Identity"]),
    ("a time of day", "legacy-devices", &["Moment"]),
    (
        "ACPI, or the PC, defines it",
        "boot-loader",
        &[
            "MemoryRange",
            "IoapicInfo",
            "PmPorts",
            "ResetRegister",
            "AddressWindow",
            "E820Entry",
        ],
    ),
    (
        "the CPU defines it",
        "x86-cpu",
        &["Register", "Feature", "Bit"],
    ),
    (
        "the CPU defines it",
        "x86-emulator",
        &["Completion", "Exception", "Mode", "CpuState"],
    ),
    (
        "a number, a range or a pair",
        "device-bus",
        &["Gsi", "MsiMessage", "AddressRange", "Plug", "Ports", "Mmio"],
    ),
    (
        "a number or a range",
        "guest-memory",
        &["ByteCount", "Segment", "PageRun"],
    ),
    (
        "a pair",
        "boot-loader",
        &["Parameter", "Firmware", "Oem", "BootModule"],
    ),
    ("the numbers of its levels", "boot-loader", &["Processors"]),
    ("128 bits", "machine-spec", &["Uuid"]),
    ("a pair", "pci", &["PciLayout"]),
    ("a pair", "virtio-devices", &["Topology", "RateLimit"]),
    ("a bucket is these three", "virtio-devices", &["Bucket"]),
    ("two clocks of a moment", "x86-cpu", &["Clocks"]),
    ("a text and its place", "x86-cpu", &["ProfileError"]),
    (
        "ports or addresses: there is nothing else",
        "pc-platform",
        &["Place"],
    ),
    ("a machine is paused or has ended", "vmm", &["PauseOutcome"]),
    (
        "a caller handles every result of an operation",
        "host-io",
        &["Next", "InputRead", "Flush", "Written", "Interest"],
    ),
    (
        "the kinds of files and signals that Linux has",
        "host-io",
        &["Pollable", "Signal", "WindowSize", "Sharing"],
    ),
    (
        "texts that the program chooses, all of them",
        "host-io",
        &["RefusedCallWords"],
    ),
    (
        "a program answers each of them",
        "process",
        &["Command", "Key", "Left"],
    ),
    ("a server listens on either", "gdb", &["Place", "Supported"]),
    (
        "a choice of a person's, which every program that takes it has to handle",
        "machine-spec",
        &[
            "BalloonSpec",
            "BootSpec",
            "KernelSpec",
            "InitrdSpec",
            "ModuleSpec",
            "Invalid",
            "ConsoleSpec",
            "CpuModelSpec",
            "CpuBase",
            "CpusSpec",
            "DeviceSpec",
            "DiskSpec",
            "OwnDisk",
            "FsSpec",
            "OwnFs",
            "VhostUserFs",
            "MemorySpec",
            "BackingSpec",
            "NetSpec",
            "NetAttachmentSpec",
            "ForwardSpec",
            "PlatformSpec",
            "VirtioSpec",
            "DebugPortSpec",
            "PmemSpec",
            "PolicySpec",
            "PrioritySpec",
            "RateSpec",
            "RootSpec",
            "MachineSpec",
            "SmbiosSpec",
            "CredentialSpec",
            "CredentialValue",
            "CloudInitSpec",
            "VsockSpec",
        ],
    ),
    (
        "a message of the control API's version, which openapi.json describes whole",
        "control",
        &[
            "Saving",
            "MachineInfo",
            "StopRequest",
            "SnapshotRequest",
            "SnapshotInfo",
            "Migrated",
            "MigrationInfo",
            "MigrationProgress",
            "MigrationRequest",
            "Device",
            "Limits",
            "FlowLimits",
            "Bucket",
            "ConsoleSize",
            "DiskSize",
            "DiskResize",
            "Balloon",
            "BalloonTarget",
            "Memory",
            "MemoryTarget",
            "Event",
            "Problem",
        ],
    ),
    (
        "findings that a program's own tests make",
        "hypervisor-kvm",
        &["ForcedBits", "Finding", "ProbeReport"],
    ),
    (
        "findings that a program's own tests make",
        "sandbox",
        &["Support"],
    ),
    (
        "a sample of the text format",
        "telemetry",
        &["Sample", "Family"],
    ),
    ("the parts of the format", "snapshot", &["Link", "Section"]),
    (
        "all that can become of a guest that two processes have",
        "snapshot",
        &["Parting"],
    ),
    (
        "all that can become of a guest that two processes have",
        "controlled",
        &["Departure"],
    ),
    (
        "the composing crate fills it in whole",
        "run-control",
        &["Vcpus", "Settings", "Buses"],
    ),
    ("all of RAM or its changes", "pc-platform", &["Extent"]),
    (
        "the composing crate fills it in whole",
        "pc-platform",
        &["PlatformConfig", "DescribedDevices"],
    ),
    (
        "the composing crate fills it in whole",
        "boot-loader",
        &["AcpiConfig", "LegacyHardware", "PciHost"],
    ),
    ("the program fills it in whole", "assembly", &["Means"]),
    ("the program fills it in whole", "controlled", &["Manner"]),
    (
        "made from its constructor with `..`; a new field breaks only a literal that names all fields",
        "vmm",
        &["MachineConfig", "KernelBoot", "Initrd", "Module"],
    ),
    (
        "made from its default with `..`; a new field breaks only a literal that names all fields",
        "virtio-devices",
        &["BlockConfig", "NetConfig", "NetOptions"],
    ),
    (
        "made from its default with `..`; a new field breaks only a literal that names all fields",
        "guest-memory",
        &["RamConfig"],
    ),
    (
        "made from its default with `..`; a new field breaks only a literal that names all fields",
        "host-io",
        &["Console"],
    ),
    ("the options of a test's driver", "virtio", &["Options"]),
    (
        "the limits of one disk, which tests and fuzzers choose",
        "virtio-devices",
        &["BlockLimits"],
    ),
];

/// The name of the public type that `line` begins, with whether it is an enum.
fn public_type(line: &str) -> Option<(&str, bool)> {
    let (rest, is_enum) = match line.strip_prefix("pub enum ") {
        Some(rest) => (rest, true),
        None => (line.strip_prefix("pub struct ")?, false),
    };
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
    Some((&rest[..end.unwrap_or(rest.len())], is_enum))
}

/// Whether all fields of the struct that `lines` begins with are public, and it has some.
fn has_public_fields_alone(lines: &[&str]) -> bool {
    let first = lines[0];
    if let Some((_, fields)) = first.split_once('(') {
        return fields.split(", ").all(|field| field.starts_with("pub "));
    }
    if !first.ends_with('{') {
        return false;
    }
    let body = lines[1..].iter().take_while(|line| !line.starts_with('}'));
    let is_field = |line: &&&str| {
        let name = line.strip_prefix("    ").unwrap_or("");
        name.starts_with(|c: char| c.is_ascii_lowercase())
    };
    let mut fields = body.filter(is_field).peekable();
    fields.peek().is_some() && fields.all(|field| field.trim_start().starts_with("pub "))
}

/// The types of `text` that are closed: without `#[non_exhaustive]`, an enum or of public fields alone.
fn closed(text: &str) -> Vec<String> {
    let production = text.split("#[cfg(test)]\nmod ").next().unwrap();
    let lines: Vec<_> = production.lines().collect();
    let mut found = Vec::new();
    let mut is_open = false;
    for (number, line) in lines.iter().enumerate() {
        if let Some((name, is_enum)) = public_type(line) {
            if !is_open && (is_enum || has_public_fields_alone(&lines[number..])) {
                found.push(name.to_owned());
            }
            is_open = false;
        } else if line.contains("non_exhaustive]") {
            is_open = true;
        } else if line.is_empty() || line.starts_with('}') {
            is_open = false;
        }
    }
    found
}

#[test]
fn a_public_type_that_cannot_grow_is_meant_so() {
    let mut listed: Vec<(&str, &str)> = Vec::new();
    for (_, folder, types) in CLOSED {
        listed.extend(types.iter().map(|name| (*folder, *name)));
    }
    let mut wrong = Vec::new();
    let mut met = vec![false; listed.len()];
    for folder in crates() {
        let crate_name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        for file in rust_files(&folder.join("src")) {
            let is_test = file.ends_with("tests.rs") || file.iter().any(|part| part == "tests");
            if is_test {
                continue;
            }
            for name in closed(&fs::read_to_string(&file).unwrap()) {
                match listed
                    .iter()
                    .position(|entry| *entry == (&crate_name, &name))
                {
                    Some(index) => met[index] = true,
                    None => wrong.push(format!("{}: {name}", file.display())),
                }
            }
        }
    }
    let stale = listed.iter().zip(&met).filter(|(_, met)| !**met);
    wrong.extend(
        stale.map(|((folder, name), _)| format!("{folder}: {name} is not closed, or is gone")),
    );
    assert!(
        wrong.is_empty(),
        "mark them #[non_exhaustive], with a constructor if others make them, or list them with the reason: {wrong:#?}"
    );
}

#[test]
fn closed_types_are_found() {
    let text = "pub enum A {\n    B,\n}\n\n#[non_exhaustive]\n#[derive(Debug)]\npub enum C {\n    D,\n}\n\npub struct E {\n    \
                /// F.\n    pub f: u8,\n}\n\npub struct G {\n    pub h: u8,\n    i: u8,\n}\n\npub struct J(pub u8);\npub struct K(u8);\n\
                pub struct L;\n";
    assert_eq!(closed(text), ["A", "E", "J"]);
}
