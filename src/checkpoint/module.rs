//! Checkpoints of modules.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tch::{Tensor, nn};

use super::function::f_checkpoint;
use crate::error::{CheckpointError, Result, or_panic};

/// A module that is run again in the backward pass, in place of keeping its activations:
/// [`checkpoint`](crate::checkpoint()) for each of its forward passes, and for as many blocks of a model as you like.
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

    /// The module. Forward and backward passes on other threads wait while this is held; one on the same thread is an
    /// error, [`CheckpointError::Locked`](crate::CheckpointError::Locked), and so is another `lock`. (On a GPU, libtorch
    /// runs the backward pass on a thread of its own, and there it would wait forever.)
    ///
    /// ```
    /// # use tch_dropout::{Checkpoint, TrueDropout};
    /// let block = Checkpoint::new(TrueDropout::elements(0.1)?);
    /// block.lock().set_p(0.2)?;
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// On a thread that holds it.
    #[track_caller]
    pub fn lock(&self) -> CheckpointGuard<'_, M> {
        or_panic(self.f_lock())
    }

    /// Like [`lock`](Self::lock), but returns a `Result`.
    ///
    /// ```
    /// use tch_dropout::{Checkpoint, CheckpointError, Error, TrueDropout};
    ///
    /// let block = Checkpoint::new(TrueDropout::elements(0.1)?);
    /// let module = block.f_lock()?;
    /// assert!(matches!(block.f_lock(), Err(Error::Checkpoint(CheckpointError::Locked))));
    /// drop(module);
    /// assert!(block.f_lock().is_ok());
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Locked`](crate::CheckpointError::Locked) on a thread that holds it.
    pub fn f_lock(&self) -> Result<CheckpointGuard<'_, M>> {
        let held = Held::new(&self.module).ok_or(CheckpointError::Locked)?;
        let module = self.module.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(CheckpointGuard { module, _held: held })
    }
}

/// A checkpoint's module, while no other thread uses it: what [`Checkpoint::lock`] returns.
///
/// ```
/// use tch_dropout::{Checkpoint, TrueDropout};
///
/// let block = Checkpoint::new(TrueDropout::elements(0.1)?);
/// let module = block.lock();
/// assert_eq!(format!("{module:?}, {block:?}"), "TrueDropout(p=0.1, elements), Checkpoint(<locked>)");
/// # Ok::<(), tch_dropout::Error>(())
/// ```
pub struct CheckpointGuard<'a, M> {
    module: MutexGuard<'a, M>,
    _held: Held,
}

impl<M> Deref for CheckpointGuard<'_, M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.module
    }
}

impl<M> DerefMut for CheckpointGuard<'_, M> {
    fn deref_mut(&mut self) -> &mut M {
        &mut self.module
    }
}

impl<M: fmt::Debug> fmt::Debug for CheckpointGuard<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

thread_local! {
    /// The addresses of the mutexes that this thread holds, or waits for.
    static HELD: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Notes that this thread holds a mutex. It stays on the thread, beside the mutex's own guard.
struct Held(usize);

impl Held {
    /// `None` if it does already.
    fn new<M>(mutex: &Mutex<M>) -> Option<Held> {
        let address = std::ptr::from_ref(mutex).addr();
        HELD.with_borrow_mut(|held| {
            let is_new = !held.contains(&address);
            is_new.then(|| {
                held.push(address);
                Held(address)
            })
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.with_borrow_mut(|held| held.retain(|&address| address != self.0));
    }
}

impl<M: nn::ModuleT + 'static> nn::ModuleT for Checkpoint<M> {
    #[track_caller]
    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        let module = self.clone();
        or_panic(f_checkpoint(move |x| Ok(module.f_lock()?.forward_t(x, train)), x))
    }
}

impl<M> Clone for Checkpoint<M> {
    fn clone(&self) -> Self {
        Checkpoint { module: Arc::clone(&self.module) }
    }
}

/// `Checkpoint(...)`, around the module as it prints itself, if this thread does not hold it.
impl<M: nn::ModuleT + 'static> fmt::Debug for Checkpoint<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.f_lock() {
            Ok(module) => f.debug_tuple("Checkpoint").field(&*module).finish(),
            Err(_) => f.write_str("Checkpoint(<locked>)"),
        }
    }
}
