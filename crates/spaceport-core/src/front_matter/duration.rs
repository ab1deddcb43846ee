//! Durations as people write them in front matter: `30`, `30s`, `30m`, `1h`, `1h30m`, `1.5 hours`.
//!
//! A bare number is seconds, as in the Hub's other durations.

use std::time::Duration;

/// Why a text is not a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDuration {
    /// Not a number with a unit.
    #[error("not a duration")]
    Form,
    /// Zero.
    #[error("a duration of nothing")]
    Zero,
    /// More seconds than can be counted.
    #[error("longer than can be counted")]
    TooLong,
}

/// Parses a duration.
///
/// # Errors
/// When the text has another form, or the duration is zero or cannot be counted.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let text = text.trim();
    if text.is_empty() || text.len() > 64 || !text.is_ascii() {
        return Err(InvalidDuration::Form);
    }
    let mut total_ms: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let tail = tail.trim_start();
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        // Only a number that stands alone may lack its unit: in `1h30` nobody knows what 30 is.
        let unit_ms = if unit.is_empty() && number == text { 1000 } else { unit_ms(unit)? };
        total_ms = total_ms.checked_add(times(number, unit_ms)?).ok_or(InvalidDuration::TooLong)?;
        rest = tail.trim_start();
    }
    if total_ms == 0 { Err(InvalidDuration::Zero) } else { Ok(Duration::from_millis(total_ms)) }
}

fn unit_ms(unit: &str) -> Result<u64, InvalidDuration> {
    match unit.to_ascii_lowercase().as_str() {
        "s" | "sec" | "secs" | "second" | "seconds" => Ok(1000),
        "m" | "min" | "mins" | "minute" | "minutes" => Ok(60 * 1000),
        "h" | "hr" | "hrs" | "hour" | "hours" => Ok(60 * 60 * 1000),
        "d" | "day" | "days" => Ok(24 * 60 * 60 * 1000),
        _ => Err(InvalidDuration::Form),
    }
}

/// `number` × `unit_ms` in integers; parts of a millisecond are dropped.
fn times(number: &str, unit_ms: u64) -> Result<u64, InvalidDuration> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 6 {
        return Err(InvalidDuration::Form);
    }
    let whole: u64 = whole.parse().map_err(|_| InvalidDuration::TooLong)?;
    let parts: u64 = fraction.parse().map_err(|_| InvalidDuration::Form)?;
    let scale = fraction.bytes().fold(1_u64, |scale, _| scale * 10);
    whole.checked_mul(unit_ms).and_then(|ms| ms.checked_add(parts * unit_ms / scale)).ok_or(InvalidDuration::TooLong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, seconds) in [
            ("30", 30),
            ("30s", 30),
            ("30m", 30 * 60),
            ("1h", 3600),
            ("1h30m", 5400),
            ("1h 30m 5s", 5405),
            ("1.5h", 5400),
            ("30 minutes", 1800),
            ("2 Hours", 7200),
            ("1d", 86_400),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in ["", "m", "-5m", "1h30", "5 parsecs", "1..5h", ".", "1e9", "∞", "30m!", "h1"] {
            assert_eq!(parse(text), Err(InvalidDuration::Form), "{text}");
        }
        assert_eq!(parse("0m"), Err(InvalidDuration::Zero));
        assert_eq!(parse("99999999999999999999m"), Err(InvalidDuration::TooLong));
        assert!(parse("20000000000000m").is_ok_and(|long| long > crate::config::MAX_STARTUP_TIMEOUT));
    }
}
