//! `--priority vcpu=fifo:1,io=nice:-5`: how the host schedules the threads of the machine.

use std::fmt;

use vmmkit_host_io::ThreadPriority;

use crate::devices::Words;
use crate::failure::Failure;

const KEYS: &str = "give vcpu= or io= and fifo:1 to fifo:99, rr:1 to rr:99 or nice:-20 to nice:19";

/// What was asked for; threads of which nothing is said are scheduled as the process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Priorities {
    /// Of vCPUs.
    pub(crate) vcpu: Option<ThreadPriority>,
    /// Of the event loop and of devices.
    pub(crate) io: Option<ThreadPriority>,
}

impl Priorities {
    /// The value of the option, which this process may have.
    pub(crate) fn new(text: Option<&str>) -> Result<Self, Failure> {
        let Some(text) = text else {
            return Ok(Self::default());
        };
        let mut words = Words::new("--priority", text);
        let priorities = Self {
            vcpu: read(&mut words, "vcpu")?,
            io: read(&mut words, "io")?,
        };
        if priorities == Self::default() {
            return Err(words.wrong("there is no vcpu= and no io= in it", KEYS));
        }
        words.end(KEYS)?;
        for priority in [priorities.vcpu, priorities.io].into_iter().flatten() {
            let tried = priority.try_out();
            tried.map_err(|error| {
                let what = format!("--priority {text}: {priority}");
                Failure::host(&what, &error, allowed_by(priority))
            })?;
        }
        Ok(priorities)
    }
}

fn read(words: &mut Words<'_>, key: &'static str) -> Result<Option<ThreadPriority>, Failure> {
    let Some(text) = words.value(key)? else {
        return Ok(None);
    };
    let priority = text.parse::<ThreadPriority>();
    priority
        .map(Some)
        .map_err(|error| words.wrong(&format!("{key}: {error}"), KEYS))
}

/// What a process needs for it, in a shell (getrlimit(2), capabilities(7)).
fn allowed_by(priority: ThreadPriority) -> String {
    let limit = match priority {
        ThreadPriority::Fifo(least) | ThreadPriority::RoundRobin(least) => {
            format!("raise the limit of real-time priorities to {least} (ulimit -r {least})")
        }
        // RLIMIT_NICE is 20 minus the nice value.
        ThreadPriority::Nice(nice) => {
            let least = 20 - i32::from(nice);
            format!("raise the limit of nice values to {least} (ulimit -e {least})")
        }
    };
    format!("{limit} as root, in limits.conf or in a systemd unit, or run it with CAP_SYS_NICE")
}

impl fmt::Display for Priorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [("vcpu", self.vcpu), ("io", self.io)];
        let mut comma = "";
        for (name, priority) in named {
            if let Some(priority) = priority {
                write!(f, "{comma}{name}={priority}")?;
                comma = ",";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_reads_back() {
        // Everybody may be nicer.
        for text in ["vcpu=nice:19", "io=nice:19", "vcpu=nice:19,io=nice:19"] {
            assert_eq!(Priorities::new(Some(text)).unwrap().to_string(), text);
        }
        assert_eq!(Priorities::new(None).unwrap().to_string(), "");
    }

    #[test]
    fn a_wrong_value_is_named() {
        let text = |text| Priorities::new(Some(text)).unwrap_err().text();
        assert!(text("").contains("there is no vcpu= and no io= in it"));
        assert!(text("vcpu=fifo:100").contains("vcpu: fifo:100 is not from 1 to 99"));
        assert!(text("io=high").contains("io: \"high\" is no fifo:N"));
        assert!(text("vcpu=nice:19,gpu=nice:1").contains("there is no gpu"));
    }

    #[test]
    fn what_a_process_lacks_is_said() {
        assert!(allowed_by(ThreadPriority::Fifo(7)).contains("ulimit -r 7"));
        assert!(allowed_by(ThreadPriority::Nice(-5)).contains("ulimit -e 25"));
    }
}
