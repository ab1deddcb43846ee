//! From evidence to a sentence: why an app does not answer, and what to do about it.
//!
//! Pure: whoever calls has read the log, the socket table and the exit code already.

use std::net::IpAddr;

use crate::{Diagnosis, Reason, Timestamp};

/// Lines of a log a diagnosis quotes.
const QUOTED_LINES: usize = 12;
/// Characters of a log a message quotes.
const MOST_CHARS: usize = 500;

/// What is known of an app that ended.
#[derive(Debug, Clone, Copy)]
pub struct ExitEvidence<'a> {
    /// Exit code; `None` when the container vanished.
    pub code: Option<i64>,
    /// The kernel killed a process for want of memory.
    pub oom_killed: bool,
    /// The engine's message when the command could not be run.
    pub engine_error: &'a str,
    /// Memory limit in bytes.
    pub memory_bytes: u64,
    /// The last lines of the log, oldest first.
    pub log: &'a [String],
    /// Whether the app had answered.
    pub was_ready: bool,
    /// Whether its image is made by its own Dockerfile.
    pub own_image: bool,
    /// When it ended.
    pub at: Timestamp,
}

/// Why an app ended.
#[must_use]
pub fn exit(evidence: &ExitEvidence<'_>) -> Diagnosis {
    let ExitEvidence { code, oom_killed, engine_error, memory_bytes, log, was_ready, own_image, at } = *evidence;
    let (reason, message, remedy) = if !engine_error.is_empty()
        && (code == Some(127) || code == Some(126) || code == Some(128))
    {
        (
            Reason::CommandNotFound,
            format!("The command of the image cannot be run: {}.", engine_error.trim_end_matches('.')),
            "Correct CMD or ENTRYPOINT: the file must exist in the image and be executable.".to_owned(),
        )
    } else if oom_killed || (code == Some(137) && log.iter().any(|line| line.contains("MemoryError"))) {
        (
            Reason::OutOfMemory,
            format!("The app was killed because it used all of its {} of memory.", bytes(memory_bytes)),
            "Use less memory (a smaller model, smaller batches), or choose hardware with more.".to_owned(),
        )
    } else if let Some(module) = missing_module(log) {
        (
            Reason::ModuleMissing,
            format!("The Python module {module:?} is not installed."),
            if own_image {
                format!("Install the package that provides {module:?} in the Dockerfile (RUN pip install …) and push.")
            } else {
                format!("Add the package that provides {module:?} to requirements.txt and push.")
            },
        )
    } else if let Some(problem) = syntax_error(log) {
        (
            Reason::SyntaxError,
            format!("The program has a syntax error: {problem}."),
            "Correct the line and push again.".to_owned(),
        )
    } else if disk_full(log) {
        (
            Reason::DiskFull,
            "The disk is full.".to_owned(),
            "Write less to disk, or remove files that are no longer needed.".to_owned(),
        )
    } else {
        match code {
            Some(0) => (
                Reason::ExitedCleanly,
                "The app ended by itself with exit code 0; a Space must keep running.".to_owned(),
                "Start a server that listens on the app's port and does not return, such as demo.launch().".to_owned(),
            ),
            Some(code @ (126 | 127)) => (
                Reason::CommandNotFound,
                exec_failure(log).map_or_else(
                    || format!("The command of the image cannot be run (exit code {code})."),
                    |what| sentence(&format!("The command of the image cannot be run: {what}")),
                ),
                "Correct CMD or ENTRYPOINT: the program must be installed in the image and be executable.".to_owned(),
            ),
            Some(code) => {
                let what = exception(log).map_or_else(
                    || format!("The app ended with exit code {code}{}.", signal(code)),
                    |line| format!("The app ended with an exception: {line}"),
                );
                (Reason::Crashed, what, "Read the end of the log, correct the program and push.".to_owned())
            }
            None => (
                Reason::Crashed,
                "The app's container was removed from outside.".to_owned(),
                "Nothing to do: it is started again.".to_owned(),
            ),
        }
    };
    let phase = if was_ready { "crashed" } else { "failed to start" };
    diagnosis(reason, phase, message, remedy, quote(log), at)
}

/// Why a running app does not answer on its port (yet).
#[must_use]
pub fn waiting(listening: &[(IpAddr, u16)], port: u16, log: &[String], since: Timestamp) -> Diagnosis {
    let on_port: Vec<_> = listening.iter().filter(|(_, listens)| *listens == port).collect();
    // Docker's own resolver listens on 127.0.0.11 in every container.
    let elsewhere =
        || listening.iter().filter(|(address, listens)| *listens != port && address.to_string() != "127.0.0.11");
    let others: Vec<_> = elsewhere().map(|(address, listens)| format!("{}:{listens}", host(*address))).collect();
    let sockets = || listening.iter().map(|(address, port)| format!("listening: {}:{port}", host(*address))).collect();
    if let Some((address, _)) = on_port.first() {
        return if on_port.iter().all(|(address, _)| address.is_loopback()) {
            diagnosis(
                Reason::LoopbackOnly,
                "not reachable",
                format!(
                    "The app listens on {}:{port}, which nothing outside its container can reach; expected 0.0.0.0:{port}.",
                    host(*address)
                ),
                "Bind to 0.0.0.0 (for example server_name=\"0.0.0.0\", --host 0.0.0.0 or --server.address 0.0.0.0)."
                    .to_owned(),
                sockets(),
                since,
            )
        } else {
            diagnosis(
                Reason::NotAnswering,
                "not answering",
                format!("The app accepts connections on port {port} but does not answer HTTP requests."),
                "Look at the log: is it still loading, or does it speak something other than HTTP?".to_owned(),
                quote(log),
                since,
            )
        };
    }
    if others.is_empty() {
        return diagnosis(
            Reason::NotListening,
            "not listening",
            format!("The app runs but does not listen on any port yet; expected 0.0.0.0:{port}."),
            "Wait while it loads; if it should be up by now, look at its log.".to_owned(),
            quote(log),
            since,
        );
    }
    let remedy = if elsewhere().all(|(address, _)| address.is_loopback()) {
        format!(
            "Make it listen on 0.0.0.0:{port}: another port can be set in README.md (app_port, docker Spaces), but \
             nothing outside its container reaches 127.0.0.1."
        )
    } else {
        format!("Make it listen on port {port}, or (docker Spaces) set app_port in README.md to the port it uses.")
    };
    diagnosis(
        Reason::WrongPort,
        "wrong port",
        format!("The app listens on {}, expected 0.0.0.0:{port}.", others.join(", ")),
        remedy,
        sockets(),
        since,
    )
}

fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// Why an app ended that ended with the engine: it is no fault of the app's.
#[must_use]
pub fn engine_ended(at: Timestamp) -> Diagnosis {
    let message = "The container engine ended, and the app with it.".to_owned();
    let remedy = "Nothing to do for you: it starts again as soon as the engine is back.".to_owned();
    diagnosis(Reason::EngineUnavailable, "engine ended", message, remedy, Vec::new(), at)
}

/// What is known of a build step that failed.
#[derive(Debug, Clone, Copy)]
pub struct BuildEvidence<'a> {
    /// In words: `installing requirements.txt`.
    pub phase: &'a str,
    /// Exit code of the step.
    pub code: i64,
    /// Memory ran out.
    pub oom_killed: bool,
    /// Memory limit in bytes.
    pub memory_bytes: u64,
    /// The step's kind, if no better cause is found in the log.
    pub otherwise: Reason,
    /// The last lines of the step's output.
    pub log: &'a [String],
    /// When it failed.
    pub at: Timestamp,
}

/// Why a build step failed.
#[must_use]
pub fn build(evidence: &BuildEvidence<'_>) -> Diagnosis {
    let BuildEvidence { phase, code, oom_killed, memory_bytes, otherwise, log, at } = *evidence;
    let (reason, message, remedy) = if oom_killed {
        (
            Reason::OutOfMemory,
            format!("The build ran out of memory ({}) while {phase}.", bytes(memory_bytes)),
            "Use packages that come as wheels instead of compiling, or ask for a larger build limit.".to_owned(),
        )
    } else if disk_full(log) {
        (
            Reason::DiskFull,
            format!("The disk is full ({phase})."),
            "Ask the administrator to free space; builds start again by a restart.".to_owned(),
        )
    } else {
        let detail = telling(log).unwrap_or_else(|| format!("exit code {code}"));
        let remedy = match otherwise {
            Reason::DependencyFailed => "Correct the named requirement (name, version, Python version) and push.",
            Reason::PackageFailed => {
                "Correct the package's name in packages.txt; it must exist in the base image's Debian release."
            }
            _ => "Read the build log from the failing step on, correct it and push.",
        };
        (otherwise, sentence(&format!("Failed while {phase}: {detail}")), remedy.to_owned())
    };
    diagnosis(reason, phase, message, remedy, quote(log), at)
}

fn diagnosis(
    reason: Reason,
    phase: &str,
    message: String,
    remedy: String,
    evidence: Vec<String>,
    since: Timestamp,
) -> Diagnosis {
    Diagnosis { reason, phase: phase.to_owned(), message, remedy, evidence, since, deadline: None }
}

fn quote(log: &[String]) -> Vec<String> {
    let from = log.len().saturating_sub(QUOTED_LINES);
    log[from..].iter().map(|line| line.chars().take(400).collect()).collect()
}

/// `No module named 'x'` of the last traceback.
fn missing_module(log: &[String]) -> Option<String> {
    let line = log.iter().rev().take(20).find(|line| line.contains("ModuleNotFoundError: No module named "))?;
    line.split('\'').nth(1).map(str::to_owned)
}

fn syntax_error(log: &[String]) -> Option<String> {
    let kinds = ["SyntaxError: ", "IndentationError: ", "TabError: "];
    let at = log.iter().rposition(|line| kinds.iter().any(|kind| line.starts_with(kind)))?;
    let place = log[..at].iter().rev().find_map(|line| line.trim().strip_prefix("File ")).unwrap_or_default();
    Some(if place.is_empty() { log[at].clone() } else { format!("{} (file {place})", log[at]) })
}

/// What Docker's init says of a command it cannot run: `[FATAL tini (7)] exec a failed: b`.
fn exec_failure(log: &[String]) -> Option<String> {
    let said = log.iter().rev().find_map(|line| line.split_once("] exec ").map(|(_, said)| said))?;
    let (command, why) = said.split_once(" failed: ")?;
    Some(format!("{command}: {why}"))
}

fn disk_full(log: &[String]) -> bool {
    log.iter().rev().take(30).any(|line| line.contains("No space left on device") || line.contains("os error 28"))
}

/// The last line of a Python traceback: `ValueError: …`.
fn exception(log: &[String]) -> Option<String> {
    log.iter().any(|line| line.starts_with("Traceback (most recent call last)")).then_some(())?;
    let is_exception = |line: &&String| {
        let name = line.split(':').next().unwrap_or_default();
        !line.starts_with(' ')
            && !name.is_empty()
            && name.chars().all(|c| c.is_alphanumeric() || c == '.' || c == '_')
            && (name.ends_with("Error") || name.ends_with("Exception") || name.ends_with("Interrupt"))
    };
    log.iter().rev().find(is_exception).map(|line| line.chars().take(300).collect())
}

/// What says most: an error line of pip, uv, apt, npm or BuildKit with the causes that stand below
/// it, else the last line.
fn telling(log: &[String]) -> Option<String> {
    let marks = ["error:", "ERROR:", "× ", "E: ", "npm ERR!", "npm error", "Error:", "failed to"];
    let is_telling = |line: &String| marks.iter().any(|mark| line.trim_start().starts_with(mark));
    let Some(at) = log.iter().rposition(is_telling) else {
        return log.iter().rev().map(|line| line.trim()).find(|line| !line.is_empty()).map(str::to_owned);
    };
    let mut parts = vec![log[at].trim()];
    for line in log[at + 1..].iter().map(|line| line.trim()) {
        if let Some(cause) = ["cause:", "Caused by:", "╰─▶"].iter().find_map(|mark| line.strip_prefix(mark)) {
            parts.push(cause.trim());
        } else if line.starts_with("And because") && parts.len() > 1 {
            // The last step of uv's proof names what the author requires.
            parts.pop();
            parts.push(line.trim_start_matches("And ").trim());
        }
    }
    Some(parts.join(": ").chars().take(MOST_CHARS).collect())
}

/// A text as a sentence: with one mark at its end.
#[must_use]
pub fn sentence(text: &str) -> String {
    let text = text.trim_end();
    if text.ends_with(['.', '?', '!']) { text.to_owned() } else { format!("{text}.") }
}

fn signal(code: i64) -> &'static str {
    match code {
        137 => " (killed)",
        139 => " (segmentation fault)",
        134 => " (aborted)",
        143 => " (terminated)",
        _ => "",
    }
}

fn bytes(count: u64) -> String {
    match count {
        n if n >= 1 << 30 => format!("{:.1} GiB", f64::from(u32::try_from(n >> 20).unwrap_or(u32::MAX)) / 1024.0),
        n => format!("{} MiB", n >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(code: i64, oom: bool, log: &str) -> Diagnosis {
        let log: Vec<String> = log.lines().map(str::to_owned).collect();
        exit(&ExitEvidence {
            code: Some(code),
            oom_killed: oom,
            engine_error: "",
            memory_bytes: 512 << 20,
            log: &log,
            was_ready: false,
            own_image: false,
            at: Timestamp::from_millis(0),
        })
    }

    #[test]
    fn a_missing_module_is_installed_where_the_image_is_made() {
        let log = ["ModuleNotFoundError: No module named 'torch'".to_owned()];
        let remedy = |own_image| {
            let evidence = ExitEvidence {
                code: Some(1),
                oom_killed: false,
                engine_error: "",
                memory_bytes: 1,
                log: &log,
                was_ready: false,
                own_image,
                at: Timestamp::from_millis(0),
            };
            exit(&evidence).remedy
        };
        assert!(remedy(false).contains("requirements.txt") && !remedy(false).contains("Dockerfile"));
        assert!(remedy(true).contains("Dockerfile") && !remedy(true).contains("requirements.txt"));
    }

    #[test]
    fn names_the_cause_of_an_exit() {
        let missing = "Traceback (most recent call last):\n  File \"app.py\", line 1\nModuleNotFoundError: No module named 'torch'";
        let syntax =
            "  File \"/home/user/app/app.py\", line 3\n    x = (\n        ^\nSyntaxError: '(' was never closed";
        let value = "Traceback (most recent call last):\n  File \"app.py\", line 1\nValueError: too small";
        for (code, oom, log, reason, part) in [
            (1, false, missing, Reason::ModuleMissing, "\"torch\""),
            (1, false, syntax, Reason::SyntaxError, "line 3"),
            (1, false, value, Reason::Crashed, "ValueError: too small"),
            (137, true, "", Reason::OutOfMemory, "512 MiB"),
            (0, false, "done", Reason::ExitedCleanly, "exit code 0"),
            (3, false, "bye", Reason::Crashed, "exit code 3"),
            (139, false, "", Reason::Crashed, "segmentation fault"),
            (1, false, "OSError: [Errno 28] No space left on device", Reason::DiskFull, "disk is full"),
            (127, false, "sh: foo: not found", Reason::CommandNotFound, "127"),
            (
                126,
                false,
                "[FATAL tini (7)] exec /app/start.sh failed: Permission denied",
                Reason::CommandNotFound,
                ": /app/start.sh: Permission denied.",
            ),
        ] {
            let told = exited(code, oom, log);
            assert_eq!(told.reason, reason, "{log}");
            assert!(told.message.contains(part), "{}", told.message);
            assert!(!told.remedy.is_empty());
        }
    }

    #[test]
    fn a_failed_installation_is_told_with_its_cause() {
        let told = |log: &str| {
            let log: Vec<String> = log.lines().map(str::to_owned).collect();
            let evidence = BuildEvidence {
                phase: "installing",
                code: 1,
                oom_killed: false,
                memory_bytes: 1 << 30,
                otherwise: Reason::DependencyFailed,
                log: &log,
                at: Timestamp::from_millis(0),
            };
            build(&evidence).message
        };
        assert_eq!(
            told("error: No solution found\n  cause: Because x was not found"),
            "Failed while installing: error: No solution found: Because x was not found."
        );
        assert_eq!(
            told(
                "error: No solution\n  cause: Because a\n     depends\n     And because b.\n     And because you require c, d."
            ),
            "Failed while installing: error: No solution: because you require c, d."
        );
        assert_eq!(told("E: Unable to locate package x"), "Failed while installing: E: Unable to locate package x.");
        assert_eq!(told("one\n../two\n\n"), "Failed while installing: ../two.");
        assert_eq!(told(""), "Failed while installing: exit code 1.");
    }

    #[test]
    fn reads_the_socket_table() {
        let at = Timestamp::from_millis(0);
        let (all, loopback, dns) = ("0.0.0.0", "127.0.0.1", "127.0.0.11");
        for (sockets, reason, part) in [
            (vec![(loopback, 7860)], Reason::LoopbackOnly, "127.0.0.1:7860"),
            (vec![(loopback, 8501), (dns, 40001)], Reason::WrongPort, "127.0.0.1:8501, expected 0.0.0.0:7860"),
            (vec![(all, 8501)], Reason::WrongPort, "0.0.0.0:8501, expected 0.0.0.0:7860"),
            (vec![(dns, 40001)], Reason::NotListening, "expected 0.0.0.0:7860"),
            (vec![(all, 7860)], Reason::NotAnswering, "port 7860"),
        ] {
            let sockets: Vec<_> = sockets.into_iter().map(|(host, port)| (host.parse().unwrap(), port)).collect();
            let told = waiting(&sockets, 7860, &[], at);
            assert_eq!(told.reason, reason);
            assert!(told.message.contains(part), "{}", told.message);
            if reason == Reason::WrongPort {
                // Another app_port is of no use to one that nobody reaches.
                assert_eq!(told.remedy.contains("127.0.0.1"), part.starts_with(loopback), "{}", told.remedy);
            }
        }
    }
}
