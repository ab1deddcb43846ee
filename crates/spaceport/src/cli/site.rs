//! The server itself: health, hardware, who one is.

use super::client::Client;
use super::error::CliError;
use super::output::{Output, field, plain_table};

pub(super) async fn hardware(client: &Client, out: &Output) -> Result<(), CliError> {
    let list = client.get("/api/spaces/hardware").await?;
    out.show(&list, |list| {
        let row = |flavor: &serde_json::Value| {
            let mut cells: Vec<String> =
                ["/name", "/prettyName", "/cpu", "/ram"].iter().map(|path| field(flavor, path)).collect();
            cells.push(accelerator(flavor));
            cells
        };
        let rows: Vec<Vec<String>> = list.as_array().into_iter().flatten().map(row).collect();
        plain_table(&["FLAVOR", "NAME", "CPU", "MEMORY", "ACCELERATOR"], &rows)
    });
    Ok(())
}

/// `4 x L4, 96 GB`; nothing for CPU and memory alone.
fn accelerator(flavor: &serde_json::Value) -> String {
    if flavor["accelerator"].is_null() {
        return String::new();
    }
    let of = |name: &str| field(flavor, &format!("/accelerator/{name}"));
    let share = of("share");
    let part = if share.is_empty() { String::new() } else { format!(", {share} % of one") };
    format!("{} x {}, {}{part}", of("quantity"), of("model"), of("vram"))
}

pub(super) async fn whoami(client: &Client, out: &Output) -> Result<(), CliError> {
    let me = client.get("/api/whoami-v2").await?;
    out.show(&me, |me| {
        let admin = if me["isAdmin"] == true { ", site admin" } else { "" };
        let (token, role) = (field(me, "/auth/accessToken/displayName"), field(me, "/auth/accessToken/role"));
        format!("{} (token {token:?}, role {role}{admin})", field(me, "/name"))
    });
    Ok(())
}

pub(super) async fn health(client: &Client, out: &Output) -> Result<(), CliError> {
    let (status, health) = client.look("/api/health").await?;
    out.show(&health, |health| {
        let mut rows = Vec::new();
        for (name, part) in health["parts"].as_object().into_iter().flatten() {
            let state = if part["ok"] == true { "ok" } else { "FAILED" };
            rows.push(vec![name.clone(), state.to_owned(), field(part, "/message")]);
        }
        plain_table(&["PART", "STATE", "MESSAGE"], &rows)
    });
    if status.is_success() {
        return Ok(());
    }
    Err(CliError::failed("the server is not ready").remedy("The parts that failed are listed above."))
}
