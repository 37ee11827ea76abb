//! The blocks that DropBlock drops.

use tch::nn::ModuleT;
use tch::{Kind, Tensor};
use tch_dropout::DropBlock;

use crate::common::float;
use crate::deviates::{count, largest, mean};
use crate::examination::{Findings, finding, sum};
use crate::seeded;
use crate::trial::{Forward, assert_verdicts, mutant, once};

const FORWARDS: i64 = 8;

/// What the layer claims of feature maps `[N, C, ...]`: that seeds drawn with the paper's gamma, wherever a
/// whole block fits, each drop a block, and that the rest is rescaled by what is left of the batch.
struct Blocks {
    p: f64,
    block: i64,
    size: Vec<i64>,
}

impl Blocks {
    fn spatial(&self) -> &[i64] {
        &self.size[2..]
    }

    fn gamma(&self) -> f64 {
        let share = |&n: &i64| n as f64 / (self.block * (n - self.block + 1)) as f64;
        self.p * self.spatial().iter().map(share).product::<f64>()
    }

    fn examine(&self, forward: &Forward) -> Findings {
        let ones = Tensor::ones(&self.size, float());
        let mut all = Vec::new();
        for _ in 0..FORWARDS {
            let y = forward(&ones);
            let dropped = y.eq(0).to_kind(Kind::Double);
            let scale = ones.numel() as f64 / (ones.numel() as f64 - sum(&dropped));
            let expected = (1.0f64 - &dropped) * scale;
            if !y.to_kind(Kind::Double).allclose(&expected, 1e-5, 0.0, false) {
                return vec![
                    "values other than 0 and the count over the count that is kept".into(),
                ];
            }
            if self.grown(&self.shrunk(&dropped)) != dropped {
                return vec!["blocks that are not whole".to_owned()];
            }
            all.push(dropped);
        }
        let mut deviates = self.rates(&Tensor::stack(&all, 0));
        deviates.extend(self.dependence(&Tensor::stack(&all, 0)));
        deviates.into_iter().filter_map(|(what, z)| finding(&what, z)).collect()
    }

    /// Where whole blocks begin.
    fn shrunk(&self, dropped: &Tensor) -> Tensor {
        (2..dropped.dim() as i64)
            .fold(dropped.shallow_clone(), |x, dim| x.unfold(dim, self.block, 1).amin(-1, false))
    }

    /// The blocks that begin there.
    fn grown(&self, corners: &Tensor) -> Tensor {
        let around = corners.pad(vec![self.block - 1; 2 * self.spatial().len()], "constant", 0.0);
        (2..corners.dim() as i64)
            .fold(around, |x, dim| x.unfold(dim, self.block, 1).amax(-1, false))
    }

    /// How often each place is dropped, and how often a corner of the map is kept that is 1, 2, 3, ... places
    /// wide: as often as none of the seeds falls there that would drop a part of it.
    fn rates(&self, dropped: &Tensor) -> Vec<(String, f64)> {
        let maps = dropped.flatten(0, 2);
        let expected = self.expected();
        let n = maps.size()[0] as f64;
        let counts = maps.sum_dim_intlist([0].as_slice(), false, None);
        let variances: Tensor = &expected * (1.0f64 - &expected) * n;
        let places = (counts - &expected * n) / variances.sqrt();
        let shares = maps.flatten(1, -1).mean_dim([1].as_slice(), false, None);
        let mut all = vec![
            ("rate".to_owned(), mean(&shares, sum(&expected) / expected.numel() as f64)),
            ("rate by place".to_owned(), largest(&places)),
        ];
        let dims: Vec<i64> = (1..maps.dim() as i64).collect();
        for (side, maps) in [("first", maps.shallow_clone()), ("last", maps.flip(&dims))] {
            let widest = self.spatial().iter().map(|n| n - self.block + 1).min().unwrap();
            for width in 1..=widest.min(4) {
                let corner =
                    dims.iter().fold(maps.shallow_clone(), |x, &dim| x.narrow(dim, 0, width));
                let kept = corner.flatten(1, -1).amax([1], false).eq(0);
                let seeds = width.pow(dims.len() as u32);
                let p = (1.0 - self.gamma()).powi(seeds as i32);
                all.push((format!("the {side} corner, {width} wide"), count(&kept, p)));
            }
        }
        all
    }

    /// The probability of each place to be dropped.
    fn expected(&self) -> Tensor {
        1.0 - (self.seeds().to_kind(Kind::Double) * (1.0 - self.gamma()).ln()).exp()
    }

    /// By how many seeds each place can be dropped.
    fn seeds(&self) -> Tensor {
        let along = |n: i64| {
            let places = (0..n)
                .map(|i| [i + 1, n - i, self.block, n - self.block + 1].into_iter().min().unwrap());
            Tensor::from_slice(&places.collect::<Vec<_>>()).to_device(float().1)
        };
        self.spatial()
            .iter()
            .fold(Tensor::ones([1], float()), |seeds, &n| seeds.unsqueeze(-1) * along(n))
            .squeeze_dim(0)
    }

    /// Of each map with the next forward's, sample's and channel's.
    fn dependence(&self, dropped: &Tensor) -> Vec<(String, f64)> {
        let deviations = dropped.flatten(3, -1)
            - dropped.flatten(3, -1).mean_dim([0, 1, 2].as_slice(), true, None);
        let with_next = |(dim, of): (i64, &str)| {
            let n = deviations.size()[dim as usize] - 1;
            let product = deviations.narrow(dim, 0, n) * deviations.narrow(dim, 1, n);
            let of_maps = product.sum_dim_intlist([3].as_slice(), false, None);
            (format!("dependence of {of}"), mean(&of_maps, 0.0))
        };
        [(0, "forwards"), (1, "samples"), (2, "channels")].map(with_next).into()
    }
}

fn claim(p: f64, block: i64, size: &[i64]) -> Blocks {
    Blocks { p, block, size: size.to_vec() }
}

const SIZE: [i64; 4] = [64, 32, 10, 13];

#[test]
fn drop_block_keeps_its_claim() {
    let (_generator, seed) = seeded();
    for claim in [
        claim(0.1, 3, &SIZE),
        claim(0.6, 4, &SIZE),
        claim(1.0, 4, &SIZE),
        claim(0.02, 7, &SIZE),
        claim(0.2, 2, &[64, 32, 40]),
        claim(0.2, 3, &[32, 16, 5, 6, 7]),
        claim(0.3, 5, &[64, 32, 5, 9]),
    ] {
        let (p, expected) = (claim.p, claim.expected());
        let share = sum(&expected) / expected.numel() as f64;
        assert!(share < p && share > p - p * p, "{share} is not near {p}");
        let new = || DropBlock::new(claim.p, claim.block).unwrap();
        let layers = [new(), new().with_seed(seed as u64)].map(|layer| {
            let name = format!("{layer} of {:?}", claim.size);
            let forward: Forward = Box::new(move |x| layer.forward_t(x, true));
            (name, forward)
        });
        assert_verdicts(|forward| claim.examine(forward), layers, []);
    }
}

/// Zeros where a seed's block is, `height` by `width`, and ones elsewhere. Seeds beyond `bounds` are cut off.
fn mask(seeds: &Tensor, height: i64, width: i64) -> Tensor {
    let around = seeds.pad([width - 1, 0, height - 1, 0], "constant", 0.0);
    1.0f64 - around.max_pool2d([height, width], [1, 1], [0, 0], [1, 1], false)
}

/// Seeds, where a block of this size fits.
fn seeds(gamma: f64, size: &[i64], block: i64) -> Tensor {
    let [n, c, height, width] = size[..] else { panic!("feature maps") };
    let fits = [n, c, height - block + 1, width - block + 1];
    let seeds = Tensor::rand(fits, float()).lt(gamma).to_kind(Kind::Float);
    seeds.pad([0, block - 1, 0, block - 1], "constant", 0.0)
}

/// Rescaled by what is kept of the batch.
fn normalized(x: &Tensor, mask: &Tensor) -> Tensor {
    x * mask / mask.mean(None)
}

#[test]
fn mutants_of_drop_block_do_not() {
    let (_generator, _) = seeded();
    const P: f64 = 0.2;
    const BLOCK: i64 = 3;
    let right = claim(P, BLOCK, &SIZE);
    let gamma = right.gamma();
    let swapped = claim(1.0 - P, BLOCK, &SIZE).gamma();
    let of = |gamma: f64| {
        move |x: &Tensor| normalized(x, &mask(&seeds(gamma, &x.size(), BLOCK), BLOCK, BLOCK))
    };
    let drawn = move || mask(&seeds(gamma, &SIZE, BLOCK), BLOCK, BLOCK);
    let values = "values other than";
    let mutants = [
        mutant("gamma is p", "rate", of(P)),
        mutant("gamma without the places where no block fits", "rate", of(P / 9.0)),
        mutant("gamma for blocks of another size", "rate", of(claim(P, 4, &SIZE).gamma())),
        mutant("p and 1 - p swapped", "rate", of(swapped)),
        mutant("not rescaled", values, move |x| x * drawn()),
        mutant("rescaled by 1 / (1 - p)", values, move |x| x * drawn() / (1.0 - P)),
        mutant("rescaled by each map's own share", values, move |x| {
            let mask = drawn();
            x * &mask / mask.mean_dim([2, 3].as_slice(), true, None).clamp_min(0.01)
        }),
        mutant("each element by itself", "blocks that are not whole", |x| {
            normalized(x, &Tensor::rand(SIZE, float()).ge(P).to_kind(Kind::Float))
        }),
        mutant("lines", "blocks that are not whole", |x| {
            normalized(x, &mask(&seeds(P / 3.0, &SIZE, BLOCK), 1, BLOCK))
        }),
        mutant("blocks that the border cuts off", "blocks that are not whole", move |x| {
            let anywhere = Tensor::rand(SIZE, float()).lt(P / 9.0).to_kind(Kind::Float);
            normalized(x, &mask(&anywhere, BLOCK, BLOCK))
        }),
        mutant("blocks that are smaller by one", "blocks that are not whole", move |x| {
            normalized(x, &mask(&seeds(claim(P, 2, &SIZE).gamma(), &SIZE, 2), 2, 2))
        }),
        mutant("blocks that are larger by one", "rate by place", move |x| {
            normalized(x, &mask(&seeds(claim(P, 4, &SIZE).gamma(), &SIZE, 4), 4, 4))
        }),
        mutant("no seeds at the border", "the first corner, 1 wide", move |x| {
            let inside = seeds(gamma, &SIZE, BLOCK);
            let _ = inside.narrow(2, 0, 1).fill_(0.0);
            normalized(x, &mask(&inside, BLOCK, BLOCK))
        }),
        mutant("seeds in pairs", "the first corner, 2 wide", move |x| {
            // Rows 0 and 1, 2 and 3, ... have the same seeds.
            let half = seeds(gamma, &[SIZE[0], SIZE[1], 6, SIZE[3]], BLOCK).narrow(2, 0, 4);
            let twice = half.repeat_interleave_self_int(2, 2, None);
            normalized(x, &mask(&twice.pad([0, 0, 0, 2], "constant", 0.0), BLOCK, BLOCK))
        }),
        mutant("one mask for all channels", "dependence of channels", move |x| {
            normalized(x, &drawn().narrow(1, 0, 1).expand(SIZE, false))
        }),
        mutant("one mask for the batch", "dependence of samples", move |x| {
            normalized(x, &drawn().narrow(0, 0, 1).expand(SIZE, false))
        }),
        mutant("one mask for all steps", "dependence of forwards", once(of(gamma), &SIZE)),
    ];
    assert_verdicts(|forward| right.examine(forward), [], mutants);
}
