//! By how much errors differ from those of the first network.

use anyhow::Result;

use mnist_experiment::console::print;
use mnist_experiment::difference::{Difference, in_words};
use mnist_experiment::metrics::Summary;

/// Prints a line for each network but the first one, which the others are compared with.
pub fn print_differences<'a>(
    errors: impl IntoIterator<Item = (&'a str, &'a Summary)>,
) -> Result<()> {
    let mut errors = errors.into_iter().peekable();
    let (Some((first, reference)), Some(_)) = (errors.next(), errors.peek()) else { return Ok(()) };
    if Difference::of(reference, reference).is_none() {
        return print("By how much the errors differ takes three runs to tell.");
    }
    print(format_args!("Errors compared with those of {first}, in percentage points:"))?;
    for (name, error) in errors {
        print(format_args!("{name:34}: {}", in_words(Difference::of(error, reference), 2)))?;
    }
    Ok(())
}
