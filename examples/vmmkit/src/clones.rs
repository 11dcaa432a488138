//! Copies of a guest: of one that runs, and several of a saved one. Each is a process of its own in the background.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use vmmkit_assembly::Role;
use vmmkit_control::SnapshotRequest;
use vmmkit_machine_spec::{Field, Given, path_text};

use crate::commands::snapshot::of_guest;
use crate::failure::Failure;
use crate::options::{self, Values};
use crate::private::Private;
use crate::settings::Settings;
use crate::startup::Startup;
use crate::{detach, exit_code, files, messages, snapshot};

/// The most guests of one `restore`.
const MAX_COUNT: u32 = 1000;
/// The number of a guest in the values of its options.
const NUMBER: &str = "{n}";
/// Options of `run` that say nothing of a clone.
const NOT_OF_A_CLONE: [&str; 4] = ["restore", "base", "dry-run", "dump-config"];

/// Starts a copy of the guest called `guest`, with the options `values`, and prints its name. The guest runs on.
pub(crate) fn fork(guest: &str, values: Values) -> Result<ExitCode, Failure> {
    if let Some(name) = NOT_OF_A_CLONE.into_iter().find(|name| values.has(name)) {
        return Err(Failure::usage(
            format!("--{name} cannot be used with fork"),
            format!("leave --{name} out"),
        ));
    }
    let folder = Arc::new(Private::new("fork")?);
    let watched = folder.clone();
    let _watch = Startup::watch(move || watched.remove())
        .map_err(|error| Failure::host("events", &error, "free descriptors of this process"))?;
    let request = SnapshotRequest {
        folder: path_text::of_path(folder.path()),
        live: true,
        // It is gone as soon as the copy runs.
        apart: true,
        ..SnapshotRequest::default()
    };
    let room = "set TMPDIR to a directory with room for the guest's memory";
    let pause = of_guest(guest, values.value("name"), &request, room)?;
    if !values.has("quiet") {
        let milliseconds = pause.as_secs_f64() * 1e3;
        messages::say(&format!("{guest} was paused for {milliseconds:.1} ms"));
    }
    let saved = snapshot::open(folder.path(), None)?.options()?;
    let values = in_background(values, &saved);
    let clone = Settings::new(&values.clone().or(saved.clone()))?;
    let of_clone = format!("fork {guest}");
    check_apart(
        &Settings::new(&saved)?,
        &clone,
        &of_clone,
        "the guest has it",
    )?;
    launch(folder.path(), &values)
}

/// Starts `count` guests that go on from the snapshot in `folder`, with the options `values`, and prints their names.
pub(crate) fn restore(folder: &str, count: &str, values: Values) -> Result<ExitCode, Failure> {
    let number = count
        .parse()
        .ok()
        .filter(|number| (1..=MAX_COUNT).contains(number));
    let number: u32 = number.ok_or_else(|| {
        Failure::usage(
            format!("--count {count:?}: this is not a number of guests"),
            format!("give a whole number from 1 to {MAX_COUNT}"),
        )
    })?;
    if let Some(name) = ["restore", "dry-run", "dump-config"]
        .into_iter()
        .find(|name| values.has(name))
    {
        return Err(Failure::usage(
            format!("--{name} cannot be used with --count"),
            format!("omit either --{name} or --count"),
        ));
    }
    let folder = path_text::path(folder);
    let base = values.path("base");
    let saved = snapshot::open(&folder, base.as_deref())?.options()?;
    let values = in_background(values, &saved);
    let of_number = |number: u32| numbered(&values, number);
    let settings = |number| Settings::new(&of_number(number).or(saved.clone()));
    if number > 1 {
        let what = format!("--count {number}");
        let why = "all of them would have it";
        check_apart(&settings(1)?, &settings(2)?, &what, why)?;
    }
    for number in 1..=number {
        let code = launch(&folder, &of_number(number))?;
        if code != exit_code::SUCCESS.into() {
            return Ok(code);
        }
    }
    Ok(exit_code::SUCCESS.into())
}

/// `values` of the clone `number`.
fn numbered(values: &Values, number: u32) -> Values {
    let number = number.to_string();
    let name = values.value("name");
    let name = name.filter(|name| !name.contains(NUMBER));
    let name = name.map(|name| format!("{name}-{number}"));
    let values = values.changed(|text| text.replace(NUMBER, &number));
    match name {
        None => values,
        Some(name) => {
            let mut values = values.without("name");
            values.add("name", Given::text(&name));
            values
        }
    }
}

/// `values` of a guest without a terminal; `saved` are those that it had.
fn in_background(values: Values, saved: &Values) -> Values {
    let mut values = values.without("detach");
    if !values.has("serial") && saved.value("serial") == Some("stdio") {
        values.add("serial", Given::text("null"));
    }
    values
}

/// Starts the process of a guest that goes on from `folder`.
fn launch(folder: &Path, values: &Values) -> Result<ExitCode, Failure> {
    let words = ["restore".to_owned(), path_text::of_path(folder)];
    let words = words.into_iter().chain(values.words());
    detach::launch_with(words.map(|word| path_text::path(&word).into_os_string()))
}

/// Checks that two guests of `one` and `other` share nothing that only one can have.
fn check_apart(one: &Settings, other: &Settings, what: &str, why: &str) -> Result<(), Failure> {
    let taken = exclusive(one);
    let mut all = exclusive(other).into_iter();
    let shared = all.find(|(_, path)| taken.iter().any(|(_, other)| other == path));
    let Some((option, _)) = shared else {
        return Ok(());
    };
    let name = option.split(' ').next().unwrap_or_default();
    Err(Failure::because(
        format!("{what}: {option}: {why}"),
        Vec::new(),
        match name {
            "--disk" | "--pmem" => format!(
                "give each copy a disk of its own, as it was when the guest was saved: {name} PATH, with {NUMBER} in it \
                 for --count"
            ),
            _ => format!(
                "give each copy one of its own: {name} ..., with {NUMBER} in it for --count"
            ),
        },
    ))
}

/// Resources that only one guest can have, by its option with its value: disks that are written, outputs, sockets, interfaces.
fn exclusive(settings: &Settings) -> Vec<(String, PathBuf)> {
    let named = files::named(settings).into_iter();
    let files = named.filter(|named| {
        !matches!(named.role, Role::Input | Role::Stream) && named.path != Path::new("/dev/null")
    });
    let files = files.map(|named| (named.owner, named.path));
    let devices = (0..).map(Field::Device).zip(&settings.spec.devices);
    let taken = devices.filter_map(|(field, device)| {
        let (_, which) = device.takes()?;
        let option = options::shown(&settings.spec, field, &settings.device_texts);
        Some((option, which.to_owned()))
    });
    // However it is written.
    let whole = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    let all = files.chain(taken);
    all.map(|(option, path)| (option, whole(path))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(all: &[(&str, &str)]) -> Values {
        let mut values = Values::default();
        for (name, text) in all {
            values.add(options::named(name).unwrap().name, Given::text(text));
        }
        values
    }

    #[test]
    fn each_of_many_has_its_number_in_its_name_and_where_it_is_written() {
        let given = values(&[
            ("name", "web"),
            ("vsock", "cid=3,socket=v{n}"),
            ("net", "tap=t{n},mac=52:54:00:00:00:0{n}"),
            ("rng", ""),
            ("cmdline", "-x {n}"),
        ]);
        assert_eq!(
            numbered(&given, 7).words(),
            [
                "--cmdline=-x 7",
                "--name=web-7",
                "--net=tap=t7,mac=52:54:00:00:00:07",
                "--rng",
                "--vsock=cid=3,socket=v7",
            ]
        );
        let own = numbered(&values(&[("name", "a{n}b")]), 12);
        assert_eq!(own.words(), ["--name=a12b"]);
        assert!(numbered(&Values::default(), 1).words().is_empty());
    }

    #[test]
    fn a_guest_in_the_background_has_no_console_on_stdio() {
        let saved = values(&[("serial", "stdio")]);
        let values_of = |given: &[(&str, &str)]| in_background(values(given), &saved).words();
        assert_eq!(values_of(&[("detach", "")]), ["--serial=null"]);
        assert_eq!(values_of(&[("serial", "pty")]), ["--serial=pty"]);
        let none = in_background(Values::default(), &Values::default());
        assert!(none.words().is_empty());
    }

    #[test]
    fn guests_share_what_is_read_and_nothing_that_is_written() {
        let settings = |all: &[(&str, &str)]| {
            let mut values = values(all);
            values.add("kernel", Given::text("k"));
            Settings::new(&values).unwrap()
        };
        let all = settings(&[
            ("disk", "ro.img,readonly"),
            ("disk", "rw.img"),
            ("net", "tap=t"),
            ("vsock", "cid=3,socket=v"),
            ("serial", "file=s"),
        ]);
        for (own, shared) in [
            (("disk", "rw.img"), Some("--disk rw.img")),
            (("disk", "ro.img,readonly"), None),
            (("disk", "other.img"), None),
            (("net", "tap=t"), Some("--net tap=t")),
            (("net", "tap=other"), None),
            (("vsock", "cid=9,socket=v"), Some("--vsock cid=9,socket=v")),
            (("serial", "file=s"), Some("--serial file=s")),
            (("serial", "null"), None),
        ] {
            let answer = check_apart(&all, &settings(&[own]), "fork web", "the guest has it");
            let text = answer.err().map(|failure| failure.text());
            let part = text
                .as_ref()
                .map(|text| text.contains(shared.unwrap_or("?")));
            assert_eq!(part, shared.map(|_| true), "{own:?}: {text:?}");
        }
    }
}
