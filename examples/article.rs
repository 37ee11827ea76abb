//! "Dropout is drop-dead easy to implement", from top to bottom: each of the article's snippets, with
//! what it prints.
//!
//!     cargo run --release --example article

use anyhow::Result;
use tch::nn::{self, Module, ModuleT};
use tch::{Device, Kind, Tensor};
use tch_dropout::{Dropout, TrueDropout, apply_mask, column_mask, element_mask};

fn main() -> Result<()> {
    tch::manual_seed(2);
    dropout_of_columns()?;
    drop_connect()?;
    the_layer()?;
    the_model()?;
    the_layer_that_rescales()?;
    the_slip_in_forward()?;
    the_slip_at_one()
}

fn dropout_of_columns() -> Result<()> {
    heading(
        "Dropout zeroes columns: a number per column, compared with p, broadcast over the rows.",
    );
    let x = Tensor::from_slice(&[1i64, 2, 3, 4, 5, 6]).reshape([2, 3]);
    let mask = column_mask(&x, 0.5)?;
    let dropped = apply_mask(&x, &mask)?;
    show("x", &x);
    show("mask", &mask);
    show("x * mask", &dropped);
    Ok(())
}

fn drop_connect() -> Result<()> {
    heading("DropConnect zeroes weights: a number per element, and otherwise the same two lines.");
    let weight = Tensor::from_slice(&[1i64, 2, 3, 4, 5, 6]).reshape([2, 3]);
    let mask = element_mask(&weight, 0.5)?;
    let dropped = apply_mask(&weight, &mask)?;
    show("weight", &weight);
    show("mask", &mask);
    show("weight * mask", &dropped);
    Ok(())
}

fn the_layer() -> Result<()> {
    heading("As a layer, it does that in training and nothing in evaluation.");
    let x = Tensor::ones([2, 6], (Kind::Float, Device::Cpu));
    let layer = Dropout::columns(0.5)?;
    println!("{layer}");
    show("training", &layer.forward_t(&x, true));
    show("evaluation", &layer.forward_t(&x, false));
    Ok(())
}

fn the_model() -> Result<()> {
    heading("It goes into a model like any other layer. `--example mnist` trains this one.");
    let vs = nn::VarStore::new(Device::Cpu);
    let model = nn::seq_t()
        .add(nn::linear(vs.root() / "first", 784, 512, Default::default()))
        .add(nn::linear(vs.root() / "second", 512, 512, Default::default()))
        .add(Dropout::columns(0.5)?)
        .add(nn::linear(vs.root() / "last", 512, 10, Default::default()));
    let images = Tensor::rand([64, 784], (Kind::Float, Device::Cpu));
    println!("images {:?} -> output {:?}", images.size(), model.forward_t(&images, true).size());
    Ok(())
}

fn the_layer_that_rescales() -> Result<()> {
    heading("TrueDropout also multiplies what is kept by 1 / (1 - p), so that the mean stays.");
    let x = Tensor::ones([2, 6], (Kind::Float, Device::Cpu));
    let layer = TrueDropout::columns(0.5)?;
    println!("{layer}");
    show("training", &layer.forward_t(&x, true));
    show("evaluation", &layer.forward_t(&x, false));

    let many = Tensor::ones([1, 1_000_000], (Kind::Float, Device::Cpu));
    let mean = |y: Tensor| y.mean(Kind::Float).double_value(&[]);
    println!(
        "mean of a million ones under Dropout:     {:.2}",
        mean(Dropout::columns(0.5)?.forward_t(&many, true))
    );
    println!("mean of a million ones under TrueDropout: {:.2}", mean(layer.forward_t(&many, true)));

    println!("torch.nn.Dropout draws for each element, which here is");
    let like_torch = TrueDropout::elements(0.5)?;
    println!("{like_torch}");
    show("training", &like_torch.forward_t(&x, true));
    Ok(())
}

fn the_slip_in_forward() -> Result<()> {
    heading(
        "A slip: the article's forward is printed with `return x` where it means `return output`.",
    );
    let vs = nn::VarStore::new(Device::Cpu);
    let hidden = nn::linear(vs.root() / "hidden", 784, 512, Default::default());
    let last = nn::linear(vs.root() / "last", 512, 10, Default::default());
    let dropout = Dropout::columns(0.5)?;

    let images = Tensor::rand([64, 784], (Kind::Float, Device::Cpu));
    let x = dropout.forward_t(&hidden.forward(&images), true);
    let output = last.forward(&x);
    println!("x {:?}, output {:?}", x.size(), output.size());
    println!("We return output. `--example mnist -- --as-printed` returns x, to see what it does.");
    Ok(())
}

fn the_slip_at_one() -> Result<()> {
    heading("Another: at p = 1, 1 / (1 - p) is infinite, and 0 times infinity is not a number.");
    let x = Tensor::ones([1, 3], (Kind::Float, Device::Cpu));
    let zeros = x.zeros_like();
    show("as printed", &(&x * zeros * f64::INFINITY));
    show("ours", &TrueDropout::columns(1.0)?.forward_t(&x, true));
    Ok(())
}

fn heading(text: &str) {
    println!("\n# {text}\n");
}

/// Prints a matrix as PyTorch does.
fn show(name: &str, matrix: &Tensor) {
    let print = |number: &f64| match () {
        () if number.is_nan() => "nan".to_owned(),
        () if matrix.is_floating_point() => format!("{number}."),
        () => number.to_string(),
    };
    let rows: Vec<String> = (0..matrix.size()[0])
        .map(|row| {
            let numbers = Vec::<f64>::try_from(matrix.get(row).to_kind(Kind::Double));
            let numbers = numbers.expect("a row of a matrix is a vector");
            format!("[{}]", numbers.iter().map(print).collect::<Vec<_>>().join(", "))
        })
        .collect();
    let indent = format!(",\n{:24}", "");
    println!("{name:13} = tensor([{}])", rows.join(&indent));
}
