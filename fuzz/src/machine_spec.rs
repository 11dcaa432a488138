//! Any bytes as a machine that somebody sends: the first byte chooses the value of one option, or a whole machine in
//! JSON. What is accepted can be written, and is the same when it is read again.

use std::fmt;

use vmmkit_machine_spec::{
    Affinity, BalloonSpec, CloudInitSpec, ConsoleSpec, CpuModelSpec, CredentialSpec, DebugPortSpec,
    DiskSpec, Fault, FsSpec, Given, InitrdSpec, MachineSpec, MemorySpec, ModuleSpec, NetSpec,
    PmemSpec, PrioritySpec, RootSpec, SmbiosSpec, VcpusSpec, VirtioSpec, VsockSpec,
};

/// Takes one input.
pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    match kind {
        b'a' => part(text, Affinity::parse),
        b'b' => part(text, BalloonSpec::parse),
        b'c' => part(text, ConsoleSpec::parse),
        b'C' => part(text, CredentialSpec::parse),
        b'd' => part(text, DiskSpec::parse),
        b'f' => part(text, |given| FsSpec::parse(given, |path| path.starts_with("/"))),
        b'g' => part(text, DebugPortSpec::parse),
        b'i' => part(text, |given| Ok(InitrdSpec::parse(given, |_| false))),
        b'I' => part(text, CloudInitSpec::parse),
        b'm' => part(text, MemorySpec::parse),
        b'n' => part(text, NetSpec::parse),
        b'o' => part(text, |given| ModuleSpec::parse(given, |_| false)),
        b'p' => part(text, PmemSpec::parse),
        b'r' => part(text, PrioritySpec::parse),
        b'R' => part(text, RootSpec::parse),
        b's' => part(text, VsockSpec::parse),
        b'S' => part(text, SmbiosSpec::parse),
        b't' => part(text, CpuModelSpec::parse),
        b'v' => part(text, VcpusSpec::parse),
        b'V' => part(text, VirtioSpec::parse),
        _ => machine(rest),
    }
}

fn part<T: fmt::Display + fmt::Debug + PartialEq>(
    text: &str,
    parse: impl Fn(&Given) -> Result<T, Fault>,
) {
    match parse(&Given::text(text)) {
        Ok(read) => {
            let written = read.to_string();
            let again = parse(&Given::text(&written));
            assert_eq!(again.as_ref(), Ok(&read), "{written}");
        }
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
}

fn machine(json: &[u8]) {
    let Ok(machine) = serde_json::from_slice::<MachineSpec>(json) else {
        return;
    };
    let written = serde_json::to_vec(&machine).unwrap();
    assert_eq!(
        serde_json::from_slice::<MachineSpec>(&written).unwrap(),
        machine
    );
    let _ = machine.cpus.placed();
    if let Err(invalid) = machine.check() {
        let _ = machine.value(invalid.field);
        assert!(!invalid.conflict.to_string().is_empty());
    }
}
