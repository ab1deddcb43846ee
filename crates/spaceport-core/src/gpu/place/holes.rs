//! What a hole of each size is worth: the parts of a device that the workload would put into it.

use std::collections::BTreeMap;

use crate::gpu::device::WHOLE_MILLI;

/// How many claims a hole is shown. What makes up a twentieth of the workload then comes almost certainly (96 %), what
/// makes up a hundredth comes every other time: holes are made for what is asked for, not for what might be.
const CLAIMS: u32 = 64;

/// Worth is rounded to this part of a thousandth, so that sums do not depend on their order.
const GRAIN: f64 = 1024.0;

/// The worth of a hole by its size.
#[derive(Debug, Clone)]
pub struct Holes {
    /// All claims are multiples of it, so holes in between are worth no more.
    step: u32,
    worth: Vec<f64>,
}

impl Holes {
    /// From the parts that are asked for, in thousandths, with how often.
    #[expect(clippy::cast_precision_loss, reason = "up to a thousand")]
    pub fn new(parts: impl Iterator<Item = (u32, f64)>) -> Self {
        let mut shares: BTreeMap<u32, f64> = BTreeMap::new();
        for (milli, count) in parts.filter(|(milli, _)| (1..=WHOLE_MILLI).contains(milli)) {
            *shares.entry(milli).or_default() += count;
        }
        let all: f64 = shares.values().sum();
        let step = shares.keys().fold(WHOLE_MILLI, |step, milli| greatest_common_divisor(step, *milli));
        let shares: Vec<(usize, f64)> =
            shares.into_iter().map(|(milli, count)| ((milli / step) as usize, count / all)).collect();
        let mut worth = vec![0.0; (WHOLE_MILLI / step) as usize + 1];
        for _ in 0..CLAIMS {
            // From above, since a hole becomes a smaller one that is shown one claim less.
            for hole in (1..worth.len()).rev() {
                let gain = |(part, share): &(usize, f64)| {
                    share * (*part as f64 * f64::from(step) + worth[hole - part] - worth[hole])
                };
                let gain: f64 = shares.iter().take_while(|(part, _)| *part <= hole).map(gain).sum();
                worth[hole] += gain;
            }
        }
        let mut smaller: f64 = 0.0;
        for worth in &mut worth {
            // Greedy claims can waste a larger hole; it still does whatever a smaller one does.
            smaller = smaller.max((*worth * GRAIN).round() / GRAIN);
            *worth = smaller;
        }
        Self { step, worth }
    }

    /// In thousandths of a device.
    pub fn worth(&self, free_milli: i32) -> f64 {
        let free = u32::try_from(free_milli).unwrap_or(0).min(WHOLE_MILLI);
        self.worth[(free / self.step) as usize]
    }
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_is_worth_what_fits_it() {
        let holes = Holes::new([(500, 3.0), (300, 1.0)].into_iter());
        assert_eq!(holes.worth(299), 0.0);
        assert!((holes.worth(300) - 300.0).abs() < 0.1);
        // One in sixteen begins with two small parts, and 200 are left.
        assert!((holes.worth(800) - 787.5).abs() < 0.1, "{}", holes.worth(800));
        let (all, beside_a_300) = (holes.worth(1000), holes.worth(700));
        assert!(all > 900.0 && beside_a_300 < all - 300.0, "{all} {beside_a_300}");
    }

    #[test]
    fn a_rare_claim_makes_no_hole_worth_keeping() {
        let holes = Holes::new([(800, 1000.0), (200, 1.0)].into_iter());
        assert!(holes.worth(200) < 20.0, "{}", holes.worth(200));
    }

    #[test]
    fn more_is_never_worth_less() {
        let holes = Holes::new([(470, 7.0), (810, 10.0), (1000, 40.0), (160, 1.0)].into_iter());
        assert!((0..1000).all(|free| holes.worth(free) <= holes.worth(free + 1)));
        assert_eq!(holes.worth(-5), 0.0);
    }

    #[test]
    fn nothing_expected_is_worth_nothing() {
        assert_eq!(Holes::new(std::iter::empty()).worth(1000), 0.0);
    }
}
