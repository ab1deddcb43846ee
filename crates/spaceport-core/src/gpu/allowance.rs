//! What a place of the quota tree may have besides devices: Spaces, bytes, builds at once.

use std::fmt;

use super::{Quota, QuotaPath, QuotaTree};

/// What one account, a leaf of the tree, has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// Whose.
    pub account: QuotaPath,
    /// Spaces.
    pub spaces: u64,
    /// Bytes of repositories, large files and buckets.
    pub bytes: u64,
    /// Those of buckets among them.
    pub bucket_bytes: u64,
}

/// A place has all it may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Full {
    /// Whose quota it is.
    pub place: QuotaPath,
    /// Of what.
    pub what: Allowance,
    /// At most.
    pub limit: u64,
    /// What it has.
    pub has: u64,
    /// Of bytes: what is in buckets among them.
    pub in_buckets: u64,
    /// What was asked for besides.
    pub wanted: u64,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    /// Spaces.
    Spaces,
    /// Bytes.
    Storage,
    /// Builds at once.
    Builds,
}

impl QuotaTree {
    /// The places a claim on something counts against, with their quotas: the account itself and all above it.
    pub fn above<'a>(&'a self, account: &'a QuotaPath) -> impl Iterator<Item = (&'a QuotaPath, &'a Quota)> {
        self.places().filter(|(place, _)| account.is_within(place))
    }

    /// Whether any place above an account limits something besides devices.
    #[must_use]
    pub fn limits(&self, account: &QuotaPath, what: Allowance) -> bool {
        self.above(account).any(|(_, quota)| what.limit(quota).is_some())
    }

    /// Why an account may not have so much more; `None`: it may. What comes `from` another account, as when a
    /// repository moves, is nothing more for places that both are within.
    #[must_use]
    pub fn full(
        &self,
        account: &QuotaPath,
        from: Option<&QuotaPath>,
        what: Allowance,
        wanted: u64,
        holdings: &[Holding],
    ) -> Option<Full> {
        let new = self.above(account).filter(|(place, _)| from.is_none_or(|from| !from.is_within(place)));
        new.filter_map(|(place, quota)| {
            let limit = what.limit(quota)?;
            let below = holdings.iter().filter(|holding| holding.account.is_within(place));
            let (has, in_buckets) = below.fold((0u64, 0u64), |(has, in_buckets), holding| {
                (has.saturating_add(what.of(holding)), in_buckets.saturating_add(holding.bucket_bytes))
            });
            let full = Full { place: place.clone(), what, limit, has, in_buckets, wanted };
            (has.saturating_add(wanted) > limit).then_some(full)
        })
        .next()
    }
}

impl Allowance {
    /// What a quota says of it.
    #[must_use]
    pub const fn limit(self, quota: &Quota) -> Option<u64> {
        match self {
            Self::Spaces => quota.max_spaces,
            Self::Storage => quota.max_storage_bytes,
            Self::Builds => quota.max_builds,
        }
    }

    const fn of(self, holding: &Holding) -> u64 {
        match self {
            Self::Spaces => holding.spaces,
            Self::Storage => holding.bytes,
            Self::Builds => 0,
        }
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, what, limit, has, in_buckets, wanted } = self;
        let whose = if *place == QuotaPath::site() { "this site".to_owned() } else { format!("{place}") };
        let whose = whose.strip_prefix('~').unwrap_or(&whose);
        match what {
            Allowance::Spaces => write!(
                f,
                "{whose} may have {limit} {} and has {has}; delete one that is not needed, or ask an administrator \
                 for a larger quota",
                if *limit == 1 { "Space" } else { "Spaces" }
            ),
            Allowance::Storage => {
                write!(f, "{whose} may store {} and stores {}", Bytes(*limit), Bytes(*has))?;
                if *in_buckets > 0 {
                    write!(f, " ({} of it in buckets)", Bytes(*in_buckets))?;
                }
                write!(
                    f,
                    ", so {} more do not fit; delete repositories, large files or files in buckets that are not needed, \
                     or ask an administrator for a larger quota",
                    Bytes(*wanted)
                )
            }
            Allowance::Builds => {
                write!(f, "{whose} may build {limit} at once and does; it begins when one of them ends")
            }
        }
    }
}

/// Bytes as people read them.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match UNITS.into_iter().find(|(unit, _)| self.0 >= *unit) {
            None => write!(f, "{} bytes", self.0),
            Some((unit, name)) => {
                let tenths = self.0 / (unit / 1024) * 10 / 1024;
                write!(f, "{}.{} {name}", tenths / 10, tenths % 10)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::QuotaNode;
    use super::*;

    fn path(text: &str) -> QuotaPath {
        QuotaPath(text.to_owned())
    }

    fn tree(places: &[(&str, Quota)]) -> QuotaTree {
        let nodes = places.iter().map(|(place, quota)| QuotaNode { path: path(place), quota: quota.clone() });
        QuotaTree::new(nodes).unwrap()
    }

    fn holding(account: &str, spaces: u64, bytes: u64) -> Holding {
        Holding { account: path(account), spaces, bytes, bucket_bytes: bytes / 5 }
    }

    #[test]
    fn what_lies_below_a_place_counts_against_it() {
        let quota = Quota { max_spaces: Some(3), ..Quota::default() };
        let tree = tree(&[("lab", quota)]);
        let holdings = [holding("lab/alice", 2, 0), holding("lab/bob", 1, 0), holding("~alice", 9, 0)];
        let full = tree.full(&path("lab/carol"), None, Allowance::Spaces, 1, &holdings).unwrap();
        assert_eq!((full.has, full.limit), (3, 3));
        assert!(full.to_string().starts_with("lab may have 3 Spaces and has 3; delete one"), "{full}");
        assert_eq!(tree.full(&path("~alice"), None, Allowance::Spaces, 1, &holdings), None);
        // Within the lab a Space moves freely.
        assert_eq!(tree.full(&path("lab/bob"), Some(&path("lab/alice")), Allowance::Spaces, 1, &holdings), None);
        assert!(tree.full(&path("lab/bob"), Some(&path("~alice")), Allowance::Spaces, 1, &holdings).is_some());
    }

    #[test]
    fn the_site_limits_everybody_and_bytes_are_told_as_people_read_them() {
        let quota = Quota { max_storage_bytes: Some(3 << 30), ..Quota::default() };
        let tree = tree(&[("", quota)]);
        let holdings = [holding("~alice", 0, (5 << 30) / 2)];
        assert_eq!(tree.full(&path("~bob"), None, Allowance::Storage, 1 << 29, &holdings), None);
        let full = tree.full(&path("~bob"), None, Allowance::Storage, 1 << 30, &holdings).unwrap();
        let told = full.to_string();
        assert!(
            told.starts_with(
                "this site may store 3.0 GiB and stores 2.5 GiB (512.0 MiB of it in buckets), so 1.0 GiB more"
            ),
            "{told}"
        );
        assert!(tree.limits(&path("~bob"), Allowance::Storage) && !tree.limits(&path("~bob"), Allowance::Spaces));
    }

    #[test]
    fn absurd_amounts_are_refused_and_do_not_overflow() {
        let quota = Quota { max_storage_bytes: Some(u64::MAX - 1), ..Quota::default() };
        let tree = tree(&[("lab", quota)]);
        let holdings = [holding("lab/alice", 0, u64::MAX), holding("lab/bob", 0, u64::MAX)];
        assert!(tree.full(&path("lab/alice"), None, Allowance::Storage, u64::MAX, &holdings).is_some());
    }
}
