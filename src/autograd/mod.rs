//! A custom backward pass: libtorch's graph calls a Rust closure for a gradient.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `leaves` | the parameters that a result was computed from |
//! | `setting` | libtorch's generators and modes |
//! | `tell` | how C++ passes a text |
//!
//! tch can only record libtorch's operations. `function.cpp` has the few lines of C++ that put a closure into
//! the graph, through `torch::autograd::Function`; build.rs compiles it where it finds libtorch's headers,
//! and sets `cfg(recompute)`.
#![allow(unsafe_code, reason = "calls C++, and is called by it")]

pub(crate) mod leaves;
pub(crate) mod setting;
mod tell;

use std::any::Any;
use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;
use std::sync::{Mutex, PoisonError};

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use self::tell::{Tell, tell};
use crate::error::Result;

/// `y`, which was computed from `inputs` outside of the graph, as a function of them in the graph.
///
/// `backward(gradient, i)` is the gradient of `inputs[i]`, given that of `y`; an undefined tensor stands for
/// zeros. libtorch asks only for those that it needs, and only if `y` has a gradient. It passes that as it
/// is: expanded, or in any memory format.
///
/// - The result shares `y`'s memory. The graph keeps `backward` alive, and neither `y` nor `inputs`.
/// - A backward pass with `create_graph` records what `backward` does. If that is `with_backward` again,
///   there are gradients of any order.
/// - An error or a panic in `backward` becomes an error of the `Tensor::f_backward` that called it.
/// - libtorch may call `backward` any number of times, on any thread, and drops it along with the graph.
/// - Where no input needs a gradient, or under `no_grad`, `y` comes back as it is.
///
/// # Errors
///
/// libtorch's, if it cannot take `y` into the graph.
pub(crate) fn with_backward<const N: usize, F>(
    inputs: [&Tensor; N],
    y: Tensor,
    backward: F,
) -> Result<Tensor>
where
    F: Fn(&Tensor, usize) -> Result<Tensor> + Send + Sync + 'static,
{
    attach(&inputs, false, y, move |gradient, _, needed| {
        let gradients = needed.iter().enumerate().map(|(input, &needed)| match needed {
            true => backward(gradient, input).map(Some),
            false => Ok(None),
        });
        gradients.collect()
    })
}

/// [`with_backward`] for gradients that are computed from the inputs, and together.
///
/// `gradients(gradient, inputs, needed)` is called once in a backward pass. It returns the gradient of each input, of
/// which those are used that are `needed`. The graph keeps the inputs as libtorch's own operations do: until a
/// backward pass that does not keep the graph, and with an error if they are modified in place before that.
pub(crate) fn with_inputs<F>(inputs: &[&Tensor], y: Tensor, gradients: F) -> Result<Tensor>
where
    F: Fn(&Tensor, &[Tensor], &[bool]) -> Result<Vec<Option<Tensor>>> + Send + Sync + 'static,
{
    attach(inputs, true, y, gradients)
}

/// A scalar to begin a backward pass with, in which `y` has this gradient. That pass goes through `y`, and not through
/// the gradient's own graph; what it records does.
pub(crate) fn with_gradient(y: Tensor, gradient: &Tensor) -> Result<Tensor> {
    let scalar = Tensor::f_zeros([], (y.kind(), y.device()))?;
    let gradient = Mutex::new(gradient.shallow_clone());
    tch::with_grad(|| {
        with_backward([&y], scalar, move |_, _| {
            Ok(gradient.lock().unwrap_or_else(PoisonError::into_inner).shallow_clone())
        })
    })
}

/// The gradients of `inputs` in a graph of their own, which has higher derivatives: that of what `definition` computes
/// from them, whose gradient is `of_y`. For [`with_inputs`], where a second derivative is wanted.
pub(crate) fn gradients_in_graph(
    definition: impl FnOnce(&[Tensor]) -> Result<Tensor>,
    of_y: &Tensor,
    inputs: &[Tensor],
    needed: &[bool],
) -> Result<Vec<Option<Tensor>>> {
    // Views, at which the pass below ends: one input may have been computed from another.
    let inputs = inputs.iter().map(|x| Ok(x.f_view_as(x)?)).collect::<Result<Vec<_>>>()?;
    let root = with_gradient(definition(&inputs)?, of_y)?;
    let wanted = inputs.iter().zip(needed).filter_map(|(x, &needed)| needed.then_some(x));
    let wanted: Vec<&Tensor> = wanted.collect();
    let mut found = Tensor::f_run_backward(&[root], &wanted, true, true)?.into_iter();
    Ok(needed.iter().map(|&needed| if needed { found.next() } else { None }).collect())
}

/// Puts a closure into the graph. It gets the inputs if the graph is to `keep` them.
fn attach<F>(inputs: &[&Tensor], keep: bool, y: Tensor, gradients: F) -> Result<Tensor>
where
    F: Fn(&Tensor, &[Tensor], &[bool]) -> Result<Vec<Option<Tensor>>> + Send + Sync + 'static,
{
    let inputs: Vec<_> = inputs.iter().map(|input| input.as_ptr()).collect();
    let closure = Closure {
        data: Box::into_raw(Box::new(gradients)).cast(),
        call: call::<F>,
        drop: drop_box::<F>,
    };
    let mut error = String::new();
    // SAFETY: function.cpp defines it with these parameters. It reads the tensors during the call, which their references
    // outlive. It takes the closure, which borrows nothing and is `Send` and `Sync`, since libtorch's autograd engine calls
    // it on threads of its own. It passes `tell` the `error` that is borrowed here.
    let result = unsafe {
        let error = (&raw mut error).cast();
        let count = inputs.len();
        tch_dropout_with_backward(inputs.as_ptr(), count, keep, y.as_ptr(), closure, tell, error)
    };
    if result.is_null() {
        return Err(TchError::Torch(error).into());
    }
    // SAFETY: function.cpp returns `new at::Tensor`, which nobody else has and tch deletes.
    Ok(unsafe { Tensor::from_ptr(result) })
}

unsafe extern "C" {
    fn tch_dropout_with_backward(
        inputs: *const *const C_tensor,
        count: usize,
        keep: bool,
        y: *const C_tensor,
        closure: Closure,
        tell: Tell,
        to: *mut c_void,
    ) -> *mut C_tensor;
}

/// A boxed closure whose type C++ needn't know.
#[repr(C)]
struct Closure {
    data: *mut c_void,
    /// Gets the inputs if the graph keeps them, else null. Writes a new tensor, which C++ owns, for each input that
    /// is needed, or returns false after passing an error to `tell`.
    call: unsafe extern "C" fn(
        data: *const c_void,
        gradient: *const C_tensor,
        inputs: *const *const C_tensor,
        needed: *const bool,
        results: *mut *mut C_tensor,
        count: usize,
        tell: Tell,
        to: *mut c_void,
    ) -> bool,
    drop: unsafe extern "C" fn(data: *mut c_void),
}

unsafe extern "C" fn call<F>(
    data: *const c_void,
    gradient: *const C_tensor,
    inputs: *const *const C_tensor,
    needed: *const bool,
    results: *mut *mut C_tensor,
    count: usize,
    tell: Tell,
    to: *mut c_void,
) -> bool
where
    F: Fn(&Tensor, &[Tensor], &[bool]) -> Result<Vec<Option<Tensor>>>,
{
    // A panic must not unwind into C++. Only the closure can see what it leaves half done.
    let made = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: `attach` made `data` of a `Box<F>` beside this `call::<F>`; function.cpp passes it on, and frees it by
        // `drop_box` after the last call. Calls on several threads share an `F`, which is `Sync`.
        let gradients = unsafe { &*data.cast::<F>() };
        // SAFETY: function.cpp has an array of `count` flags, which it keeps and leaves alone during this call.
        let needed = unsafe { slice::from_raw_parts(needed, count) };
        // SAFETY: function.cpp holds the gradient, an `at::Tensor`, during this call, which the borrow does not outlive.
        let gradient = unsafe { borrowed(gradient) };
        let inputs: &[_] = match inputs.is_null() {
            true => &[],
            // SAFETY: where it is not null, function.cpp has an array of `count` pointers during this call.
            false => unsafe { slice::from_raw_parts(inputs, count) },
        };
        // SAFETY: each points to an `at::Tensor` that function.cpp holds during this call; what outlives it is a clone.
        let inputs: Vec<Tensor> =
            inputs.iter().map(|&x| unsafe { borrowed(x) }.shallow_clone()).collect();
        gradients(&gradient, &inputs, needed)
    }));
    let error = match made {
        Ok(Ok(made)) => {
            // SAFETY: function.cpp has an array of `count` null pointers for this, which it does not use during this call.
            let results = unsafe { slice::from_raw_parts_mut(results, count) };
            for (result, made) in results.iter_mut().zip(made) {
                if let Some(made) = made {
                    *result = ManuallyDrop::new(made).as_mut_ptr();
                }
            }
            return true;
        }
        Ok(Err(error)) => error.to_string(),
        Err(panic) => format!("panic in a backward: {}", panic_text(&*panic)),
    };
    // SAFETY: `tell` and `to` came from function.cpp for this; it copies the text, of this length, before it returns.
    unsafe { tell(to, error.as_ptr().cast(), error.len()) };
    false
}

/// A tensor that someone else holds, and frees.
///
/// # Safety
///
/// `tensor` is an `at::Tensor` that lives as long as what is returned is used.
unsafe fn borrowed(tensor: *const C_tensor) -> ManuallyDrop<Tensor> {
    // SAFETY: the caller keeps it alive; tch reads it, and would free it only in the drop that `ManuallyDrop` leaves out.
    ManuallyDrop::new(unsafe { Tensor::from_ptr(tensor.cast_mut()) })
}

unsafe extern "C" fn drop_box<F>(data: *mut c_void) {
    // SAFETY: `attach` made `data` by `Box::into_raw` of a `Box<F>`, and function.cpp calls this once, in the destructor of
    // what owns it. A panic would abort the process, as any that leaves an `extern "C"` function does.
    drop(unsafe { Box::from_raw(data.cast::<F>()) });
}

/// The message of a `panic!`: a literal, or a formatted string.
fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    let text = literal.or_else(|| panic.downcast_ref().map(String::as_str));
    text.unwrap_or("it has no text")
}

#[cfg(test)]
mod tests;
