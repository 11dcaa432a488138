use std::time::{Duration, Instant};

use super::*;

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn boot() -> Timeline {
    let line = |ms, text: &str| ConsoleLine {
        at: at(ms),
        text: text.to_owned(),
    };
    let marks = [
        ("exec", 0),
        ("main", 1),
        ("build_began", 2),
        ("loaded", 20),
        ("vm_created", 40),
        ("built", 45),
        ("entry", 46),
        ("first_output", 60),
        ("init", 150),
        ("end", 180),
    ];
    let mut exits = Bins::default();
    exits.sample(at(50), "serial", 10);
    exits.sample(at(150), "serial", 5000);
    Timeline {
        title: "lean <kernel> & \"initramfs\"".to_owned(),
        facts: vec!["ended: <panic>".to_owned()],
        marks: marks
            .iter()
            .map(|(name, ms)| Mark { name, at: at(*ms) })
            .collect(),
        lines: vec![
            line(60, "[    0.000000] Linux version 6.12 <root@host>"),
            line(150, "[    0.090000] Run /init as init process"),
        ],
        lost_lines: 0,
        exits,
    }
}

#[test]
fn the_start_of_init_is_read_from_the_kernels_log() {
    assert_eq!(init(&boot().lines), Some(at(150)));
    assert_eq!(message("[ab] x"), "[ab] x");
    assert_eq!(message("[    1.5] x"), "x");
}

#[test]
fn a_log_becomes_marks_in_the_order_of_time() {
    let log = BootLog::since(Instant::now()).with_lines();
    log.mark(Milestone::Entry);
    log.mark(Milestone::End);
    let timeline = Timeline::of("t", &log, Duration::ZERO, Bins::default());
    let names: Vec<_> = timeline.marks.iter().map(|mark| mark.name).collect();
    assert_eq!(names, ["exec", "main", "entry", "end"]);
}

#[test]
fn json_holds_what_the_picture_shows() {
    let json: serde_json::Value = serde_json::from_str(&boot().to_json()).unwrap();
    assert_eq!(json["marks_us"]["init"], 150_000);
    assert_eq!(json["lines"][1]["at_us"], 150_000);
    assert_eq!(json["exits"]["devices"]["serial"][50], 10);
    assert_eq!(json["exits"]["interval_us"], 1000);
}

#[test]
fn the_picture_shows_phases_devices_and_lines_and_escapes_them() {
    let svg = boot().to_svg();
    for part in [
        "lean &lt;kernel&gt; &amp; &quot;initramfs&quot;",
        "user space 30.0 ms",
        ">serial</text>",
        ">5000</text>",
        "Linux version 6.12 &lt;root@host&gt;",
        "+90.0 ms",
    ] {
        assert!(svg.contains(part), "{part} is not in {svg}");
    }
    assert!(!svg.contains("<root"));
}

#[test]
fn a_boot_that_came_to_nothing_has_a_picture_too() {
    let svg = Timeline::default().to_svg();
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
}

#[test]
fn a_picture_says_what_was_booted_and_how_it_ended() {
    let boot = boot();
    assert_eq!(
        boot.kernel_version(),
        Some("Linux version 6.12 <root@host>")
    );
    let picture = boot.to_svg();
    for text in [
        "ended: &lt;panic&gt;",
        "5000 exits to devices, 2 lines",
        "in red, how long nothing came",
    ] {
        assert!(picture.contains(text), "{picture}");
    }
    let one = Timeline {
        lines: boot.lines[..1].to_vec(),
        ..boot
    };
    assert!(one.to_svg().contains(", 1 line<"), "{}", one.to_svg());
}
