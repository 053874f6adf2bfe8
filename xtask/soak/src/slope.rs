//! How fast a figure grows.

/// The median of the slopes between all pairs of points (Theil and Sen): unlike a fitted line, it does not follow a
/// few points that stand out. `None` if no two points differ in `x`.
pub(crate) fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let pairs =
        points.iter().enumerate().flat_map(|(i, one)| points[i + 1..].iter().map(move |two| (one, two)));
    let mut slopes: Vec<f64> = pairs
        .filter(|(one, two)| two.0 > one.0)
        .map(|(one, two)| (two.1 - one.1) / (two.0 - one.0))
        .collect();
    slopes.sort_by(f64::total_cmp);
    slopes.get(slopes.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three minutes of a figure that wanders by 100,000 up and down, leaks `leak` a second, and stands out at times.
    fn figures(leak: f64) -> Vec<(f64, f64)> {
        let noise = |second: u32| f64::from(second * 7_919 % 201) * 1_000.0 - 100_000.0;
        let outlier = |second: u32| if second.is_multiple_of(60) { 3e6 } else { 0.0 };
        let figure = |second| f64::from(second) * leak + noise(second) + outlier(second);
        (0..180).map(|second| (f64::from(second), 50e6 + figure(second))).collect()
    }

    #[test]
    fn a_leak_shows_through_the_noise() {
        // What 256 bytes for each of 20 requests a second are.
        let found = slope(&figures(5_120.0)).unwrap();
        assert!((4_500.0..5_700.0).contains(&found), "{found}");
    }

    #[test]
    fn noise_alone_is_no_leak() {
        let found = slope(&figures(0.0)).unwrap();
        assert!(found.abs() < 600.0, "{found}");
    }

    #[test]
    fn one_point_has_no_slope() {
        assert_eq!(slope(&[]), None);
        assert_eq!(slope(&[(1.0, 2.0)]), None);
        assert_eq!(slope(&[(0.0, 1.0), (2.0, 5.0)]), Some(2.0));
    }
}
