//! Checkpoints: the weights, Adam's state and the steps of all ranks' streams, in one safetensors file.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use mnist_experiment::output;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensorError, SafeTensors};
use tch::Tensor;
use tch::nn::VarStore;
use tch_dropout::Streams;

use crate::adam::Adam;
use crate::ranks::Ranks;

/// The key under which the file describes its run.
const RUN: &str = "run";

/// What training changes.
pub struct State {
    pub vs: VarStore,
    pub adam: Adam,
    /// This rank's. All others are the same on all ranks.
    pub streams: Streams,
}

/// The checkpoint of a run.
pub struct Checkpoint {
    file: PathBuf,
    /// A description of the run. Only a run with the same goes on from the checkpoint.
    run: String,
}

impl Checkpoint {
    /// The checkpoint in a directory. A new run does not overwrite that of another.
    pub fn open(ranks: &Ranks, directory: &Path, run: String, resume: bool) -> Result<Checkpoint> {
        let file = directory.join("checkpoint.safetensors");
        if ranks.is_first() && !resume {
            ensure!(!file.exists(), "{} is there: --resume goes on from it", file.display());
            let cannot = || format!("cannot make the directory {}", directory.display());
            fs::create_dir_all(directory).with_context(cannot)?;
            output::check_writable(&file)?;
        }
        Ok(Checkpoint { file, run })
    }

    /// Saves the state. An older file is replaced at once, so that there is a whole one at any time.
    pub fn save(&self, ranks: &Ranks, state: &State) -> Result<()> {
        let tensors = state.tensors(ranks)?;
        if !ranks.is_first() {
            return Ok(());
        }
        let tensors: Vec<_> =
            tensors.iter().map(|(name, tensor)| stored(name, tensor)).collect::<Result<_>>()?;
        let views: Vec<_> = tensors
            .iter()
            .map(|(name, dtype, size, bytes)| {
                Ok((name, TensorView::new(*dtype, size.clone(), bytes)?))
            })
            .collect::<Result<_, _>>()
            .map_err(as_error)?;
        let metadata = HashMap::from([(RUN.to_owned(), self.run.clone())]);
        let bytes = safetensors::serialize(views, &Some(metadata)).map_err(as_error)?;
        output::write(&self.file, &bytes)
    }

    /// Loads the state, on all ranks. The first one reads the file.
    pub fn load(&self, ranks: &Ranks, state: &mut State) -> Result<()> {
        let cannot = || format!("cannot resume from {}", self.file.display());
        let bytes = ranks.from_first(|| fs::read(&self.file).with_context(cannot))?;
        self.copy(&bytes, ranks, state).with_context(cannot)
    }

    fn copy(&self, bytes: &[u8], ranks: &Ranks, state: &mut State) -> Result<()> {
        let damaged = |error| as_error(error).context("it is not a whole safetensors file");
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let run = header.metadata().as_ref().and_then(|entries| entries.get(RUN));
        let run = run.context("it does not say which run it is of")?;
        ensure!(*run == self.run, "it is of the run {run}, and this one is {}", self.run);

        let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
        let mut tensors = state.tensors(ranks)?;
        let _no_grad = tch::no_grad_guard();
        for (name, tensor) in &mut tensors {
            let saved = file.tensor(name).ok().with_context(|| format!("it has no {name}"))?;
            let saved = Tensor::try_from(saved)?;
            let [got, expected] = [&saved, &*tensor].map(|it| (it.kind(), it.size()));
            ensure!(got == expected, "its {name} is {got:?}, expected {expected:?}");
            tensor.f_copy_(&saved)?;
        }
        state.adam.t = i64::try_from(&tensors["adam.t"])?;
        let steps = tensors["streams"].f_get(ranks.rank() as i64)?;
        let steps = Vec::<i64>::try_from(steps)?.into_iter().map(|step| step as u64);
        Ok(state.streams.set_steps(&steps.collect::<Vec<_>>())?)
    }
}

impl State {
    /// By their names: the weights and moments themselves, and copies of the numbers of steps.
    fn tensors(&self, ranks: &Ranks) -> Result<BTreeMap<String, Tensor>> {
        let Adam { t, m, v } = &self.adam;
        // Those of a rank that had no rows in a small batch are behind.
        let steps: Vec<_> = self.streams.steps().iter().map(|&step| step as i64).collect();
        let streams = Tensor::f_from_slice(&ranks.gather(&steps))?;
        let others = [
            ("adam.t", Tensor::from(*t)),
            ("adam.m", m.shallow_clone()),
            ("adam.v", v.shallow_clone()),
            ("streams", streams.f_view([ranks.size() as i64, -1])?),
        ];
        let others = others.map(|(name, tensor)| (name.to_owned(), tensor));
        Ok(self.vs.variables().into_iter().chain(others).collect())
    }
}

/// A tensor's name, kind, size and bytes.
fn stored<'a>(name: &'a str, tensor: &Tensor) -> Result<(&'a str, Dtype, Vec<usize>, Vec<u8>)> {
    let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
    let size = tensor.size().into_iter().map(|size| size as usize).collect();
    Ok((name, tensor.kind().try_into()?, size, bytes))
}

/// safetensors' errors have no text but their names.
fn as_error(error: SafeTensorError) -> anyhow::Error {
    anyhow!("{error:?}")
}
