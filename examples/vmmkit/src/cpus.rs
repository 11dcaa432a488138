//! `--cpus N,sockets=S,dies=D,cores=C,threads=T` and `--affinity VCPUS:CPUS,...`.

use std::collections::BTreeMap;
use std::num::IntErrorKind;
use std::ops::RangeInclusive;

use vmmkit_host_io::HostCpus;
use vmmkit_x86_cpu::Topology;

use crate::failure::Failure;
use crate::settings::shown;

const NEXT: &str = "give a whole number from 1, such as --cpus 2, or an arrangement such as --cpus \
     8,sockets=2,cores=2,threads=2";

/// The number of vCPUs and their arrangement, where one is given. A level that is left out has one of
/// its kind; left out, cores are what makes the number.
pub(crate) fn cpus(text: Option<&str>) -> Result<(u32, Option<Topology>), Failure> {
    let Some(text) = text else {
        return Ok((1, None));
    };
    let refused =
        |reason: String| Failure::usage(format!("--cpus {}: {reason}", shown(text)), NEXT);
    let because = |reason: &str| refused(reason.to_owned());
    let (mut total, mut levels) = (None, [None; 4]);
    for (place, part) in text.split(',').enumerate() {
        match part.split_once('=') {
            None if place == 0 => total = Some(number(part).map_err(because)?),
            None => return Err(refused(format!("{} has no name", shown(part)))),
            Some((name, value)) => {
                let Some(level) = level(&mut levels, name) else {
                    let known = "there are sockets, dies, cores and threads";
                    return Err(refused(format!("there is no {}: {known}", shown(name))));
                };
                if level.is_some() {
                    return Err(refused(format!("{name} was given twice")));
                }
                *level = Some(number(value).map_err(because)?);
            }
        }
    }
    let [sockets, dies, cores, threads] = levels;
    if levels.iter().all(Option::is_none) {
        return Ok((total.unwrap_or(1), None));
    }
    let [sockets, dies, threads] = [sockets, dies, threads].map(|count| count.unwrap_or(1));
    let cores = match (cores, total) {
        (Some(cores), _) => cores,
        // A number that does not divide is found out below.
        (None, Some(total)) => {
            let others = sockets.saturating_mul(dies).saturating_mul(threads);
            (total / others).max(1)
        }
        (None, None) => 1,
    };
    let topology =
        Topology::new(sockets, dies, cores, threads).map_err(|error| refused(error.to_string()))?;
    let vcpus = topology.vcpus();
    match total {
        Some(total) if total != vcpus => Err(refused(format!(
            "{sockets} sockets of {dies} dies of {cores} cores of {threads} threads are {vcpus} \
             vCPUs, not {total}"
        ))),
        _ => Ok((vcpus, Some(topology))),
    }
}

fn level<'a, T>(levels: &'a mut [T; 4], name: &str) -> Option<&'a mut T> {
    let [sockets, dies, cores, threads] = levels;
    match name {
        "sockets" => Some(sockets),
        "dies" => Some(dies),
        "cores" => Some(cores),
        "threads" => Some(threads),
        _ => None,
    }
}

/// The number of vCPUs that `text` is, or why it is none.
fn number(text: &str) -> Result<u32, &'static str> {
    match text.parse::<u32>() {
        Ok(0) => Err("a machine needs at least 1 vCPU"),
        Ok(number) => Ok(number),
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => {
            Err("no machine has that many vCPUs")
        }
        Err(_) => Err("this is not a number of vCPUs"),
    }
}

/// What `cpus` reads back.
pub(crate) fn text(vcpus: u32, topology: Option<Topology>) -> String {
    match topology {
        Some(topology) => format!("{vcpus},{topology}"),
        None => vcpus.to_string(),
    }
}

/// The CPUs of the host for each of `vcpus` vCPUs that is kept on some.
pub(crate) fn affinity(text: Option<&str>, vcpus: u32) -> Result<BTreeMap<u32, HostCpus>, Failure> {
    let Some(text) = text else {
        return Ok(BTreeMap::new());
    };
    let refused = |reason: String| {
        let next = "name CPUs that this process may use, for all vCPUs as in --affinity 0-1 or each as \
             in --affinity 0:0,1-2:1";
        Failure::usage(format!("--affinity {}: {reason}", shown(text)), next)
    };
    let allowed = HostCpus::allowed().map_err(|error| refused(error.to_string()))?;
    let mut all = BTreeMap::new();
    for part in text.split(',') {
        let (who, cpus) = part.split_once(':').unwrap_or(("", part));
        let who = match part.contains(':') {
            true => {
                range(who).ok_or_else(|| refused(format!("{who:?} is no vCPU and no range")))?
            }
            false => 0..=vcpus.saturating_sub(1),
        };
        let cpus: HostCpus = cpus.parse().map_err(|error| refused(format!("{error}")))?;
        if let Some(cpu) = cpus.first_outside(&allowed) {
            return Err(refused(format!(
                "CPU {cpu} is none that this process may use ({allowed})"
            )));
        }
        if *who.end() >= vcpus {
            let last = vcpus.saturating_sub(1);
            return Err(refused(format!(
                "there is no vCPU {}, they are 0 to {last}",
                who.end()
            )));
        }
        for vcpu in who {
            if all.insert(vcpu, cpus.clone()).is_some() {
                return Err(refused(format!("vCPU {vcpu} is named twice")));
            }
        }
    }
    Ok(all)
}

fn range(text: &str) -> Option<RangeInclusive<u32>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = first.parse().ok()?..=last.parse().ok()?;
    (!range.is_empty()).then_some(range)
}

/// What `affinity` reads back.
pub(crate) fn affinity_text(affinity: &BTreeMap<u32, HostCpus>) -> String {
    let each = affinity.iter().map(|(vcpu, cpus)| format!("{vcpu}:{cpus}"));
    each.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(text: &str) -> (u32, String) {
        let (vcpus, topology) = cpus(Some(text)).unwrap();
        (vcpus, topology.map_or(String::new(), |it| it.to_string()))
    }

    #[test]
    fn what_is_left_out_of_an_arrangement_follows() {
        let both = |text| levels(text);
        assert_eq!(both("3"), (3, String::new()));
        let full = "sockets=2,dies=1,cores=2,threads=2".to_owned();
        for text in [
            "8,sockets=2,threads=2",
            "sockets=2,cores=2,threads=2",
            "8,sockets=2,cores=2,dies=1,threads=2",
        ] {
            assert_eq!(both(text), (8, full.clone()), "{text}");
        }
        assert_eq!(
            both("threads=2"),
            (2, "sockets=1,dies=1,cores=1,threads=2".to_owned())
        );
    }

    #[test]
    fn an_arrangement_that_cannot_be_says_why() {
        let reason = |text| cpus(Some(text)).unwrap_err().text();
        for (text, part) in [
            (
                "8,sockets=3",
                "3 sockets of 1 dies of 2 cores of 1 threads are 6 vCPUs, not 8",
            ),
            ("0", "--cpus 0: a machine needs at least 1 vCPU"),
            ("2,cores=0", "a machine needs at least 1 vCPU"),
            ("", "--cpus \"\": this is not a number of vCPUs"),
            ("2,", "\"\" has no name"),
            ("2,slots=1", "there is no slots: there are sockets"),
            ("2,cores=1,cores=2", "cores was given twice"),
            ("99999999999", "no machine has that many vCPUs"),
            (
                "sockets=65536,cores=65536",
                "no machine has that many vCPUs",
            ),
            ("4,cores=2,2", "2 has no name"),
        ] {
            assert!(reason(text).contains(part), "{text}: {}", reason(text));
        }
    }

    #[test]
    fn affinity_is_for_all_or_for_each() {
        let allowed = HostCpus::allowed().unwrap().to_string();
        let first: u32 = allowed.split(['-', '+']).next().unwrap().parse().unwrap();
        let all = affinity(Some(&first.to_string()), 3).unwrap();
        assert_eq!(
            affinity_text(&all),
            format!("0:{first},1:{first},2:{first}")
        );
        let some = affinity(Some(&format!("1-2:{first}")), 3).unwrap();
        assert_eq!(affinity_text(&some), format!("1:{first},2:{first}"));

        let reason = |text: &str| affinity(Some(text), 2).unwrap_err().text();
        assert!(reason("1023").contains("CPU 1023 is none that this process may use"));
        assert!(reason(&format!("2:{first}")).contains("there is no vCPU 2, they are 0 to 1"));
        assert!(reason(&format!("0-1:{first},1:{first}")).contains("vCPU 1 is named twice"));
        assert!(reason("x:0").contains("\"x\" is no vCPU and no range"));
        assert!(reason("").contains("is neither a CPU number nor a range"));
    }
}
