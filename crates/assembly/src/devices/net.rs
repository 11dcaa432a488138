//! Network interfaces.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use vmmkit_host_io::{StreamSocket, Tap};
use vmmkit_machine_spec::{Field, ForwardSpec, NetAttachmentSpec, NetSpec};
use vmmkit_virtio::Device;
use vmmkit_virtio_devices::{Net, NetAttachment, NetConfig, NetOptions, VhostUser};

use super::{Plan, rate};
use crate::{Notice, NoticeKind, Reason};

pub(super) fn open(spec: &NetSpec, field: Field, plan: &Plan) -> Result<Arc<dyn Device>, Reason> {
    let attachment = match &spec.attachment {
        NetAttachmentSpec::Passt(path) => NetAttachment::Stream { path: path.clone() },
        NetAttachmentSpec::User { forward } => return user(spec, forward, field, plan),
        NetAttachmentSpec::Tap { interface, create } => {
            check(interface, *create)?;
            let interface = interface.clone();
            NetAttachment::Tap { interface }
        }
        NetAttachmentSpec::VhostUser(socket) => return back_end(spec, socket),
    };
    attach(spec, attachment, field, plan)
}

fn back_end(spec: &NetSpec, socket: &Path) -> Result<Arc<dyn Device>, Reason> {
    // Chosen like any other, but not at random: a back end has one guest.
    let mac = spec.mac.unwrap_or([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    Ok(Arc::new(VhostUser::net(socket, mac)?))
}

/// Checks that the tap interface is there, or may be made.
fn check(interface: &str, may_be_made: bool) -> Result<(), Reason> {
    let found = Tap::exists(interface).map_err(Reason::Interface)?;
    if found || may_be_made {
        return Ok(());
    }
    let interface = interface.to_owned();
    Err(Reason::NoInterface { interface })
}

fn attach(
    spec: &NetSpec,
    attachment: NetAttachment,
    field: Field,
    plan: &Plan,
) -> Result<Arc<dyn Device>, Reason> {
    let config = NetConfig {
        attachment,
        options: options(spec),
    };
    let net = Net::new(&config)?;
    if let (Some(host), Some(guest)) = (net.host_mtu(), spec.mtu)
        && host != guest
    {
        let kind = NoticeKind::Mtu { guest, host };
        plan.host.report(&Notice::new(field, kind));
    }
    Ok(told(net, field, plan))
}

/// The user's network. A dry run starts nothing.
fn user(
    spec: &NetSpec,
    forward: &[ForwardSpec],
    field: Field,
    plan: &Plan,
) -> Result<Arc<dyn Device>, Reason> {
    let socket = match plan.outputs.is_dry() {
        true => UnixStream::pair().map(|(ours, _)| ours),
        false => plan.host.user_network(field, forward),
    };
    let socket = socket
        .and_then(StreamSocket::new)
        .map_err(Reason::UserNetwork)?;
    let net = Net::with_backends(vec![Box::new(socket)], &options(spec))?;
    Ok(told(net, field, plan))
}

fn options(spec: &NetSpec) -> NetOptions {
    let limit = rate(spec.rate);
    NetOptions {
        mac: spec.mac,
        mtu: spec.mtu,
        queue_pairs: spec.queues,
        rate_rx: limit,
        rate_tx: limit,
    }
}

/// The device, whose loss is told.
fn told(net: Net, field: Field, plan: &Plan) -> Arc<dyn Device> {
    let host = plan.host.clone();
    net.on_lost(move |reason| host.report(&Notice::new(field, NoticeKind::LinkLost(reason))));
    Arc::new(net)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tap_that_is_not_there_is_made_only_where_that_is_asked_for() {
        let refused = |interface: &str, create| check(interface, create).err();
        assert!(matches!(
            refused("vmmkit-none", false),
            Some(Reason::NoInterface { interface }) if interface == "vmmkit-none"
        ));
        assert!(matches!(refused("tap%d", true), Some(Reason::Interface(_))));
        assert!(refused("vmmkit-none", true).is_none());
        assert!(refused("lo", false).is_none());
    }
}
