//! Files through the hub: the real client's uploads and downloads, beside git with git-lfs to a bare
//! repository on the same disk, and beside the same client against files that nginx serves.
//!
//! nginx has no API, so what the hub answered about the repository is saved as files, and nginx serves
//! those and the content at the same addresses: the client does the same work in both cases.

mod line;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

use super::{median, server};
use crate::docker;
use crate::shell::{self, ensure as ensure_tool, say};
use crate::site::{self, Site};

/// The client's part.
const CLIENT: &str = include_str!("hub/client.py");
/// A download may take so many times nginx's.
const GOAL_DOWNLOAD: f64 = 1.1;
/// A file of which one per cent changed is uploaded so many times faster than the whole file, and so many
/// times fewer bytes of it are sent.
const GOAL_CHANGED: f64 = 20.0;
/// Small questions are answered so fast, in milliseconds, 99 of 100.
const GOAL_P99_MS: f64 = 10.0;
/// The server's memory may grow by so much while large files pass, in MiB.
const GOAL_MEMORY_MIB: f64 = 256.0;

/// Settings of the measurement.
#[derive(Args)]
pub struct Hub {
    /// MiB of the large file.
    #[arg(long, default_value_t = 2048)]
    large_mib: u64,
    /// How many small files, of 10 KB each.
    #[arg(long, default_value_t = 10_000)]
    files: u32,
    /// How many repositories there are when small questions are asked.
    #[arg(long, default_value_t = 10_000)]
    repositories: u32,
    /// How often each download is measured.
    #[arg(long, default_value_t = 3)]
    repetitions: u32,
    /// How fast the line is over which the large file is uploaded once more; 0 leaves that out.
    #[arg(long, default_value_t = 100)]
    line_mbit: u32,
    /// This is the measurement over a line, and the network namespace is its own.
    #[arg(long, hide = true)]
    in_namespace: bool,
    /// Leaves git with git-lfs out, which needs three times the large file's size on the disk.
    #[arg(long)]
    without_git: bool,
    /// A server to measure instead of a release build of this tree.
    #[arg(long)]
    server: Option<PathBuf>,
}

impl Hub {
    pub(super) fn run(self) -> Result<()> {
        ensure_tool("git-lfs", &["git", "git-lfs"], "git with git-lfs is what is compared with")?;
        ensure_tool("nginx", &["nginx-light"], "nginx's static files are what is compared with")?;
        let python = crate::check::python()?;
        let engine = docker::ensure()?;
        let binary = server(self.server.as_deref())?;
        if self.in_namespace {
            self.slow_down()?;
        }
        let folder = PathBuf::from("target/bench/hub");
        if folder.exists() {
            fs::remove_dir_all(&folder).context("could not remove what an earlier measurement left")?;
        }
        fs::create_dir_all(&folder)?;
        let folder = folder.canonicalize()?;
        fs::write(folder.join("client.py"), CLIENT)?;
        let mut site = Site::start(&binary, &folder.join("site"), site::port(0)?, &engine, true)?;
        let (token, url, pid, objects) = (site.token()?, site.url.clone(), site.child.id(), site.data.join("objects"));
        let run = Run { token, url, pid, python, folder, objects };
        let met = if self.in_namespace { run.line(&self) } else { run.measure(&self) };
        site.stop()?;
        let mut met = met?;
        fs::remove_dir_all(&run.folder)?;
        if self.in_namespace {
            ensure!(met, "the goal is missed");
            return Ok(());
        }
        if self.line_mbit > 0 {
            met &= self.over_a_line(&binary)?;
        }
        println!("{}", if met { "All goals are met." } else { "A goal is missed." });
        Ok(())
    }
}

struct Run {
    url: String,
    token: String,
    pid: u32,
    python: PathBuf,
    folder: PathBuf,
    /// Where the server keeps large files.
    objects: PathBuf,
}

impl Run {
    fn measure(&self, options: &Hub) -> Result<bool> {
        let (folder, size) = (self.folder.display().to_string(), options.large_mib << 20);
        say("Making the files");
        self.client("make", &[&folder, &size.to_string(), &options.files.to_string()])?;
        let mut met = self.large(options)?;
        met &= self.small(options)?;
        met &= self.questions(options)?;
        Ok(met)
    }

    /// One large file.
    fn large(&self, options: &Hub) -> Result<bool> {
        say(&format!("One file of {} MiB", options.large_mib));
        let folder = self.folder.display().to_string();
        let before = self.memory("VmRSS")?;
        let empty = size_of(&self.objects)?;
        let ours = seconds(&self.client("upload-large", &[&folder, "admin/large"])?);
        let whole = size_of(&self.objects)?;
        println!(
            "upload, whole            Spaceport {ours:7.2} s{}",
            beside(options, "git + git-lfs", || self.git_large())?
        );
        self.client("change", &[&folder, "0.01"])?;
        let changed = seconds(&self.client("upload-large", &[&folder, "admin/large"])?);
        let sent = (whole - empty) / (size_of(&self.objects)? - whole);
        let git = beside(options, "git + git-lfs", || self.git_change())?;
        println!("upload, 1 % changed      Spaceport {changed:7.2} s{git}");
        // The client reads and hashes all of the file before it knows that one per cent is to be sent.
        let alone = seconds(&self.client("alone", &[&folder])?);
        println!("the client's own hashing {alone:17.2} s: at most {:.1} times faster by that", ours / alone);
        let faster = ours / changed;
        let mut met = goal("times as fast as the whole file: one per cent changed", faster, GOAL_CHANGED, true);
        met &= goal("times fewer bytes sent and kept: one per cent changed", sent, GOAL_CHANGED, true);
        met &= self.downloads("download", "admin/large", &self.folder.join("large.bin"), "large.bin", options)?;
        let grown = self.memory("VmHWM")? - before;
        met &= goal("MiB the server's memory grew at most", grown, GOAL_MEMORY_MIB, false);
        if !options.without_git {
            fs::remove_dir_all(self.folder.join("git"))?;
        }
        fs::remove_file(self.folder.join("large.bin"))?;
        Ok(met)
    }

    /// Many small files.
    fn small(&self, options: &Hub) -> Result<bool> {
        say(&format!("{} files of 10 KB", options.files));
        let folder = self.folder.display().to_string();
        let uploaded = self.client("upload-small", &[&folder, "admin/small"])?;
        let (ours, git) = (seconds(&uploaded), beside(options, "git", || self.git_small())?);
        println!("upload                   Spaceport {ours:7.2} s{git}");
        self.downloads("download", "admin/small", &self.folder.join("small"), "", options)
    }

    /// Small questions with many repositories.
    fn questions(&self, options: &Hub) -> Result<bool> {
        say(&format!("{} repositories", options.repositories));
        let count = options.repositories.to_string();
        let made = self.client("repositories", &[&count, "4"])?;
        println!("made in {:.0} s", seconds(&made));
        let took = self.client("latency", &[&count, "4000", "admin"])?;
        let mut met = true;
        for question in ["whoami", "info", "resolve"] {
            let at = |part: &str| took[question][part].as_f64().unwrap_or(f64::NAN);
            println!("{question:8} p50 {:6.2} ms   p99 {:6.2} ms", at("p50"), at("p99"));
            met &= goal(&format!("ms, p99 of {question}"), at("p99"), GOAL_P99_MS, false);
        }
        Ok(met)
    }

    /// The same client against Spaceport and against nginx, in turns.
    fn downloads(&self, what: &str, repo: &str, content: &Path, below: &str, options: &Hub) -> Result<bool> {
        let folder = self.folder.display().to_string();
        let exported = self.client("export", &[&folder, repo])?;
        let sha = exported["sha"].as_str().context("the hub names no commit")?.to_owned();
        let nginx = Nginx::start(&self.folder, repo, &sha, content, below)?;
        let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..options.repetitions {
            let mut pair = [0.0; 2];
            for (index, url) in [&self.url, &nginx.url].into_iter().enumerate() {
                let got = self.client_at(url, "download", &[&folder, repo])?;
                pair[index] = seconds(&got);
            }
            ours.push(pair[0]);
            theirs.push(pair[1]);
            ratios.push(pair[0] / pair[1]);
        }
        let middle = |values: Vec<f64>| median(values.into_iter());
        println!("{what:24} Spaceport {:7.2} s   nginx {:7.2} s", middle(ours), middle(theirs));
        Ok(goal("times nginx's download", middle(ratios), GOAL_DOWNLOAD, false))
    }

    fn client(&self, step: &str, arguments: &[&str]) -> Result<Value> {
        self.client_at(&self.url, step, arguments)
    }

    fn client_at(&self, url: &str, step: &str, arguments: &[&str]) -> Result<Value> {
        let home = self.folder.join("home");
        let printed = shell::read(
            Command::new(&self.python)
                .arg(self.folder.join("client.py"))
                .arg(step)
                .args(arguments)
                .env("HF_ENDPOINT", url)
                .env("HF_TOKEN", &self.token)
                .env("HF_HOME", &home)
                .env("HF_HUB_DISABLE_PROGRESS_BARS", "1")
                .env("HF_HUB_DISABLE_TELEMETRY", "1"),
        )?;
        let line = printed.lines().last().unwrap_or_default();
        serde_json::from_str(line).with_context(|| format!("{step} printed {line:?}"))
    }

    /// A figure of the server's memory, in MiB.
    fn memory(&self, name: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib: f64 = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(f64::NAN);
        Ok(kib / 1024.0)
    }

    fn git(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=bench", "-c", "user.email=bench@localhost"]).args(arguments);
        shell::run(command.current_dir(self.folder.join("git/work")).env("GIT_TERMINAL_PROMPT", "0"))
    }

    /// A bare repository and a clone of it.
    fn git_start(&self) -> Result<()> {
        let folder = self.folder.join("git");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let bare = folder.join("bare.git");
        shell::run(Command::new("git").args(["init", "-q", "--bare", "--initial-branch=main"]).arg(&bare))?;
        shell::run(Command::new("git").args(["clone", "-q"]).arg(&bare).arg(folder.join("work")))
    }

    fn git_large(&self) -> Result<f64> {
        self.git_start()?;
        self.git(&["lfs", "install", "--local"])?;
        self.git(&["lfs", "track", "*.bin"])?;
        self.git_change()
    }

    fn git_change(&self) -> Result<f64> {
        let begun = Instant::now();
        fs::copy(self.folder.join("large.bin"), self.folder.join("git/work/large.bin"))?;
        self.git_push()?;
        Ok(begun.elapsed().as_secs_f64())
    }

    fn git_small(&self) -> Result<f64> {
        self.git_start()?;
        let begun = Instant::now();
        let to = self.folder.join("git/work");
        shell::run(Command::new("cp").arg("-r").arg(self.folder.join("small")).arg(to))?;
        self.git_push()?;
        Ok(begun.elapsed().as_secs_f64())
    }

    fn git_push(&self) -> Result<()> {
        self.git(&["add", "-A"])?;
        self.git(&["commit", "-q", "-m", "files"])?;
        self.git(&["push", "-q", "origin", "HEAD:main"])
    }
}

/// What git needs for the same, unless it is left out.
fn beside(options: &Hub, name: &str, measure: impl FnOnce() -> Result<f64>) -> Result<String> {
    Ok(if options.without_git { String::new() } else { format!("   {name} {:7.2} s", measure()?) })
}

/// What a step of the client took.
fn seconds(answer: &Value) -> f64 {
    answer["seconds"].as_f64().unwrap_or(f64::NAN)
}

/// Bytes of the files below a folder.
fn size_of(folder: &Path) -> Result<f64> {
    let mut bytes = 0.0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let of = entry.metadata()?;
        let size = if of.is_dir() { size_of(&entry.path())? } else { of.len() as f64 };
        bytes += size;
    }
    Ok(bytes)
}

/// Says whether a goal is met.
fn goal(what: &str, value: f64, goal: f64, at_least: bool) -> bool {
    let met = if at_least { value >= goal } else { value <= goal };
    let (bound, verdict) = (if at_least { "at least" } else { "at most" }, if met { "met" } else { "missed" });
    println!("goal: {what}: {bound} {goal}: {value:.2}: {verdict}");
    met
}

/// nginx with the files of one commit.
struct Nginx {
    url: String,
    child: std::process::Child,
}

impl Nginx {
    fn start(folder: &Path, repo: &str, sha: &str, content: &Path, below: &str) -> Result<Self> {
        let port = site::port(0)?;
        let at = folder.display();
        let files = content.display();
        let resolve = format!("/{repo}/resolve/{sha}/{below}");
        // What the client needs to know of a file is in its headers.
        let config = format!(
            "daemon off; worker_processes 1; pid {at}/nginx.pid; error_log {at}/nginx.log;\n\
             events {{ worker_connections 256; }}\n\
             http {{ access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream;\n\
             client_body_temp_path {at}/nginx-body; proxy_temp_path {at}/nginx-proxy;\n\
             fastcgi_temp_path {at}/nginx-f; uwsgi_temp_path {at}/nginx-u; scgi_temp_path {at}/nginx-s;\n\
             server {{ listen 127.0.0.1:{port};\n\
             location = /api/models/{repo}/revision/main {{ default_type application/json; alias {at}/info.json; }}\n\
             location = /api/models/{repo}/tree/{sha} {{ default_type application/json; alias {at}/tree.json; }}\n\
             location = /{repo}/resolve/{sha}/.gitattributes {{ add_header X-Repo-Commit {sha}; alias {at}/attributes; }}\n\
             location {resolve} {{ add_header X-Repo-Commit {sha}; alias {files}{slash}; }}\n\
             }} }}\n",
            slash = if below.is_empty() { "/" } else { "" },
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, config)?;
        let child = Command::new("nginx").arg("-c").arg(&file).arg("-p").arg(folder).spawn().context("nginx")?;
        let this = Self { url: format!("http://127.0.0.1:{port}"), child };
        let until = Instant::now() + std::time::Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            ensure!(Instant::now() < until, "nginx did not start; see {at}/nginx.log");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Ok(this)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // TERM: killed outright, nginx would leave its worker behind.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}
