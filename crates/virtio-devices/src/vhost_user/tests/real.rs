//! Back ends as people have them: virtiofsd and qemu-storage-daemon. Skipped where they are not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vmmkit_device_bus::Lifecycle;
use vmmkit_virtio::Device;
use vmmkit_virtio::fake::Driver;

use super::super::{VhostUser, VhostUserError};
use super::shared;

/// A folder, and a process that serves a socket in it; both end with it.
struct Daemon {
    folder: PathBuf,
    process: Option<Child>,
}

impl Daemon {
    fn new(name: &str) -> Self {
        let folder = format!("vmmkit-vhost-user-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        fs::create_dir_all(folder.join("shared")).unwrap();
        fs::write(folder.join("shared/hello"), b"Hello from the host\n").unwrap();
        Self {
            folder,
            process: None,
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    /// Starts `program`; the device, when it listens. `None`, and said, where it does not start.
    fn start(
        &mut self,
        program: &Path,
        arguments: &[String],
        connect: impl Fn(&Path) -> Result<VhostUser, VhostUserError>,
    ) -> Option<Arc<VhostUser>> {
        self.process = Some(self.spawn(program, arguments).ok()?);
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match connect(&self.socket()) {
                Ok(device) => return Some(Arc::new(device)),
                Err(VhostUserError::Connect { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(self.folder.join("log")).unwrap();
                eprintln!("SKIPPED: {} does not start: {log}", program.display());
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Daemon {
    fn spawn(&self, program: &Path, arguments: &[String]) -> std::io::Result<Child> {
        Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.folder.join("log")).unwrap())
            .spawn()
    }

    /// Kills it, and starts another one in its place.
    fn restart(&mut self, program: &Path, arguments: &[String]) {
        let process = self.process.as_mut().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        // What a process that was killed leaves may be in the way of the next one for a while: a child
        // that follows it, a lock.
        let deadline = Instant::now() + Duration::from_secs(30);
        let _ = fs::remove_file(self.socket());
        self.process = Some(self.spawn(program, arguments).unwrap());
        while !self.socket().exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
            if let Ok(Some(_)) = self.process.as_mut().unwrap().try_wait() {
                self.process = Some(self.spawn(program, arguments).unwrap());
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The program at one of `places`, or the one that the variable `variable` names.
fn find(variable: &str, places: &[&str]) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from);
    let mut places_here = places.iter().map(PathBuf::from);
    let found = named.or_else(|| places_here.find(|path| path.exists()));
    if found.is_none() {
        eprintln!("SKIPPED: none of {places:?} is here, and {variable} names none");
    }
    found
}

/// A FUSE request: header (`struct fuse_in_header` of linux/fuse.h) and arguments.
fn fuse(opcode: u32, unique: u64, node: u64, arguments: &[u8]) -> Vec<u8> {
    let length = 40 + arguments.len() as u32;
    let mut bytes = [length, opcode].map(u32::to_le_bytes).concat();
    bytes.extend([unique, node].map(u64::to_le_bytes).concat());
    // As user and group 0, of process 0.
    bytes.extend([0; 16]);
    bytes.extend(arguments);
    bytes
}

/// FUSE_INIT of version 7.31; the version of the answer.
fn fuse_init(driver: &mut Driver) -> [u32; 2] {
    let arguments = [7_u32, 31, 1 << 17, 0].map(u32::to_le_bytes).concat();
    let request = fuse(26, 1, 0, &arguments);
    let answer = driver
        .request(1, &[&request[..40], &request[40..]], &[16, 64])
        .unwrap();
    assert_eq!(word(&answer, 4), 0, "the error of FUSE_INIT");
    assert_eq!(word(&answer, 8), 1, "its number");
    [word(&answer, 16), word(&answer, 20)]
}

/// FUSE_LOOKUP in the root; the node and the size of the file.
fn fuse_lookup(driver: &mut Driver, name: &[u8]) -> (u32, u32) {
    let request = fuse(1, 2, 1, name);
    let answer = driver
        .request(1, &[&request[..40], &request[40..]], &[16, 128])
        .unwrap();
    assert_eq!(word(&answer, 4) as i32, 0, "the error of FUSE_LOOKUP");
    (word(&answer, 16), word(&answer, 16 + 40 + 8))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

#[test]
fn virtiofsd_answers_fuse_requests_before_and_after_a_pause_and_a_reset() {
    let places = [
        "/usr/libexec/virtiofsd",
        "/usr/lib/qemu/virtiofsd",
        "/usr/bin/virtiofsd",
    ];
    let Some(program) = find("VMMKIT_TEST_VIRTIOFSD", &places) else {
        return;
    };
    let mut daemon = Daemon::new("fs");
    let socket = format!("--socket-path={}", daemon.socket().display());
    let folder = daemon.folder.join("shared");
    let arguments = if program.starts_with("/usr/lib/qemu") {
        let source = format!("source={}", folder.display());
        vec![socket, "-f".into(), "-o".into(), source]
    } else {
        vec![socket, format!("--shared-dir={}", folder.display())]
    };
    let connect = |socket: &Path| VhostUser::fs(socket, "shared");
    let Some(device) = daemon.start(&program, &arguments, connect) else {
        return;
    };
    let mut driver = Driver::start_with(device, &shared()).unwrap();
    assert_eq!(fuse_init(&mut driver)[0], 7);
    let found = fuse_lookup(&mut driver, b"hello\0");
    assert_eq!(found.1, 20);
    for _ in 0..3 {
        driver.transport().pause();
        driver.transport().wait_paused();
        driver.transport().resume();
        assert_eq!(fuse_lookup(&mut driver, b"hello\0"), found);
    }
    driver.initialise(&shared()).unwrap();
    assert_eq!(fuse_init(&mut driver)[0], 7);
    assert_eq!(fuse_lookup(&mut driver, b"hello\0").1, 20);
    daemon.restart(&program, &arguments);
    // The next one knows nothing of the session before, and is asked by a driver that does not know
    // of it.
    assert_eq!(fuse_init(&mut driver)[0], 7);
    assert_eq!(fuse_lookup(&mut driver, b"hello\0").1, 20);
}

#[test]
fn qemu_storage_daemon_serves_a_disk() {
    let Some(program) = find(
        "VMMKIT_TEST_STORAGE_DAEMON",
        &["/usr/bin/qemu-storage-daemon"],
    ) else {
        return;
    };
    let mut daemon = Daemon::new("blk");
    let (image, socket) = (daemon.folder.join("disk.raw"), daemon.socket());
    fs::write(&image, vec![b'h'; 1 << 20]).unwrap();
    let arguments = [
        "--blockdev",
        &format!("driver=file,node-name=disk,filename={}", image.display()),
        "--export",
        &format!(
            "type=vhost-user-blk,id=disk,node-name=disk,writable=on,num-queues=2,addr.type=unix,addr.path={}",
            socket.display()
        ),
    ]
    .map(String::from);
    let Some(device) = daemon.start(&program, &arguments, VhostUser::blk) else {
        return;
    };
    assert_eq!(device.queue_sizes().len(), 2);
    let mut driver = Driver::start_with(device, &shared()).unwrap();
    assert_eq!(u64::from_le_bytes(driver.config(0)), 2048, "sectors");
    let request = |kind: u64, sector: u64| [kind, sector].map(u64::to_le_bytes).concat();
    for round in 0..3 {
        let queue = round % 2;
        let write = driver.request(queue, &[&request(1, 3), &[b'g'; 512]], &[1]);
        assert_eq!(write.unwrap(), [0], "VIRTIO_BLK_S_OK");
        let read = driver.request(queue, &[&request(0, 2)], &[1024, 1]);
        let read = read.unwrap();
        assert_eq!((read[511], read[512], read[1024]), (b'h', b'g', 0));
        let flush = driver.request(queue, &[&request(4, 0)], &[1]);
        assert_eq!(flush.unwrap(), [0]);
        driver.transport().pause();
        driver.transport().wait_paused();
        driver.transport().resume();
        if round == 1 {
            driver.initialise(&shared()).unwrap();
        }
    }
    assert_eq!(fs::read(&image).unwrap()[3 * 512..4 * 512], [b'g'; 512]);
    for queue in 0..2 {
        daemon.restart(&program, &arguments);
        let write = driver.request(queue, &[&request(1, 4), &[b'k'; 512]], &[1]);
        assert_eq!(write.unwrap(), [0]);
        let read = driver.request(1 - queue, &[&request(0, 4)], &[512, 1]);
        assert_eq!(read.unwrap()[..512], [b'k'; 512]);
    }
}
