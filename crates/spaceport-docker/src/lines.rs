//! Output of a program, cut into lines as it comes.

/// Longer lines are cut: a program that never prints a newline must not fill the memory.
const LINE_BYTES: usize = 16 << 10;

/// Cuts a byte stream into lines. A carriage return overwrites, as on a terminal: of a progress
/// bar only the last state is a line.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes bytes and gives each line that is complete.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(&str)) {
        while let Some(at) = bytes.iter().position(|&byte| byte == b'\n') {
            self.partial.extend_from_slice(&bytes[..at]);
            bytes = &bytes[at + 1..];
            line(&shown(&self.partial));
            self.partial.clear();
        }
        self.partial.extend_from_slice(bytes);
        if self.partial.len() > LINE_BYTES {
            // A progress bar redraws itself for ever without a newline; keep its last state.
            if let Some(at) = self.partial.iter().rposition(|&byte| byte == b'\r') {
                self.partial.drain(..at);
            }
            if self.partial.len() > LINE_BYTES {
                line(&shown(&self.partial));
                self.partial.clear();
            }
        }
    }

    /// Gives what is left when the stream has ended.
    pub(crate) fn finish(&mut self, mut line: impl FnMut(&str)) {
        if !self.partial.is_empty() {
            line(&shown(&self.partial));
            self.partial.clear();
        }
    }
}

fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.rsplit('\r').find(|part| !part.is_empty()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(chunks: &[&str]) -> Vec<String> {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        for chunk in chunks {
            lines.push(chunk.as_bytes(), |line| out.push(line.to_owned()));
        }
        lines.finish(|line| out.push(line.to_owned()));
        out
    }

    #[test]
    fn joins_chunks_and_keeps_the_last_state_of_a_progress_bar() {
        assert_eq!(cut(&["a", "b\nc\n", "", "d"]), ["ab", "c", "d"]);
        assert_eq!(cut(&["10%\r50%\r", "100%\r\ndone\r\n\n"]), ["100%", "done", ""]);
    }

    #[test]
    fn a_line_without_end_does_not_fill_the_memory() {
        let long = "x".repeat(LINE_BYTES + 1);
        assert_eq!(cut(&[&long, "y\n"]), [long.as_str(), "y"]);
        let bar = "\r#".repeat(LINE_BYTES);
        assert_eq!(cut(&[&bar]), ["#"]);
    }
}
