//! `list` and `stat`.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use serde::Serialize;
use vmmkit_control::{Device, MachineInfo, RuntimeFolder};
use vmmkit_guest_memory::{ByteCount, RamSize};

use super::ask::{self, Target, all, each, each_at_all};
use super::options::{ListOptions, Whom};
use super::table::Table;
use super::{no_folder, nobody, write_json};
use crate::consumption::{self, Consumption};
use crate::control;
use crate::failure::Failure;
use crate::{exit_code, generate};

/// One line of the list.
#[derive(Serialize)]
struct Line {
    name: String,
    pid: Option<u32>,
    /// That of the machine, or why it does not tell.
    state: String,
    /// Where it does not answer, what it had written down: its `state` is that of the beginning.
    machine: Option<MachineInfo>,
    #[serde(flatten)]
    used: Used,
}

/// Resources a machine's process has used; nothing where that cannot be known.
#[derive(Default, Serialize)]
struct Used {
    cpu_seconds: Option<f64>,
    cpu_percent: Option<f64>,
    resident_bytes: Option<u64>,
}

impl Used {
    fn by(pid: Option<u32>) -> Self {
        let used = pid.and_then(|pid| Consumption::of(Some(pid)));
        used.map_or_else(Self::default, |used| Self {
            cpu_seconds: Some(used.cpu_seconds),
            cpu_percent: Some((10.0 * used.cpu_percent()).round() / 10.0),
            resident_bytes: Some(used.resident_bytes),
        })
    }
}

/// How often the list is shown again.
const PACE: Duration = Duration::from_secs(2);
/// Has a terminal show nothing, from its first line on.
const CLEAR: &str = "\x1b[H\x1b[J";

/// Lists all machines, those too that do not answer.
pub(super) fn list(options: &ListOptions) -> Result<ExitCode, Failure> {
    if !options.watch {
        return once(options);
    }
    let is_terminal = io::stdout().is_terminal();
    loop {
        let before = if is_terminal { CLEAR } else { "" };
        generate::write(before.as_bytes())?;
        once(options)?;
        let after = if is_terminal { "" } else { "\n" };
        match io::stdout().write_all(after.as_bytes()) {
            Ok(()) => thread::sleep(PACE),
            // Nobody looks any more.
            Err(_) => return Ok(exit_code::SUCCESS.into()),
        }
    }
}

fn once(options: &ListOptions) -> Result<ExitCode, Failure> {
    let folder = control::runtime_folder().map_err(|error| no_folder(&error))?;
    let targets = all(&folder)?;
    if options.quiet {
        let names = targets.iter().filter_map(|target| target.name.as_deref());
        let lines: String = names.map(|name| format!("{name}\n")).collect();
        return generate::write(lines.as_bytes());
    }
    if targets.is_empty() {
        return nobody(options.json);
    }
    let answers = each_at_all(&targets, |target| Ok(line(&folder, target)));
    let lines: Vec<Line> = answers.into_iter().flatten().collect();
    if options.json {
        return write_json(&lines);
    }
    let mut table = Table::new([
        "NAME", "STATE", "PID", "CPUS", "CPU", "MEMORY", "RSS", "AGE", "KERNEL",
    ]);
    for line in lines {
        let pid = line.pid.map(|pid| pid.to_string()).unwrap_or_default();
        let percent = line
            .used
            .cpu_percent
            .map(|percent| format!("{percent:.0}%"));
        let resident = line
            .used
            .resident_bytes
            .map(|bytes| ByteCount(bytes).to_string());
        let rest = match line.machine {
            Some(machine) => [
                machine.vcpus.to_string(),
                size(machine.memory_bytes),
                age(machine.age_milliseconds),
                machine.kernel,
            ],
            None => Default::default(),
        };
        let [cpus, memory, age, kernel] = rest;
        table.row([
            line.name,
            line.state,
            pid,
            cpus,
            percent.unwrap_or_default(),
            memory,
            resident.unwrap_or_default(),
            age,
            kernel,
        ]);
    }
    generate::write(table.text().as_bytes())
}

fn line(folder: &RuntimeFolder, target: &Target) -> Line {
    let name = target.name.clone().unwrap_or_default();
    let is_suspended = target.is_suspended();
    let machine: Option<MachineInfo> = match is_suspended {
        // It would not answer.
        true => None,
        false => target.client().get("/v1/machine").ok(),
    };
    let state = match (&machine, is_suspended) {
        (Some(machine), _) => machine.state.name(),
        (None, true) => "suspended",
        (None, false) => "no answer",
    };
    Line {
        pid: target.pid,
        state: state.to_owned(),
        machine: machine.or_else(|| folder.about(&name)),
        used: Used::by(target.pid),
        name,
    }
}

/// A machine with its devices.
#[derive(Serialize)]
struct Stat {
    machine: MachineInfo,
    #[serde(flatten)]
    used: Used,
    /// Seconds of processor time, in the order of the vCPUs.
    vcpu_seconds: Vec<f64>,
    devices: Vec<Device>,
}

/// Shows machines and their devices.
pub(super) fn stat(whom: &Whom) -> Result<ExitCode, Failure> {
    let targets = whom.targets()?;
    if targets.is_empty() {
        return nobody(whom.json);
    }
    let answers = each(&targets, |target| {
        let client = target.client();
        let machine: MachineInfo = client.get("/v1/machine")?;
        let pid = target.pid.or(Some(machine.pid));
        Ok(Stat {
            machine,
            used: Used::by(pid),
            vcpu_seconds: consumption::vcpus(pid).into_values().collect(),
            devices: client.get("/v1/devices")?,
        })
    });
    let mut stats = Vec::new();
    let code = ask::sort(&targets, answers, |stat| stats.push(stat));
    if whom.json {
        write_json(&stats)?;
    } else {
        let texts: Vec<String> = stats.iter().map(text).collect();
        generate::write(texts.join("\n").as_bytes())?;
    }
    Ok(code)
}

fn text(stat: &Stat) -> String {
    let machine = &stat.machine;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{}: {}, process {}, {} vCPU{}, {}, {} old, {}",
        machine.name,
        machine.state.name(),
        machine.pid,
        machine.vcpus,
        if machine.vcpus == 1 { "" } else { "s" },
        size(machine.memory_bytes),
        age(machine.age_milliseconds),
        machine.kernel
    );
    if let (Some(seconds), Some(percent), Some(resident)) = (
        stat.used.cpu_seconds,
        stat.used.cpu_percent,
        stat.used.resident_bytes,
    ) {
        let resident = ByteCount(resident);
        let _ = writeln!(
            text,
            "  CPU: {seconds:.1} s, {percent:.0}% since its start; memory: {resident} resident"
        );
    }
    for (number, seconds) in stat.vcpu_seconds.iter().enumerate() {
        let _ = writeln!(text, "  vcpu{number}: {seconds:.1} s");
    }
    for device in &stat.devices {
        let state = match (&device.fault, device.driven) {
            (Some(fault), _) => format!("cannot go on: {fault}"),
            (None, true) => "driven".to_owned(),
            (None, false) => "no driver yet".to_owned(),
        };
        let _ = writeln!(text, "  {}: {state}", device.name);
        for (name, number) in device.counters.iter().filter(|(_, number)| **number > 0) {
            let _ = writeln!(text, "    {name:<20} {number:>14}");
        }
    }
    text
}

fn size(bytes: u64) -> String {
    RamSize::new(bytes).map_or_else(|_| bytes.to_string(), |size| size.to_string())
}

/// An age in its two largest units.
fn age(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_two_units() {
        assert_eq!(age(59_999), "59s");
        assert_eq!(age(61_000), "1m01s");
        assert_eq!(age(3_600_000), "1h00m");
        assert_eq!(age(90_000_000), "1d01h");
    }
}
