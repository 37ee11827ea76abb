//! Monte Carlo dropout, folded: a layer over anything but the batch is an error, and never a wrong variance.

mod common;

use std::cell::Cell;
use std::panic::AssertUnwindSafe;

use common::{device, elements, float, nonzero, panic_text};
use tch::nn::{self, ModuleT};
use tch::{Kind, Tensor};
use tch_dropout::{
    DropBlock, DropConnectConfig, Error, MonteCarlo, MonteCarloError, TrueDropout, apply_mask,
    drop_connect, element_mask,
};

fn folded(passes: i64, fold: i64) -> MonteCarlo {
    MonteCarlo::new(passes).unwrap().fold(fold).unwrap()
}

fn not_folded(single: &[i64], folded: &[i64], passes: i64) -> String {
    format!(
        "with {passes} folded passes, a layer got an input of shape {folded:?}, but {passes} copies of \
         {single:?} were expected in dimension 0: use fold 1, or drop_connect to drop weights"
    )
}

/// Runs a model whose layer is at fault, once as it panics and once as it tells the error, and returns both texts.
fn texts(
    run: MonteCarlo,
    x: &Tensor,
    dropped: impl Fn(&Tensor) -> Result<Tensor, Error>,
    otherwise: impl Fn(&Tensor) -> Tensor,
) -> [String; 2] {
    let panicking = |x: &Tensor, _: bool| dropped(x).unwrap_or_else(|error| panic!("{error}"));
    let panic = panic_text(AssertUnwindSafe(|| drop(run.regress(panicking, x))));
    let told = Cell::new(None);
    let telling = |x: &Tensor, _: bool| {
        dropped(x).unwrap_or_else(|error| {
            // The first error: a model that goes on after it may meet more.
            told.set(told.take().or(Some(error.to_string())));
            otherwise(x)
        })
    };
    // The model went on, and the run does not take its output for one.
    let returned = run.regress(telling, x).unwrap_err().to_string();
    let told = told.take().expect("an error");
    assert_eq!(returned, told);
    [panic, told]
}

/// 64 rows, which 4 rows in 4, 8 or 16 folded passes, as here, could be taken for.
#[test]
fn a_layer_over_embeddings_that_the_batch_shares() {
    let table = Tensor::randn([64, 8], float());
    let layer = elements(0.5);
    let tokens = |x: &Tensor| x.select(1, 0).to_kind(Kind::Int64);
    let lookup = |x: &Tensor| {
        let normed = table.layer_norm([8], None::<&Tensor>, None::<&Tensor>, 1e-5, false);
        Ok(layer.f_forward_t(&normed, false)?.index_select(0, &tokens(x)))
    };
    let x = Tensor::randint(64, [4, 1], float());
    for fold in [2, 4, 8, 16, 32] {
        let expected = not_folded(&[64, 8], &[64, 8], fold);
        let zeros = |x: &Tensor| Tensor::zeros([x.size()[0], 8], float());
        assert_eq!(texts(folded(33, fold), &x, lookup, zeros), [expected.clone(), expected]);
    }
    // The same table, looked up first: 4 rows of the batch are 4 rows of the layer's input.
    let looked_up = |x: &Tensor, train| layer.forward_t(&table.index_select(0, &tokens(x)), train);
    folded(33, 16).regress(looked_up, &x).unwrap();
    MonteCarlo::new(33).unwrap().regress(|x, _| lookup(x).unwrap(), &x).unwrap();
}

#[test]
fn a_mask_of_a_weight_frozen_or_not() {
    let x = nonzero(&[2, 4]);
    for (rows, fold) in [(8, 4), (2, 4), (16, 4), (4, 2)] {
        for frozen in [true, false] {
            let weight = Tensor::randn([rows, 4], float()).set_requires_grad(!frozen);
            let dropped = |x: &Tensor| {
                let mask = element_mask(&weight, 0.5)?;
                Ok(x.matmul(&apply_mask(&weight, &mask)?.tr()))
            };
            let expected = not_folded(&[rows, 4], &[rows, 4], fold);
            let undropped = |x: &Tensor| x.matmul(&weight.tr());
            let run = folded(2 * fold + 1, fold);
            assert_eq!(texts(run, &x, dropped, undropped), [expected.clone(), expected]);
        }
    }
}

#[test]
fn inputs_that_the_batch_does_not_lengthen_by_its_passes() {
    let layer = elements(0.5);
    let x = nonzero(&[4, 6]);
    type Model<'a> = &'a dyn Fn(&Tensor) -> Tensor;
    let models: [(Model, &[i64], &[i64]); 4] = [
        // A recurrent model's [T, N, C], a loss, the mean of the batch, and another dimension that grows along.
        (&|x| x.tr(), &[6, 4], &[6, 12]),
        (&|x| x.sum(None), &[], &[]),
        (&|x| x.mean_dim([0i64].as_slice(), true, None), &[1, 6], &[1, 6]),
        (&|x| x.matmul(&x.tr()), &[4, 4], &[12, 12]),
    ];
    for (input, single, several) in models {
        let dropped = |x: &Tensor| Ok(&layer.f_forward_t(&input(x), true)?.sum(None) + x);
        let expected = not_folded(single, several, 3);
        assert_eq!(texts(folded(7, 3), &x, dropped, |x| x * 2), [expected.clone(), expected]);
    }
}

#[test]
fn another_number_of_masks_in_each_pass() {
    let layer = elements(0.5);
    let x = nonzero(&[4, 6]);
    let refused = Cell::new(0);
    let run = |[first, second, third]: [usize; 3]| {
        // At last, the model is called with nothing to draw.
        let masks = [first, second, third, 9];
        let next = Cell::new(0);
        let model = |x: &Tensor, train| {
            let masks = masks[next.replace(next.get() + 1)];
            (0..masks).fold(x.shallow_clone(), |x, _| match layer.f_forward_t(&x, train) {
                Ok(x) => x,
                Err(error) => {
                    let expected = "the model drew 2 masks in one pass and 3 in folded passes";
                    assert_eq!(error.to_string(), format!("{expected}: use fold 1"));
                    refused.set(refused.get() + 1);
                    x
                }
            })
        };
        folded(5, 2).regress(model, &x)
    };
    run([2, 2, 2]).unwrap();
    for (masks, folded) in [([2, 3, 2], 3), ([2, 2, 1], 1)] {
        let error = run(masks).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the model drew 2 masks in one pass and {folded} in folded passes: use fold 1")
        );
        assert!(matches!(error, Error::MonteCarlo(MonteCarloError::Draws { single: 2, .. })));
    }
    assert_eq!(refused.get(), 1, "the third mask, by the layer itself");
    // Alone, passes may draw as they like.
    let next = Cell::new(0);
    let model = |x: &Tensor, train| {
        let masks = 1 + next.replace(next.get() + 1) % 3;
        (0..masks).fold(x.shallow_clone(), |x, _| layer.forward_t(&x, train))
    };
    MonteCarlo::new(5).unwrap().regress(model, &x).unwrap();
}

/// `[N, T, C]` to `[T N, C]`: the shape is as it would be with the passes side by side, but they are not.
#[test]
fn rows_that_are_mixed() {
    let x = nonzero(&[2, 6, 4]);
    let transposed = |x: &Tensor| x.transpose(0, 1).reshape([-1, 4]);
    type Model = Box<dyn Fn(&Tensor) -> Result<Tensor, Error>>;
    let layers: [(&str, Model); 3] = [
        ("columns", {
            let layer = TrueDropout::columns(0.5).unwrap();
            Box::new(move |x| layer.f_forward_t(x, false))
        }),
        ("DropConnect", {
            let vs = nn::VarStore::new(device());
            let layer = drop_connect(vs.root(), 4, 4, DropConnectConfig::default()).unwrap();
            Box::new(move |x| layer.f_forward_t(x, false))
        }),
        ("a mask", {
            let layer = TrueDropout::columns(0.5).unwrap();
            Box::new(move |x| apply_mask(x, &layer.draw_mask(x, false)?))
        }),
    ];
    for (name, layer) in layers {
        let back =
            |y: Tensor, x: &Tensor| y.reshape([6, x.size()[0], 4]).transpose(0, 1).contiguous();
        let dropped = |x: &Tensor| Ok(back(layer(&transposed(x))?, x));
        let expected = "an input of a layer, of shape [24, 4] for two folded passes, does not have them one after \
                        the other in dimension 0: keep the batch first, or use fold 1";
        for fold in [2, 3] {
            let found = texts(folded(7, fold), &x, dropped, Tensor::shallow_clone);
            assert_eq!(found, [expected; 2], "{name}");
        }
        // Alone, passes may do as they like; and so may a row in folded ones.
        MonteCarlo::new(7).unwrap().regress(|x, _| dropped(x).unwrap(), &x).unwrap();
        folded(7, 3).regress(|x, _| layer(&x.reshape([-1, 4])).unwrap().reshape_as(x), &x).unwrap();
    }
}

/// Two rows of six steps are dropped by a layer that sees the steps first, and found out.
#[track_caller]
fn assert_mixed(x: &Tensor, before: impl Fn(&Tensor) -> Tensor) {
    let layer = TrueDropout::columns(0.5).unwrap();
    let dropped = |x: &Tensor| {
        let y = layer.f_forward_t(&before(x).transpose(0, 1).reshape([-1, 4]), true)?;
        let y = if y.is_complex() { y.abs() } else { y };
        Ok(y.reshape([6, -1, 4]).transpose(0, 1).contiguous())
    };
    let [panic, _] = texts(folded(7, 3), x, dropped, Tensor::shallow_clone);
    assert!(panic.starts_with("an input of a layer, of shape [24, 4]"), "{panic}");
}

/// The second of two layers gets what the first has dropped; that it is mixed shows while nothing is dropped.
#[test]
fn rows_that_are_mixed_after_a_first_layer() {
    let first = elements(0.5);
    assert_mixed(&nonzero(&[2, 6, 4]), |x| first.forward_t(x, true));
}

/// One feature of numbers so large that the others are nothing beside them.
#[test]
fn a_large_feature_hides_no_mixing() {
    let x = nonzero(&[2, 6, 4]);
    let _ = x.select(2, 1).fill_(5000.0);
    assert_mixed(&x, Tensor::shallow_clone);
}

/// A part of a weight for each row of the batch, of which folded passes would get other parts.
#[test]
fn rows_that_depend_on_their_place() {
    let layer = elements(0.5);
    let x = nonzero(&[4, 6]);
    let places = nonzero(&[64, 6]);
    let model = |x: &Tensor, train| x + layer.forward_t(&places.narrow(0, 0, x.size()[0]), train);
    let variance = places.narrow(0, 0, 4).square();
    let alone = MonteCarlo::new(10_000).unwrap().regress(model, &x).unwrap();
    let ratio = alone.variance / variance;
    assert!(ratio.allclose(&ratio.ones_like(), 0.0, 0.1, false));
    let text = "the output, of shape [8, 6] for two copies of the batch, is not the same for both: each row must be \
                computed from that row alone, in a way that does not depend on its place, or use fold 1";
    for fold in [2, 8, 16] {
        let run = folded(33, fold);
        for error in [run.regress(model, &x).unwrap_err(), run.predict(model, &x).unwrap_err()] {
            assert_eq!(error.to_string(), text);
            assert!(matches!(error, Error::MonteCarlo(MonteCarloError::MixedOutput(_))));
        }
    }
    // Of one pass, or of two that are not folded together, there is nothing to compare.
    MonteCarlo::new(2).unwrap().fold(2).unwrap().regress(model, &x).unwrap();
}

/// A model that goes on after an error would have no draw at all, or the same one in all passes.
#[test]
fn an_error_that_the_model_keeps_to_itself() {
    let layer = elements(0.5);
    let x = nonzero(&[4, 6]);
    let weight = nonzero(&[8, 6]);
    let or_undropped = |x: &Tensor, train| {
        let weight = layer.f_forward_t(&weight, train).unwrap_or(weight.shallow_clone());
        x.matmul(&weight.tr())
    };
    let after_a_panic = |x: &Tensor, train| {
        let forward = || x.matmul(&layer.forward_t(&weight, train).tr());
        std::panic::catch_unwind(AssertUnwindSafe(forward)).unwrap_or(x.matmul(&weight.tr()))
    };
    let expected = not_folded(&[8, 6], &[8, 6], 4);
    let error = folded(9, 4).regress(or_undropped, &x).unwrap_err();
    assert_eq!(error.to_string(), expected);
    let error = folded(9, 4).regress(after_a_panic, &x).unwrap_err();
    assert_eq!(error.to_string(), expected);
    // Nor is it left behind for the next run.
    folded(9, 4).regress(|x, train| layer.forward_t(x, train), &x).unwrap();
    let nested = |x: &Tensor, train| {
        let inner = folded(3, 1).regress(|x, train| layer.forward_t(x, train), x);
        layer.forward_t(&inner.map_or(x.shallow_clone(), |found| found.mean), train)
    };
    let error = folded(9, 4).regress(nested, &x.to_kind(Kind::Double)).unwrap_err();
    assert!(matches!(error, Error::MonteCarlo(MonteCarloError::Nested)), "{error}");
}

/// Steps that are close to each other are still mixed; so are those that only have other imaginary parts.
#[test]
fn a_small_difference_shows_mixing() {
    let ones = Tensor::ones([2, 6, 4], float());
    let of_steps = |difference: f64| {
        let later = Tensor::from_slice(&[0f32, 0.0, 0.0, 1.0, 1.0, 1.0]).to_device(device());
        &ones + later.reshape([1, 6, 1]) * difference
    };
    assert_mixed(&of_steps(0.01), Tensor::shallow_clone);
    assert_mixed(&of_steps(1.0), |x| Tensor::complex(&x.ones_like(), x));
}

/// DropBlock rescales by what the whole pass keeps.
#[test]
fn rows_that_are_mixed_before_drop_block() {
    let layer = DropBlock::new(0.3, 2).unwrap();
    let dropped = |x: &Tensor| {
        let y = layer.f_forward_t(&x.transpose(0, 1).reshape([-1, 1, 4]), true)?;
        Ok(y.reshape([6, -1, 4]).transpose(0, 1).contiguous())
    };
    let [panic, _] = texts(folded(7, 3), &nonzero(&[2, 6, 4]), dropped, Tensor::shallow_clone);
    assert!(panic.starts_with("an input of a layer, of shape [24, 1, 4]"), "{panic}");
}

/// Where each row has draws of its own, it does not matter where the row is.
#[test]
fn rows_that_share_no_draw_may_be_mixed() {
    let p = 0.3;
    let x = nonzero(&[2, 3, 4]);
    let layer = elements(p);
    let wide = x.to_kind(Kind::Double);
    let variance = wide.square() * (p / (1.0 - p));
    let model = |x: &Tensor, train| {
        let mixed = layer.forward_t(&x.transpose(0, 1).reshape([-1, 4]), train);
        mixed.reshape([3, -1, 4]).transpose(0, 1).contiguous()
    };
    assert_moments(model, &x, &wide, &variance);
}

/// Infinities, NaN and complex numbers are what they are in both copies.
#[test]
fn any_number_equals_itself() {
    let x = Tensor::from_slice(&[f64::NAN, f64::INFINITY, -1.0, 0.0, f64::NEG_INFINITY, 3.0]);
    let x = x.to_device(device()).reshape([2, 3]);
    let layer = TrueDropout::columns(0.5).unwrap();
    folded(7, 3).regress(|x, train| layer.forward_t(x, train), &x).unwrap();
    let complex = |x: &Tensor| Tensor::complex(x, &(x * 2.0)).conj();
    folded(7, 3)
        .regress(|x, train| layer.forward_t(&complex(x), train).real().contiguous(), &x)
        .unwrap();
}

/// Half precision rounds, and a row's place in the batch may change how; that is no mixing.
#[test]
fn rounding_is_no_mixing() {
    let x = nonzero(&[3, 257]);
    for kind in [Kind::Float, Kind::Double, Kind::BFloat16, Kind::Half] {
        let weight = Tensor::randn([257, 257], float()).to_kind(kind) * 0.1;
        let layer = TrueDropout::columns(0.5).unwrap();
        let model = |x: &Tensor, train| {
            let first = layer.forward_t(&x.to_kind(kind).matmul(&weight), train);
            layer.forward_t(&first.relu().matmul(&weight), train).to_kind(Kind::Float)
        };
        folded(9, 4).regress(model, &x).unwrap();
    }
}

/// One unit in half precision's last place, by a row's place in the batch, is within its rounding.
#[test]
fn a_unit_in_the_last_place_is_no_mixing() {
    let x = Tensor::ones([3, 8], float());
    let layer = TrueDropout::columns(0.5).unwrap();
    for (kind, unit) in [(Kind::BFloat16, 2f64.powi(-7)), (Kind::Half, 2f64.powi(-10))] {
        let model = |x: &Tensor, train| {
            let rows = x.size()[0];
            let place = Tensor::arange(rows, float()).ge(rows as f64 / 2.0).to_kind(Kind::Float);
            let place = (place * unit + 1.0).unsqueeze(1);
            let rounded = (x * &place).to_kind(kind);
            layer.forward_t(&rounded, train).to_kind(Kind::Float) / place
        };
        folded(9, 4).regress(model, &x).unwrap();
    }
}

/// Each batch is compared with its own first pass: the last one is shorter.
#[test]
fn a_last_batch_of_fewer_rows() {
    let layer = elements(0.5);
    let x = nonzero(&[7, 6]);
    for batch_size in [1, 2, 3, 4, 5, 6, 7] {
        let run = folded(9, 4).batch_size(batch_size).unwrap();
        let found = run.regress(|x, train| layer.forward_t(x, train), &x).unwrap();
        assert_eq!(found.variance.size(), [7, 6]);
        assert!(found.variance.min().double_value(&[]) >= 0.0);
    }
}

/// Asserts that mean and variance of many passes, folded or not, are the known ones of each output.
#[track_caller]
fn assert_moments(
    model: impl Fn(&Tensor, bool) -> Tensor,
    x: &Tensor,
    mean: &Tensor,
    variance: &Tensor,
) {
    const PASSES: i64 = 20_000;
    for fold in [1, 8, 50] {
        let found = folded(PASSES, fold).regress(&model, x).unwrap();
        let deviation = (variance / PASSES as f64).sqrt();
        let apart = ((found.mean - mean) / deviation).abs().max().double_value(&[]);
        assert!(apart < 6.0, "fold {fold}: the mean is {apart} standard deviations off");
        // With a kurtosis below 6, 10 % are more than six standard deviations of the sample variance.
        let ratio = found.variance / variance;
        assert!(ratio.allclose(&ratio.ones_like(), 0.0, 0.1, false), "fold {fold}: {ratio}");
    }
}

/// `[N, T, C]` to `[N T, C]`: the rows of a pass stay side by side.
#[test]
fn several_rows_of_each_row() {
    let p = 0.3;
    let x = nonzero(&[2, 3, 4]);
    let weight = Tensor::randn([4], float());
    let products = (&x * &weight).to_kind(Kind::Double);
    let mean = products.sum_dim_intlist([1, 2].as_slice(), false, None);
    let per_draw = |dims: &[i64]| products.sum_dim_intlist(dims, true, None).square();
    // Of rows that each have a mask, and of all that share one.
    for (layer, draws) in [
        (TrueDropout::elements(p).unwrap(), products.square()),
        (TrueDropout::columns(p).unwrap(), per_draw(&[1])),
        (TrueDropout::samples(p).unwrap(), per_draw(&[2])),
    ] {
        let variance = draws.sum_dim_intlist([1, 2].as_slice(), false, None) * (p / (1.0 - p));
        let model = |x: &Tensor, train| {
            let rows = layer.forward_t(&x.reshape([-1, 4]), train);
            (rows.reshape_as(x) * &weight).sum_dim_intlist([1, 2].as_slice(), false, None)
        };
        assert_moments(model, &x, &mean, &variance);
    }
}

#[test]
fn drop_connect_rescaled_or_not() {
    let p = 0.3;
    let x = nonzero(&[3, 5]);
    for (rescale, scale) in [(true, 1.0 / (1.0 - p)), (false, 1.0)] {
        let vs = nn::VarStore::new(device());
        let config = DropConnectConfig { p, rescale, ..Default::default() };
        let layer = drop_connect(vs.root(), 5, 2, config).unwrap();
        let (weight, bias) = (layer.linear.ws.detach(), layer.linear.bs.as_ref().unwrap().detach());
        let mean = (x.matmul(&weight.tr()) * (scale * (1.0 - p)) + bias).to_kind(Kind::Double);
        let squares = x.square().matmul(&weight.square().tr()).to_kind(Kind::Double);
        let variance = squares * (scale * scale * p * (1.0 - p));
        assert_moments(|x, train| layer.forward_t(x, train), &x, &mean, &variance);
    }
}
