//! A checkpoint changes what a graph keeps, and nothing else: outputs, gradients, masks and steps are those of the
//! plain run, bit for bit. Without the feature `recompute` it is the plain run.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use common::{SHAPES, alone, assert_same_bits, device, elements, float, is_left_to_libtorch};
use tch::nn::{self, Module, ModuleT, OptimizerConfig};
use tch::{CModule, Kind, Tensor};
use tch_dropout::{
    AlphaDropout, Attention, Checkpoint, DropConnectConfig, Dropout, Error, GaussianDropout, Lstm,
    LstmConfig, RecurrentDropout, RnnT, Stream, Streams, TrueDropout, Zoneout, apply_mask,
    checkpoint, checkpoint_many, drop_connect, dropout, feature_dropout, lstm, monte_carlo,
};

/// What stands between two linear layers in a segment.
type Middle = Box<dyn Fn(&Tensor) -> Tensor + Send>;
/// A name, and how to make one anew, with its stream at step 0.
type Case = (String, Box<dyn Fn() -> Middle>);

/// A segment: two linear layers, and what may draw between them.
struct Block {
    first: nn::Linear,
    middle: Middle,
    last: nn::Linear,
}

impl Block {
    fn new(vs: &nn::Path, middle: Middle) -> Self {
        let linear = |name, from, to| nn::linear(vs / name, from, to, Default::default());
        Block { first: linear("first", 10, 24), middle, last: linear("last", 24, 10) }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let hidden = self.first.forward(x).gelu("none").reshape([-1, 4, 3, 2]);
        self.last.forward(&(self.middle)(&hidden).reshape([-1, 24]))
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Block")
    }
}

impl ModuleT for Block {
    fn forward_t(&self, x: &Tensor, _train: bool) -> Tensor {
        self.forward(x)
    }
}

fn module(layer: impl ModuleT + 'static) -> Middle {
    Box::new(move |x| layer.forward_t(x, true))
}

fn case(name: &str, make: impl Fn() -> Middle + 'static) -> Case {
    (name.into(), Box::new(make))
}

/// Every layer and noise shape, with a seed and without.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for shape in SHAPES.into_iter().chain([tch_dropout::NoiseShape::Shared(vec![1, -1])]) {
        for seed in [None, Some(3)] {
            let name = format!("{shape}, seed {seed:?}");
            macro_rules! add {
                ($layer:expr) => {{
                    let shape = shape.clone();
                    let make = move || {
                        let layer = $layer.unwrap().with_noise_shape(shape.clone());
                        module(match seed {
                            Some(seed) => layer.with_seed(seed),
                            None => layer,
                        })
                    };
                    cases.push(case(&format!("{} over {name}", stringify!($layer)), make));
                }};
            }
            add!(TrueDropout::elements(0.3));
            add!(TrueDropout::elements(0.5));
            add!(Dropout::elements(0.1));
            add!(AlphaDropout::elements(0.2));
            add!(GaussianDropout::elements(0.4));
        }
    }
    cases.push(case("dropout()", || Box::new(|x| dropout(x, 0.3, true))));
    cases.push(case("feature_dropout()", || Box::new(|x| feature_dropout(x, 0.3, true))));
    for per_sample in [false, true] {
        cases.push(case(&format!("drop_connect, per_sample={per_sample}"), move || {
            let vs = nn::VarStore::new(device());
            let config = DropConnectConfig { per_sample, ..Default::default() };
            let layer = drop_connect(vs.root(), 2, 2, config).unwrap();
            let _ = tch::no_grad(|| layer.linear.ws.shallow_clone().fill_(0.7));
            let _ = tch::no_grad(|| layer.linear.bs.as_ref().unwrap().shallow_clone().fill_(0.1));
            module(layer.with_seed(5))
        }));
    }
    cases.push(case("a mask that is drawn and applied twice", || {
        let layer = TrueDropout::elements(0.3).unwrap().with_seed(1);
        Box::new(move |x| {
            let mask = layer.draw_mask(x, true).unwrap();
            apply_mask(&apply_mask(x, &mask).unwrap().tanh(), &mask).unwrap()
        })
    }));
    cases.push(case("a residual", || {
        let layer = TrueDropout::elements(0.3).unwrap();
        Box::new(move |x| layer.forward_add(&x.tanh(), x, true))
    }));
    cases.push(case("libtorch's own", || {
        let layer = TrueDropout::elements(0.3).unwrap();
        Box::new(move |x| {
            let x = x.dropout(0.2, true) * x.rand_like();
            layer.forward_t(&x, true).feature_dropout(0.3, true) + x.randn_like()
        })
    }));
    cases.push(case("nothing", || Box::new(|x| x.shallow_clone())));
    cases
}

/// How a block is called.
type Call = fn(&Arc<Mutex<Block>>, &Tensor) -> Tensor;

fn plain(block: &Arc<Mutex<Block>>, x: &Tensor) -> Tensor {
    block.lock().unwrap().forward(x)
}

fn checkpointed(block: &Arc<Mutex<Block>>, x: &Tensor) -> Tensor {
    let block = Arc::clone(block);
    checkpoint(move |x| block.lock().unwrap().forward(x), x)
}

/// A checkpoint that draws anew: the output of one run, and the gradients of another.
fn naive(block: &Arc<Mutex<Block>>, x: &Tensor) -> Tensor {
    let y = tch::no_grad(|| plain(block, x));
    let again = plain(block, x);
    &again + (y - &again).detach()
}

/// What a chain of blocks gives.
struct Found {
    output: Vec<Tensor>,
    /// Of all parameters, and of the input.
    gradients: Vec<Tensor>,
    /// Random numbers after the backward pass: libtorch's, and the output of another forward.
    later: Vec<Tensor>,
}

/// Runs a chain of blocks. Its first block comes twice, so its stream moves on in between.
fn run(make: &dyn Fn() -> Middle, call: Call, requires_grad: bool) -> Found {
    tch::manual_seed(11);
    let vs = nn::VarStore::new(device());
    let path = vs.root();
    let blocks = [0, 1].map(|i| Arc::new(Mutex::new(Block::new(&(&path / i), make()))));
    let x = Tensor::randn([8, 10], float()).set_requires_grad(requires_grad);
    let of_y = Tensor::randn([8, 10], float());
    let y = [0, 1, 0].iter().fold(x.shallow_clone(), |x, &i: &usize| call(&blocks[i], &x));
    (&y * of_y).sum(None).backward();
    let mut gradients: Vec<Tensor> =
        sorted(&vs).iter().map(|(_, parameter)| parameter.grad()).collect();
    if requires_grad {
        gradients.push(x.grad());
    }
    let later = vec![Tensor::rand([4], float()), call(&blocks[0], &x).detach()];
    Found { output: vec![y.detach()], gradients, later }
}

/// A model's variables by name.
fn sorted(vs: &nn::VarStore) -> Vec<(String, Tensor)> {
    let mut variables: Vec<_> = vs.variables().into_iter().collect();
    variables.sort_by(|a, b| a.0.cmp(&b.0));
    variables
}

fn same_bits(a: &[Tensor], b: &[Tensor]) -> bool {
    assert_eq!(a.len(), b.len());
    let bits = |t: &Tensor| t.contiguous().view_dtype(Kind::Int);
    a.iter().zip(b).all(|(a, b)| a.size() == b.size() && bits(a) == bits(b))
}

#[test]
fn outputs_gradients_and_later_masks_are_those_of_the_plain_run() {
    let _alone = alone();
    for (name, make) in cases() {
        for requires_grad in [true, false] {
            let expected = run(&make, plain, requires_grad);
            let found = run(&make, checkpointed, requires_grad);
            assert!(same_bits(&found.output, &expected.output), "output: {name}");
            assert!(same_bits(&found.gradients, &expected.gradients), "gradients: {name}");
            assert!(same_bits(&found.later, &expected.later), "later masks: {name}");
        }
    }
}

/// The comparison above notices masks that are drawn anew.
#[test]
fn a_checkpoint_that_draws_anew_has_other_gradients() {
    let _alone = alone();
    // Those with few draws may draw the same again.
    let many = ["over elements", "dropout()", "libtorch's own"];
    let cases = cases().into_iter().filter(|(name, _)| many.iter().any(|many| name.contains(many)));
    for (name, make) in cases {
        let expected = run(&make, plain, true);
        assert!(!same_bits(&run(&make, naive, true).gradients, &expected.gradients), "{name}");
    }
}

/// Twenty steps of SGD with momentum, with a seed for each layer and without. Returns the variables, and the streams'
/// steps.
fn trained(call: Call, streams: Option<&Streams>) -> (Vec<(String, Tensor)>, Vec<u64>) {
    tch::manual_seed(1);
    let vs = nn::VarStore::new(device());
    let path = vs.root();
    let layer = |p| match streams {
        Some(streams) => elements(p).with_stream(streams.next_stream().unwrap()),
        None => elements(p),
    };
    let block = |i: usize| Block::new(&(&path / i), module(layer(0.3)));
    let blocks: Vec<_> = (0..4).map(|i| Arc::new(Mutex::new(block(i)))).collect();
    let mut optimizer = nn::sgd(0.9, 0.0, 0.0, false).build(&vs, 0.05).unwrap();
    for _ in 0..20 {
        let (x, target) = (Tensor::randn([8, 10], float()), Tensor::randn([8, 10], float()));
        let y = blocks.iter().fold(x, |x, block| call(block, &x));
        optimizer.backward_step(&y.mse_loss(&target, tch::Reduction::Mean));
    }
    (sorted(&vs), streams.map(Streams::steps).unwrap_or_default())
}

#[test]
fn training_gives_the_same_weights() {
    let _alone = alone();
    for seeded in [false, true] {
        let run = |call| trained(call, seeded.then(|| Streams::new(7)).as_ref());
        let ((expected, steps), (found, found_steps)) = (run(plain), run(checkpointed));
        assert_eq!(found_steps, steps);
        assert_eq!(steps, if seeded { vec![20; 4] } else { vec![] });
        for ((name, found), (_, expected)) in found.iter().zip(&expected) {
            assert!(same_bits(&[found.detach()], &[expected.detach()]), "{name}");
        }
        let other = run(naive).0;
        let same = |((_, a), (_, b)): (&(String, Tensor), &(String, Tensor))| a == b;
        assert!(!other.iter().zip(&expected).all(same));
    }
}

fn leaf(size: &[i64]) -> Tensor {
    Tensor::randn(size, float()).set_requires_grad(true)
}

fn seeded(seed: u64) -> TrueDropout {
    elements(0.4).with_seed(seed)
}

/// `tanh(x w)` with a seeded mask; the parameter is captured.
fn segment(w: &Tensor, seed: u64) -> impl Fn(&Tensor) -> Tensor + Send + use<> {
    let (w, layer) = (w.shallow_clone(), seeded(seed));
    move |x| layer.forward_t(&x.matmul(&w), true).tanh()
}

/// The gradients of a sum with weights that differ.
fn gradients(y: &Tensor, of: &[&Tensor]) -> Vec<Tensor> {
    let weights = Tensor::arange(y.numel() as i64, (y.kind(), y.device())).reshape(y.size());
    Tensor::run_backward(&[(y * weights).sum(None)], of, true, false)
}

#[track_caller]
fn assert_all_same(found: &[Tensor], expected: &[Tensor]) {
    assert!(same_bits(found, expected), "{found:?}\n{expected:?}");
}

/// As in PyTorch's `grad`: only those that are asked for, and nothing is added to `.grad`.
#[test]
fn any_gradient_can_be_asked_for_alone() {
    let _alone = alone();
    let (x, w) = (leaf(&[4, 5]), leaf(&[5, 5]));
    let expected = gradients(&segment(&w, 1)(&x), &[&x, &w]);
    let y = checkpoint(segment(&w, 1), &x);
    assert_all_same(&gradients(&y, &[&w]), &expected[1..]);
    assert_all_same(&gradients(&y, &[&x]), &expected[..1]);
    assert_all_same(&gradients(&y, &[&w, &x]), &[expected[1].copy(), expected[0].copy()]);
    assert!(!x.grad().defined() && !w.grad().defined());
}

#[test]
fn only_what_needs_a_gradient_has_one() {
    let _alone = alone();
    let (x, w) = (leaf(&[4, 5]), leaf(&[5, 5]));
    // A first segment, whose input needs none, and a frozen parameter.
    let y = checkpoint(segment(&w, 1), &x.detach());
    assert_all_same(&gradients(&y, &[&w]), &gradients(&segment(&w, 1)(&x), &[&w]));
    let y = checkpoint(segment(&w.detach(), 1), &x);
    assert_all_same(&gradients(&y, &[&x]), &gradients(&segment(&w, 1)(&x), &[&x]));
    // Neither, and no recording.
    assert!(!checkpoint(segment(&w.detach(), 1), &x.detach()).requires_grad());
    let y = tch::no_grad(|| checkpoint(segment(&w, 1), &x));
    assert!(!y.requires_grad());
    assert_same_bits(&y, &segment(&w, 1)(&x).detach());
    // A segment that stops the gradient.
    assert!(!checkpoint(|x| x.detach() * 2.0, &x).requires_grad());
}

#[test]
fn integers_are_inputs_too() {
    let _alone = alone();
    let vs = nn::VarStore::new(device());
    let table = nn::embedding(vs.root(), 10, 6, Default::default());
    let tokens = Tensor::from_slice(&[1i64, 9, 9, 3]).to_device(device());
    let expected = gradients(&seeded(1).forward_t(&table.forward(&tokens), true), &[&table.ws]);
    let ws = table.ws.shallow_clone();
    let layer = seeded(1);
    let y = checkpoint(move |tokens| layer.forward_t(&table.forward(tokens), true), &tokens);
    assert_all_same(&gradients(&y, &[&ws]), &expected);
}

#[test]
fn several_inputs_have_their_gradients() {
    let _alone = alone();
    let (x, w) = (leaf(&[4, 5]), leaf(&[5, 5]));
    let run = |x: &Tensor, memory: &Tensor, layer: &TrueDropout| {
        layer.forward_t(&(x * memory), true).sin() + memory
    };
    let (a, b) = (x.matmul(&w), x.exp());
    let layer = seeded(1);
    let expected = gradients(&run(&a, &b, &layer), &[&a, &b, &x, &w]);
    let layer = seeded(1);
    let y = checkpoint_many(move |[x, memory]| run(x, memory, &layer), [&a, &b]);
    assert_all_same(&gradients(&y, &[&a, &b, &x, &w]), &expected);
    // One that is given twice.
    let y = checkpoint_many(|[a, b]| a * b, [&x, &x]);
    assert_all_same(&gradients(&y, &[&x]), &gradients(&x.square(), &[&x]));
}

/// What is not a new tensor: the input, a view of it, a parameter, and a part of one.
#[test]
fn a_segment_may_return_what_it_has() {
    let _alone = alone();
    let (x, w) = (leaf(&[4, 5]), leaf(&[4, 5]));
    let inner = &x * 3.0;
    for input in [&x, &inner] {
        let y = checkpoint(|x| x.shallow_clone(), input);
        assert_all_same(&gradients(&y, &[&x]), &gradients(input, &[&x]));
        let y = checkpoint(|x| x.transpose(0, 1).narrow(0, 1, 3), input);
        let expected = gradients(&input.transpose(0, 1).narrow(0, 1, 3), &[&x]);
        assert_all_same(&gradients(&y, &[&x]), &expected);
        for columns in [2, 5] {
            let parameter = w.shallow_clone();
            let y = checkpoint(move |_| parameter.narrow(1, 0, columns), input);
            assert_all_same(&gradients(&y, &[&w]), &gradients(&w.narrow(1, 0, columns), &[&w]));
        }
    }
    let parameter = w.shallow_clone();
    let y = checkpoint(move |_| parameter.shallow_clone(), &x);
    assert_all_same(&gradients(&y, &[&w]), &gradients(&w, &[&w]));
}

#[test]
fn a_graph_can_be_kept_and_used_again() {
    let _alone = alone();
    let (x, w) = (leaf(&[4, 5]), leaf(&[5, 5]));
    let expected = gradients(&segment(&w, 1)(&x), &[&x, &w]);
    let y = checkpoint(segment(&w, 1), &x);
    for _ in 0..3 {
        assert_all_same(&gradients(&y, &[&x, &w]), &expected);
    }
}

/// The first run's `p` counts, whatever a schedule has set since then; also 0, with which nothing is drawn.
#[test]
fn a_schedule_may_have_moved_on() {
    let _alone = alone();
    for (then, now) in [(0.3, 0.6), (0.3, 0.0), (0.0, 0.3)] {
        let x = leaf(&[40, 50]);
        let layer = Arc::new(elements(then).with_seed(1));
        let expected = elements(then).with_seed(1).forward_t(&x, true);
        let shared = Arc::clone(&layer);
        let y = checkpoint(move |x| shared.forward_t(x, true), &x);
        layer.set_p(now).unwrap();
        assert_all_same(&gradients(&y, &[&x]), &gradients(&expected, &[&x]));
    }
}

/// Layers that ask for their `p` before they draw.
#[test]
fn a_schedule_may_have_moved_on_in_layers_of_layers() {
    let _alone = alone();
    for (then, now) in [(0.3, 0.6), (0.3, 0.0), (0.0, 0.3)] {
        let x = leaf(&[4, 6, 5]);
        let attention = |p| Attention::new(p).unwrap().with_seed(1);
        moves_on(
            &x,
            attention(then),
            attention(then),
            |layer| layer.set_p(now),
            |layer, x| layer.forward(x, x, x, None, true),
        );
        let zoneout = |p| Zoneout::new(p).unwrap().with_seed(1);
        for train in [true, false] {
            moves_on(
                &x,
                zoneout(then),
                zoneout(then),
                |layer| layer.set_p(now),
                move |layer, x| layer.apply(x, &(x * 2.0), train),
            );
        }
        let vs = tch::nn::VarStore::new(device());
        let recurrent = |p| {
            tch::manual_seed(3);
            let layer = |index| Stream::new(1).with_layer(index);
            let dropout = RecurrentDropout {
                state: elements(p).with_stream(layer(0)),
                zoneout: Zoneout::new(p).unwrap().with_stream(layer(1)),
                ..Default::default()
            };
            lstm(vs.root(), 5, 3, LstmConfig { dropout, ..Default::default() }).unwrap()
        };
        let (layer, same) = (recurrent(then), recurrent(then));
        let set = |layer: &Lstm| {
            layer.dropout.state.set_p(now)?;
            layer.dropout.zoneout.set_p(now)
        };
        moves_on(&x, layer, same, set, |layer, x| layer.seq_t(x, true).0);
    }
}

/// The gradient of a checkpoint around `layer`, which changes before the backward pass, is the one without.
fn moves_on<L: Send + 'static>(
    x: &Tensor,
    layer: L,
    same: L,
    change: impl Fn(&L) -> Result<(), Error>,
    forward: impl Fn(&L, &Tensor) -> Tensor + Send + Copy + 'static,
) {
    let layer = Arc::new(Mutex::new(layer));
    let expected = gradients(&forward(&same, x), &[x]);
    let shared = Arc::clone(&layer);
    let y = checkpoint(move |x| forward(&shared.lock().unwrap(), x), x);
    change(&layer.lock().unwrap()).unwrap();
    assert_all_same(&gradients(&y, &[x]), &expected);
}

/// A layer without a seed, while another thread draws from libtorch's generator. What libtorch draws by itself, another
/// thread can change.
#[test]
fn who_else_draws_changes_no_mask() {
    let _alone = alone();
    let x = leaf(&[40, 50]);
    let call = |disturbed: bool| {
        tch::manual_seed(1);
        let (layer, runs) = (elements(0.5), AtomicUsize::new(0));
        let run = move |x: &Tensor| {
            if disturbed && runs.fetch_add(1, Ordering::Relaxed) == 1 {
                thread::spawn(|| drop(Tensor::rand([3], float()))).join().unwrap();
            }
            layer.forward_t(x, true)
        };
        gradients(&checkpoint(run, &x), &[&x])
    };
    if cfg!(feature = "recompute") && is_left_to_libtorch() {
        println!("libtorch's own dropout: another thread changes its mask");
        return assert_ne!(call(true), call(false));
    }
    assert_all_same(&call(true), &call(false));
}

#[test]
fn a_backward_pass_takes_no_step() {
    let _alone = alone();
    let layer = Arc::new(seeded(1));
    let shared = Arc::clone(&layer);
    let x = leaf(&[4, 5]);
    let y = checkpoint(move |x| shared.forward_t(&shared.forward_t(x, true), true), &x);
    let step = || layer.stream().map(Stream::step);
    assert_eq!(step(), Some(2));
    y.sum(None).backward();
    assert_eq!(step(), Some(2));
}

/// The graph is that of one thread, and another one's stream and libtorch's generator are its own.
#[test]
fn a_backward_pass_may_run_on_another_thread() {
    let _alone = alone();
    let (x, w) = (leaf(&[4, 5]), leaf(&[5, 5]));
    let run = |layer: TrueDropout| {
        let w = w.shallow_clone();
        move |x: &Tensor| layer.forward_t(&x.matmul(&w), true).dropout(0.5, true)
    };
    for layer in [seeded(1), elements(0.3)] {
        tch::manual_seed(1);
        let expected = gradients(&run(layer.clone())(&x), &[&x, &w]);
        tch::manual_seed(1);
        let y = checkpoint(run(layer), &x);
        let (x, w) = (x.shallow_clone(), w.shallow_clone());
        let found = thread::spawn(move || gradients(&y, &[&x, &w])).join().unwrap();
        assert_all_same(&found, &expected);
    }
}

/// Each trains a model of its own, and one graph is used by all of them.
#[test]
fn threads_do_not_disturb_each_other() {
    let _alone = alone();
    let (x, w) = (leaf(&[40, 50]), leaf(&[50, 50]));
    let expected = gradients(&segment(&w, 1)(&x), &[&x, &w]);
    let shared = checkpoint(segment(&w, 1), &x);
    thread::scope(|scope| {
        for _ in 0..4 {
            let [x, w, shared] = [&x, &w, &shared].map(Tensor::shallow_clone);
            let expected = [&expected[0], &expected[1]].map(Tensor::shallow_clone);
            scope.spawn(move || {
                for _ in 0..50 {
                    let y = checkpoint(segment(&w, 1), &x);
                    assert_all_same(&gradients(&y, &[&x, &w]), &expected);
                    assert_all_same(&gradients(&shared, &[&x, &w]), &expected);
                }
            });
        }
    });
}

/// `depth` segments, each within the next, with a parameter and a mask in each.
fn nested(depth: u64, w: &Tensor, x: &Tensor, around: bool) -> Tensor {
    let (w, layer) = (w.shallow_clone(), seeded(depth));
    let run = move |x: &Tensor| {
        let inner = if depth == 0 { x.shallow_clone() } else { nested(depth - 1, &w, x, around) };
        (layer.forward_t(&inner, true) + dropout(&inner, 0.2, true)).matmul(&w).tanh()
    };
    if around { checkpoint(run, x) } else { run(x) }
}

#[test]
fn segments_may_have_segments_inside() {
    let _alone = alone();
    let (x, w) = (leaf(&[4, 5]), leaf(&[5, 5]));
    for depth in 0..4 {
        let run = |around| {
            tch::manual_seed(9);
            let y = nested(depth, &w, &x, around);
            let mut found = gradients(&y, &[&x, &w]);
            found.extend([y.detach(), Tensor::rand([3], float())]);
            found
        };
        // The gradients of the one parameter are added in another order.
        for (found, expected) in run(true).iter().zip(run(false)) {
            assert!(found.allclose(&expected, 1e-5, 1e-6, false), "depth {depth}");
        }
    }
}

/// A backward pass inside one inside one: libtorch moves to another thread after sixty.
#[test]
fn segments_may_be_deep() {
    let _alone = alone();
    fn deep(depth: u64, x: &Tensor) -> Tensor {
        let layer = elements(0.01).with_seed(depth);
        checkpoint(
            move |x| match depth {
                0 => layer.forward_t(x, true),
                _ => layer.forward_t(&deep(depth - 1, x), true),
            },
            x,
        )
    }
    let x = leaf(&[4, 5]);
    let expected = (0..70)
        .fold(x.shallow_clone(), |x, depth| elements(0.01).with_seed(depth).forward_t(&x, true));
    assert_all_same(&gradients(&deep(69, &x), &[&x]), &gradients(&expected, &[&x]));
}

#[test]
fn a_chain_may_be_long() {
    let _alone = alone();
    let (x, w) = (leaf(&[4, 5]), leaf(&[5, 5]));
    let chain = |call: &dyn Fn(u64, &Tensor) -> Tensor| {
        let y = (0..1000).fold(x.shallow_clone(), |x, i| call(i, &x));
        gradients(&y, &[&x])
    };
    let expected = chain(&|i, x| segment(&w, i)(x));
    assert_all_same(&chain(&|i, x| checkpoint(segment(&w, i), x)), &expected);
}

#[test]
fn monte_carlo_runs_a_segment_as_it_is() {
    let _alone = alone();
    let (x, w) = (leaf(&[4, 5]), leaf(&[5, 5]));
    let predict = |checkpointed: bool, train: bool| {
        tch::manual_seed(3);
        let model = |x: &Tensor, _| {
            let (w, layer) = (w.shallow_clone(), elements(0.4));
            let run = move |x: &Tensor| layer.forward_t(&x.matmul(&w), train);
            if checkpointed { checkpoint(run, x) } else { run(x) }
        };
        monte_carlo(model, &x, 10).unwrap().variance
    };
    // With `train` false, the layer has to learn of it.
    for train in [false, true] {
        let found = predict(true, train);
        assert_same_bits(&found, &predict(false, train));
        assert!(found.sum(None).double_value(&[]) > 0.0);
    }
    // And within a segment, where it draws but has no gradient.
    tch::manual_seed(3);
    let inside = |x: &Tensor| {
        let layer = elements(0.4);
        let run = monte_carlo(|x, train| layer.forward_t(x, train), x, 3);
        run.unwrap().mean * x
    };
    let expected = gradients(&inside(&x), &[&x]);
    tch::manual_seed(3);
    assert_all_same(&gradients(&checkpoint(inside, &x), &[&x]), &expected);
}

#[test]
fn in_evaluation_a_segment_draws_nothing() {
    let _alone = alone();
    let (x, w) = (leaf(&[4, 5]), leaf(&[5, 5]));
    let run = || {
        let (w, layer) = (w.shallow_clone(), seeded(1));
        move |x: &Tensor| layer.forward_t(&x.matmul(&w), false).tanh()
    };
    let y = checkpoint(run(), &x);
    assert_all_same(&gradients(&y, &[&x, &w]), &gradients(&run()(&x), &[&x, &w]));
}

#[test]
fn every_kind_layout_and_gradient() {
    let _alone = alone();
    for kind in [Kind::Half, Kind::BFloat16, Kind::Float, Kind::Double, Kind::ComplexDouble] {
        let x = Tensor::randn([2, 3, 4, 5], (Kind::Double, device())).to_kind(kind);
        let x = x.permute([0, 3, 1, 2]).set_requires_grad(true);
        let run = || {
            let layer = seeded(1);
            move |x: &Tensor| layer.forward_t(&(x * x), true)
        };
        let found = checkpoint(run(), &x);
        let expected = run()(&x);
        assert_eq!((found.size(), found.stride()), (expected.size(), expected.stride()));
        let of_y = Tensor::randn_like(&expected.detach());
        let gradient = |y: &Tensor, loss: &dyn Fn(&Tensor) -> Tensor| {
            Tensor::run_backward(&[loss(y).real().sum(None)], &[&x], true, false).remove(0)
        };
        // Dense, expanded, and transposed.
        let losses: [&dyn Fn(&Tensor) -> Tensor; 3] =
            [&|y| y * &of_y, &|y| y.shallow_clone(), &|y| y.transpose(1, 3) * of_y.transpose(1, 3)];
        for loss in losses {
            let (found, expected) = (gradient(&found, loss), gradient(&expected, loss));
            assert_eq!((found.kind(), found.stride()), (expected.kind(), expected.stride()));
            assert!(found == expected, "{kind:?}");
        }
    }
}

/// A trace records the segment's operations.
#[test]
fn a_trace_has_the_segment_in_it() {
    let _alone = alone();
    let w = Tensor::randn([5, 5], float());
    let mut model = |inputs: &[Tensor]| {
        let (w, layer) = (w.shallow_clone(), elements(0.5));
        vec![checkpoint(move |x| layer.forward_t(&x.matmul(&w), true), &inputs[0])]
    };
    let x = Tensor::ones([40, 5], float());
    let traced = CModule::create_by_tracing("model", "forward", &[x.shallow_clone()], &mut model);
    let traced = traced.unwrap();
    let run = || traced.forward_ts(&[&x]).unwrap();
    let (first, second) = (run(), run());
    assert_ne!(first, second, "each call draws anew");
    let kept = first.ne(0);
    assert!((&first - x.matmul(&w) * 2.0 * kept).abs().max().double_value(&[]) < 1e-5);
}

#[test]
fn a_module_is_a_checkpoint_of_its_forward() {
    let _alone = alone();
    let run = |around: bool| {
        tch::manual_seed(4);
        let vs = nn::VarStore::new(device());
        let path = vs.root();
        let model = (0..3).fold(nn::seq_t(), |model, i: i64| {
            let block = Block::new(&(&path / i), module(elements(0.3).with_seed(i as u64)));
            if around { model.add(Checkpoint::new(block)) } else { model.add(block) }
        });
        let x = Tensor::randn([8, 10], float());
        model.forward_t(&x, true).square().sum(None).backward();
        sorted(&vs).into_iter().map(|(_, parameter)| parameter.grad()).collect::<Vec<_>>()
    };
    assert_all_same(&run(true), &run(false));

    let layer = Checkpoint::new(elements(0.3));
    layer.clone().lock().set_p(0.4).unwrap();
    assert_eq!(format!("{layer:?}"), "Checkpoint(TrueDropout(p=0.4, elements))");
}

/// As a gradient penalty does, or an inner loop that trains: the inner segment's masks are its own in both runs.
#[test]
fn a_segment_may_run_a_backward_pass_inside() {
    let _alone = alone();
    let (x, w) = (leaf(&[4, 5]), leaf(&[5, 5]));
    let run = |around: bool| {
        let [inner, outer] = [1, 2].map(|seed| Arc::new(seeded(seed)));
        let (shared, of_segment) = ([&inner, &outer].map(Arc::clone), w.shallow_clone());
        let segment = move |x: &Tensor| {
            let [inner, outer] = shared.each_ref().map(Arc::clone);
            let x = outer.forward_t(x, true);
            let z = x.detach().set_requires_grad(true);
            let dropped = move |z: &Tensor| inner.forward_t(&z.square(), true);
            let loss = if around { checkpoint(dropped, &z) } else { dropped(&z) };
            loss.sum(None).backward();
            outer.forward_t(&(x * z.grad()).matmul(&of_segment), true)
        };
        let y = if around { checkpoint(segment, &x) } else { segment(&x) };
        let mut found = gradients(&y, &[&x, &w]);
        found.extend([y.detach(), inner.forward_t(&x, true).detach()]);
        found
    };
    assert_all_same(&run(true), &run(false));
}
