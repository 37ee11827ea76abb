//! Under Monte Carlo dropout all of them draw in evaluation, in folded passes, too.

use tch::nn::{self, RNNConfig};
use tch::{Kind, Tensor};
use tch_dropout::{GruConfig, MonteCarlo, Result, RnnT, TrueDropout, gru};

use crate::common::{assert_close, assert_same_bits, device, elements, float, times};
use crate::layers::{
    CELLS, Cell, Dropouts, HIDDEN, IN, all, between, cell_zoneout, fill, of_state, ours, state,
    weights, zoneout,
};

fn rnn() -> RNNConfig {
    RNNConfig { num_layers: 2, bidirectional: true, ..Default::default() }
}

/// A model that begins with zeros and returns the last outputs of each row.
fn model(
    cell: Cell,
    vs: &nn::VarStore,
    dropouts: &Dropouts,
) -> impl Fn(&Tensor, bool) -> Tensor + use<> {
    let layer = ours(cell, &vs.root(), rnn(), dropouts);
    fill(vs);
    move |x, train| {
        let zeros: Vec<_> =
            state(cell, rnn(), x.size()[0], x.kind()).iter().map(Tensor::zeros_like).collect();
        layer(x, &zeros, train).0.select(1, -1)
    }
}

#[test]
fn each_dropout_draws_in_evaluation() {
    for cell in CELLS {
        let mut kinds =
            vec![between(elements(0.5)), weights(0.5), of_state(0.5), zoneout(0.5), all(0.5)];
        if cell == Cell::Lstm {
            kinds.push(cell_zoneout(0.5));
        }
        for dropouts in kinds {
            let vs = nn::VarStore::new(device());
            let model = model(cell, &vs, &dropouts);
            let x = Tensor::randn([4, 7, IN], float());
            let evaluated = model(&x, false);
            for fold in [1, 5] {
                let run = MonteCarlo::new(20).unwrap().fold(fold).unwrap();
                let found = run.regress(&model, &x).unwrap();
                assert!(found.variance.mean(Kind::Float).double_value(&[]) > 1e-4);
            }
            assert_same_bits(&model(&x, false), &evaluated);
        }
    }
}

/// Folded passes each have recurrent weights of their own, by another matrix product. In double precision, since cuDNN
/// multiplies single precision in TF32, and libtorch does not.
#[test]
fn folded_weights_multiply_their_own_passes_rows() {
    for cell in CELLS {
        let mut vs = nn::VarStore::new(device());
        let nothing = model(cell, &vs, &weights(1e-300));
        vs.double();
        let x = Tensor::randn([4, 7, IN], (Kind::Double, device()));
        let run = MonteCarlo::new(20).unwrap().fold(5).unwrap();
        let found = run.regress(&nothing, &x).unwrap();
        assert_close(&found.mean, &nothing(&x, false), 1e-6);

        // Equal rows have the same weights in each pass, and so the same mean and variance, but the passes
        // differ.
        let vs = nn::VarStore::new(device());
        let half = model(cell, &vs, &weights(0.5));
        let rows = Tensor::randn([1, 7, IN], float()).repeat([4, 1, 1]);
        let found = run.regress(&half, &rows).unwrap();
        assert_close(&found.mean, &found.mean.narrow(0, 0, 1).expand([4, 12], false), 1e-6);
        assert_close(&found.variance, &found.variance.narrow(0, 0, 1).expand([4, 12], false), 1e-6);
        assert!(found.variance.mean(Kind::Float).double_value(&[]) > 1e-4);
    }
}

/// The same mean, in folded passes and in training, within the error of 2000 passes (of 200 on a GPU).
#[test]
fn folded_passes_have_the_distribution_of_training() {
    let count = times(2000);
    for cell in CELLS {
        for dropouts in [weights(0.5), of_state(0.5), zoneout(0.5)] {
            let vs = nn::VarStore::new(device());
            let model = model(cell, &vs, &dropouts);
            let x = Tensor::randn([2, 5, IN], float());
            let passes: Vec<_> = (0..count).map(|_| tch::no_grad(|| model(&x, true))).collect();
            let passes = Tensor::stack(&passes, 0);
            let run = MonteCarlo::new(count).unwrap().fold(50).unwrap();
            let found = tch::no_grad(|| run.regress(&model, &x)).unwrap();
            let deviation = passes.std_dim(&[0i64][..], true, false);
            let apart: Tensor =
                (passes.mean_dim(&[0i64][..], false, Kind::Float) - &found.mean).abs();
            let errors = apart / (deviation * (2.0 / count as f64).sqrt());
            assert!(errors.max().double_value(&[]) < 6.0, "{errors}");
        }
    }
}

/// A model looks up the lengths of the rows that it is given. Those of the whole input fit neither a batch nor its folded
/// copies.
#[test]
fn lengths_belong_to_rows() {
    let lengths = [4, 7, 1, 5, 3];
    let vs = nn::VarStore::new(device());
    let mut config = GruConfig::default();
    config.dropout.state = TrueDropout::elements(0.5).unwrap();
    let layer = gru(vs.root(), IN, HIDDEN, config).unwrap();
    let x = Tensor::randn([5, 7, IN], float());
    let outputs = |rows: &Tensor, lengths: &[i64], train| -> Result<Tensor> {
        let state = layer.f_zero_state(rows.size()[0])?;
        Ok(layer.f_seq_lengths_t(&x.f_index_select(0, rows)?, lengths, &state, train)?.0)
    };
    let run = |fold, batch_size, is_looked_up: bool| {
        let model = |rows: &Tensor, train| {
            let numbers = Vec::<i64>::try_from(rows)?;
            let of_rows: Vec<i64> = numbers.iter().map(|&row| lengths[row as usize]).collect();
            outputs(rows, if is_looked_up { &of_rows } else { &lengths }, train)
        };
        let run = MonteCarlo::new(20).unwrap().fold(fold).unwrap().batch_size(batch_size).unwrap();
        run.f_regress(model, &Tensor::arange(5, (Kind::Int64, device())))
    };
    for (fold, batch_size, rows) in [(1, 2, 2), (4, 5, 4 * 5)] {
        let error = run(fold, batch_size, false).unwrap_err().to_string();
        let expected = format!("lengths must be {rows} numbers from 1 to 7, got [4, 7, 1, 5, 3]");
        assert_eq!(error, expected);
        let mean = run(fold, batch_size, true).unwrap().mean;
        for (row, length) in (0..).zip(lengths) {
            let nonzero = mean.get(row).count_nonzero(None).int64_value(&[]);
            assert_eq!(nonzero, length * HIDDEN);
        }
    }
    assert!(run(1, 5, false).is_ok());
}
