//! The other layers, each against its peer: libtorch's own, or its source written in tch's operations.

use comfy_table::Table;
use tch::nn::{self, Module, ModuleT, RNN};
use tch::{Device, Kind, Tensor};
use tch_dropout::{
    AlphaDropout, Attention, DropBlock, GaussianDropout, LstmConfig, PatchDropout,
    RecurrentDropout, RnnT, StochasticDepth, TrueDropout, WeightDrop, Zoneout, lstm,
};

use crate::contest::{Forward, Pass, race};
use crate::goals;
use crate::table::{new_table, right_align};
use crate::timing::Effort;

/// A layer and its peer.
struct Pair {
    layer: &'static str,
    /// Of the input; the first is small.
    shapes: Vec<Vec<i64>>,
    peer: Forward,
    ours: Forward,
}

pub const P: f64 = 0.1;

fn pairs(device: Device) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let mut pair = |layer, shapes: &[&[i64]], peer, ours| {
        let shapes = shapes.iter().map(|shape| shape.to_vec()).collect();
        pairs.push(Pair { layer, shapes, peer, ours });
    };
    let images: &[&[i64]] = &[&[64, 512], &[32, 64, 56, 56]];
    let alpha = AlphaDropout::elements(P);
    pair("AlphaDropout", images, Box::new(|x| x.alpha_dropout(P, true)), module(alpha));
    pair(
        "AlphaDropout, channels",
        images,
        Box::new(|x| x.feature_alpha_dropout(P, true)),
        module(AlphaDropout::channels(P)),
    );
    let gaussian = GaussianDropout::elements(P);
    pair("GaussianDropout", images, Box::new(keras_gaussian), module(gaussian));
    pair(
        "TrueDropout, channels",
        images,
        Box::new(|x| x.feature_dropout(P, true)),
        module(TrueDropout::channels(P)),
    );
    pair(
        "DropBlock, 7 x 7",
        &[&[8, 16, 14, 14], &[64, 256, 14, 14]],
        Box::new(|x| torchvision_drop_block(x, 7)),
        module(DropBlock::new(P, 7)),
    );
    let [theirs, ours] = residual_blocks(device);
    pair("StochasticDepth, p = 0.5", &[&[32, 1024], &[256, 1024]], theirs, ours);
    pair(
        "PatchDropout, p = 0.5",
        &[&[8, 196, 64], &[64, 196, 384]],
        Box::new(open_clip_patch_dropout),
        module(PatchDropout::new(0.5)),
    );
    let attention = Attention::new(P).expect("p is a probability");
    pair(
        "Attention",
        &[&[4, 4, 64, 32], &[8, 8, 256, 64]],
        Box::new(pytorch_attention),
        Box::new(move |x| attention.forward(x, x, x, None, true)),
    );
    for (layer, theirs, ours) in recurrent_layers(device) {
        pair(layer, &[&[8, 20, LSTM_DIM], &[20, 70, LSTM_DIM]], theirs, ours);
    }
    pairs
}

fn module(layer: Result<impl ModuleT + 'static, tch_dropout::Error>) -> Forward {
    let layer = layer.expect("p is a probability");
    Box::new(move |x| layer.forward_t(x, true))
}

fn keras_gaussian(x: &Tensor) -> Tensor {
    let deviation = (P / (1.0 - P)).sqrt();
    x * (x.randn_like() * deviation + 1.0)
}

fn torchvision_drop_block(x: &Tensor, block: i64) -> Tensor {
    let (n, c, h, w) = x.size4().expect("images");
    let (rows, columns) = (h - block + 1, w - block + 1);
    let gamma = P * (h * w) as f64 / (block * block * rows * columns) as f64;
    let seeds =
        Tensor::empty([n, c, rows, columns], (x.kind(), x.device())).bernoulli_float_(gamma);
    let half = block / 2;
    let seeds = seeds.constant_pad_nd([half, half, half, half]);
    let dropped = seeds.max_pool2d([block, block], [1, 1], [half, half], [1, 1], false);
    let mask: Tensor = 1.0 - dropped;
    let scale = mask.numel() as f64 / (mask.sum(Kind::Float) + 1e-6);
    x * mask * scale
}

/// `x + drop_path(mlp(x))`, as timm has it, and ours, which skips.
fn residual_blocks(device: Device) -> [Forward; 2] {
    let vs = nn::VarStore::new(device);
    let mlp = || {
        let expand = nn::linear(vs.root() / "expand", 1024, 4096, Default::default());
        let reduce = nn::linear(vs.root() / "reduce", 4096, 1024, Default::default());
        move |x: &Tensor| reduce.forward(&expand.forward(x).gelu("none"))
    };
    let (theirs, ours) = (mlp(), mlp());
    let depth = StochasticDepth::new(0.5).expect("p is a probability");
    let drop_path = move |x: &Tensor| {
        let mut mask = Tensor::empty([x.size()[0], 1], (x.kind(), x.device()));
        x + theirs(x) * (mask.bernoulli_float_(0.5) / 0.5)
    };
    [Box::new(drop_path), Box::new(move |x| depth.forward(x, &ours, true))]
}

fn open_clip_patch_dropout(x: &Tensor) -> Tensor {
    let (samples, tokens, _) = x.size3().expect("tokens");
    let keys = Tensor::randn([samples, tokens], (Kind::Float, x.device()));
    let (_, kept) = keys.topk(tokens / 2, -1, true, true);
    let batch = Tensor::arange(samples, (Kind::Int64, x.device())).unsqueeze(1);
    x.index(&[Some(batch), Some(kept)])
}

/// As PyTorch's documentation of `scaled_dot_product_attention` writes it.
fn pytorch_attention(x: &Tensor) -> Tensor {
    let scale = 1.0 / (*x.size().last().expect("features") as f64).sqrt();
    let weights = (x.matmul(&x.transpose(-2, -1)) * scale).softmax(-1, Kind::Float);
    weights.dropout(P, true).matmul(x)
}

const LSTM_DIM: i64 = 256;

/// Dropout between two layers, as tch's own has it; weight drop and zoneout, as fastai and the paper write them.
fn recurrent_layers(device: Device) -> Vec<(&'static str, Forward, Forward)> {
    let vs = nn::VarStore::new(device);
    let probability = "p is a probability";
    let ours = |name: &str, num_layers, dropout| -> Forward {
        let rnn = nn::RNNConfig { num_layers, ..Default::default() };
        let config = LstmConfig { rnn, dropout, ..Default::default() };
        let layer = lstm(vs.root() / name, LSTM_DIM, LSTM_DIM, config).expect("an LSTM");
        Box::new(move |x| layer.seq_t(x, true).0)
    };
    let between = TrueDropout::elements(P).expect(probability);
    let weights = WeightDrop::new(P).expect(probability);
    let zoneout = Zoneout::new(P).expect(probability);
    let all = [
        ours("between", 2, RecurrentDropout { between, ..Default::default() }),
        ours("weights", 1, RecurrentDropout { weights, ..Default::default() }),
        ours("zoneout", 1, RecurrentDropout { zoneout, ..Default::default() }),
    ];
    let config = nn::RNNConfig { num_layers: 2, dropout: P, ..Default::default() };
    let tchs = nn::lstm(vs.root() / "tch", LSTM_DIM, LSTM_DIM, config);
    let [fastais, papers] = ["fastai", "paper"].map(|name| Cell::new(vs.root() / name));
    let theirs: [Forward; 3] = [
        Box::new(move |x| tchs.seq(x).0),
        Box::new(move |x| fastais.weight_drop(x)),
        Box::new(move |x| papers.zoneout(x)),
    ];
    let names = ["lstm, between 2 layers", "lstm, weight drop", "lstm, zoneout"];
    names
        .into_iter()
        .zip(theirs)
        .zip(all)
        .map(|((name, theirs), ours)| (name, theirs, ours))
        .collect()
}

/// The weights of an LSTM.
struct Cell {
    weights: [Tensor; 4],
}

impl Cell {
    fn new(vs: nn::Path) -> Self {
        let weight = |name| vs.randn(name, &[4 * LSTM_DIM, LSTM_DIM], 0.0, 0.1);
        let bias = |name| vs.zeros(name, &[4 * LSTM_DIM]);
        Cell { weights: [weight("ih"), weight("hh"), bias("bias_ih"), bias("bias_hh")] }
    }

    /// Dropout of the recurrent weight, then libtorch's LSTM.
    fn weight_drop(&self, x: &Tensor) -> Tensor {
        let [ih, hh, bias_ih, bias_hh] = &self.weights;
        let zeros = || Tensor::zeros([1, x.size()[0], LSTM_DIM], (x.kind(), x.device()));
        let hh = hh.dropout(P, true);
        let weights = [ih, &hh, bias_ih, bias_hh].map(Tensor::shallow_clone);
        x.lstm(&[zeros(), zeros()], &weights, true, 1, 0.0, true, false, true).0
    }

    /// A loop over the time steps.
    fn zoneout(&self, x: &Tensor) -> Tensor {
        let [ih, hh, bias_ih, bias_hh] = &self.weights;
        let zeros = || Tensor::zeros([x.size()[0], LSTM_DIM], (x.kind(), x.device()));
        let (mut h, mut c) = (zeros(), zeros());
        let mut outputs = Vec::new();
        for x in x.unbind(1) {
            let state = [&h, &c];
            let (new, cell) = x.lstm_cell(&state, ih, hh, Some(bias_ih), Some(bias_hh));
            let kept = h.empty_like().bernoulli_float_(P);
            h = &kept * &h + (1.0 - &kept) * new;
            c = cell;
            outputs.push(h.shallow_clone());
        }
        Tensor::stack(&outputs, 1)
    }
}

pub fn table(device: Device, effort: Effort) -> Table {
    let quick = effort.turns == Effort::QUICK.turns;
    let mut table =
        new_table(&["layer", "shape", "pass", "peer, ms", "ms", "times as fast", "goal"]);
    for Pair { layer, shapes, peer, ours } in pairs(device) {
        let variants = [peer, ours];
        for shape in &shapes[..if quick { 1 } else { shapes.len() }] {
            for pass in [Pass::Forward, Pass::ForwardBackward] {
                let times = race(&variants, shape, Kind::Float, pass, device, effort);
                let times_as_fast = times[0].median / times[1].median;
                let goal = match pass {
                    Pass::Forward => goals::all(&[goals::at_least(times_as_fast, 1.0)]),
                    Pass::ForwardBackward => String::new(),
                };
                table.add_row([
                    layer.to_owned(),
                    format!("{shape:?}"),
                    pass.to_string(),
                    times[0].shown(1e6, 4),
                    times[1].shown(1e6, 4),
                    format!("{times_as_fast:.1}"),
                    goal,
                ]);
            }
        }
    }
    right_align(&mut table, 3);
    table
}
