//! At which of its steps an operation is interrupted: all of them take long.

/// With this variable set to anything, nothing is sampled.
const SOAK: &str = "LACUNA_TEST_SOAK";

/// Which of the points that an operation passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// All.
    Every,
    /// Where a point follows another for the first or for the last time, unless this is a soak.
    Sampled,
}

impl Steps {
    /// Their numbers, in order, given the names of all.
    pub fn of(self, passed: &[&str]) -> Vec<usize> {
        let is_soak = std::env::var_os(SOAK).is_some_and(|value| !value.is_empty());
        match self == Self::Every || is_soak {
            true => (0..passed.len()).collect(),
            false => sample(passed),
        }
    }
}

fn sample(passed: &[&str]) -> Vec<usize> {
    let all = 0..passed.len();
    let pair = |number: usize| (number.checked_sub(1).map(|at| passed[at]), passed[number]);
    let is_chosen = |number: &usize| {
        let mut same = all.clone().filter(|other| pair(*other) == pair(*number));
        let first = same.next();
        first == Some(*number) || same.next_back() == Some(*number)
    };
    all.clone().filter(is_chosen).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_every_point_after_every_other() {
        let passed = ["write", "write", "write", "write", "sync", "write", "sync", "write", "sync"];
        assert_eq!(sample(&passed), [0, 1, 3, 4, 5, 7, 8]);
        assert_eq!(Steps::Every.of(&passed), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(sample(&[]).is_empty());
    }
}
