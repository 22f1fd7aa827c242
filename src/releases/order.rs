//! The order of versions as publishers count them: `12.9.0` before `12.10.0`, `20251020-2274` before `20251103-2287`. Pure.

use std::cmp::Ordering;

/// Compares the numbers in two versions, one by one; of versions with the same numbers, the texts.
pub fn compare(one: &str, other: &str) -> Ordering {
    let numbers = numbers(one).cmp(numbers(other));
    numbers.then_with(|| one.cmp(other))
}

/// Numbers as they compare: their lengths first, as publishers also count in dates with times of day.
fn numbers(version: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbers = version.split(|c: char| !c.is_ascii_digit());
    let numbers = numbers.filter(|digits| !digits.is_empty());
    numbers.map(|digits| {
        let digits = digits.trim_start_matches('0');
        (digits.len(), digits)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_and_not_letters() {
        for (older, newer) in [
            ("12.9.0", "12.10.0"),
            ("24.04", "24.04.1"),
            ("9.9", "10.0"),
            ("9.6-20250522.0", "9.6-20250522.1"),
            ("20251020-2274", "20251103-2287"),
            ("202511031530", "20251103153000000000000000"),
            ("15.6-709.1", "15.6-710.3"),
            ("3.22.2-r0", "3.22.10-r0"),
            ("08", "9"),
        ] {
            assert_eq!(compare(older, newer), Ordering::Less, "{older} {newer}");
            assert_eq!(compare(newer, older), Ordering::Greater, "{newer} {older}");
        }
        assert_eq!(compare("12.1", "12.1"), Ordering::Equal);
    }
}
