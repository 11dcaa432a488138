//! `limit`: what a disk or a network interface may do a second.

use std::fmt::Write;
use std::process::ExitCode;

use vmmkit_control::{Bucket, FlowLimits, Limits};
use vmmkit_machine_spec::{Fault, Given, Words, per_second};

use super::options::LimitOptions;
use super::{at_most_one, device_and_rest, write_json};
use crate::failure::Failure;
use crate::{generate, options};

const DISK: &str = "give bandwidth=BYTES or iops=N a second, or none instead of a number";
const NET: &str = "give bandwidth=BYTES or packets=N a second, or none instead of a number; and receive \
     or transmit for one direction";

/// Shows the limits of a device, after they were changed if any are given. What is not named stays.
pub(super) fn limit(options: &LimitOptions) -> Result<ExitCode, Failure> {
    let (one, words) = options.one.split(&options.words);
    let (device, rest) = device_and_rest("limit", "web blk0 iops=1000", words)?;
    let limits_text = at_most_one(rest)?;
    let target = one.target()?;
    let client = target.client();
    let path = format!("/v1/devices/{device}/limits");
    let now = client.get::<Limits>(&path);
    let mut limits = now.map_err(|error| target.refused(error))?;
    if let Some(text) = limits_text {
        let wanted = changed(limits, text)?;
        let set = client.put(&path, &wanted);
        limits = set.map_err(|error| target.refused(error))?;
    }
    if options.one.json {
        return write_json(&limits);
    }
    generate::write(text(&limits).as_bytes())
}

/// `now` with the changes that `text` asks for; flows without any are left out.
fn changed(now: Limits, text: &str) -> Result<Limits, Failure> {
    let is_disk = now.requests.is_some();
    let (operations, keys) = if is_disk {
        ("iops", DISK)
    } else {
        ("packets", NET)
    };
    changed_by(now, &Given::text(text), operations).map_err(|fault| {
        let what = format!("limit {text}: {fault}");
        Failure::usage(what, options::next(keys, &fault))
    })
}

fn changed_by(now: Limits, given: &Given, operations: &'static str) -> Result<Limits, Fault> {
    let is_disk = now.requests.is_some();
    let mut words = Words::new(given);
    let bandwidth = words.parsed("bandwidth", "bytes a second, such as 64M, or none", bucket)?;
    let number = "a number a second, such as 1000, or none";
    let operations = words.parsed(operations, number, bucket)?;
    let (receive, transmit) = match is_disk {
        true => (false, false),
        false => (words.flag("receive")?, words.flag("transmit")?),
    };
    if bandwidth.is_none() && operations.is_none() {
        return Err(Fault::Missing("limit in it"));
    }
    words.end()?;
    let change = |flow: FlowLimits| FlowLimits {
        bandwidth: bandwidth.unwrap_or(flow.bandwidth),
        operations: operations.unwrap_or(flow.operations),
    };
    let both = receive == transmit;
    Ok(Limits {
        requests: now.requests.map(change),
        receive: now.receive.filter(|_| both || receive).map(change),
        transmit: now.transmit.filter(|_| both || transmit).map(change),
    })
}

/// So much a second; `none` means no limit.
fn bucket(text: &str) -> Option<Option<Bucket>> {
    if text == "none" {
        return Some(None);
    }
    let size = per_second(text)?.get();
    (size <= Bucket::MAX).then_some(Some(Bucket {
        size,
        burst: 0,
        refill_milliseconds: 1000,
    }))
}

fn text(limits: &Limits) -> String {
    let flows = [
        ("requests", limits.requests),
        ("receive", limits.receive),
        ("transmit", limits.transmit),
    ];
    let mut text = String::new();
    for (name, flow) in flows {
        let Some(flow) = flow else { continue };
        let bandwidth = shown(flow.bandwidth, "bytes");
        let operations = shown(
            flow.operations,
            if name == "requests" { name } else { "packets" },
        );
        let _ = writeln!(text, "{name}: {bandwidth}, {operations}");
    }
    text
}

fn shown(bucket: Option<Bucket>, what: &str) -> String {
    let Some(bucket) = bucket else {
        return format!("any {what}");
    };
    let time = match bucket.refill_milliseconds {
        1000 => "second".to_owned(),
        milliseconds => format!("{milliseconds} ms"),
    };
    match bucket.burst {
        0 => format!("{} {what} a {time}", bucket.size),
        burst => format!("{} {what} a {time} after {burst}", bucket.size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> Limits {
        Limits {
            requests: Some(FlowLimits {
                bandwidth: bucket("64M").unwrap(),
                operations: None,
            }),
            ..Limits::default()
        }
    }

    fn net() -> Limits {
        Limits {
            receive: Some(FlowLimits::default()),
            transmit: Some(FlowLimits::default()),
            ..Limits::default()
        }
    }

    #[test]
    fn what_is_not_named_stays() {
        let limits = changed(disk(), "iops=100").unwrap();
        let expected = "requests: 67108864 bytes a second, 100 requests a second\n";
        assert_eq!(text(&limits), expected);
        let limits = changed(limits, "bandwidth=none").unwrap();
        assert_eq!(
            text(&limits),
            "requests: any bytes, 100 requests a second\n"
        );
    }

    #[test]
    fn a_direction_can_be_limited_alone() {
        let both = changed(net(), "packets=5").unwrap();
        assert!(both.receive.is_some() && both.transmit.is_some());
        let one = changed(net(), "packets=5,receive").unwrap();
        assert_eq!(text(&one), "receive: any bytes, 5 packets a second\n");
    }

    #[test]
    fn a_wrong_limit_is_named() {
        let failure = |limits, text| changed(limits, text).unwrap_err().text();
        assert!(failure(disk(), "packets=5").contains("there is no limit in it"));
        assert!(failure(disk(), "iops=5,receive").contains("there is no receive"));
        assert!(failure(net(), "iops=5,packets=1").contains("there is no iops"));
        for text in ["iops=0", "iops=x", "iops=-1", "iops=99999999999999999"] {
            assert!(
                failure(disk(), text).contains(&format!("limit {text}: ")),
                "{text}"
            );
        }
    }
}
