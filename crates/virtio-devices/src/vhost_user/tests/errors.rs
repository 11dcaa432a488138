//! Faults of a back end, and how they are reported.

use std::os::unix::net::UnixListener;
use std::path::Path;

use vmmkit_guest_memory::{Backing, GuestRam, RamConfig};
use vmmkit_telemetry::error_line;
use vmmkit_virtio::fake::{Driver, Options};
use vmmkit_virtio::spec::feature;

use super::super::requests;
use super::back_end::{ALL_FEATURES, Fake, Manner, Oddity};
use super::{VhostUser, VhostUserError, driven, echo, fs, reason, shared, spec};

fn odd(request: spec::Request, oddity: Oddity) -> Fake {
    Fake::new(Manner {
        oddity: Some((request.0, oddity)),
        ..Manner::default()
    })
}

fn connect_error(fake: &Fake) -> VhostUserError {
    VhostUser::fs(&fake.path, "srv").unwrap_err()
}

#[test]
fn nobody_at_the_socket_is_told_with_the_socket_and_the_reason() {
    let missing = Path::new("/nonexistent/fs.sock");
    let text = error_line(&VhostUser::fs(missing, "srv").unwrap_err());
    assert!(text.contains("/nonexistent/fs.sock"), "{text}");
    assert!(
        text.ends_with("No such file or directory (os error 2)"),
        "{text}"
    );
    for error in [VhostUser::blk(missing), VhostUser::net(missing, [2; 6])] {
        let error = error.unwrap_err();
        assert!(matches!(error, VhostUserError::Connect { .. }), "{error}");
    }

    let name = format!("vmmkit-vhost-refused-{}.sock", std::process::id());
    let path = std::env::temp_dir().join(name);
    drop(UnixListener::bind(&path).unwrap());
    let error = VhostUser::fs(&path, "srv").unwrap_err();
    std::fs::remove_file(path).unwrap();
    assert!(error_line(&error).contains("refused"), "{error}");
}

#[test]
fn private_ram_is_refused() {
    let fake = Fake::new(Manner::default());
    let text = reason(Driver::start_with(fs(&fake), &Options::default()));
    assert!(
        text.contains("guest RAM is private to this process"),
        "{text}"
    );
    for (backing, is_shared) in [(Backing::Anonymous, false), (Backing::Memfd, true)] {
        let ram = GuestRam::new(&RamConfig {
            backing,
            ..RamConfig::default()
        });
        assert_eq!(VhostUser::check_ram(&ram.unwrap()).is_ok(), is_shared);
    }
}

#[test]
fn a_back_end_that_lacks_something_is_named_with_it() {
    let fake = Fake::new(Manner {
        features: ALL_FEATURES & !feature::VERSION_1,
        ..Manner::default()
    });
    let text = connect_error(&fake).to_string();
    assert!(text.contains("lacks VIRTIO_F_VERSION_1"), "{text}");
    assert!(text.contains(fake.path.to_str().unwrap()), "{text}");

    let fake = Fake::new(Manner {
        protocol: 0,
        ..Manner::default()
    });
    let text = VhostUser::blk(&fake.path).unwrap_err().to_string();
    assert!(
        text.contains("lacks VHOST_USER_PROTOCOL_F_CONFIG"),
        "{text}"
    );

    let fake = Fake::new(Manner {
        queues: 1,
        ..Manner::default()
    });
    let text = connect_error(&fake).to_string();
    assert!(
        text.contains("serves 1 queues, and the device has 2"),
        "{text}"
    );
}

#[test]
fn a_tag_has_1_to_36_bytes() {
    let fake = Fake::new(Manner::default());
    for (tag, fits) in [
        ("", false),
        (&*"x".repeat(37), false),
        (&*"x".repeat(36), true),
    ] {
        assert_eq!(VhostUser::fs(&fake.path, tag).is_ok(), fits, "{tag:?}");
    }
}

#[test]
fn answers_against_the_protocol_are_errors_that_say_which() {
    for (request, oddity, text) in [
        (spec::GET_FEATURES, Oddity::End, "failed at GET_FEATURES"),
        (
            spec::GET_FEATURES,
            Oddity::Other,
            "GET_FEATURES is answered by message 99",
        ),
        (
            spec::GET_QUEUE_NUM,
            Oddity::Long,
            "GET_QUEUE_NUM is answered by 4096 bytes",
        ),
        (
            spec::SET_BACKEND_REQ_FD,
            Oddity::Refuse,
            "refuses SET_BACKEND_REQ_FD",
        ),
    ] {
        let fake = odd(request, oddity);
        let found = connect_error(&fake).to_string();
        assert!(found.contains(text), "{found}");
    }
    let fake = odd(spec::GET_CONFIG, Oddity::Refuse);
    let found = VhostUser::blk(&fake.path).unwrap_err().to_string();
    assert!(found.contains("refuses GET_CONFIG"), "{found}");
}

#[test]
fn a_back_end_that_fails_while_it_is_set_up_needs_a_reset() {
    for (request, oddity, text) in [
        (spec::SET_MEM_TABLE, Oddity::Refuse, "refuses SET_MEM_TABLE"),
        (
            spec::SET_VRING_KICK,
            Oddity::Refuse,
            "refuses SET_VRING_KICK",
        ),
        (
            spec::SET_VRING_ADDR,
            Oddity::End,
            "failed at SET_VRING_ADDR",
        ),
        (
            spec::SET_FEATURES,
            Oddity::Other,
            "SET_FEATURES is answered by message 99",
        ),
    ] {
        let fake = odd(request, oddity);
        let found = reason(Driver::start_with(fs(&fake), &shared()));
        assert!(found.contains(text), "{found}");
    }
}

#[test]
fn a_ring_that_the_back_end_cannot_go_on_with_is_named() {
    let (_fake, mut driver) = driven(Manner::default());
    let layout = driver.layout(1);
    driver.poke(layout.available + 2, &1000_u16.to_le_bytes());
    driver.write(vmmkit_virtio::spec::mmio::QUEUE_NOTIFY, 1);
    let error = driver.wait(1).unwrap_err().to_string();
    assert!(error.contains("cannot go on with queue 1"), "{error}");
    driver.initialise(&shared()).unwrap();
    echo(&mut driver, "after");
}

proptest::proptest! {
    #[test]
    fn any_bytes_of_a_back_end_are_a_request_or_an_error(
        request in 0..4_u32,
        flags in 0..32_u32,
        size in 0..300_u32,
        payload in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
    ) {
        let (near, far) = vmmkit_host_io::FdSocket::pair().unwrap();
        let header = [request, flags, size].map(u32::to_ne_bytes).concat();
        let long = vmmkit_host_io::Deadline::after(std::time::Duration::from_secs(60));
        far.send(&[header, payload.clone()].concat(), &[], &long).unwrap();
        drop(far);
        let is_whole = size <= 256 && payload.len() >= size as usize;
        let answer = requests::answer(&near);
        // A wanted reply finds nobody.
        let is_answered = flags & spec::NEED_REPLY == 0;
        proptest::prop_assert_eq!(answer.is_ok(), is_whole && is_answered);
        if let Ok(outcome) = answer {
            let is_change = request == spec::BACKEND_CONFIG_CHANGE_MSG;
            proptest::prop_assert_eq!(outcome == requests::Outcome::ConfigChanged, is_change);
        }
    }
}
