use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::gpu::quota::Budget;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn entry(number: u128, account: &str, from: i64, until: i64) -> Entry {
    Entry {
        id: EntryId::new(at(0), number),
        lease: LeaseId::new(at(0), number),
        account: QuotaPath(account.to_owned()),
        space: SpaceId::new(at(0), number),
        space_name: format!("{account}-{number}"),
        flavor: FlavorName("a100".to_owned()),
        node: NodeName("box".to_owned()),
        device: DeviceId("GPU-1".to_owned()),
        model: "A100".to_owned(),
        milli: 1000,
        weight_milli: 1000,
        from: at(from),
        until: at(until),
        why: Some(LeaseEnd::Slept),
        refund_of: None,
    }
}

fn refund(number: u128, of: &Entry, from: i64, until: i64) -> Entry {
    let id = EntryId::new(at(0), number);
    let why = Some(LeaseEnd::DeviceLost);
    Entry { id, from: at(from), until: at(until), why, refund_of: Some(of.id), ..of.clone() }
}

#[test]
fn a_period_has_what_lies_in_it_and_refunds_take_it_back() {
    let long = entry(1, "lab/alice", -HOUR, 3 * HOUR);
    let half = Entry { milli: 500, weight_milli: 2000, ..entry(2, "lab/bob", HOUR, 2 * HOUR) };
    let back = refund(3, &long, 2 * HOUR, 3 * HOUR);
    let entries = [long, half, back];
    let day = Period { from: at(0), until: at(DAY) };
    let lab = used_by(&entries, &QuotaPath("lab".to_owned()), day);
    assert_eq!(
        (lab.used.hours(), lab.refunded.hours(), lab.net().hours()),
        ("3.500".into(), "1.000".into(), "2.500".into())
    );
    assert_eq!(
        lab.weighted,
        DeviceTime(i128::from(3 * HOUR) * 1_000_000),
        "half a device of double weight counts as one"
    );
    let accounts = report(&entries, day, By::Account);
    assert_eq!(accounts.keys().map(String::as_str).collect::<Vec<_>>(), ["lab/alice", "lab/bob"]);
    let before = Period { from: at(-DAY), until: at(0) };
    assert_eq!(used_by(&entries, &QuotaPath::site(), before).net().hours(), "1.000");
    assert_eq!(used_by(&entries, &QuotaPath("la".to_owned()), day), Usage::default(), "a part of a name is no place");
}

#[test]
fn a_clock_that_goes_back_counts_nothing() {
    let back = entry(1, "~alice", 5 * HOUR, HOUR);
    assert_eq!(back.time(), DeviceTime::ZERO);
    assert_eq!(report([&back], Period::ALWAYS, By::Account).len(), 0);
}

#[test]
fn budgets_have_a_soft_and_a_hard_edge_and_begin_anew() {
    let budget =
        Budget { period_days: 30, soft_milli_seconds: Some(3600 * 1000), hard_milli_seconds: Some(7200 * 1000) };
    let place = QuotaPath("lab".to_owned());
    let edge = |until: i64, now: i64| {
        let entries = [entry(1, "lab/alice", 0, until)];
        budget.edge(used_by(&entries, &place, budget.period(at(now))).net())
    };
    assert_eq!(edge(HOUR - 1, HOUR), BudgetEdge::Within);
    assert_eq!(edge(HOUR, HOUR), BudgetEdge::Soft);
    assert_eq!(edge(2 * HOUR, 2 * HOUR), BudgetEdge::Hard);
    assert_eq!(edge(2 * HOUR, 30 * DAY), BudgetEdge::Within);
    assert_eq!(budget.period(at(30 * DAY)), Period { from: at(30 * DAY), until: at(60 * DAY) });
}

#[test]
fn a_forecast_names_the_day_and_the_main_consumer() {
    let hours = |hours: u64| Some(hours * 3600 * 1000);
    let budget = Budget { period_days: 30, soft_milli_seconds: None, hard_milli_seconds: hours(100) };
    let place = QuotaPath("lab".to_owned());
    // Ten days, each with five hours of one Space and three of another.
    let entries: Vec<Entry> = (0..10)
        .flat_map(|day| {
            let begin = day * DAY;
            let alice = Entry {
                space_name: "lab/sdxl".to_owned(),
                ..entry(u128::from(day.unsigned_abs()), "lab/alice", begin, begin + 5 * HOUR)
            };
            let bob = entry(100 + u128::from(day.unsigned_abs()), "lab/bob", begin, begin + 3 * HOUR);
            [alice, bob]
        })
        .collect();
    let now = at(10 * DAY);
    let seen = forecast(&place, budget, &entries, now);
    assert_eq!(seen.used.hours(), "80.000");
    assert_eq!(seen.empty_at, Some(at(10 * DAY + 20 * DAY / 8)), "8 hours a day, 20 hours left");
    assert_eq!(
        seen.sentence(now),
        "At this rate the device time of lab is used up on 1970-01-13: 80.000 of 100.000 device hours are used; \
         main consumer: lab/sdxl (63 %)."
    );
    let ample = Budget { hard_milli_seconds: hours(1000), ..budget };
    let seen = forecast(&place, ample, &entries, now);
    assert_eq!((seen.empty_at, seen.by_end.hours().as_str()), (None, "240.000"));
    let spent = Budget { hard_milli_seconds: hours(80), ..budget };
    assert!(forecast(&place, spent, &entries, now).sentence(now).contains("is used up until 1970-01-31"));
    let idle = forecast(&place, budget, &[], now);
    assert_eq!((idle.empty_at, idle.main), (None, None));
}

#[test]
fn old_use_counts_less() {
    let half_life = Duration::from_millis(DAY.unsigned_abs());
    let now = at(10 * DAY);
    let fresh = decayed_use(&[entry(1, "~alice", 10 * DAY - HOUR, 10 * DAY)], now, half_life);
    let old = decayed_use(&[entry(1, "~alice", 9 * DAY - HOUR, 9 * DAY)], now, half_life);
    let account = QuotaPath("~alice".to_owned());
    let ratio = fresh[&account] / old[&account];
    assert!((ratio - 2.0).abs() < 1e-9, "{ratio}");
}

#[test]
fn rows_for_spreadsheets_cannot_run_formulas() {
    let row = csv_row(&Entry { space_name: "=cmd,\"x\"".to_owned(), ..entry(1, "~alice", 0, HOUR) });
    assert!(row.contains("\"'=cmd,\"\"x\"\"\""), "{row}");
    assert!(row.contains(",1970-01-01T00:00:00.000Z,1970-01-01T01:00:00.000Z,3600000000,1.000,slept,"), "{row}");
    assert_eq!(CSV_HEADER.split(',').count(), 16);
    let back = entry(1, "~alice", 0, HOUR);
    assert!(csv_row(&refund(2, &back, 0, HOUR)).contains(",-3600000000,-1.000,device_lost,"));
}

/// A lease as the store would keep it.
#[derive(Debug, Clone)]
struct Lived {
    milli: u32,
    account: usize,
    start: i64,
    end: Option<i64>,
    outage: Option<(i64, i64)>,
}

fn lived() -> impl Strategy<Value = Lived> {
    let outage = prop::option::of((0i64..2_000_000, 0i64..2_000_000));
    (1u32..=1000, 0usize..4, 0i64..1_000_000, prop::option::of(-1000i64..2_000_000), outage)
        .prop_map(|(milli, account, start, end, outage)| Lived { milli, account, start, end, outage })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn the_ledger_is_the_sum_of_the_leases(leases in prop::collection::vec(lived(), 0..20), now in 0i64..3_000_000, cut in 0i64..3_000_000, seed: u64) {
        let accounts = ["~alice", "lab/alice", "lab/bob", "shop/carol"];
        let (mut entries, mut sums) = (Vec::new(), vec![0i128; accounts.len()]);
        for (number, lease) in (1u128..).zip(&leases) {
            let until = lease.end.unwrap_or(now);
            let row = Entry { milli: lease.milli, ..entry(number, accounts[lease.account], lease.start, until) };
            let row = Entry { why: lease.end.map(|_| LeaseEnd::Stopped), ..row };
            let mut millis = i128::from((until - lease.start).max(0));
            if let Some((from, to)) = lease.outage {
                let (from, to) = (from.clamp(lease.start, until.max(lease.start)), to.clamp(lease.start, until.max(lease.start)));
                entries.push(refund(1000 + number, &row, from, to));
                millis -= i128::from((to - from).max(0));
            }
            sums[lease.account] += millis * i128::from(lease.milli);
            entries.push(row);
        }
        // Any order of events.
        entries.sort_by_key(|entry| (u64::try_from(entry.from.as_millis()).unwrap_or(0) ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let total = used_by(&entries, &QuotaPath::site(), Period::ALWAYS);
        prop_assert_eq!(total.net(), DeviceTime(sums.iter().sum()));
        for (account, sum) in accounts.iter().zip(&sums) {
            let used = used_by(&entries, &QuotaPath((*account).to_owned()), Period::ALWAYS);
            prop_assert_eq!(used.net(), DeviceTime(*sum));
        }
        for by in [By::Space, By::Account, By::Organization, By::Device, By::Model, By::Node, By::Flavor, By::Reason] {
            let parts: DeviceTime = report(&entries, Period::ALWAYS, by).values().map(Usage::net).sum();
            prop_assert_eq!(parts, total.net());
        }
        // Two periods side by side have what the whole has.
        let before = used_by(&entries, &QuotaPath::site(), Period { until: at(cut), ..Period::ALWAYS });
        let after = used_by(&entries, &QuotaPath::site(), Period { from: at(cut), ..Period::ALWAYS });
        prop_assert_eq!(before.net() + after.net(), total.net());
        // Decayed use is the same bits in any order.
        let decayed = decayed_use(&entries, at(now), Duration::from_secs(60));
        entries.reverse();
        prop_assert_eq!(decayed, decayed_use(&entries, at(now), Duration::from_secs(60)));
    }
}
