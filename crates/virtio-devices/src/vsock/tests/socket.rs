use std::os::unix::fs::PermissionsExt;

use vmmkit_virtio::Device;

use super::super::VsockError;
use super::*;

fn open(directory: &Directory, cid: u64) -> Result<Vsock, VsockError> {
    Vsock::new(VsockConfig {
        cid,
        socket: directory.socket(),
    })
}

#[test]
fn the_socket_is_the_users_alone_and_goes_with_the_device() {
    let directory = Directory::new();
    let vsock = directory.vsock();
    let mode = fs::metadata(directory.socket())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(vsock);
    assert!(!directory.socket().exists());
}

#[test]
fn the_file_is_gone_when_the_machine_has_ended_though_the_device_has_not() {
    let directory = Directory::new();
    let vsock = directory.vsock();
    vsock.close();
    assert!(!directory.socket().exists());
    // Another's is not this device's, when it is dropped.
    let _other = UnixListener::bind(directory.socket()).unwrap();
    drop(vsock);
    assert!(directory.socket().exists());
}

#[test]
fn a_socket_on_which_nobody_listens_is_replaced() {
    let directory = Directory::new();
    drop(UnixListener::bind(directory.socket()).unwrap());
    assert!(directory.socket().exists());
    let vsock = open(&directory, 3).unwrap();
    UnixStream::connect(directory.socket()).unwrap();
    drop(vsock);
}

#[test]
fn a_socket_in_use_is_an_error_that_names_it() {
    let directory = Directory::new();
    let first = directory.vsock();
    let error = open(&directory, 4).unwrap_err();
    assert!(matches!(error, VsockError::InUse(_)), "{error}");
    assert!(error.to_string().contains("v.sock is in use"), "{error}");
    // And it still works.
    UnixStream::connect(directory.socket()).unwrap();
    drop(first);
}

#[test]
fn a_file_is_not_touched() {
    let directory = Directory::new();
    fs::write(directory.socket(), "precious").unwrap();
    let error = open(&directory, 3).unwrap_err();
    assert!(matches!(error, VsockError::NotASocket(_)), "{error}");
    assert_eq!(fs::read(directory.socket()).unwrap(), b"precious");
}

#[test]
fn a_file_of_somebody_else_stays_when_the_device_goes() {
    let directory = Directory::new();
    let vsock = directory.vsock();
    fs::remove_file(directory.socket()).unwrap();
    fs::write(directory.socket(), "another").unwrap();
    drop(vsock);
    assert!(directory.socket().exists());
}

#[test]
fn what_cannot_be_is_told_with_its_reason() {
    let directory = Directory::new();
    for cid in [0, 1, 2, u64::from(u32::MAX), 1 << 32, u64::MAX] {
        let error = open(&directory, cid).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with(&format!("cid {cid} is reserved"))
        );
    }
    assert_eq!(
        open(&directory, u64::from(u32::MAX) - 1).unwrap().cid(),
        0xffff_fffe
    );
    let socket = PathBuf::from(format!("/tmp/{}", "x".repeat(100)));
    let error = Vsock::new(VsockConfig { cid: 3, socket }).unwrap_err();
    assert!(matches!(error, VsockError::PathTooLong(_)), "{error}");
    let socket = directory.0.join("none/v.sock");
    let error = Vsock::new(VsockConfig { cid: 3, socket }).unwrap_err();
    assert!(matches!(error, VsockError::Socket { .. }), "{error}");
}
