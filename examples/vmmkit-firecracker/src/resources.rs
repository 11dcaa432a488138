//! The configuration that clients have made so far, checked piece by piece as it comes.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use vmmkit_host_io::Tap;

use crate::body::{
    Balloon, BootSource, Drive, Entropy, HugePages, MachineConfig, MachineConfigUpdate,
    NetworkInterface, Serial, Vsock,
};
use crate::check::{Checked, balloon_fits, check_limiter, lacks, mac_address, openable, put};
use crate::memory::{MemoryHotplug, Pmem};

/// The most vCPUs.
const MAX_VCPUS: u32 = 32;
/// The lowest address of a guest on a vsock; those below have a meaning.
const FIRST_CID: u32 = 3;

/// A configuration. As JSON it is what a snapshot has of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// The kernel.
    pub boot_source: Option<BootSource>,
    /// vCPUs and memory.
    pub machine_config: MachineConfig,
    /// Drives: the one to boot from is the first.
    pub drives: Vec<Drive>,
    /// Interfaces.
    pub network: Vec<NetworkInterface>,
    /// The vsock.
    pub vsock: Option<Vsock>,
    /// The source of entropy.
    pub entropy: Option<Entropy>,
    /// The serial port: of a process, not of a guest.
    #[serde(skip)]
    pub serial: Serial,
    /// The balloon.
    pub balloon: Option<Balloon>,
    /// Persistent memory.
    #[serde(default)]
    pub pmem: Vec<Pmem>,
    /// Memory that can be plugged.
    #[serde(default)]
    pub memory_hotplug: Option<MemoryHotplug>,
    /// Devices are on PCI.
    pub pci: bool,
}

impl Default for Resources {
    /// One vCPU and 128 MiB.
    fn default() -> Self {
        Self {
            boot_source: None,
            machine_config: MachineConfig {
                vcpu_count: 1,
                mem_size_mib: 128,
                smt: false,
                cpu_template: None,
                track_dirty_pages: false,
                huge_pages: HugePages::None,
            },
            drives: Vec::new(),
            network: Vec::new(),
            vsock: None,
            entropy: None,
            serial: Serial::default(),
            balloon: None,
            pmem: Vec::new(),
            memory_hotplug: None,
            pci: false,
        }
    }
}

impl Resources {
    /// Sets the kernel.
    ///
    /// # Errors
    /// The first part that cannot be, in a sentence; nothing is changed then. So it is with the others.
    pub fn set_boot_source(&mut self, source: BootSource) -> Checked {
        openable("The kernel file", &source.kernel_image_path, false)?;
        if let Some(initrd) = &source.initrd_path {
            openable("The initrd file", initrd, false)?;
        }
        if source
            .boot_args
            .as_ref()
            .is_some_and(|args| args.contains('\0'))
        {
            return Err("The kernel command line has a NUL in it.".to_owned());
        }
        self.boot_source = Some(source);
        Ok(())
    }

    /// Sets vCPUs and memory.
    ///
    /// # Errors
    /// A sentence.
    pub fn set_machine_config(&mut self, config: MachineConfig) -> Checked {
        let vcpus = config.vcpu_count;
        if !(1..=MAX_VCPUS).contains(&vcpus) || (config.smt && vcpus > 1 && vcpus % 2 == 1) {
            return Err(format!(
                "`vcpu_count` is {vcpus}: it must be from 1 to {MAX_VCPUS}, and 1 or even with `smt`."
            ));
        }
        let page = if config.huge_pages == HugePages::Of2Mib {
            2
        } else {
            1
        };
        if config.mem_size_mib == 0 || !config.mem_size_mib.is_multiple_of(page) {
            return Err(format!(
                "`mem_size_mib` is {}: it must be a multiple of {page} and more than 0.",
                config.mem_size_mib
            ));
        }
        if config
            .cpu_template
            .as_ref()
            .is_some_and(|name| name != "None")
        {
            return Err(lacks("cpu_template"));
        }
        if let Some(balloon) = &self.balloon {
            balloon_fits(balloon.amount_mib, &config)?;
        }
        self.machine_config = config;
        Ok(())
    }

    /// Changes vCPUs and memory.
    ///
    /// # Errors
    /// A sentence.
    pub fn update_machine_config(&mut self, update: MachineConfigUpdate) -> Checked {
        if update == MachineConfigUpdate::default() {
            return Err("Empty PATCH request.".to_owned());
        }
        let now = self.machine_config.clone();
        self.set_machine_config(MachineConfig {
            vcpu_count: update.vcpu_count.unwrap_or(now.vcpu_count),
            mem_size_mib: update.mem_size_mib.unwrap_or(now.mem_size_mib),
            smt: update.smt.unwrap_or(now.smt),
            cpu_template: update.cpu_template.or(now.cpu_template),
            track_dirty_pages: update.track_dirty_pages.unwrap_or(now.track_dirty_pages),
            huge_pages: update.huge_pages.unwrap_or(now.huge_pages),
        })
    }

    /// Adds a drive, or puts it in the place of the one with its name.
    ///
    /// # Errors
    /// A sentence.
    pub fn set_drive(&mut self, drive: Drive) -> Checked {
        match (&drive.path_on_host, &drive.socket) {
            (Some(path), None) => {
                let writes = !drive.is_read_only.unwrap_or(false);
                openable("The file of the drive", path, writes)?;
            }
            (None, Some(_)) => {
                let of_files = [
                    (drive.is_read_only.is_some(), "is_read_only"),
                    (drive.rate_limiter.is_some(), "rate_limiter"),
                    (drive.io_engine.is_some(), "io_engine"),
                ];
                if let Some((_, field)) = of_files.iter().find(|(is_given, _)| *is_given) {
                    return Err(format!("`{field}` is for a drive with `path_on_host`."));
                }
            }
            _ => return Err("A drive has either `path_on_host` or `socket`.".to_owned()),
        }
        if let Some(limiter) = &drive.rate_limiter {
            check_limiter(limiter)?;
        }
        let partition = drive.partuuid.as_ref();
        let is_uuid = |text: &String| text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        if partition.is_some_and(|text| !is_uuid(text)) {
            return Err("`partuuid` is not a UUID.".to_owned());
        }
        let place = self
            .drives
            .iter()
            .position(|other| other.drive_id == drive.drive_id);
        let root = self.drives.iter().position(|other| other.is_root_device);
        if drive.is_root_device && root.is_some() && root != place {
            return Err("There is a root drive already.".to_owned());
        }
        if drive.is_root_device && self.pmem.iter().any(|pmem| pmem.root_device) {
            return Err("There is a root device already.".to_owned());
        }
        put(&mut self.drives, place, drive)?;
        // A stable sort: the root drive becomes the first, and the others keep their order.
        self.drives.sort_by_key(|drive| !drive.is_root_device);
        Ok(())
    }

    /// Adds an interface, or puts it in the place of the one with its name.
    ///
    /// # Errors
    /// A sentence.
    pub fn set_network(&mut self, interface: NetworkInterface) -> Checked {
        let name = &interface.host_dev_name;
        let found = Tap::exists(name);
        let found = found.map_err(|error| format!("`host_dev_name`: {error}"))?;
        if !found {
            return Err(format!(
                "Open tap device failed: there is no interface {name}."
            ));
        }
        let mac = interface
            .guest_mac
            .as_deref()
            .map(mac_address)
            .transpose()?;
        for limiter in [interface.rx_rate_limiter, interface.tx_rate_limiter]
            .iter()
            .flatten()
        {
            check_limiter(limiter)?;
        }
        let others = || {
            self.network
                .iter()
                .filter(|other| other.iface_id != interface.iface_id)
        };
        if others().any(|other| other.host_dev_name == *name) {
            return Err(format!("Another interface has the tap device {name}."));
        }
        let has_mac = |other: &NetworkInterface| {
            let other = other
                .guest_mac
                .as_deref()
                .and_then(|text| mac_address(text).ok());
            mac.is_some() && other == mac
        };
        if others().any(has_mac) {
            let mac = interface.guest_mac.unwrap_or_default();
            return Err(format!("The MAC address is already in use: {mac}"));
        }
        let place = self
            .network
            .iter()
            .position(|other| other.iface_id == interface.iface_id);
        put(&mut self.network, place, interface)
    }

    /// Sets the vsock.
    ///
    /// # Errors
    /// A sentence.
    pub fn set_vsock(&mut self, vsock: Vsock) -> Checked {
        if vsock.guest_cid < FIRST_CID || vsock.guest_cid == u32::MAX {
            return Err(format!(
                "`guest_cid` must be at least {FIRST_CID} and less than 2^32-1."
            ));
        }
        if Path::new(&vsock.uds_path).symlink_metadata().is_ok() {
            return Err(format!(
                "There is something at `uds_path` already: {}",
                vsock.uds_path
            ));
        }
        self.vsock = Some(vsock);
        Ok(())
    }

    /// Sets the source of entropy.
    ///
    /// # Errors
    /// A sentence.
    pub fn set_entropy(&mut self, entropy: Entropy) -> Checked {
        if let Some(limiter) = &entropy.rate_limiter {
            check_limiter(limiter)?;
        }
        self.entropy = Some(entropy);
        Ok(())
    }

    /// Sets the serial port.
    ///
    /// # Errors
    /// A sentence.
    pub fn set_serial(&mut self, serial: Serial) -> Checked {
        if serial.rate_limiter.is_some() {
            return Err(lacks("rate_limiter"));
        }
        self.serial = serial;
        Ok(())
    }

    /// Sets the balloon.
    ///
    /// # Errors
    /// A sentence.
    pub fn set_balloon(&mut self, balloon: Balloon) -> Checked {
        if balloon.free_page_hinting {
            return Err(lacks("free_page_hinting"));
        }
        balloon_fits(balloon.amount_mib, &self.machine_config)?;
        self.balloon = Some(balloon);
        Ok(())
    }

    /// Changes the size of the balloon that there is.
    ///
    /// # Errors
    /// A sentence.
    pub fn resize_balloon(&mut self, mebibytes: u32) -> Checked {
        balloon_fits(mebibytes, &self.machine_config)?;
        self.the_balloon()?.amount_mib = mebibytes;
        Ok(())
    }

    /// Changes the interval of the balloon's statistics, which it must have: they cannot be begun or ended later.
    ///
    /// # Errors
    /// A sentence.
    pub fn set_statistics_interval(&mut self, seconds: u16) -> Checked {
        let balloon = self.the_balloon()?;
        let has = balloon.stats_polling_interval_s > 0;
        match (has, seconds > 0) {
            (true, true) => balloon.stats_polling_interval_s = seconds,
            (false, false) => {}
            _ => {
                return Err(
                    "Statistics of the balloon cannot be begun or ended after boot.".into(),
                );
            }
        }
        Ok(())
    }

    /// The balloon.
    ///
    /// # Errors
    /// There is none.
    pub fn the_balloon(&mut self) -> Result<&mut Balloon, String> {
        self.balloon
            .as_mut()
            .ok_or_else(|| "There is no balloon.".to_owned())
    }

    /// All of it, in the form of the configuration file.
    pub fn to_json(&self) -> Value {
        let vsock = self.vsock.as_ref();
        json!({
            "balloon": self.balloon,
            "boot-source": self.boot_source,
            "cpu-config": null,
            "drives": self.drives,
            "entropy": self.entropy,
            "logger": null,
            "machine-config": self.machine_config,
            "memory-hotplug": self.memory_hotplug,
            "metrics": null,
            "mmds-config": null,
            "network-interfaces": self.network,
            "pmem": self.pmem,
            "serial": some(&self.serial),
            "vsock": vsock,
        })
    }
}

/// The serial port, if it was configured.
fn some(serial: &Serial) -> Option<impl Serialize> {
    (*serial != Serial::default()).then_some(serial)
}
