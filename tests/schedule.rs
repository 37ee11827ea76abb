//! Schedules of `p`, and that every layer takes them.

use tch::{Device, Kind, Tensor, nn, nn::ModuleT};
use tch_dropout::schedule::{curriculum, linear};
use tch_dropout::{
    DropBlock, Dropout, Error, PatchDropout, StochasticDepth, TrueDropout, drop_connect,
};

#[test]
fn a_line_from_one_value_to_the_other() {
    let values =
        |from, to, steps| (0..6).map(|step| linear(from, to, steps, step)).collect::<Vec<_>>();
    assert_eq!(values(0.0, 1.0, 4), [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]);
    assert_eq!(values(0.5, 0.0, 4), [0.5, 0.375, 0.25, 0.125, 0.0, 0.0]);
    assert_eq!(values(0.3, 0.3, 4), [0.3; 6]);
    assert_eq!(values(0.1, 0.2, 1), [0.1, 0.2, 0.2, 0.2, 0.2, 0.2]);
    assert_eq!(values(0.1, 0.2, 0), [0.2; 6]);
}

#[test]
fn a_line_between_probabilities_is_one() {
    for (from, to) in [(0.0, 1.0), (1.0, 0.0), (0.1, 1.0), (1.0, 0.1), (0.3, 0.0), (0.7, 0.7)] {
        for steps in [1, 3, 7, 1_000, u64::MAX] {
            let mut last: f64 = from;
            for step in (0..20).map(|i| steps / 19 * i).chain([steps - 1, steps, u64::MAX]) {
                let p = linear(from, to, steps, step);
                assert!((0.0..=1.0).contains(&p), "{p}");
                let onwards = if from <= to { p >= last - 1e-15 } else { p <= last + 1e-15 };
                assert!(onwards || step <= steps / 19 * 19, "{last}, then {p}");
                last = p;
            }
            assert_eq!(linear(from, to, steps, 0), from);
            assert_eq!(linear(from, to, steps, steps), to);
        }
    }
}

/// The paper's formula is that of the probability to keep, which falls from 1 to `1 - p`.
#[test]
fn a_curriculum_is_the_papers() {
    for (p, steps) in [(0.5, 1_000), (0.2, 30_000), (1.0, 10)] {
        let gamma = 10.0 / steps as f64;
        for step in (0..=10).map(|i| steps / 10 * i) {
            let keep = 1.0 - p;
            let papers = (1.0 - keep) * (-gamma * step as f64).exp() + keep;
            assert!((curriculum(p, gamma, step) - (1.0 - papers)).abs() < 1e-15);
        }
        assert_eq!(curriculum(p, gamma, 0), 0.0);
        assert_eq!(curriculum(p, 0.0, steps), 0.0);
        assert_eq!(curriculum(p, gamma, u64::MAX), p);
        assert!(p - curriculum(p, gamma, steps) < 1e-4);
    }
}

#[test]
fn every_layer_takes_a_schedule() {
    let vs = nn::VarStore::new(Device::Cpu);
    let dropout = Dropout::new(0.0).unwrap();
    let true_dropout = TrueDropout::elements(0.0).unwrap();
    let connect = drop_connect(vs.root(), 4, 4, Default::default()).unwrap();
    let block = DropBlock::new(0.0, 3).unwrap();
    let depth = StochasticDepth::new(0.0).unwrap();
    let patches = PatchDropout::new(0.0).unwrap();
    for step in 0..=20 {
        let p = linear(0.0, 1.0, 20, step);
        for set_p in [
            &|p| dropout.set_p(p) as Result<(), Error>,
            &|p| true_dropout.set_p(p),
            &|p| connect.set_p(p),
            &|p| block.set_p(p),
            &|p| depth.set_p(p),
            &|p| patches.set_p(p),
        ] as [&dyn Fn(f64) -> Result<(), Error>; 6]
        {
            set_p(p).unwrap();
        }
        let all = [dropout.p(), true_dropout.p(), connect.p(), block.p(), depth.p(), patches.p()];
        assert_eq!(all, [p; 6]);
    }
    let x = Tensor::ones([2, 3, 4, 4], (Kind::Float, Device::Cpu));
    assert_eq!(true_dropout.forward_t(&x, true), x.zeros_like());
    assert_eq!(depth.forward(&x, |x| x * 2, true), x);
}

/// A schedule that leaves [0, 1] is found out where it is used, and the layer keeps its `p`.
#[test]
fn a_layer_refuses_what_is_no_probability() {
    let layer = TrueDropout::elements(0.3).unwrap();
    for p in [linear(0.0, 2.0, 10, 9), curriculum(0.5, -1.0, 5), linear(f64::NAN, 0.5, 10, 1)] {
        assert!(matches!(layer.set_p(p), Err(Error::Probability(_))), "{p}");
        assert_eq!(layer.p(), 0.3);
    }
}
