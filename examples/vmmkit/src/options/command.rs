//! A machine as the full command line that makes it.

use super::{RunOption, Takes, all};
use crate::os_text::quoted;
use crate::settings::Settings;

/// Each option with its value, of the command that says everything that was left out.
fn written(settings: &Settings) -> impl Iterator<Item = (&'static RunOption, String)> {
    all().flat_map(|option| {
        let values = (option.write)(settings).into_iter();
        values.map(move |value| (option, value))
    })
}

/// The same, by their names.
pub(crate) fn words(settings: &Settings) -> Vec<(String, String)> {
    let words = written(settings).map(|(option, value)| (option.name.to_owned(), value));
    words.collect()
}

/// The command that says everything that was left out, ready for a shell.
pub(crate) fn equivalent(settings: &Settings) -> String {
    let mut command = "vmmkit run".to_owned();
    for (RunOption { name, takes, .. }, value) in written(settings) {
        command += &match (takes, value.as_str()) {
            (Takes::Flag, _) | (Takes::Optional, "") => format!(" --{name}"),
            (Takes::Optional, value) => format!(" --{name}={}", quoted(value)),
            (_, value) => format!(" --{name} {}", quoted(value)),
        };
    }
    command
}

#[cfg(test)]
mod tests {
    use vmmkit_machine_spec::Given;

    use super::*;
    use crate::options::{Values, named};

    fn command(options: &[(&str, &str)]) -> String {
        let mut values = Values::default();
        for (name, value) in options {
            values.add(named(name).unwrap().name, Given::text(value));
        }
        equivalent(&Settings::new(&values).unwrap())
    }

    #[test]
    fn what_was_left_out_is_said() {
        assert_eq!(
            command(&[("kernel", "a kernel")]),
            "vmmkit run --kernel 'a kernel' --cmdline 'console=ttyS0 reboot=k panic=-1 pci=off \
             i8042.noaux i8042.nomux i8042.dumbkbd' --cpus 1 --memory 256M --serial stdio"
        );
    }

    #[test]
    fn how_it_is_controlled_is_said() {
        let said = command(&[
            ("kernel", "k"),
            ("name", "web"),
            ("api-socket", "a socket"),
            ("no-instance", ""),
            ("paused", ""),
            ("gdb", "tcp:1234"),
            ("log", "info,a log"),
        ]);
        let end = " --name web --api-socket 'a socket' --no-instance --paused --gdb tcp:127.0.0.1:1234 --log 'info,a log'";
        assert!(said.ends_with(end), "{said}");
    }

    #[test]
    fn what_was_chosen_of_the_cpus_is_said() {
        let said = command(&[
            ("kernel", "k"),
            ("cpus", "4,threads=2"),
            ("cpu", "baseline,+aes"),
            ("priority", "io=nice:19,vcpu=nice:19"),
        ]);
        let cpus = " --cpus 4,sockets=1,dies=1,cores=2,threads=2 --cpu x86-64-v2,+aes --priority vcpu=nice:19,io=nice:19 ";
        assert!(said.contains(cpus), "{said}");
    }

    /// Every option is written as it is read, where it is not the default.
    #[test]
    fn a_command_is_its_own_equivalent() {
        let given = [
            ("kernel", "k"),
            ("initrd", "i,any"),
            ("module", "m x y"),
            ("cmdline", "quiet"),
            ("entry", "pvh"),
            ("no-acpi", ""),
            ("mp-table", ""),
            ("cpus", "2"),
            ("memory", "1G,max=2G,backend=memfd"),
            ("legacy-timer", "off"),
            ("disk", "d.img,readonly"),
            ("net", "tap=t,create"),
            ("vsock", "cid=3,socket=v"),
            ("fs", "s,tag=t"),
            ("pmem", "p,discard"),
            ("balloon", "64M"),
            ("rng", ""),
            ("virtio", "pci,packed"),
            ("serial", "file=s"),
            ("console", "pty"),
            ("on-reboot", "fail"),
            ("on-crash", "pause"),
            ("clock-after-pause", "catch-up"),
            ("stop-timeout", "9"),
            ("metrics", "m.prom,every=2"),
            ("timeline", "t.svg"),
            ("debug-port", "stderr"),
        ];
        let said = command(&given);
        for (name, value) in given {
            let written = match (named(name).unwrap().takes, value) {
                (Takes::Flag, _) => format!("--{name}"),
                (Takes::Optional, value) => format!("--{name}={value}"),
                (_, value) => format!("--{name} {}", quoted(value)),
            };
            assert!(said.contains(&written), "{written}: {said}");
        }
    }
}
