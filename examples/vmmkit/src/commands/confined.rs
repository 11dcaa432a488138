//! The parts of a running guest's process that are closed, as the host's kernel tells it of each thread.

use std::fs;
use std::path::Path;

use vmmkit_telemetry::Tree;

/// SECCOMP_MODE_FILTER (proc(5), Seccomp).
const HAS_FILTER: &str = "2";

/// How many threads are how confined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    threads: usize,
    with_filter: usize,
    without_capabilities: usize,
    without_new_privileges: usize,
}

/// The threads of the process `pid`; `None` where it is gone or there is no /proc.
pub(super) fn tree(pid: u32) -> Option<Tree> {
    let tasks = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task")).ok()?;
    let mut counts = Counts::default();
    for task in tasks.flatten() {
        // A thread may just have ended.
        if let Ok(status) = fs::read_to_string(task.path().join("status")) {
            counts.add(&status);
        }
    }
    (counts.threads > 0).then(|| counts.tree())
}

impl Counts {
    /// Counts a thread by its /proc/PID/task/TID/status.
    fn add(&mut self, status: &str) {
        let value = |name: &str| {
            let mut lines = status.lines().filter_map(|line| line.split_once(':'));
            lines
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.trim())
        };
        let has_none = |set: &str| value(set).is_some_and(|it| it.bytes().all(|bit| bit == b'0'));
        self.threads += 1;
        self.with_filter += usize::from(value("Seccomp") == Some(HAS_FILTER));
        self.without_capabilities += usize::from(has_none("CapPrm") && has_none("CapEff"));
        self.without_new_privileges += usize::from(value("NoNewPrivs") == Some("1"));
    }

    fn tree(self) -> Tree {
        let of = |count: usize, done: &str| match count {
            0 => format!("not {done}"),
            count if count == self.threads => format!("{done} in all {count} threads"),
            count => format!("{done} in {count} of {} threads", self.threads),
        };
        Tree::new()
            .text("system_calls", of(self.with_filter, "filtered"))
            .text("capabilities", of(self.without_capabilities, "gone"))
            .text(
                "new_privileges",
                of(self.without_new_privileges, "impossible"),
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_counted_by_what_they_have_closed() {
        let confined = "Name:\tvcpu0\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n";
        let open = "Name:\tapi\nCapPrm:\t000001ffffffffff\nCapEff:\t000001ffffffffff\nNoNewPrivs:\t1\nSeccomp:\t0\n";
        let mut counts = Counts::default();
        counts.add(open);
        let text = |counts: Counts| counts.tree().to_json();
        assert!(text(counts).contains(r#""system_calls": "not filtered""#));
        counts.add(confined);
        let json = text(counts);
        assert!(json.contains("filtered in 1 of 2 threads"), "{json}");
        assert!(json.contains("gone in 1 of 2 threads"), "{json}");
        assert!(json.contains("impossible in all 2 threads"), "{json}");
    }
}
