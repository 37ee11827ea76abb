//! How much two pictures differ.
//!
//! Training rounds differently on another processor, so its picture cannot be the same. Then everything but
//! the numbers must be equal, and the numbers may differ a little.

/// The result of [`compare`].
#[derive(Debug, PartialEq)]
pub enum Difference {
    Nothing,
    /// The same words, elements and number of points, but other numbers in them.
    Numbers {
        differing: usize,
        of: usize,
        mean: f64,
        most: f64,
    },
    /// Something other than numbers differs: the first such line of each picture.
    Words {
        line: usize,
        left: String,
        right: String,
    },
}

pub fn compare(left: &str, right: &str) -> Difference {
    if left == right {
        return Difference::Nothing;
    }
    let mut differences = Vec::new();
    let (mut lefts, mut rights) = (left.lines(), right.lines());
    for line in 1.. {
        let (left, right) = match (lefts.next(), rights.next()) {
            (None, None) => break,
            (left, right) => (left.unwrap_or("the end"), right.unwrap_or("the end")),
        };
        let ((left_words, left_numbers), (right_words, right_numbers)) =
            (split(left), split(right));
        if left_words != right_words {
            return Difference::Words { line, left: left.to_owned(), right: right.to_owned() };
        }
        let pairs = left_numbers.into_iter().zip(right_numbers);
        differences.extend(pairs.map(|(left, right)| (left - right).abs()));
    }
    let (of, sum) = (differences.len(), differences.iter().sum::<f64>());
    Difference::Numbers {
        differing: differences.iter().filter(|&&difference| difference > 0.0).count(),
        of,
        mean: sum / of.max(1) as f64,
        most: differences.into_iter().fold(0.0, f64::max),
    }
}

/// A line without its numbers, and the numbers.
fn split(line: &str) -> (Vec<&[u8]>, Vec<f64>) {
    let numeric = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'-');
    let mut numbers = Vec::new();
    let words =
        line.as_bytes().chunk_by(|a, b| numeric(a) == numeric(b)).map(|part| match str::from_utf8(
            part,
        )
        .ok()
        .and_then(|part| part.parse().ok())
        {
            Some(number) if numeric(&part[0]) => {
                numbers.push(number);
                b"".as_slice()
            }
            _ => part,
        });
    (words.collect(), numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_has_no_difference() {
        assert_eq!(compare("<path d=\"M1 2\"/>", "<path d=\"M1 2\"/>"), Difference::Nothing);
    }

    #[test]
    fn numbers_differ_by_something() {
        let expected = Difference::Numbers { differing: 2, of: 4, mean: 0.375, most: 1.0 };
        assert_eq!(compare("M1 2L-3.5 4", "M1 3L-4 4"), expected);
    }

    #[test]
    fn words_and_the_number_of_points_must_be_the_same() {
        let pictures = ["a 1\nM1 2L3 4", "a 1\nM1 2", "a 1\nM1 2L3 4\nb", "a 1\nM1 2L3 é", "a 1"];
        for (place, left) in pictures.iter().enumerate() {
            for right in &pictures[place + 1..] {
                let difference = compare(left, right);
                assert!(
                    matches!(difference, Difference::Words { line: 2 | 3, .. }),
                    "{difference:?}"
                );
            }
        }
        let last = Difference::Words { line: 3, left: "the end".into(), right: "b".into() };
        assert_eq!(compare(pictures[0], pictures[2]), last);
    }

    #[test]
    fn versions_and_words_with_dots_are_no_numbers() {
        let versions = compare("libtorch 2.13.0, inf", "libtorch 2.12.0, inf");
        assert!(matches!(versions, Difference::Words { line: 1, .. }));
    }
}
