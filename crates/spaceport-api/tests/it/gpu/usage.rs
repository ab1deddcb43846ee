use std::time::Duration;

use serde_json::{Value, json};
use spaceport_core::gpu::LeaseEnd;
use spaceport_store::LedgerFilter;

use super::stage::Stage;

const HOUR: Duration = Duration::from_secs(3600);

/// alice had a device for two hours and carol, in the lab, for one; bob's goes on for half an hour.
async fn used() -> Vec<Stage> {
    let all = Stage::everywhere().await;
    for stage in &all {
        let own = stage.app.space(&stage.alice, "own", "private").await;
        let demo = stage.app.space(&stage.carol, "demo", "private").await;
        let long = stage.app.space(&stage.bob, "long", "private").await;
        let (first, second) = (stage.holds(&own, "~alice", 0).await, stage.holds(&demo, "lab/carol", 1).await);
        stage.app.clock.advance(HOUR);
        stage.ends(&second, LeaseEnd::Preempted).await;
        stage.app.clock.advance(HOUR);
        stage.ends(&first, LeaseEnd::Stopped).await;
        stage.holds(&long, "~bob", 1).await;
        stage.app.clock.advance(HOUR / 2);
    }
    all
}

fn rows(usage: &Value) -> Vec<(&str, &str)> {
    let rows = usage["rows"].as_array().unwrap().iter();
    rows.map(|row| (row["key"].as_str().unwrap(), row["chargedHours"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn use_is_added_up_by_whatever_is_asked() {
    for stage in used().await {
        for (query, expected, total) in [
            ("", vec![("~alice", "2.000"), ("lab/carol", "1.000"), ("~bob", "0.500")], "3.500"),
            ("?by=space", vec![("alice/own", "2.000"), ("carol/demo", "1.000"), ("bob/long", "0.500")], "3.500"),
            ("?by=organization", vec![("~alice", "2.000"), ("lab", "1.000"), ("~bob", "0.500")], "3.500"),
            ("?by=device", vec![("GPU-0", "2.000"), ("GPU-1", "1.500")], "3.500"),
            ("?by=reason", vec![("stopped", "2.000"), ("preempted", "1.000"), ("running", "0.500")], "3.500"),
            ("?account=lab", vec![("lab/carol", "1.000")], "1.000"),
            ("?device=GPU-1&by=space", vec![("carol/demo", "1.000"), ("bob/long", "0.500")], "1.500"),
            ("?space=alice/own", vec![("~alice", "2.000")], "2.000"),
        ] {
            let usage = stage.get(&format!("/api/usage{query}"), &stage.root).await;
            assert_eq!((rows(&usage), &usage["total"]["chargedHours"]), (expected, &json!(total)), "{query}");
        }
        let from = stage.now() - HOUR;
        let usage = stage.get(&format!("/api/usage?from={from}"), &stage.root).await;
        assert_eq!(rows(&usage), [("~alice", "0.500"), ("~bob", "0.500")], "only what lies in the period");
        assert_eq!(usage["total"]["chargedMilliDeviceMs"], "3600000000");
    }
}

#[tokio::test]
async fn long_reports_come_in_pages_of_one_period() {
    for stage in used().await {
        let all = stage.get("/api/usage", &stage.root).await;
        let (mut next, mut seen) = (Some("/api/usage?limit=1".to_owned()), Vec::new());
        while let Some(path) = next.take() {
            let page = stage.app.get(&path, Some(&stage.root.read)).await;
            assert_eq!((&page.json["from"], &page.json["until"]), (&all["from"], &all["until"]));
            assert_eq!((rows(&page.json).len(), &page.json["total"]), (1, &all["total"]));
            seen.extend(page.json["rows"].as_array().unwrap().clone());
            // What goes on in between is not of this period.
            stage.app.clock.advance(HOUR);
            let link = page.header("link").strip_prefix(&format!("<{}", stage.app.url));
            next = link.map(|link| link.strip_suffix(">; rel=\"next\"").unwrap().to_owned());
        }
        assert_eq!(Value::Array(seen), all["rows"]);
        let wrong = stage.app.get("/api/usage?cursor=here", Some(&stage.root.read)).await;
        assert!(wrong.status == 400 && wrong.text.contains("'cursor'"), "{}", wrong.text);
    }
}

#[tokio::test]
async fn everybody_sees_their_own_use() {
    for stage in used().await {
        for (person, expected) in [
            (&stage.alice, vec![("~alice", "2.000"), ("lab/carol", "1.000")]),
            (&stage.carol, vec![("lab/carol", "1.000")]),
            (&stage.bob, vec![("~bob", "0.500")]),
        ] {
            let usage = stage.get("/api/usage", person).await;
            assert_eq!(rows(&usage), expected, "{}", person.account.name);
        }
        for (query, status, part) in [
            ("account=~alice", 403, "not for you to see"),
            ("account=lab", 403, "not for you to see"),
            ("account=nobody", 404, "no organization"),
            ("space=alice/own", 404, ""),
            ("space=own", 400, "owner/name"),
            ("by=weather", 400, "'by' must be"),
            ("from=yesterday", 400, "'from'"),
            ("from=2026-01-02&until=2026-01-01", 400, "must lie before"),
        ] {
            let answer = stage.app.get(&format!("/api/usage?{query}"), Some(&stage.bob.read)).await;
            assert_eq!(answer.status.as_u16(), status, "{query}: {}", answer.text);
            assert!(answer.text.contains(part), "{part}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn spreadsheets_get_the_rows() {
    for stage in used().await {
        let accept = [("accept", "text/csv")];
        let sheet = stage.app.send("GET", "/api/usage", Some(&stage.alice.read), &accept, Vec::new()).await;
        assert_eq!((sheet.status.as_u16(), sheet.header("content-type")), (200, "text/csv; charset=utf-8"));
        let lines: Vec<&str> = sheet.text.lines().collect();
        assert_eq!(lines.len(), 3, "{}", sheet.text);
        assert!(lines[0].starts_with("id,lease,account,space,"), "{}", lines[0]);
        assert!(
            lines[1..].iter().any(|line| line.contains(",lab/carol,carol/demo,") && line.contains(",1.000,preempted"))
        );
    }
}

#[tokio::test]
async fn admins_give_back_what_was_not_worth_anything() {
    for stage in used().await {
        let row = stage.app.store.ledger(&LedgerFilter::default(), None, 1).await.unwrap().remove(0);
        let path = format!("/api/usage/{}/refund", row.id);
        let half = row.from + HOUR / 2;
        let body = json!({"reason": "device_lost", "until": half.to_rfc3339()});
        assert_eq!(stage.post(&path, &stage.alice, &body).await.status, 403);
        let given = stage.post(&path, &stage.root, &body).await;
        assert_eq!(given.status, 200, "{}", given.text);
        assert_eq!(stage.audited("usage.refund", row.account.0.as_str()).await["hours"], "0.500");
        let usage = stage.get(&format!("/api/usage?account={}", row.account), &stage.root).await;
        assert_eq!(
            (&usage["total"]["refundedHours"], &usage["total"]["chargedHours"]),
            (&json!("0.500"), &json!("0.500"))
        );
        let absent = format!("/api/usage/{}/refund", spaceport_core::EntryId::from(row.lease));
        for (path, body, status, part) in [
            (&path, body.clone(), 400, "given back"),
            (&path, json!({"reason": "node_lost", "from": "1970-01-01"}), 400, "given back"),
            (&path, json!({"reason": "stopped"}), 400, "device_lost, node_lost or start_failed"),
            (&path, json!({"reason": "weather"}), 400, "device_lost, node_lost or start_failed"),
            (&absent, body.clone(), 404, "no row"),
        ] {
            let answer = stage.post(path, &stage.root, &body).await;
            assert_eq!(answer.status.as_u16(), status, "{body}: {}", answer.text);
            assert!(answer.text.contains(part), "{part}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn budgets_say_when_they_will_be_empty() {
    for stage in used().await {
        let budget = json!({"periodDays": 3650, "hardDeviceSeconds": 36_000});
        let set = async |place: &str| {
            let path = format!("/api/quotas/{place}");
            let answer = stage.app.call("PUT", &path, Some(&stage.root.write), &json!({"budget": budget})).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
        };
        set("lab").await;
        set("~bob").await;
        let seen = stage.get("/api/usage/forecast", &stage.alice).await;
        assert_eq!(seen.as_array().unwrap().len(), 1, "bob's is not for her: {seen}");
        let lab = &seen[0];
        assert_eq!(
            (&lab["place"], &lab["usedHours"], &lab["limitHours"]),
            (&json!("lab"), &json!("1.000"), &json!("10.000"))
        );
        assert_eq!((&lab["mainConsumer"], &lab["mainPartMilli"]), (&json!("carol/demo"), &json!(1000)));
        assert!(lab["emptyAt"].is_string() && lab["sentence"].as_str().unwrap().starts_with("At this rate"), "{lab}");
        let forecast = "/api/usage/forecast?account=";
        assert_eq!(stage.get(&format!("{forecast}~bob"), &stage.root).await[0]["place"], "~bob");
        assert_eq!(stage.app.get(&format!("{forecast}~bob"), Some(&stage.carol.read)).await.status, 403);
        assert_eq!(stage.app.get(&format!("{forecast}~alice"), Some(&stage.alice.read)).await.status, 404);
    }
}

#[tokio::test]
async fn prometheus_reads_it_all() {
    for stage in used().await {
        let waiting = stage.app.space(&stage.alice, "later", "private").await;
        stage.claim(&waiting, "~alice").await;
        stage.app.clock.advance(Duration::from_secs(90));
        let metrics = stage.app.get("/metrics", Some(&stage.root.write)).await;
        assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
        for line in [
            "spaceport_gpu_healthy{node=\"box\",device=\"GPU-0\",model=\"NVIDIA L4\"} 1",
            "spaceport_gpu_allocated_ratio{node=\"box\",device=\"GPU-1\",model=\"NVIDIA L4\"} 1.000",
            "spaceport_gpu_utilization_ratio{node=\"box\",device=\"GPU-0\",model=\"NVIDIA L4\"} 0.420",
            "spaceport_gpu_queue_claims{account=\"~alice\"} 1",
            "spaceport_gpu_queue_oldest_seconds{account=\"~alice\"} 90.000",
            "spaceport_gpu_account_devices{account=\"~bob\"} 1.000",
            "spaceport_gpu_device_seconds_total{account=\"lab/carol\"} 3600.000",
            "spaceport_gpu_device_seconds_total{account=\"~bob\"} 1890.000",
            "spaceport_gpu_wait_seconds_count{account=\"~alice\"} 1",
            "spaceport_gpu_leases_ended_total{account=\"~alice\",reason=\"stopped\"} 1",
            "spaceport_gpu_preemptions_total{account=\"lab/carol\"} 1",
        ] {
            assert!(metrics.text.lines().any(|found| found == line), "{line}\n{}", metrics.text);
        }
        for line in metrics.text.lines() {
            assert!(line.starts_with("# ") || line.starts_with("spaceport_gpu_"), "{line}");
        }
        assert_eq!(stage.app.get("/metrics", Some(&stage.alice.write)).await.status, 403);
        assert_eq!(stage.app.get("/metrics", None).await.status, 401);
    }
}

#[tokio::test]
async fn a_counter_does_not_go_back_when_a_lease_ended_before_it_was_read() {
    for stage in Stage::everywhere().await {
        let space = stage.app.space(&stage.alice, "own", "private").await;
        let lease = stage.holds(&space, "~alice", 0).await;
        let told = async || {
            let metrics = stage.app.get("/metrics", Some(&stage.root.write)).await.text;
            let name = "spaceport_gpu_device_seconds_total{account=\"~alice\"} ";
            metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned()
        };
        stage.app.clock.advance(HOUR);
        let seen = stage.now();
        stage.app.clock.advance(Duration::from_secs(5));
        assert_eq!(told().await, "3605.000");
        // What looked a moment before ends it as of then.
        assert!(stage.app.store.lease_end(&lease, LeaseEnd::Stopped, seen).await.unwrap());
        assert_eq!(told().await, "3605.000");
        stage.holds(&space, "~alice", 0).await;
        stage.app.clock.advance(Duration::from_secs(10));
        assert_eq!(told().await, "3610.000");
    }
}
