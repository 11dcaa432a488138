//! Any bytes as a guest's console: what is kept of it is bounded, and nothing of it becomes markup in
//! the picture or breaks the JSON.

use std::time::{Duration, Instant};

use vmmkit_telemetry::{Bins, BootLog, Timeline, Tree};

/// Takes one input.
pub fn run(data: &[u8]) {
    let log = BootLog::since(Instant::now()).with_lines();
    for byte in data {
        log.output(*byte);
    }
    let (lines, _) = log.lines();
    assert!(lines.len() <= 4096);
    assert!(lines.iter().all(|line| line.text.chars().count() <= 240));
    let mut exits = Bins::default();
    for (index, byte) in (0..).zip(data) {
        let at = Duration::from_micros(u64::from(*byte) << (index % 24));
        exits.sample(at, ["serial", "cmos"][index % 2], index as u64);
    }
    let title = String::from_utf8_lossy(data);
    let timeline = Timeline::of(title.clone(), &log, Duration::ZERO, exits);
    let json: serde_json::Value = serde_json::from_str(&timeline.to_json()).unwrap();
    assert_eq!(json["lines"].as_array().unwrap().len(), lines.len());
    // Elements are ours alone, and each one that has text is closed.
    let svg = timeline.to_svg();
    assert_eq!(
        svg.matches("<text ").count(),
        svg.matches("</text>").count()
    );
    assert!(svg.chars().all(|c| c == '\n' || !c.is_control()));
    let tree = Tree::new().text("fault", title).to_string();
    assert!(tree.trim_end_matches('\n').chars().all(|c| !c.is_control()));
}
