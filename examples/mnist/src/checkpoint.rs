//! Trained models in safetensors files.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use tch::nn::VarStore;
use tch::{Kind, Tensor};

use crate::model::Architecture;
use crate::output;

/// The key under which the file names its model: the article's and the MLP have the same variables.
const MODEL: &str = "model";

/// Saves a model's variables and its name.
pub fn save(path: &Path, model: Architecture, vs: &VarStore) -> Result<()> {
    let variables: Vec<_> = vs
        .variables()
        .into_iter()
        .map(|(name, tensor)| Ok((name, shape(&tensor), bytes(&tensor)?)))
        .collect::<Result<_>>()?;
    let views: Vec<_> = variables
        .iter()
        .map(|(name, shape, bytes)| {
            Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(as_error)?))
        })
        .collect::<Result<_>>()?;
    let metadata = HashMap::from([(MODEL.to_owned(), model.to_string())]);
    output::write(path, &safetensors::serialize(views, &Some(metadata)).map_err(as_error)?)
}

/// Fills a model's variables from a file, which must be of that model and have exactly these variables.
pub fn load(path: &Path, model: Architecture, vs: &VarStore) -> Result<()> {
    let cannot = || format!("cannot read {}", path.display());
    ensure!(fs::metadata(path).with_context(cannot)?.is_file(), "{}: it is no file", cannot());
    let file = fs::read(path).with_context(cannot)?;
    copy(&file, model, vs).with_context(|| format!("cannot load {}", path.display()))
}

fn copy(file: &[u8], model: Architecture, vs: &VarStore) -> Result<()> {
    let no_file = |error| as_error(error).context("it is not a whole safetensors file");
    let (_, header) = SafeTensors::read_metadata(file).map_err(no_file)?;
    let saved = header.metadata().as_ref().and_then(|metadata| metadata.get(MODEL));
    let saved =
        saved.context("it does not say which model it is of, so --save did not write it")?;
    ensure!(*saved == model.to_string(), "it is of --model {saved}, not of --model {model}");

    let tensors = SafeTensors::deserialize(file).map_err(no_file)?;
    let _no_grad = tch::no_grad_guard();
    for (name, mut variable) in vs.variables() {
        let view = tensors.tensor(&name).ok().with_context(|| format!("it has no {name}"))?;
        let (expected, got) = (shape(&variable), view.shape());
        ensure!(expected == got, "its {name} has shape {got:?}, expected {expected:?}");
        let dtype = view.dtype();
        ensure!(dtype == Dtype::F32, "its {name} has kind {dtype:?}, expected F32");
        variable.f_copy_(&Tensor::try_from(view)?)?;
    }
    Ok(())
}

fn shape(tensor: &Tensor) -> Vec<usize> {
    tensor.size().iter().map(|&size| size as usize).collect()
}

fn bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    let numbers = Vec::<f32>::try_from(tensor.f_to_kind(Kind::Float)?.f_flatten(0, -1)?)?;
    Ok(numbers.into_iter().flat_map(f32::to_le_bytes).collect())
}

/// safetensors' errors have no text but their names.
fn as_error(error: safetensors::SafeTensorError) -> anyhow::Error {
    anyhow::anyhow!("{error:?}")
}
