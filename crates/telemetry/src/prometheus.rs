//! The text format of Prometheus, version 0.0.4.

use std::fmt::Write;

use crate::{Kind, Labels, Metrics};

impl Metrics {
    /// The content type of an HTTP answer with [`to_prometheus`](Self::to_prometheus).
    pub const PROMETHEUS_CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// As Prometheus reads it ("Exposition formats", text-based format).
    pub fn to_prometheus(&self) -> String {
        let mut text = String::new();
        for family in self.families() {
            let kind = match family.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
            };
            let name = &family.name;
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# HELP {name} {}", escaped(&family.help, false));
            let _ = writeln!(text, "# TYPE {name} {kind}");
            for sample in &family.samples {
                let _ = writeln!(text, "{name}{} {}", labels(&sample.labels), sample.value);
            }
        }
        text
    }
}

fn labels(labels: &Labels) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let pairs = labels
        .iter()
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value, true)));
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
}

/// A backslash and a line feed are escaped everywhere, a double quote in values of labels.
fn escaped(text: &str, is_label: bool) -> String {
    let text = text.replace('\\', r"\\").replace('\n', r"\n");
    match is_label {
        true => text.replace('"', r#"\""#),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_as_the_format_wants_it() {
        let mut metrics = Metrics::new();
        metrics.counter("a_total", "Says \"a\\b\"\nso", &[], 12);
        metrics.gauge("b", "B", &[("x", "q\"\\\n"), ("y", "")], 0.25);
        let expected = concat!(
            "# HELP a_total Says \"a\\\\b\"\\nso\n",
            "# TYPE a_total counter\n",
            "a_total 12\n",
            "# HELP b B\n",
            "# TYPE b gauge\n",
            "b{x=\"q\\\"\\\\\\n\",y=\"\"} 0.25\n",
        );
        assert_eq!(metrics.to_prometheus(), expected);
    }

    #[test]
    fn large_numbers_have_no_exponent_that_loses_digits() {
        let mut metrics = Metrics::new();
        metrics.counter("a_total", "A", &[], 9_007_199_254_740_991);
        assert!(
            metrics
                .to_prometheus()
                .contains("a_total 9007199254740991\n")
        );
    }
}
