//! Medians, quartiles and percentiles.

/// What is made of many samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Statistic {
    /// The median, between the quartiles.
    Median,
    /// The 99th percentile, between the median and the greatest.
    Percentile99,
    /// The least, between itself and the greatest.
    Least,
}

/// A figure and how far the samples spread around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) lower: f64,
    pub(crate) figure: f64,
    pub(crate) upper: f64,
}

impl Statistic {
    /// Not numbers when there are no samples.
    pub(crate) fn of(self, samples: &[f64]) -> Summary {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let [lower, figure, upper] = match self {
            Self::Median => [25, 50, 75],
            Self::Percentile99 => [50, 99, 100],
            Self::Least => [0, 0, 100],
        }
        .map(|percent| percentile(&sorted, percent));
        Summary { lower, figure, upper }
    }

    /// What the three numbers of a summary are.
    pub(crate) const fn in_words(self) -> &'static str {
        match self {
            Self::Median => "median (lower..upper quartile)",
            Self::Percentile99 => "99th percentile (median..greatest)",
            Self::Least => "least (least..greatest)",
        }
    }
}

/// The value below which so many percent of the sorted samples lie; between two samples it is on the straight line from
/// one to the other, and without samples not a number.
fn percentile(sorted: &[f64], percent: u8) -> f64 {
    let steps = sorted.len().saturating_sub(1) * usize::from(percent);
    let (place, rest) = (steps / 100, steps % 100);
    let below = sorted.get(place).copied().unwrap_or(f64::NAN);
    let above = sorted.get(place + 1).copied().unwrap_or(below);
    // The rest is less than 100.
    below + (above - below) * f64::from(u8::try_from(rest).unwrap_or(0)) / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_split_the_samples_in_four() {
        let summary = Statistic::Median.of(&[5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!(summary, Summary { lower: 2.0, figure: 3.0, upper: 4.0 });
    }

    #[test]
    fn between_samples_is_a_straight_line() {
        let summary = Statistic::Median.of(&[10.0, 20.0]);
        assert_eq!(summary, Summary { lower: 12.5, figure: 15.0, upper: 17.5 });
        assert!((percentile(&[0.0, 1.0, 2.0, 3.0], 90) - 2.7).abs() < 1e-9);
    }

    #[test]
    fn tails_and_extremes() {
        let samples: Vec<f64> = (0..=100).map(f64::from).collect();
        let tail = Statistic::Percentile99.of(&samples);
        assert_eq!(tail, Summary { lower: 50.0, figure: 99.0, upper: 100.0 });
        assert_eq!(Statistic::Least.of(&[3.0, 1.0, 2.0]), Summary { lower: 1.0, figure: 1.0, upper: 3.0 });
    }

    #[test]
    fn few_samples_are_no_trouble() {
        assert!(Statistic::Median.of(&[]).figure.is_nan());
        assert_eq!(Statistic::Median.of(&[7.0]), Summary { lower: 7.0, figure: 7.0, upper: 7.0 });
    }
}
