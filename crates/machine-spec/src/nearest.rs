//! The word that was probably meant.

/// The one of `words` that is nearest to `given`: one that it begins, one that it begins with, or one that
/// differs in few letters.
pub fn nearest<'a>(
    given: &str,
    words: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<&'a str> {
    let given = given.to_lowercase().replace('_', "-");
    let length = given.chars().count();
    if length < 2 {
        return None;
    }
    let all = || words.clone().into_iter();
    let begun = all().filter(|word| word.starts_with(&given));
    let begins = all().filter(|word| word.len() >= 3 && given.starts_with(word));
    let near = all().map(|word| (distance(&given, word), word));
    let near = near.filter(|(distance, _)| *distance <= (length / 3).min(3));
    begun
        .min_by_key(|word| word.len())
        .or_else(|| begins.max_by_key(|word| word.len()))
        .or_else(|| {
            near.min_by_key(|(distance, _)| *distance)
                .map(|(_, word)| word)
        })
}

/// How many letters must be added, left out, changed or swapped with the next to make `one` of `other`
/// (the optimal string alignment distance).
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    // A word that was typed may be of any length.
    if one.len().abs_diff(other.len()) > 3 {
        return usize::MAX;
    }
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    let at = |row: &[usize], place: usize| row.get(place).copied().unwrap_or(usize::MAX - 1);
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let changed = at(&last, j) + usize::from(a != b);
            let mut least = changed.min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let is_swapped =
                i > 0 && j > 0 && one.get(i - 1) == Some(b) && other.get(j - 1) == Some(a);
            if is_swapped {
                least = least.min(at(&before_last, j - 1) + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    at(&last, other.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_comes_before_letters_that_differ() {
        let options = ["memory", "pmem", "metrics", "kernel", "disk", "cpus", "cpu"];
        for (given, meant) in [
            ("mem", Some("memory")),
            ("MEMORY", Some("memory")),
            ("memory-size", Some("memory")),
            ("kernle", Some("kernel")),
            ("kernl", Some("kernel")),
            ("disks", Some("disk")),
            ("dsik", Some("disk")),
            ("metric", Some("metrics")),
            ("x", None),
            ("image", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, options), meant, "{given}");
        }
    }

    #[test]
    fn a_distance_counts_letters() {
        assert_eq!(distance("run", "run"), 0);
        assert_eq!(distance("rnu", "run"), 1);
        assert_eq!(distance("stat", "start"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance(&"a".repeat(100_000), "run"), usize::MAX);
    }
}
