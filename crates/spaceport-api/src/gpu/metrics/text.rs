//! The text format of Prometheus.

use std::fmt::Write;

/// Metrics as they are written.
#[derive(Debug, Default)]
pub(super) struct Exposition(String);

impl Exposition {
    /// What the samples that follow are.
    pub(super) fn begin(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One value.
    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: &str) {
        let labels: Vec<String> = labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escape(text))).collect();
        let _ = writeln!(self.0, "{name}{{{}}} {value}", labels.join(","));
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// `1.5` of 1500.
pub(super) fn thousandths(value: i128) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let (whole, part) = (value.unsigned_abs() / 1000, value.unsigned_abs() % 1000);
    format!("{sign}{whole}.{part:03}")
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_typed_stays_in_its_label() {
        let mut out = Exposition::default();
        out.begin("a_total", "counter", "Help.");
        out.sample("a_total", &[("model", "A \"100\"\n\\"), ("node", "box")], &thousandths(-1500));
        let expected = "# HELP a_total Help.\n# TYPE a_total counter\n\
            a_total{model=\"A \\\"100\\\"\\n\\\\\",node=\"box\"} -1.500\n";
        assert_eq!(out.finish(), expected);
    }
}
