//! The engine's times.

use spaceport_core::Timestamp;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Nanoseconds since the epoch, from the engine's `2026-01-02T03:04:05.123456789Z`.
pub(crate) fn nanos(text: &str) -> Option<i64> {
    i64::try_from(OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos()).ok()
}

/// A time of a container's record; the engine writes the year 1 for "never", which is the epoch
/// here.
pub(crate) fn timestamp(text: Option<&str>) -> Timestamp {
    Timestamp::from_millis(text.and_then(nanos).map_or(0, |nanos| (nanos / 1_000_000).max(0)))
}

/// Now, by this host's clock: the only time nobody else gives us.
pub(crate) fn now() -> Timestamp {
    let nanos = OffsetDateTime::now_utc().unix_timestamp_nanos();
    Timestamp::from_millis(i64::try_from(nanos / 1_000_000).unwrap_or_default())
}

/// The form `since` of the events takes: seconds, a point, nine digits.
pub(crate) fn since(text: &str) -> Option<String> {
    let nanos = nanos(text)?;
    Some(format!("{}.{:09}", nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_engines_times() {
        assert_eq!(since("2026-01-02T03:04:05.000000007Z").unwrap(), "1767323045.000000007");
        assert_eq!(timestamp(Some("2026-01-02T03:04:05.678901234Z")).as_millis(), 1_767_323_045_678);
        assert_eq!(timestamp(Some("0001-01-01T00:00:00Z")).as_millis(), 0);
        assert_eq!(timestamp(None).as_millis(), 0);
    }
}
