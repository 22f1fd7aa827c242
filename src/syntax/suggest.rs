//! "Did you mean": names near to one that was not found. Knows nothing of what the names stand for.

/// The candidates that look like `name`, best first, at most three.
pub fn near<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let lower = name.to_lowercase();
    let mut scored: Vec<_> = candidates
        .into_iter()
        .filter_map(|candidate| {
            let other = candidate.to_lowercase();
            let score = strsim::jaro_winkler(&lower, &other);
            // Short names differ a lot by one letter; what begins alike is then the better guess (`gz`: `gzip`, not `xz`).
            let typo = strsim::damerau_levenshtein(&lower, &other) <= 1 + name.len() / 5;
            (typo || score > 0.85).then_some((candidate, score))
        })
        .collect();
    // Two letters that changed places are the commonest typo, and Jaro's measure does not see it in a short word.
    let letters = sorted_letters(&lower);
    let is_swapped = |candidate: &str| sorted_letters(&candidate.to_lowercase()) == letters;
    scored.sort_by(|a, b| {
        let swapped = is_swapped(b.0).cmp(&is_swapped(a.0));
        swapped.then(b.1.total_cmp(&a.1)).then(a.0.cmp(b.0))
    });
    scored
        .into_iter()
        .map(|(candidate, _)| candidate)
        .take(3)
        .collect()
}

fn sorted_letters(word: &str) -> Vec<char> {
    let mut letters: Vec<_> = word.chars().collect();
    letters.sort_unstable();
    letters
}

/// A remedy: what `name` could have meant, and all there is (`known keys are …`).
pub fn remedy<'a>(name: &str, what: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.into_iter().collect();
    let list = match known.as_slice() {
        [] => format!("there are no {what} yet"),
        [only] => format!("the only one of the {what} is {only}"),
        all => format!("{what} are {}", all.join(", ")),
    };
    match near(name, known).first() {
        Some(best) => format!("did you mean `{best}`? {list}"),
        None => list,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typos_are_found_and_strangers_are_not() {
        let names = ["family", "version", "source", "disk"];
        assert_eq!(near("famly", names), ["family"]);
        assert_eq!(near("Version", names), ["version"]);
        assert_eq!(near("dsik", names), ["disk"]);
        assert_eq!(near("gz", ["gzip", "zstd", "xz", "none"])[0], "gzip");
        assert_eq!(near("rnu", ["runs", "run"])[0], "run");
        assert!(near("kernel", names).is_empty());
        assert_eq!(
            remedy("debain12", "distros", ["debian12", "noble"]),
            "did you mean `debian12`? distros are debian12, noble"
        );
    }
}
