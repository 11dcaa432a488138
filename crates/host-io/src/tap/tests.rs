use std::error::Error;

use rustix::io::Errno;

use super::{Tap, TapError, TapOffloads};

/// Interfaces of their own where this process may make them; else says that the test is skipped.
fn open(name: &str, queues: u16) -> Option<Vec<Tap>> {
    let name = format!("{name}{}", std::process::id() % 100_000);
    match Tap::open(&name, queues) {
        Ok(taps) => Some(taps),
        Err(error) => {
            let reason = error.source().map(ToString::to_string);
            println!("SKIPPED: {error}: {}", reason.unwrap_or_default());
            None
        }
    }
}

#[test]
fn an_interface_is_made_and_brought_up() {
    let Some(taps) = open("vmka", 1) else { return };
    let [tap] = &taps[..] else { panic!() };
    assert_eq!(tap.mtu().unwrap(), 1500);
    assert!(tap.is_up().unwrap());
    let all = TapOffloads {
        checksum: true,
        tcp4: true,
        tcp6: true,
        ecn: true,
    };
    tap.set_offloads(all).unwrap();
    tap.set_offloads(TapOffloads::default()).unwrap();
    // Header, two addresses, type, and as much as an Ethernet frame needs.
    let packet = [0; 12 + 60];
    assert_eq!(rustix::io::write(tap, &packet), Ok(packet.len()));
    assert!(rustix::io::write(tap, &[0; 13]).is_err());
}

#[test]
fn the_largest_packet_is_what_was_set() {
    let Some(taps) = open("vmkm", 1) else { return };
    let [tap] = &taps[..] else { panic!() };
    for mtu in [9000, 68, 65521] {
        tap.set_mtu(mtu).unwrap();
        assert_eq!(tap.mtu().unwrap(), mtu);
    }
    let error = tap.set_mtu(67).unwrap_err();
    assert!(error.to_string().contains("set the MTU"), "{error}");
    assert_eq!(tap.mtu().unwrap(), 65521);
}

#[test]
fn a_second_process_cannot_have_it() {
    let Some(taps) = open("vmkb", 1) else { return };
    let error = Tap::open(taps[0].interface(), 1).unwrap_err();
    assert!(
        error.to_string().contains("another process has it"),
        "{error}"
    );
    assert!(error.to_string().contains(taps[0].interface()));
}

#[test]
fn queues_are_detached_and_attached() {
    let Some(taps) = open("vmkc", 3) else { return };
    assert_eq!(taps.len(), 3);
    assert_eq!(taps[0].interface(), taps[2].interface());
    taps[2].set_attached(false).unwrap();
    assert!(taps[2].set_attached(false).is_err());
    taps[2].set_attached(true).unwrap();
    assert!(taps[2].set_attached(true).is_err());
    let packet = [0; 12 + 60];
    assert_eq!(rustix::io::write(&taps[2], &packet), Ok(packet.len()));
}

#[test]
fn errors_say_what_to_do() {
    let error = Tap::open("a/b", 1).unwrap_err();
    assert!(error.to_string().contains("\"a/b\""), "{error}");
    let error = TapError::attach("tap0", 1, Errno::PERM);
    assert_eq!(
        error.to_string(),
        "tap interface tap0: cannot attach to it; make it for this user: \
         `sudo ip tuntap add dev tap0 mode tap user $USER`"
    );
    let error = TapError::attach("tap0", 4, Errno::PERM);
    assert!(error.to_string().contains("cannot attach 4 queues"));
    assert!(error.to_string().contains("mode tap multi_queue user"));
    let error = TapError::device("tap0", Errno::NOENT);
    assert!(error.to_string().contains("modprobe tun"));
    // A real one: the loopback interface is not a tap.
    if let Err(error) = Tap::open("lo", 1) {
        println!("{error}: {}", error.source().unwrap());
    }
}

#[test]
fn an_interface_is_there_or_not_and_a_pattern_is_none() {
    assert!(Tap::exists("lo").unwrap());
    assert!(!Tap::exists("vmmkit-none").unwrap());
    for name in ["tap%d", "%", "", "a/b", "0123456789abcdef"] {
        let error = Tap::exists(name).unwrap_err();
        assert!(matches!(error, TapError::Name { .. }), "{error}");
    }
}
