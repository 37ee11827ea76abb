//! The passes over each batch, by themselves or folded.

use tch::Tensor;

use super::checks::{check_outputs, check_probabilities};
use super::options::MonteCarlo;
use super::prediction::{Accumulator, Moments, Output};
use super::scope::{self, Shapes};
use crate::error::{MonteCarloError, Result};
use crate::strided::check_strided;

impl MonteCarlo {
    /// The moments of all rows.
    pub(super) fn moments<F>(&self, mut model: F, x: &Tensor, output: Output) -> Result<Moments>
    where
        F: FnMut(&Tensor, bool) -> Result<Tensor>,
    {
        check_strided(x)?;
        if x.dim() == 0 || x.numel() == 0 {
            return Err(MonteCarloError::NoRows(x.size()).into());
        }
        if scope::is_folded() {
            return Err(scope::remembered(MonteCarloError::Nested));
        }
        let _no_grad = tch::no_grad_guard();
        let batches = x.f_split(self.batch_size.min(x.size()[0]), 0)?;
        let mut moments = Vec::with_capacity(batches.len());
        for batch in &batches {
            moments.push(self.batch_moments(&mut model, batch, output)?);
            // Not before the first batch, as shapes that do not fit make a clearer error.
            if moments.len() == 1 && self.fold.min(self.passes - 1) > 1 {
                let copies = Tensor::f_cat(&[batch, batch], 0)?;
                scope::rehearse(|| model(&copies, false))?;
            }
        }
        Moments::concat(&moments)
    }

    fn batch_moments<F>(&self, model: &mut F, batch: &Tensor, output: Output) -> Result<Moments>
    where
        F: FnMut(&Tensor, bool) -> Result<Tensor>,
    {
        let rows = batch.size()[0];
        let mut passes = Accumulator::new(rows, output);
        let (outputs, shapes) = self.run(model, batch, None, output)?;
        if let Output::Probabilities { dim } = output {
            check_probabilities(&outputs, dim)?;
        }
        passes.push(outputs)?;
        let mut left = self.passes - 1;
        if self.fold == 1 {
            for _ in 0..left {
                passes.push(self.run(model, batch, None, output)?.0)?;
            }
            return passes.finish();
        }
        let copies = Tensor::f_cat(&vec![batch; self.fold.min(left) as usize], 0)?;
        while left > 0 {
            let fold = left.min(self.fold);
            let copies = copies.f_narrow(0, 0, fold * rows)?;
            passes.push(self.run(model, &copies, Some((fold, &shapes)), output)?.0)?;
            left -= fold;
        }
        passes.finish()
    }

    /// The outputs `[passes * N, ...]` of one call of the model, and the shapes of the inputs that layers
    /// drew for. `folded` has the number of passes side by side in the batch, and the shapes of a single
    /// pass.
    fn run<F>(
        &self,
        model: &mut F,
        batch: &Tensor,
        folded: Option<(i64, &Shapes)>,
        output: Output,
    ) -> Result<(Tensor, Shapes)>
    where
        F: FnMut(&Tensor, bool) -> Result<Tensor>,
    {
        let (outputs, outcome) = scope::run(folded, || model(batch, self.train))?;
        let outputs = outputs?;
        if !outcome.drew && !self.train {
            return Err(MonteCarloError::NothingDrawn.into());
        }
        if let Some((_, shapes)) = folded {
            let (single, folded) = (shapes.len(), outcome.draws.len());
            if single != folded {
                return Err(MonteCarloError::Draws { single, folded }.into());
            }
        }
        check_outputs(&outputs, batch.size()[0], output)?;
        Ok((outputs, outcome.draws))
    }
}
