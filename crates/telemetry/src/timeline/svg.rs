//! The picture of a boot.

use std::fmt::Write;
use std::time::Duration;

use super::xml::escaped;
use super::{Timeline, message};
use crate::ConsoleLine;

/// The picture's width, and where the time axis begins and ends.
const WIDTH: f64 = 1240.0;
const LEFT: f64 = 130.0;
const RIGHT: f64 = 1160.0;
const LANE: f64 = 22.0;
const ROW: f64 = 34.0;
const LINE: f64 = 14.0;
/// The maximum of devices and lines that are drawn.
const DEVICES: usize = 10;
const LINES: usize = 400;
/// The longest fact that is drawn whole, in characters.
const FACT: usize = 180;
/// A wait before a line that is at least this part of the boot is pointed out.
const LONG: f64 = 0.04;

const STYLE: &str = "text{font:12px system-ui,'DejaVu Sans',sans-serif;fill:#22303c}\
.h{font-size:17px;font-weight:600}.s{fill:#6b7a88}.m{font:11px ui-monospace,'DejaVu Sans Mono',monospace}\
.w{fill:#fff;font-weight:600}.e{text-anchor:end}.c{text-anchor:middle}.l{fill:#b4412f;font-weight:600}\
.g{stroke:#e3e8ed}.k{stroke:#b4412f;stroke-dasharray:3 3}";

/// The document as it grows.
struct Picture<'a> {
    timeline: &'a Timeline,
    total: Duration,
    body: String,
    y: f64,
}

impl Timeline {
    /// As an SVG picture: phases, exits by device, and every line of the console at its time.
    pub fn to_svg(&self) -> String {
        let mut picture = Picture {
            timeline: self,
            total: self.end().max(Duration::from_micros(1)),
            body: String::new(),
            y: 0.0,
        };
        picture.heading();
        let top = picture.y;
        picture.axis();
        picture.lanes();
        picture.exits();
        picture.lines();
        let height = picture.y + 20.0;
        let grid = picture.grid(top, height - 16.0);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {WIDTH} {height:.0}\">\n<style>{STYLE}</style>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{grid}{}</svg>\n",
            picture.body
        )
    }
}

impl Picture<'_> {
    fn heading(&mut self) {
        let title = self.timeline.title.clone();
        self.text(16.0, 28.0, "h", &title);
        let exits: u64 = self.timeline.exits.series().iter().map(|s| sum(s.1)).sum();
        let lines = self.timeline.lines.len() as u64 + self.timeline.lost_lines;
        let total = time(self.total);
        let exits = counted(exits, "exit");
        let lines = counted(lines, "line");
        let facts = format!("{total} from exec to end, {exits} to devices, {lines}");
        self.text(16.0, 46.0, "s", &facts);
        self.y = 46.0;
        for fact in &self.timeline.facts {
            self.y += 16.0;
            self.text(16.0, self.y, "s", &shortened(fact, FACT));
        }
        self.y += 16.0;
    }

    /// Times along the top.
    fn axis(&mut self) {
        for (at, label) in ticks(self.total) {
            self.text(self.x(at), self.y + 10.0, "s c", &label);
        }
        self.y += 28.0;
    }

    /// The lines that go down from the times, and from the start of init.
    fn grid(&self, top: f64, bottom: f64) -> String {
        let mut grid = String::new();
        let mut line = |x: f64, class: &str| {
            let _ = writeln!(
                grid,
                "<path class=\"{class}\" d=\"M{x:.1} {:.1}V{bottom:.1}\"/>",
                top + 14.0
            );
        };
        for (at, _) in ticks(self.total) {
            line(self.x(at), "g");
        }
        if let Some(at) = self.timeline.at("init") {
            let x = self.x(at);
            line(x, "k");
            let label = "<text class=\"m l c\"";
            let _ = writeln!(
                grid,
                "{label} x=\"{x:.1}\" y=\"{:.1}\">init</text>",
                top + 24.0
            );
        }
        grid
    }

    fn lanes(&mut self) {
        for (name, phases) in self.timeline.lanes() {
            self.text(LEFT - 10.0, self.y + 15.0, "e", name);
            for phase in phases {
                let (start, end) = (self.x(phase.start), self.x(phase.end));
                let width = (end - start).max(1.0);
                let took = time(phase.end - phase.start);
                let (y, height, colour) = (self.y + 1.0, LANE - 3.0, phase.colour);
                let _ = writeln!(
                    self.body,
                    "<rect x=\"{start:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height}\" \
                     rx=\"2\" fill=\"{colour}\"><title>{}: {took}</title></rect>",
                    phase.name
                );
                let label = format!("{} {took}", phase.name);
                // Some seven pixels a letter.
                if label.len() as f64 * 7.2 < width {
                    self.text(start + 5.0, self.y + 15.0, "w", &label);
                }
            }
            self.y += LANE;
        }
        let phases = self.timeline.lanes().into_iter().flat_map(|lane| lane.1);
        let phases =
            phases.map(|phase| format!("{} {}", phase.name, time(phase.end - phase.start)));
        let phases: Vec<_> = phases.collect();
        self.text(LEFT, self.y + 12.0, "s", &phases.join("  ·  "));
        self.y += 26.0;
    }

    /// A row of bars for each device.
    fn exits(&mut self) {
        let series = self.timeline.exits.series();
        let left_out: u64 = series.iter().skip(DEVICES).map(|s| sum(s.1)).sum();
        let interval = self.timeline.exits.interval();
        for (name, bins) in series.iter().take(DEVICES) {
            let bottom = self.y + ROW - 6.0;
            self.text(LEFT - 10.0, bottom - 3.0, "e", name);
            let count = sum(bins).to_string();
            self.text(RIGHT + 8.0, bottom - 3.0, "s", &count);
            let most = bins.iter().copied().max().unwrap_or(1).max(1) as f64;
            let mut bars = String::new();
            for (index, count) in (0_u32..).zip(*bins).filter(|(_, count)| **count > 0) {
                let start = interval.saturating_mul(index);
                let x = self.x(start);
                let width = (self.x(start + interval) - x).max(0.8);
                // The square root, so that a few exits beside many can be seen.
                let height = (*count as f64 / most).sqrt() * (ROW - 10.0);
                let _ = write!(
                    bars,
                    "M{x:.1} {bottom:.1}v-{height:.1}h{width:.1}v{height:.1}z"
                );
            }
            let _ = writeln!(
                self.body,
                "<path d=\"{bars}\" fill=\"#4c78a8\"/>\
                 <path class=\"g\" d=\"M{LEFT} {bottom:.1}H{RIGHT}\"/>"
            );
            self.y += ROW;
        }
        if !series.is_empty() {
            let unit = format!(
                "exits by device, each bar {}; heights are square roots{}",
                time(interval),
                match left_out {
                    0 => String::new(),
                    more => format!("; {more} more to others"),
                }
            );
            self.text(LEFT, self.y + 8.0, "s", &unit);
            self.y += 26.0;
        }
    }

    /// The console's lines, each beside a dot at its time.
    fn lines(&mut self) {
        let lines = &self.timeline.lines;
        if !lines.is_empty() {
            let legend =
                "lines of the console, each with its time; in red, how long nothing came before it";
            self.text(LEFT, self.y + 8.0, "s", legend);
            self.y += 16.0;
        }
        let mut before = None::<Duration>;
        for line in lines.iter().take(LINES) {
            let gap = line.at.saturating_sub(before.unwrap_or(line.at));
            before = Some(line.at);
            self.line(line, gap);
        }
        let left_out = lines.len().saturating_sub(LINES) as u64 + self.timeline.lost_lines;
        if left_out > 0 {
            let text = format!("and {} more", counted(left_out, "line"));
            self.text(LEFT, self.y + LINE, "s", &text);
            self.y += LINE;
        }
    }

    fn line(&mut self, line: &ConsoleLine, gap: Duration) {
        let (x, y) = (self.x(line.at), self.y + 10.0);
        let is_long = gap.as_secs_f64() >= LONG * self.total.as_secs_f64();
        let label = match is_long {
            true => format!("+{}", time(gap)),
            false => time(line.at),
        };
        self.text(
            LEFT - 10.0,
            y,
            if is_long { "m e l" } else { "m e s" },
            &label,
        );
        let colour = if is_long { "#b4412f" } else { "#4c78a8" };
        let _ = writeln!(
            self.body,
            "<circle cx=\"{x:.1}\" cy=\"{:.1}\" r=\"2.2\" fill=\"{colour}\"/>",
            y - 4.0
        );
        // Text goes where there is more room; eleven pixels of monospace are 6.7 wide.
        let is_left = x > (LEFT + WIDTH) / 2.0;
        let room = if is_left { x - LEFT } else { WIDTH - x } - 14.0;
        let shown = shortened(message(&line.text), (room / 6.7) as usize);
        match is_left {
            true => self.text(x - 7.0, y, "m e", &shown),
            false => self.text(x + 7.0, y, "m", &shown),
        }
        self.y += LINE;
    }

    fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{}</text>",
            escaped(text)
        );
    }

    fn x(&self, at: Duration) -> f64 {
        let part = at.as_secs_f64() / self.total.as_secs_f64();
        LEFT + part.min(1.0) * (RIGHT - LEFT)
    }
}

/// Round times up to `total`, six to twelve of them, with their labels.
fn ticks(total: Duration) -> Vec<(Duration, String)> {
    let steps = (0..16).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_u64.pow(power)));
    let total_us = total.as_secs_f64() * 1e6;
    let step = steps
        .into_iter()
        .find(|step| total_us / *step as f64 <= 12.0)
        .unwrap_or(u64::MAX);
    (0..13_u64)
        .map(|index| Duration::from_micros(step.saturating_mul(index)))
        .filter(|at| *at <= total)
        .map(|at| (at, time(at)))
        .collect()
}

/// A time as people read it.
fn time(duration: Duration) -> String {
    let us = duration.as_secs_f64() * 1e6;
    match us {
        _ if us < 999.5 => format!("{us:.0} µs"),
        _ if us < 99_950.0 => format!("{:.1} ms", us / 1e3),
        _ if us < 999_500.0 => format!("{:.0} ms", us / 1e3),
        _ if us < 9_995_000.0 => format!("{:.2} s", us / 1e6),
        _ => format!("{:.1} s", us / 1e6),
    }
}

fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

fn sum(bins: &[u64]) -> u64 {
    bins.iter().sum()
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept = text.chars().take(most.saturating_sub(1));
    kept.chain(['…']).collect()
}
