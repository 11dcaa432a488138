//! `--net`.

use std::path::Path;
use std::sync::Arc;

use vmmkit_host_io::{Tap, TapError};
use vmmkit_machine_spec::{NetAttachmentSpec, NetSpec};
use vmmkit_virtio_devices::{Net, NetAttachment, NetConfig, NetError, NetOptions, VhostUser};

use super::{Plan, failed, rate};
use crate::failure::Failure;
use crate::messages;

/// Advice for an attachment that cannot be.
const NEXT: &str = "a tap needs a privilege or an owner: ip tuntap add dev tap0 mode tap user $USER; \
     passt=SOCKET needs none: passt --socket SOCKET";

/// Advice for a name that no interface has.
const NAME: &str = "give the name of a tap interface, such as tap=tap0: `ip tuntap` lists them";

pub(super) fn plug(spec: &NetSpec, text: &str, plan: Plan) -> Result<Plan, Failure> {
    match &spec.attachment {
        NetAttachmentSpec::Passt(path) => {
            let path = path.clone();
            attach(spec, NetAttachment::Stream { path }, text, plan)
        }
        NetAttachmentSpec::Tap { interface, create } => {
            check(interface, *create, text)?;
            let interface = interface.clone();
            attach(spec, NetAttachment::Tap { interface }, text, plan)
        }
        NetAttachmentSpec::VhostUser(socket) => back_end(spec, socket, text, plan),
    }
}

fn back_end(spec: &NetSpec, socket: &Path, text: &str, plan: Plan) -> Result<Plan, Failure> {
    // Chosen like any other, but not at random: a back end has one guest.
    let mac = spec.mac.unwrap_or([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    let next = format!(
        "start the back end first, such as `passt --vhost-user --socket {}`",
        socket.display()
    );
    let net = VhostUser::net(socket, mac).map_err(|error| failed("--net", text, &error, &next))?;
    Ok(plan.with(Arc::new(net)))
}

/// That the tap interface is there, or may be made.
fn check(interface: &str, may_be_made: bool, text: &str) -> Result<(), Failure> {
    let found = Tap::exists(interface).map_err(|error| failed("--net", text, &error, NAME))?;
    if found || may_be_made {
        return Ok(());
    }
    Err(Failure::because(
        format!("--net {text}: there is no interface {interface}"),
        Vec::new(),
        format!(
            "give the name of one that is there, make it (ip tuntap add dev {interface} mode tap user \
             $USER), or add create"
        ),
    ))
}

fn attach(
    spec: &NetSpec,
    attachment: NetAttachment,
    text: &str,
    plan: Plan,
) -> Result<Plan, Failure> {
    let limit = rate(spec.rate);
    let options = NetOptions {
        mac: spec.mac,
        mtu: spec.mtu,
        queue_pairs: spec.queues,
        rate_rx: limit,
        rate_tx: limit,
    };
    let config = NetConfig {
        attachment,
        options,
    };
    let net = Net::new(&config).map_err(|error| {
        let next = match error {
            NetError::Mac(_) => "give one whose first byte is even, such as 52:54:00:12:34:56",
            NetError::Mtu(_) => "give a larger one, such as 1500",
            NetError::Tap(TapError::Name { .. }) => NAME,
            NetError::Tap(TapError::Attach { ref source, .. })
                if source.kind() == std::io::ErrorKind::InvalidInput =>
            {
                "`ip tuntap` lists those that are there; make one of another name: ip tuntap add dev tap0 \
                 mode tap user $USER"
            }
            _ => NEXT,
        };
        failed("--net", text, &error, next)
    })?;
    if let (Some(host), Some(guest)) = (net.host_mtu(), spec.mtu)
        && host != guest
    {
        messages::say(&format!(
            "--net {text}: the guest is told an MTU of {guest}, and the interface has {host}\n  next: sudo \
             ip link set dev NAME mtu {guest}"
        ));
    }
    let text = text.to_owned();
    net.on_lost(move |reason| {
        messages::say(&format!(
            "--net {text}: {reason}; the guest's link is down for good\n  next: start the machine again, \
             once the other end is there"
        ));
    });
    Ok(plan.with(Arc::new(net)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tap_that_is_not_there_is_made_only_where_that_is_asked_for() {
        let refused = |interface: &str, create| {
            let text = format!("tap={interface}");
            check(interface, create, &text)
                .err()
                .map(|error| error.text())
        };
        let error = refused("vmmkit-none", false).unwrap();
        assert!(
            error.contains("there is no interface vmmkit-none"),
            "{error}"
        );
        assert!(error.contains("or add create"), "{error}");
        let error = refused("tap%d", true).unwrap();
        assert!(error.contains("percent"), "{error}");
        assert_eq!(refused("vmmkit-none", true), None);
        assert_eq!(refused("lo", false), None);
    }
}
