//! A host that has no resources for io_uring (EAGAIN of io_uring_enter(2)) while disks use it.

use std::process::Command;

use vmmkit_device_bus::Lifecycle;

use super::*;

const INNER: &str = "blk::tests::no_ring::under_strace";

#[test]
fn a_disk_whose_io_uring_the_host_refuses_goes_on_by_system_calls() {
    for error in ["EAGAIN", "EBUSY", "ENOMEM"] {
        let run = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null"])
            .args(["-e", "trace=io_uring_enter"])
            .args(["-e", &format!("inject=io_uring_enter:error={error}")])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", INNER, "--ignored", "--nocapture"])
            .output();
        let Ok(run) = run else {
            return eprintln!("SKIPPED: a refused io_uring: there is no strace");
        };
        let said = String::from_utf8_lossy(&run.stdout);
        let errors = String::from_utf8_lossy(&run.stderr);
        if errors.contains("ptrace") && !run.status.success() {
            return eprintln!("SKIPPED: a refused io_uring: strace may not trace here: {errors}");
        }
        assert!(run.status.success(), "{error}: {said}\n{errors}");
        assert!(said.contains("1 passed"), "{error}: {said}\n{errors}");
    }
}

#[test]
#[ignore = "its system calls must fail; the test above runs it"]
fn under_strace() {
    let Some((block, path)) = BackEnd::BlocksUring.block(1) else {
        return;
    };
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = told.clone();
    block.on_error(move |text| log.lock().push(text.to_owned()));
    let mut driver = Driver::start(block.clone()).unwrap();
    // Those that io_uring was given fail, after some time, and one that needs no io_uring does not.
    for sector in [0, 8, 16] {
        let head = header(request::OUT, sector);
        driver.add(0, &[&head, &[9; 4096]], &[1]).unwrap();
    }
    driver.kick(0);
    for _ in 0..3 {
        assert_eq!(driver.wait(0).unwrap().1, [1]);
    }
    assert_eq!(block.stats().host_errors, 3);
    let told = told.lock().clone();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("failed: io_uring: "), "{told:?}");
    assert!(told[0].ends_with("system calls are used from now on"));
    let bytes = pattern(64 << 10, 4);
    assert_eq!(write(&mut driver, 8, &bytes), 0);
    assert_eq!(write(&mut driver, 9, &bytes[..512]), 0);
    assert_eq!(flush(&mut driver), 0);
    driver.transport().pause();
    driver.transport().wait_paused();
    driver.transport().resume();
    assert!(read(&mut driver, 9, 512) == (bytes[..512].to_vec(), 0));
    assert_eq!(block.stats().host_errors, 3);
    let file = std::fs::read(path.unwrap().get()).unwrap();
    assert!(file[4608..5120] == bytes[..512] && file[5120..][..4096] == bytes[1024..][..4096]);
}
