//! Whether somebody gains by lying: one account asks otherwise than it needs, everybody else as before.

use spaceport_core::gpu::QuotaTree;
use spaceport_core::gpu::schedule::Policy;

use super::judge::{judge, mean};
use super::simulate::simulate;
use super::work::{Work, job};

/// Prints, for each lie, the liars' mean wait beside what it was when they told the truth.
pub fn run(make: impl Fn() -> anyhow::Result<Work>, policy: &Policy) -> anyhow::Result<()> {
    let honest = make()?;
    let before = judge(&honest, &simulate(&honest, QuotaTree::default(), policy.clone()).log)?;
    let mut accounts: Vec<String> = before.by_account.keys().cloned().collect();
    accounts.sort();
    for (name, lie) in LIES {
        let mut gains = Vec::new();
        for account in accounts.iter().step_by(5) {
            let mut work = make()?;
            lie(&mut work, account);
            work.jobs.sort_by_key(|job| (job.claim.submitted_at, job.claim.id));
            let after = judge(&work, &simulate(&work, QuotaTree::default(), policy.clone()).log)?;
            let (truth, lied) = (before.by_account[account], after.by_account[account]);
            gains.push(100.0 * (truth - lied) / truth.max(1.0));
        }
        let most = gains.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        println!("{name}: mean gain {:.1} %, most {most:.1} % of {} accounts", mean(&gains), gains.len());
    }
    Ok(())
}

type Lie = fn(&mut Work, &str);

const LIES: [(&str, Lie); 3] =
    [("twice the limit", inflate), ("all of an hour at once", burst), ("every claim as two halves", split)];

/// Claims more time than is needed.
fn inflate(work: &mut Work, account: &str) {
    for job in &mut work.jobs {
        if job.claim.account.0 == account {
            job.claim.limit_ms = job.claim.limit_ms.map(|limit| limit * 2);
        }
    }
}

/// Sends what comes within an hour at the hour's end: nothing is asked for before it is needed.
fn burst(work: &mut Work, account: &str) {
    const HOUR_MS: i64 = 3_600_000;
    for job in &mut work.jobs {
        if job.claim.account.0 == account {
            let at = job.claim.submitted_at.as_millis();
            job.claim.submitted_at = spaceport_core::Timestamp::from_millis((at / HOUR_MS + 1) * HOUR_MS);
        }
    }
}

/// Asks for two claims of half the length instead of each one, both at once.
fn split(work: &mut Work, account: &str) {
    let mut halves = Vec::new();
    for whole in &mut work.jobs {
        if whole.claim.account.0 == account {
            whole.duration_ms = (whole.duration_ms / 2).max(1);
            whole.claim.limit_ms = whole.claim.limit_ms.map(|limit| (limit / 2).max(1));
            let claim = whole.claim.clone();
            halves.push((format!("{}-half", whole.name), claim, whole.duration_ms));
        }
    }
    for (name, claim, duration_ms) in halves {
        let at = u64::try_from(claim.submitted_at.as_millis()).unwrap_or_default();
        let limit = claim.limit_ms.unwrap_or(duration_ms);
        work.jobs.push(job(work.jobs.len(), name, claim.account.0, claim.shape, at, duration_ms, limit));
    }
}
