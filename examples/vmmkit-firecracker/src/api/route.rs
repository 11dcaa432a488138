//! A request: its method, the parts of its path, and its body.

use serde::de::DeserializeOwned;
use vmmkit_control::Asked;

use super::answer::Refused;

/// A method that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Put,
    Patch,
}

/// A request whose method and body go together.
pub(super) struct Request<'a> {
    pub(super) verb: Verb,
    asked: &'a Asked,
    parts: Vec<&'a str>,
}

impl<'a> Request<'a> {
    pub(super) fn parse(asked: &'a Asked) -> Result<Self, Refused> {
        let path = asked.path.strip_prefix('/').unwrap_or(&asked.path);
        let verb = match asked.method.as_str() {
            "GET" => Verb::Get,
            "PUT" => Verb::Put,
            "PATCH" => Verb::Patch,
            _ => return Err(unknown(asked)),
        };
        match (verb, asked.body.is_empty()) {
            (Verb::Get, false) => return Err("GET request cannot have a body.".to_owned().into()),
            (Verb::Put, true) => return Err("Empty PUT request.".to_owned().into()),
            (Verb::Patch, true) => return Err("Empty PATCH request.".to_owned().into()),
            _ => {}
        }
        Ok(Self {
            verb,
            asked,
            parts: if path.is_empty() {
                Vec::new()
            } else {
                path.split('/').collect()
            },
        })
    }

    /// The parts of its path.
    pub(super) fn parts(&self) -> &[&'a str] {
        &self.parts
    }

    /// Its body.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Refused> {
        serde_json::from_slice(&self.asked.body).map_err(Refused::malformed)
    }

    /// Its body, whose `id` must be that in the path, of letters, digits and underscores.
    pub(super) fn named<T: DeserializeOwned>(
        &self,
        name: &str,
        id: impl FnOnce(&T) -> &str,
    ) -> Result<T, Refused> {
        if name.is_empty() {
            return Err("The ID cannot be empty.".to_owned().into());
        }
        if !name
            .chars()
            .all(|letter| letter == '_' || letter.is_alphanumeric())
        {
            let said = "API Resource IDs can only contain alphanumeric characters and underscores.";
            return Err(said.to_owned().into());
        }
        let body = self.json::<T>()?;
        match id(&body) == name {
            true => Ok(body),
            false => {
                let said = "The id from the path does not match the id from the body!";
                Err(said.to_owned().into())
            }
        }
    }

    /// There is no such request.
    pub(super) fn unknown(&self) -> Refused {
        unknown(self.asked)
    }

    /// The group and name of the metrics that count it.
    pub(super) fn counted(&self) -> Option<(&'static str, &'static str)> {
        let first = self.parts.first().copied().unwrap_or_default();
        let name = match first {
            "actions" => "actions",
            "balloon" => "balloon",
            "boot-source" => "boot_source",
            "cpu-config" => "cpu_cfg",
            "drives" => "drive",
            "logger" => "logger",
            "machine-config" => "machine_cfg",
            "hotplug" => "hotplug_memory",
            "pmem" => "pmem",
            "metrics" => "metrics",
            "mmds" => "mmds",
            "network-interfaces" => "network",
            "serial" => "serial",
            "vsock" => "vsock",
            "version" => "vmm_version",
            "" => "instance_info",
            _ => return None,
        };
        let group = match self.verb {
            Verb::Get => "get_api_requests",
            Verb::Put => "put_api_requests",
            Verb::Patch => "patch_api_requests",
        };
        Some((group, name))
    }
}

fn unknown(asked: &Asked) -> Refused {
    let path = asked.path.strip_prefix('/').unwrap_or(&asked.path);
    Refused::Unknown(asked.method.clone(), path.to_owned())
}
