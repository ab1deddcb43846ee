//! Slows down whoever guesses passwords: after some failures every further attempt must wait, twice
//! as long each time, per account and per address.
//!
//! An attempt counts before the password is looked at, so that many at once gain nothing. Names
//! nobody has are counted like all others, or the wait would tell them apart. It is kept in memory:
//! after a restart everyone starts anew, which is worth less to an attacker than a table that grows
//! with each attempt costs us. Whoever wants to keep somebody out can do so for the longest wait;
//! sessions, links, tokens and the sign-in of a provider are not affected.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use spaceport_core::Timestamp;

/// Failures are forgotten when there was none for so long.
const FORGET: Duration = Duration::from_secs(60 * 60);
/// Names and addresses that are remembered; the ones that failed longest ago go first.
const MOST_KEYS: usize = 20_000;

/// Longest name that is told from others; no account has a longer one.
const LONGEST_NAME: usize = 128;

/// How patient the gate is.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// So many attempts are free.
    free: u32,
    /// The longest wait.
    longest: Duration,
}

const ACCOUNT: Patience = Patience { free: 5, longest: Duration::from_secs(5 * 60) };
/// Many people may share one address.
const ADDRESS: Patience = Patience { free: 20, longest: Duration::from_secs(15 * 60) };

/// Who failed how often.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    failures: Mutex<HashMap<Key, Failures>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Account(String),
    Address(String),
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Timestamp,
}

impl Failures {
    /// How long after the last failure the next attempt may be made.
    fn wait(self, patience: Patience) -> Duration {
        match self.count.checked_sub(patience.free) {
            None => Duration::ZERO,
            Some(over) => {
                let seconds = 1u64.checked_shl(over).filter(|seconds| *seconds > 0).unwrap_or(u64::MAX);
                Duration::from_secs(seconds).min(patience.longest)
            }
        }
    }
}

impl Gate {
    /// Counts an attempt, or says how long to wait before the next one.
    ///
    /// # Errors
    /// The time to wait.
    pub(crate) fn attempt(&self, account: &str, address: &str, now: Timestamp) -> Result<(), Duration> {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = keys(account, address);
        let mut left = Duration::ZERO;
        for (key, patience) in &keys {
            if let Some(known) = failures.get(key) {
                let passed = now.since(known.last);
                if passed >= FORGET {
                    failures.remove(key);
                } else {
                    left = left.max(known.wait(*patience).saturating_sub(passed));
                }
            }
        }
        if !left.is_zero() {
            return Err(left);
        }
        for (key, _) in keys {
            let known = failures.entry(key).or_insert(Failures { count: 0, last: now });
            *known = Failures { count: known.count.saturating_add(1), last: now };
        }
        if failures.len() > MOST_KEYS {
            make_room(&mut failures, now);
        }
        Ok(())
    }

    /// The attempt was none of a guesser: the account starts anew. The address only gets back the
    /// attempt, or an account of one's own would be enough to guess those of others without end.
    pub(crate) fn succeeded(&self, account: &str, address: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let [(account, _), (address, _)] = keys(account, address);
        failures.remove(&account);
        if let Some(known) = failures.get_mut(&address) {
            known.count = known.count.saturating_sub(1);
        }
    }
}

fn keys(account: &str, address: &str) -> [(Key, Patience); 2] {
    // Whoever sends a megabyte for a name means no account, and must not be remembered at that length.
    let account: String = account.chars().take(LONGEST_NAME).collect();
    [(Key::Account(account.to_lowercase()), ACCOUNT), (Key::Address(network(address)), ADDRESS)]
}

/// An IPv6 customer has at least a /64 of addresses (RFC 6177): they count as one.
pub(super) fn network(address: &str) -> String {
    match address.parse() {
        Ok(IpAddr::V6(address)) => format!("{:x?}", &address.segments()[..4]),
        Ok(IpAddr::V4(_)) | Err(_) => address.to_owned(),
    }
}

fn make_room(failures: &mut HashMap<Key, Failures>, now: Timestamp) {
    failures.retain(|_, known| now.since(known.last) < FORGET);
    if failures.len() > MOST_KEYS {
        let mut times: Vec<Timestamp> = failures.values().map(|known| known.last).collect();
        times.sort_unstable();
        let oldest = times[times.len() / 4];
        failures.retain(|_, known| known.last > oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Fails as soon as it may and says how long it had to wait.
    fn fail(gate: &Gate, account: &str, address: &str, now: &mut Timestamp) -> Duration {
        match gate.attempt(account, address, *now) {
            Ok(()) => Duration::ZERO,
            Err(wait) => {
                *now = *now + wait;
                assert_eq!(gate.attempt(account, address, *now), Ok(()));
                wait
            }
        }
    }

    #[test]
    fn the_wait_doubles_up_to_a_limit_and_is_forgotten() {
        let (gate, mut now) = (Gate::default(), Timestamp::from_millis(1_000_000));
        let waits: Vec<u64> =
            (0..18).map(|turn| fail(&gate, "alice", &format!("192.0.2.{turn}"), &mut now).as_secs()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300]);
        assert_eq!(fail(&gate, "bob", "198.51.100.1", &mut now), Duration::ZERO, "others do not wait");
        assert!(gate.attempt("ALICE", "198.51.100.2", now).is_err(), "whatever the case of the name");
        now = now + FORGET;
        assert_eq!(gate.attempt("alice", "198.51.100.3", now), Ok(()));
    }

    #[test]
    fn an_address_that_tries_many_names_waits_too() {
        let (gate, mut now) = (Gate::default(), Timestamp::from_millis(1_000_000));
        for turn in 0..ADDRESS.free {
            // Neighbours in one /64.
            let address = format!("2001:db8::{turn}");
            assert_eq!(fail(&gate, &format!("user{turn}"), &address, &mut now), Duration::ZERO);
        }
        assert_eq!(fail(&gate, "one-more", "2001:db8::ffff", &mut now), SECOND);
        assert_eq!(gate.attempt("one-more", "2001:db8:1::1", now), Ok(()), "another network");
    }

    #[test]
    fn success_frees_the_account_and_not_the_address() {
        let (gate, mut now) = (Gate::default(), Timestamp::from_millis(1_000_000));
        for turn in 1..ADDRESS.free {
            fail(&gate, &format!("user{turn}"), "192.0.2.1", &mut now);
            assert_eq!(gate.attempt("own", "192.0.2.1", now), Ok(()));
            gate.succeeded("own", "192.0.2.1");
        }
        assert_eq!(fail(&gate, "another", "192.0.2.1", &mut now), Duration::ZERO);
        assert_eq!(fail(&gate, "victim", "192.0.2.1", &mut now), SECOND);
    }

    #[test]
    fn names_that_nobody_can_have_are_not_kept_at_their_length() {
        let gate = Gate::default();
        let now = Timestamp::from_millis(1_000_000);
        for turn in 0..ADDRESS.free {
            let _ = gate.attempt(&format!("{turn}{}", "ü".repeat(1 << 20)), "192.0.2.1", now);
        }
        let failures = gate.failures.lock().unwrap();
        let bytes = failures.keys().map(|(Key::Account(text) | Key::Address(text))| text.len()).sum::<usize>();
        assert!(bytes < 16 << 10, "{bytes}");
        assert_eq!(failures.len(), usize::try_from(ADDRESS.free).unwrap() + 1);
    }

    #[test]
    fn it_remembers_so_many_and_no_more() {
        let gate = Gate::default();
        for turn in 0..MOST_KEYS {
            let now = Timestamp::from_millis(1_000_000 + i64::try_from(turn).unwrap());
            let _ = gate.attempt(&format!("user{turn}"), &format!("address {turn}"), now);
        }
        assert!(gate.failures.lock().unwrap().len() <= MOST_KEYS);
        assert!(gate.failures.lock().unwrap().contains_key(&Key::Account(format!("user{}", MOST_KEYS - 1))));
    }
}
