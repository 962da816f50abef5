//! What is measured, part by part and as a whole.

mod chain;
mod plugins;
mod wire;

use crate::Case;

/// Every case, in the order of the table.
///
/// # Errors
///
/// Where the server cannot be set up, or a case does not get the answer that
/// it is about.
pub fn all() -> anyhow::Result<Vec<Case>> {
    // This thread counts as a worker does: without locked instructions.
    pando::metrics::set_workers(1);
    pando::metrics::enter_worker(0);
    let mut cases = wire::cases()?;
    cases.extend(plugins::cases()?);
    cases.extend(chain::cases()?);
    Ok(cases)
}

/// Inputs that are taken in turn.
struct Turns<T> {
    inputs: Vec<T>,
    next: usize,
}

impl<T> Turns<T> {
    fn new(inputs: Vec<T>) -> Self {
        assert!(!inputs.is_empty(), "a case needs an input");
        Self { inputs, next: 0 }
    }

    fn take(&mut self) -> &mut T {
        let turn = self.next;
        self.next = if turn + 1 == self.inputs.len() {
            0
        } else {
            turn + 1
        };
        &mut self.inputs[turn]
    }
}

#[cfg(test)]
mod tests {
    use super::all;

    #[test]
    fn every_case_can_be_called_and_has_a_name_of_its_own() {
        let mut cases = all().unwrap();
        for case in &mut cases {
            // More often than a case has inputs.
            (0..20).for_each(|_| (case.call)());
        }
        let mut names: Vec<_> = cases.iter().map(|case| case.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), cases.len());
    }
}
