//! One seed for all layers of a model.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::counter::STEPS;
use super::stream::{Stream, checked};
use crate::error::{Error, Result};

/// One seed for a whole model: hands out a [`Stream`] for each layer, and saves and sets the steps of all of
/// them at once, wherever the layers are in the model.
///
/// Layers are numbered in the order in which they take their [next stream](Self::next_stream), or each by
/// [its own number](Self::stream). Each number has bits of its own in the generator's counter, so no two layers share a
/// random number. A `VarStore` does not hold the steps: save them beside it.
///
/// ```
/// use tch::{nn, nn::ModuleT, Device, Kind, Tensor};
/// use tch_dropout::{Streams, TrueDropout};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let streams = Streams::new(42);
/// let model = nn::seq_t()
///     .add(TrueDropout::elements(0.2)?.with_stream(streams.next_stream()?))
///     .add(nn::linear(vs.root() / "hidden", 8, 8, Default::default()))
///     .add(TrueDropout::elements(0.5)?.with_stream(streams.next_stream()?));
///
/// let x = Tensor::ones([4, 8], (Kind::Float, Device::Cpu));
/// let saved = streams.steps(); // Into the checkpoint ...
/// let first = model.forward_t(&x, true);
/// streams.set_steps(&saved)?; // ... and out of it.
/// assert_eq!(model.forward_t(&x, true), first);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
///
/// # Resuming a run
///
/// The steps are numbers, to be written next to the weights in any format. (tch cannot save an optimizer's state:
/// `examples/data_parallel` has an Adam of its own, and resumes bit for bit.)
///
/// ```
/// use std::fs;
/// use tch::{nn, Device};
/// use tch_dropout::{Streams, TrueDropout};
///
/// let (mut vs, streams) = (nn::VarStore::new(Device::Cpu), Streams::new(42));
/// let hidden = nn::linear(vs.root() / "hidden", 8, 8, Default::default());
/// let dropout = TrueDropout::elements(0.5)?.with_streams(&streams)?;
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path();
///
/// // After an epoch:
/// vs.save(folder.join("weights.safetensors"))?;
/// fs::write(folder.join("steps.json"), serde_json::to_string(&streams.steps())?)?;
///
/// // In the next process, once the model is built as above:
/// vs.load(folder.join("weights.safetensors"))?;
/// let steps: Vec<u64> = serde_json::from_str(&fs::read_to_string(folder.join("steps.json"))?)?;
/// streams.set_steps(&steps)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Streams {
    seed: u64,
    worker: u16,
    /// By the layer's number.
    steps: Mutex<BTreeMap<u16, Arc<AtomicU64>>>,
}

impl Streams {
    /// The streams of a seed, for worker 0.
    ///
    /// ```
    /// let streams = tch_dropout::Streams::new(42);
    /// assert!(streams.steps().is_empty());
    /// ```
    pub fn new(seed: u64) -> Self {
        Streams { seed, worker: 0, steps: Mutex::default() }
    }

    /// Sets the worker (a rank of data-parallel training) of all streams handed out from now on.
    ///
    /// ```
    /// # use tch_dropout::Streams;
    /// let rank = 3;
    /// let streams = Streams::new(42).with_worker(rank);
    /// assert_eq!(streams.next_stream()?.worker(), 3);
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    pub fn with_worker(self, worker: u16) -> Self {
        Streams { worker, ..self }
    }

    /// The stream of the next layer, at step 0: with the lowest number that no layer has.
    ///
    /// If another layer then takes its stream before these, they get other numbers, and so other masks. For a model that
    /// will change, name the numbers: see [`stream`](Self::stream).
    ///
    /// ```
    /// # use tch_dropout::Streams;
    /// let streams = Streams::new(42);
    /// assert_eq!((streams.next_stream()?.layer(), streams.next_stream()?.layer()), (0, 1));
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Layers`] after 65,536 of them.
    pub fn next_stream(&self) -> Result<Stream> {
        let mut steps = self.lock();
        // Up to the first gap, numbers and places are the same.
        let taken = (0..).zip(steps.keys()).take_while(|(place, layer)| place == *layer).count();
        let layer = u16::try_from(taken).map_err(|_| Error::Layers)?;
        Ok(self.take(&mut steps, layer))
    }

    /// The stream of the layer of this number, at step 0. A layer that is added to a model takes a number that is
    /// free, and all others keep their masks, wherever it stands.
    ///
    /// ```
    /// use tch_dropout::{Streams, TrueDropout};
    ///
    /// let streams = Streams::new(42);
    /// let added = TrueDropout::elements(0.1)?.with_stream(streams.stream(2)?); // New, in front of the others.
    /// let first = TrueDropout::elements(0.2)?.with_stream(streams.stream(0)?);
    /// let second = TrueDropout::elements(0.5)?.with_stream(streams.stream(1)?);
    ///
    /// let mut saved = vec![7, 9]; // Of the model as it was.
    /// saved.push(0);
    /// streams.set_steps(&saved)?;
    /// assert_eq!(second.stream().map(|stream| (stream.layer(), stream.step())), Some((1, 9)));
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::LayerTaken`] if the number has been handed out.
    pub fn stream(&self, layer: u16) -> Result<Stream> {
        let mut steps = self.lock();
        if steps.contains_key(&layer) {
            return Err(Error::LayerTaken(layer));
        }
        Ok(self.take(&mut steps, layer))
    }

    fn take(&self, steps: &mut BTreeMap<u16, Arc<AtomicU64>>, layer: u16) -> Stream {
        let step = Arc::default();
        steps.insert(layer, Arc::clone(&step));
        Stream::new(self.seed).with_worker(self.worker).with_layer(layer).sharing(step)
    }

    /// The step that each layer takes next, in the order of their numbers.
    ///
    /// ```
    /// # use tch_dropout::Streams;
    /// let streams = Streams::new(42);
    /// let (first, second) = (streams.next_stream()?, streams.next_stream()?);
    /// second.set_step(9)?;
    /// assert_eq!(streams.steps(), [0, 9]);
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    pub fn steps(&self) -> Vec<u64> {
        self.lock().values().map(|step| step.load(Ordering::Relaxed) % STEPS).collect()
    }

    /// Sets the step of every layer, in the order of their numbers, for instance to resume from a checkpoint.
    ///
    /// ```
    /// # use tch_dropout::Streams;
    /// let streams = Streams::new(42);
    /// let (first, second) = (streams.next_stream()?, streams.next_stream()?);
    /// streams.set_steps(&[7, 9])?;
    /// assert_eq!((first.step(), second.step()), (7, 9));
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Steps`] if there are more or fewer steps than streams, and [`Error::Step`] for one of 2⁴⁸ or
    /// more; then none is set.
    pub fn set_steps(&self, steps: &[u64]) -> Result<()> {
        let streams = self.lock();
        if streams.len() != steps.len() {
            return Err(Error::Steps { expected: streams.len(), got: steps.len() });
        }
        steps.iter().try_for_each(|&step| checked(step).map(drop))?;
        for (stream, &step) in streams.values().zip(steps) {
            stream.store(step, Ordering::Relaxed);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u16, Arc<AtomicU64>>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
