//! The time of Monte Carlo dropout compared with that of as many plain forward passes.

use std::time::Instant;

use anyhow::Result;
use indicatif::ProgressBar;
use mnist_experiment::console::print;
use mnist_experiment::metrics::median;
use tch::Tensor;
use tch_dropout::MonteCarlo;

const ROUNDS: usize = 21;
const BATCHES: [i64; 4] = [1, 64, 256, 1000];
const FOLD: i64 = 10;

pub fn report<F>(model: F, images: &Tensor, passes: i64) -> Result<()>
where
    F: Fn(&Tensor, bool) -> Tensor,
{
    let fold = FOLD.min(passes);
    print(format_args!("medians of {ROUNDS} rounds, in ms: {passes} passes"))?;
    print(format_args!("batch   forwards   monte_carlo   ratio   fold {fold:2}   ratio"))?;
    for rows in BATCHES.into_iter().filter(|&rows| rows <= images.size()[0]) {
        let batch = images.narrow(0, 0, rows);
        let one_by_one = MonteCarlo::new(passes)?;
        let folded = one_by_one.fold(fold)?;
        let forwards = || {
            let _no_grad = tch::no_grad_guard();
            (0..passes).for_each(|_| drop(model(&batch, true)));
            Ok(())
        };
        let predict = |run: MonteCarlo| run.predict(&model, &batch).map(drop);
        let [a, b, c] = medians([
            &forwards as &dyn Fn() -> Result<(), tch_dropout::Error>,
            &|| predict(one_by_one),
            &|| predict(folded),
        ])?;
        let (once, folded) = (b / a, c / a);
        print(format_args!("{rows:5}   {a:8.2}   {b:11.2}   {once:5.2}   {c:7.2}   {folded:5.2}"))?;
    }
    Ok(())
}

/// The median milliseconds of each; they take turns.
fn medians<const N: usize>(
    variants: [&dyn Fn() -> Result<(), tch_dropout::Error>; N],
) -> Result<[f64; N]> {
    let mut times = [(); N].map(|()| Vec::with_capacity(ROUNDS));
    let bar = ProgressBar::new(ROUNDS as u64 + 1);
    for round in 0..=ROUNDS {
        for (variant, times) in variants.iter().zip(&mut times) {
            let start = Instant::now();
            variant()?;
            if round > 0 {
                times.push(start.elapsed().as_secs_f64() * 1e3); // The first one warms up.
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(times.map(median))
}
