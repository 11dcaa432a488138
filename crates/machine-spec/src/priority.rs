//! How the host schedules the threads of a machine.

use std::fmt;

use serde::{Deserialize, Serialize};
use vmmkit_host_io::ThreadPriority;

use crate::{Fault, Given, Words, serde_text};

/// How the host schedules the threads of a machine; those of which nothing is said, as the process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PrioritySpec {
    /// Of vCPUs.
    #[serde(with = "serde_text::option")]
    pub vcpu: Option<ThreadPriority>,
    /// Of the event loop and of devices.
    #[serde(with = "serde_text::option")]
    pub io: Option<ThreadPriority>,
}

impl PrioritySpec {
    /// `vcpu=fifo:1,io=nice:-5`, or one of the two.
    ///
    /// # Errors
    /// [`Fault`] says what of it cannot be.
    pub fn parse(given: &Given) -> Result<Self, Fault> {
        let mut words = Words::new(given);
        let priority = Self {
            vcpu: read(&mut words, "vcpu")?,
            io: read(&mut words, "io")?,
        };
        if priority == Self::default() {
            return Err(Fault::NoPriority);
        }
        words.end()?;
        Ok(priority)
    }
}

fn read(words: &mut Words<'_>, key: &'static str) -> Result<Option<ThreadPriority>, Fault> {
    let Some(text) = words.value(key)? else {
        return Ok(None);
    };
    let priority = text.parse::<ThreadPriority>();
    priority
        .map(Some)
        .map_err(|source| Fault::Priority { key, source })
}

impl fmt::Display for PrioritySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vcpu = self.vcpu.map(|priority| format!("vcpu={priority}"));
        let io = self.io.map(|priority| format!("io={priority}"));
        let words: Vec<String> = vcpu.into_iter().chain(io).collect();
        f.write_str(&words.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_is_written_as_it_is_read() {
        let parsed = |text| PrioritySpec::parse(&Given::text(text));
        for text in ["vcpu=nice:19", "io=fifo:1", "vcpu=rr:1,io=nice:-5"] {
            assert_eq!(parsed(text).unwrap().to_string(), text);
        }
        let reason = |text| parsed(text).unwrap_err().to_string();
        assert_eq!(reason(""), "there is no vcpu= and no io= in it");
        assert_eq!(
            reason("vcpu=fifo:100"),
            "vcpu: fifo:100 is not from 1 to 99"
        );
        assert!(reason("io=high").starts_with("io: \"high\" is no"));
        assert_eq!(reason("vcpu=nice:19,gpu=nice:1"), "there is no gpu");
    }
}
