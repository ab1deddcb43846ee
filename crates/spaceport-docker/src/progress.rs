//! BuildKit's progress as lines, in the form of `docker build --progress=plain`.

use std::collections::{HashMap, HashSet, VecDeque};

use bollard::moby::buildkit::v1::{StatusResponse, Vertex};

use crate::lines::Lines;

/// Output of a failed step that goes into its message.
const TAIL_LINES: usize = 20;

/// Steps are numbered in the order in which they start.
#[derive(Default)]
pub(crate) struct Progress {
    steps: HashMap<String, Step>,
    statuses: HashSet<(String, String, bool)>,
    failed: Option<String>,
    started: usize,
}

#[derive(Default)]
struct Step {
    number: usize,
    name: String,
    ended: bool,
    lines: Lines,
    tail: VecDeque<String>,
}

impl Progress {
    /// Takes what BuildKit reports and prints what is new.
    pub(crate) fn report(&mut self, report: &StatusResponse, log: &dyn Fn(&str)) {
        for vertex in &report.vertexes {
            self.vertex(vertex, log);
        }
        for status in &report.statuses {
            let Some(step) = self.steps.get(&status.vertex) else { continue };
            let name = if status.name.is_empty() { &status.id } else { &status.name };
            let ended = status.completed.is_some();
            if self.statuses.insert((status.vertex.clone(), status.id.clone(), ended)) {
                log(&format!("#{} {name}{}", step.number, if ended { " done" } else { "" }));
            }
        }
        for output in &report.logs {
            let Some(step) = self.steps.get_mut(&output.vertex) else { continue };
            let Step { number, lines, tail, .. } = step;
            lines.push(&output.msg, |line| {
                log(&format!("#{number} {line}"));
                keep(tail, line);
            });
        }
    }

    fn vertex(&mut self, vertex: &Vertex, log: &dyn Fn(&str)) {
        if vertex.started.is_none() && !vertex.cached && vertex.error.is_empty() {
            return;
        }
        let started = &mut self.started;
        let step = self.steps.entry(vertex.digest.clone()).or_insert_with(|| {
            *started += 1;
            log(&format!("#{started} {}", vertex.name));
            Step { number: *started, name: vertex.name.clone(), ..Step::default() }
        });
        if step.ended || (vertex.completed.is_none() && !vertex.cached && vertex.error.is_empty()) {
            return;
        }
        step.ended = true;
        let Step { number, name, lines, tail, .. } = step;
        lines.finish(|line| {
            log(&format!("#{number} {line}"));
            keep(tail, line);
        });
        if !vertex.error.is_empty() {
            log(&format!("#{number} ERROR: {}", vertex.error));
            // Steps that ran beside the failing one are canceled after it; the first is the cause.
            self.failed.get_or_insert_with(|| {
                let tail = tail.iter().map(|line| format!("\n{line}")).collect::<String>();
                format!("{name}: {}{tail}", vertex.error)
            });
        } else if vertex.cached {
            log(&format!("#{number} CACHED"));
        } else {
            log(&format!("#{number} DONE {:.1}s", seconds(vertex)));
        }
    }

    /// Whether BuildKit has not begun anything yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.started == 0
    }

    /// The failing step, its error and the end of its output.
    pub(crate) fn failure(self) -> Option<String> {
        self.failed
    }
}

fn keep(tail: &mut VecDeque<String>, line: &str) {
    if tail.len() == TAIL_LINES {
        tail.pop_front();
    }
    tail.push_back(line.to_owned());
}

fn seconds(vertex: &Vertex) -> f64 {
    let (Some(from), Some(to)) = (&vertex.started, &vertex.completed) else { return 0.0 };
    // Lossless for any build shorter than a century.
    #[expect(clippy::cast_precision_loss, reason = "a duration in seconds, shown with one digit")]
    let whole = (to.seconds - from.seconds) as f64;
    whole + f64::from(to.nanos - from.nanos) / 1e9
}
