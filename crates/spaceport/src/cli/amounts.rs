//! Numbers as people write them: `2.5` devices, `100` hours; thousandths on the wire.

use serde_json::Value;

/// Thousandths of a number with at most three digits after the point.
pub(super) fn thousandths(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no number such as 2 or 0.5");
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(part) || text.ends_with('.') {
        return Err(wrong());
    }
    if part.len() > 3 {
        return Err(format!("{text:?} has more than three digits after the point"));
    }
    let whole: i64 = whole.parse().map_err(|_| wrong())?;
    let part: i64 = format!("{part:0<3}").parse().map_err(|_| wrong())?;
    whole.checked_mul(1000).and_then(|whole| whole.checked_add(part)).ok_or_else(wrong)
}

/// A bound; `None`: there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound(pub Option<i64>);

/// A number, or `none` for no such bound.
pub(super) fn bound(text: &str) -> Result<Bound, String> {
    if text == "none" { Ok(Bound(None)) } else { thousandths(text).map(|milli| Bound(Some(milli))) }
}

/// A whole number, or `none` for no such bound.
pub(super) fn most(text: &str) -> Result<Bound, String> {
    if text == "none" {
        return Ok(Bound(None));
    }
    match text.parse::<i64>() {
        Ok(number) if number >= 0 => Ok(Bound(Some(number))),
        _ => Err(format!("{text:?} is no whole number such as 10, and not none")),
    }
}

/// `2`, `0.5`; a dash for null.
pub(super) fn decimal(milli: &Value) -> String {
    let Some(milli) = milli.as_i64() else { return "-".to_owned() };
    match (milli / 1000, milli % 1000) {
        (whole, 0) => whole.to_string(),
        (whole, part) => format!("{whole}.{part:03}").trim_end_matches('0').to_owned(),
    }
}

/// `1 device`, `0.5 devices`.
pub(super) fn devices(milli: &Value) -> String {
    let number = decimal(milli);
    if number == "1" { "1 device".to_owned() } else { format!("{number} devices") }
}

/// Hours of so many seconds, with one digit after the point; a dash for null.
pub(super) fn hours(seconds: &Value) -> String {
    let tenths = seconds.as_i64().map(|seconds| seconds / 360);
    tenths.map_or_else(|| "-".to_owned(), |tenths| format!("{}.{}", tenths / 10, tenths % 10))
}

/// So many seconds in their two largest units: `45s`, `4m05s`, `1h30m`, `3d04h`.
pub(super) fn span(seconds: &Value) -> String {
    let seconds = seconds.as_u64().unwrap_or_default();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn spans_have_two_units() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (245, "4m05s"), (5400, "1h30m"), (273_600, "3d04h")] {
            assert_eq!(span(&json!(seconds)), text);
        }
    }

    #[test]
    fn numbers_are_read_exactly_or_not_at_all() {
        for (text, milli) in [("0", 0), ("2", 2000), ("0.5", 500), ("1.125", 1125)] {
            assert_eq!(thousandths(text), Ok(milli), "{text}");
            assert_eq!(decimal(&json!(milli)), text);
        }
        for text in ["", "-1", ".5", "1.", "1.0001", "1e3", "two", "9223372036854775807", "+1", "１"] {
            assert!(thousandths(text).is_err(), "{text}");
        }
        assert_eq!((devices(&json!(1000)), devices(&json!(500))), ("1 device".into(), "0.5 devices".into()));
        assert_eq!((most("none"), most("10")), (Ok(Bound(None)), Ok(Bound(Some(10)))));
        assert!(most("-1").is_err() && most("1.5").is_err());
        assert_eq!((bound("none"), bound("3")), (Ok(Bound(None)), Ok(Bound(Some(3000)))));
        assert_eq!(
            (decimal(&Value::Null), hours(&json!(5400)), hours(&Value::Null)),
            ("-".into(), "1.5".into(), "-".into())
        );
    }
}
