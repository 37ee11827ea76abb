//! `residual + dropout(x)`, in libtorch's two operations and in one.

use comfy_table::Table;
use tch::{Device, Kind, Tensor};
use tch_dropout::TrueDropout;

use crate::contest::{Forward, Pass, race};
use crate::goals;
use crate::table::{name_of, new_table, right_align};
use crate::timing::Effort;

pub const P: f64 = 0.1;

const NAMES: [&str; 3] = ["residual + Tensor::dropout", "forward_add", "forward_add with a seed"];

pub fn table(shapes: &[&[i64]], device: Device, effort: Effort) -> Table {
    let mut table = new_table(&["shape", "kind", "pass", "variant", "ms", "times as fast", "goal"]);
    for &shape in shapes {
        for (kind, pass) in [Kind::Float, Kind::BFloat16]
            .into_iter()
            .flat_map(|kind| [(kind, Pass::Forward), (kind, Pass::ForwardBackward)])
        {
            let times = race(&variants(shape, kind, device), shape, kind, pass, device, effort);
            let is_goal = device.is_cuda() && matches!(pass, Pass::Forward);
            for (name, time) in NAMES.iter().zip(&times) {
                let times_as_fast = times[0].median / time.median;
                let goal = match *name != NAMES[0] && is_goal && goals::is_large(shape) {
                    true => goals::all(&[goals::at_least(times_as_fast, 1.8)]),
                    false => String::new(),
                };
                table.add_row([
                    format!("{shape:?}"),
                    name_of(kind).to_owned(),
                    pass.to_string(),
                    name.to_string(),
                    time.shown(1e6, 4),
                    format!("{times_as_fast:.2}"),
                    goal,
                ]);
            }
        }
    }
    right_align(&mut table, 4);
    table
}

fn variants(shape: &[i64], kind: Kind, device: Device) -> [Forward; 3] {
    let residual = Tensor::rand(shape, (Kind::Float, device)).to_kind(kind);
    let elements = || TrueDropout::elements(P).expect("p is a probability");
    let ours = |layer: TrueDropout| -> Forward {
        let residual = residual.shallow_clone();
        Box::new(move |x| layer.forward_add(x, &residual, true))
    };
    let (plain, seeded) = (ours(elements()), ours(elements().with_seed(1)));
    [Box::new(move |x| &residual + x.dropout(P, true)), plain, seeded]
}
