//! The expectation of the lesser of two amounts, one of which is uncertain.

/// Steps of the table per standard deviation.
const STEPS: usize = 64;
/// Beyond so many standard deviations there is nothing to lose.
const REACH: usize = 6;

/// The loss function of the normal distribution, `L(z) = E[max(0, X - z)]` for a standard normal `X`, as a
/// table for `0 <= z <= 6`.
///
/// By it `E[min(m, Z)] = min(m, mean) - deviation * L(|m - mean| / deviation)` for a normal `Z`.
#[derive(Debug, Clone)]
pub struct Loss {
    table: Vec<f64>,
}

impl Loss {
    /// Integrates from the far end: `L' = -(1 - Φ)`, and the density is `-(1 - Φ)'`.
    #[expect(clippy::cast_precision_loss, reason = "a few hundred steps")]
    pub fn new() -> Self {
        const STEP: f64 = 1.0 / STEPS as f64;
        let density = |z: f64| (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let mut table = vec![0.0; REACH * STEPS + 2];
        let (mut tail, mut loss) = (0.0, 0.0);
        for at in (0..=REACH * STEPS).rev() {
            let z = at as f64 * STEP;
            // Simpson for the tail; its curve's slope is known at both ends, so the loss gets a corrected trapezoid.
            let before = tail;
            tail += STEP / 6.0 * (density(z) + 4.0 * density(z + STEP / 2.0) + density(z + STEP));
            loss += STEP * f64::midpoint(before, tail) - STEP * STEP / 12.0 * (density(z) - density(z + STEP));
            table[at] = loss;
        }
        Self { table }
    }

    /// `E[min(most, Z)]` for a normal `Z`.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 6 × 64")]
    #[expect(clippy::cast_precision_loss, reason = "a few hundred steps")]
    pub fn lesser(&self, most: f64, mean: f64, deviation: f64) -> f64 {
        let apart = (most - mean).abs();
        if apart >= deviation * REACH as f64 {
            return most.min(mean);
        }
        let at = apart / deviation * STEPS as f64;
        let step = at as usize;
        let (left, right) = (self.table[step], self.table[step + 1]);
        most.min(mean) - deviation * (left + (right - left) * (at - step as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lesser_of_equals_loses_deviation_over_root_two_pi() {
        let loss = Loss::new();
        let expected = 10.0 - 2.0 / (2.0 * std::f64::consts::PI).sqrt();
        assert!((loss.lesser(10.0, 10.0, 2.0) - expected).abs() < 1e-6);
        // L(1) = 0.083315, from tables of the normal distribution.
        assert!((loss.lesser(12.0, 10.0, 2.0) - (10.0 - 2.0 * 0.083_315)).abs() < 1e-4);
        assert!((loss.lesser(8.0, 10.0, 2.0) - (8.0 - 2.0 * 0.083_315)).abs() < 1e-4);
    }

    #[test]
    fn far_apart_or_certain_it_is_the_lesser() {
        let loss = Loss::new();
        assert_eq!(loss.lesser(1.0, 100.0, 2.0), 1.0);
        assert_eq!(loss.lesser(100.0, 1.0, 2.0), 1.0);
        assert_eq!(loss.lesser(5.0, 3.0, 0.0), 3.0);
        assert_eq!(loss.lesser(3.0, 3.0, 0.0), 3.0);
    }
}
