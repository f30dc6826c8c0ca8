//! Many samples, few numbers.

/// What a list of samples says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Half of the samples are below.
    pub median: f64,
    /// The lowest.
    pub min: f64,
    /// 99 of 100 are below; only for a hundred samples and more.
    pub p99: Option<f64>,
    /// How many there were.
    pub samples: usize,
}

impl Summary {
    /// Of these samples; `None` without any.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        let (low, high) = (
            sorted.get(count.checked_sub(1)? / 2)?,
            sorted.get(count / 2)?,
        );
        Some(Self {
            median: f64::midpoint(*low, *high),
            min: *sorted.first()?,
            p99: (count >= 100)
                .then(|| sorted.get((count * 99).div_ceil(100) - 1).copied())
                .flatten(),
            samples: count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        let median = |samples: &[f64]| Summary::of(samples).map(|summary| summary.median);
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 3.0, 5.0]), Some(4.0));
    }

    #[test]
    fn a_percentile_needs_a_hundred_samples() {
        let samples: Vec<f64> = (1..=100).map(f64::from).collect();
        let of = |count: usize| Summary::of(&samples[..count]).unwrap();
        assert_eq!(of(99).p99, None);
        assert_eq!(of(100).p99, Some(99.0));
        assert_eq!((of(100).min, of(100).samples), (1.0, 100));
    }
}
