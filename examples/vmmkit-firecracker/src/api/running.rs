//! PATCH: changes of a machine that runs, but for its vCPUs and memory.

use super::answer::{Done, Refused};
use super::route::Request;
use super::setup::absent;
use super::{Firecracker, State};
use crate::body::{
    BalloonStatisticsUpdate, BalloonUpdate, DriveUpdate, IoEngine, MachineConfigUpdate,
    NetworkInterfaceUpdate, RateLimiter, Vm, VmState,
};
use crate::check::check_limiter;
use crate::memory::MemoryHotplugUpdate;

impl Firecracker {
    pub(super) fn patch(state: &mut State, request: &Request<'_>) -> Result<Done, Refused> {
        match *request.parts() {
            ["vm"] => set_state(state, request.json()?)?,
            ["machine-config"] => {
                let update: MachineConfigUpdate = request.json()?;
                let is_deprecated = update.cpu_template.is_some();
                state.only_before()?;
                state.is_configured = true;
                state.resources.update_machine_config(update)?;
                return Ok(if is_deprecated {
                    Done::Deprecated
                } else {
                    Done::Nothing
                });
            }
            ["drives", id] => {
                let update = request.named(id, |update: &DriveUpdate| &update.drive_id)?;
                update_drive(state, update)?;
            }
            ["network-interfaces", id] => {
                let update = request.named(id, |it: &NetworkInterfaceUpdate| &it.iface_id)?;
                update_network(state, update)?;
            }
            ["balloon"] => {
                let update: BalloonUpdate = request.json()?;
                let guest = state.running()?.clone();
                state.resources.resize_balloon(update.amount_mib)?;
                guest.set_balloon(update.amount_mib);
            }
            ["balloon", "statistics"] => {
                let update: BalloonStatisticsUpdate = request.json()?;
                let guest = state.running()?.clone();
                let seconds = update.stats_polling_interval_s;
                state.resources.set_statistics_interval(seconds)?;
                guest.set_statistics_interval(seconds);
            }
            ["hotplug", "memory"] => {
                let MemoryHotplugUpdate { requested_size_mib } = request.json()?;
                let guest = state.running()?.clone();
                state.hotplug()?.check_request(requested_size_mib)?;
                guest.request_memory(requested_size_mib);
            }
            _ => return Err(absent(request)),
        }
        Ok(Done::Nothing)
    }
}

fn set_state(state: &mut State, vm: Vm) -> Result<(), Refused> {
    let guest = state.running()?;
    match vm.state {
        VmState::Paused => guest.pause()?,
        VmState::Resumed => guest.resume()?,
    }
    state.is_paused = vm.state == VmState::Paused;
    Ok(())
}

fn update_drive(state: &mut State, update: DriveUpdate) -> Result<(), Refused> {
    let guest = state.running()?.clone();
    let mut drives = state.resources.drives.iter_mut().enumerate();
    let found = drives.find(|(_, drive)| drive.drive_id == update.drive_id);
    let none = || format!("There is no drive {}.", update.drive_id);
    let (place, drive) = found.ok_or_else(none)?;
    if update.rate_limiter.is_some() && drive.socket.is_some() {
        let said = "`rate_limiter` is for a drive with `path_on_host`.";
        return Err(said.to_owned().into());
    }
    if let Some(limiter) = &update.rate_limiter {
        check_limiter(limiter)?;
    }
    if let Some(path) = update.path_on_host {
        if drive.socket.is_some() || drive.io_engine == Some(IoEngine::Async) {
            let said = "`path_on_host` changes for a drive with the `io_engine` Sync alone.";
            return Err(said.to_owned().into());
        }
        guest.change_drive(place, &path)?;
        drive.path_on_host = Some(path);
    }
    if let Some(limiter) = update.rate_limiter {
        let limiter = merged(drive.rate_limiter, limiter);
        drive.rate_limiter = Some(limiter);
        guest.limit_drive(place, limiter);
    }
    Ok(())
}

fn update_network(state: &mut State, update: NetworkInterfaceUpdate) -> Result<(), Refused> {
    let guest = state.running()?.clone();
    let mut interfaces = state.resources.network.iter_mut().enumerate();
    let found = interfaces.find(|(_, interface)| interface.iface_id == update.iface_id);
    let none = || format!("There is no interface {}.", update.iface_id);
    let (place, interface) = found.ok_or_else(none)?;
    for limiter in [update.rx_rate_limiter, update.tx_rate_limiter]
        .iter()
        .flatten()
    {
        check_limiter(limiter)?;
    }
    let change = |now: &mut Option<RateLimiter>, to: Option<RateLimiter>| {
        let limiter = to.map(|to| merged(*now, to));
        *now = limiter.or(*now);
        limiter
    };
    let to = change(&mut interface.rx_rate_limiter, update.rx_rate_limiter);
    let from = change(&mut interface.tx_rate_limiter, update.tx_rate_limiter);
    guest.limit_network(place, to, from);
    Ok(())
}

/// A limit that is not named stays as it is.
fn merged(now: Option<RateLimiter>, update: RateLimiter) -> RateLimiter {
    let now = now.unwrap_or_default();
    RateLimiter {
        bandwidth: update.bandwidth.or(now.bandwidth),
        ops: update.ops.or(now.ops),
    }
}
