//! The nearest valid word for a misspelt one.

/// The one of `candidates` that `word` was probably meant to be: the first with
/// the fewest edits (a letter more, less, other, or two swapped), unless that
/// is more than a third of the word.
pub fn nearest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    // Long words are no typing mistakes, and the table below is quadratic.
    if word.len() > 64 {
        return None;
    }
    let word: Vec<char> = word.to_lowercase().chars().collect();
    let limit = (word.len() / 3).max(1);
    candidates
        .iter()
        .map(|&candidate| (distance(&word, candidate), candidate))
        .filter(|&(edits, candidate)| edits <= limit && edits < candidate.len())
        .min_by_key(|&(edits, _)| edits)
        .map(|(_, candidate)| candidate)
}

/// Edits between two words, a swap of neighbours counted as one.
fn distance(a: &[char], b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let mut edits = (above[j] + usize::from(x != y))
                .min(above[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                edits = edits.min(before[j - 1] + 1);
            }
            row.push(edits);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_and_far() {
        let words = ["cache", "forward", "kubernetes", "log", "loop", "errors"];
        let cases = [
            ("fowrard", Some("forward")),
            ("kuberntes", Some("kubernetes")),
            ("Cache", Some("cache")),
            ("chache", Some("cache")),
            ("error", Some("errors")),
            ("looop", Some("loop")),
            ("proxy", None),
            ("x", None),
            ("", None),
            ("{", None),
        ];
        for (word, want) in cases {
            assert_eq!(nearest(word, &words), want, "{word}");
        }
        assert_eq!(nearest(&"c".repeat(100_000), &words), None);
    }
}
