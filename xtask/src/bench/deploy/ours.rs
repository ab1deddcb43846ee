//! A deployment with Spaceport: `git push`, until the app answers by its host name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::http::{self, api};
use super::{App, LIMIT};
use crate::shell;
use crate::site::Site;

const NAME: &str = "admin/bench";
const HOST: &str = "admin-bench.localhost";
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The server and a clone of its Space.
pub struct Ours {
    site: Site,
    port: u16,
    token: String,
    work: PathBuf,
}

/// One deployment, in milliseconds.
pub struct Pushed {
    /// From the push's start to the first correct answer.
    pub total: u64,
    /// Where the time went, in order. The phases follow each other, but for `git push`, which
    /// ends while the build is under way.
    pub phases: Vec<(String, u64)>,
}

impl Ours {
    pub fn new(folder: &Path, site: Site) -> Result<Self> {
        let port = site.url.rsplit(':').next().and_then(|port| port.parse().ok()).context("the site has a port")?;
        let token = site.token()?;
        let ours = Self { site, port, token, work: folder.join("push") };
        let wanted = r#"{"type": "space", "name": "bench", "sdk": "gradio"}"#;
        api(port, &ours.token, "POST", "/api/repos/create", wanted)?;
        let url = ours.site.url.replacen("://", &format!("://admin:{}@", ours.token), 1);
        shell::run(Command::new("git").args(["clone", "--quiet", &format!("{url}/spaces/{NAME}")]).arg(&ours.work))?;
        Ok(ours)
    }

    /// Commits the app, then measures its push.
    pub fn deploy(&self, app: &App) -> Result<Pushed> {
        app.write(&self.work, "")?;
        let git = || {
            let mut command = Command::new("git");
            command.arg("-C").arg(&self.work).args(["-c", "user.name=admin", "-c", "user.email=admin@localhost"]);
            command
        };
        shell::run(git().args(["add", "--all"]))?;
        shell::run(git().args(["commit", "--quiet", "--message", &app.marker]))?;

        let (began, began_at) = (Instant::now(), now_ms()?);
        let mut push = git()
            .args(["push", "--quiet", "origin", "HEAD:main"])
            .stderr(Stdio::piped())
            .spawn()
            .context("could not run git push")?;
        let mut pushed = None;
        let host = format!("{HOST}:{}", self.port);
        let waited = http::wait_for(self.port, &host, &app.marker, LIMIT, || {
            if pushed.is_none()
                && let Some(status) = push.try_wait()?
            {
                ensure!(status.success(), "git push failed ({status})");
                pushed = Some(began.elapsed());
            }
            Ok(())
        });
        let total = began.elapsed();
        push.wait()?;
        waited.with_context(|| format!("the server's log is {}", self.site.log.display()))?;
        let phases = self.phases(began_at, total, pushed.unwrap_or(total))?;
        Ok(Pushed { total: ms(total), phases })
    }

    /// The breakdown, from what the API says about the newest build and attempt.
    fn phases(&self, began_at: u64, total: Duration, pushed: Duration) -> Result<Vec<(String, u64)>> {
        let get = |what: &str| {
            let list = api(self.port, &self.token, "GET", &format!("/api/spaces/{NAME}/{what}?limit=1"), "")?;
            list.get(0).cloned().with_context(|| format!("there are no {what}"))
        };
        let (build, release, attempt) = (get("builds")?, get("releases")?, get("instances")?);
        let at = |of: &Value, key: &str| {
            let text = of[key].as_str().with_context(|| format!("{key} is not there"))?;
            Ok::<_, anyhow::Error>((ms_of_day(text).context("a time is not RFC 3339")? + DAY_MS - began_at) % DAY_MS)
        };
        let (queued, started, built) = (at(&build, "queuedAt")?, at(&build, "startedAt")?, at(&build, "finishedAt")?);
        let mut phases = vec![
            ("git push, whole".to_owned(), ms(pushed)),
            ("push and inspect".to_owned(), queued),
            ("queue".to_owned(), started.saturating_sub(queued)),
        ];
        let parts: BTreeMap<String, u64> = serde_json::from_value(build["phasesMs"].clone())?;
        let order = ["source", "base", "platform", "packages", "dependencies", "layer"];
        for name in order.into_iter().filter(|name| parts.contains_key(*name)) {
            phases.push((format!("build: {name}"), parts[name]));
        }
        phases.push(("build: all else".to_owned(), (built - started).saturating_sub(parts.values().sum())));
        let (released, asked) = (at(&release, "createdAt")?, at(&attempt, "createdAt")?);
        phases.push(("release".to_owned(), released.saturating_sub(built)));
        phases.push(("attempt".to_owned(), asked.saturating_sub(released)));
        let (running, ready) = (at(&attempt, "startedAt")?, at(&attempt, "readyAt")?);
        phases.push(("create and start".to_owned(), running.saturating_sub(asked)));
        phases.push(("app start and probe".to_owned(), ready.saturating_sub(running)));
        phases.push(("route and answer".to_owned(), ms(total).saturating_sub(ready)));
        Ok(phases)
    }
}

impl Drop for Ours {
    /// Leaves nothing on the engine. What fails here does not hide the result.
    fn drop(&mut self) {
        let _ = self.site.stop();
        clear(&self.site.data);
    }
}

/// Removes what the installation with this data directory has on the engine.
pub fn clear(data: &Path) {
    let Ok(name) = fs::read_to_string(data.join("keys/installation")) else { return };
    let label = format!("label=spaceport.installation={}", name.trim());
    for (list, remove) in [
        (&["ps", "--all", "--quiet"][..], &["rm", "--force", "--volumes"][..]),
        (&["images", "--all", "--quiet"], &["rmi", "--force"]),
        (&["volume", "ls", "--quiet"], &["volume", "rm"]),
    ] {
        // An image goes after those made from it, so one round may leave some.
        let mut left = usize::MAX;
        loop {
            let found = Command::new("docker").args(list).args(["--filter", &label]).output();
            let found = found.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
            let ids: BTreeSet<&str> = found.split_whitespace().collect();
            if ids.is_empty() || ids.len() >= left {
                break;
            }
            left = ids.len();
            let _ = Command::new("docker").args(remove).args(ids).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}

pub fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since midnight, UTC: enough to compare moments of one deployment.
fn now_ms() -> Result<u64> {
    #[expect(clippy::disallowed_methods, reason = "compared with the server's times")]
    let now = SystemTime::now();
    Ok(ms(now.duration_since(SystemTime::UNIX_EPOCH)?) % DAY_MS)
}

/// The time of `2026-01-02T03:04:05.678Z`.
fn ms_of_day(text: &str) -> Option<u64> {
    let time = text.split_once('T')?.1.strip_suffix('Z')?;
    let mut parts = time.split([':', '.']).map(|part| part.parse::<u64>().ok());
    let (hours, minutes, seconds, millis) = (parts.next()??, parts.next()??, parts.next()??, parts.next()??);
    Some(((hours * 60 + minutes) * 60 + seconds) * 1000 + millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_api_are_read() {
        assert_eq!(ms_of_day("2026-01-02T03:04:05.678Z"), Some(((3 * 60 + 4) * 60 + 5) * 1000 + 678));
        assert_eq!(ms_of_day("yesterday"), None);
    }
}
