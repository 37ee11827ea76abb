//! Checkpoints of modules.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tch::{Tensor, nn};

use super::function::checkpoint;

/// A module that is run again in the backward pass, in place of keeping its activations: [`checkpoint`] for each
/// of its forward passes, and for as many blocks of a model as you like.
///
/// ```
/// use tch::{nn, nn::{Module, ModuleT}, Device, Kind, Tensor};
/// use tch_dropout::{Checkpoint, TrueDropout};
///
/// #[derive(Debug)]
/// struct Block {
///     inner: nn::Linear,
///     outer: nn::Linear,
///     dropout: TrueDropout,
/// }
///
/// impl Block {
///     fn new(vs: nn::Path) -> Result<Self, tch_dropout::Error> {
///         let inner = nn::linear(&vs / "inner", 8, 32, Default::default());
///         let outer = nn::linear(&vs / "outer", 32, 8, Default::default());
///         Ok(Block { inner, outer, dropout: TrueDropout::elements(0.1)? })
///     }
/// }
///
/// impl ModuleT for Block {
///     fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
///         let hidden = self.inner.forward(x).gelu("none");
///         self.dropout.forward_add(&self.outer.forward(&hidden), x, train)
///     }
/// }
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let blocks = (0..16).map(|i| Ok(Checkpoint::new(Block::new(vs.root() / i)?)));
/// let blocks = blocks.collect::<Result<Vec<_>, tch_dropout::Error>>()?;
///
/// let x = Tensor::randn([4, 8], (Kind::Float, Device::Cpu));
/// let y = blocks.iter().fold(x, |x, block| block.forward_t(&x, true));
/// y.sum(None).backward(); // The graph keeps only each block's input.
/// assert!(vs.variables()["0.inner.weight"].grad().defined());
/// # Ok::<(), tch_dropout::Error>(())
/// ```
///
/// To keep less, make the segments longer: with a checkpoint around every fourth of 16 blocks, the graph keeps four
/// inputs, and the backward pass has the activations of four blocks at a time.
///
/// A clone is the same module.
pub struct Checkpoint<M> {
    module: Arc<Mutex<M>>,
}

impl<M: nn::ModuleT + 'static> Checkpoint<M> {
    /// Checkpoints of this module.
    ///
    /// ```
    /// use tch::nn;
    /// use tch_dropout::{Checkpoint, TrueDropout};
    ///
    /// let block = nn::seq_t().add_fn(|x| x.gelu("none")).add(TrueDropout::elements(0.1)?);
    /// let model = nn::seq_t().add(Checkpoint::new(block));
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    pub fn new(module: M) -> Self {
        Checkpoint { module: Arc::new(Mutex::new(module)) }
    }

    /// The module. Forward and backward passes wait while this is held.
    ///
    /// ```
    /// # use tch_dropout::{Checkpoint, TrueDropout};
    /// let block = Checkpoint::new(TrueDropout::elements(0.1)?);
    /// block.lock().set_p(0.2)?;
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    pub fn lock(&self) -> MutexGuard<'_, M> {
        self.module.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: nn::ModuleT + 'static> nn::ModuleT for Checkpoint<M> {
    #[track_caller]
    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        let module = self.clone();
        checkpoint(move |x| module.lock().forward_t(x, train), x)
    }
}

impl<M> Clone for Checkpoint<M> {
    fn clone(&self) -> Self {
        Checkpoint { module: Arc::clone(&self.module) }
    }
}

/// `Checkpoint(...)`, around the module as it prints itself.
impl<M: nn::ModuleT + 'static> fmt::Debug for Checkpoint<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Checkpoint").field(&*self.lock()).finish()
    }
}
